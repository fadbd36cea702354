"""Types of flag values: public keys, subjects, durations."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.errors import KeyFormatError, XKeyMsgError
from xkeymsg.keys import XKey
from xkeymsg.transport.credentials import resolve_login
from xkeymsg.transport.options import LoginText
from xkeymsg.transport.subjects import is_written_pattern, is_written_subject

__all__ = (
    "DURATION",
    "LOGIN",
    "SENDER",
    "SIZE",
    "SUBJECT",
    "SUBJECT_PATTERN",
    "XKEY",
    "seconds_of",
)


_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_of(text: str) -> float | None:
    """Return a duration as in the nats CLI: `5s`, `500ms` or `30d`; a bare number is seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|)", text)
    return float(match[1]) * _UNITS[match[2]] if match and float(match[1]) > 0 else None


class _Duration(click.ParamType[float]):
    """A duration; see `seconds_of`."""

    name = "duration"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = seconds_of(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not a duration like 5s", param, ctx)
        return seconds


class _Size(click.ParamType[int]):
    """A number of bytes, as `64MiB` or `10GiB`; a bare number is bytes."""

    name = "size"
    _UNITS = types.MappingProxyType({"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30})

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        match = re.fullmatch(r"([0-9]{1,9})(KiB|MiB|GiB|)", str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is not a size like 64MiB", param, ctx)
        return int(match[1]) * self._UNITS[match[2]]


class _Login(click.ParamType[Path | LoginText]):
    """Credentials as in the nats CLI: a file, `env://VARIABLE` or `data:;base64,…`."""

    name = "file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | LoginText:
        try:
            return resolve_login("it" if param is None else f"--{param.name}", str(value))
        except XKeyMsgError as error:
            self.fail(str(error), param, ctx)


LOGIN = _Login()


class _XKey(click.ParamType[XKey]):
    """A public key `X…`."""

    name = "X…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> XKey:
        try:
            return XKey.parse(value)
        except KeyFormatError as error:
            self.fail(str(error), param, ctx)


XKEY = _XKey()


class _SenderType(click.ParamType[XKey | None]):
    """A public key `X…`, or the word `anyone`, which becomes None."""

    name = "X…"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> XKey | None:
        return None if value == "anyone" else XKEY.convert(value, param, ctx)


class _Subject(click.ParamType[str]):
    """A NATS subject (ADR-6): tokens of printable ASCII between dots."""

    name = "subject"

    def __init__(self, is_one: Callable[[str], bool]) -> None:
        self._is_one = is_one

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._is_one(value):
            hint = "; wildcards are not allowed here" if is_written_pattern(value) else ""
            self.fail(f"{value!r} is not a NATS subject{hint}", param, ctx)
        return value


DURATION = _Duration()
SENDER = _SenderType()
SIZE = _Size()
SUBJECT = _Subject(is_written_subject)
SUBJECT_PATTERN = _Subject(is_written_pattern)
