"""TLS client settings: trusted authorities and the client certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from xkeymsg.errors import ConfigurationError
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text

__all__ = ("tls_context",)


@refusing
def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a TLS context, which always verifies the server.

    Args:
        ca: A PEM file with the certificate authorities to trust instead of the system's.
        cert: A PEM file with the client's certificate chain.
        key: A PEM file with its private key.

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
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        where = "" if used is None else f"{path_text(used)}: "
        raise ConfigurationError(f"cannot use a TLS file: {where}{error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
