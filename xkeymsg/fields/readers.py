"""Holders of a policy's permissions, and the parts of a document that each may open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from xkeymsg.display import listed
from xkeymsg.envelope.plan import Sharing, as_recipient
from xkeymsg.errors import PolicyError
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Recipient, XKey
from xkeymsg.misuse import check_lasting

__all__ = ("Holders", "KnownHolders", "Readers")

Readers = Mapping[str, Iterable[XKey | Recipient]]
"""The holders of each permission."""

_Keys = tuple[tuple[XKey | Recipient, ...], ...]
_Shape = tuple[tuple[int, ...], bool]
"""The sets of permissions of a document's parts, and whether it has metadata."""

_SHARINGS: Final = 256
_POLICIES: Final = 64
"""Cache sizes; a full cache is cleared."""


class Holders:
    """The recipients that hold each permission of a policy."""

    def __init__(self, policy: Policy, keys: _Keys) -> None:
        """Pair the policy's permissions with `keys`, which are in the same order.

        Raises:
            PolicyError: If a permission has no readers and is not in `allow_unread` (F-35).
            TypeError: If a reader is not a key.
        """
        self.keys = keys
        self._sets = policy.sets
        self._of: dict[str, tuple[Recipient, ...]] = {
            name: tuple(map(as_recipient, some))
            for name, some in zip(policy.permissions, keys, strict=True)
        }
        unread = sorted(
            name for name, some in self._of.items() if not some and name not in policy.allow_unread
        )
        if unread:
            remedy = "give it a reader, or list it in the policy's allow_unread"
            raise PolicyError(f"no readers for permission {listed(unread)}: {remedy}")
        self._sharings: dict[_Shape, Sharing] = {}

    def grants(self, sets: Iterable[int]) -> dict[Recipient, set[int]]:
        """Return the numbers of the parts that each recipient may open.

        Args:
            sets: For each part, the number of its set of permissions. A recipient needs one of them
                (F-45).
        """
        grants: dict[Recipient, set[int]] = {}
        for part, number in enumerate(sets):
            for permission in self._sets[number]:
                for reader in self._of[permission]:
                    grants.setdefault(reader, set()).add(part)
        return grants

    def sharing(self, shape: _Shape, make: Callable[[], Sharing]) -> Sharing:
        """Return the cached sharing for all documents of one shape; `make` creates it."""
        known = self._sharings.get(shape)
        if known is None:
            known = make()
            if len(self._sharings) >= _SHARINGS:
                self._sharings.clear()
            self._sharings[shape] = known
        return known


class KnownHolders:
    """A cache of `Holders` by policy, valid while the readers do not change."""

    def __init__(self) -> None:
        self._known: dict[Policy, Holders] = {}

    def of(self, policy: Policy, readers: Readers) -> Holders:
        """Return the current holders of a policy's permissions.

        Raises:
            PolicyError: As for `Holders`.
            TypeError: As for `Holders`, and if readers are given as an iterator.
        """
        keys = tuple([tuple(readers.get(name, ())) for name in policy.permissions])
        known = self._known.get(policy)
        if known is None or known.keys != keys:
            check_lasting(readers)
            known = Holders(policy, keys)
            if len(self._known) >= _POLICIES:
                self._known.clear()
            self._known[policy] = known
        return known
