"""Compares the reference with the package: both open an envelope, or both refuse it."""

from __future__ import annotations

from typing import Final, NamedTuple
from unittest import mock

from tests.envelope.cast import ALICE, BOB, FIELDS, NOW, PAYLOAD, raw_secret
from tests.envelope.inside import opened_at
from tests.reference import Only, Opened, Reader, RefusalError, open_envelope
from xkeymsg import AtRest, Opener, XKeyMsgError, opener


class Outcome(NamedTuple):
    """A code and the public code, or the opened content."""

    code: str
    outside: str = ""
    content: object = None


def reference(envelope: bytes, *, document: bool = False) -> Outcome:
    reader = Reader(
        keys=(raw_secret(BOB),),
        admission=Only({bytes(ALICE.public)}),
        kind="parts" if document else "payload",
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
    reader = reader or Opener(BOB, {ALICE.public}, replay=AtRest())
    try:
        message = opened_at(reader, NOW, envelope, FIELDS if document else PAYLOAD)
    except XKeyMsgError as error:
        return Outcome(error.code, error.public_code)
    content = message.content, message.content_type, message.headers.pairs
    return Outcome("opened", content=content)


SEASONED: Final = Opener(BOB, {ALICE.public}, replay=AtRest())
"""An opener that caches keys of all messages opened in this process."""


def seasoned(envelope: bytes) -> Outcome:
    """Return the outcome of SEASONED through its public API."""
    with mock.patch.object(opener, "now_ns", return_value=NOW * 1_000_000):
        try:
            message = SEASONED.open(envelope, subject=">")
        except XKeyMsgError as error:
            return Outcome(error.code, error.public_code)
    return Outcome("opened", content=(message.data, message.content_type, message.headers.pairs))


def agreed(envelope: bytes) -> str:
    """Check that package and reference agree on an envelope, as payload and as document.

    An opener with cached keys must agree too: a cache must not change the verdict.
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
