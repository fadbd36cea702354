"""Conversion of model instances to documents, and of opened documents to model instances.

An instance is always validated: nobody has checked a received document against the reader's
constraints. No error contains a value, or is chained to an error that does.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

from xkeymsg.display import MOST_PLACES, cut, listed
from xkeymsg.errors import LimitExceededError, MalformedError, PolicyError
from xkeymsg.fields.values import WITHHELD
from xkeymsg.models.hash_limit import MOST_HASHED, find_excess
from xkeymsg.models.tree import ADAPTERS, BAD, Fault, Node, Path, name_of, root_of
from xkeymsg.places import items_of, short_pointer
from xkeymsg.refusals import refusing

__all__ = ("document_of", "into")

_Model = TypeVar("_Model")

_MOST_SHOWN: Final = 800
"""Maximum characters of a place."""


@refusing
def document_of(instance: Any) -> dict[str, Any]:
    """Convert an instance of a model to a document, with field aliases as names.

        sealer.seal_document(document_of(ada), policy=Policy.of(Employee), readers=…, subject=…)

    The document has the form that the model validates. Custom serializers of pydantic are applied.
    None, bool, int, float, str, bytes, Decimal, UUID, and datetime with an offset stay as they are.
    An Enum becomes its value, a secret the text or bytes in it, a date, time, timedelta or Path its
    text, and a set or tuple a list. A field of type Any must hold a value that needs no conversion.

    Raises:
        MalformedError: If it holds an unsupported value, or one of another type than its field;
            names the place.
        LimitExceededError: If it is too deep, or has too many items in sets, or in dicts whose keys
            are not str.
        PolicyError: If the model is unsupported; `Readers` are not required.
        TypeError: If it is not an instance of a dataclass, pydantic model or msgspec Struct.
    """
    node = root_of(type(instance))
    document = ADAPTERS[node.library].write(node, instance, ())
    _check_hashing(node, document)
    return document


def into(model: type[_Model], document: Any, withheld: int) -> _Model:
    """Convert an opened document to an instance of a model; see `View.into`.

    Raises:
        PolicyError: If a required field is missing while parts of the document are withheld; names
            all such places.
        MalformedError: If the document does not fit the model; names the places, but no values.
        LimitExceededError: If it has too many items in sets, or in dicts whose keys are not str.
        TypeError: If `model` is not a dataclass, pydantic model or msgspec Struct.
    """
    node = root_of(model)
    name = name_of(model)
    missing = _Places(node)
    faults: list[Fault] = []
    instance: Any = BAD
    try:
        _find_missing(node, document, (), missing)
        if not missing.count:
            _check_hashing(node, document)
            instance = ADAPTERS[node.library].read(node, document, (), faults)
    except RecursionError:
        raise MalformedError(f"does not fit {name}: nested too deeply for this stack") from None
    if missing.count:
        why = "withheld, or not in the document" if withheld else "not in the document"
        raise (PolicyError if withheld else MalformedError)(f"{name} requires {missing}: {why}")
    if instance is BAD:
        misfits = _Places(node)
        for fault in faults:
            misfits.add(fault.path, fault.expected)
        raise MalformedError(f"does not fit {name}: {misfits.first()}")
    return cast(_Model, instance)


def _check_hashing(node: Node, document: Any) -> None:
    if excess := find_excess(node, document):
        what = "items in sets, and in dicts whose keys are not str (use lists)"
        raise LimitExceededError(f"{_place(node, excess[0])}: {what}", excess[1], MOST_HASHED)


def _find_missing(node: Node | None, value: Any, path: Path, missing: _Places) -> None:
    """Find required fields that a document lacks, and items withheld from this reader.

    `node` is None inside a value that is treated as a whole.
    """
    is_open = node is not None and node.is_open
    if value is WITHHELD:
        if not is_open:
            missing.add(path)
    elif node and node.holds(value):
        for field, item, at in node.below(value, path):
            _find_missing(field.node, item, at, missing)
        for key in node.lacking(value):
            missing.add((*path, key))
    elif not is_open:
        for segment, item in items_of(value):
            _find_missing(None, item, (*path, segment), missing)


class _Places:
    """Places in an untrusted document: the first distinct ones, and the number of all."""

    __slots__ = ("_first", "_node", "count")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._first: list[str] = []
        self.count = 0

    def add(self, path: Path, expected: str = "") -> None:
        if len(self._first) < MOST_PLACES:
            shown = _place(self._node, path)
            shown += f" (expected {cut(expected)})" if expected else ""
            if shown in self._first:
                return
            self._first.append(shown)
        self.count += 1

    def __str__(self) -> str:
        return listed(self._first, self.count, most=_MOST_SHOWN)

    def first(self) -> str:
        """Return the first places, for a search that may have ended early."""
        more = ", and more" if self.count > MOST_PLACES else ""
        return listed(self._first, most=_MOST_SHOWN) + more


def _place(node: Node | None, path: Path) -> str:
    """Format a place; names that the model lacks are from the sender, and shown as `*`."""
    shown = ""
    for segment in path:
        known = type(segment) is int
        if node is not None and node.library:
            node = next((each.node for each in node.fields if segment in each.keys), None)
            known = node is not None
        elif node is not None:
            node = node.fields[0].node if node.fields else None
        shown += short_pointer([segment]) if known else "/*"
    return cut(shown, _MOST_SHOWN) or "the document"
