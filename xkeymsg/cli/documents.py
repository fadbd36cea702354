"""Documents on the command line, read and written as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import click

from xkeymsg.daemons.common.documents import OnLoss, parse_document, to_json
from xkeymsg.daemons.common.terminal import EXIT_FAILED, describe, say
from xkeymsg.errors import EnvelopeError

__all__ = ("failing", "is_utf8_terminal", "read_document", "to_json")


@contextmanager
def failing() -> Iterator[None]:
    """Exit with a general failure for errors in our input, not as for an undecryptable message."""
    try:
        yield
    except EnvelopeError as error:
        say("xkeymsg", describe(error))
        raise click.exceptions.Exit(EXIT_FAILED) from None


def read_document(source: BinaryIO, *, exact: bool = False, on_loss: OnLoss | None = None) -> Any:
    """Read a JSON document; see `parse_document`.

    Raises:
        MalformedError: If it is not JSON in UTF-8, repeats a name, or has an unsupported number.
        LimitExceededError: If an integer has too many digits.
    """
    return parse_document(source.read(), exact=exact, on_loss=on_loss)


def is_utf8_terminal() -> bool:
    """Return whether stdout is UTF-8: in other encodings some of its bytes are control codes."""
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"
