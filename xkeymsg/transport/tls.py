"""TLS client settings: trusted authorities and the client certificate."""

from __future__ import annotations

import fcntl
import os
import ssl
from pathlib import Path

from xkeymsg.errors import ConfigurationError
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text

__all__ = ("tls_context",)


@refusing
def tls_context(
    ca: Path | None, cert: Path | None, key: Path | None, *, identity: bytes | None = None
) -> ssl.SSLContext:
    """Return a TLS context, which always verifies the server.

    Args:
        ca: A PEM file with the certificate authorities to trust instead of the system's.
        cert: A PEM file with the client's certificate chain.
        key: A PEM file with its private key.
        identity: The PEM text of the chain and the private key, instead of files.

    Raises:
        ConfigurationError: If a file cannot be read or used.
    """
    for path in filter(None, (ca, cert, key)):
        try:
            path.open("rb").close()  # unlike an error of `ssl`, its error names the file
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(
                f"cannot use a TLS file: {path_text(path)}: {reason}"
            ) from None
    used = ca
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            used = cert
            # An empty password, so that an encrypted key is an error instead of a prompt.
            context.load_cert_chain(cert, key, password="")
        if identity is not None:
            _load(context, identity)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        where = "" if used is None else f"{path_text(used)}: "
        raise ConfigurationError(f"cannot use a TLS file: {where}{error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, identity: bytes) -> None:
    """Load a certificate and its key, which `ssl` reads from files only, through sealed memory."""
    file = os.memfd_create("identity", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(file, identity)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")
    finally:
        os.close(file)
