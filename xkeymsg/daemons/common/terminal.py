"""Terminal output and exit codes of every program.

- Data goes to stdout; everything else goes to stderr, as `program: text`, in lower case and without
  a full stop.
- Exit 0: done. 1: failed. 2: usage error. 3: could not open a message. Interrupted: 130.
- Text from outside is quoted: control characters, escape sequences and anything else that a
  terminal might interpret are escaped.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import click

from xkeymsg.errors import ConfigurationError, EnvelopeError, OpenError, PinError, XKeyMsgError
from xkeymsg.text import may_be_secret, path_text

__all__ = (
    "COMPLETION",
    "EXIT_CODES",
    "EXIT_CODES_UNOPENED",
    "EXIT_FAILED",
    "EXIT_NOT_OPENED",
    "EXIT_PIN",
    "describe",
    "failing",
    "one_line",
    "quote",
    "run",
    "say",
    "say_faults",
)

EXIT_FAILED: Final = 1
EXIT_NOT_OPENED: Final = 3
EXIT_PIN: Final = 78
"""EX_CONFIG: a token refused its PIN. A supervisor must not restart the program: a few more tries
lock the token."""
EXIT_INTERRUPTED: Final = 130
EXIT_CODES: Final = "Exit codes: 0 done, 1 failed, 2 usage error, 3 could not open a message."
"""The last line of --help, for programs that may exit with 3."""
EXIT_CODES_UNOPENED: Final = "Exit codes: 0 done, 1 failed, 2 usage error."
"""The same for daemons, which continue after such a message, and for programs that only seal."""
COMPLETION: Final = "Completion in bash, zsh and fish: xkeymsg completion --help."
"""The line after the exit codes, for the programs that `xkeymsg completion` completes."""

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(data: bytes | str) -> str:
    r"""Quote text from outside for a terminal or a log, like Go's `%q`.

    Printable UTF-8 stays; everything else is escaped: an invalid byte as `\xff`, any other
    character as `\u202e` or `\U000e0001`.
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
    """Return a text as one line that is safe for a terminal.

    Nothing in it, such as a server's text or a file name, can control the terminal or look like
    another line.
    """
    return "".join(map(_printable, text))


def say(program: str, text: str) -> None:
    """Write one line to stderr."""
    click.echo(f"{program}: {one_line(text)}", err=True)


def say_faults(program: str, error: ConfigurationError) -> int:
    """Write each fault of a configuration file as a line, and return the exit code."""
    for line in str(error).splitlines():
        say(program, f"configuration: {line}")
    return EXIT_FAILED


def describe(error: XKeyMsgError) -> str:
    """Format an error in one line: its code, which scripts can match, then its text."""
    return ": ".join(filter(None, (error.code, str(error))))


@contextmanager
def failing(program: str = "xkeymsg") -> Iterator[None]:
    """Exit with a general failure for errors in our input, not as for an undecryptable message."""
    try:
        yield
    except EnvelopeError as error:
        say(program, describe(error))
        raise click.exceptions.Exit(EXIT_FAILED) from None


def run(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a click command and return the exit code of the process.

    Users see one line on stderr: an error of this package never causes a traceback.
    """
    if not _has_streams(program):
        return EXIT_FAILED
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the locale may lack characters
    # Library logs are off unless a program asks for them; users read what `say` writes.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_warn, program)
            result = command.main(args=arguments, prog_name=_called(program), standalone_mode=False)
    except click.ClickException as error:
        for name in {"message", "ui_filename"} & vars(error).keys():
            setattr(error, name, _without_secrets(getattr(error, name)))
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except (XKeyMsgError, OSError) as error:
        return _fail(program, error)
    return result if isinstance(result, int) else 0  # --help, or the command, returned an int


def _has_streams(program: str) -> bool:
    """Return whether there are stdout and stderr; keep any other file from becoming stdin.

    The next file that is opened would get the number of a closed stdin, and be read as input.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY))  # reading it fails
    if sys.stdout is None and sys.stderr is not None:
        sys.stderr.write(f"{program}: stdout is closed, and output would be lost: redirect it\n")
    return sys.stdout is not None and sys.stderr is not None


def _warn(program: str, message: Warning | str, *_: object) -> None:
    """Show a warning of Python in one line."""
    say(program, f"warning: {message}")


def _without_secrets(text: str) -> str:
    """Return a text that quotes the command line, without words that could be secrets."""
    words = re.split(r"(\s+|[^\w:/@.+=-]+)", text)
    return "".join("…" if may_be_secret(word.strip()) else word for word in words)


def _called(program: str) -> str:
    """Return the command that a user types to run a program."""
    if program == "xkeymsg":
        return program
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.parent}" if spec else f"xkeymsg-{program}"


def _exit_code(error: BaseException) -> int:
    """Return the exit code of a program that an error has ended."""
    if isinstance(error, PinError):
        return EXIT_PIN
    return EXIT_NOT_OPENED if isinstance(error, (OpenError, EnvelopeError)) else EXIT_FAILED


def _fail(program: str, error: XKeyMsgError | OSError) -> int:
    """Print an error and return its exit code."""
    if isinstance(error, XKeyMsgError):
        say(program, describe(error))
        return _exit_code(error)
    if isinstance(error, BrokenPipeError):
        # The reader of stdout is gone; keep the interpreter from flushing to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    where = f"{path_text(error.filename)}: " if isinstance(error.filename, str) else ""
    why = "stdin is closed" if error.errno == errno.EBADF else error.strerror or error
    say(program, f"{where}{why}")
    return EXIT_FAILED
