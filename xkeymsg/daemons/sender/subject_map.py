"""Mapping of the source's subject to the subject that a message is sealed for and sent to.

It works like the subject mappings of NATS, with the tokens matched by a pattern's wildcards:

    ehr.*       sealed.ehr.{1}      `{1}` is the match of the first `*`
    ehr.*.>     sealed.{1}.{>}      `{>}` is the match of `>`, one or more tokens
    ehr.>       {subject}           the whole subject

Publishers at the source must not choose the first token: a message sent to `$JS.…` would be a
command to the server.
"""

from __future__ import annotations

import re
from typing import Final

from xkeymsg.envelope.subject import REPLIES
from xkeymsg.errors import ConfigurationError, MalformedError
from xkeymsg.transport.subjects import is_written_pattern, is_written_subject

__all__ = ("SubjectMap",)

_REFERENCE: Final = re.compile(r"\{([^{}]*)\}")
_RESERVED: Final = re.compile(rf"\$.*|{REPLIES}|_INBOX|_R_")


class SubjectMap:
    """Maps the subjects that match a pattern."""

    def __init__(self, source: str | None, to: str) -> None:
        """Initialize the map.

        Args:
            source: The pattern, or None for messages without a subject.
            to: The target, with references.

        Raises:
            ConfigurationError: If `to` has an unknown reference, or is not a valid subject.
        """
        if source is not None and not is_written_pattern(source):
            raise ConfigurationError("expected a subject, or a pattern with * and >, as in NATS")
        tokens = [] if source is None else source.split(".")
        self._source = re.compile(r"\.".join(map(_expression, tokens)))
        self._pieces = _REFERENCE.split(to)  # text, reference, text, …
        known = [str(number) for number in range(1, tokens.count("*") + 1)]
        self._groups = {name: number for number, name in enumerate(known, 1)}
        if tokens[-1:] == [">"]:
            self._groups[">"] = len(known) + 1
        if tokens:
            self._groups["subject"] = 0
        for reference in self._pieces[1::2]:
            if reference not in self._groups:
                available = ", ".join(f"{{{each}}}" for each in self._groups) or "none"
                raise ConfigurationError(
                    f"unknown reference {{{reference}}}; available: {available}"
                )
        self.pattern = self._as_pattern(tokens)
        """The pattern that all mapped subjects match."""
        self._check()

    def _check(self) -> None:
        """Check that the results are valid subjects, and not reserved ones.

        Raises:
            ConfigurationError: If they are not.
        """
        if not is_written_subject("".join(self._filled("x"))):
            raise ConfigurationError("expected a subject: tokens of printable ASCII between dots")
        first = self.pattern.split(".")[0]
        if first in ("*", ">"):
            raise ConfigurationError("the first token must be fixed: the source must not choose it")
        if _RESERVED.fullmatch(first):
            raise ConfigurationError(f"first token {first} is reserved for servers and replies")

    def _filled(self, each: str) -> list[str]:
        return [each if number % 2 else text for number, text in enumerate(self._pieces)]

    def _as_pattern(self, tokens: list[str]) -> str:
        whole = ".".join(tokens)
        marks = {"subject": whole, ">": ">"}
        pieces = list(self._pieces)
        for at in range(1, len(pieces), 2):
            pieces[at] = marks.get(pieces[at], "*")
        found: list[str] = []
        for part in "".join(pieces).split("."):
            if ">" in part:
                return ".".join([*found, ">"])  # covers everything after it
            found.append("*" if "*" in part else part)
        return ".".join(found)

    def __call__(self, subject: str) -> str:
        """Return the target subject of a message.

        Raises:
            MalformedError: If its subject does not match the pattern.
        """
        match = self._source.fullmatch(subject)
        if match is None:
            raise MalformedError("the subject does not match the route's pattern")
        pieces = list(self._pieces)
        for at in range(1, len(pieces), 2):
            pieces[at] = match[self._groups[pieces[at]]]
        return "".join(pieces)


def _expression(token: str) -> str:
    return {"*": r"([^.]+)", ">": r"(.+)"}.get(token) or re.escape(token)
