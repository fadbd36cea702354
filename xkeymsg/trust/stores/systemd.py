"""A curve key's seed in a credential that systemd hands to a service (`LoadCredential=`)."""

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
    """Return where systemd has put a credential.

    Raises:
        KeyStoreError: If it hands none to this process, or `name` is not the name of one.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not _NAME.fullmatch(name):
        raise KeyStoreError("the name of a credential is of letters, digits, '.', '_' and '-'")
    if not Path(folder).is_absolute():
        raise KeyStoreError(
            "no $CREDENTIALS_DIRECTORY: systemd sets it for a service with LoadCredential="
        )
    return Path(folder) / name


def read_credential(name: str, environ: Mapping[str, str] = os.environ) -> XKeyPair:
    """Read a key pair from a credential that holds one seed `SX…`.

    Its group may have rights to it: so systemd's entry for the service's user is shown.

    Raises:
        KeyStoreError: If there is no such credential, or it does not hold a seed.
    """
    return read_seed(credential_path(name, environ), group_may_read=True)
