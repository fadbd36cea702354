"""Names from outside are never interned where that is for ever: on Python 3.12, or without a GIL.

msgpack interns the names in maps. A reader would grow with each document that has new names.
"""

from __future__ import annotations

import gc
import secrets
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB
from tests.fields.inside import apart, at_once, interns_forever, read_apart, reads_apart
from tests.fields.people import SUBJECT
from tests.fields.strategies import DOCUMENTS
from xkeymsg import Opener, Policy, Sealer, XKeyMsgError
from xkeymsg.fields import plaintext
from xkeymsg.limits import Limits


def is_forever() -> bool:
    return sys.getrefcount(sys.intern(secrets.token_hex(20))) > 1 << 30


def outcome(unpack: Any, packed: bytes) -> tuple[str, Any]:
    try:
        return "value", repr(unpack(packed))
    except XKeyMsgError as error:
        return "ours", str(error)
    except (ValueError, RecursionError):
        return "refused", None


@given(DOCUMENTS)
def test_names_that_are_read_apart_give_the_same_document(document: Any) -> None:
    packed = plaintext.pack([[[], document]])
    assert outcome(apart, packed) == outcome(at_once, packed)


@given(DOCUMENTS, st.data())
def test_damaged_plaintexts_have_the_same_outcome(document: Any, data: st.DataObject) -> None:
    packed = bytearray(plaintext.pack([[[], document]]))
    at = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        del packed[at:]
    else:
        packed[at] = data.draw(st.integers(0, 255))
    assert outcome(apart, bytes(packed)) == outcome(at_once, bytes(packed))


@for_each(
    "packed",
    [
        b"",
        b"\x81",
        b"\x81\xa1a",
        b"\x81\x01\x01",  # a name that is no text
        b"\x81\xc4\x01a\x01",
        b"\x81\x81\xa1a\x01\x01",  # a name that is a map, whose names would be interned
        b"\x81\x91\xa1a\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc0\xc0",
        b"\xc1",
        b"\x91" * 3000,
    ],
)
def test_what_is_no_plaintext_is_refused(packed: bytes) -> None:
    assert outcome(apart, packed)[0] == "refused"


def test_names_that_are_read_apart_are_not_interned() -> None:
    """Two objects that are equal: of an interned text there is one."""
    name = secrets.token_hex(10)
    packed = msgpack.packb({name: [{name: 1}]})
    [outer] = document = apart(packed)
    [inner] = document[outer][0]
    assert outer == inner == name
    assert outer is not inner
    [outer] = document = at_once(packed)
    [inner] = document[outer][0]
    assert outer is inner  # or msgpack does not intern any more, and all this can go


def test_what_interns_is_not_used_where_that_is_for_ever() -> None:
    assert interns_forever() == is_forever()
    assert reads_apart() == is_forever()
    assert (sys.version_info[:2] == (3, 12)) <= is_forever()


@pytest.fixture
def reading_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Python 3.12."""
    read_apart(monkeypatch)


@pytest.mark.usefixtures("reading_apart")
@pytest.mark.parametrize("nodes", [1_000_000, 60])
def test_a_document_opens_and_its_names_are_its_own(nodes: int) -> None:
    """On both ways: built at once, and behind a scan."""
    name = secrets.token_hex(10)
    document = {name: [{name: b"x"}, {name: 1.5, "z": {name: None}}]}
    packed = plaintext.pack([[[], document]])
    [[[_, built]]] = plaintext.unpack([packed], Limits(nodes=nodes, depth=5))
    assert built == document
    [outer] = built
    assert all(outer is not inner for each in built[outer] for inner in each)


@pytest.mark.usefixtures("reading_apart")
def test_a_plaintext_with_one_name_twice_is_refused_there_too() -> None:
    packed = b"\x91\x92\x90\x82\xa1a\x01\xa1a\x02"
    with pytest.raises(XKeyMsgError, match="duplicate name"):
        plaintext.unpack([packed], Limits())


@pytest.mark.skipif(not is_forever(), reason="names that are interned are freed here")
def test_a_reader_does_not_grow_with_the_names_that_it_reads() -> None:
    sealer, reader = Sealer(ALICE), Opener(BOB, {ALICE.public})
    policy, seen = Policy([("/**", ["p"])]), []
    for number in range(12):  # the allocator gives some MiB back, or not
        names = (f"{i:08x}-{number}-a-name-of-a-member" for i in range(50_000))
        sealed = sealer.seal_document(
            dict.fromkeys(names), policy=policy, readers={"p": [BOB.public]}, subject=SUBJECT
        )
        reader.open_document(sealed, subject=SUBJECT)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        seen.append(pages * 4096 / 2**20)
    assert (seen[-1] - seen[2]) / 9 < 1.5  # it was 5 MiB a document
