"""A vector of docs/spec/fields.md, and its text. Parsing is strict: whatever is not known fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.reference.fields_model import CODES, Document, FieldLimits
from tests.reference.fields_text import dumps, loads

BYTES_PER_LINE: Final = 40
LIMITS: Final = ("limit-depth", "limit-nodes", "limit-fields", "limit-holes")
COMMON: Final = ("do", "expect", "spec", "comment", *LIMITS)
KEYS: Final = {
    "join": ("parts", "document", "withheld"),
    "split": ("rule", "allow-unread", "reader", "metadata", "part", "view", "pointer"),
    "policy": ("rule", "allow-unread", "line", "number"),
    "readers": (),
}
REPEATED: Final = ("spec", "rule", "allow-unread", "reader", "part", "view", "pointer")

Header = Mapping[str, tuple[str, ...]]
RuleText = tuple[frozenset[str], str | tuple[str, ...]]
"""Permissions, and a pattern or several."""


@dataclass(frozen=True, slots=True)
class View:
    """What a reader gets; a reader without wrap has no view."""

    withheld: int
    document: str


def permissions(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def text_of(literal: str) -> str:
    value = loads(literal)
    if type(value) is not str:
        raise ValueError(f"no text: {literal}")
    return value


def patterns_of(literal: str) -> str | tuple[str, ...]:
    value = loads(literal)
    if type(value) is not list:
        return text_of(literal)
    if len(value) < 2 or not all(type(each) is str for each in value):
        raise ValueError(f"no patterns: {literal}")
    return tuple(value)


def natural(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]*", text):
        raise ValueError(f"no number: {text}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Vector:
    """One scenario. `name` is folder and file, such as join/overview_billing."""

    name: str
    header: Header
    body: str

    def one(self, key: str, default: str = "") -> str:
        return self.header.get(key, (default,))[0]

    def several(self, key: str) -> tuple[str, ...]:
        return self.header.get(key, ())

    @property
    def do(self) -> str:
        return self.one("do")

    @property
    def expect(self) -> str:
        return self.one("expect")

    @property
    def is_success(self) -> bool:
        return self.expect == "success"

    @property
    def spec(self) -> tuple[str, ...]:
        return self.several("spec")

    @property
    def comment(self) -> str:
        return self.one("comment")

    @property
    def limits(self) -> FieldLimits:
        given = {key: natural(self.one(key)) for key in LIMITS if key in self.header}
        return FieldLimits(**{key.removeprefix("limit-"): value for key, value in given.items()})

    # --- join

    @property
    def plaintexts(self) -> list[bytes]:
        parts = ["".join(part.split()) for part in re.split(r"\n[ \t]*\n", self.body)]
        return [b"" if part == "-" else nonempty(bytes.fromhex(part)) for part in parts]

    @property
    def parts(self) -> int:
        """How many parts of type 1 the document has."""
        return natural(self.one("parts", str(len(self.plaintexts))))

    @property
    def document(self) -> str:
        return canonical(self.one("document"))

    @property
    def withheld(self) -> int:
        return natural(self.one("withheld"))

    # --- split and policy

    @property
    def rules(self) -> list[RuleText]:
        found = []
        for line in self.several("rule"):
            names, _, pattern = line.partition(" ")
            found.append((permissions(names), patterns_of(pattern)))
        return found

    @property
    def allow_unread(self) -> frozenset[str]:
        return frozenset(self.several("allow-unread"))

    @property
    def readers(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for line in self.several("reader"):
            name, space, held = line.partition(" ")
            if name in found:
                raise ValueError(f"two readers of one name: {name}")
            found[name] = permissions(held) if space else frozenset()
        return found

    @property
    def metadata(self) -> bool:
        return {"yes": True, "no": False}[self.one("metadata", "no")]

    @property
    def split_parts(self) -> list[tuple[frozenset[str], str]]:
        """Permissions, and the pairs as text: an array of [path, value]."""
        found = []
        for line in self.several("part"):
            names, _, pairs = line.partition(" ")
            found.append((permissions(names), canonical(pairs)))
        return found

    @property
    def views(self) -> dict[str, View | None]:
        found: dict[str, View | None] = {}
        for line in self.several("view"):
            name, _, rest = line.partition(" ")
            withheld, _, document = rest.partition(" ")
            found[name] = None if rest == "none" else View(natural(withheld), canonical(document))
        return found

    @property
    def pointers(self) -> list[str]:
        return [text_of(line) for line in self.several("pointer")]

    @property
    def line(self) -> int | None:
        return natural(self.one("line")) if "line" in self.header else None

    @property
    def number(self) -> int | None:
        return natural(self.one("number")) if "number" in self.header else None

    def split_document(self, marker: object) -> Document:
        return loads(self.body, marker)

    # --- text

    def text(self) -> str:
        order = [*COMMON, *KEYS[self.do]]
        lines = [f"{key}: {value}" for key in order for value in self.several(key)]
        return "\n".join([*lines, "", self.body])

    def json(self) -> dict[str, Any]:
        """The object in vectors/fields.json."""
        order = [key for key in (*COMMON, *KEYS[self.do]) if key in self.header]
        header = {
            key: list(self.header[key]) if key in REPEATED else self.one(key) for key in order
        }
        return {"name": self.name, **header, "body": self.body}


def nonempty(data: bytes) -> bytes:
    if not data:
        raise ValueError("a plaintext of 0 bytes is written -")
    return data


def canonical(text: str) -> str:
    """The text itself, which has to be as the reference writes it."""
    if dumps(loads(text)) != text:
        raise ValueError(f"another text would mean the same: {text[:60]}")
    return text


def hexadecimal(plaintexts: list[bytes]) -> str:
    """The body of a vector to be joined."""
    blocks = [
        "".join(f"{p[at : at + BYTES_PER_LINE].hex()}\n" for at in range(0, len(p), BYTES_PER_LINE))
        or "-\n"
        for p in plaintexts
    ]
    return "\n".join(blocks)


# --- checks


def evaluate(vector: Vector) -> bool:
    """Give every value its meaning (ValueError if it has none); whether they fit each other."""
    if vector.limits.nodes == 0:
        return False
    if vector.do == "join":
        shown = (vector.document, vector.withheld) if vector.is_success else None
        left = vector.parts - len(vector.plaintexts)
        return left >= 0 and (shown is None or shown[1] == left)
    if vector.do == "policy":
        return (vector.rules, vector.line, vector.number) is not None
    if vector.do == "split":
        shown_parts = (vector.rules, vector.metadata, vector.split_parts, vector.pointers)
        vector.split_document(None)
        same_readers = vector.readers.keys() == vector.views.keys()
        return bool(shown_parts) and (same_readers or not vector.is_success)
    return True


def needed(vector: Vector) -> tuple[set[str], set[str]]:
    """Keys that the outcome demands, and those that it permits besides."""
    if vector.do == "join":
        return ({"document", "withheld"}, {"parts"}) if vector.is_success else (set(), {"parts"})
    if vector.do == "policy":
        return ({"rule"}, {"allow-unread"}) if vector.is_success else (set(), {"line", "number"})
    if vector.do == "split":
        shown = {"part", "view"} if vector.is_success else set()
        shown |= {"pointer"} if vector.expect in ("field_denied", "field_ambiguous") else set()
        return shown, {"rule", "allow-unread", "reader", "metadata"}
    return set(), set()


def check(vector: Vector) -> None:
    for key, group in vector.header.items():
        if key not in REPEATED and len(group) > 1:
            raise ValueError(f"{vector.name}: {key} is repeated")
    if vector.expect not in ("success", *CODES) or vector.name.split("/")[0] != vector.do:
        raise ValueError(f"{vector.name}: {vector.expect} or {vector.do} is no value here")
    must, may = needed(vector)
    must |= {"do", "expect", "spec", "comment"}
    if must - vector.header.keys() or vector.header.keys() - must - may - {*LIMITS}:
        raise ValueError(f"{vector.name}: a key is missing or out of place")
    if not evaluate(vector):
        raise ValueError(f"{vector.name}: its values do not fit")


def parse(name: str, text: str) -> Vector:
    """The vector in a file.

    Raises:
        ValueError: A key is unknown, missing, repeated or out of place, or a value has no meaning.
    """
    head, found, body = text.partition("\n\n")
    if not found:
        raise ValueError(f"{name}: no empty line behind the header")
    header: dict[str, tuple[str, ...]] = {}
    known = {*COMMON, *(key for keys in KEYS.values() for key in keys)}
    for line in head.split("\n"):
        match = re.fullmatch(r"([a-z-]+): (\S.*)", line)
        if match is None or match[1] not in known:
            raise ValueError(f"{name}: not a header line: {line}")
        header[match[1]] = (*header.get(match[1], ()), match[2])
    vector = Vector(name, header, body)
    try:
        check(vector)
    except KeyError as unknown:
        raise ValueError(f"{name}: {unknown} is no value here") from None
    return vector
