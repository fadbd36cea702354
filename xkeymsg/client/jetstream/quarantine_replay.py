"""Opening quarantine records later, by the receiver itself: only it trusts their positions.

A local command of the receiver reads a record from the quarantine stream, and opens it with the
position named in it (docs/spec/envelope.md, E-80). Nothing is published: a message returned to its
subject would be a replay there.
"""

from __future__ import annotations

from collections.abc import Iterable

from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ContentTypeError
from xkeymsg.keys import Keyring
from xkeymsg.limits import Stream
from xkeymsg.opener import Opener

__all__ = ("Replay",)


class Replay:
    """One run over quarantine records, with its own replay scope.

    Args:
        keys: The receiver's keys, including retired ones.
        senders: The admitted senders.
        subjects: The sealed subjects to accept: subjects or NATS patterns.
        max_age: How many seconds before it was stored a message may have been sealed.

    Raises:
        ConfigurationError: As `Opener`.
    """

    def __init__(
        self,
        keys: Keyring,
        senders: Senders,
        subjects: Iterable[str],
        *,
        max_age: float | None = None,
    ) -> None:
        self._opener = Opener(keys, senders, replay=Stream(max_age))
        self._subjects = tuple(subjects)

    def open(self, record: QuarantineRecord) -> Message:
        """Open the payload or document (as a `View`) of a record; call `settle` once handled.

        Raises:
            XKeyMsgError: As `Opener.open`.
        """
        subjects, position = self._subjects, record.position
        message: Message
        try:
            message = self._opener.open(record.data, subject=subjects, position=position)
        except ContentTypeError:
            message = self._opener.open_document(record.data, subject=subjects, position=position)
        return message

    def settle(self, message: Message) -> None:
        """Mark a message as handled: another record of it is a replay in this run."""
        self._opener.settle(message)
