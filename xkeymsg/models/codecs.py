"""Codecs, which write the values of one type to documents, and read exactly these values back.

Codecs of dataclasses, TypedDicts and NamedTuples find those of their members when they are used,
so types may be recursive.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from xkeymsg.errors import MalformedError, PolicyError
from xkeymsg.models.codec import LEAVES, Codec, Makers, form_in, is_enum, is_native, origin_of
from xkeymsg.models.forms import Shape, alike, check_depth, key_text
from xkeymsg.models.tree import (
    ADAPTERS,
    BAD,
    LISTS,
    MAPS,
    UNIONS,
    Fault,
    Member,
    Path,
    library_of,
    members_of,
    name_of,
    root_of,
    unwrap,
)
from xkeymsg.places import place

__all__ = ("codec_of",)

_SETS: Final = (set, frozenset)


class _Items(Codec):
    """A list, set, frozenset, tuple or NamedTuple: a list."""

    def __init__(self, hint: Any) -> None:
        super().__init__(hint)
        origin, members = get_origin(hint), members_of(hint)
        self._kind: Any = list if origin in LISTS else origin or hint
        self._hints = get_args(hint) if members is None else [each.hint for each in members]
        self._is_named = members is not None

    def _items(self, values: Any, path: Path) -> list[tuple[Codec, Any, Path]] | None:
        """Return the codec, value and path of each item; None for a wrong number of items."""
        count = len(values)
        is_row = _is_row(self.hint)
        codecs = list(map(codec_of, self._hints)) if is_row else [codec_of(self._hints[0])] * count
        if len(codecs) != count:
            return None
        return [(codecs[at], each, (*path, at)) for at, each in enumerate(values)]

    @property
    def shape(self) -> Shape:
        return Shape(frozenset({list}), native=is_native(self.hint))

    def write(self, value: Any, path: Path) -> Any:
        check_depth(path)
        items = self._items(value, path) if type(value) is self._kind else None
        if items is None:
            raise self.refuse(value, path)
        forms = [codec.write(each, at) for codec, each, at in items]
        return sorted(forms, key=repr) if self._kind in _SETS else forms

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        items = self._items(form, path) if type(form) is list else None
        if items is None:
            return self.misfit(path, faults)
        found = [codec.read(each, at, faults) for codec, each, at in items]
        if any(each is BAD for each in found):
            return BAD
        made = self.make(self._kind, path, faults, *(found if self._is_named else [found]))
        return made if made is BAD or len(made) == len(found) else self.misfit(path, faults)


class _Map(Codec):
    """A dict, whose keys have forms that are text."""

    def __init__(self, hint: Any) -> None:
        super().__init__(hint)
        key, self._hint = get_args(hint)
        self._key = codec_of(key)
        if self._key.shape.kinds != {str}:
            raise PolicyError("dict keys must be str, or of a type that is text in documents")

    @cached_property
    def _item(self) -> Codec:
        return codec_of(self._hint)

    @property
    def shape(self) -> Shape:
        return Shape(frozenset({dict}), native=is_native(self.hint))

    def write(self, value: Any, path: Path) -> Any:
        check_depth(path)
        if type(value) is not dict:
            raise self.refuse(value, path)
        key, item = self._key, self._item
        form = {}
        for name, each in value.items():
            text = key.write(name, path) if key.shape.native is False else key_text(name, path)
            form[text] = item.write(each, (*path, text))
        return form

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        if type(form) is not dict:
            return self.misfit(path, faults)
        key, item = self._key, self._item
        found = [
            (key.read(name, (*path, name), faults), item.read(each, (*path, name), faults))
            for name, each in form.items()
        ]
        if any(each is BAD for pair in found for each in pair):
            return BAD
        made = self.make(dict, path, faults, found)
        return made if made is BAD or len(made) == len(form) else self.misfit(path, faults)


class _Table(Codec):
    """A dataclass or TypedDict."""

    @cached_property
    def _members(self) -> list[Member]:
        if library_of(self.hint):
            root_of(self.hint).fields  # noqa: B018 - names the model in errors
        return list(members_of(self.hint) or ())

    @cached_property
    def _codecs(self) -> list[tuple[str, Codec, bool]]:
        """The name and codec of each member, and whether it is required."""
        return [(each.name, codec_of(each.hint), each.required) for each in self._members]

    @property
    def shape(self) -> Shape:
        tags = {}
        for member in self._members:
            inner, _ = unwrap(member.hint)
            if get_origin(inner) is Literal or is_enum(inner):
                tags[member.name] = codec_of(inner).shape.values
        closed = {name: values for name, values in tags.items() if values is not None}
        return Shape(frozenset({dict}), tags=closed)

    @cached_property
    def _kind(self) -> Any:
        kind = get_origin(self.hint) or self.hint
        return dict if hasattr(kind, "__required_keys__") else kind

    def write(self, value: Any, path: Path) -> Any:
        check_depth(path)
        kind = self._kind
        if type(value) is not kind:
            raise self.refuse(value, path)
        form = {}
        for name, codec, _ in self._codecs:
            if kind is not dict or name in value:
                each = value[name] if kind is dict else getattr(value, name, BAD)
                form[name] = codec.write(each, (*path, name))
        if kind is dict and len(form) < len(value):
            raise self.refuse(value, path)
        return form

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        if type(form) is not dict:
            return self.misfit(path, faults)
        found = {}
        for name, codec, required in self._codecs:
            if name in form:
                found[name] = codec.read(form[name], (*path, name), faults)
            elif required:
                found[name] = codec.misfit((*path, name), faults)
        if any(each is BAD for each in found.values()):
            return BAD
        try:
            return self._kind(**found)
        except Exception:  # noqa: BLE001 - of code of the model, and it may show the values
            return self.misfit(path, faults, "")


class _Foreign(Codec):
    """A pydantic model or msgspec Struct in a dataclass."""

    is_foreign = True

    @property
    def shape(self) -> Shape:
        node = root_of(self.hint)
        try:
            ADAPTERS[node.library].check_model(node, "")
        except PolicyError:  # it is not a dict of its fields
            return Shape()
        return Shape(frozenset({dict}))

    def write(self, value: Any, path: Path) -> Any:
        if type(value) is not (get_origin(self.hint) or self.hint):
            raise self.refuse(value, path)
        node = root_of(self.hint)
        return ADAPTERS[node.library].write(node, value, path)

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        node = root_of(self.hint)
        return ADAPTERS[node.library].read(node, form, path, faults)


class _Union(Codec):
    def __init__(self, hint: Any) -> None:
        super().__init__(hint)
        codecs = [codec_of(arm) for arm in get_args(hint)]
        shapes = [codec.shape for codec in codecs]
        if alike(shapes):
            raise PolicyError(f"types that are alike in documents: {name_of(hint)}")
        self._codecs = list(zip(codecs, shapes, strict=True))

    @property
    def shape(self) -> Shape:
        shapes = [shape for _, shape in self._codecs]
        kinds = frozenset[Any]().union(*[shape.kinds for shape in shapes])
        return Shape(kinds, native=all(shape.native for shape in shapes))

    def write(self, value: Any, path: Path) -> Any:
        errors = []
        for codec, _ in self._codecs:
            try:
                return codec.write(value, path)
            except MalformedError as error:
                errors.append(error)
        deeper = [error for error in errors if not str(error).startswith(f"{place(path)}: ")]
        raise deeper[0] if len(deeper) == 1 else self.refuse(value, path)

    def read(self, form: Any, path: Path, faults: list[Fault]) -> Any:
        fitting = [pair for pair in self._codecs if {type(form), None} & pair[1].kinds]
        if not fitting and type(form) is int:  # in place of a float
            fitting = [pair for pair in self._codecs if float in pair[1].kinds]
        if len(fitting) > 1:
            # Leaves one codec, or some of native types, whose depth is that of the type.
            fitting = [pair for pair in fitting if _may_be(pair[1], form)]
        if len(fitting) == 1:
            return fitting[0][0].read(form, path, faults)
        for codec, _ in fitting:
            found = codec.read(form, path, [])
            if found is not BAD:
                return found
        return self.misfit(path, faults)


def _may_be(shape: Shape, form: Any) -> bool:
    if type(form) is dict:
        return all(form_in(form.get(key, BAD), values) for key, values in shape.tags.items())
    return shape.values is None or form_in(form, shape.values)


def codec_of(hint: Any) -> Codec:
    """Return the codec of a type.

    Raises:
        PolicyError: If the type is unsupported.
    """
    inner, _ = unwrap(hint)
    try:
        return _codec(inner)
    except TypeError:  # not hashable
        return _codec.__wrapped__(inner)


@lru_cache(4096)
def _codec(hint: Any) -> Codec:
    for fits, make in _CODECS:
        if fits(hint):
            return make(hint)
    raise PolicyError(f"unsupported type {name_of(hint)}")


def _is_row(hint: Any) -> bool:
    arguments = get_args(hint)
    is_tuple = get_origin(hint) is tuple and bool(arguments) and arguments[-1] is not ...
    return is_tuple or hasattr(get_origin(hint) or hint, "_field_defaults")


def _has_items(*kinds: Any) -> Callable[[Any], bool]:
    return lambda hint: bool(get_args(hint)) and get_origin(hint) in kinds


def _is_table(hint: Any) -> bool:
    is_typed_dict = hasattr(get_origin(hint) or hint, "__required_keys__")
    return is_typed_dict or library_of(hint) == "dataclass"


_CODECS: Final[Makers] = (
    *LEAVES,
    (lambda hint: origin_of(hint) in UNIONS, _Union),
    (_is_table, _Table),
    (lambda hint: bool(library_of(hint)), _Foreign),
    (_is_row, _Items),
    (_has_items(*LISTS, *_SETS, tuple), _Items),
    (_has_items(*MAPS), _Map),
    (lambda hint: (origin_of(hint) or hint) is list, lambda _: _Items(list[Any])),
    (lambda hint: (origin_of(hint) or hint) is dict, lambda _: _Map(dict[str, Any])),
)
