"""`xkeymsg tls`: servers that read TLS keys from files, with keys from key stores."""

from __future__ import annotations

import os
import resource
import signal
from typing import Final, NoReturn

import click

from xkeymsg.errors import ConfigurationError
from xkeymsg.key_stores.certificates import released_identity
from xkeymsg.key_stores.sealed_memory import sealed_memory
from xkeymsg.text import path_text

__all__ = ("tls",)

_LEAST, _MOST = 3, 1023
_IGNORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores; a program that replaces it would ignore them, too."""


@click.group(short_help="Run servers with TLS keys from key stores.")
def tls() -> None:
    """Run servers that read TLS keys from files, such as nats-server, with keys from key stores."""


@tls.command("exec", short_help="Run a program that reads a TLS key from a key store.")
@click.option(
    "--cert-store",
    required=True,
    metavar="STORE",
    help="The private key, with its certificates or alone, PEM; such as systemd:tls.",
)
@click.option(
    "--cert-match-by",
    default="Subject",
    metavar="NAME",
    help="What --cert-match is: Subject, Issuer or Thumbprint.",
)
@click.option("--cert-match", default="", metavar="TERM", help="Which certificate (exact match).")
@click.option(
    "--cert-match-skip-invalid", "skip", is_flag=True, help="Skip certificates not valid now."
)
@click.option(
    "--fd",
    "number",
    default=9,
    show_default=True,
    type=click.IntRange(_LEAST, _MOST),
    help="The file descriptor that has the PEM text.",
)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def _exec(
    *,
    cert_store: str,
    cert_match_by: str,
    cert_match: str,
    skip: bool,
    number: int,
    program: tuple[str, ...],
) -> NoReturn:
    """Replace this process with PROGRAM, which reads the key as /proc/self/fd/N.

    \b
    xkeymsg tls exec --cert-store systemd:tls --fd 9 -- nats-server -c server.conf

    The key is in sealed memory, in no file, argument or variable. A new key needs a restart.
    """  # noqa: D301 - click reads the character
    if _is_open(number):
        raise ConfigurationError(f"file descriptor {number} is in use: choose another with --fd")
    identity = released_identity(cert_store, cert_match_by, cert_match, skip_invalid=skip)
    memory = sealed_memory("tls", identity)
    if memory == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(memory, number)
        os.close(memory)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would have the key
    for each in _IGNORED:
        signal.signal(each, signal.SIG_DFL)
    try:
        os.execvp(program[0], program)  # noqa: S606 - the operator's command, without a shell
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "invalid argument"
    raise ConfigurationError(f"cannot run {path_text(program[0])}: {reason}")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
