"""`xkeymsg kv`: reads and writes sealed key-value buckets."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import click

from xkeymsg.cli.buckets import (
    FROM,
    JSON,
    MAX_AGE,
    MEMORY,
    STORAGE,
    USER,
    Refusals,
    print_status,
    run_with_client,
    trust_of,
)
from xkeymsg.cli.documents import read_document
from xkeymsg.cli.output import OUTPUT, PRIVATE, write
from xkeymsg.cli.recipients import PEERS, recipients_of, to_option
from xkeymsg.cli.stream import REPLICAS
from xkeymsg.client.client import Client
from xkeymsg.client.memory import RollbackMemory
from xkeymsg.daemons.common.documents import to_json
from xkeymsg.daemons.common.flags import connection_flags, key_flags, required_pair
from xkeymsg.daemons.common.parameters import DURATION, SIZE
from xkeymsg.daemons.common.records import record_of
from xkeymsg.daemons.common.terminal import EXIT_NOT_OPENED, quote
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.kv.bucket import KVBucket
from xkeymsg.kv.entry import KVEntry
from xkeymsg.opener import View
from xkeymsg.trust.peers import Peers

__all__ = (
    "create", "delete", "get", "history", "init", "keys", "kv", "purge", "put", "status", "update",
    "watch",
)  # fmt: skip

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_REVISION: Final = click.IntRange(1, 2**63 - 1)
_BUCKET: Final = click.argument("bucket")
_KEY: Final = click.argument("key")
_COMMON: Final = (
    key_flags(),
    PEERS,
    FROM,
    USER,
    click.option("--blind", is_flag=True, help="The bucket has blinded names."),
    connection_flags,
)
_READING: Final = (
    click.option("--documents", is_flag=True, help="Values are documents."),
    click.option("--origin", metavar="BUCKET", help="The bucket that this one mirrors or copies."),
    MEMORY,
    MAX_AGE,
)
_WRITING: Final = (
    to_option(),
    click.option(
        "--policy",
        type=_FILE,
        metavar="TOML",
        help="The value is a JSON document; the policy says who may read which fields.",
    ),
)
_VALUE: Final = (
    click.argument("source", metavar="[FILE]", default="-", type=click.File("rb")),
    click.option("--expires", type=DURATION, help="Readers refuse it after this time, such as 1h."),
    click.option("--content-type", metavar="TYPE", help="A media type, sealed."),
)
_LAST: Final = click.option("--last", type=_REVISION, help="The newest revision that is expected.")


def _with(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _run(
    bucket: str,
    work: Callable[[KVBucket], Awaitable[_T]],
    *,
    seed_file: Path | None = None,
    needs_key: bool = True,
    peers_file: Path | None = None,
    senders: tuple[str, ...] = (),
    identity: str | None = None,
    recipients: tuple[str, ...] = (),
    policy: Path | None = None,
    memory: Path | None = None,
    blind: bool = False,
    documents: bool = False,
    origin: str | None = None,
    max_age: float | None = None,
    on_error: Refusals | None = None,
    **flags: Any,
) -> _T:
    """Connect, and run `work` with the bucket; without --from and --peers, trust the own key."""
    pair = required_pair(seed_file) if needs_key else XKeyPair.generate()
    peers = None if peers_file is None else Peers.load(peers_file)
    to = recipients_of(recipients, (), peers) if recipients else None
    rules = None if policy is None else Policy.load(policy)

    async def opened(client: Client, marks: RollbackMemory | None) -> _T:
        return await work(
            client.kv(
                bucket,
                to=to,
                policy=rules,
                documents=documents,
                origin=origin,
                blind=blind,
                memory=marks,
                max_age=max_age,
            )
        )

    return run_with_client(
        flags,
        opened,
        keys=Keyring(pair, user=identity),
        trust=trust_of(senders, peers) or {pair.public},
        memory=memory,
        on_error=on_error or Refusals(),
    )


def _read(bucket: str, work: Callable[[KVBucket], Awaitable[_T]], **more: Any) -> _T:
    """Connect, and run `work` with the bucket, which reads values of others."""
    if not more["senders"] and more["peers_file"] is None:
        raise click.UsageError("no senders to trust: give --from or --peers")
    return _run(bucket, work, **more)


@click.group(short_help="Read and write sealed key-value buckets.")
def kv() -> None:
    """Read and write sealed key-value buckets. The broker sees keys, but no values.

    An entry that is not sealed, was moved or is older than one seen before is refused.
    """


@kv.command(short_help="Create a bucket.")
@_BUCKET
@click.option(
    "--history", type=click.IntRange(1, 64), default=1, show_default=True, help="Revisions to keep."
)
@click.option("--ttl", type=DURATION, help="Delete older entries, such as 30d; by default, none.")
@click.option("--entry-ttl", is_flag=True, help="Delete single entries when they expire.")
@click.option(
    "--purge",
    is_flag=True,
    help="Permit `purge`. Anyone who may write one key can then delete all others.",
)
@click.option("--max-bytes", type=SIZE, help="Maximum size, such as 10GiB; unlimited by default.")
@click.option("--max-value", type=SIZE, help="Maximum size of one entry.")
@STORAGE
@REPLICAS
@_with(*_WRITING[:1], *_COMMON)
def init(
    *,
    bucket: str,
    history: int,
    ttl: float | None,
    entry_ttl: bool,
    purge: bool,
    max_bytes: int | None,
    max_value: int | None,
    storage: str,
    replicas: int,
    **more: Any,
) -> None:
    """Create the bucket BUCKET; with --blind, also the secret of its names, for --to.

    \b
    xkeymsg kv init CONFIG --history 5
    xkeymsg kv init WARDS --blind --seed alice.seed --peers peers.toml --to alice --to bob

    An existing bucket with the same settings is left unchanged. Exit 1 if its settings differ.
    """  # noqa: D301 - click reads the character
    if more["blind"] and not more["recipients"]:
        raise click.UsageError("--blind requires --seed or --key-store, and --to")

    async def work(opened: KVBucket) -> None:
        await opened.init(
            history=history,
            ttl=ttl,
            entry_ttl=entry_ttl,
            purge=purge,
            max_bytes=max_bytes,
            max_value=max_value,
            storage=storage,
            replicas=replicas,
        )

    _run(bucket, work, needs_key=more["blind"], **more)
    click.echo(f"{bucket} ready")


def _check_recipients(more: dict[str, Any]) -> None:
    if bool(more["recipients"]) == (more["policy"] is not None):
        raise click.UsageError("give the recipients with either --to or --policy")


def _store(method: str, bucket: str, key: str, source: BinaryIO, *last: int, **more: Any) -> None:
    """Store FILE, and print the revision."""
    _check_recipients(more)
    policy = more["policy"]
    value = source.read() if policy is None else read_document(source)
    sealed = {name: more.pop(name) for name in ("expires", "content_type")}

    async def work(opened: KVBucket) -> int:
        revision: int = await getattr(opened, method)(key, value, *last, **sealed)
        return revision

    click.echo(_run(bucket, work, **more))


@kv.command(short_help="Store FILE, or stdin, under a key.")
@_BUCKET
@_KEY
@_with(*_VALUE, *_WRITING, *_COMMON)
def put(*, bucket: str, key: str, source: BinaryIO, **more: Any) -> None:
    """Seal FILE, or stdin, store it under KEY, and print its revision."""
    _store("put", bucket, key, source, **more)


@kv.command(short_help="Store FILE, or stdin, under a new key.")
@_BUCKET
@_KEY
@_with(*_VALUE, *_WRITING, *_COMMON)
def create(*, bucket: str, key: str, source: BinaryIO, **more: Any) -> None:
    """Store FILE, or stdin, under KEY if it has no value; exit 1 if it has one."""
    _store("create", bucket, key, source, **more)


@kv.command(short_help="Replace one revision of a key.")
@_BUCKET
@_KEY
@click.option("--last", type=_REVISION, required=True, help="The revision to replace.")
@_with(*_VALUE, *_WRITING, *_COMMON)
def update(*, bucket: str, key: str, source: BinaryIO, last: int, **more: Any) -> None:
    """Store FILE, or stdin, under KEY if its newest revision is --last; exit 1 otherwise."""
    _store("update", bucket, key, source, last, **more)


@kv.command(short_help="Print the value of a key.")
@_BUCKET
@_KEY
@click.option("--revision", type=_REVISION, help="A past revision; age and order are not checked.")
@JSON
@_with(OUTPUT, *_READING, *_COMMON)
def get(
    *,
    bucket: str,
    key: str,
    revision: int | None,
    as_json: bool,
    output: Path | None,
    **more: Any,
) -> None:
    """Print the value of KEY, or write it to a file.

    Exit 1 if the key has no value, 3 if the entry is refused.
    """
    entry = _read(bucket, lambda opened: opened.get(key, revision), **more)
    if as_json:
        data = _line(entry).encode()
    elif isinstance(entry.message, View):
        data = f"{to_json(entry.document)}\n".encode()
    else:
        data = entry.value or b""
    write(output, data, mode=PRIVATE)


@kv.command(short_help="Delete a key.")
@_BUCKET
@_KEY
@_with(_LAST, *_WRITING, *_COMMON)
def delete(*, bucket: str, key: str, last: int | None, **more: Any) -> None:
    """Store a sealed tombstone for KEY, and print its revision. Older revisions stay."""
    _check_recipients(more)
    click.echo(_run(bucket, lambda opened: opened.delete(key, last), **more))


@kv.command(short_help="Delete a key with its history.")
@_BUCKET
@_KEY
@_with(_LAST, *_WRITING, *_COMMON)
def purge(*, bucket: str, key: str, last: int | None, **more: Any) -> None:
    """Store a sealed tombstone for KEY, and have the broker delete its older revisions."""
    _check_recipients(more)
    click.echo(_run(bucket, lambda opened: opened.purge(key, last), **more))


@kv.command(short_help="List the keys with values for you.")
@_BUCKET
@click.argument("pattern", default=">")
@_with(*_READING, *_COMMON)
def keys(*, bucket: str, pattern: str, **more: Any) -> int:
    """List the keys that match PATTERN and have a value which you can open.

    Others are reported on stderr with the code of the refusal (exit 3).
    """
    refused = Refusals()
    for key in _read(bucket, lambda opened: opened.keys(pattern), on_error=refused, **more):
        click.echo(key)
    return EXIT_NOT_OPENED if refused.count else 0


@kv.command(short_help="Print all revisions of a key.")
@_BUCKET
@_KEY
@_with(*_READING, *_COMMON)
def history(*, bucket: str, key: str, **more: Any) -> None:
    """Print the stored revisions of KEY as lines of JSON, oldest first."""
    for entry in _read(bucket, lambda opened: opened.history(key), **more):
        click.echo(_line(entry), nl=False)


@kv.command(short_help="Print entries as they are written.")
@_BUCKET
@click.argument("pattern", default=">")
@click.option("--updates-only", is_flag=True, help="Leave out what exists at the start.")
@click.option("--once", is_flag=True, help="End after what exists at the start.")
@_with(*_READING, *_COMMON)
def watch(*, bucket: str, pattern: str, updates_only: bool, once: bool, **more: Any) -> None:
    """Print the entries of keys that match PATTERN as lines of JSON, until interrupted."""

    async def work(opened: KVBucket) -> None:
        async with opened.watch(pattern, updates_only=updates_only) as entries:
            async for entry in entries:
                if entry is not None:
                    sys.stdout.write(_line(entry))
                    sys.stdout.flush()
                elif once:
                    break

    _read(bucket, work, **more)


@kv.command(short_help="Print settings and size of a bucket.")
@_BUCKET
@JSON
@connection_flags
def status(*, bucket: str, as_json: bool, **flags: Any) -> None:
    """Print the settings and the size of BUCKET, as the server describes them."""
    found = _run(bucket, lambda opened: opened.status(), needs_key=False, **flags)
    print_status({name: getattr(found, name) for name in found.__slots__}, as_json=as_json)


def _line(entry: KVEntry) -> str:
    """Return an entry as a line of JSON."""
    fields: dict[str, Any] = {
        "key": quote(entry.key)[1:-1],
        "revision": entry.revision,
        "operation": entry.operation,
    }
    if entry.replaces is not None:
        fields["replaces"] = entry.replaces
    if entry.error is not None:
        fields["code"] = getattr(entry.error, "code", "internal")
    if entry.message is not None:
        fields |= json.loads(record_of(entry.message).line)
    return json.dumps(fields) + "\n"
