"""Arguments and flags that several `xkeymsg trust` verbs share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from xkeymsg.cli.trust.issuance import Subjects
from xkeymsg.cli.trust.keys import read_stdin
from xkeymsg.daemons.common.parameters import DURATION

__all__ = (
    "ACCOUNT",
    "EXPIRES",
    "FOLDER",
    "KEY",
    "KEYS",
    "PERMISSIONS",
    "PUBLIC_KEY",
    "TIME",
    "ends",
    "expiry",
    "extent",
    "subject_flags",
    "taken_subjects",
    "when",
)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DIR = click.Path(path_type=Path, file_okay=False)

FOLDER: Final = click.argument("folder", type=_DIR)
ACCOUNT: Final = click.argument("account")
KEYS: Final = click.option(
    "--keys",
    type=_DIR,
    envvar="NKEYS_PATH",
    show_envvar=True,
    metavar="DIR",
    help="The folder of seeds and credentials; default: `keys` beside FOLDER, as nsc has it.",
)
KEY: Final = click.option(
    "-K",
    "--private-key",
    "key",
    metavar="KEY",
    callback=read_stdin,
    help="The issuer's key: a seed file, - for stdin, a public key in --keys, or a role.",
)
PUBLIC_KEY: Final = click.option(
    "--public-key", metavar="KEY", help="A public key that was made elsewhere; default: a new key."
)
PERMISSIONS: Final = click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="NAME",
    help="A permission, in policies and as perm:NAME; repeatable.",
)


class _Life(click.ParamType[float]):
    """A duration, or `never`, which becomes 0."""

    name = "duration"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        return 0.0 if value in ("never", 0.0) else DURATION.convert(value, param, ctx)


def expiry(default: str | None) -> Callable[[_Command], _Command]:
    """Add `--expires` to a command."""
    return click.option(
        "--expires",
        type=_Life(),
        default=default,
        show_default=default is not None,
        metavar="LIFE",
        help="When the user expires: 90d, 12h or never."
        + (" Default: as before." if default is None else ""),
    )


EXPIRES: Final = expiry("90d")


def ends(at: int, life: float) -> int:
    """Return `exp` for a lifetime; 0 for none."""
    return at + max(1, int(life)) if life else 0


class _Time(click.ParamType[int]):
    """A time: seconds since 1970, or ISO 8601; without an offset, UTC."""

    name = "time"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            if str(value).isascii() and str(value).isdecimal():
                return min(int(str(value)[:18]), 253_402_300_799)
            at = datetime.fromisoformat(str(value))
            return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time like 2027-01-31T12:00:00Z", param, ctx)


TIME: Final = _Time()


def when(at: int) -> str:
    """Return a time for people."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"


def extent(key: str, at: int) -> str:
    """Return which claims an entry of `revocations` reaches (T-6)."""
    return "for good" if key[:1] == "X" else f"if issued until {when(at)}"


_SUBJECTS: Final = {
    "allow_pub": "it may publish on",
    "deny_pub": "it may not publish on",
    "allow_sub": "it may subscribe to",
    "deny_sub": "it may not subscribe to",
}


def subject_flags(command: _Command) -> _Command:
    """Add `--allow-pub` and its like to a command."""
    for name, what in reversed(_SUBJECTS.items()):
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            multiple=True,
            metavar="SUBJECT",
            help=f"A subject that {what}; repeatable.",
        )(command)
    return command


def taken_subjects(flags: dict[str, Any]) -> Subjects:
    """Return the subjects of the flags of `subject_flags`."""
    return Subjects(**{name: tuple(flags[name]) for name in _SUBJECTS})
