"""Makes vectors for fields: a case is a function, whose name and docstring are the vector's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from json import dumps as quoted
from typing import TypeVar

from tests.reference.encoding import array
from tests.reference.fields_join import join
from tests.reference.fields_model import FieldLimits, FieldsRefusalError
from tests.reference.fields_policy import Policy, Rule
from tests.reference.fields_split import split
from tests.reference.fields_text import dumps, loads
from tests.reference.fields_write import encode
from tests.vectors.fields_vector import Vector, hexadecimal

Case = Callable[[], Vector]
Item = TypeVar("Item")
Rules = Sequence[tuple[str, str]]
"""Permissions with commas, and the pattern."""

EVERYTHING: Rules = [("x", "/**")]
BOB: Mapping[str, str] = {"bob": "x"}


def value(text: str) -> bytes:
    """A value in the notation, encoded."""
    return encode(loads(text))


def pair(path: str, encoded: bytes) -> bytes:
    return b"\x92" + value(path) + encoded


def pairs(*texts: str) -> bytes:
    """A plaintext of pairs [path, value] in the notation."""
    return array(value(text) for text in texts)


def root(encoded: bytes) -> bytes:
    """A plaintext of one pair, with the path [] and this value."""
    return b"\x91\x92\x90" + encoded


def vector(do: str, expect: str, spec: Sequence[str], body: str, **keys: object) -> Vector:
    """Keys with _ for -; None stands for a key that is not there."""
    header: dict[str, tuple[str, ...]] = {"do": (do,), "expect": (expect,), "spec": tuple(spec)}
    for key, given in keys.items():
        group = given if isinstance(given, list) else [] if given is None else [given]
        if group:
            header[key.replace("_", "-")] = tuple(map(str, group))
    return Vector("", header, body)


# --- join


def joins(document: str, *spec: str, of: Sequence[bytes], parts: int = 0, **keys: int) -> Vector:
    """Plaintexts that are accepted; `parts` if some are not granted."""
    return vector(
        "join",
        "success",
        spec,
        hexadecimal(list(of)),
        parts=parts or None,
        document=document,
        withheld=(parts or len(of)) - len(of),
        **keys,
    )


def refused(code: str, *spec: str, of: Sequence[bytes], **keys: int) -> Vector:
    """Plaintexts that are not."""
    return vector("join", code, spec, hexadecimal(list(of)), **keys)


# --- split


def asked(
    rules: Rules, readers: Mapping[str, str], allow_unread: Sequence[str]
) -> dict[str, list[str]]:
    return {
        "rule": [f"{permissions} {quoted(pattern)}" for permissions, pattern in rules],
        "allow_unread": list(allow_unread),
        "reader": [f"{name} {held}".rstrip() for name, held in readers.items()],
    }


def splits(
    document: str,
    *spec: str,
    rules: Rules = EVERYTHING,
    readers: Mapping[str, str] = BOB,
    allow_unread: Sequence[str] = (),
    metadata: bool = False,
    **keys: int,
) -> Vector:
    """A document that is sealed; the reference says in which parts."""
    limits = FieldLimits(**{key.removeprefix("limit_"): bound for key, bound in keys.items()})
    policy = Policy(
        tuple(Rule(frozenset(names.split(",")), pattern) for names, pattern in rules),
        frozenset(allow_unread),
    )
    held = {name: frozenset(filter(None, text.split(","))) for name, text in readers.items()}
    made = split(loads(document), policy, held, limits, metadata=metadata)
    views = []
    for name in readers:
        parts = [made.parts[j].plaintext for j in sorted(made.grants.get(name, ()))]
        got = join(parts, len(made.parts), limits) if parts else None
        views.append(f"{name} {got.withheld} {dumps(got.document)}" if got else f"{name} none")
    shown = [
        f"{','.join(sorted(part.permissions))} {dumps([[list(p), v] for p, v in part.pairs])}"
        for part in made.parts
    ]
    return vector(
        "split",
        "success",
        spec,
        document + "\n",
        **asked(rules, readers, allow_unread),
        metadata="yes" if metadata else None,
        part=shown,
        view=views,
        **keys,
    )


def not_split(
    code: str,
    document: str,
    *spec: str,
    rules: Rules = EVERYTHING,
    readers: Mapping[str, str] = BOB,
    allow_unread: Sequence[str] = (),
    metadata: bool = False,
    pointers: Sequence[str] = (),
    **keys: int,
) -> Vector:
    """A document that is not sealed."""
    return vector(
        "split",
        code,
        spec,
        document + "\n",
        **asked(rules, readers, allow_unread),
        metadata="yes" if metadata else None,
        pointer=[quoted(pointer) for pointer in pointers],
        **keys,
    )


# --- cases


def make(case: Case) -> Vector:
    assert case.__doc__, f"{case.__name__} says not what is wrong"
    try:
        made = case()
    except FieldsRefusalError as refusal:
        raise AssertionError(f"{case.__name__}: {refusal}") from refusal
    comment = " ".join(case.__doc__.split())
    return replace(
        made, name=f"{made.do}/{case.__name__}", header={**made.header, "comment": (comment,)}
    )


def each(**variants: Item) -> Callable[[Callable[[Item], Vector]], list[Case]]:
    """Several vectors of one kind: the name of each is that of the function and of the variant."""

    def expand(function: Callable[[Item], Vector]) -> list[Case]:
        def bind(name: str, item: Item) -> Case:
            def case() -> Vector:
                return function(item)

            case.__name__ = f"{function.__name__}_{name}"
            case.__doc__ = function.__doc__
            return case

        return [bind(name, item) for name, item in variants.items()]

    return expand
