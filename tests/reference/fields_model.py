"""Documents, limits and refusals of the reference of docs/spec/fields.md.

A document is a Python value: None, bool, int, float, str, bytes, Decimal, datetime, UUID, list and
dict, each of exactly this type, or WITHHELD.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

Document = Any
Path = tuple[str | int, ...]
Pair = tuple[Path, Document]

CODES: Final = (
    "malformed", "limit_exceeded", "field_denied", "field_ambiguous", "policy_invalid",
    "key_format",
)  # fmt: skip
MAX_DIGITS: Final = 4_300
TOO_BIG: Final = 10**MAX_DIGITS
MAX_EXPONENT: Final = 6_176
EARLIEST: Final = -62_135_596_800_000_000
LATEST: Final = 253_402_300_799_999_999
MAX_OFFSET: Final = 86_399
MAX_PARTS: Final = 64
MAX_VIEWS: Final = 256


class Marker(Enum):
    WITHHELD = "WITHHELD"

    def __repr__(self) -> str:
        return self.value


WITHHELD: Final = Marker.WITHHELD


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldLimits:
    """The local limits (spec, Limits)."""

    depth: int = 32
    nodes: int = 1_000_000
    fields: int = 10_000
    holes: int = 10_000


class FieldsRefusalError(Exception):
    """A refusal of a document, a policy or a plaintext; `rule` is the id of the requirement."""

    def __init__(
        self,
        code: str,
        rule: str,
        *,
        pointers: tuple[str, ...] = (),
        line: int | None = None,
        number: int | None = None,
    ) -> None:
        assert code in CODES, code
        super().__init__(f"{code} ({rule})")
        self.code = code
        self.rule = rule
        self.pointers = pointers  # of fields without a rule (F-32)
        self.line = line  # of a policy file (F-39)
        self.number = number  # of the rule in a policy file, from 1


def malformed(rule: str) -> FieldsRefusalError:
    return FieldsRefusalError("malformed", rule)


def exceeded(rule: str) -> FieldsRefusalError:
    return FieldsRefusalError("limit_exceeded", rule)
