"""Seeds that a program prints: `vault kv get`, `aws kms decrypt`, `sops -d`, `pass`, `age -d`."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.paths import replaceable
from xkeymsg.key_stores.released_key import MOST_SECRET, ReleasingProvider, readable
from xkeymsg.text import may_be_secret, path_text

__all__ = ("CommandProvider", "check_program")

_ALWAYS: Final = ("PATH", "HOME", "LANG")
_PATTERN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_SECRET_OPTION: Final = re.compile(r"(?i)[\w-]*(pin|pass|password|passphrase|secret|token)[=:].+")
_TIMEOUT: Final = 10.0
_MOST_TIMEOUT: Final = 600.0
_LOOK: Final = 0.02
"""Seconds between two looks at whether the program has ended."""


class _Command(NamedTuple):
    argv: tuple[str, ...]
    passed: tuple[str, ...]
    timeout: float


class CommandProvider(ReleasingProvider):
    """Programs that print a seed; run without a shell, when a key is opened or reloaded.

    An address is a command line with the absolute path of the program. `timeout=SECONDS` and
    `pass_environment=NAME,PREFIX*` may precede it: without the latter, the program gets only PATH,
    HOME and LANG.

    Args:
        environ: The environment.
        show_stderr: Whether to show what the program writes to stderr; by default, it is discarded.
    """

    addressed_by = "Command"

    def __init__(
        self, environ: Mapping[str, str] = os.environ, *, show_stderr: bool = False
    ) -> None:
        self._environ = environ
        self._show_stderr = show_stderr

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Run a command and return its output."""
        command = _parsed(address)
        check_program(Path(command.argv[0]))
        passed = {
            name: value
            for name, value in self._environ.items()
            if name in _ALWAYS or any(fnmatchcase(name, each) for each in command.passed)
        }
        return _output(command, passed, None if self._show_stderr else subprocess.DEVNULL, limit)

    def facts(self, address: str) -> Sequence[str]:
        """Return the program, without its arguments."""
        program = path_text(_parsed(address).argv[0])
        return (f"output of {program}; the seed is in memory while the program runs",)


def _parsed(address: str) -> _Command:
    try:
        words = shlex.split(address)
    except ValueError:
        raise KeyStoreError("the command has an unclosed quote") from None
    passed, timeout = list[str](), _TIMEOUT
    while words and not words[0].startswith("/"):
        name, _, value = words.pop(0).partition("=")
        if name == "timeout":
            timeout = _seconds(value)
        elif name == "pass_environment":
            passed += value.split(",")
        else:
            words.clear()
    if not words:
        raise KeyStoreError(
            "expected the absolute path of a program, after timeout= and pass_environment=; there"
            " is no shell"
        )
    if not all(map(_PATTERN.fullmatch, passed)):
        raise KeyStoreError("pass_environment: expected names, or prefixes such as VAULT_*")
    _refuse_secrets(words[1:])
    return _Command(tuple(words), tuple(passed), timeout)


def _refuse_secrets(arguments: Sequence[str]) -> None:
    for number, word in enumerate(arguments, 1):
        if may_be_secret(word) or _SECRET_OPTION.fullmatch(word):
            raise KeyStoreError(
                f"argument {number} of the command looks like a secret, and every user can read"
                " arguments in /proc/PID/cmdline: let the program read it from a file"
            )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MOST_TIMEOUT:
        raise KeyStoreError(f"timeout: expected seconds, at most {_MOST_TIMEOUT:.0f}")
    return seconds


def check_program(path: Path) -> None:
    """Refuse a program, or a library, that other users could replace: it would get the key.

    Raises:
        KeyStoreError: If it does not exist, or others can write to it or to its path.
    """
    name = path_text(path)
    try:
        if not path.is_file():
            path.stat()  # says why, if it does not exist
            raise KeyStoreError(f"{name} is not a program")
        part = replaceable(path)
    except OSError as error:
        raise KeyStoreError(f"cannot run {name}: {error.strerror}") from None
    if part is not None:
        raise KeyStoreError(
            f"other users can replace {name}: {path_text(part)} must belong to root or to you, with"
            " mode 0755 or less"
        )


def _output(
    command: _Command, environment: Mapping[str, str], stderr: int | None, limit: int
) -> bytes:
    """Run a program and return its output, at most `limit` bytes.

    Its exit decides, not the end of its output: an agent that it leaves behind, such as that of
    gpg, keeps the pipe open.
    """
    name, end = path_text(command.argv[0]), time.monotonic() + command.timeout
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's command, without a shell
            command.argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sys.stderr.fileno() if stderr is None else stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise KeyStoreError(f"cannot run {name}: {error.strerror}") from None
    assert process.stdout is not None  # noqa: S101 - for the type checker
    content, status, done = b"", None, False
    try:
        with process.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)
            while status is None:
                status = _status(process.pid, name)  # then read what it has written before
                content += _available(pipe.fileno(), _LOOK if status is None else 0.0, limit)
                if len(content) > limit:
                    raise KeyStoreError(f"{name} printed more than {limit} bytes")
                if status is None and time.monotonic() >= end:
                    raise KeyStoreError(
                        f"{name} did not end within {command.timeout:g} seconds: it may be waiting"
                        " for a person"
                    )
        if status:
            raise KeyStoreError(
                f"{name} ended with {status}: run it by hand to see why, or use"
                " xkeymsg key show --debug-store"
            )
        done = True
    finally:
        if not done:  # not reaped yet: its number cannot be that of another group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return content


def _status(pid: int, name: str) -> int | None:
    """Return how a program ended: its exit code, or minus a signal; None while it runs.

    The program remains a zombie, which keeps the number of its group.
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        raise KeyStoreError(f"cannot tell how {name} ended: SIGCHLD is ignored") from None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _available(pipe: int, seconds: float, limit: int) -> bytes:
    """Return what can be read from a pipe now, waiting up to `seconds`."""
    content = b""
    ready = readable(pipe, seconds)
    while ready and len(content) <= limit:
        try:
            more = os.read(pipe, limit + 1)
        except BlockingIOError:
            break
        if not more:
            time.sleep(seconds)  # closed, and the program still runs
            break
        content += more
    return content
