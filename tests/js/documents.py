"""Random documents, policies and plaintexts of fields."""

from __future__ import annotations

import random  # noqa: TID251 - the same documents for a seed
import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from tests.envelope.cast import ALICE, ALICE_USER, BOB
from tests.reference.fields_text import dumps

NAMES: Final = (
    "", "a", "b", "0", "1", "01", "A", "á", "a\u0301", "\uff41", "t", "T", "ß", "SS", "ss",
    "\u0131", "i", "İ", "ﬁ", "fi",
    "a\u200b", "~", "/", "*", "a/b", "é", "__proto__", "\u1e9e", "\u13a0", "\uab70", "क्", "क",
    "x y", "a.b", "-",
)  # fmt: skip
SEGMENTS: Final = (
    "a", "b", "0", "1", "*", "*", "A", "t", '"a.b"', "ss", "fi", "~1", '""', "i", "é", "**",
)  # fmt: skip
BAD_SEGMENTS: Final = (
    "na*",
    "a.b",
    "-",
    ":i",
    "a[0]",
    "{i}",
    "",
    " a",
    "~3",
    "***",
    "a[k=1.5]",
    '"a',
)
FILTERS: Final = (
    '[t="x"]', '[T="x"]', "[t=1]", '[a="1"]', "[t=null]", "[t=true]", '[t="true"]', "[t=0]",
    '[t="100"]',
    '[t="x"][a="1"]', "[t=-1]", '["t"="X"]',
)  # fmt: skip
LIKE: Final = (
    "x", "X", "x ", "1", "1.0", "01", "true", "TRUE", "null", "NULL", "1e2", "+1", ".1e1",
    "\uff11", "",
    1, 0, -1, 100, True, False, None, 1.0, 0.0, -0.0, 100.0, Decimal("1.0"), Decimal("1E2"), b"x",
    b"1", b"\xff",
)  # fmt: skip


class Documents:
    """Draws from one source of randomness."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def typed(self, document: Any) -> str:
        """Return a document in the notation of the specification."""
        return dumps(document)

    def text(self) -> str:
        points = self._random.choices(
            [0, 10, 65, 127, 0xE9, 0x20AC, 0xFEFF, 0x1F600, 0x10FFFF], k=3
        )
        return self._random.choice(["", "text/plain", "".join(map(chr, points))])

    def scalar(self) -> Any:
        draw = self._random
        power = 2 ** draw.choice([0, 5, 7, 8, 15, 16, 31, 32, 53, 63, 64, 71, 200])
        offset = timezone(timedelta(seconds=draw.randint(-86_399, 86_399)))
        instant = datetime(2, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw.randrange(3 * 10**17))
        return draw.choice(
            [
                None,
                draw.random() < 0.5,
                draw.choice([-1, 1]) * power + draw.randint(-1, 1),
                draw.choice([0.0, -0.0, 1.5, 1e300, 5e-324, draw.uniform(-1e9, 1e9)]),
                self.text(),
                draw.randbytes(draw.choice([0, 1, 300])),
                Decimal((draw.randint(0, 1), (draw.randint(0, 9),), draw.randint(-6176, 6176))),
                instant.astimezone(offset),
                UUID(bytes=draw.randbytes(16)),
            ]
        )

    def document(self, depth: int = 0) -> Any:
        """Return a document of all kinds."""
        draw = self._random
        shape = draw.random() + depth / 8
        if shape > 0.7:
            return self.scalar()
        items = range(draw.randint(0, 4))
        if shape > 0.4:
            return [self.document(depth + 1) for _ in items]
        return {draw.choice(NAMES): self.document(depth + 1) for _ in items}

    def structure(self, depth: int = 0) -> Any:
        """Return a document whose names and values resemble those of policies."""
        draw = self._random
        shape = draw.random() + depth / 6
        if shape > 0.8:
            return draw.choice(LIKE)
        items = range(draw.randint(0, 4))
        if shape > 0.6:
            return [self.structure(depth + 1) for _ in items]
        return {draw.choice(NAMES): self.structure(depth + 1) for _ in items}

    def rules(self) -> list[list[Any]]:
        """Return rules, some of them invalid or dead."""
        draw = self._random
        rules = [self._rule() for _ in range(draw.randint(1, 4))]
        return [*rules, ["/**", ["p"]]] if draw.random() < 0.7 else rules

    def _rule(self) -> list[Any]:
        draw = self._random
        segments = draw.choices(SEGMENTS, k=draw.randint(1, 3))
        if draw.random() < 0.03:
            segments.append(draw.choice(BAD_SEGMENTS))
        with_filters = [
            each + draw.choice(FILTERS) if draw.random() < 0.25 and each != "**" else each
            for each in segments
        ]
        return [
            "".join("/" + each for each in with_filters),
            draw.sample("pqr", draw.randint(1, 2)),
        ]

    def toml(self, kind: str) -> str:
        """Return the text of a policy, or a file of readers or peers, often with a mistake."""
        draw = self._random
        pool = {"policy": POLICY_LINES, "readers": READERS_LINES, "peers": PEERS_LINES}[kind]
        first = {"policy": "[[rule]]", "readers": "[readers]", "peers": PEERS_LINES[0]}[kind]
        start = [first]
        lines = start * (draw.random() < 0.8) + draw.choices(pool, k=draw.randint(1, 5))
        text = draw.choice(["\n", "\n", "\r\n"]).join(lines)
        if draw.random() < 0.5:
            at = draw.randint(0, len(text))
            text = text[:at] + draw.choice(TOML_PIECES) + text[at + draw.randint(0, 1) :]
        return text

    def plaintexts(self) -> list[bytes]:
        """Return the plaintexts of one to three parts, many of them with something wrong."""
        draw = self._random
        firsts = draw.sample(FIRST, len(FIRST)) if draw.random() < 0.8 else [b""] * len(FIRST)
        root = bytes([draw.choice([0xA1, 0xA1, 0xD9, 0])])
        parts = []
        for _ in range(draw.randint(1, 3)):
            size = draw.randint(0 if draw.random() < 0.05 else 1, 4)
            pairs = [b"\x92" + self._path(root, firsts.pop()) + self._value() for _ in range(size)]
            parts.append(self._array(pairs))
        return parts

    def _array(self, items: list[bytes]) -> bytes:
        size = len(items) + (self._random.choice([-1, 1]) if self._random.random() < 0.02 else 0)
        header = self._random.choice([b"\x90", b"\x90", b"\xdc", b"\xdd"])
        if header == b"\x90":
            return bytes([0x90 + max(size, 0)]) + b"".join(items)
        return (
            header
            + struct.pack(">H" if header == b"\xdc" else ">I", max(size, 0))
            + b"".join(items)
        )

    def _path(self, root: bytes, first: bytes) -> bytes:
        """Return a path below a member or item of the root of its own, or any path."""
        rest = self._random.choices(PATH, PATH_WEIGHTS, k=self._random.randint(0, 2))
        if not first:
            return self._array(rest)
        named = root + (b"\x01" if root == b"\xd9" else b"") + first
        below = bytes([first[0] - 0x61]) if root == b"\0" else named
        return self._array([below, *rest])

    def _value(self, depth: int = 0) -> bytes:
        draw = self._random
        if depth > 2 or draw.random() < 0.6:
            return draw.choices(VALUES, VALUE_WEIGHTS)[0]
        items = [self._value(depth + 1) for _ in range(draw.randint(0, 3))]
        if draw.random() < 0.5:
            return self._array(items)
        members = [draw.choice(MEMBERS) + each for each in items]
        return bytes([0x80 + len(members)]) + b"".join(members)


POLICY_LINES: Final = (
    'pattern = "/a"\nreaders = ["x"]\n[[rule]]\npattern = "/b"\nreaders = ["x", "y"]',
    "pattern = '/a~0'\nreaders = ['x',\n  'y', # why\n]",
    'pattern = ["/c", "/\\"d\\""]', 'readers = ["x"]', "[[ rule ]]", "[[rule]] # more",
    'allow_unread = ["x"]', "allow_unread = []", "pattern = 1", 'readers = {x = "y"}',
    "# nothing", "",
    'pattern = """\n/e"""', "pattern = \'\'\'/f\'\'\'", 'pattern = "/\\u00e9"', '"readers" = ["y"]',
    "[rule]", "[other]", "rule.pattern = 'x'", 'rule = [{pattern = "/g", readers = ["x"]}]',
    "readers = [\"x\", 1]", "pattern = 2024-01-01", "pattern = 1e5", "pattern = 0x_1", "x = true",
    "y = nan",
)  # fmt: skip
READERS_LINES: Final = (
    f'clinic = ["{ALICE.public}"]', f'billing = ["{ALICE.public} {ALICE_USER.public}"]',
    "nobody = []",
    "readers.x = []", "[readers.y]", f'"a.b" = ["{BOB.public}", \'{BOB.public}\']', "a.b = []",
    "Bad = []",
    "readers = {}", f'w = ["{ALICE.public} "]', "v = [1]", "u = 'x'", "__proto__ = []",
    "[readers]", "# end",
)  # fmt: skip
PEERS_LINES: Final = (
    f'[peers.ann]\nxkey = "{ALICE.public}"\nsubjects = ["a.>", "b"]',
    f'[peers.bo]\nxkeys = ["{ALICE.public}", \'{BOB.public}\']\nsubjects = ["*.b"]',
    f'[peers.cy]\nxkey = "{BOB.public}"\nuser = "{ALICE_USER.public}"\nsubjects = ["a"]',
    f'[peers."d.e"]\nxkey = "{BOB.public}"\nuser = "{ALICE_USER.public}"\nalways_signs = true'
    '\nsubjects = [">"]',
    f'[peers.f]\nxkey = "{ALICE.public}"\npermissions = ["clinic", "a.b"]',
    'always_signs = false', 'always_signs = true', 'always_signs = 1', 'subjects = [">"]',
    'subjects = ["a.>.b"]', 'subjects = ["_XKM.a"]', 'subjects = "a"', 'permissions = ["A"]',
    f'user = "{ALICE_USER.public}"', 'user = "U"', 'user = 1', f'xkey = "{BOB.public}"',
    'xkeys = []', "[peers]", "[peers.g]", "[peers.'-']", 'always_to = ["ann"]', "always_to = [1]",
    "other = 1", "# end",
)  # fmt: skip
TOML_PIECES: Final = (
    "\"", "'", "\\", "[", "]", "{", "}", "=", ",", "\n", "\r", "\t", "\0", "\x7f", "#", ".", " ",
    "\ufeff", "é",
    "\\n", "\\e", "\\x41", "\\ud800", "\\U00110000", "\\U0001F600", '"""', "\'\'\'", "a.b = []",
    "_", "1", "\\\n   ",
)  # fmt: skip
FIRST: Final = tuple(bytes([0x61 + i]) for i in range(12))
MEMBERS: Final = (b"\xa1a", b"\xa1b", b"\xa1c", b"\xd9\x01d", b"\xa0", b"\xa1e", b"\xa1f", b"\xa1g")
_GOOD_PATH: Final = (
    b"\xa1a",
    b"\xa1b",
    b"\xa1c",
    b"\x00",
    b"\x01",
    b"\x05",
    b"\xa1d",
    b"\xd9\x01e",
    b"\xcc\x02",
    b"\xd0\x03",
)
_BAD_PATH: Final = (
    b"\xff", b"\xca\0\0\0\0", b"\xc3", b"\xa1\xff", b"\xcf" + b"\xff" * 8, b"\xcd\x27\x10",
    b"\xce\0\1\0\0", b"\xc0",
)  # fmt: skip
PATH: Final = (*_GOOD_PATH, *_BAD_PATH)
PATH_WEIGHTS: Final = [50] * len(_GOOD_PATH) + [1] * len(_BAD_PATH)
_GOOD: Final = (
    b"\xc0", b"\xc3", b"\xc2", b"\x01", b"\xff", b"\xcc\x01", b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xca\x3f\xc0\0\0", b"\xcb\x80" + bytes(7), b"\xa1x", b"\xd9\x01x", b"\xc4\x01x", b"\xc5\0\1x",
    b"\xc7\x09\x01\x01" + bytes(8), b"\xc7\x06\x02150E-2", b"\xd6\x021E-1", b"\xd5\x020E",
    b"\xc7\x0c\x03" + bytes(12), b"\xd8\x04" + bytes(16), b"\x90", b"\x80",
)  # fmt: skip
_BAD: Final = (
    b"\xc1", b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\xca\x7f\x80\0\0", b"\xcb\x7f\xf8" + bytes(6),
    b"\xc7\x09\x01\0" + b"\xff" * 8, b"\xc7\x09\x01\0\x80" + bytes(7),
    b"\xc7\x08\x01\x01" + bytes(7),
    b"\xd8\x01\x01" + bytes(15), b"\xd8\x01" + bytes(16), b"\xd6\x02+1E0", b"\xd6\x021E-0",
    b"\xc7\x06\x021E6177",
    b"\xc7\x05\x02NaNE0", b"\xc7\x0c\x03" + b"\x7f" * 12,
    b"\xc7\x0c\x03" + bytes(8) + b"\xff\xfe\xae\x7f",
    b"\xc7\x0b\x03" + bytes(11), b"\xd7\x04" + bytes(8), b"\xd6\xff\0\0\0\1",
    b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
    b"\x91" * 40, b"\xc9\0\0\x07\0\x01", b"\xc8\x06\xfb\x01" + bytes(1787),
    b"\xc8\x10\xd4\x02" + b"1" * 4308, b"\xdf\0\1\0\0",
    b"\xdf\0\x20\0\0",
)  # fmt: skip
VALUES: Final = (*_GOOD, *_BAD)
VALUE_WEIGHTS: Final = [20] * len(_GOOD) + [1] * len(_BAD)
