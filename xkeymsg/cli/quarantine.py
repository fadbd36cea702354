"""`xkeymsg quarantine`: lists, opens and deletes messages in the dead-letter streams."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from xkeymsg.cli.inspect import describe_envelope, print_fields
from xkeymsg.cli.stream import REPLICAS, run_with_api
from xkeymsg.cli.table import aligned, bare
from xkeymsg.client.jetstream.api import API, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND
from xkeymsg.client.jetstream.quarantine import PROVEN, UNPROVEN, create_quarantine
from xkeymsg.client.jetstream.quarantine_reader import Entry, drop, entries, entry_at
from xkeymsg.client.jetstream.quarantine_replay import Replay
from xkeymsg.daemons.common.flags import connection_flags, key_flags, required_pair
from xkeymsg.daemons.common.parameters import DURATION, SENDER, SUBJECT_PATTERN, XKEY
from xkeymsg.daemons.common.records import record_of
from xkeymsg.daemons.common.terminal import EXIT_FAILED, EXIT_NOT_OPENED, describe, quote, say
from xkeymsg.envelope.admission import ANYONE, Senders
from xkeymsg.envelope.head import from_milliseconds
from xkeymsg.envelope.inspect import sender_of
from xkeymsg.envelope.message import Message
from xkeymsg.errors import (
    DeliveryError,
    EnvelopeError,
    MalformedError,
    OpenError,
    ReplayError,
    SessionClonedError,
    SubjectMismatchError,
    TrustError,
    XKeyMsgError,
)
from xkeymsg.keys import Keyring, XKey
from xkeymsg.trust.peers import Peers

__all__ = ("drop_", "init", "list_", "quarantine", "replay", "show")

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_WHICH: Final = click.argument("which", type=click.Choice(("unproven", "proven")))
_MISSING: Final = {
    STREAM_NOT_FOUND: "no such quarantine stream: `xkeymsg quarantine init` creates it",
    MESSAGE_NOT_FOUND: "no message with this number: `xkeymsg quarantine list` shows them",
}
_SUBJECT: Final = ": --subject must match it; `xkeymsg quarantine show` prints it"
_NUMBER: Final = click.IntRange(1, 2**63 - 1)


def _flags(command: _Command) -> _Command:
    """Add the options for stream names and for the connection to a command."""
    for name, default in (("--proven", PROVEN), ("--unproven", UNPROVEN)):
        option = click.option(
            name,
            f"{name[2:]}_stream",
            default=default,
            show_default=True,
            metavar="NAME",
            help=f"The stream of {name[2:]} messages.",
        )
        command = option(connection_flags(command) if name == "--proven" else command)
    return command


def _run(flags: dict[str, Any], work: Callable[[API], Awaitable[_T]]) -> _T:
    """Connect, and run `work` with the server's JetStream API; explain a missing stream."""
    try:
        return run_with_api(flags, work)
    except DeliveryError as error:
        text = _MISSING.get(error.err_code or 0)
        if text is None:
            raise
        raise DeliveryError(text, error.err_code) from None


@click.group(short_help="Manage messages that consumers gave up on.")
def quarantine() -> None:
    """Manage the quarantine: dead-letter streams of messages that consumers gave up on.

    The messages are still sealed. Proven ones are from admitted senders; anyone can have made
    unproven ones.
    """


@quarantine.command()
@REPLICAS
@_flags
def init(*, replicas: int, unproven_stream: str, proven_stream: str, **flags: Any) -> None:
    """Create both quarantine streams if they do not exist. Let only receivers publish there."""

    async def work(api: API) -> list[str]:
        return await create_quarantine(api, unproven_stream, proven_stream, replicas=replicas)

    made = _run(flags, work)
    for name in (unproven_stream, proven_stream):
        click.echo(f"{name} {'created' if name in made else 'exists'}")


@quarantine.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@_flags
def list_(*, as_json: bool, unproven_stream: str, proven_stream: str, **flags: Any) -> None:
    """List messages, oldest first. Nothing is opened."""
    head = ("WHICH", "NUMBER", "KEPT", "REASON", "STREAM", "SEQUENCE", "SUBJECT", "BYTES")
    rows: list[tuple[str, ...]] = []

    async def work(api: API) -> None:
        # Keep only the line of each entry: all entries together may be a GiB.
        for which, stream in (("unproven", unproven_stream), ("proven", proven_stream)):
            async for entry in entries(api, stream):
                if as_json:
                    click.echo(json.dumps(_fields(which, entry)))
                else:
                    rows.append(_row(which, entry))

    _run(flags, work)
    if rows:
        for line in aligned([head, *rows]):
            click.echo(line)


def _row(which: str, entry: Entry) -> tuple[str, ...]:
    record, kept = entry.record, from_milliseconds(entry.kept_ms).isoformat(timespec="seconds")
    if record is None:
        return which, str(entry.number), kept, "no whole record", "", "", "", ""
    return (
        which,
        str(entry.number),
        kept,
        record.reason,
        record.stream,
        str(record.sequence),
        bare(record.subject.decode("utf-8", "surrogateescape")),
        str(len(record.data)),
    )


def _fields(which: str, entry: Entry) -> dict[str, Any]:
    """Return the fields of an entry; none is verified."""
    fields: dict[str, Any] = {
        "which": which,
        "number": entry.number,
        "kept": from_milliseconds(entry.kept_ms).isoformat(),
    }
    record = entry.record
    if record is None:
        return fields | {"reason": "no whole record"}
    return fields | {
        "reason": record.reason,
        "stream": record.stream,
        "consumer": record.consumer,
        "sequence": record.sequence,
        "stored": from_milliseconds(record.stored_ms).isoformat(),
        "wire subject": quote(record.subject)[1:-1],
        "wire bytes": len(record.data),
    }


@quarantine.command()
@_WHICH
@click.argument("number", type=_NUMBER)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_flags
def show(
    *,
    which: str,
    number: int,
    as_json: bool,
    unproven_stream: str,
    proven_stream: str,
    **flags: Any,
) -> None:
    """Print the origin of a message, and what anyone can see of it. Nothing is verified."""
    stream = proven_stream if which == "proven" else unproven_stream
    entry = _run(flags, lambda api: entry_at(api, stream, number))
    fields = _fields(which, entry)
    if entry.record is not None:
        try:
            fields |= describe_envelope(entry.record.data)
        except XKeyMsgError as error:
            fields["format"] = f"unknown: {describe(error)}"
    if as_json:
        click.echo(json.dumps(fields, indent=2))
    else:
        print_fields(fields)


@quarantine.command("drop")
@_WHICH
@click.argument("numbers", type=_NUMBER, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Delete all of them.")
@click.option("--from", "sender", type=XKEY, help="Delete all messages from this sender key.")
@_flags
def drop_(
    *,
    which: str,
    numbers: tuple[int, ...],
    everything: bool,
    sender: XKey | None,
    unproven_stream: str,
    proven_stream: str,
    **flags: Any,
) -> None:
    """Delete messages permanently, by number or sender."""
    stream = proven_stream if which == "proven" else unproven_stream
    _check_choice(numbers, everything=everything or sender is not None)
    if everything and sender is not None:
        raise click.UsageError("give either --all or --from")

    async def work(api: API) -> int:
        dropped = 0
        async for entry in _choose(api, stream, numbers):
            if sender is None or _is_from(entry, sender):
                await drop(api, stream, entry)
                dropped += 1
        return dropped

    say("xkeymsg", f"dropped {_run(flags, work)}")


def _is_from(entry: Entry, sender: XKey) -> bool:
    """Return whether an entry names a sender key; unless proven, the name is not authenticated."""
    try:
        return entry.record is not None and sender_of(entry.record.data) == bytes(sender)
    except EnvelopeError:
        return False


def _check_choice(numbers: tuple[int, ...], *, everything: bool) -> None:
    if bool(numbers) == everything:
        raise click.UsageError("no messages given: give numbers, or --all")


async def _choose(api: API, stream: str, numbers: Iterable[int]) -> AsyncIterator[Entry]:
    """Yield entries one by one: all together may be a GiB."""
    for number in numbers:
        yield await entry_at(api, stream, number)
    if not numbers:
        async for entry in entries(api, stream):
            yield entry


@quarantine.command(short_help="Open messages, after a key or peer was added.")
@_WHICH
@click.argument("numbers", type=_NUMBER, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Open all of them.")
@key_flags()
@click.option(
    "--as", "identity", metavar="U…", help="Your user nkey, if messages are sealed to your user."
)
@click.option(
    "--from",
    "senders",
    type=SENDER,
    multiple=True,
    help='The key of an allowed sender; repeatable; or "anyone".',
)
@click.option(
    "--peers",
    "peers_file",
    type=_FILE,
    metavar="TOML",
    help="A peers file of allowed senders, instead of --from.",
)
@click.option(
    "--subject",
    "subjects",
    type=SUBJECT_PATTERN,
    required=True,
    multiple=True,
    help="A subject that it may be sealed for; repeatable; > for any subject.",
)
@click.option("--max-age", type=DURATION, help="The consumer's max_age, such as 5m; default: 300s.")
@click.option("--command", metavar="PROGRAM", help="Pipe each line to a program instead.")
@_flags
def replay(
    *,
    which: str,
    numbers: tuple[int, ...],
    everything: bool,
    seed_file: Path | None,
    identity: str | None,
    senders: tuple[XKey | None, ...],
    peers_file: Path | None,
    subjects: tuple[str, ...],
    max_age: float | None,
    command: str | None,
    unproven_stream: str,
    proven_stream: str,
    **flags: Any,
) -> int:
    """Open messages, after a key or peer was added, and print each as a line of JSON.

    The line has the format of a receiver's sinks. Messages that are printed, or accepted by the
    program (exit 0), are deleted from the quarantine; the others stay. Nothing is published.

    Exit 1 if the program fails, 3 if a message could not be opened.
    """
    _check_choice(numbers, everything=everything)
    stream = proven_stream if which == "proven" else unproven_stream
    opener = Replay(
        Keyring(required_pair(seed_file), user=identity),
        _senders(senders, peers_file),
        subjects,
        max_age=max_age,
    )

    async def work(api: API) -> int:
        refused = 0
        async for entry in _choose(api, stream, numbers):
            try:
                message = _open(opener, entry)
                record = record_of(message)
            except (EnvelopeError, OpenError, TrustError) as error:
                hint = _SUBJECT if isinstance(error, SubjectMismatchError) else ""
                say("xkeymsg", f"{which} {entry.number}: {describe(error)}{hint}")
                cloned = isinstance(error, SessionClonedError)
                if isinstance(error, ReplayError) and not cloned and not error.pending:
                    say("xkeymsg", "duplicate of a message already delivered: deleted")
                    await drop(api, stream, entry)
                    continue
                refused += 1
            else:
                await asyncio.to_thread(_hand_over, record.line.decode(), command)
                opener.settle(message)
                await drop(api, stream, entry)
        return refused

    return EXIT_NOT_OPENED if _run(flags, work) else 0


def _senders(senders: tuple[XKey | None, ...], peers_file: Path | None) -> Senders:
    if bool(senders) == (peers_file is not None):
        raise click.UsageError("give the allowed senders with either --from or --peers")
    if peers_file is not None:
        return Peers.load(peers_file)
    known = {sender for sender in senders if sender is not None}
    return ANYONE if len(known) < len(set(senders)) else known


def _open(opener: Replay, entry: Entry) -> Message:
    if entry.record is None:
        raise MalformedError("no whole record")
    return opener.open(entry.record)


def _hand_over(text: str, command: str | None) -> None:
    """Print a line, or pipe it to the program; until this returns the message stays."""
    if command is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    done = subprocess.run(  # noqa: S602 - the operator's own command
        command, shell=True, input=text.encode(), check=False
    )
    if done.returncode:
        say("xkeymsg", f"the program exited with {done.returncode}: stopping")
        raise click.exceptions.Exit(EXIT_FAILED)
