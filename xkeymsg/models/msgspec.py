"""msgspec Structs, written by `to_builtins` and read by `convert`.

msgspec itself refuses unions whose types are alike in documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from sys import modules
from typing import Any, Final, get_args, get_origin
from uuid import UUID

from xkeymsg.errors import MalformedError, PolicyError
from xkeymsg.models.forms import (
    SCALARS,
    check_depth,
    exact,
    first_misfits,
    flaw_of_flag,
    form_of,
    from_form,
    is_same,
    key_text,
    to_form,
)
from xkeymsg.models.hash_limit import COLLISION_FREE
from xkeymsg.models.tree import BAD, Fault, Member, Node, Path, arms_of, name_of, unwrap
from xkeymsg.places import place

__all__ = ("Msgspec",)

_BUILTIN: Final = (bytes, Decimal, datetime, UUID)
_CONVERTED: Final = {
    "CustomType", "DataclassType", "DateType", "DictType", "EnumType", "FrozenSetType",
    "NamedTupleType", "SetType", "StructType", "TimeDeltaType", "TimeType", "TupleType",
    "TypedDictType", "VarTupleType",
}  # fmt: skip
"""Types whose values are not their forms; a dict with its keys."""
_UNSUPPORTED: Final = {
    "ExtType": "msgpack.Ext", "RawType": "Raw", "ByteArrayType": "bytearray",
    "MemoryViewType": "memoryview",
}  # fmt: skip
_KEYS: Final = {
    "AnyType", "DateType", "EnumType", "IntType", "LiteralType", "StrType", "TimeType", "UUIDType",
}  # fmt: skip


class Msgspec:
    """The adapter for msgspec."""

    def members(self, model: Any) -> Iterator[Member]:
        """See `Adapter`."""
        for field in modules["msgspec"].structs.fields(model):
            yield Member(field.name, (field.encode_name,), field.type, required=field.required)

    def check_model(self, node: Node, where: str) -> None:
        """See `Adapter`."""
        if node.library == "msgspec" and node.kind.__struct_config__.array_like:
            name = name_of(node.kind)
            raise PolicyError(f"{where or name}: {name} is array_like, which has no field names")

    def check(self, node: Node, where: str) -> Iterable[type]:
        """See `Adapter`."""
        self._check(node, where, set())
        return [each.cls for each in _infos_in(node) if hasattr(each, "fields")]

    def _check(self, node: Node, where: str, seen: set[Any]) -> None:
        if _has_generic_alias(node.annotation):
            raise PolicyError(f"{where}: msgspec does not support generic type aliases")
        if not _is_walked(node):
            try:
                is_any, converted = _kinds_in(node)
            except PolicyError as error:
                raise PolicyError(f"{where}: {name_of(node.hint)}: {error}") from None
            if is_any and converted:
                raise PolicyError(f"{where}: {name_of(node.hint)} mixes Any with {converted}")
            return
        if node.kind not in seen:
            if node.library:
                seen.add(node.kind)
            for below, field in node.places(where):
                self._check(field.node, below, seen)

    def hashes(self, node: Node) -> bool:
        """See `Adapter`."""
        return _hashes(node)

    def write(self, node: Node, instance: Any, path: Path) -> dict[str, Any]:
        """See `Adapter`."""
        form: dict[str, Any] = _write(node, instance, path)
        return form

    def read(self, node: Node, document: Any, path: Path, faults: list[Fault]) -> Any:
        """See `Adapter`."""
        _check_flags(node)
        try:
            return _convert(node.kind, document)
        except Exception:  # noqa: BLE001 - of code of the model, and it may show the values
            faults += first_misfits(node, document, path, _convert)
            return BAD


def _is_walked(node: Node) -> bool:
    """Return whether the fields of a place are written one by one."""
    config = getattr(node.kind, "__struct_config__", None)
    is_row = config is not None and config.array_like
    return node.kind is not None and node.library != "pydantic" and not is_row


def _write(node: Node, value: Any, path: Path) -> Any:
    check_depth(path)
    kind = type(value)
    if node.nullable and value is None:
        return None
    if not _is_walked(node):
        return _leaf(node, value, path)
    if kind is not (getattr(node.kind, "__origin__", None) or node.kind):
        raise MalformedError(f"{place(path)}: expected {name_of(node.kind)}, not {kind.__name__}")
    if node.library:
        unset = modules["msgspec"].UNSET
        values = ((field, getattr(value, field.name)) for field in node.fields)
        return {
            field.key: _write(field.node, each, (*path, field.key))
            for field, each in values
            if each is not unset
        }
    item = node.fields[0].node
    if kind is list:
        return [_write(item, each, (*path, at)) for at, each in enumerate(value)]
    return {key_text(key, path): _write(item, each, (*path, key)) for key, each in value.items()}


def _leaf(node: Node, value: Any, path: Path) -> Any:
    if type(value) is _unconstrained(node):
        return value
    is_any, _ = _kinds_in(node)
    if is_any:
        return exact(value, path)
    try:
        form = _form(value)
        if not is_same(_form(_convert(node.annotation, form)), form, floats=True):
            raise ValueError  # noqa: TRY301 - such as a member that a subclass adds
    except Exception:  # noqa: BLE001 - it may show the value
        expected, kind = name_of(node.hint), type(value).__name__
        why = f"expected {expected}, not {kind}"
        if kind in expected.split(" | "):
            why = f"the Meta of the field does not allow this {kind}"
        raise MalformedError(f"{place(path)}: {why}") from None
    return exact(form, path, (list, tuple))


def _form(value: Any) -> Any:
    to_builtins = modules["msgspec"].to_builtins
    return to_builtins(value, builtin_types=_BUILTIN, str_keys=True, enc_hook=to_form)


@lru_cache(4096)
def _unconstrained(node: Node) -> Any:
    """Return the type of a place if a document holds all its values as they are."""
    info = _info_of(node)
    each = [one for one in getattr(info, "types", [info]) if type(one).__name__ != "NoneType"]
    arms = arms_of(node.hint) or [node.hint]
    [kind, *others] = [unwrap(arm)[0] for arm in arms]
    free = all(getattr(one, name) is None for one in each for name in one.__struct_fields__)
    return kind if free and not others and isinstance(kind, type) and kind in SCALARS else None


@lru_cache(4096)
def _check_flags(node: Node) -> None:
    for each in _infos_in(node):
        if type(each).__name__ == "EnumType" and (flaw := flaw_of_flag(each.cls)):
            raise PolicyError(f"{name_of(node.hint)}: {flaw}")


@lru_cache(4096)
def _hashes(node: Node) -> bool:
    for each in _infos_in(node):
        key = getattr(each, "key_type", None)
        is_set = type(each).__name__ in ("SetType", "FrozenSetType")
        name = type(each.item_type if is_set else key).__name__.removesuffix("Type").lower()
        if (is_set or (key and name != "any")) and name not in COLLISION_FREE:
            return True
    return False


def _has_generic_alias(hint: Any) -> bool:
    """Return whether a type has a generic alias in it, whose arguments msgspec does not see."""
    return hasattr(get_origin(hint), "__value__") or any(map(_has_generic_alias, get_args(hint)))


def _convert(hint: Any, form: Any) -> Any:
    return modules["msgspec"].convert(form, hint, str_keys=True, dec_hook=from_form)


@lru_cache(4096)
def _kinds_in(node: Node) -> tuple[bool, str]:
    """Return whether a place holds values of any type, and a type in it that is converted.

    Raises:
        PolicyError: If it is not supported.
    """
    is_any, converted = False, ""
    _check_flags(node)
    for each in _infos_in(node):
        name = type(each).__name__
        if name in _UNSUPPORTED or (name == "CustomType" and form_of(each.cls) is None):
            raise PolicyError(f"unsupported type {_UNSUPPORTED.get(name) or name_of(each.cls)}")
        if name == "DateTimeType" and each.tz is False:
            raise PolicyError("a time requires a UTC offset: Meta(tz=False) is not supported")
        if name == "EnumType" and any(type(member.value) not in (str, int) for member in each.cls):
            raise PolicyError("an Enum with values that are neither str nor int")
        key = type(each.key_type).__name__ if name == "DictType" else "StrType"
        values = getattr(each.key_type, "values", ()) if name == "DictType" else ()
        if key not in _KEYS or len(set(map(type, values))) > 1:
            raise PolicyError("dict keys must be str, or of a type that is text in documents")
        is_any |= name == "AnyType"
        if name in _CONVERTED and (name != "DictType" or key not in ("StrType", "AnyType")):
            converted = converted or name.removesuffix("Type")
    return is_any, converted


def _info_of(node: Node) -> Any:
    try:
        return modules["msgspec"].inspect.type_info(node.annotation)
    except (TypeError, NotImplementedError, RecursionError):
        raise PolicyError(f"msgspec does not support {name_of(node.hint)}") from None


def _infos_in(node: Node) -> Iterator[Any]:
    """Yield what msgspec's inspection says of each type in a place."""
    seen = set()
    left: list[Any] = [_info_of(node)]
    while left:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            left += _inside(each)


def _inside(info: Any) -> list[Any]:
    """Return the types that a type of msgspec's inspection holds."""
    values = [getattr(info, name) for name in info.__struct_fields__]
    values += [each for value in values if isinstance(value, tuple) for each in value]
    field = modules["msgspec"].inspect.Field
    values += [each.type for each in values if isinstance(each, field)]
    return [each for each in values if isinstance(each, modules["msgspec"].inspect.Type)]
