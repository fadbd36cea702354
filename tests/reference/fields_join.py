"""Joins the granted parts of a document (docs/spec/fields.md, Joining)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.reference.fields_model import (
    WITHHELD,
    Document,
    FieldLimits,
    Pair,
    exceeded,
    malformed,
)
from tests.reference.fields_read import read_parts


@dataclass(slots=True)
class Node:
    """A node of the tree; `kind` is new, map, list or taken."""

    kind: str = "new"
    children: dict[str | int, Node] = field(default_factory=dict)
    value: Document = None


class Joined(NamedTuple):
    document: Document
    withheld: int


def grow(root: Node, pair: Pair) -> None:
    """Add one pair (F-51 to F-53)."""
    path, value = pair
    node = root
    for segment in path:
        kind = "map" if isinstance(segment, str) else "list"
        if node.kind == "new":
            node.kind = kind
        if node.kind == "taken":
            raise malformed("F-52")
        if node.kind != kind:
            raise malformed("F-53")
        node = node.children.setdefault(segment, Node())
    if node.kind == "taken":
        raise malformed("F-51")
    if node.kind != "new":
        raise malformed("F-52")
    node.kind = "taken"
    node.value = value


def indices(node: Node) -> list[int]:
    return sorted(key for key in node.children if isinstance(key, int))


def holes_below(root: Node) -> int:
    waiting, holes = [root], 0
    while waiting:
        node = waiting.pop()
        if node.kind == "list":
            there = indices(node)
            holes += there[-1] + 1 - len(there)
        waiting.extend(node.children.values())
    return holes


def document_of(node: Node) -> Document:
    """Build the document. The stack is as deep as a path, which F-23 limits."""
    if node.kind == "taken":
        return node.value
    if node.kind == "map":
        return {name: document_of(child) for name, child in node.children.items()}
    there = indices(node)
    items: list[Document] = [WITHHELD] * (there[-1] + 1)
    for index in there:
        items[index] = document_of(node.children[index])
    return items


def join_pairs(pairs: Iterable[Pair], limits: FieldLimits) -> Document:
    root = Node()
    for pair in pairs:
        grow(root, pair)
    if holes_below(root) > limits.holes:
        raise exceeded("F-55")
    return document_of(root)


def join(plaintexts: Sequence[bytes], parts: int, limits: FieldLimits) -> Joined:
    """Join the plaintexts of a reader; the document has `parts` parts of type 1."""
    read = read_parts(plaintexts, limits)
    document = join_pairs((pair for part in read for pair in part), limits)
    return Joined(document, parts - len(plaintexts))
