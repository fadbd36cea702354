"""Settings of the configuration files, and limits: names, types, defaults and meanings."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from typing import Annotated, Any, Final, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from xkeymsg.daemons.common.sections import NatsSection, PlainNatsSection
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.receiver.config import ReceiverConfig
from xkeymsg.daemons.sender.config import SenderConfig
from xkeymsg.limits import MAX_HEAD, MAX_SUBJECT, Limits

__all__ = ("CONFIGS", "limits", "sections", "settings", "texts")

CONFIGS: Final[dict[str, type[Section]]] = {"receiver": ReceiverConfig, "sender": SenderConfig}
_DAY: Final = 86_400
_WORDS: Final = {
    "Address": "address",
    "Count": "integer",
    "Duration": 'duration, such as "14d", or seconds',
    "FilePath": "file",
    "Flag": "true or false",
    "Folder": "folder",
    "Lines": "file",
    "Name": "name: letters, digits, _ and -",
    "Path": "file",
    "Pattern": "subject, wildcards allowed",
    "PeersPath": "file",
    "PolicyPath": "file",
    "SecretStr": "text",
    "Seconds": "seconds",
    "SeedPath": "file",
    "SignerPath": "file",
    "Subject": "subject",
    "Text": "text",
    "UserName": "user key `U…`",
    "bool": "true or false",
    "date": "date",
    "float": "number",
    "int": "integer",
    "str": "text",
}
"""What the types of `xkeymsg.daemons.common.values` are called in a file."""


def texts(owner: type) -> dict[str, tuple[ast.expr, str]]:
    """Return the annotation of each field of a class, inherited ones first, and its text."""
    found = {}
    for each in reversed(owner.__mro__):
        if each.__module__.startswith("xkeymsg"):
            [definition] = ast.parse(inspect.getsource(each)).body
            for pair in pairwise(getattr(definition, "body", ())):
                match pair:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name), annotation=annotation),
                        ast.Expr(value=ast.Constant(value=str(said))),
                    ):
                        found[name] = (annotation, " ".join(said.split()))
    return found


def sections(config: type[Section]) -> Iterator[tuple[str, str, type[Section]]]:
    """Yield the header of each table of a file, the place of its settings, and its schema."""
    for name, field in config.model_fields.items():
        for many, each in _schemas(field.annotation):
            kind = get_args(each.model_fields["kind"].annotation)[0] if many == "dict" else ""
            match many:
                case "dict":
                    yield f'[{name}.NAME] with kind = "{kind}"', f"{name}.{kind}", each
                case "tuple":
                    yield f"[[{name}]]", name, each
                case _:
                    yield f"[{name}]", name, each


def _schemas(annotation: Any) -> Iterator[tuple[str, type[Section]]]:
    origin = get_origin(annotation)
    if isinstance(annotation, type) and origin is None and issubclass(annotation, Section):
        yield "", annotation
    for each in get_args(annotation)[:1] if origin is Annotated else get_args(annotation):
        many = origin.__name__ if origin in (tuple, dict) else ""
        yield from ((many or inner, schema) for inner, schema in _schemas(each))


def settings(program: str) -> str:
    """Return a section for each table of a configuration file."""
    config = CONFIGS[program]
    top = [_setting(program, "", name, config) for name in ("name",)]
    parts = ["## At the top", *top]
    for header, place, section in sections(config):
        parts += [f"## `{header}`", " ".join((section.__doc__ or "").split())]
        own = section.model_fields
        if issubclass(section, PlainNatsSection):
            own = {name: own[name] for name in own if name not in NatsSection.model_fields}
            own = {"servers": section.model_fields["servers"], **own}
            parts.append("Also every setting of `[nats]`, for this connection.")
        parts += [_setting(program, place, name, section) for name in own]
    return "\n\n".join(parts)


def _setting(program: str, place: str, name: str, section: type[Section]) -> str:
    field = section.model_fields[name]
    annotation, text = texts(section)[name]
    full = ".".join(filter(None, (program, place, name)))
    lines = [f":::{{confval}} {full}", f":type: {_type(annotation)}{_bounds(field)}"]
    default = _default(field, ast.unparse(annotation))
    lines += [f":default: {default}"] if default else []
    return "\n".join([*lines, "", text, ":::"])


def _type(node: ast.expr) -> str:
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _type(left)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            return _type(first)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            each = values.elts if isinstance(values, ast.Tuple) else [values]
            return " or ".join(f"`{json.dumps(ast.literal_eval(value))}`" for value in each)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[first, *_])):
            return f"array: {_type(first)}"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, value])):
            return f"table: {_type(value)}"
        case ast.Name(id=name):
            return _WORDS[name]
    raise ValueError(f"no word for the type {ast.unparse(node)}")


def _bounds(field: FieldInfo) -> str:
    least: Any = None
    most: Any = None
    for each in field.metadata:
        match each:
            case Ge(ge=value):
                least = f"at least {_number(value)}"
            case Gt(gt=value):
                least = f"above {_number(value)}"
            case Le(le=value) if value != 1_000_000_000:
                most = f"at most {_number(value)}"
    found = [each for each in (least, most) if each and each != "at least 1"]
    return f", {', '.join(found)}" if found else ""


def _number(value: Any) -> str:
    return f"{value:,}"


def _default(field: FieldInfo, annotation: str) -> str:
    if field.is_required():
        return "none: required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if "Duration" in annotation:
        days, seconds = divmod(int(value), _DAY)
        return f'`"{days}d"`' if not seconds else f'`"{int(value) // 60}m"`'
    return f"`{json.dumps(value)}`"


def limits() -> str:
    """Return the limits, with their defaults and meanings."""
    told = texts(Limits)
    rows = ["| limit | default | |", "|---|--:|---|"]
    rows += [
        f"| `{field.name}` | {_number(field.default)} | {told[field.name][1]} |"
        for field in fields(Limits)
    ]
    for name, value in (("head", MAX_HEAD), ("subject", MAX_SUBJECT)):
        rows.append(f"| {name} | {_number(value)} | Bytes of the {name}; fixed by the format. |")
    return "\n".join(rows)
