"""Splits a document by a policy (docs/spec/fields.md, Splitting), field by field; slow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tests.reference.fields_join import join
from tests.reference.fields_model import (
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_PARTS,
    MAX_VIEWS,
    TOO_BIG,
    Document,
    FieldLimits,
    FieldsRefusalError,
    Pair,
    Path,
    exceeded,
    malformed,
)
from tests.reference.fields_policy import SURROGATE, Place, Policy, pointer
from tests.reference.fields_read import read_parts
from tests.reference.fields_scalars import instant_and_offset
from tests.reference.fields_write import plaintext


@dataclass(frozen=True, slots=True)
class Part:
    """A part of type 1: the permissions of its fields, and its pairs."""

    permissions: frozenset[str]
    pairs: tuple[Pair, ...]

    @property
    def plaintext(self) -> bytes:
        return plaintext(self.pairs)


@dataclass(frozen=True, slots=True)
class Split:
    """The parts in order, and the positions granted to each reader that gets a wrap."""

    parts: tuple[Part, ...]
    grants: Mapping[str, frozenset[int]]


def check_text(text: object) -> None:
    if type(text) is not str:
        raise malformed("F-2")
    if SURROGATE.search(text):
        raise malformed("F-3")


def check_decimal(value: Decimal) -> None:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise malformed("F-3")
    if len(digits) > MAX_DIGITS or abs(exponent) > MAX_EXPONENT:
        raise exceeded("F-5")


def check_scalar(value: object) -> None:
    """Check a value (F-2 to F-5)."""
    kind = type(value)
    if kind is str:
        check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise malformed("F-3")
    elif kind is int and isinstance(value, int) and abs(value) >= TOO_BIG:
        raise exceeded("F-5")
    elif isinstance(value, Decimal):
        check_decimal(value)
    elif isinstance(value, datetime):
        instant_and_offset(value)
    elif kind not in (type(None), bool, int, float, bytes, UUID):
        raise malformed("F-2")


def children(value: Document) -> Iterator[tuple[str | int, Document]]:
    if type(value) is dict:
        for name, item in value.items():
            check_text(name)
            yield name, item
    else:
        yield from enumerate(value)


def fields_of(value: Document, limits: FieldLimits, path: Path = ()) -> Iterator[Pair]:
    """Check the document and return all fields in order; F-6 bounds the stack."""
    if type(value) not in (list, dict):
        check_scalar(value)
        yield path, value
        return
    if len(path) >= limits.depth:
        raise exceeded("F-6")
    if not value:
        yield path, value
    for segment, item in children(value):
        yield from fields_of(item, limits, (*path, segment))


def at(document: Document, path: Path) -> Document:
    for segment in path:
        document = document[segment]
    return document


def place_of(document: Document, path: Path) -> Place:
    return tuple((str(path[k]), at(document, path[: k + 1])) for k in range(len(path)))


def parts_of(document: Document, sets: dict[Path, frozenset[str]]) -> Iterator[Part]:
    """Make one part per set of permissions, from the largest whole subtrees (F-40 to F-43)."""
    around: dict[Path, set[frozenset[str]]] = {}
    for path, permissions in sets.items():
        for k in range(len(path) + 1):
            around.setdefault(path[:k], set()).add(permissions)
    for permissions in dict.fromkeys(sets.values()):
        subtrees = dict.fromkeys(
            next(path[:k] for k in range(len(path) + 1) if len(around[path[:k]]) == 1)
            for path, held in sets.items()
            if held == permissions
        )
        yield Part(permissions, tuple((path, at(document, path)) for path in subtrees))


def short_pointer(path: Path) -> str:
    """Return a pointer, with names cut to 80 and the pointer to 800 characters (F-33)."""
    names = [each[:79] + "…" if isinstance(each, str) and len(each) > 80 else each for each in path]
    text = pointer(tuple(names))
    return text if len(text) <= 800 else text[:799] + "…"


def split(
    document: Document,
    policy: Policy,
    readers: Mapping[str, frozenset[str]],
    limits: FieldLimits,
    *,
    metadata: bool = False,
) -> Split:
    """Split a document. Readers are names with permissions, each a separate recipient."""
    policy.check()
    policy.check_readers(readers)
    fields = [path for path, _ in fields_of(document, limits)]
    policy.check_document(document)
    found = [(path, policy.readers_of(place_of(document, path))) for path in fields]
    denied = [path for path, permissions in found if permissions is None]
    if denied:
        shown = tuple(map(short_pointer, denied[:20]))
        raise FieldsRefusalError("field_denied", "F-32", pointers=shown)
    sets = {path: permissions for path, permissions in found if permissions is not None}
    parts = tuple(parts_of(document, sets))
    grants = {
        name: frozenset(j for j, part in enumerate(parts) if part.permissions & held)
        for name, held in readers.items()
    }
    grants = {name: granted for name, granted in grants.items() if granted}
    if not grants:
        raise malformed("F-47")
    if len(parts) + metadata > MAX_PARTS or len(set(grants.values())) > MAX_VIEWS:
        raise exceeded("F-49")
    check_counts([part.plaintext for part in parts], set(grants.values()), limits)
    return Split(parts, grants)


def check_counts(plaintexts: list[bytes], views: set[frozenset[int]], limits: FieldLimits) -> None:
    """Read the result as every recipient will (F-6)."""
    try:
        read_parts(plaintexts, limits)
        for view in views:
            join([plaintexts[j] for j in sorted(view)], len(plaintexts), limits)
    except FieldsRefusalError as refused:
        if refused.rule not in ("F-24", "F-25", "F-55"):
            raise
        raise exceeded("F-6") from refused
