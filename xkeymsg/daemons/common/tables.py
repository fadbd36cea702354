"""Schema of a configuration file: tables with known, documented keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

__all__ = ("Location", "Section", "Table", "tables")

Location = tuple[str | int, ...]
"""The location of a value: table keys and array indexes."""

_UNIONS: Final = (Union, UnionType)


class Section(BaseModel):
    """A table of a configuration file; the strings below its fields document them."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str | Location, str]]:
        """Yield a key, or the path to a nested key, and a reason for each contradiction.

        This also runs if other values are invalid, so that all errors are reported at once:
        `table` has the raw values of the file, of any type.
        """
        yield from ()


class Table(NamedTuple):
    """A table in a file, and its schema."""

    section: type[Section]
    values: Mapping[str, Any]
    place: Location


def tables(section: type[Section], values: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table and every nested table that has a schema."""
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
    """Return the items of an array, or of a table of tables, with their index or key."""
    if origin is tuple and isinstance(value, list):
        return enumerate(value)
    return value.items() if origin is dict and isinstance(value, Mapping) else ()


def _chosen(arguments: tuple[Any, ...], value: Any) -> Any:
    """Return the member of a union that matches the `kind` of a table."""
    sections = [each for each in arguments if isinstance(each, type) and issubclass(each, Section)]
    if len(sections) == 1:
        return sections[0]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    for each in sections:
        if isinstance(kind, str) and kind in get_args(each.model_fields["kind"].annotation):
            return each
    return None
