"""The base class of codecs, and those of types that hold no other types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

from xkeymsg.errors import MalformedError, PolicyError
from xkeymsg.models.forms import (
    SCALARS,
    Shape,
    choices_of,
    exact,
    flaw_of_flag,
    form_of,
    from_form,
    to_form,
)
from xkeymsg.models.tree import BAD, UNIONS, Fault, Path, name_of, unwrap
from xkeymsg.places import place

__all__ = ("LEAVES", "Codec", "Makers", "form_in", "is_enum", "is_native", "origin_of")

_MOST_FAULTS: Final = 1000
_NATIVE: Final = SCALARS | {list, dict}


class Codec:
    """Writes the values of one type to documents, and reads them; here, of any type."""

    is_foreign = False
    """Whether it is for a model of another library."""

    def __init__(self, hint: Any = Any) -> None:
        self.hint = hint

    @property
    def shape(self) -> Shape:
        """The shape of its forms."""
        return Shape(native=True)

    def write(self, value: Any, path: Path) -> Any:
        """Return the form of a value.

        Raises:
            MalformedError: If it is of another type; names the place.
        """
        return exact(value, path)

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        """Return the value of a form, or add faults and return `BAD`."""
        return form

    def refuse(self, value: Any, path: Path) -> MalformedError:
        """Return an error for a value of another type."""
        kind = type(value).__name__
        return MalformedError(f"{place(path)}: expected {name_of(self.hint)}, not {kind}")

    def make(
        self, kind: Callable[..., Any], path: Path, faults: list[Fault], /, *args: Any, **named: Any
    ) -> Any:
        """Call code of the model; add a fault and return `BAD` if it raises an error."""
        try:
            return kind(*args, **named)
        except Exception:  # noqa: BLE001 - of code of the model, and it may show the values
            return self.misfit(path, faults)

    def misfit(self, path: Path, faults: list[Fault], name: str | None = None) -> Any:
        """Add a fault, with the name of the expected type, and return `BAD`."""
        if len(faults) < _MOST_FAULTS:
            faults.append(Fault(path, name_of(self.hint) if name is None else name))
        return BAD


class _Scalar(Codec):
    @property
    def shape(self) -> Shape:
        return Shape(frozenset({self.hint}), native=True)

    def write(self, value: Any, path: Path) -> Any:
        if type(value) is self.hint or (self.hint is float and _is_float(value)):
            return value
        raise self.refuse(value, path)

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        if type(form) is self.hint:
            return form
        if self.hint is float and type(form) is int and abs(form) < 1 << 1023:
            return float(form)
        return self.misfit(path, faults)


def _is_float(value: Any) -> bool:
    """Return whether an int in place of a float comes back equal."""
    return type(value) is int and abs(value) < 1 << 1023 and float(value) == value


class _Formed(Codec):
    """Dates, times, durations, paths and secrets."""

    @property
    def shape(self) -> Shape:
        return Shape(frozenset({form_of(self.hint)}))

    def write(self, value: Any, path: Path) -> Any:
        form = self.make(to_form, path, [], value)
        made = self.make(from_form, path, [], self.hint, form)
        if type(made) is not type(value) or made != value:
            raise self.refuse(value, path)
        return form

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        return self.make(from_form, path, faults, self.hint, form)


class _Choice(Codec):
    """An Enum or Literal."""

    def __init__(self, hint: Any) -> None:
        super().__init__(hint)
        self.is_enum = isinstance(hint, type)
        # A Flag has more values than members.
        choices = choices_of(list(hint.__members__.values()) if self.is_enum else get_args(hint))
        if choices is None:
            raise PolicyError(f"unsupported values of {name_of(hint)}")
        if flaw := flaw_of_flag(hint):
            raise PolicyError(flaw)
        self._choices = choices

    @property
    def shape(self) -> Shape:
        kinds = frozenset(kind for kind, _ in self._choices)
        closed = not self.is_enum or not hasattr(self.hint, "__or__")
        values = frozenset(self._choices) if closed else None
        return Shape(kinds, values, native=is_native(self.hint))

    def write(self, value: Any, path: Path) -> Any:
        if self.is_enum:
            if type(value) is not self.hint:
                raise self.refuse(value, path)
            return value.value
        for (_, form), each in self._choices.items():
            if type(each) is type(value) and each == value:
                return form
        raise self.refuse(value, path)

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        if form_in(form, self._choices):
            return self._choices[type(form), form]
        if self.is_enum and any(kind is type(form) for kind, _ in self._choices):
            member = self.make(self.hint, path, faults, form)
            if member is BAD or (type(member.value) is type(form) and member.value == form):
                return member
        return self.misfit(path, faults)


def form_in(form: Any, values: Collection[Any]) -> bool:
    """Return whether a form is among some forms with their types."""
    return type(form) in SCALARS and (type(form), form) in values


def origin_of(hint: Any) -> Any:
    """Return the type without its arguments; None for a type that has none."""
    return get_origin(hint)  # in a lambda, mypy takes the wrong overload of it


def is_enum(hint: Any) -> bool:
    """Return whether a type is an Enum."""
    return isinstance(hint, type) and get_origin(hint) is None and issubclass(hint, Enum)


def is_native(hint: Any, within: tuple[Any, ...] = ()) -> bool:
    """Return whether all values of a type are their own forms, and its depth is finite."""
    inner, _ = unwrap(hint)
    origin, arguments = get_origin(inner), get_args(inner)
    if inner in within:
        return False
    within = (*within, inner)
    if origin in UNIONS or origin is list or (origin is dict and arguments[0] is str):
        return all(is_native(each, within) for each in arguments)
    if origin is Literal:
        return not any(isinstance(each, Enum) for each in arguments)
    return inner is None or inner is Any or inner is object or inner in _NATIVE


Makers = Sequence[tuple[Callable[[Any], bool], Callable[[Any], Codec]]]
"""Codecs, and the types that each is for; the first one applies."""

LEAVES: Final[Makers] = (
    (lambda hint: hint in (Any, object) or isinstance(hint, TypeVar), Codec),
    (lambda hint: hint is None, lambda _: _Scalar(type(None))),
    (lambda hint: isinstance(hint, type) and hint in SCALARS, _Scalar),
    (lambda hint: form_of(hint) is not None, _Formed),
    (lambda hint: origin_of(hint) is Literal or is_enum(hint), _Choice),
)
