"""Runs the vectors of docs/spec/fields.md through an implementation.

An implementation is plugged in as an `Adapter`. Its methods take and return what the vectors say,
in types of Python; what an implementation refuses, they raise as `RefusedError`, and they catch
nothing but the refusals that it documents:

    class Ours:
        withheld = xkeymsg.WITHHELD

        def join(self, parts, total, limits):
            with refusals():                            # ours -> RefusedError
                joined = fields.join(dict(enumerate(parts)), total, limits)
            return Joined(joined.document, joined.withheld)

    @pytest.mark.parametrize("vector", everything(), ids=lambda vector: vector.name)
    def test_vector(vector):
        run(vector, Ours())

Documents are values of Python: None, bool, int, float, str, bytes, Decimal, datetime, UUID, list,
dict, and `Adapter.withheld`; exactly of these types, where they are returned. They are compared by
kind and value, members in their order.

`tests.vectors.fields_reference.Reference` is the adapter of the reference, and an example.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from tests.cases import Lazily
from tests.reference.fields_join import join
from tests.reference.fields_model import Document, FieldLimits
from tests.reference.fields_read import read_parts
from tests.reference.fields_text import dumps
from tests.vectors.by_file import by_file
from tests.vectors.fields_vector import RuleText, Vector, View, parse

FOLDER: Final = Path(__file__).parent.parent.parent / "vectors" / "fields"


class RefusedError(Exception):
    """What an adapter raises where its implementation refuses."""

    def __init__(
        self,
        code: str,
        *,
        pointers: Sequence[str] = (),
        line: int | None = None,
        number: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.pointers = pointers  # with field_denied and field_ambiguous
        self.line = line  # of a policy file, if the error names one
        self.number = number  # of a rule in a policy file, if the error names one


@dataclass(frozen=True, slots=True)
class Joined:
    document: Document
    withheld: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What has to be split: `rules` are permissions and pattern, `readers` the permissions that
    each holds. Every reader is a recipient of its own, with keys that the adapter chooses."""

    document: Document
    rules: Sequence[RuleText]
    allow_unread: frozenset[str]
    readers: Mapping[str, frozenset[str]]
    metadata: bool
    """Whether a content type or headers make a part of type 3."""
    limits: FieldLimits


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of type 1 in order, as permissions and plaintext without padding; and for every
    reader that gets a wrap, the positions of those granted to it."""

    parts: Sequence[tuple[Collection[str], bytes]]
    grants: Mapping[str, Collection[int]]


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a policy file says."""

    rules: Sequence[tuple[Collection[str], str | Sequence[str]]]
    allow_unread: Collection[str]


class Adapter(Protocol):
    @property
    def withheld(self) -> object:
        """The marker."""

    def join(self, parts: Sequence[bytes], total: int, limits: FieldLimits) -> Joined:
        """Read and join the plaintexts granted, of a document with `total` parts of type 1."""

    def split(self, order: Order) -> Split: ...

    def read_policy(self, file: bytes) -> PolicyFile: ...

    def read_readers(self, file: bytes) -> object: ...


@cache
def everything() -> tuple[Vector, ...]:
    """All vectors, from their files."""
    paths = sorted(FOLDER.glob("*/*"))
    assert paths, f"no vectors in {FOLDER}"
    return tuple(parse(f"{path.parent.name}/{path.name}", path.read_text()) for path in paths)


@cache
def _by_file() -> dict[str, list[Vector]]:
    return by_file(everything(), lambda name: name.partition("/")[0])


FILES: Final = Lazily(
    sorted(path.name for path in FOLDER.iterdir() if path.is_dir()), lambda file: _by_file()[file]
)


def run(vector: Vector, adapter: Adapter) -> None:
    """Do what a vector says, and assert that what it expects comes of it."""
    try:
        attempt(vector, adapter)
    except RefusedError as refusal:
        check_refusal(vector, refusal, why(vector))


def attempt(vector: Vector, adapter: Adapter) -> None:
    """The same, but a refusal is passed on."""
    RUNS[vector.do](vector, adapter, why(vector))


def why(vector: Vector) -> str:
    return f"{vector.name}: {vector.comment}"


def check_refusal(vector: Vector, refusal: RefusedError, reason: str) -> None:
    assert refusal.code == vector.expect, reason
    assert list(refusal.pointers) == vector.pointers, reason
    assert vector.line in (None, refusal.line), reason
    assert vector.number in (None, refusal.number), reason


def run_join(vector: Vector, adapter: Adapter, reason: str) -> None:
    joined = adapter.join(vector.plaintexts, vector.parts, vector.limits)
    assert vector.is_success, reason
    assert dumps(joined.document, adapter.withheld) == vector.document, reason
    assert joined.withheld == vector.withheld, reason


def run_split(vector: Vector, adapter: Adapter, reason: str) -> None:
    made = adapter.split(
        Order(
            document=vector.split_document(adapter.withheld),
            rules=vector.rules,
            allow_unread=vector.allow_unread,
            readers=vector.readers,
            metadata=vector.metadata,
            limits=vector.limits,
        )
    )
    assert vector.is_success, reason
    plaintexts = [plaintext for _, plaintext in made.parts]
    read = read_parts(plaintexts, vector.limits)
    shown = [dumps([[list(path), value] for path, value in pairs]) for pairs in read]
    sets = [frozenset(permissions) for permissions, _ in made.parts]
    assert list(zip(sets, shown, strict=True)) == vector.split_parts, reason
    assert made.grants.keys() <= vector.readers.keys(), reason
    views = {
        name: view(plaintexts, made.grants[name], vector) if name in made.grants else None
        for name in vector.readers
    }
    assert views == vector.views, reason


def view(plaintexts: Sequence[bytes], granted: Collection[int], vector: Vector) -> View:
    got = join([plaintexts[j] for j in sorted(granted)], len(plaintexts), vector.limits)
    return View(got.withheld, dumps(got.document))


def run_policy(vector: Vector, adapter: Adapter, reason: str) -> None:
    policy = adapter.read_policy(vector.body.encode())
    assert vector.is_success, reason
    rules = [(frozenset(permissions), pattern) for permissions, pattern in policy.rules]
    assert rules == vector.rules, reason
    assert frozenset(policy.allow_unread) == vector.allow_unread, reason


def run_readers(vector: Vector, adapter: Adapter, reason: str) -> None:
    adapter.read_readers(vector.body.encode())
    assert vector.is_success, reason


RUNS: Final[dict[str, Callable[[Vector, Adapter, str], None]]] = {
    "join": run_join,
    "split": run_split,
    "policy": run_policy,
    "readers": run_readers,
}
