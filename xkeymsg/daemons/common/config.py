"""Daemon configuration: a TOML file, overridden by environment variables; reports every error.

The variable `XKEYMSG_RECEIVER__NATS__SERVERS='["nats://…"]'` overrides `servers` in `[nats]`. Its
value is parsed as TOML, or else taken as a string, so that words need no quotes. An array element
is addressed by its `name` or its index from 0: `XKEYMSG_RECEIVER__ROUTE__0__SINK`.

An error names the file or the variable, the key, the value and what was expected. It never shows a
value that is, or looks like, a secret; nor the value of an unknown key, which may be a misspelt
secret.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from xkeymsg.daemons.common.tables import Location, Section, tables
from xkeymsg.display import MOST_PLACES
from xkeymsg.errors import ConfigurationError
from xkeymsg.files import decode_file, read_file
from xkeymsg.refusals import refusing
from xkeymsg.suggestions import did_you_mean
from xkeymsg.text import may_be_secret, parse_toml

__all__ = ("daemon_of", "load_config")

_SECRET: Final = ("password", "token", "secret")
_LONGEST: Final = 80
_EXPECTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "int_type": "an integer",
    "model_type": "a table",
    "string_pattern_mismatch": "at most 64 letters, digits, _ and -",
    "string_type": "a string, in quotes",
    "tuple_type": 'an array, ["…"]',
}
"""The expected types in TOML's terms; pydantic uses Python's."""
_UNKNOWN: Final = "unknown setting"
_PREFIX_OF_OTHER: Final = {"receiver": "XKEYMSG_SENDER", "sender": "XKEYMSG_RECEIVER"}
"""By daemon, the prefix that the other daemon reads its configuration with."""
_CONSOLE: Final = "XKEYMSG_CONSOLE"
"""The prefix of the console, which may share an environment file with daemons."""
_OURS: Final = "XKEYMSG_"
_OF_SERVICES: Final = re.compile(r".*_(SERVICE_(HOST|PORT)|PORT)(_.*)?")
"""Matches the variables that Kubernetes sets for a service, whatever its name."""

_Config = TypeVar("_Config", bound=Section)


class _Problem(NamedTuple):
    place: Location
    text: str


@refusing
def load_config(
    section: type[_Config],
    path: Path,
    *,
    prefix: str,
    environ: Mapping[str, str] = os.environ,
    part: bool = False,
) -> _Config:
    """Read the configuration of a daemon.

    Paths in it are relative to its own folder. The files it names are checked too.

    Args:
        section: The schema.
        path: The file.
        prefix: The prefix of the overriding environment variables: `XKEYMSG_RECEIVER`.
        environ: The environment.
        part: Whether to ignore other tables than those of `section`.

    Raises:
        ConfigurationError: If anything is wrong; its text has one line for each problem.
    """
    content, others_read = read_file(path, ConfigurationError)
    text = decode_file(content, str(path), ConfigurationError)
    values = parse_toml(text, str(path), ConfigurationError)
    if (other := daemon_of(values)) and prefix == _PREFIX_OF_OTHER[other]:
        raise ConfigurationError(f"{path} configures a {other}: start xkeymsg-{other} with it")
    variables: dict[Location, str] = {}
    problems = list(_open_secrets(section, values)) if others_read else []
    problems += _overlay(values, prefix, environ, variables)
    strays = list(_strays(section, prefix, environ))
    if part:
        values = {name: values[name] for name in values.keys() & section.model_fields.keys()}
    problems += _table_faults(section, values)
    config = None
    try:
        config = section.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += [p for each in details if (p := _problem(each, values)) is not None]
    if config is None or problems or strays:
        problems = list(dict.fromkeys(problems))
        lines = strays[:MOST_PLACES]
        lines += [_line(path, each, values, variables) for each in problems[:MOST_PLACES]]
        if len(problems) > MOST_PLACES:
            lines.append(f"{path}: and {len(problems) - MOST_PLACES} more")
        raise ConfigurationError("\n".join(dict.fromkeys(lines)))
    return config


def daemon_of(values: Mapping[str, Any]) -> Literal["receiver", "sender"] | None:
    """Return the daemon that a configuration is for; None if it is unclear."""
    routes = values.get("route")
    seals = "source" in values or (
        isinstance(routes, list) and any("to" in each for each in routes if isinstance(each, dict))
    )
    if seals == ("sinks" in values):
        return None
    return "sender" if seals else "receiver"


# --- the file -------------------------------------------------------------------------------------


def _table_faults(section: type[Section], values: Mapping[str, Any]) -> Iterator[_Problem]:
    """Yield unknown settings, and those that contradict each other."""
    for table in tables(section, values):
        known = table.section.model_fields
        for key in table.values.keys() - known.keys():
            near = did_you_mean(key, known)
            text = _UNKNOWN + (near or f"; expected one of {', '.join(known)}")
            yield _Problem((*table.place, key), text)
        for where, why in table.section.contradictions(table.values):
            below = where if isinstance(where, tuple) else (where,) if where else ()
            yield _Problem((*table.place, *below), why)


def _open_secrets(section: type[Section], values: Mapping[str, Any]) -> Iterator[_Problem]:
    for table in tables(section, values):
        for key in table.values.keys() & {"password", "token"}:
            why = "this file is readable by everyone: chmod 600 it, or use the environment"
            yield _Problem((*table.place, key), why)


# --- the environment ------------------------------------------------------------------------------


def _overlay(
    values: dict[str, Any], prefix: str, environ: Mapping[str, str], used: dict[Location, str]
) -> Iterator[_Problem]:
    """Apply the variables to the values, and record in `used` which variable set which value."""
    for variable in sorted(environ):
        if not variable.startswith(prefix + "__"):
            continue
        place: Location = ()
        target: Any = values
        *above, last = variable.removeprefix(prefix + "__").split("__")
        for part in above:
            key = _key(target, part)
            place = (*place, part.lower() if key is None else key)
            if isinstance(target, dict) and key not in target:
                used.setdefault(place, variable)
                target[key] = {}
            target = None if key is None else target[key]
        key = _key(target, last)
        used[(*place, last.lower() if key is None else key)] = variable
        if key is None:
            yield _Problem((*place, last.lower()), "no element of this name or index in the file")
        else:
            target[key] = _value(environ[variable])


def _strays(section: type[Section], prefix: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that is meant for a setting, and would be ignored."""
    known = {prefix, _CONSOLE, *_PREFIX_OF_OTHER.values()}
    sections = tuple(f"{prefix}_{name.upper()}_" for name in section.model_fields)
    for variable in sorted(environ):
        if not variable.startswith(_OURS) or _OF_SERVICES.fullmatch(variable):
            continue
        begin, parts, _ = variable.partition("__")
        if (parts and begin not in known) or (not parts and variable.startswith(sections)):
            yield (
                f"{_readable(variable)}: unknown variable; the name of a setting is"
                f" {prefix}__SECTION__KEY, with two underscores"
            )


def _key(target: Any, part: str) -> str | int | None:
    """Return the table key or array index that one part of a variable's name refers to."""
    plain = part.lower()
    if isinstance(target, dict):
        return next((key for key in target if _plain(key) == plain), plain)
    if not isinstance(target, list):
        return None
    for number, each in enumerate(target):
        if str(number) == plain or (isinstance(each, dict) and _plain(each.get("name")) == plain):
            return number
    return None


def _plain(name: object) -> str:
    return str(name).lower().replace("-", "_").replace(".", "_")


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


# --- errors ---------------------------------------------------------------------------------------


def _problem(error: ErrorDetails, values: Mapping[str, Any]) -> _Problem | None:
    place = _place(error["loc"], values)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return None  # reported already, with the known keys
    if error["type"] == "too_short":
        if error["input"]:
            return None  # its elements were invalid, and are reported
        message = "expected at least one element"
    if error["type"] == "missing":
        return _Problem(place, "missing")
    if error["type"] in _EXPECTED:
        message = f"expected {_EXPECTED[error['type']]}"
    if message.startswith("Input should be "):
        message = "expected " + message.removeprefix("Input should be ")
    if error["type"].startswith("union_tag"):
        expected = error.get("ctx", {}).get("expected_tags", "")
        return _Problem((*place, "kind"), f"expected one of {expected}")
    return _Problem(place, message)


def _place(loc: Location, values: Any) -> Location:
    """Return the location of an error in the file, without pydantic's tag for a table's kind."""
    place: Location = ()
    is_tagged = False
    for number, each in enumerate(loc):
        if isinstance(values, Mapping) and each == values.get("kind") and not is_tagged:
            is_tagged = True  # this is the tag; a key of the same name may follow
            continue
        is_tagged = False
        if isinstance(values, Mapping) and each in values:
            values = values[str(each)]
        elif isinstance(values, list) and isinstance(each, int) and each < len(values):
            values = values[each]
        elif number < len(loc) - 1 or not isinstance(values, Mapping):
            continue
        place = (*place, each)
    return place


def _line(path: Path, problem: _Problem, values: Any, variables: Mapping[Location, str]) -> str:
    """Format a problem: file or variable, key, value, and what is wrong."""
    place, text = problem
    given: Any = values
    names: list[str] = []
    for part in place:
        inside = isinstance(given, Mapping) and part in given
        inside = inside or (isinstance(given, list) and isinstance(part, int))
        given = given[part] if inside else None
        name = given.get("name") if isinstance(given, Mapping) else None
        if isinstance(part, int) and names:
            names[-1] += f"[{_shown(name) if isinstance(name, str) else part}]"
        else:
            names.append(_readable(str(part)))
    unknown = text.startswith(_UNKNOWN)
    above = [at for at in variables if place[: len(at)] == at]
    where = variables[max(above, key=len)] if above else str(path)
    key = ".".join(names)
    secret = any(word in str(place[-1]).lower() for word in _SECRET) if place else True
    nothing = unknown or given is None or isinstance(given, Mapping)
    value = "" if secret or nothing else f" = {_shown(given)}"
    return f"{where}: {key}{value}: {text}" if key else f"{where}: {text}"


def _readable(name: str) -> str:
    return (
        name
        if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) and not may_be_secret(name)
        else (f"a name of {len(name)} characters")
    )


def _shown(value: object) -> str:
    """Format a value, unless it is long or may contain a secret."""
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        return "(nested, not shown)"
    secret = "@" in text or any(map(may_be_secret, re.split(r'[\s",]+', text)))
    if len(text) > _LONGEST or secret:
        return f"({type(value).__name__} of {len(text)} characters, not shown)"
    return text
