"""Options and connections that `xkeymsg kv`, `xkeymsg object` and `xkeymsg reseal` share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from xkeymsg.cli.recipients import NamedSenders, is_anyone, senders_of
from xkeymsg.client.client import Client
from xkeymsg.client.connect import connect
from xkeymsg.client.memory import RollbackMemory
from xkeymsg.client.stats import Where
from xkeymsg.daemons.common.flags import connection_options
from xkeymsg.daemons.common.parameters import DURATION
from xkeymsg.daemons.common.terminal import describe, quote, say
from xkeymsg.envelope.admission import ANYONE, Senders
from xkeymsg.errors import XKeyMsgError
from xkeymsg.keys import Keyring
from xkeymsg.trust.peers import Peers

__all__ = (
    "FROM",
    "JSON",
    "MAX_AGE",
    "MEMORY",
    "STORAGE",
    "USER",
    "Refusals",
    "print_status",
    "run_with_client",
    "trust_of",
)

_T = TypeVar("_T")
FROM: Final = click.option(
    "--from",
    "senders",
    metavar="KEY|NAME",
    multiple=True,
    help='The key of an allowed sender, or with --peers a name; repeatable; or "anyone".',
)
USER: Final = click.option(
    "--as", "identity", metavar="U…", help="Your user nkey, if messages are sealed to your user."
)
MEMORY: Final = click.option(
    "--memory",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Remember the newest entries in a file, to refuse older ones in later runs.",
)
MAX_AGE: Final = click.option(
    "--max-age", type=DURATION, help="Refuse older entries, such as 1h; unlimited by default."
)
STORAGE: Final = click.option(
    "--storage",
    type=click.Choice(["file", "memory"]),
    default="file",
    show_default=True,
    help="memory is lost when the server restarts.",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def trust_of(senders: tuple[str, ...], peers: Peers | None) -> Senders | None:
    """Return the trust of `--from` and `--peers`; None if neither is given.

    Raises:
        click.UsageError: If "anyone" is combined with other senders or with peers.
        UnknownKeyError: If a name is unknown.
    """
    if is_anyone(senders, peers):
        if peers is not None:
            raise click.UsageError("--from anyone cannot be combined with --peers")
        return ANYONE
    return NamedSenders(senders_of(senders, peers), peers) if senders else peers


class Refusals:
    """Reports refused entries on stderr, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: Exception, where: Where) -> None:
        """Report a refused entry."""
        self.count += 1
        reason = describe(error) if isinstance(error, XKeyMsgError) else type(error).__name__
        say("xkeymsg", f"{quote(where.subject)}: {reason}")


def run_with_client(
    flags: dict[str, Any],
    work: Callable[[Client, RollbackMemory | None], Awaitable[_T]],
    *,
    keys: Keyring,
    trust: Senders,
    memory: Path | None = None,
    on_error: Callable[[Exception, Where], None] | None = None,
) -> _T:
    """Connect, and run `work` with the client and the memory of `--memory`."""
    options = connection_options("xkeymsg", flags)

    async def connected(marks: RollbackMemory | None) -> _T:
        async with connect(options, key=keys, trust=trust, on_error=on_error) as client:
            return await work(client, marks)

    with ExitStack() as stack:
        marks = None if memory is None else stack.enter_context(RollbackMemory(memory))
        return asyncio.run(connected(marks))


def print_status(fields: Mapping[str, object], *, as_json: bool) -> None:
    """Print the status of a bucket, of which the server may have stated anything."""
    if as_json:
        click.echo(json.dumps(fields))
        return
    for name, value in fields.items():
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        click.echo(f"{name.replace('_', ' ')}: {quote(text)[1:-1]}")
