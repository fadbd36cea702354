"""The registry of providers: those of this package, and entry points of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from xkeymsg.errors import KeyStoreError, XKeyMsgError
from xkeymsg.key_stores.command import CommandProvider
from xkeymsg.key_stores.descriptor import DescriptorProvider
from xkeymsg.key_stores.environment import EnvironmentProvider
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.key_stores.protected import ProtectedProvider
from xkeymsg.key_stores.protocol import KeyProvider
from xkeymsg.key_stores.systemd import SystemdProvider
from xkeymsg.refusals import bare
from xkeymsg.text import may_be_secret

__all__ = ("GROUP", "OWN", "Store", "ask", "find_provider", "parse_store")

_T = TypeVar("_T")

GROUP: Final = "xkeymsg.key_stores"
"""The group of the entry points: each names a class that is created without arguments."""


def _pkcs11() -> KeyProvider:
    from xkeymsg.key_stores.pkcs11 import Pkcs11Provider  # noqa: PLC0415 - imports an extra

    return Pkcs11Provider()


OWN: Final[Mapping[str, Callable[[], KeyProvider]]] = MappingProxyType(
    {
        "file": FileProvider,
        "environment": EnvironmentProvider,
        "descriptor": DescriptorProvider,
        "systemd": SystemdProvider,
        "command": CommandProvider,
        "pkcs11": _pkcs11,
        "protected": ProtectedProvider,
    }
)
"""The providers of this package; an entry point cannot replace one."""
_WINDOWS: Final = frozenset({"windowscurrentuser", "windowslocalmachine"})


class Store(NamedTuple):
    """A key store: a provider, and an address of it."""

    name: str
    provider: KeyProvider
    address: str


def ask(call: Callable[..., _T], *args: object) -> _T:
    """Return what a method of a provider or of a key returns.

    Raises:
        KeyStoreError: If it fails in any way. The text of an error that is not ours is not shown.
    """
    try:
        return call(*args)
    except XKeyMsgError as error:
        raise bare(error) from None
    except Exception as error:  # noqa: BLE001 - of a provider that others made
        raise KeyStoreError(f"the key store failed: {type(error).__name__}") from None


def parse_store(text: str) -> Store:
    """Return the store of a text `PROVIDER` or `PROVIDER:ADDRESS`.

    Raises:
        KeyStoreError: If there is no such provider.
    """
    if not isinstance(text, str):
        raise TypeError(f"a key store must be a str, not {type(text).__name__}")
    name, _, address = text.partition(":")
    return Store(name.lower(), find_provider(name), address)


def find_provider(name: str, of: str = "key") -> KeyProvider:
    """Return a provider by its name, in any case.

    Args:
        name: The name.
        of: What the store is for, in errors: `key` or `cert`.

    Raises:
        KeyStoreError: If no package provides it, or it cannot be loaded.
    """
    name = name.lower()
    if name in OWN:
        return OWN[name]()
    if name in _WINDOWS:
        raise KeyStoreError(f"{of}_store not compatible with current operating system")
    from importlib import metadata  # noqa: PLC0415 - slow to import, and rarely needed

    found = [each for each in metadata.entry_points(group=GROUP) if each.name.lower() == name]
    if not found:
        known = ", ".join(sorted(OWN))
        shown = "" if may_be_secret(name) or len(name) > 40 else f": {name!a}"
        raise KeyStoreError(f"{of} store type not implemented{shown} (known: {known})")
    if len(found) > 1:
        raise KeyStoreError(f"several packages provide the key store {name!a}: remove one")
    try:
        return found[0].load()()  # type: ignore[no-any-return]
    except Exception as error:  # noqa: BLE001 - whatever its package raises
        raise KeyStoreError(f"cannot load the key store {name!a}: {type(error).__name__}") from None
