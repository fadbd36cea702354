"""What a flag's text may be: a public key, a subject, a length of time."""

from __future__ import annotations

import re
import types

import click

from xkeymsg.errors import KeyFormatError
from xkeymsg.keys import XKey

__all__ = ("DURATION", "SENDER", "SUBJECT", "SUBJECT_PATTERN", "XKEY")


class _Duration(click.ParamType[float]):
    """A length of time as the nats CLI writes it, `5s` or `500ms`; a bare number is seconds."""

    name = "duration"
    _UNITS = types.MappingProxyType({"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0})

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|)", str(value))
        if match is None or float(match[1]) <= 0:
            self.fail(f"{value!r} is not a length of time like 5s", param, ctx)
        return float(match[1]) * self._UNITS[match[2]]


class _XKey(click.ParamType[XKey]):
    """A public key `X…`."""

    name = "X…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> XKey:
        try:
            return XKey.parse(value)
        except KeyFormatError as error:
            self.fail(str(error), param, ctx)


XKEY = _XKey()


class _Sender(click.ParamType[XKey | None]):
    """A public key `X…`, or the word `anyone`, which is None."""

    name = "X…"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> XKey | None:
        return None if value == "anyone" else XKEY.convert(value, param, ctx)


class _Subject(click.ParamType[str]):
    """A NATS subject (ADR-6): tokens of printable ASCII between dots."""

    name = "subject"

    def __init__(self, *, wildcards: bool) -> None:
        self._token = re.compile(r"[!-)+,\-/-=?-~]+" + (r"|\*" if wildcards else ""))
        self._wildcards = wildcards

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        tokens = value.split(".")
        body = tokens[:-1] if self._wildcards and tokens[-1] == ">" else tokens
        if not all(self._token.fullmatch(token) for token in body):
            self.fail(f"{value!r} is not a NATS subject", param, ctx)
        return value


DURATION = _Duration()
SENDER = _Sender()
SUBJECT = _Subject(wildcards=False)
SUBJECT_PATTERN = _Subject(wildcards=True)
