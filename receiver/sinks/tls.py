"""What the HTTP sink proves itself with, and whom it believes."""

from __future__ import annotations

import ssl
from pathlib import Path

from xkeymsg.errors import ConfigurationError

__all__ = ("read_token", "tls_context")


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return the TLS settings; they verify, always.

    Raises:
        ConfigurationError: If a file cannot be used.
    """
    try:
        for path in filter(None, (ca, cert, key)):
            path.open("rb").close()  # its error names the file, and that of `ssl` does not
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"a TLS file cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_token(path: Path) -> str:
    """Read a bearer token.

    Raises:
        ConfigurationError: If it cannot be read, is open to others, or is none. The text shows
            nothing of it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path}: others can read it; chmod 600 it")
        text = path.read_bytes()[:8192].decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(f"{path}: expected is one token of printable ASCII")
    return text
