"""Opening quarantine records later, by the reader itself, which alone believes where they were.

A record is read from the quarantine stream by a local command of the reader's, and opened with the
position that it names (docs/spec/envelope.md, E-80). Nothing is published anywhere: a message that
went back to its subject would be a replay there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ContentTypeError
from xkeymsg.keys import Keyring
from xkeymsg.opener import Opener

__all__ = ("Replay",)


class Replay:
    """One run, which is a replay scope of its own."""

    def __init__(
        self,
        keys: Keyring,
        senders: Senders,
        subjects: Iterable[str],
        *,
        max_age: timedelta | None = None,
    ) -> None:
        """Take the reader's keys, and what it accepts.

        Args:
            keys: The reader's, retired ones too.
            senders: Whom it admits.
            subjects: What messages may be sealed for: subjects, or NATS patterns.
            max_age: How long before it was stored a message may have been sealed.

        Raises:
            ConfigurationError: As `Opener`.
        """
        self._opener = Opener(keys, senders, max_age=max_age)
        self._subjects = tuple(subjects)

    def open(self, record: QuarantineRecord) -> Message:
        """Open a record: a payload, or as a `View` a document. Call `settle` when it is handled.

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
