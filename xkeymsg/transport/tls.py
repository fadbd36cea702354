"""TLS as a client: whom to believe, and what to show."""

from __future__ import annotations

import ssl
from pathlib import Path

from xkeymsg.errors import ConfigurationError

__all__ = ("tls_context",)


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return the settings of TLS; they verify, always.

    Args:
        ca: A PEM file with the authorities to believe in the place of the system's.
        cert: A PEM file with the client's certificate chain.
        key: Its private key.

    Raises:
        ConfigurationError: If a file cannot be read or used.
    """
    try:
        for path in filter(None, (ca, cert, key)):
            path.open("rb").close()  # its error names the file, and that of `ssl` does not
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            # An empty password: a key that needs one is an error, not a prompt.
            context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"a TLS file cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
