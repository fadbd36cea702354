"""The reference and the package side by side: what one makes the other opens, or both refuse."""

from __future__ import annotations

from typing import Final, NamedTuple
from unittest import mock

from tests.envelope.cast import ALICE, BOB, FIELDS, NOW, PAYLOAD, opened_at
from tests.reference import Only, Opened, Reader, RefusalError, open_envelope
from xkeymsg import Opener, XKeyMsgError, opener


class Outcome(NamedTuple):
    """A code and what is said outside; or what was opened."""

    code: str
    outside: str = ""
    content: object = None


def reference(envelope: bytes, *, document: bool = False) -> Outcome:
    reader = Reader(
        keys=(BOB._secret,),
        admission=Only({bytes(ALICE.public)}),
        kind="document" if document else "payload",
    )
    try:
        opened = open_envelope(envelope, reader, now=NOW)
    except RefusalError as refused:
        return Outcome(refused.code, refused.outside)
    return Outcome("opened", content=content_of(opened))


def content_of(opened: Opened) -> object:
    content = opened.payload if opened.payload is not None else dict(opened.fields)
    return content, opened.content_type, opened.headers


def package(envelope: bytes, *, document: bool = False, reader: Opener | None = None) -> Outcome:
    reader = reader or Opener(BOB, {ALICE.public}, replay="file")
    try:
        message = opened_at(reader, NOW, envelope, FIELDS if document else PAYLOAD)
    except XKeyMsgError as error:
        return Outcome(error.code, error.outside)
    content = message.content, message.content_type, message.headers.pairs
    return Outcome("opened", content=content)


SEASONED: Final = Opener(BOB, {ALICE.public}, replay="file")
"""Remembers whatever it has opened in all tests of this process."""


def seasoned(envelope: bytes) -> Outcome:
    """What that opener says in the way that programs call it."""
    with mock.patch.object(opener, "now_ns", return_value=NOW * 1_000_000):
        try:
            message = SEASONED.open(envelope, subject=">")
        except XKeyMsgError as error:
            return Outcome(error.code, error.outside)
    return Outcome("opened", content=(message.data, message.content_type, message.headers.pairs))


def agreed(envelope: bytes) -> str:
    """What both say of an envelope, asked for a payload and for a document.

    So does an opener that remembers others: what it may skip has no say in the verdict.
    """
    codes = []
    for document in (False, True):
        ours, theirs = package(envelope, document=document), reference(envelope, document=document)
        assert ours == theirs, envelope.hex()
        assert package(envelope, document=document, reader=SEASONED) == theirs, envelope.hex()
        if not document:
            assert seasoned(envelope) == theirs, envelope.hex()
        codes.append(ours.code)
    return "/".join(codes)
