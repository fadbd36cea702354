"""Seeds of curve keys in systemd credentials (`LoadCredential=`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from xkeymsg.errors import KeyStoreError
from xkeymsg.keys import XKeyPair
from xkeymsg.trust.stores.file import read_seed

__all__ = ("credential_path", "read_credential")

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")


def credential_path(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of a systemd credential.

    Raises:
        KeyStoreError: If this process has no credentials, or `name` is not a valid name.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not _NAME.fullmatch(name):
        raise KeyStoreError("invalid credential name (allowed: letters, digits, '.', '_' and '-')")
    if not Path(folder).is_absolute():
        raise KeyStoreError(
            "no $CREDENTIALS_DIRECTORY: systemd sets it for a service with LoadCredential="
        )
    return Path(folder) / name


def read_credential(name: str, environ: Mapping[str, str] = os.environ) -> XKeyPair:
    """Read a key pair from a credential that holds one seed `SX…`.

    Its mode may show group access: systemd's access control entry for the service's user.

    Raises:
        KeyStoreError: If the credential does not exist, or does not hold a seed.
    """
    return read_seed(credential_path(name, environ), group_may_read=True)
