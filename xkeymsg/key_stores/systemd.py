"""Seeds in systemd credentials (`LoadCredential=`, `LoadCredentialEncrypted=`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.released_key import MOST_SECRET, ReleasingProvider
from xkeymsg.trust.stores.file import read_private

__all__ = ("SystemdProvider", "credential_path")

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


class SystemdProvider(ReleasingProvider):
    """Credentials of systemd.

    The mode of a credential may show group access: systemd's access control entry for the service's
    user.

    Args:
        environ: The environment.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return the content of a credential."""
        return read_private(
            credential_path(address, self._environ), group_may_read=True, limit=limit
        )

    def facts(self, address: str) -> Sequence[str]:
        """Return where the seed is while the program runs."""
        return (f"systemd credential {address}; the seed is in memory while the program runs",)
