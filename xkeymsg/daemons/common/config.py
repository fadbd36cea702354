"""Loading the file of a daemon: TOML, then the environment, then every error at once.

A variable `XKEYMSG_RECEIVER__NATS__SERVERS='["nats://…"]'` counts before the file's `servers` in
`[nats]`. Its value is one of TOML; what is none is a text, so that words need no quotes. Parts of
an array are meant by their `name` or their number, from 0 on: `XKEYMSG_RECEIVER__ROUTE__0__SINK`.

An error names the file or the variable, the key, the value and what was expected. No value is shown
that is, or looks like, a secret; nor that of a key which is unknown: it may be a misspelt one.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from xkeymsg.daemons.common.tables import Location, Section, tables
from xkeymsg.errors import ConfigurationError
from xkeymsg.files import decode_file, read_file
from xkeymsg.refusals import refusing
from xkeymsg.shown import MOST_PLACES
from xkeymsg.text import parse_toml

__all__ = ("load_config",)

_SECRET: Final = ("password", "token", "secret")
_SEED: Final = re.compile(r"S[A-Z2-7]{30}")
_LONGEST: Final = 80
_EXPECTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "a table",
    "string_pattern_mismatch": "of letters, digits, _ and -, 64 at most",
    "string_type": "a text, in quotes",
    "tuple_type": 'an array, ["…"]',
}
"""In the words of TOML what pydantic says in those of Python."""

_Config = TypeVar("_Config", bound=Section)


class _Problem(NamedTuple):
    place: Location
    text: str


@refusing
def load_config(
    section: type[_Config], path: Path, *, prefix: str, environ: Mapping[str, str] = os.environ
) -> _Config:
    """Read the configuration of a daemon.

    Paths in it are relative to its own folder. The files that it names are looked at, too.

    Args:
        section: What it has to be.
        path: The file.
        prefix: What the names of variables begin with that count before it: `XKEYMSG_RECEIVER`.
        environ: The environment.

    Raises:
        ConfigurationError: If anything is wrong with it; has a line for each thing.
    """
    content, others_read = read_file(path, ConfigurationError)
    text = decode_file(content, str(path), ConfigurationError)
    values = parse_toml(text, str(path), ConfigurationError)
    variables: dict[Location, str] = {}
    problems = list(_open_secrets(section, values)) if others_read else []
    problems += _overlay(values, prefix, environ, variables)
    for table in tables(section, values):
        known = table.section.model_fields
        for key in table.values.keys() - known.keys():
            text = f"no such setting; expected are {', '.join(known)}"
            problems.append(_Problem((*table.place, key), text))
        for where, why in table.section.contradictions(table.values):
            below = where if isinstance(where, tuple) else (where,) if where else ()
            problems.append(_Problem((*table.place, *below), why))
    config = None
    try:
        config = section.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += [p for each in details if (p := _problem(each, values)) is not None]
    if config is None or problems:
        problems = list(dict.fromkeys(problems))
        lines = [_line(path, each, values, variables) for each in problems[:MOST_PLACES]]
        if len(problems) > MOST_PLACES:
            lines.append(f"{path}: and {len(problems) - MOST_PLACES} more")
        raise ConfigurationError("\n".join(dict.fromkeys(lines)))
    return config


# --- the file -------------------------------------------------------------------------------------


def _open_secrets(section: type[Section], values: Mapping[str, Any]) -> Iterator[_Problem]:
    for table in tables(section, values):
        for key in table.values.keys() & {"password", "token"}:
            why = "everybody can read this file: chmod 600 it, or give this in the environment"
            yield _Problem((*table.place, key), why)


# --- the environment ------------------------------------------------------------------------------


def _overlay(
    values: dict[str, Any], prefix: str, environ: Mapping[str, str], used: dict[Location, str]
) -> Iterator[_Problem]:
    """Put the variables over the values, and note which value came from which."""
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
            yield _Problem((*place, last.lower()), "there is nothing of that name in the file")
        else:
            target[key] = _value(environ[variable])


def _key(target: Any, part: str) -> str | int | None:
    """Return the key of a table, or the place in an array, that a part of a variable means."""
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
        return None  # told already, with the keys that there are
    if error["type"] == "too_short":
        if error["input"]:
            return None  # what is in it was wrong, and is told
        message = "expected is one at least"
    if error["type"] == "missing":
        return _Problem(place, "missing")
    if error["type"] in _EXPECTED:
        message = f"expected is {_EXPECTED[error['type']]}"
    if message.startswith("Input should be "):
        message = "expected is " + message.removeprefix("Input should be ")
    if error["type"].startswith("union_tag"):
        expected = error.get("ctx", {}).get("expected_tags", "")
        return _Problem((*place, "kind"), f"expected is one of {expected}")
    return _Problem(place, message)


def _place(loc: Location, values: Any) -> Location:
    """Return where an error is in the file: without what pydantic says of the kind of a table."""
    place: Location = ()
    is_tagged = False
    for number, each in enumerate(loc):
        if isinstance(values, Mapping) and each == values.get("kind") and not is_tagged:
            is_tagged = True  # that it says, and a key of the same name may follow
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
    """Say a problem: file or variable, key, value, and what is wrong with it."""
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
    unknown = text.startswith("no such")
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
        if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) and not _SEED.search(name)
        else (f"a name of {len(name)} characters")
    )


def _shown(value: object) -> str:
    """Show a value, unless it is long, or could be a secret or hold one."""
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        return "(nested, not shown)"
    if len(text) > _LONGEST or _SEED.search(text) or "@" in text:
        return f"({type(value).__name__} of {len(text)} characters, not shown)"
    return text
