"""`xkeymsg reseal`: seals stored messages, or the entries of a bucket, to other recipients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.buckets import FROM, USER, run_with_client, trust_of
from xkeymsg.cli.recipients import PEERS, recipients_of
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import check_name
from xkeymsg.client.memory import RollbackMemory
from xkeymsg.daemons.common.flags import (
    connection_flags,
    key_flags,
    required_pair,
)
from xkeymsg.daemons.common.parameters import DURATION, SUBJECT_PATTERN
from xkeymsg.daemons.common.terminal import EXIT_NOT_OPENED, describe, say
from xkeymsg.errors import XKeyMsgError
from xkeymsg.keys import Keyring, Recipient
from xkeymsg.reseal.bucket import reseal_bucket
from xkeymsg.reseal.ledger import ResealReport
from xkeymsg.reseal.run import reseal_stream
from xkeymsg.trust.peers import Peers

__all__ = ("reseal",)

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_SHOWN: Final = 20
"""Refused messages that are named; all are counted."""


@click.command(short_help="Seal stored messages to other recipients.")
@click.argument("name", metavar="STREAM|BUCKET")
@click.option("--into", metavar="STREAM", help="The stream for the copies.")
@click.option("--create", is_flag=True, help="Create the stream for the copies.")
@click.option("--kv", "is_bucket", is_flag=True, help="Replace the values of a bucket in place.")
@click.option(
    "--to",
    "recipients",
    metavar="KEY|NAME",
    multiple=True,
    help="Who may read the copies, or with --peers a name; repeatable.",
)
@click.option("--add", "added", metavar="KEY|NAME", multiple=True, help="As --to; repeatable.")
@click.option(
    "--remove",
    "removed",
    metavar="KEY|NAME",
    multiple=True,
    help="Leave out a recipient that --to includes, such as a holder of a permission; repeatable.",
)
@FROM
@PEERS
@key_flags()
@USER
@click.option(
    "--ledger",
    type=_FILE,
    help="The file that records the progress; default: NAME.INTO.ledger.",
)
@click.option("--subject", type=SUBJECT_PATTERN, default=">", help="Only messages with it.")
@click.option("--since", type=DURATION, help="Only messages stored within this time, such as 30d.")
@click.option(
    "--documents",
    type=click.Choice(["refuse", "part"]),
    default="refuse",
    show_default=True,
    help="part: seal the part of a document that you can read, for all recipients.",
)
@click.option("--max-age", type=DURATION, help="The consumer's max_age, such as 5m; default: 300s.")
@click.option(
    "--memory",
    "memory_file",
    type=_FILE,
    help="With --kv: the file of `xkeymsg kv --memory`; values older than it records are refused.",
)
@connection_flags
def reseal(
    *,
    name: str,
    into: str | None,
    create: bool,
    is_bucket: bool,
    recipients: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    senders: tuple[str, ...],
    peers_file: Path | None,
    seed_file: Path | None,
    identity: str | None,
    ledger: Path | None,
    subject: str,
    since: float | None,
    documents: str,
    max_age: float | None,
    memory_file: Path | None,
    **flags: Any,
) -> int:
    """Seal the messages of a stream to other recipients, in another stream.

    \b
    xkeymsg reseal ORDERS --add billing --into ORDERS_BILLING --create \\
      --peers peers.toml --seed own.seed
    xkeymsg reseal config --kv --to perm:config --remove mallory --peers peers.toml --seed own.seed

    You become the sender: readers see who resealed a message, and whose message you say it was. The
    originals stay. An envelope does not name its recipients, so --to and --add name all of them;
    your own key is always one.

    Run it again with the same ledger to continue after an interruption, or to copy new messages.

    Exit 3 if a message was refused.
    """  # noqa: D301 - click reads the character
    _check(is_bucket, into, recipients, added, {"--create": create, "--since": since}, memory_file)
    peers = None if peers_file is None else Peers.load(peers_file)
    to = _recipients(recipients, added, removed, peers)
    trust, keys = trust_of(senders, peers), Keyring(required_pair(seed_file), user=identity)
    if trust is None:
        raise click.UsageError("no senders to trust: give --from or --peers")
    path = ledger or Path(f"{check_name('stream', name)}.{'kv' if is_bucket else into}.ledger")
    unit, shown = "revision" if is_bucket else "message", 0

    def refused(sequence: int, error: XKeyMsgError) -> None:
        nonlocal shown
        shown += 1
        if shown <= _SHOWN:
            say("xkeymsg", f"{unit} {sequence}: {describe(error)}")

    async def work(client: Client, memory: RollbackMemory | None) -> ResealReport:
        more: dict[str, Any] = {"documents": documents, "max_age": max_age}
        more |= {"to": to, "ledger": path, "on_refused": refused}
        if is_bucket:
            return await reseal_bucket(client, name, **more, memory=memory)
        more |= {"create": create, "subject": subject, "since": since}
        return await reseal_stream(client, name, into=into or "", **more)

    report = run_with_client(flags, work, keys=keys, trust=trust, memory=memory_file)
    _print(report)
    return EXIT_NOT_OPENED if report.refused else 0


def _check(
    is_bucket: bool,
    into: str | None,
    recipients: tuple[str, ...],
    added: tuple[str, ...],
    of_streams: Mapping[str, object],
    memory_file: Path | None,
) -> None:
    if is_bucket and into is not None:
        raise click.UsageError("--kv replaces values in place: leave out --into")
    if not is_bucket and memory_file is not None:
        raise click.UsageError("--memory is for --kv")
    if not is_bucket and into is None:
        raise click.UsageError("--into names the stream for the copies, or use --kv")
    for flag, value in of_streams.items():
        if is_bucket and value:
            raise click.UsageError(f"{flag} is for streams, not for --kv")
    if is_bucket and not recipients:
        raise click.UsageError(
            "--kv requires --to: whoever is not named cannot read the values any more"
        )
    if not (recipients or added):
        raise click.UsageError(
            "no recipients: give --to or --add; an envelope does not name its recipients"
        )


def _recipients(
    recipients: Iterable[str], added: Iterable[str], removed: Iterable[str], peers: Peers | None
) -> tuple[Recipient, ...]:
    given = recipients_of((*recipients, *added), (), peers)
    without = recipients_of(removed, (), peers)
    always = () if peers is None else peers.always_to()
    for one in without:
        if one in always:
            raise click.UsageError("--remove: always_to of the peers file adds this recipient")
        if one not in given:
            raise click.UsageError("--remove names a key that is not among the recipients")
    left = tuple(one for one in given if one not in without)
    if not left:
        raise click.UsageError("--remove leaves no recipient")
    return left


def _print(report: ResealReport) -> None:
    click.echo(f"read {report.read}, resealed {report.resealed}")
    for kind, counts in (("skipped", report.skipped), ("refused", report.refused)):
        for reason, count in sorted(counts.items()):
            click.echo(f"{kind} {count}: {reason}")
