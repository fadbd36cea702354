"""The receiver's configuration file: routes, sinks and quarantine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.destinations import check_url
from xkeymsg.daemons.common.extras import INSTALL
from xkeymsg.daemons.common.key_section import KeySection, rotation_faults
from xkeymsg.daemons.common.sections import (
    DaemonConfig,
    PlainNatsSection,
    TrustSection,
    repeated_names,
)
from xkeymsg.daemons.common.tables import Location, Section
from xkeymsg.daemons.common.trust import check_trust
from xkeymsg.daemons.common.values import (
    Count,
    FilePath,
    Flag,
    Folder,
    Name,
    Pattern,
    Seconds,
    Subject,
    Text,
)
from xkeymsg.daemons.receiver.sinks.token import read_token
from xkeymsg.display import listed
from xkeymsg.errors import ConfigurationError
from xkeymsg.suggestions import did_you_mean
from xkeymsg.text import may_be_secret
from xkeymsg.transport.subjects import is_written_subject
from xkeymsg.transport.tls import tls_context

__all__ = (
    "PREFIX",
    "CommandSink",
    "FilesSink",
    "HTTPSink",
    "NATSSink",
    "QuarantineSection",
    "ReceiverConfig",
    "ReceiverRoute",
    "StdoutSink",
    "load",
)

PREFIX: Final = "XKEYMSG_RECEIVER"


class ReceiverRoute(Section):
    """Where messages come from, which are accepted, where they go."""

    name: Name
    """The name in logs and metrics."""
    sink: Name
    """The sink for opened messages: the NAME of a `[sinks.NAME]`."""
    subject: Pattern | None = None
    """A subject to listen on, wildcards as in NATS. Alternatively, set `stream` and `durable`."""
    queue: Subject | None = None
    """With `subject`: a queue group, whose members share the messages."""
    stream: Name | None = None
    """A JetStream stream to consume."""
    durable: Name | None = None
    """With `stream`: the durable pull consumer, which workers share."""
    create_durable: Flag = False
    """With `stream`: create the durable, for the whole stream, if it does not exist."""
    ordered: Flag = False
    """With `stream`: handle one message of each sealed subject at a time."""
    subjects: tuple[Pattern, ...] = ()
    """The sealed subjects to accept; defaults to `subject`. Required with `stream`."""
    senders: tuple[Text, ...] = ()
    """Accept only these of the trusted senders: names or permissions as in `recipients`, such as
    "alice", "perm:billing" or "U…"."""
    match_wire: Flag = False
    """Refuse messages that arrive on a subject other than the one they are sealed for."""
    documents: Flag = False
    """The messages are documents; this receiver sees the fields it may read."""
    formats: Annotated[tuple[Literal["xkm1", "xkv1"], ...], Field(min_length=1)] = ("xkm1",)
    """Add "xkv1", only with `subject`: it authenticates neither subject nor time, and can be
    replayed."""
    max_age: Seconds | None = None
    """Maximum age of a message on arrival, in seconds; 300 by default."""
    max_in_flight: Annotated[Count, Field(le=10_000)] = 64
    """Maximum number of opened messages waiting for the sink; at the limit, reading pauses."""
    attempts: Count = 5
    """How often a message is offered to the sink. Then a message of a stream goes to quarantine;
    any other is lost, and counted."""
    backoff: Seconds = 1.0
    """Seconds before the second attempt, doubled for each further one."""
    backoff_most: Seconds = 60.0
    """The longest pause between attempts, in seconds."""
    patience: Seconds = 30.0
    """With `stream`: how long a message waits, in seconds, for a missing key or peer."""
    strangers: Literal["record", "drop"] = "record"
    """With `stream`, if termination deletes messages: whether undecryptable messages are terminated
    only once they have a record in quarantine ("record"), or without one above 500 a second
    ("drop"): then a wrong key or wrong peers lose messages."""
    replay_bytes: Annotated[Count, Field(ge=1 << 16)] = 64 << 20
    """Memory for replay marks of admitted senders, in bytes. A message older than the marks that
    fit is refused as `stale`; see `xkeymsg_replay_covers_seconds`."""
    replay_bytes_unadmitted: Annotated[Count, Field(ge=1 << 16)] = 1 << 20
    """Memory for replay marks of all other senders together, in bytes."""
    replay_pending: Annotated[Count, Field(ge=1024, le=1 << 20)] = 65_536
    """With `stream`: maximum number of messages remembered between opening and delivery, 400 bytes
    each."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield conflicting settings."""
        if ("subject" in table) == ("stream" in table):
            yield "subject", "expected exactly one of subject and stream"
            return
        if "subject" in table:
            for key in table.keys() & _OF_STREAMS:
                yield key, "requires stream"
        else:
            yield from cls._of_stream(table)
        if _takes_xkv1(table) and (table.get("documents") or table.get("match_wire")):
            yield "formats", "xkv1 supports neither documents nor match_wire"

    @classmethod
    def _of_stream(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "queue" in table:
            yield "queue", "requires subject"
        if "durable" not in table:
            yield "durable", "missing: stream requires a durable"
        if not table.get("subjects"):
            yield "subjects", "missing: list the sealed subjects to accept from the stream"
        if _takes_xkv1(table):
            yield "formats", "xkv1 is not allowed in a stream: it can be replayed"

    @property
    def accepted(self) -> tuple[str, ...]:
        """The sealed subjects to accept."""
        return self.subjects or ((self.subject,) if self.subject else ())


_OF_STREAMS: Final = frozenset(
    ("durable", "create_durable", "ordered", "patience", "replay_pending", "strangers")
)


def _takes_xkv1(table: Mapping[str, Any]) -> bool:
    formats = table.get("formats")
    return isinstance(formats, list) and "xkv1" in formats


class _Batches(Section):
    batch: Annotated[Count, Field(le=10_000)] = 1
    """Maximum number of messages in a batch."""
    batch_bytes: Annotated[Count, Field(le=64 << 20)] = 1 << 20
    """Maximum size of a batch in bytes; a single larger message is still delivered."""
    linger: Annotated[float, Field(strict=True, ge=0, le=60, allow_inf_nan=False)] = 0.05
    """How long a batch waits to fill up, in seconds."""
    parallel: Annotated[Count, Field(le=64)] = 1
    """Maximum number of batches in flight; with more than one, order is not preserved."""


class StdoutSink(Section):
    """One JSON object per line on stdout. The receiver exits when its reader goes away."""

    kind: Literal["stdout"]
    """`"stdout"`"""


class FilesSink(Section):
    """One file per message, named by its id, written atomically and only once."""

    kind: Literal["files"]
    """`"files"`"""
    folder: Folder
    """The destination, which must exist. Files have mode 0600."""


class CommandSink(_Batches):
    """One process per batch, with one JSON object per line on its stdin; exit 0 accepts it."""

    kind: Literal["command"]
    """`"command"`"""
    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The absolute path of the program, and its arguments; no shell is used."""
    timeout: Seconds = 30.0
    """Seconds after which the process and its children are killed."""
    environment: dict[Text, str] = Field(default_factory=dict)
    """Its environment, in addition to PATH, HOME, LANG and TZ; nothing else is inherited."""
    stderr: Literal["discard", "log"] = "discard"
    """What to do with its stderr. The log may then contain plaintext that the command prints."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield faults of the program's path."""
        command = table.get("command")
        if not isinstance(command, list) or not command or not isinstance(command[0], str):
            return
        path = Path(command[0])
        if not path.is_absolute() or not os.path.isfile(path):  # noqa: PTH113 - never raises
            yield "command", "the first element must be the absolute path of an existing program"


class HTTPSink(_Batches):
    """One POST per batch, with one JSON object per line; a 2xx response accepts it."""

    kind: Literal["http"]
    """`"http"`"""
    url: Annotated[Text, AfterValidator(check_url)]
    """The URL: `https://`, or `http://` with 127.0.0.1 or [::1]. Redirects are not followed."""
    socket: FilePath | None = None
    """A unix socket to connect to; `url` is then used in the request only."""
    tls_ca: FilePath | None = None
    """The CA certificates to trust instead of the system's, PEM."""
    tls_cert: FilePath | None = None
    """A client certificate, PEM, with `tls_key`."""
    tls_key: FilePath | None = None
    """Its private key, PEM."""
    bearer_file: FilePath | None = None
    """A file with a token for `Authorization: Bearer`, mode 0600; read for each request."""
    timeout: Seconds = 10.0
    """Maximum duration of a request, in seconds."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield conflicting settings, and a missing httpx."""
        if ("tls_cert" in table) != ("tls_key" in table):
            yield "tls_cert", "tls_cert and tls_key require each other"
        if find_spec("httpx") is None:  # not imported: it costs 10 MB, and checking needs none
            yield "kind", f"httpx is not installed: {INSTALL}"

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        try:
            tls_context(self.tls_ca, self.tls_cert, self.tls_key)
            if self.bearer_file is not None:
                read_token(self.bearer_file)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return self


def _mapping(text: str) -> str:
    if text[:1] in "{$" or not is_written_subject(text.replace("{subject}", "x")):
        raise ValueError(
            "expected a subject; {subject} stands for the sealed subject, and must not come first:"
            " the sender chooses it"
        )
    return text


class NATSSink(PlainNatsSection):
    """A subject on a server that may see plaintext: on this machine, or over TLS."""

    kind: Literal["nats"]
    """`"nats"`"""
    subject: Annotated[Text, AfterValidator(_mapping)]
    """The target; `{subject}`, not at the beginning, stands for the sealed subject."""
    jetstream: Flag = False
    """Publish to a stream and wait for its acknowledgement; the stream deduplicates by id."""


class QuarantineSection(Section):
    """The dead-letter streams for messages that cannot be opened, or that the sink refuses."""

    unproven: Name = "XKM_UNPROVEN"
    """The stream for unauthenticated messages."""
    proven: Name = "XKM_PROVEN"
    """The stream for messages of admitted senders; when it is full, consumption pauses."""
    create: Flag = False
    """Create these streams if they do not exist."""
    replicas: Annotated[Count, Field(le=5)] = 1
    """Number of replicas in a cluster; a single replica is unavailable while its server is."""


_Sink = Annotated[
    StdoutSink | FilesSink | CommandSink | HTTPSink | NATSSink, Field(discriminator="kind")
]


class ReceiverConfig(DaemonConfig):
    """The receiver's configuration."""

    name: Name = "receiver"
    key: KeySection
    trust: TrustSection
    route: Annotated[tuple[ReceiverRoute, ...], Field(min_length=1)]
    sinks: Annotated[dict[Name, _Sink], Field(min_length=1)]
    quarantine: QuarantineSection = QuarantineSection()

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str | Location, str]]:
        """Yield conflicting settings: duplicate or unknown names."""
        yield from rotation_faults(table)
        routes, sinks = table.get("route"), table.get("sinks")
        if not isinstance(routes, list) or not isinstance(sinks, Mapping):
            return
        named = [each for each in routes if isinstance(each, Mapping)]
        yield from repeated_names(named)
        trust = table.get("trust")
        if isinstance(trust, Mapping) and trust.get("require_signature") is True:
            for each in filter(_takes_xkv1, named):
                yield "route", f"{each.get('name')!r} accepts xkv1, which cannot be signed"
        if isinstance(trust, Mapping) and trust.get("anyone") is True:
            for each in (each for each in named if each.get("senders")):
                yield "route", f"{each.get('name')!r} has `senders`, which require peers or folder"
        if isinstance(trust, Mapping) and "folder" in trust:
            for each in filter(_takes_xkv1, named):
                yield "route", f"{each.get('name')!r} accepts xkv1, which names no user"
        yield from _of_sinks(routes, sinks)


def _of_sinks(routes: list[Any], sinks: Mapping[str, Any]) -> Iterator[tuple[str | Location, str]]:
    """Yield unknown sinks, and sinks that no route uses."""
    used = set()
    for number, route in enumerate(routes):
        sink = route.get("sink") if isinstance(route, Mapping) else None
        if isinstance(sink, str):
            used.add(sink)
            if sink not in sinks:
                known = [name for name in sinks if not may_be_secret(name)]
                near = did_you_mean(sink, known) or f"; expected one of {listed(known)}"
                yield ("route", number, "sink"), f"unknown sink{near}"
    for name in sorted(sinks.keys() - used):
        yield ("sinks", name), "no route uses this sink"


class _ReceiverKeyTable(Section):
    key: KeySection


def load(path: Path, environ: Mapping[str, str] | None = None) -> ReceiverConfig:
    """Read the receiver's configuration file.

    Raises:
        ConfigurationError: If it is invalid; the error has one line per fault.
    """
    given = os.environ if environ is None else environ
    config = load_config(ReceiverConfig, path, prefix=PREFIX, environ=given)
    again = partial(load_config, _ReceiverKeyTable, path, prefix=PREFIX, environ=given, part=True)
    config.key.reread_with(lambda: again().key)
    if config.trust.folder is not None:
        check_trust(config.trust, config.nats.creds, path)
    return config
