"""Reports senders that a new version of the peers no longer admits, though they are active."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Final

from xkeymsg.ambient import now_ns
from xkeymsg.daemons.common.logs import Log
from xkeymsg.envelope.admission import Senders, admission_of
from xkeymsg.envelope.message import Message
from xkeymsg.errors import SenderRevokedError, TrustError
from xkeymsg.keys import XKey
from xkeymsg.trust.members import Members

__all__ = ("Activity",)

_RECENT: Final = 3600.0
_MOST: Final = 10_000


class Activity:
    """The last message of each admitted sender."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: dict[XKey, tuple[float, str, Senders]] = {}

    def note(self, senders: Senders, message: Message) -> None:
        """Record a message of a sender that the senders of its route admit."""
        if message.admitted:
            sender = message.sender
            if len(self._seen) >= _MOST and sender not in self._seen:
                del self._seen[next(iter(self._seen))]
            self._seen[sender] = monotonic(), message.subject, senders

    def retired(self, members: Members) -> int:
        """Count the senders of the last hour that seal with a key that is no longer current."""
        now, at = monotonic(), now_ns() // 1_000_000_000
        recent = [sender for sender, (seen, *_) in self._seen.items() if now - seen <= _RECENT]
        return sum(_is_retired(members, sender, at) for sender in recent)

    def check(self) -> None:
        """Log each sender of the last hour that is no longer admitted; it is then forgotten."""
        now, at = monotonic(), now_ns() // 1_000_000
        for sender, (seen, subject, senders) in list(self._seen.items()):
            if now - seen <= _RECENT and _admits(senders, sender, subject, at):
                continue
            del self._seen[sender]
            if now - seen <= _RECENT:
                self._log.error(
                    "active sender not admitted", sender=str(sender), subject=subject,
                    why="it is no longer admitted, but sent a message in the last hour",
                )  # fmt: skip


def _is_retired(members: Members, sender: XKey, at: int) -> bool:
    for identity in members.found(sender):
        with suppress(TrustError):
            if identity.current(at).key == sender:
                return False
    return True


def _admits(senders: Senders, sender: XKey, subject: str, at: int) -> bool:
    try:
        return admission_of(senders)(bytes(sender), subject, at) is not None
    except SenderRevokedError:
        return False
