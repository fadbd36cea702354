"""From the subject that a message came on to the one that it is sealed for, and sent to.

As NATS' own subject mappings, with the tokens that a pattern's wildcards stand for:

    ehr.*       sealed.ehr.{1}      `{1}` is what the first `*` stands for
    ehr.*.>     sealed.{1}.{>}      `{>}` is what `>` stands for, one token or more
    ehr.>       {subject}           the whole of it

The first token is never theirs to choose who publish at the source: a message sent to `$JS.…` would
be an order to the server.
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
        """Take both.

        Args:
            source: The pattern, or None where messages come without a subject.
            to: Where they go.

        Raises:
            ConfigurationError: If `to` refers to what the pattern has not, or is no subject.
        """
        if source is not None and not is_written_pattern(source):
            raise ConfigurationError("expected is a subject, or a pattern with * and >, as in NATS")
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
                expected = ", ".join(f"{{{each}}}" for each in self._groups) or "none"
                raise ConfigurationError(f"there is no {{{reference}}} here; there is {expected}")
        self.pattern = self._as_pattern(tokens)
        """What subjects of this kind match."""
        self._check()

    def _check(self) -> None:
        """See that what comes of it is a subject, and one for messages.

        Raises:
            ConfigurationError: If it is not.
        """
        if not is_written_subject("".join(self._filled("x"))):
            raise ConfigurationError(
                "expected is a subject: tokens of printable ASCII between dots"
            )
        first = self.pattern.split(".")[0]
        if first in ("*", ">"):
            raise ConfigurationError(
                "expected is a first token of your own: it is not for the source to choose"
            )
        if _RESERVED.fullmatch(first):
            raise ConfigurationError(f"a first token {first} is for servers and replies")

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
                return ".".join([*found, ">"])  # whatever stands behind it
            found.append("*" if "*" in part else part)
        return ".".join(found)

    def __call__(self, subject: str) -> str:
        """Return where a message goes.

        Raises:
            MalformedError: If its subject does not match the pattern.
        """
        match = self._source.fullmatch(subject)
        if match is None:
            raise MalformedError("a subject that does not match the route's")
        pieces = list(self._pieces)
        for at in range(1, len(pieces), 2):
            pieces[at] = match[self._groups[pieces[at]]]
        return "".join(pieces)


def _expression(token: str) -> str:
    return {"*": r"([^.]+)", ">": r"(.+)"}.get(token) or re.escape(token)
