"""Loads OpenSSL's pkcs11-provider, through which `ssl` uses private keys on tokens.

The provider and the PEM block that names a key are in memory only: no file, no variable. A PIN is
never given to OpenSSL: `pkcs11_token` has logged in before.
"""

from __future__ import annotations

import _ssl
import ctypes
import os
import re
from base64 import encodebytes
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.parse import quote

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.command import check_program
from xkeymsg.key_stores.sealed_memory import sealed_memory
from xkeymsg.text import path_text

__all__ = ("URI_LABEL", "load_provider", "provider_path", "uri_pem")

URI_LABEL: Final = b"PKCS#11 PROVIDER URI"
"""The label of the PEM block with which the provider recognizes a key on a token."""
_DESCRIPTION: Final = b"PKCS#11 Provider URI v1.0"
_NAME: Final = b"pkcs11"
_MODULES_DIR: Final = 8
"""What `OpenSSL_version` has to be asked for the folder of the providers."""
_PATH: Final = re.compile(r"/[\w./+@-]+", re.ASCII)
"""Paths that need no quotes in OpenSSL's configuration, where `$` is a variable."""
_CONFIGURATION: Final = """\
openssl_conf = main
[main]
providers = list
[list]
{default}
pkcs11 = token
[usual]
activate = 1
[token]
module = {provider}
pkcs11-module-path = {module}
pkcs11-module-quirks = no-deinit
pkcs11-module-cache-keys = false
activate = 1
"""
# no-deinit: the module is shared with python-pkcs11, and ends with the process.
# cache-keys: a cached key ends with its session, which is not that of the login.
_lock: Final = Lock()


def uri_pem(attributes: Mapping[str, bytes]) -> bytes:
    """Return the PEM block that stands for a private key with these attributes of a PKCS#11 URI."""
    path = ";".join(f"{name}={quote(value, safe='')}" for name, value in attributes.items())
    uri = f"pkcs11:{path};type=private".encode()
    body = encodebytes(_der(0x30, _der(0x1A, _DESCRIPTION) + _der(0x0C, uri)))
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (URI_LABEL, body, URI_LABEL)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def load_provider(path: str | None, module: str) -> None:
    """Load the provider, once in a process.

    One that OpenSSL's own configuration has loaded is used as it is.

    Args:
        path: The provider's file; by default the one in OpenSSL's folder.
        module: The file of the PKCS#11 module.

    Raises:
        KeyStoreError: If it is missing, other users can replace it, or it cannot be loaded.
    """
    with _lock:
        library = _library()
        if library.OSSL_PROVIDER_available(None, _NAME):
            return
        default = library.OSSL_PROVIDER_available(None, b"default")
        found = provider_path() if path is None else path
        for each in (found, module):
            if not _PATH.fullmatch(each):
                raise KeyStoreError(
                    f"{path_text(each)}: expected an absolute path of letters, digits and ./_+@-"
                )
        check_program(Path(found))
        text = _CONFIGURATION.format(
            provider=found, module=module, default="default = usual" if default else ""
        )
        memory = sealed_memory("openssl", text.encode())
        try:
            name = f"/proc/self/fd/{memory}".encode()
            loaded = library.OSSL_LIB_CTX_load_config(None, name) == 1
        finally:
            os.close(memory)
        if not loaded or not library.OSSL_PROVIDER_available(None, _NAME):
            library.ERR_clear_error()  # errors left behind would be those of the next handshake
            raise KeyStoreError(f"OpenSSL cannot load its provider {path_text(found)}")


def _library() -> Any:
    """Return the OpenSSL that `ssl` uses, through its own module; another one would not help."""
    try:
        library = ctypes.CDLL(_ssl.__file__)
        library.OSSL_LIB_CTX_load_config.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        library.OSSL_PROVIDER_available.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        library.OpenSSL_version.restype = ctypes.c_char_p
    except (AttributeError, OSError):
        pass
    else:
        return library
    raise KeyStoreError(
        "a TLS key on a token requires a Python that shares OpenSSL 3 with the system; this one has"
        " its own"
    )


def provider_path() -> str:
    """Return the file of the provider in OpenSSL's folder; the environment has no say.

    Raises:
        KeyStoreError: If it is missing.
    """
    told = _library().OpenSSL_version(_MODULES_DIR).decode(errors="replace")
    path = Path(told.partition('"')[2].rstrip('"')) / "pkcs11.so"
    if path.is_file():
        return str(path)
    raise KeyStoreError(
        "install the package pkcs11-provider for a TLS key on a token, or add provider-path=PATH:"
        f" {path_text(path)} is missing (Debian 12 has no such package)"
    )
