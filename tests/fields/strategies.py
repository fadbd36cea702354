"""Arbitrary documents of every kind, policies, and plaintexts that are almost right."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from xkeymsg import Policy, PolicyError

PATIENT: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For examples that may take a while to make on a machine that has other things to do."""

PERMISSIONS: Final = ("p", "q", "r")
NAMES: Final = st.sampled_from(
    ["", "a", "b", "0", "1", "01", "~", "~1", "/", "*", "**", "é", "a/b"]
)
_SPELT: Final = st.sampled_from(
    ['""', "a", "b", "0", "1", "01", "~0", "~01", "~1", "~2", "~2~2", "é", "a~1b", '"a/b"',
     "*", "*", "*"]
)  # fmt: skip
INTEGERS: Final = st.one_of(
    st.integers(),
    st.sampled_from([s * 2**n + d for s in (1, -1) for n in (63, 64, 71, 72) for d in (-1, 0, 1)]),
    st.sampled_from([10**4300 - 1, 1 - 10**4300]),
)
DECIMALS: Final = st.builds(
    lambda sign, number, exponent: Decimal((sign, tuple(map(int, str(number))), exponent)),
    st.sampled_from([0, 1]),
    st.integers(0, 10**40) | st.just(10**4300 - 1),
    st.integers(-6176, 6176),
)
TIMES: Final = st.builds(
    lambda wall, seconds: wall.replace(tzinfo=timezone(timedelta(seconds=seconds))),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the zone comes after
    st.integers(-86_399, 86_399),
) | st.sampled_from([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.binary(max_size=8),
    DECIMALS,
    TIMES,
    st.uuids(),
)
DOCUMENTS: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=16,
)
STRUCTURES: Final = st.recursive(
    st.none(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.integers(2, 5).map(str), inner, max_size=4)
    ),
    max_leaves=20,
)
"""Documents without values."""

PATTERNS: Final = st.builds(
    lambda above, below: "".join(f"/{name}" for name in above + below),
    st.lists(_SPELT, max_size=3),
    st.just([]) | st.builds(lambda below: ["**", *below], st.lists(_SPELT, max_size=1)),
)


def _filtered(*filters: str) -> st.SearchStrategy[str]:
    """Patterns with filters, and names that look alike; two `**` in one are an error."""
    segment = st.builds(
        str.__add__,
        st.sampled_from(["/*", "/a", "/A", "/0", "/t"]),
        st.sampled_from(["", "", *filters]),
    )
    return st.lists(st.just("/**") | segment, max_size=3).map("".join)


_FILTERS: Final = '[t="x"]', '[T="x"]', "[t=1]", '[a="1"]', "[t=null][a=true]"
FILTERED: Final = _filtered(*_FILTERS)
"""Patterns whose filters the documents of the brute-force test for dead rules have."""

_PERMISSIONS: Final = st.sets(st.sampled_from(PERMISSIONS), min_size=1).map(sorted)


def _live(rules: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Leave out the rules that can never match."""
    kept: list[tuple[str, list[str]]] = []
    for rule in rules:
        with suppress(PolicyError):
            Policy([*kept, rule])
            kept.append(rule)
    return kept


RULES: Final = (
    st.lists(st.tuples(PATTERNS, _PERMISSIONS), min_size=1, max_size=8).map(_live).filter(bool)
)
TOTAL_RULES: Final = st.builds(lambda rules, last: _live([*rules, ("", last)]), RULES, _PERMISSIONS)
"""Rules that match everything."""

ANY_RULES: Final = st.lists(st.tuples(PATTERNS | FILTERED, _PERMISSIONS), min_size=1, max_size=5)
"""Rules that may be dead."""
FILTERED_RULES: Final = st.builds(
    lambda rules, last: _live([*rules, *last]),
    st.lists(
        st.tuples(
            _filtered(*_FILTERS, "[t=true]", '[t="true"]', "[t=0]", '[t="x"][a="1"]'), _PERMISSIONS
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.tuples(st.just(""), _PERMISSIONS), max_size=1),
).filter(bool)
ALIKE: Final[st.SearchStrategy[Any]] = st.recursive(
    st.sampled_from(
        [
            "x",
            "X",
            "1",
            1,
            1.0,
            True,
            None,
            b"x",
            "true",
            "y",
            Decimal(1),
            [],
            {},
            "01",
            "1.0",
            False,
            0,
            "0",
            "null",
            Decimal("1.0"),
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "A", "a\u200b", "0", "\uff10", "t", "T", "c"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
"""Documents for patterns with filters, and with names that look alike."""


def _hex(*texts: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from([bytes.fromhex(text) for text in texts])


_ODD: Final = _hex(
    "c0", "c2", "00", "7f", "ff", "cc05", "cfffffffffffffffff", "d38000000000000000", "ca3f800000",
    "cb3ff8000000000000", "cb7ff0000000000000", "ca7fc00000", "a161", "a0", "d90161", "a2c3a4",
    "a2c3c4", "a3eda080", "c40178", "d6ff00000001", "d7ff0000000000000001", "c1",
    "c70cff000000000000000000000001", "c70602313530452d32", "d602312d45", "d60231452d31",
    "d6022d304530", "c7090101" + "00" * 8, "c709017f" + "00" * 8, "d804" + "75" * 16,
    "c70c03000647484620400000000e10", "c70c037fffffffffffffff00000e10", "d40561",
)  # fmt: skip
"""Scalars right and wrong, in forms short and long."""

_NAME: Final = _hex("a161", "a162", "a163", "a0", "d90161", "c40161", "00")
_SEGMENT: Final = _hex("a161", "a162", "a0", "00", "01", "02", "09", "cc01", "cd2711", "ff", "c2")


def _array(items: list[bytes]) -> bytes:
    return bytes((0x90 + len(items),)) + b"".join(items)


def _map(members: list[tuple[bytes, bytes]]) -> bytes:
    return bytes((0x80 + len(members),)) + b"".join(name + value for name, value in members)


_VALUES: Final = st.recursive(
    _ODD,
    lambda inner: (
        st.lists(inner, max_size=3).map(_array)
        | st.lists(st.tuples(_NAME, inner), max_size=3).map(_map)
    ),
    max_leaves=6,
)
_PAIRS: Final = st.builds(
    lambda path, value: _array([_array(path), value]), st.lists(_SEGMENT, max_size=5), _VALUES
)
ALMOST: Final = st.lists(_PAIRS, min_size=1, max_size=4).map(_array)
"""Plaintexts of parts, most of them with something wrong."""


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A plaintext with a piece replaced."""
    data = draw(ALMOST)
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 3)))
    piece = draw(st.binary(max_size=3) | _hex("dcffff", "dd00000fff", "de0010", "9f", "8f", "df"))
    return data[:start] + piece + data[end:]
