"""Who joins and leaves the recipients that names stand for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from xkeymsg.nkey import Prefix, encode_public

__all__ = ("AudienceChange", "Audiences")

_MOST_NAMES: Final = 1024
_MOST_CHANGES: Final = 256
"""Changes kept until they are taken."""


class AudienceChange(NamedTuple):
    """Users that have joined or left the recipients that a name stands for."""

    name: str
    joined: tuple[str, ...]
    left: tuple[str, ...]


class Audiences:
    """The users of each name that was resolved, to count changes; a new xkey is no change."""

    def __init__(self) -> None:
        self.joined = self.left = 0
        """Users that have joined or left since the start."""
        self._users: dict[str, frozenset[bytes]] = {}
        self._changes: deque[AudienceChange] = deque(maxlen=_MOST_CHANGES)

    @property
    def names(self) -> tuple[str, ...]:
        """The names with a known audience."""
        return tuple(self._users)

    def note(self, name: str, users: frozenset[bytes]) -> None:
        """Compare the users of a name with those of the last time."""
        before = self._users.get(name)
        if before is None and (not users or len(self._users) >= _MOST_NAMES):
            return
        self._users[name] = users
        if before is None or before == users:
            return
        joined, left = users - before, before - users
        self.joined += len(joined)
        self.left += len(left)
        self._changes.append(AudienceChange(name, _keys(joined), _keys(left)))

    def take(self) -> Iterator[AudienceChange]:
        """Yield the changes since the last call; of many, the last ones."""
        while self._changes:
            yield self._changes.popleft()


def _keys(users: frozenset[bytes]) -> tuple[str, ...]:
    return tuple(sorted(encode_public(Prefix.USER, user) for user in users))
