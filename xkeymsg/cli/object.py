"""`xkeymsg object`: sealed objects in buckets of JetStream."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

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
from xkeymsg.cli.inspect import print_fields
from xkeymsg.cli.output import PRIVATE, replacing
from xkeymsg.cli.recipients import PEERS, recipients_of, to_option
from xkeymsg.cli.stream import REPLICAS, run_with_api
from xkeymsg.cli.table import aligned, bare
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.memory import RollbackMemory
from xkeymsg.daemons.common.flags import (
    connection_flags,
    key_flags,
    required_pair,
)
from xkeymsg.daemons.common.parameters import DURATION, SIZE
from xkeymsg.daemons.common.terminal import EXIT_NOT_OPENED
from xkeymsg.envelope.admission import Senders
from xkeymsg.keys import Keyring, Recipient
from xkeymsg.objects.bucket import Bucket
from xkeymsg.objects.info import ObjectInfo
from xkeymsg.objects.store import ObjectStore
from xkeymsg.trust.peers import Peers

__all__ = (
    "delete",
    "get",
    "info",
    "init",
    "list_",
    "object_",
    "purge_leftovers",
    "put",
    "seal",
    "status",
    "watch",
)

_T = TypeVar("_T")
_BUCKET: Final = click.argument("bucket")
_NAME: Final = click.argument("name")


class _Access(NamedTuple):
    """Who opens a bucket, and how."""

    trust: Senders
    seed_file: Path | None
    flags: dict[str, Any]
    to: tuple[Recipient, ...] = ()
    identity: str | None = None
    max_age: float | None = None
    memory: Path | None = None

    def run(
        self,
        bucket: str,
        work: Callable[[ObjectStore], Awaitable[_T]],
        on_error: Refusals | None = None,
    ) -> _T:
        """Connect, and run `work` with the store."""

        async def opened(client: Client, marks: RollbackMemory | None) -> _T:
            more: dict[str, Any] = {"to": self.to, "memory": marks, "max_age": self.max_age}
            return await work(client.objects(bucket, **more))

        return run_with_client(
            self.flags,
            opened,
            keys=Keyring(required_pair(self.seed_file), user=self.identity),
            trust=self.trust,
            memory=self.memory,
            on_error=on_error or Refusals(),
        )


def _with_access(command: Callable[..., _T], make: Callable[..., _Access]) -> Callable[..., _T]:
    """Pass the options that `command` does not name to `make`, and its result as `access`."""
    own = inspect.signature(command).parameters

    @wraps(command)
    def call(**given: Any) -> _T:
        named = {name: given.pop(name) for name in [*given] if name in own}
        return command(access=make(**given), **named)

    return call


def _writing(command: Callable[..., _T]) -> Callable[..., _T]:
    inner = key_flags()(connection_flags(_with_access(command, _writer)))
    return to_option(required=True)(PEERS(inner))


def _reading(command: Callable[..., _T]) -> Callable[..., _T]:
    inner = connection_flags(_with_access(command, _reader))
    return FROM(PEERS(key_flags()(USER(MEMORY(MAX_AGE(inner))))))


def _writer(
    *,
    recipients: tuple[str, ...],
    peers_file: Path | None,
    seed_file: Path | None,
    **flags: Any,
) -> _Access:
    peers = None if peers_file is None else Peers.load(peers_file)
    always = () if peers is None else peers.always_to()
    to = (*recipients_of(recipients, (), peers), *always)
    return _Access(frozenset(), seed_file, flags, to)


def _reader(
    *,
    senders: tuple[str, ...],
    peers_file: Path | None,
    seed_file: Path | None,
    identity: str | None,
    memory: Path | None,
    max_age: float | None,
    **flags: Any,
) -> _Access:
    trust = trust_of(senders, None if peers_file is None else Peers.load(peers_file))
    if trust is None:
        raise click.UsageError("no senders to trust: give --from or --peers")
    return _Access(trust, seed_file, flags, (), identity, max_age, memory)


@click.group("object", short_help="Store and read sealed objects in buckets.")
def object_() -> None:
    """Store and read sealed objects: large data in a bucket that the server cannot read.

    The names of objects, their sizes and times are visible to the server; everything else is
    sealed. Buckets are those of the nats CLI, which lists and copies sealed objects, too.
    """


@object_.command(short_help="Create a bucket.")
@_BUCKET
@click.option("--ttl", type=DURATION, help="Delete older objects, such as 30d; by default, none.")
@click.option("--max-bytes", type=SIZE, help="Maximum size, such as 10GiB; unlimited by default.")
@STORAGE
@REPLICAS
@connection_flags
def init(
    *,
    bucket: str,
    ttl: float | None,
    max_bytes: int | None,
    storage: Any,
    replicas: int,
    **flags: Any,
) -> None:
    """Create BUCKET.

    An existing bucket with the same settings is left unchanged. Exit 1 if its settings differ.
    """

    async def work(api: API) -> None:
        store = Bucket(api, bucket)
        await store.init(storage=storage, ttl=ttl, max_bytes=max_bytes, replicas=replicas)

    run_with_api(flags, work)
    click.echo(f"{bucket} ready")


@object_.command(short_help="Store FILE, or stdin, as an object.")
@_BUCKET
@_NAME
@click.argument("source", metavar="[FILE]", default="-", type=click.File("rb"))
@click.option("--content-type", metavar="TYPE", help="A media type, sealed.")
@_writing
def put(
    *, bucket: str, name: str, source: BinaryIO, content_type: str | None, access: _Access
) -> None:
    """Seal FILE, or stdin, and store it as the object NAME; it replaces an object with this name.

    \b
    xkeymsg object put scans 7.tif scan.tif --seed alice.seed --peers peers.toml --to bob

    Readers see the object once everything is stored; until then, they see the previous one.
    """  # noqa: D301 - click reads the character
    stored = access.run(bucket, lambda store: store.put(name, source, content_type=content_type))
    click.echo(f"{stored.size} bytes in {stored.chunks} chunks")


@object_.command(short_help="Write an object into a file, or to stdout.")
@_BUCKET
@_NAME
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The output file, which appears when the whole object is verified; default: stdout.",
)
@_reading
def get(*, bucket: str, name: str, output: Path | None, access: _Access) -> None:
    """Open the object NAME. Only verified data is written.

    \b
    xkeymsg object get scans 7.tif -o 7.tif --seed bob.seed --peers peers.toml --from alice

    After an error (exit 3), stdout has only the beginning of the object. Without --memory, a run
    cannot detect that the server returns an older object; --max-age limits
    how old it can be.
    """  # noqa: D301 - click reads the character
    with _target(output) as file:
        access.run(bucket, lambda store: store.get(name, into=file))


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif output.exists() and not output.is_file():  # a pipe or a device cannot be replaced
        with output.open("wb") as file:
            yield file
    else:
        with replacing(output, PRIVATE) as file:
            yield file


@object_.command(short_help="Print what the writer of an object has sealed.")
@_BUCKET
@_NAME
@JSON
@_reading
def info(*, bucket: str, name: str, as_json: bool, access: _Access) -> None:
    """Print the sealed metadata of the object NAME."""
    fields = _fields(access.run(bucket, lambda store: store.info(name)))
    if as_json:
        click.echo(json.dumps(fields))
    else:
        print_fields({label: value for label, value in fields.items() if value})


@object_.command("list", short_help="List the objects of a bucket.")
@_BUCKET
@JSON
@_reading
def list_(*, bucket: str, as_json: bool, access: _Access) -> int:
    """List the objects that you may read. The server can withhold any.

    Others are reported on stderr with the code of the refusal (exit 3).
    """
    refused = Refusals()
    found = [_fields(each) for each in access.run(bucket, lambda store: store.list(), refused)]
    if as_json:
        for each in found:
            click.echo(json.dumps(each))
    elif found:
        keys = ("name", "size", "created", "sender")
        rows = [tuple(bare(str(each[key])) for key in keys) for each in found]
        for line in aligned([("NAME", "BYTES", "CREATED", "WRITER"), *rows]):
            click.echo(line)
    return EXIT_NOT_OPENED if refused.count else 0


@object_.command(short_help="Print the objects of a bucket, and each change, as JSON.")
@_BUCKET
@click.option("--updates-only", is_flag=True, help="Begin with the next change.")
@_reading
def watch(*, bucket: str, updates_only: bool, access: _Access) -> None:
    """Print one JSON object for each object, and then for each change, until interrupted."""

    async def work(store: ObjectStore) -> None:
        async with store.watch(updates_only=updates_only) as changes:
            async for each in changes:
                click.echo(json.dumps(_fields(each)))

    access.run(bucket, work)


@object_.command(short_help="Delete an object.")
@_BUCKET
@_NAME
@_writing
def delete(*, bucket: str, name: str, access: _Access) -> None:
    """Delete the object NAME, and store a sealed tombstone: readers know who has deleted it."""
    access.run(bucket, lambda store: store.delete(name))


@object_.command("purge-leftovers", short_help="Delete chunks that belong to no object.")
@_BUCKET
@click.option(
    "--older-than",
    type=DURATION,
    default="1d",
    show_default=True,
    help="Only those of uploads that have not grown for this long.",
)
@connection_flags
def purge_leftovers(*, bucket: str, older_than: float, **flags: Any) -> None:
    """Delete the chunks that killed writers have left behind.

    A running writer must not pause for longer than --older-than.
    """

    async def work(api: API) -> int:
        return await Bucket(api, bucket).purge_leftovers(older_than=older_than)

    click.echo(f"chunks of {run_with_api(flags, work)} objects deleted")


@object_.command(short_help="Make a bucket read-only, forever.")
@_BUCKET
@connection_flags
def seal(*, bucket: str, **flags: Any) -> None:
    """Make BUCKET read-only, forever. This does not concern the encryption of its objects."""

    async def work(api: API) -> None:
        await Bucket(api, bucket).seal()

    run_with_api(flags, work)


@object_.command(short_help="Print settings and size of a bucket.")
@_BUCKET
@JSON
@connection_flags
def status(*, bucket: str, as_json: bool, **flags: Any) -> None:
    """Print the settings and the size of BUCKET, as the server describes them."""
    found = run_with_api(flags, lambda api: Bucket(api, bucket).status())
    print_status(found._asdict(), as_json=as_json)


def _fields(each: ObjectInfo) -> dict[str, Any]:
    return {
        "name": each.name,
        "size": each.size,
        "chunks": each.chunks,
        "created": None
        if each.created is None
        else each.created.isoformat(timespec="milliseconds"),
        "sender": None if each.sender is None else str(each.sender),
        "signer": each.signer,
        "content_type": each.content_type,
        "headers": [list(pair) for pair in each.headers.pairs],
        "deleted": each.deleted,
        "revision": each.revision,
    }
