"""Typed documents as text (docs/spec/fields.md): a notation for vectors and examples."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from tests.reference.fields_model import WITHHELD, Document
from tests.reference.fields_scalars import decimal_data

TOKEN: Final = re.compile(
    r"""
    [ \t\r\n]*(?:
      (?P<typed>[hdtu])"(?P<inside>[^"]*)"
    | (?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")
    | (?P<float>-?(?:0|[1-9][0-9]*)(?=[.eE])(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<integer>-?(?:0|[1-9][0-9]*))(?![0-9.eE])
    | (?P<word>null|true|false|WITHHELD|NaN|-?Infinity)(?![A-Za-z])
    | (?P<mark>[\[\]{},:])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
TYPED: Final = {
    "h": re.compile(r"(?:[0-9a-f]{2})*"),
    "d": re.compile(r"-?(?:0|[1-9][0-9]*)E(?:0|-?[1-9][0-9]*)"),
    "t": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?[+-]\d\d:\d\d(?::\d\d)?", re.ASCII),
    "u": re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"),
}
MAKE: Final[dict[str, Callable[[str], object]]] = {
    "h": bytes.fromhex,
    "d": Decimal,
    "t": datetime.fromisoformat,
    "u": UUID,
}
CHUNK: Final = 4_000  # number of digits that int() and str() take at once


def to_int(digits: str) -> int:
    """Convert digits of any length; int() itself refuses more than 4,300."""
    sign = -1 if digits.startswith("-") else 1
    value = 0
    for at in range(0, len(digits.lstrip("-")), CHUNK):
        chunk = digits.lstrip("-")[at : at + CHUNK]
        value = value * 10 ** len(chunk) + int(chunk)
    return sign * value


def from_int(value: int) -> str:
    chunks = []
    rest = abs(value)
    while rest >= 10**CHUNK:
        rest, chunk = divmod(rest, 10**CHUNK)
        chunks.append(f"{chunk:0{CHUNK}d}")
    return "-" * (value < 0) + str(rest) + "".join(reversed(chunks))


def to_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"not a float: {text}")
    return value


class Parser:
    """Parses a text; `marker` represents WITHHELD."""

    def __init__(self, text: str, marker: object) -> None:
        self.text = text
        self.at = 0
        self.words = {
            "null": None,
            "true": True,
            "false": False,
            "NaN": math.nan,
            "Infinity": math.inf,
            "-Infinity": -math.inf,
            "WITHHELD": marker,
        }

    def token(self) -> tuple[str, str]:
        match = TOKEN.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not a document: {self.text[self.at : self.at + 20]!r}")
        self.at = match.end()
        kind = match.lastgroup
        assert kind is not None
        if kind == "inside":
            return match["typed"], match["inside"]
        return kind, match[kind]

    def scalar(self, kind: str, text: str) -> object:
        match kind:
            case "text":
                return json.loads(text)
            case "float":
                return to_float(text)
            case "integer":
                return to_int(text)
            case "word":
                return self.words[text]
        if kind not in TYPED or not TYPED[kind].fullmatch(text):
            raise ValueError(f"not a value: {kind} {text}")
        return MAKE[kind](text)

    def value(self) -> Document:
        kind, text = self.token()
        if text == "[" and kind == "mark":
            return self.items()
        if text == "{" and kind == "mark":
            return self.members()
        return self.scalar(kind, text)

    def ends(self, mark: str) -> bool:
        """Return whether the next token is `mark`, and read it."""
        before = self.at
        if self.token() == ("mark", mark):
            return True
        self.at = before
        return False

    def goes_on(self, mark: str) -> bool:
        token = self.token()
        if token not in (("mark", ","), ("mark", mark)):
            raise ValueError(f"expected a comma or {mark}: {token[1]}")
        return token[1] == ","

    def items(self) -> list[Document]:
        found: list[Document] = []
        if self.ends("]"):
            return found
        found.append(self.value())
        while self.goes_on("]"):
            found.append(self.value())
        return found

    def members(self) -> dict[str, Document]:
        found: dict[str, Document] = {}
        if self.ends("}"):
            return found
        self.member(found)
        while self.goes_on("}"):
            self.member(found)
        return found

    def member(self, found: dict[str, Document]) -> None:
        kind, text = self.token()
        colon = self.token()
        if kind != "text" or colon != ("mark", ":"):
            raise ValueError(f"not a member: {text}")
        name = json.loads(text)
        if name in found:
            raise ValueError(f"duplicate name: {text}")
        found[name] = self.value()


def loads(text: str, marker: object = WITHHELD) -> Document:
    """Parse a document.

    Raises:
        ValueError: If the text is not in the notation.
    """
    parser = Parser(text, marker)
    document = parser.value()
    if parser.token()[0] != "end":
        raise ValueError(f"unexpected text after the document: {text[parser.at :][:20]!r}")
    return document


def time_text(value: datetime) -> str:
    assert value.tzinfo is not None
    return value.isoformat()


def float_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def scalar_text(value: Document) -> str:
    kinds: dict[type, Callable[[Document], str]] = {
        type(None): lambda _: "null",
        bool: lambda v: "true" if v else "false",
        int: from_int,
        float: float_text,
        str: json.dumps,
        bytes: lambda v: f'h"{v.hex()}"',
        Decimal: lambda v: f'd"{decimal_data(v).decode()}"',
        datetime: lambda v: f't"{time_text(v)}"',
        UUID: lambda v: f'u"{v}"',
    }
    return kinds[type(value)](value)


def dumps(value: Document, marker: object = WITHHELD) -> str:
    """Return the canonical text of a document: equal documents have equal texts, others do not."""
    if value is marker:
        return "WITHHELD"
    if type(value) is list:
        return f"[{', '.join(dumps(item, marker) for item in value)}]"
    if type(value) is dict:
        members = [f"{json.dumps(name)}: {dumps(item, marker)}" for name, item in value.items()]
        return f"{{{', '.join(members)}}}"
    return scalar_text(value)
