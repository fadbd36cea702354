"""pydantic models and dataclasses, written by `model_dump(round_trip=True)` and always validated.

What pydantic knows of a type is in its core schema: constraints, serializers, aliases, strictness.
The form of a value is what pydantic dumps, with dates, sets and other types that documents lack
converted, unless the type is Any. In strict mode, pydantic takes these types only from JSON, which
documents are not; they are first converted back, if that gives exactly the same form again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from sys import modules
from typing import Any, Final, get_origin

from xkeymsg.errors import MalformedError, PolicyError
from xkeymsg.models.aliases import aliases_of
from xkeymsg.models.forms import (
    SCALARS,
    check_depth,
    exact,
    first_misfits,
    form_of,
    is_same,
    to_form,
)
from xkeymsg.models.schema import Facts, facts_of, hashes_in, is_replaced, is_strict
from xkeymsg.models.tree import (
    BAD,
    Fault,
    Field,
    Member,
    Node,
    Path,
    arms_of,
    build_of,
    library_of,
    name_of,
    root_of,
)
from xkeymsg.places import place

__all__ = ("Pydantic",)

_MANY: Final = 1000
"""Maximum errors that are listed; each takes a kilobyte."""
_LISTS: Final = (list, tuple, set, frozenset, deque)


class Pydantic:
    """The adapter for pydantic."""

    def members(self, model: Any) -> Iterator[Member]:
        """See `Adapter`."""
        _complete(model)
        named = not getattr(model, "__pydantic_root_model__", False)
        for name, (keys, leaf) in aliases_of(model).items():
            field = model.__pydantic_fields__[name]
            if not field.exclude:
                required = field.is_required()
                yield Member(name, keys, field.annotation, field.metadata, required, leaf, named)

    def check_model(self, node: Node, where: str) -> None:
        """See `Adapter`."""
        if getattr(node.kind, "__pydantic_root_model__", False):
            name = name_of(node.kind)
            raise PolicyError(f"{where}: {name} is a RootModel, which has no fields")
        itself = _model_facts(node, where).serializes_itself
        replaced = [where or name_of(node.kind)] if itself else []
        for below, field in node.places(where):
            walked = field.node.kind is not None and field.node.readers is None
            if walked and is_replaced(_adapter(node.kind).core_schema, field.name):
                replaced.append(below)
        for each in replaced:
            how = "replaces the fields of models: cover it with one Readers"
            raise PolicyError(f"{each}: a serializer or Json {how}")

    def check(self, node: Node, where: str) -> Iterable[type]:
        """See `Adapter`."""
        self._check(node, where, set())
        return _facts(node, where, fields=False).models

    def _check(self, node: Node, where: str, seen: set[Any]) -> None:
        places = list(node.places(where))
        if node.library:
            _facts(node, where, fields=False)
            if node.kind in seen or _model_facts(node, where).serializes_itself:
                return
            seen.add(node.kind)
        for below, field in places:
            self._check(field.node, below, seen)
        if not places:
            facts = _facts(node, where)
            if facts.is_any and facts.converts:
                raise PolicyError(f"{where}: {name_of(node.hint)} mixes Any with {facts.converts}")

    def hashes(self, node: Node) -> bool:
        """See `Adapter`."""
        return _hashes(node)

    def write(self, node: Node, instance: Any, path: Path) -> dict[str, Any]:
        """See `Adapter`."""
        by_alias = _model_facts(node).by_alias is not False
        serializer = _adapter(node.kind).serializer
        options = {"round_trip": True, "by_alias": by_alias, "warnings": "error"}
        try:
            dumped = serializer.to_python(instance, **options)
        except Exception:  # noqa: BLE001 - of code of the model, and it may show the values
            dumped = None
        if type(dumped) is not dict:
            for field in node.fields:
                try:
                    serializer.to_python(instance, include={field.name}, **options)
                except Exception:  # noqa: BLE001
                    path = (*path, field.key)
                    break
            raise MalformedError(f"{place(path)}: pydantic cannot dump the value as its type")
        form: dict[str, Any] = _write(node, dumped, instance, path)
        return form

    def read(self, node: Node, document: Any, path: Path, faults: list[Fault]) -> Any:
        """See `Adapter`."""
        if unsafe := _facts_of(node, of_kind=True, fields=False).unsafe:
            raise PolicyError(f"{name_of(node.kind)}: {unsafe}")
        try:
            value = _revive(node, document, strict=_is_strict(node))
            return _adapter(node.kind).validate_python(value)
        except Exception as error:  # noqa: BLE001 - of code of the model, and it may show the values
            faults += _faults(node, document, path, error)
            return BAD


def _complete(model: Any) -> None:
    if not getattr(model, "__pydantic_complete__", True) and hasattr(model, "model_rebuild"):
        model.model_rebuild()


def _adapter(hint: Any) -> Any:
    """Return the adapter of a type, which pydantic builds again after it has rebuilt a model."""
    try:
        return _adapter_of(hint, build_of(hint))
    except TypeError:  # not hashable
        return _adapter_of.__wrapped__(hint, None)


@lru_cache(1024)
def _adapter_of(hint: Any, _build: object) -> Any:
    _complete(hint)
    return modules["pydantic"].TypeAdapter(hint)


def _facts(node: Node, where: str = "", *, fields: bool = True) -> Facts:
    """Return the facts about a place, with or without the types of its fields.

    Raises:
        PolicyError: If some values could not be sealed and read back; names the place.
    """
    return _checked(node, node.annotation, where, fields=fields)


def _model_facts(node: Node, where: str = "") -> Facts:
    """Return the facts about a model itself; raises as `_facts` does."""
    return _checked(node, node.kind, where, fields=False)


def _checked(node: Node, hint: Any, where: str, *, fields: bool) -> Facts:
    prefix = f"{where}: " if where else ""
    try:
        found = _facts_of(node, hint is node.kind, fields)
    except PolicyError as error:
        raise PolicyError(f"{prefix}{error}") from None
    except (modules["pydantic"].PydanticUserError, NameError, TypeError):
        raise PolicyError(f"{prefix}unsupported type {name_of(node.hint)}") from None
    if why := found.unsafe or found.conflict:
        raise PolicyError(f"{prefix}{why}")
    return found


@lru_cache(4096)
def _facts_of(node: Node, of_kind: bool, fields: bool) -> Facts:
    return facts_of(_adapter(node.kind if of_kind else node.annotation).core_schema, fields=fields)


@lru_cache(1024)
def _facts_of_values(adapter: Any) -> Facts:
    """Return the facts about a type, without the types of its fields; for each value read."""
    return facts_of(adapter.core_schema, fields=False)


@lru_cache(4096)
def _hashes(node: Node) -> bool:
    try:
        return hashes_in(_adapter(node.annotation).core_schema)
    except Exception:  # noqa: BLE001 - the configuration of its model may be required
        return True


def _write(node: Node, dumped: Any, instance: Any, path: Path) -> Any:
    """Convert a dumped value; `instance` is where it is from, or None."""
    check_depth(path)
    if node.library and type(dumped) is dict:
        return _write_fields(node, dumped, instance, path)
    if node.kind is list and isinstance(dumped, list | tuple):
        if isinstance(instance, Sequence) and type(instance) is not list:
            kind = type(instance).__name__
            raise MalformedError(f"{place(path)}: expected list, not {kind}")
        [item] = node.fields
        same = type(instance) is list and len(instance) == len(dumped)
        items = instance if same else [None] * len(dumped)
        return [_write(item.node, value, items[at], (*path, at)) for at, value in enumerate(dumped)]
    if node.kind is dict and type(dumped) is dict:
        [item] = node.fields
        origins: Mapping[Any, Any] = instance if isinstance(instance, Mapping) else {}
        return {
            _key(key, path): _write(item.node, value, origins.get(key), (*path, key))
            for key, value in dumped.items()
        }
    if type(dumped) in SCALARS:
        return dumped
    facts = _facts(node)
    if facts.models or facts.is_any:
        _check_models(instance, facts, path)
    return exact(dumped, path) if facts.is_any else _form(dumped, path)


def _check_models(value: Any, facts: Facts, path: Path) -> None:
    """Refuse models in a value that pydantic does not expect there.

    It would write a subclass without the fields that it adds, or with them, but without their
    `Readers`; and a model in place of `Any` as a dict.
    """
    kind = type(value)
    inner: Iterable[Any] = value if isinstance(value, _LISTS) else ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif library_of(kind):
        if kind not in facts.models:
            raise MalformedError(f"{place(path)}: unexpected model {kind.__name__}")
        is_root = getattr(kind, "__pydantic_root_model__", False)
        fields = () if is_root else root_of(kind).fields
        names = ["root"] if is_root else [each.name for each in fields]
        extra = _extra_of(value, fields, path)
        inner = [*(getattr(value, name, None) for name in names), *extra.values()]
    for each in inner:
        _check_models(each, facts, path)


def _extra_of(instance: Any, fields: Sequence[Field], path: Path) -> dict[str, Any]:
    """Return the extras of a model; raise an error if one would be read as a field."""
    taken = {key for field in fields for key in field.keys}
    extra: dict[str, Any] = getattr(instance, "__pydantic_extra__", None) or {}
    for name in extra:
        if name in taken:
            raise MalformedError(f"{place((*path, name))}: an extra has the name of a field")
    return extra


def _write_fields(node: Node, dumped: dict[str, Any], instance: Any, path: Path) -> Any:
    kind, model = type(instance), get_origin(node.kind) or node.kind
    if isinstance(instance, model) and kind is not model:
        # pydantic would drop the fields that the subclass adds.
        expected = name_of(node.kind)
        raise MalformedError(f"{place(path)}: expected {expected}, not {kind.__name__}")
    fields = {field.key: field for field in node.fields}
    extra = _extra_of(instance, node.fields, path)
    form = {}
    for key, value in dumped.items():
        below = (*path, key)
        if (field := fields.get(key)) is None:
            _check_models(extra.get(key), _model_facts(node), below)
            form[key] = exact(value, below)
        else:
            form[key] = _write(field.node, value, getattr(instance, field.name, None), below)
    return form


def _form(value: Any, path: Path) -> Any:
    """Return the form of a dumped value, of any type that pydantic can make JSON of."""
    check_depth(path)
    value = _content(value)
    if type(value) in SCALARS:
        return value
    if isinstance(value, _LISTS):
        forms = [_form(each, (*path, at)) for at, each in enumerate(value)]
        return sorted(forms, key=repr) if isinstance(value, set | frozenset) else forms
    if isinstance(value, Mapping):
        return {
            _key(key, path): _form(each, (*path, _key(key, path))) for key, each in value.items()
        }
    if form_of(type(value)) is not None:
        return to_form(value)
    try:
        form = _adapter(type(value)).dump_python(value, mode="json")
    except Exception:  # noqa: BLE001 - of code of the model, and it may show the values
        form = value
    if type(form) not in SCALARS:
        raise MalformedError(f"{place(path)}: a document cannot hold a {type(value).__name__}")
    return form


def _content(value: Any) -> Any:
    """Return what an Enum or a secret holds; other values as they are."""
    if isinstance(value, Enum):
        return value.value
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def _key(key: Any, path: Path) -> str:
    form = _form(key, path)
    if isinstance(form, list | dict):
        raise MalformedError(f"{place(path)}: a dict key must be a str, not {type(key).__name__}")
    return str(form)


@lru_cache(1024)
def _is_strict(root: Node) -> bool:
    return is_strict(_adapter(root.kind).core_schema)


@lru_cache(4096)
def _is_mixed(node: Node) -> bool:
    """Return whether a place has a union in which pydantic could take a form for another value."""
    try:
        return len(arms_of(node.hint)) > 1 and bool(_facts(node).converts)
    except PolicyError:
        return False


def _revive(node: Node, form: Any, *, strict: bool) -> Any:
    """Convert forms back where pydantic would refuse them, or take them for another value."""
    if node.holds(form):
        if node.kind is list:
            return [_revive(node.fields[0].node, each, strict=strict) for each in form]
        revived = dict(form)
        for field, each, at in node.below(form, ()):
            revived[at[-1]] = _revive(field.node, each, strict=strict)
        if strict and node.library and not hasattr(node.kind, "model_fields"):  # a dataclass
            return _revived([node.kind], revived, form)
        return revived
    if strict or _is_mixed(node):
        return _revived(arms_of(node.hint) or [node.hint], form, form)
    return form


def _revived(hints: list[Any], value: Any, form: Any) -> Any:
    """Return the value of one of the types that has this form, or else `value`."""
    for hint in hints:
        try:
            adapter = _adapter(hint)
            made = adapter.validate_python(value, strict=False)
            facts = _facts_of_values(adapter)
            by_alias = facts.by_alias is not False
            again = _form(adapter.dump_python(made, round_trip=True, by_alias=by_alias), ())
        except Exception:  # noqa: BLE001, S112 - then pydantic refuses it
            continue
        if is_same(again, form, common=facts.has_fields):
            return made
    return value


def _faults(node: Node, value: Any, path: Path, error: Any) -> list[Fault]:
    """Return the places of errors, each cut where a step is not in the document but a label."""
    if not isinstance(error, modules["pydantic"].ValidationError):
        return [Fault(path)]
    if error.error_count() > _MANY:
        return first_misfits(node, value, path, _validate)
    each_loc = error.errors(include_url=False, include_context=False, include_input=False)
    return [Fault(_known_part(each["loc"], value, path)) for each in each_loc]


def _known_part(loc: tuple[int | str, ...], value: Any, path: Path) -> Path:
    """Return the place of an error: its leading steps that exist in the document."""
    for step in loc:
        if type(value) is list:
            known = type(step) is int and step < len(value)
        else:
            known = type(value) is dict and step in value
        if not known:
            break
        path, value = (*path, step), value[step]
    return path


def _validate(hint: Any, value: Any) -> object:
    return _adapter(hint).validate_python(value)
