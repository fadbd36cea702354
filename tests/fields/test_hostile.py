"""Parts whose sender is malicious: refused, and neither time nor memory is spent on them."""

from __future__ import annotations

import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.forge import head_of
from tests.examples import examples
from tests.fields.inside import build
from tests.fields.model import exact
from tests.fields.people import SEALER
from tests.fields.strategies import ALMOST, PATIENT, damaged
from xkeymsg import LimitExceededError, Limits, MalformedError, Policy, XKeyMsgError
from xkeymsg.fields.join import join
from xkeymsg.fields.plaintext import unpack
from xkeymsg.fields.scan import Counts, scan
from xkeymsg.fields.split import split

LIMITS: Final = Limits()
LONG: Final = b"1" * 4301 + b"E0"
SECONDS: Final = 2.0
"""More than any of these takes, by far: on a slow machine, too."""


def pairs(*texts: str) -> bytes:
    """A part with these pairs, each in hexadecimal."""
    return bytes((0x90 + len(texts),)) + b"".join(b"\x92" + bytes.fromhex(one) for one in texts)


def value(encoded: bytes) -> bytes:
    return b"\x91\x92\x90" + encoded


def path_of(count: int, segment: bytes = b"\0") -> bytes:
    header = bytes((0x90 + count,)) if count < 16 else b"\xdc" + struct.pack(">H", count)
    return b"\x91\x92" + header + segment * count + b"\xc0"


def gaps(lists: int, index: int) -> bytes:
    """So many lists, each with one item at this index."""
    paths = b"".join(
        b"\x92\x92\xcd" + struct.pack(">H", at) + b"\xcd" + struct.pack(">H", index) + b"\xc0"
        for at in range(lists)
    )
    return b"\xdc" + struct.pack(">H", lists) + paths


def member(text: bytes) -> bytes:
    """A member, which is 0."""
    return bytes((0xA0 + len(text),)) + text + b"\0"


OVERLAPPING: Final = {
    "a path twice": [pairs("91a161 01", "91a161 02")],
    "a path twice with one value": [pairs("91a161 01", "91a161 01")],
    "a path in two parts": [pairs("91a161 01"), pairs("91a161 01")],
    "a longer path behind": [pairs("91a161 80", "92a161a162 01")],
    "a longer path before": [pairs("92a161a162 01", "91a161 80")],
    "a longer path in a part before": [pairs("92a161a162 01"), pairs("91a161 c0")],
    "a longer path that a value has": [pairs("91a161 81a16201", "92a161a162 01")],
    "everything twice": [pairs("90 01"), pairs("90 01")],
    "everything behind a field": [pairs("91a161 01", "90 80")],
    "a field behind everything": [pairs("90 80", "91a161 01")],
    "names and indices": [pairs("91a130 01", "9100 01")],
    "names and indices below": [pairs("92a16100 01", "92a161a130 01")],
    "an index in two widths": [pairs("9100 01", "91cc00 01")],
}

HOSTILE: Final = {
    "a list of 2^64 items": (pairs("91cfffffffffffffffff c0"), "limit_exceeded"),
    "a list of 10,002 items": (pairs("91cd2711 c0"), "limit_exceeded"),
    "many lists with gaps": (gaps(1000, 65_535), "limit_exceeded"),
    "many lists with small gaps": (gaps(5_001, 2), "limit_exceeded"),
    "nested lists": (value(b"\x91" * 200_000 + b"\xc0"), "limit_exceeded"),
    "nested lists without end": (value(b"\x91" * 200_000), "limit_exceeded"),
    "nested maps": (value(b"\x81\xa0" * 100_000 + b"\xc0"), "limit_exceeded"),
    "33 lists": (value(b"\x91" * 32 + b"\x90"), "limit_exceeded"),
    "33 lists in few bytes": (path_of(15)[:-1] + b"\x91" * 18 + b"\x01", "limit_exceeded"),
    "a path of 33 indices": (path_of(33), "limit_exceeded"),
    "a path of 60,000 indices": (path_of(60_000), "limit_exceeded"),
    "a path of 60,000 names": (path_of(60_000, b"\xa0"), "limit_exceeded"),
    "a name twice": (value(b"\x82\xa1a\x01\xa1a\x01"), "malformed"),
    "a name twice in two widths": (value(b"\x82\xa1a\x01\xd9\x01a\x01"), "malformed"),
    "a name twice far apart": (
        value(b"\xde\x03\xe9" + b"".join(member(b"%d" % n) for n in (*range(1000), 0))),
        "malformed",
    ),
    "4 GB of text": (value(b"\xdb\xff\xff\xff\xff"), "malformed"),
    "4 GB of bytes": (value(b"\xc6\xff\xff\xff\xff"), "malformed"),
    "4 GB of an integer": (value(b"\xc9\xff\xff\xff\xff\x01"), "limit_exceeded"),
    "4 GB of an unknown type": (value(b"\xc9\xff\xff\xff\xff\x09"), "malformed"),
    "2^32 items": (value(b"\xdd\xff\xff\xff\xff"), "limit_exceeded"),
    "2^32 members": (value(b"\xdf\xff\xff\xff\xff"), "limit_exceeded"),
    "2^32 pairs": (b"\xdd\xff\xff\xff\xff", "limit_exceeded"),
    "10,001 pairs": (b"\xdc\x27\x11" + b"\x92\x90\xc0" * 10_001, "limit_exceeded"),
    "2^32 segments": (b"\x91\x92\xdd\xff\xff\xff\xff", "limit_exceeded"),
    "a million items": (value(b"\xdd\x00\x0f\x42\x40" + b"\xc0" * 1_000_000), "limit_exceeded"),
    "900,000 items that are not there": (value(b"\xdd\x00\x0d\xbb\xa0"), "malformed"),
    "headers of 4,096 in each other": (value(b"\xdc\x10\x00" * 20_000), "limit_exceeded"),
    "headers of 65,535 in each other": (value(b"\xdc\xff\xff" * 15), "malformed"),
    "maps of 65,535 in each other": (value(b"\xde\xff\xff\xa0" * 8), "malformed"),
    "headers of 15 in each other": (value(b"\x9f" * 16_000), "limit_exceeded"),
    "headers of 15 side by side": (value(b"\x9f" + b"\x9f" * 16_000), "limit_exceeded"),
    "an integer of 1,787 bytes": (value(b"\xc8\x06\xfb\x01\x7f" + b"\0" * 1786), "limit_exceeded"),
    "a Decimal of 4,301 digits": (value(b"\xc8\x10\xcf\x02" + LONG), "limit_exceeded"),
    "a Decimal of 10^9 digits": (value(b"\xc7\x0c\x02" + b"1E1000000000"), "limit_exceeded"),
    "a timestamp of msgpack": (value(b"\xd6\xff\0\0\0\1"), "malformed"),
    "a longer timestamp of msgpack": (value(b"\xd7\xff" + bytes(8)), "malformed"),
    "the longest timestamp of msgpack": (value(b"\xc7\x0c\xff" + bytes(12)), "malformed"),
    "not a number": (value(b"\xcb\x7f\xf8" + bytes(6)), "malformed"),
    "a name of bytes": (value(b"\x81\xc4\x01a\x01"), "malformed"),
    "nothing": (b"", "malformed"),
    "no pairs": (b"\x90", "malformed"),
    "three in the place of a pair": (b"\x91\x93\x91\xa1a\x01\x02", "malformed"),
    "one in the place of a pair": (b"\x92\x92\x91\xa1a\x01\x91\x91\xa1b", "malformed"),
    "something behind": (value(b"\xc0\xc0"), "malformed"),
}  # fmt: skip


def refused(parts: list[bytes]) -> str:
    """The code with which parts are refused, at little cost."""
    size = sum(map(len, parts))
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(XKeyMsgError) as caught:
            join(parts, LIMITS)
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < 4_000_000 + 10 * size
    finally:
        tracemalloc.stop()
    return caught.value.code


@for_each("what", OVERLAPPING)
def test_what_contradicts_itself_is_refused(what: str) -> None:
    """F-51, F-52, F-53."""
    assert refused(OVERLAPPING[what]) == "malformed"
    assert refused(OVERLAPPING[what][::-1]) == "malformed"


@for_each("what", HOSTILE)
def test_what_is_hostile_is_refused_at_little_cost(what: str) -> None:
    """F-8 to F-28, F-55."""
    data, code = HOSTILE[what]
    assert refused([data]) == code
    assert refused([pairs("91a17a 01"), data]) in (code, "malformed")


def test_limits_are_for_all_parts_together() -> None:
    """F-24, F-25, F-55."""
    one = [gaps(1, 3000)]
    assert len(join(one, LIMITS)[0]) == 3001
    lists = [pairs(f"92a1{0x61 + n:02x}cd0bb8 c0") for n in range(4)]
    assert refused(lists) == "limit_exceeded"
    many = [b"\xdc\x0b\xb8" + b"".join(b"\x92\x92" + bytes((n,)) + b"\xcd" + struct.pack(">H", at)
            + b"\xc0" for at in range(3000)) for n in range(4)]  # fmt: skip
    assert refused(many) == "limit_exceeded"
    assert len(join(many[:3], LIMITS)) == 3
    few = Limits(nodes=29)
    assert join([value(b"\x9f" + b"\0" * 15)], few) == [0] * 15
    with pytest.raises(XKeyMsgError, match="values"):
        join([pairs("91a161 9a" + "00" * 10), pairs("91a162 9a" + "00" * 10)], few)


def test_a_document_that_is_small_in_memory_only_is_refused_at_once() -> None:
    """F-6: a container counts wherever it stands, 2^30 times here."""
    document: Any = [1]
    for _ in range(30):
        document = [document, document]
    tenth = Limits(nodes=100_000)
    for patterns in ([""], ["/0", ""], ["/**/x", ""], ['/**/x[t="x"]', ""]):
        policy = Policy([(pattern, ["a"]) for pattern in patterns])
        start = time.process_time()
        with pytest.raises(XKeyMsgError, match="number of values"):
            split(document, policy, LIMITS if patterns == [""] else tenth)
        with pytest.raises(XKeyMsgError, match="number of values"):
            policy.explain(document, tenth)
        assert time.process_time() - start < 10 * SECONDS


def scanned(parts: list[bytes], limits: Limits) -> Any:
    """What unpacking gives without its shorter way."""
    counts = Counts()
    try:
        for part in parts:
            scan(part, limits, counts)
    except XKeyMsgError as error:
        return error.code
    return [exact(build(part), ordered=True) for part in parts]


def unpacked(parts: list[bytes], limits: Limits) -> Any:
    try:
        return [
            exact([list(pair) for pair in part], ordered=True) for part in unpack(parts, limits)
        ]
    except XKeyMsgError as error:
        return error.code


TIGHT: Final = Limits(depth=3, nodes=40, fields=4)


@settings(PATIENT, max_examples=examples(133))
@given(st.lists(ALMOST | damaged() | st.binary(max_size=30), min_size=1, max_size=2))
@example([value(b"\xd6\xff\0\0\0\1")])
@example([path_of(40)])
@example([value(b"\xca\x3f\x80\0\0")])
@example([value(b"\x82\xa1a\x01\xa1a\x01")])
def test_the_shorter_way_takes_what_the_scan_takes(parts: list[bytes]) -> None:
    """F-29: and refuses with the same code."""
    for limits in (LIMITS, TIGHT):
        assert unpacked(parts, limits) == scanned(parts, limits)


@settings(PATIENT, max_examples=examples(100))
@given(ALMOST | damaged() | st.binary(max_size=100))
def test_arbitrary_bytes_are_a_document_or_an_error_of_ours(data: bytes) -> None:
    try:
        document = join([data], LIMITS)
    except (MalformedError, LimitExceededError):
        return
    repr(document)


@for_each("text", ["", "short", "long" * 100])
def test_a_part_that_is_cut_short_is_refused(text: str) -> None:
    """F-22: a part is all that it says, to the last byte."""
    document = {"a": [1, 2.5, text, b"x"], "b": {"c": None, "d": [True, {}]}}
    [part] = split(document, Policy([("/**", ["p"])]), LIMITS).parts
    for end in range(len(part.plaintext)):
        with pytest.raises(MalformedError):
            join([part.plaintext[:end]], LIMITS)


@for_each(
    "data",
    [
        value(b"\xa9SECRET\xed\xa0\x80"),
        value(b"\x81\xa9SECRET\xff\xff\xff\x01"),
        value(b"\x82\xa6SECRET\x01\xa6SECRET\x01"),
        value(b"\x81\xa6SECRET\xc4\x06SECRET\x00"),
        value(b"\x81\xc4\x06SECRET\x00"),
        value(b"\xc7\x06\x02SECRET"),
        pairs("a6534543524554 01"),
        pairs("91a6534543524554 01", "91a6534543524554 02"),
        pairs("91a6534543524554 01", "92a653454352455400 02"),
    ],
)
def test_no_error_has_a_byte_of_the_document_in_it(data: bytes) -> None:
    """Neither in its text nor in any error behind it, which some loggers show."""
    with pytest.raises(XKeyMsgError) as caught:
        join([data], LIMITS)
    error: BaseException | None = caught.value
    while error is not None:
        assert "SECRET" not in f"{error!r} {vars(error)} {error.args}"
        error = error.__cause__ or error.__context__


def test_a_split_document_shows_nothing_of_it() -> None:
    found = split({"SECRET": "SECRET"}, Policy([("/**", ["p"])]), LIMITS)
    assert "SECRET" not in f"{found!r} {found} {found.parts}"


def calls(function: Callable[[], object]) -> int:
    """Count the calls of functions that a function makes."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@cache
def filters(count: int) -> Policy:
    rules = [(f'/e/*[k="v{number}"][j=1]/x', ["few"]) for number in range(count)]
    rules += [(f'/e/*[k="v{number}"]/y', ["few"]) for number in range(count)]
    return Policy([*rules, ("", ["many"])])


@for_each(
    "item",
    [
        {},
        {"a": 1, "b": "v1"},
        {"k": "w"},
        {"k": 7},
        {"k": {}},
        {"k": ["w"]},
        {"k": "v1"},
        {"k": "v1", "j": 2},
        {"j": 1},
        {"K": "w", "k\u200b": "u"},
    ],
)
def test_a_filter_costs_nothing_at_a_map_without_its_value(item: dict[str, Any]) -> None:
    """With each test at each map, N rules and M maps, which cost 3 bytes, cost N times M."""
    document, costs = {"e": [dict(item) for _ in range(100)]}, []
    for count in (10, 1000):
        policy = filters(count)
        split(document, policy, LIMITS)  # states are made once
        costs.append(calls(partial(split, document, policy, LIMITS)))
    assert costs[0] == costs[1]


def test_comparing_look_alikes_counts_against_the_limit_of_nodes() -> None:
    """Each level that looks like one of a pattern compares everything below it."""
    policy = Policy([("/**/a" + "/*" * 30 + "/x", ["few"]), ("", ["many"])])
    document: Any = [1] * 1000
    for _ in range(29):
        document = {"A": document}
    assert len(split(document, policy, Limits(nodes=40_000)).parts) == 1
    assert policy.explain(document, Limits(nodes=40_000))
    for refused in (
        lambda: split(document, policy, Limits(nodes=20_000)),
        lambda: policy.explain(document, Limits(nodes=20_000)),
    ):
        with pytest.raises(LimitExceededError, match="look-alikes"):
            refused()


def test_what_is_sealed_never_costs_a_counter_where_it_is_refused() -> None:
    """F-50: the session of the sealer does not move."""
    before = head_of(SEALER.seal(b"", to=[SEALER.public], subject="a"))
    with pytest.raises(MalformedError):
        SEALER.seal_document(
            {"a": {1, 2}},
            policy=Policy([("/**", ["p"])]),
            readers={"p": [SEALER.public]},
            subject="a",
        )
    after = head_of(SEALER.seal(b"", to=[SEALER.public], subject="a"))
    assert (after.E, after.counter) == (before.E, before.counter + 1)


@pytest.mark.timeout(60)
def test_numbers_with_equal_hashes_do_not_make_a_filter_slow() -> None:
    """Python hashes integers modulo 2^61 - 1; a set of 60,000 such numbers takes minutes."""
    policy = Policy([("/a[k=1]/v", ["few"]), ("", ["many"])])
    numbers = [2 + (2**61 - 1) * number for number in range(60_000)]
    [part] = split({"a": {"k": numbers, "v": 1}}, policy, Limits()).parts
    assert part.permissions == {"many"}
