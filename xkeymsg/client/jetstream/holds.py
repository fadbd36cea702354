"""When a consumer holds messages: rules without I/O, with times as arguments.

Two faults look like bad messages, and are not. While the destination is unavailable, every message
fails; with a wrong key or wrong peers, no message opens. `Outage` and `Proof` recognize them.
Neither may let a stranger, or one message, stop the messages behind it.
"""

from __future__ import annotations

import errno
import math
from collections import Counter
from typing import Final

from xkeymsg.errors import KeyStoreError, NotLoadedError, TransportError

__all__ = (
    "FIRST_PAUSE",
    "LONGEST_PAUSE",
    "TRY",
    "TRY_EVERY",
    "Outage",
    "Proof",
    "is_shortage",
    "is_temporary",
)

_ENOUGH: Final = 3
"""Messages that fail in a row, with none handled in between, before it is an outage."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
_HANGS: Final = 60.0
"""Seconds after which an attempt without a result no longer delays the next one."""
_REMEMBERED: Final = 10_000
"""Limit of messages whose attempts are counted."""

_UNOPENED: Final = 100
"""Well-formed messages that must fail to open before the key or the peers are suspect."""
TRY: Final = 100
"""Messages requested in each attempt while holding."""
TRY_EVERY: Final = 30.0
_SHARE: Final = 0.5
"""The share of the quarantine that may be filled before anything has opened."""
_CAUSES: Final = {
    "not_a_recipient": "are sealed to other keys: check the seed file",
    "sender_not_admitted": "have senders that are not admitted: check the peers",
    "sender_revoked": "have senders that are revoked: check trust",
    "unknown_key": "have senders whose key is unknown: check trust",
}

_SHORTAGE: Final = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def is_shortage(error: BaseException) -> bool:
    """Return whether this process lacks memory, threads, descriptors, its key or the directory."""
    if isinstance(error, OSError):
        return error.errno in _SHORTAGE
    no_thread = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    return no_thread or isinstance(error, MemoryError | KeyStoreError | NotLoadedError)


def is_temporary(error: BaseException) -> bool:
    """Return whether a handler's error is temporary, and not the message's fault.

    Temporary are errors of connections, timeouts, full disks, a shortage (`is_shortage`), and the
    retryable transport errors of this package.
    """
    if isinstance(error, TransportError):
        return error.retryable
    if isinstance(error, ConnectionError | TimeoutError) or is_shortage(error):
        return True
    return isinstance(error, OSError) and error.errno in _NO_ROOM


class Outage:
    """Distinguishes an outage from a faulty message.

    A temporary failure counts as an attempt only if another message is handled after it. Three
    messages that fail in a row are an outage: their failures do not count, and messages are tried
    one at a time, every 1 to 30 seconds, until one is handled.
    """

    def __init__(self) -> None:
        self.begun: float | None = None
        """When the outage began; None without one."""
        self._failed: dict[int, bool] = {}  # since one was taken, and whether that may count
        self._attempts: dict[int, int] = {}
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self._tried: int | None = None

    @property
    def is_on(self) -> bool:
        """Whether there is an outage."""
        return self.begun is not None

    def wait(self, now: float) -> float:
        """Return the seconds until a message may be tried; 0 for now."""
        return max(0.0, self._next - now) if self.is_on else 0.0

    def begin(self, sequence: int, now: float) -> None:
        """Record that a message is tried; during an outage, no other is until it ends."""
        if self.is_on:
            self._tried, self._next = sequence, now + _HANGS

    def attempts(self, sequence: int) -> int:
        """Return the failures of a message that count."""
        return self._attempts.get(sequence, 0)

    def failed(self, sequence: int, now: float, *, counts: bool = True) -> None:
        """Record a temporary failure; `counts` says whether the message may be at fault."""
        if self.is_on:
            if self._tried == sequence:
                self._tried, self._next = None, now + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return
        self._failed[sequence] = counts
        if len(self._failed) >= _ENOUGH:
            self._failed.clear()
            self.begun, self._next = now, now + self._pause
            self._pause *= 2

    def taken(self, sequence: int) -> None:
        """Record that a message was handled: there is no outage."""
        self.settle(sequence)
        for other, counts in self._failed.items():
            if counts:
                attempts = self._attempts.pop(other, 0) + 1
                if len(self._attempts) >= _REMEMBERED:
                    del self._attempts[next(iter(self._attempts))]
                self._attempts[other] = attempts
        self._failed.clear()
        self.begun, self._tried, self._pause = None, None, FIRST_PAUSE

    def ended(self, sequence: int, now: float) -> None:
        """Record an attempt that proves nothing: the message was refused or could not be opened."""
        if self._tried == sequence:
            self._tried, self._next = None, now

    def settle(self, sequence: int) -> None:
        """Forget a message."""
        self._attempts.pop(sequence, None)
        self._failed.pop(sequence, None)

    def forget(self) -> None:
        """Forget all messages: their sequences now belong to others."""
        self._attempts.clear()
        self._failed.clear()


class Proof:
    """Whether a message of an admitted sender has opened with the present key and peers.

    Until then a flood of strangers looks like a wrong key or wrong peers. Messages are still taken,
    with records, but only while the records fill less than half of the quarantine. After that a few
    are tried at a time, and given back, so that honest records are not pushed out.
    """

    def __init__(self) -> None:
        self.is_proved = False
        self._codes: dict[int, str] = {}  # of different messages
        self._filled = 0.0
        self._next = -math.inf

    def reset(self) -> None:
        """Begin again: the key or the peers have changed.

        The records of messages that did not open are still in the quarantine, and still count:
        trust in NATS accounts changes often.
        """
        filled = 0.0 if self.is_proved else self._filled
        self.__init__()  # type: ignore[misc]
        self._filled = filled

    def opened(self) -> None:
        """Record a message whose wrapped key has verified."""
        self.is_proved = True

    def failed(self, sequence: int, code: str) -> None:
        """Record a message that did not open, with its error code."""
        if not self.is_proved and code in _CAUSES and len(self._codes) < _UNOPENED:
            self._codes[sequence] = code

    def recorded(self, share: float) -> None:
        """Record that a message took this share of the quarantine."""
        if not self.is_proved:
            self._filled += share

    @property
    def is_suspect(self) -> bool:
        """Whether the key or the peers are probably wrong."""
        return not self.is_proved and (len(self._codes) >= _UNOPENED or self.is_full)

    @property
    def is_full(self) -> bool:
        """Whether to hold: nothing has opened, and the records fill half of the quarantine."""
        return not self.is_proved and self._filled >= _SHARE

    def wait(self, now: float) -> float:
        """Return the seconds until messages may be requested; 0 for now."""
        return max(0.0, self._next - now) if self.is_full else 0.0

    def begin(self, now: float) -> None:
        """Record a request of at most `TRY` messages."""
        self._next = now + TRY_EVERY

    @staticmethod
    def delay(max_ack_pending: int, batch: int) -> float:
        """Return after how many seconds a message is delivered again that is given back.

        The longer, the more messages are tried. But those given back count as unacknowledged: at
        most four fifths of the limit.
        """
        return TRY_EVERY * max(1, max_ack_pending * 4 // 5 // batch)

    def why(self) -> str:
        """Describe the probable cause."""
        if not self._codes:
            return "no message has opened, and none is well-formed"
        [(code, count)] = Counter(self._codes.values()).most_common(1)
        return f"none of {len(self._codes)} messages has opened; {count} {_CAUSES[code]}"
