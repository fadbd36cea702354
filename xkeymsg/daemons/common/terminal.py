"""How every program here talks to the person, or the script, that runs it.

- Data goes to stdout; everything else goes to stderr, as `program: text`, in lower case and without
  a full stop.
- Exit 0: done. 1: failed. 2: called wrongly. 3: could not open a message. Interrupted: 130.
- What others have sent is shown quoted: control characters, escape sequences and whatever else a
  terminal might act on are written as escapes.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from xkeymsg.errors import EnvelopeError, OpenError, XKeyMsgError

__all__ = (
    "EXIT_CODES",
    "EXIT_FAILED",
    "EXIT_NOT_OPENED",
    "describe",
    "one_line",
    "quote",
    "run",
    "say",
)

EXIT_FAILED: Final = 1
EXIT_NOT_OPENED: Final = 3
EXIT_INTERRUPTED: Final = 130
EXIT_CODES: Final = "Exit codes: 0 done, 1 failed, 2 called wrongly, 3 could not open a message."
"""What every --help ends with."""

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(data: bytes | str) -> str:
    r"""Quote text from outside for a terminal or a log, in the manner of Go's `%q`.

    Valid UTF-8 that is printable stays; everything else becomes an escape: a byte that is not
    UTF-8 `\xff`, another character `\u202e` or `\U000e0001`.
    """
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    return '"' + "".join(_ESCAPES.get(each) or _printable(each) for each in text) + '"'


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """Return a text for one line of a terminal.

    Whatever is in it, a server's words or the name of a file, cannot act on the terminal or look
    like another line.
    """
    return "".join(map(_printable, text))


def say(program: str, text: str) -> None:
    """Tell the person something that is not data, in one line."""
    click.echo(f"{program}: {one_line(text)}", err=True)


def describe(error: XKeyMsgError) -> str:
    """Say an error in one line: its code, which scripts can look for, then its text."""
    return f"{error.code}: {error}" if str(error) else error.code


def run(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a click command and return the exit code of the process.

    Everything that users have to see is one line on stderr: no traceback leaves a program for an
    error that the package knows.
    """
    if sys.stdout is None or sys.stderr is None:
        return EXIT_FAILED  # closed before we began: what we say would be lost
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale that lacks a character
    # What libraries log is for programs that ask for it; people are told by `say`.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        result = command.main(args=arguments, prog_name=_called(program), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except (XKeyMsgError, OSError) as error:
        return _fail(program, error)
    return result if isinstance(result, int) else 0  # an int is --help's, or the command's own


def _called(program: str) -> str:
    """Return what a person has to type for a program, as far as that can be told."""
    name = Path(sys.argv[0]).name
    if program in (name, "xkeymsg"):
        return program
    return name if name == f"xkeymsg-{program}" else f"python -m {program}"


def _fail(program: str, error: XKeyMsgError | OSError) -> int:
    """Say an error and return its exit code."""
    if isinstance(error, XKeyMsgError):
        say(program, describe(error))
        return EXIT_NOT_OPENED if isinstance(error, (OpenError, EnvelopeError)) else EXIT_FAILED
    if isinstance(error, BrokenPipeError):
        # The reader of our stdout is gone; keep the interpreter from writing to it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    where = f"{error.filename}: " if error.filename else ""
    say(program, f"{where}{error.strerror or error}")
    return EXIT_FAILED
