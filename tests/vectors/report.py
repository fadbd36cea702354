"""The reader that a vector describes, and the values that it reports."""

from __future__ import annotations

from dataclasses import replace

from tests.reference import (
    Anyone,
    Limits,
    Mapped,
    Only,
    Opened,
    Reader,
    Trust,
    Verdict,
    nkeystring,
    open_envelope,
)
from tests.reference.fields_text import dumps
from tests.vectors.vector import Report, Vector


def admission(vector: Vector) -> Anyone | Only | Mapped | Trust:
    if not vector.sender:
        return Anyone()
    users = {nkeystring.xkey(x): set(map(nkeystring.user, known)) for x, known in vector.senders()}
    if not any(users.values()):
        return Only(users)
    if all(len(known) == 1 for known in users.values()):
        return Mapped({x: user for x, [user] in users.items()})
    return Trust(
        lambda sender, _subject: Verdict(frozenset(users[sender])) if sender in users else None
    )


def reader_of(vector: Vector) -> Reader:
    return Reader(
        keys=tuple(nkeystring.seed(text) for text in vector.identity),
        user=None if vector.user is None else nkeystring.user(vector.user),
        zero_user=vector.zero_user,
        admission=admission(vector),
        subjects=vector.subject,
        kind=vector.kind,
        require_signature=vector.require_signature,
        limits=Limits(envelope=vector.limit_envelope),
    )


def report_of(opened: Opened) -> Report:
    """Return the values that the reference reports (spec, Release)."""
    head, identity = opened.head, opened.identity
    report: Report = {
        "sender": nkeystring.xkey_text(head.S),
        "admitted": opened.admitted,
        "identity": None if identity is None else nkeystring.user_text(identity),
        "signed": opened.signed,
        "subject": head.subject,
        "created": head.created_ms,
        "revision": head.revision,
        "expires": head.expires_ms,
        "content-type": opened.content_type,
        "headers": [list(header) for header in opened.headers],
        "withheld": opened.parts_withheld,
    }
    return report if opened.payload is not None else {**report, "document": dumps(opened.document)}


def reported(vector: Vector) -> Vector:
    """Return a vector with the values that the reference reports; they need no replay memory."""
    if not vector.is_success:
        return vector
    opened = open_envelope(vector.envelope, reader_of(vector), now=vector.now, wire=vector.wire)
    return replace(vector, report=report_of(opened))
