"""The settings of configuration files: types, defaults and meanings.

The meanings are the strings below the fields of the sections, which are read from the source.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from xkeymsg.cli.console.config import ConsoleConfig
from xkeymsg.daemons.common.sections import DaemonConfig, NatsSection, PlainNatsSection
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.receiver.config import ReceiverConfig
from xkeymsg.daemons.sender.config import SenderConfig

__all__ = ("CONFIGS", "Setting", "SettingTable", "setting_tables", "texts_below")

CONFIGS: Final[Mapping[str, type[Section]]] = {
    "console": ConsoleConfig,
    "receiver": ReceiverConfig,
    "sender": SenderConfig,
}
_ALSO_NATS: Final = "Also every setting of [nats], for this connection."
_MOST_COUNT: Final = 1_000_000_000
"""The bound of every count, which is not shown."""
_WORDS: Final = {
    "Address": "address",
    "Count": "integer",
    "Duration": 'duration, such as "14d", or seconds',
    "FilePath": "file",
    "Flag": "true or false",
    "Folder": "folder",
    "Lines": "file",
    "Name": "name: letters, digits, _ and -",
    "Pattern": "subject, wildcards allowed",
    "PeersPath": "file",
    "PolicyPath": "file",
    "SecretStr": "text",
    "Seconds": "seconds",
    "SeedPath": "file",
    "SignerPath": "file",
    "Subject": "subject",
    "Text": "text",
    "UserName": "user key U…",
    "date": "date",
    "float": "number",
    "str": "text",
}
"""What the types of `xkeymsg.daemons.common.values` are called in a file."""
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60))


class Setting(NamedTuple):
    """A setting of a configuration file."""

    name: str
    kind: str
    """The type, in words."""
    default: str
    """In TOML; empty if the setting has no default."""
    required: bool
    text: str


class SettingTable(NamedTuple):
    """A table of a configuration file."""

    header: str
    """As in the file, such as `[[route]]`; empty for the settings before the first table."""
    place: str
    """What precedes the names of its settings, such as `route.`."""
    text: str
    settings: tuple[Setting, ...]


def setting_tables(daemon: str) -> Iterator[SettingTable]:
    """Yield each table of a configuration file: its own first, then those that daemons share.

    Args:
        daemon: A key of `CONFIGS`.
    """
    config = CONFIGS[daemon]
    fields = {name: [*_sections(each.annotation)] for name, each in config.model_fields.items()}
    top = tuple(_setting(name, config) for name, sections in fields.items() if not sections)
    yield SettingTable("", "", "", top)
    shared = DaemonConfig.model_fields
    for field in sorted(config.model_fields, key=shared.__contains__):
        for many, section in fields[field]:
            text, names = " ".join((section.__doc__ or "").split()), [*section.model_fields]
            if issubclass(section, PlainNatsSection):
                own = [name for name in names if name not in NatsSection.model_fields]
                text, names = f"{text} {_ALSO_NATS}", ["servers", *own]
            header, place = f"[{field}]", f"{field}."
            if many is tuple:
                header = f"[[{field}]]"
            elif many is dict:
                [kind] = get_args(section.model_fields["kind"].annotation)
                header, place = f'[{field}.NAME] with kind = "{kind}"', f"{field}.{kind}."
            found = tuple(_setting(name, section) for name in names)
            yield SettingTable(header, place, text, found)


def _sections(annotation: Any) -> Iterator[tuple[Any, type[Section]]]:
    """Yield the sections in a type, with the container that they are in, if any."""
    origin = get_origin(annotation)
    if origin is None and isinstance(annotation, type) and issubclass(annotation, Section):
        yield None, annotation
    arguments = get_args(annotation)
    for each in arguments[:1] if origin is Annotated else arguments:
        for inner, section in _sections(each):
            yield origin if origin in (tuple, dict) else inner, section


@cache  # `inspect` parses the whole module
def texts_below(owner: type) -> dict[str, tuple[ast.expr, str]]:
    """Return the annotation of each field of a class, inherited ones first, and its text.

    Raises:
        OSError: If the source is not there.
    """
    found = {}
    for each in reversed(owner.__mro__):
        if not each.__module__.startswith("xkeymsg."):
            continue
        [definition] = ast.parse(inspect.getsource(each)).body
        for pair in pairwise(getattr(definition, "body", ())):
            match pair:
                case (
                    ast.AnnAssign(target=ast.Name(id=name), annotation=annotation),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = (annotation, " ".join(text.split()))
    return found


def _setting(name: str, section: type[Section]) -> Setting:
    field = section.model_fields[name]
    annotation, text = texts_below(section)[name]
    kind = f"{_choices(field) or _kind(annotation)}{_bounds(field)}"
    default = "" if field.is_required() else _default(field, ast.unparse(annotation))
    return Setting(name, kind, default, field.is_required(), text)


def _choices(field: FieldInfo) -> str:
    """Return the values that a setting can have, if they are listed."""
    for each in (field.annotation, *get_args(field.annotation)):
        if get_origin(each) is Literal:
            return " or ".join(json.dumps(value) for value in get_args(each))
    return ""


def _kind(node: ast.expr) -> str:
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _kind(left)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            return _kind(first)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[first, *_])):
            return f"array: {_kind(first)}"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, value])):
            return f"table: {_kind(value)}"
    return _WORDS[ast.unparse(node)]


def _bounds(field: FieldInfo) -> str:
    """Return the bounds of a number; the last one counts, since aliases come first."""
    words: dict[str, str] = {}
    for each in field.metadata:
        for key, word in (("gt", "above"), ("ge", "at least"), ("le", "at most")):
            value = getattr(each, key, None)
            if value is not None and (key, value) not in (("ge", 1), ("le", _MOST_COUNT)):
                words["most" if key == "le" else "least"] = f", {word} {value:,}"
    return words.get("least", "") + words.get("most", "")


def _default(field: FieldInfo, annotation: str) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if "Duration" in annotation:
        unit, size = next((each for each in _UNITS if value % each[1] == 0), ("s", 1))
        return f'"{value / size:g}{unit}"'
    return json.dumps(value)
