"""Opening what a durable delivers, at its place in the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.fields.documents import Opener, View
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.transport.raw import Raw

__all__ = ("DocumentOpening", "PayloadOpening", "openings")


class _Opening:
    """One scope of replay memory, and what is accepted in it."""

    def __init__(self, opener: Opener, subjects: tuple[str, ...], *, match_wire: bool) -> None:
        self._opener = opener
        self._subjects = subjects[0] if len(subjects) == 1 else subjects
        self._match_wire = match_wire

    def settle(self, message: Message) -> None:
        """Take note that a message is done with."""
        self._opener.settle(message)

    def _wire(self, raw: Raw) -> str | None:
        return raw.subject_text if self._match_wire else None


class PayloadOpening(_Opening):
    """Opens payloads."""

    def open(self, raw: Raw, position: StreamPosition) -> Message:
        """Open a message; see `Opener.open`."""
        message = self._opener.open(
            raw.data, subject=self._subjects, wire_subject=self._wire(raw), position=position
        )
        message.wire_subject = raw.subject_text
        return message


class DocumentOpening(_Opening):
    """Opens documents."""

    def open(self, raw: Raw, position: StreamPosition) -> View:
        """Open what may be seen of a document; see `Opener.open_document`."""
        view = self._opener.open_document(
            raw.data, subject=self._subjects, wire_subject=self._wire(raw), position=position
        )
        view.wire_subject = raw.subject_text
        return view


def openings(
    keys: XKeyPair | Keyring,
    senders: Senders,
    *,
    subjects: str | Iterable[str],
    documents: bool = False,
    match_wire: bool = False,
    max_age: timedelta | None = None,
    require_signature: bool = False,
    limits: Limits | None = None,
) -> Callable[[], PayloadOpening | DocumentOpening]:
    """Return a function that begins a scope: for a durable, and again when that is made anew.

    Args:
        keys: The reader's.
        senders: Whom it admits.
        subjects: What messages may be sealed for: subjects, or NATS patterns.
        documents: Whether they are documents.
        match_wire: Whether the subject on the wire has to be the sealed one.
        max_age: How long before it was stored a message may have been sealed.
        require_signature: Whether to refuse what is not signed by the sender's user.
        limits: What is taken at most.

    Raises:
        ConfigurationError: As `Opener`.
    """
    accepted = (subjects,) if isinstance(subjects, str) else tuple(subjects)
    kind = DocumentOpening if documents else PayloadOpening

    def begin() -> PayloadOpening | DocumentOpening:
        opener = Opener(
            keys, senders, max_age=max_age, require_signature=require_signature, limits=limits
        )
        return kind(opener, accepted, match_wire=match_wire)

    begin()  # what is wrong with it shows here, and not when something was delivered
    return begin
