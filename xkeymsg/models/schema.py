"""What the core schema of pydantic says about the forms of a type.

pydantic compiles every type to a core schema: constraints, serializers, aliases and strictness.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, get_origin

from xkeymsg.errors import PolicyError
from xkeymsg.models.aliases import by_alias_of
from xkeymsg.models.forms import SCALARS, Shape, alike, choices_of, flaw_of_flag
from xkeymsg.models.hash_limit import COLLISION_FREE

__all__ = ("Facts", "facts_of", "hashes_in", "is_replaced", "is_strict")

_Schema = Mapping[str, Any]

_NATIVE: Final = {
    "none": type(None),
    "datetime": datetime,
    **{kind.__name__.lower(): kind for kind in SCALARS if kind is not type(None)},
}
"""Types that a document holds as they are."""
_TEXTS: Final = {"date", "time", "timedelta", "url", "multi-host-url", "complex", "json"}
_LISTS: Final = {"deque", "frozenset", "list", "named-tuple", "set", "tuple"}
_DICTS: Final = {"counter", "dict", "frozendict", "ordered-dict"}
_TABLES: Final = {"model-fields", "typed-dict", "dataclass-args"}
_WRAPPERS: Final = {
    "custom-error", "dataclass-field", "default", "function-after", "function-before",
    "function-wrap", "model-field", "named-tuple-field", "typed-dict-field",
}  # fmt: skip
_TEXT_SERIALIZERS: Final = {"ser_ip", "ser_path", "serialize_url"}
"""Serializers of pydantic for types whose forms are text."""
_INNER: Final = {"json-or-python": "python_schema", "lax-or-strict": "lax_schema"}
_KEYS: Final = {
    "any", "date", "enum", "int", "literal", "str", "time", "timedelta", "uuid",
}  # fmt: skip


class Facts:
    """Facts about a type and all types in it."""

    def __init__(self) -> None:
        self.is_any = False
        """Whether it holds values of any type, which must be their own forms."""
        self.converts = ""
        """A type in it whose values are not their forms, or an empty string."""
        self.by_alias: bool | None = None
        """Whether pydantic must dump it by alias; None if there are no aliases."""
        self.has_fields = False
        """Whether it has fields, which a document may lack or have in addition."""
        self.serializes_itself = False
        """Whether it has a serializer that replaces its fields."""
        self.conflict = ""
        """Why its models cannot be dumped together, or an empty string."""
        self.unsafe = ""
        """Why a hostile document could exhaust time or memory, or an empty string."""
        self.models: frozenset[type] = frozenset()
        """The models in it, including those that no annotation names."""


def facts_of(schema: _Schema, *, fields: bool = True) -> Facts:
    """Examine a core schema.

    Args:
        schema: The core schema.
        fields: Whether to check the types of fields.

    Raises:
        PolicyError: If some values could not be sealed and read back.
    """
    facts = Facts()
    top = _unwrapped(schema, {})
    facts.serializes_itself = top["type"] in ("model", "dataclass") and "serialization" in top
    _Examiner(facts, fields=fields).shape(schema)
    facts.models = frozenset(
        each["cls"] for each in _schemas_in(schema) if each.get("type") in ("model", "dataclass")
    )
    if any(each.get("type") == "json" and hashes_in(each) for each in _schemas_in(schema)):
        facts.unsafe = facts.unsafe or "Json with a set, or with dict keys that are not str"
    return facts


def _function_of(schema: _Schema) -> _Schema | None:
    """Return the serializer of a type, if it is a function."""
    serialization: _Schema = schema.get("serialization") or {"type": ""}
    return serialization if serialization["type"] in ("function-plain", "function-wrap") else None


def _is_own(serialization: _Schema) -> bool:
    """Return whether a serializer is one of pydantic."""
    module = str(getattr(serialization["function"], "__module__", ""))
    return module.startswith(("pydantic.", "operator"))


def _is_literal(member: Enum) -> bool:
    """Return whether pydantic finds a member of an Enum in a Literal by its value."""
    form = member.value
    small = type(form) is int and -(1 << 63) <= form < 1 << 63
    return small or type(form) is str or isinstance(member, int)


def is_replaced(model: _Schema, name: str) -> bool:
    """Return whether the models in a field have another form than a dict of their fields.

    Args:
        model: The core schema of the model that has the field.
        name: The name of the field.
    """
    refs = {each["ref"]: each for each in model.get("definitions", ())}
    fields = _unwrapped(_unwrapped(model, refs)["schema"], refs)["fields"]
    schema = {each["name"]: each for each in fields} if isinstance(fields, list) else fields
    schema = schema[name]
    while True:
        serializer = _function_of(schema)
        if schema["type"] == "json" or (serializer and not _is_own(serializer)):
            return True
        if schema["type"] in ("model", "dataclass"):
            return False
        if schema["type"] == "definition-ref":
            schema = refs[schema["schema_ref"]]
            continue
        keys = (_INNER.get(schema["type"], "schema"), "items_schema", "values_schema")
        key = next((each for each in keys if each in schema), None)
        if key is None:
            return False
        schema = schema[key]


def _schemas_in(schema: Any) -> Iterator[_Schema]:
    """Yield a core schema and all dicts in it."""
    seen: set[int] = set()
    left = [schema]
    while left:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, dict):
                yield each
                left += each.values()
            elif isinstance(each, list | tuple):
                left += each


def hashes_in(schema: _Schema) -> bool:
    """Return whether a type contains sets or dict keys whose hashes a sender can make equal."""
    for each in _schemas_in(schema):
        is_set = each.get("type") in ("set", "frozenset")
        if is_set and each.get("items_schema", {}).get("type") not in COLLISION_FREE:
            return True
        if "keys_schema" in each and each["keys_schema"]["type"] not in COLLISION_FREE | {"any"}:
            return True
    return False


def _unwrapped(schema: _Schema, refs: Mapping[str, _Schema]) -> _Schema:
    """Return a core schema without references and functions around it."""
    while True:
        kind = schema["type"]
        if kind == "definitions":
            refs = {**refs, **{each["ref"]: each for each in schema["definitions"]}}
        if kind == "definition-ref":
            schema = refs[schema["schema_ref"]]
        elif kind == "definitions" or (kind.startswith("function") and "schema" in schema):
            schema = schema["schema"]
        else:
            return schema


class _Examiner:
    def __init__(self, facts: Facts, *, fields: bool) -> None:
        self._facts = facts
        self._fields = fields
        self._refs: dict[str, _Schema] = {}
        self._shapes: dict[str, Shape] = {}
        self._depth = 0
        self._open: set[str] = set()
        self._cycles = 0
        """References to types from inside themselves."""
        self._methods: tuple[tuple[Collection[str], Callable[[_Schema], Shape]], ...] = (
            (_NATIVE, self._native),
            (("any", "function-plain"), self._any),
            (("enum", "literal"), self._choice),
            (("nullable",), self._nullable),
            (("union", "tagged-union"), self._union),
            (_TEXTS, self._text),
            (_DICTS, self._dict),
            (_LISTS, self._list),
            (_TABLES, self._table),
            (("dataclass", "model"), self._class),
            (("call",), self._call),
            (("definitions",), self._definitions),
            (("definition-ref",), self._reference),
            ((*_WRAPPERS, *_INNER), self._inner),
        )

    def shape(self, schema: _Schema) -> Shape:
        """Return the shape of a type, after adding its facts."""
        try:
            if schema.get("serialization", {}).get("type") in ("format", "to-string"):
                return self._text(schema)
            serialization = _function_of(schema)
            return self._serialized(schema, serialization) if serialization else self._plain(schema)
        except PolicyError as error:
            if self._fields:
                raise
            if not self._depth:
                self._facts.conflict = str(error)
            return Shape()

    def _definitions(self, schema: _Schema) -> Shape:
        self._refs |= {each["ref"]: each for each in schema["definitions"]}
        return self.shape(schema["schema"])

    def _reference(self, schema: _Schema) -> Shape:
        ref = schema["schema_ref"]
        if ref not in self._shapes:
            target = self._refs[ref]
            self._shapes[ref] = self._shallow(target)
            self._open.add(ref)
            self._shapes[ref] = self.shape(target)
            self._open.discard(ref)
        self._cycles += ref in self._open
        return self._shapes[ref]

    def _shallow(self, schema: _Schema) -> Shape:
        """Return the shape of a recursive type inside itself."""
        is_table = _unwrapped(schema, self._refs)["type"] in ("model", "dataclass", "typed-dict")
        return Shape(frozenset({dict})) if is_table else Shape()

    def _serialized(self, schema: _Schema, serialization: _Schema) -> Shape:
        name = str(getattr(serialization["function"], "__qualname__", ""))
        own = _is_own(serialization)
        if schema["type"] == "is-instance" or name.startswith("ImportString"):
            raise PolicyError(f"unsupported type of pydantic: {schema['type']}")
        if own and "schema" in serialization:
            self._below([serialization["schema"]])
            if self._fields and name == "serialize_sequence_via_list":  # it loses tuples
                raise PolicyError("a Sequence without item type, or inside a type: use list, tuple")
            self._convert("a type with a validator")
            return Shape()
        if serialization["type"] == "function-wrap" or not (own or self._fields):
            self._plain(schema)
        if not own and str(serialization.get("when_used", "")).startswith("json"):
            raise PolicyError("a serializer for JSON only would not be used: use it always")
        self._convert("a type with a serializer")
        text = own and name.rpartition(".")[2] in _TEXT_SERIALIZERS
        return Shape(frozenset({str})) if text else Shape()

    def _convert(self, what: str) -> None:
        self._facts.converts = self._facts.converts or what

    def _plain(self, schema: _Schema) -> Shape:
        """Return the shape of a type without a serializer."""
        for kinds, method in self._methods:
            if schema["type"] in kinds:
                return method(schema)
        raise PolicyError(f"unsupported type of pydantic: {schema['type']}")

    def _native(self, schema: _Schema) -> Shape:
        if schema.get("tz_constraint") == "naive":
            raise PolicyError("a time requires a UTC offset: NaiveDatetime is not supported")
        return Shape(frozenset({_NATIVE[schema["type"]]}), native=True)

    def _any(self, _: _Schema) -> Shape:
        self._facts.is_any = True
        return Shape(native=True)

    def _text(self, schema: _Schema) -> Shape:
        self._convert(f"a {schema['type']}")
        return Shape(frozenset({str}))

    def _nullable(self, schema: _Schema) -> Shape:
        inner = self.shape(schema["schema"])
        return inner._replace(kinds=inner.kinds | {type(None)}, values=None, tags={})

    def _inner(self, schema: _Schema) -> Shape:
        return self.shape(schema[_INNER.get(schema["type"], "schema")])

    def _class(self, schema: _Schema) -> Shape:
        cls, shape = schema["cls"], self.shape(schema["schema"])
        if hasattr(cls, "__pydantic_fields__"):
            self._aliases(cls)
        elif any(get_origin(base) not in (None, Generic) for base in _bases(cls)):
            raise PolicyError(f"{cls.__qualname__} derives from a generic dataclass")
        else:
            fields = _unwrapped(schema["schema"], self._refs)["fields"]
            if any({"serialization_alias", "validation_alias"} & each.keys() for each in fields):
                fix = "decorate it with pydantic.dataclasses"
                self._facts.conflict = f"{cls.__qualname__} has aliases: {fix}"
        return shape

    def _call(self, schema: _Schema) -> Shape:
        """Return the shape of a NamedTuple, in older versions of pydantic."""
        if not (isinstance(schema["function"], type) and issubclass(schema["function"], tuple)):
            raise PolicyError("unsupported type of pydantic: call")
        self._below([each["schema"] for each in schema["arguments_schema"]["arguments_schema"]])
        self._convert("a NamedTuple")
        return Shape(frozenset({list}))

    def _choice(self, schema: _Schema) -> Shape:
        values = schema["members"] if schema["type"] == "enum" else schema["expected"]
        choices = choices_of(values)
        if choices is None:
            raise PolicyError("an Enum or Literal with values that a document cannot hold")
        self._facts.unsafe = self._facts.unsafe or flaw_of_flag(schema.get("cls"))
        members = [each for each in choices.values() if isinstance(each, Enum)]
        if schema["type"] == "literal" and not all(map(_is_literal, members)):
            raise PolicyError("a Literal of Enum members that are neither str nor int of 64 bits")
        native = all(type(each) is kind for (kind, _), each in choices.items())
        if not native:
            self._convert("an Enum")
        return Shape(frozenset(kind for kind, _ in choices), frozenset(choices), native=native)

    def _union(self, schema: _Schema) -> Shape:
        tagged = schema["type"] == "tagged-union"
        choices = schema["choices"].values() if tagged else schema["choices"]
        shapes, recursive = [], []
        for each in choices:
            cycles = self._cycles
            shapes.append(self.shape(each[0] if isinstance(each, tuple) else each))
            if self._cycles > cycles:
                recursive.append(shapes[-1].kinds)
        shared = len(frozenset[Any]().union(*recursive)) < sum(map(len, recursive))
        if not tagged and shared:  # each level is tried twice
            self._facts.unsafe = (
                "a union of recursive models takes exponential time: use a discriminator"
            )
        if tagged and callable(schema["discriminator"]):
            raise PolicyError("a discriminator that is a function is not supported")
        converted = [each for each in shapes if not each.native and each.kinds - {list, dict}]
        if self._fields and not tagged and alike(shapes):
            raise PolicyError("a union of types that are alike in documents: use a discriminator")
        if self._fields and self._depth and converted and len(shapes) > 1:
            raise PolicyError("a union inside another type, with a type that documents lack")
        kinds = frozenset[Any]().union(*[each.kinds for each in shapes])
        return Shape(kinds, native=all(each.native for each in shapes))

    def _dict(self, schema: _Schema) -> Shape:
        kind = schema["type"]
        keys = schema.get("keys_schema", {"type": "any"})
        key = _unwrapped(keys, self._refs)
        shape = self.shape(keys)
        inner = self._below([schema["values_schema"]] if "values_schema" in schema else [])
        is_int = key["type"] in ("enum", "literal") and shape.kinds != {str}
        if key["type"] not in _KEYS or is_int:
            raise PolicyError("dict keys must be str, or of a type that is text in documents")
        native = kind == "dict" and shape.native and key["type"] in ("str", "any", "literal")
        if not native:
            self._convert("a dict with keys that are not str" if kind == "dict" else f"a {kind}")
        return Shape(frozenset({dict}), native=native and inner)

    def _list(self, schema: _Schema) -> Shape:
        kind = schema["type"]
        items = schema.get("items_schema") or schema.get("fields") or [{"type": "any"}]
        inner = self._below([items] if isinstance(items, Mapping) else items)
        if kind != "list":
            self._convert(f"a {kind}")
        return Shape(frozenset({list}), native=inner and kind == "list")

    def _table(self, schema: _Schema) -> Shape:
        fields = schema["fields"]
        named = fields.items() if isinstance(fields, Mapping) else [(f["name"], f) for f in fields]
        tags = {}
        self._depth += 1
        for name, field in named:
            try:
                shape = self.shape(field)
            except PolicyError as error:
                if field.get("serialization_exclude"):
                    continue
                raise PolicyError(f"{name}: {error}") from None
            if shape.values is not None and not field.get("serialization_exclude"):
                tags[field.get("serialization_alias", name)] = shape.values
        self._depth -= 1
        for name, field in named:
            _check_field(name, field, is_model=schema["type"] == "model-fields")
        self._facts.has_fields = True
        if "extras_schema" in schema or schema.get("extra_behavior") == "allow":
            self._facts.is_any = True
        return Shape(frozenset({dict}), tags=tags)

    def _below(self, schemas: Iterable[_Schema]) -> bool:
        """Examine types inside another; return whether all are native."""
        self._depth += 1
        native = [self.shape(each).native for each in schemas]
        self._depth -= 1
        return all(native)

    def _aliases(self, model: Any) -> None:
        by_alias = by_alias_of(model)
        if by_alias is not None and self._facts.by_alias not in (None, by_alias):
            self._facts.conflict = f"{model.__qualname__} is read by name, others by alias"
        self._facts.by_alias = by_alias if by_alias is not None else self._facts.by_alias


def _check_field(name: str, field: _Schema, *, is_model: bool) -> None:
    """Check that a field can be dumped and read back; the aliases of models are checked later."""
    key = field.get("serialization_alias", name)
    if (
        not is_model
        and "dataclass" not in field["type"]
        and key != field.get("validation_alias", name)
    ):
        raise PolicyError(f"{name} has different aliases for validation and serialization")
    if not field.get("init", True) or field.get("init_only"):
        raise PolicyError(f"{name} is a field with init=False, or an InitVar")
    excluded = field.get("serialization_exclude") or "serialization_exclude_if" in field
    if excluded and field["schema"]["type"] != "default" and field.get("required", True):
        raise PolicyError(f"{name} is required, but excluded")


def _bases(cls: Any) -> tuple[Any, ...]:
    return tuple(getattr(cls, "__orig_bases__", ()))


def is_strict(schema: Any, seen: set[int] | None = None) -> bool:
    """Return whether pydantic is strict about anything in a core schema."""
    seen = set() if seen is None else seen
    if id(schema) in seen or not isinstance(schema, dict | list | tuple):
        return False
    seen.add(id(schema))
    if isinstance(schema, dict):
        function = schema.get("serialization", {}).get("function")
        if str(getattr(function, "__module__", "")).startswith("pydantic."):
            return False  # a type of pydantic, which is strict inside
        if schema.get("type") == "lax-or-strict":
            return bool(schema.get("strict")) or is_strict(schema["lax_schema"], seen)
        if schema.get("strict") is True:
            return True
    values = schema.values() if isinstance(schema, dict) else schema
    return any(is_strict(each, seen) for each in values)
