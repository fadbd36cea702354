"""TLS client settings: trusted authorities and the client certificate."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from xkeymsg.errors import ConfigurationError, KeyStoreError
from xkeymsg.key_stores.openssl import URI_LABEL
from xkeymsg.key_stores.sealed_memory import sealed_memory
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
        KeyStoreError: If a key on a token cannot be used.
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
    """Load a certificate and its key, which `ssl` reads from files only, through sealed memory.

    Raises:
        KeyStoreError: If OpenSSL cannot use a key on a token.
    """
    memory = sealed_memory("identity", identity)
    problem = ""
    try:
        context.load_cert_chain(f"/proc/self/fd/{memory}", password="")
    except OSError as error:
        if URI_LABEL not in identity:
            raise
        problem = str(getattr(error, "reason", None) or type(error).__name__)
    finally:
        os.close(memory)
    if problem == "KEY_VALUES_MISMATCH":
        raise KeyStoreError("the private key with the id of the certificate does not match it")
    if problem:
        raise KeyStoreError(
            f"OpenSSL's pkcs11-provider cannot use the private key: {problem}; for details, set"
            " PKCS11_PROVIDER_DEBUG=file:/dev/stderr"
        )
