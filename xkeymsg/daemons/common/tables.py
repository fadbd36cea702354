"""What a configuration file is made of: tables whose keys are known, each explained where it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

__all__ = ("Location", "Section", "Table", "tables")

Location = tuple[str | int, ...]
"""Where a value stands: keys, and places in arrays."""

_UNIONS: Final = (Union, UnionType)


class Section(BaseModel):
    """A table of a configuration file; the texts below its fields are their documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str | Location, str]]:
        """Yield what is wrong with a table though each value may be right: a key, and why.

        Or the keys that lead to it, where it is in a table of this one.

        Looked at whatever else is wrong, so that all errors are told at once: the values are as
        they stand in the file, of any type.
        """
        yield from ()


class Table(NamedTuple):
    """A table as it stands in a file, and what it should be."""

    section: type[Section]
    values: Mapping[str, Any]
    place: Location


def tables(section: type[Section], values: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table and all tables in it of which it is known what they should be."""
    return _below(section, values, ())


def _below(annotation: Any, value: Any, place: Location) -> Iterator[Table]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        if isinstance(value, Mapping):
            yield Table(annotation, value, place)
            for name in value.keys() & annotation.model_fields.keys():
                field = annotation.model_fields[name]
                yield from _below(field.annotation, value[name], (*place, name))
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _below(arguments[0], value, place)
    elif origin in _UNIONS:
        yield from _below(_chosen(arguments, value), value, place)
    else:
        for key, each in _items(origin, value):
            yield from _below(arguments[0 if origin is tuple else 1], each, (*place, key))


def _items(origin: Any, value: Any) -> Iterable[tuple[str | int, Any]]:
    """Return what an array, or a table of tables, holds."""
    if origin is tuple and isinstance(value, list):
        return enumerate(value)
    return value.items() if origin is dict and isinstance(value, Mapping) else ()


def _chosen(arguments: tuple[Any, ...], value: Any) -> Any:
    """Return the member of a union that a table is of: the one with its `kind`."""
    sections = [each for each in arguments if isinstance(each, type) and issubclass(each, Section)]
    if len(sections) == 1:
        return sections[0]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    for each in sections:
        if isinstance(kind, str) and kind in get_args(each.model_fields["kind"].annotation):
            return each
    return None
