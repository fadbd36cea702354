"""Reads the plaintexts of parts (docs/spec/fields.md, F-7 to F-29), byte by byte, iteratively."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.reference import fields_scalars as scalars
from tests.reference.fields_model import (
    Document,
    FieldLimits,
    Pair,
    Path,
    exceeded,
    malformed,
)

CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
# first byte -> kind, and size of the length after it
LENGTHS: Final = {
    0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4),
    0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
    0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4),
    0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
# first byte -> struct format of the rest
NUMBERS: Final = {
    0xCA: ">f", 0xCB: ">d",
    0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip


class Header(NamedTuple):
    """First byte and length: in bytes for str, bin and ext, in items for a container."""

    kind: str
    k: int = 0
    first: int = 0


@dataclass(slots=True)
class Frame:
    """A container with items left to read."""

    container: list[Document] | dict[str, Document]
    left: int


@dataclass(slots=True)
class Counters:
    """Counters over all granted parts together."""

    limits: FieldLimits
    nodes: int = 0
    fields: int = 0

    def add_nodes(self, k: int) -> None:
        self.nodes += k
        if self.nodes > self.limits.nodes:
            raise exceeded("F-24")

    def add_fields(self, k: int) -> None:
        self.fields += k
        if self.fields > self.limits.fields:
            raise exceeded("F-25")


@dataclass(slots=True)
class PlaintextReader:
    data: bytes
    counters: Counters
    at: int = field(default=0, init=False)

    def take(self, k: int, rule: str = "F-22") -> bytes:
        if len(self.data) - self.at < k:
            raise malformed(rule)
        self.at += k
        return self.data[self.at - k : self.at]

    def header(self) -> Header:
        """Read the first byte and the bytes of the length."""
        first = self.take(1)[0]
        if first in CONSTANTS:
            return Header("constant", first=first)
        if first in NUMBERS:
            return Header("float" if first < 0xCC else "integer", first=first)
        if first in LENGTHS:
            kind, width = LENGTHS[first]
            return Header(kind, int.from_bytes(self.take(width), "big"))
        if 0xD4 <= first <= 0xD8:
            return Header("ext", 1 << first - 0xD4)
        if first <= 0x7F or first >= 0xE0:
            return Header("fixint", first=first)
        if first == 0xC1:
            raise malformed("F-8")
        if first >= 0xA0:
            return Header("str", first & 0x1F)
        return Header("array" if first >= 0x90 else "map", first & 0x0F)

    def fits(self, k: int) -> None:
        if k > len(self.data) - self.at:
            raise malformed("F-26")

    # --- scalars

    def number(self, header: Header) -> int | float:
        form = NUMBERS[header.first]
        value: int | float = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        if isinstance(value, float) and not math.isfinite(value):
            raise malformed("F-12")
        return value

    def integer(self, header: Header) -> int:
        if header.kind == "fixint":
            return header.first - 256 if header.first >= 0xE0 else header.first
        value = self.number(header)
        assert isinstance(value, int)
        return value

    def text(self, k: int) -> str:
        try:
            return self.take(k, "F-26").decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise malformed("F-11") from None

    def ext(self, k: int) -> object:
        code = self.take(1)[0]
        scalars.check_length(code, k)
        return scalars.READ[code](self.take(k, "F-26"))

    def scalar(self, header: Header) -> Document:
        match header.kind:
            case "constant":
                return CONSTANTS[header.first]
            case "str":
                return self.text(header.k)
            case "bin":
                return self.take(header.k, "F-26")
            case "ext":
                return self.ext(header.k)
            case "float":
                return self.number(header)
        return self.integer(header)

    # --- values

    def name(self, known: dict[str, Document]) -> str:
        header = self.header()
        if header.kind != "str":
            raise malformed("F-9")
        name = self.text(header.k)
        if name in known:
            raise malformed("F-10")
        return name

    def container(self, header: Header, depth: int) -> Frame:
        nodes = header.k * (2 if header.kind == "map" else 1)
        if depth >= self.counters.limits.depth:
            raise exceeded("F-23")
        self.counters.add_nodes(nodes)
        self.fits(nodes)
        return Frame({} if header.kind == "map" else [], header.k)

    def value(self, depth: int) -> Document:
        """Read a value of this depth with everything in it."""
        root: list[Document] = []
        stack = [Frame(root, 1)]
        while stack:
            frame = stack[-1]
            if frame.left == 0:
                stack.pop()
                continue
            frame.left -= 1
            into = frame.container
            name = self.name(into) if isinstance(into, dict) else ""
            header = self.header()
            if header.kind in ("array", "map"):
                opened = self.container(header, depth + len(stack) - 1)
                stack.append(opened)
                item: Document = opened.container
            else:
                item = self.scalar(header)
            if isinstance(into, dict):
                into[name] = item
            else:
                into.append(item)
        return root[0]

    # --- the plaintext

    def array_of_form(self) -> int:
        header = self.header()
        if header.kind != "array":
            raise malformed("F-20")
        return header.k

    def segment(self) -> str | int:
        header = self.header()
        if header.kind == "str":
            return self.text(header.k)
        if header.kind not in ("integer", "fixint"):
            raise malformed("F-20")
        index = self.integer(header)
        if index < 0:
            raise malformed("F-20")
        return index

    def path(self) -> Path:
        k = self.array_of_form()
        if k > self.counters.limits.depth:
            raise exceeded("F-23")
        self.counters.add_nodes(k)
        self.fits(k)
        return tuple(self.segment() for _ in range(k))

    def pair(self) -> Pair:
        if self.array_of_form() != 2:
            raise malformed("F-20")
        self.counters.add_nodes(2)
        self.fits(2)
        path = self.path()
        return path, self.value(len(path))

    def plaintext(self) -> list[Pair]:
        if not self.data:
            raise malformed("F-21")
        k = self.array_of_form()
        if k == 0:
            raise malformed("F-21")
        self.counters.add_fields(k)
        self.counters.add_nodes(1 + k)
        self.fits(k)
        pairs = [self.pair() for _ in range(k)]
        if self.at != len(self.data):
            raise malformed("F-22")
        return pairs


def read_parts(plaintexts: Iterable[bytes], limits: FieldLimits) -> list[list[Pair]]:
    """Return the pairs of the granted parts of type 1, given in ascending order."""
    counters = Counters(limits)
    return [PlaintextReader(plaintext, counters).plaintext() for plaintext in plaintexts]
