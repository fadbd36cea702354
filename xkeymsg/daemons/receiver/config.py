"""The file of the receiver: where messages come from, and where they go when they are open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.destinations import check_url
from xkeymsg.daemons.common.extras import INSTALL
from xkeymsg.daemons.common.sections import (
    DrainSection,
    KeySection,
    NatsSection,
    ObserveSection,
    PlainNatsSection,
    TrustSection,
)
from xkeymsg.daemons.common.tables import Location, Section
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
from xkeymsg.errors import ConfigurationError
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
    """Where messages come from, which of them are taken, and where they go."""

    name: Name
    """What logs and metrics call it."""
    sink: Name
    """Where opened messages go: the NAME of a `[sinks.NAME]`."""
    subject: Pattern | None = None
    """A subject to listen on, wildcards as in NATS. Or else a stream and a durable."""
    queue: Subject | None = None
    """With `subject`: a queue group, whose members share the messages."""
    stream: Name | None = None
    """A JetStream stream to consume."""
    durable: Name | None = None
    """With `stream`: the durable pull consumer, which workers share."""
    create_durable: Flag = False
    """With `stream`: make the durable, for all of the stream, where it is not there."""
    ordered: Flag = False
    """With `stream`: one message of a sealed subject at a time."""
    subjects: tuple[Pattern, ...] = ()
    """The sealed subjects that are taken; without it what `subject` says. A stream needs it."""
    match_wire: Flag = False
    """Refuse messages that came on another subject than they are sealed for."""
    documents: Flag = False
    """They are documents, of which this receiver sees what it may."""
    formats: Annotated[tuple[Literal["xkm1", "xkv1"], ...], Field(min_length=1)] = ("xkm1",)
    """Add "xkv1", with `subject` alone: it binds no subject and no time, and can be replayed."""
    max_age: Seconds | None = None
    """Seconds that a message may be old when it comes; without it 300."""
    max_in_flight: Annotated[Count, Field(le=10_000)] = 64
    """Opened messages that wait for the sink at a time; then no more are taken."""
    attempts: Count = 5
    """How often a message is offered to the sink. After that a stream's goes to quarantine; one
    that no stream keeps is lost, and counted."""
    backoff: Seconds = 1.0
    """Seconds before the second attempt, doubled with each further one."""
    backoff_most: Seconds = 60.0
    """The longest pause between attempts, in seconds."""
    patience: Seconds = 30.0
    """With `stream`: seconds for which a message waits for a key or a peer that may yet come."""
    replay_bytes: Annotated[Count, Field(ge=1 << 16)] = 64 << 20
    """Bytes of replay marks of admitted senders. A message older than the marks that this has room
    for is refused as `stale`; see `xkeymsg_replay_covers_seconds`."""
    replay_bytes_unadmitted: Annotated[Count, Field(ge=1 << 16)] = 1 << 20
    """Bytes of replay marks of all other senders together."""
    replay_pending: Annotated[Count, Field(ge=1024, le=1 << 20)] = 65_536
    """With `stream`: messages that are remembered between opening and delivery, 400 bytes each."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what does not go together."""
        if ("subject" in table) == ("stream" in table):
            yield "subject", "expected is one of subject and stream"
            return
        if "subject" in table:
            for key in table.keys() & _OF_STREAMS:
                yield key, "goes with stream, which is not here"
        else:
            yield from cls._of_stream(table)
        if _takes_xkv1(table) and (table.get("documents") or table.get("match_wire")):
            yield "formats", "xkv1 has no documents, and no subject to match"

    @classmethod
    def _of_stream(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "queue" in table:
            yield "queue", "goes with subject, which is not here"
        if "durable" not in table:
            yield "durable", "missing: a stream is consumed by a durable"
        if not table.get("subjects"):
            yield "subjects", "missing: which sealed subjects are taken from the stream"
        if _takes_xkv1(table):
            yield "formats", "xkv1 has no place in a stream: it can be replayed"

    @property
    def accepted(self) -> tuple[str, ...]:
        """The sealed subjects that are taken."""
        return self.subjects or ((self.subject,) if self.subject else ())


_OF_STREAMS: Final = frozenset(
    ("durable", "create_durable", "ordered", "patience", "replay_pending")
)


def _takes_xkv1(table: Mapping[str, Any]) -> bool:
    formats = table.get("formats")
    return isinstance(formats, list) and "xkv1" in formats


class _Batches(Section):
    batch: Annotated[Count, Field(le=10_000)] = 1
    """Messages that go to the sink at once, at most."""
    batch_bytes: Annotated[Count, Field(le=64 << 20)] = 1 << 20
    """Bytes that they have together, at most; one message goes whatever its size."""
    linger: Annotated[float, Field(strict=True, ge=0, le=60, allow_inf_nan=False)] = 0.05
    """Seconds that a batch waits to become full."""
    parallel: Annotated[Count, Field(le=64)] = 1
    """Batches that are under way at a time; with more than one, order is lost."""


class StdoutSink(Section):
    """One JSON object a line on stdout. When nobody reads it any more, the receiver ends."""

    kind: Literal["stdout"]
    """`"stdout"`"""


class FilesSink(Section):
    """A file for each message, named by its id: whole or not there, also when it comes twice."""

    kind: Literal["files"]
    """`"files"`"""
    folder: Folder
    """Where to; it has to be there. Files have mode 0600."""


class CommandSink(_Batches):
    """A process for each batch, with a JSON object a line on its stdin; exit 0 takes it."""

    kind: Literal["command"]
    """`"command"`"""
    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The program, by its whole path, and its arguments; there is no shell."""
    timeout: Seconds = 30.0
    """Seconds after which it is killed, and everything that it started."""
    environment: dict[Text, str] = Field(default_factory=dict)
    """Its environment, besides PATH, HOME, LANG and TZ: nothing else of ours."""
    stderr: Literal["discard", "log"] = "discard"
    """What becomes of its stderr. In the log it may be plaintext: what the command writes there."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the program."""
        command = table.get("command")
        if not isinstance(command, list) or not command or not isinstance(command[0], str):
            return
        path = Path(command[0])
        if not path.is_absolute() or not path.is_file():
            yield "command", "expected first is the whole path of a program that is there"


class HTTPSink(_Batches):
    """A POST for each batch, a JSON object a line; an answer of 2xx takes it."""

    kind: Literal["http"]
    """`"http"`"""
    url: Annotated[Text, AfterValidator(check_url)]
    """Where to: `https://`, or `http://` with 127.0.0.1 or [::1]. Redirections are not followed."""
    socket: FilePath | None = None
    """A unix socket to connect to; the address is then what the request says."""
    tls_ca: FilePath | None = None
    """The authorities to believe in the place of the system's, PEM."""
    tls_cert: FilePath | None = None
    """A client certificate, PEM, with `tls_key`."""
    tls_key: FilePath | None = None
    """Its private key, PEM."""
    bearer_file: FilePath | None = None
    """A file with a token for `Authorization: Bearer`, mode 0600; read anew for each request."""
    timeout: Seconds = 10.0
    """Seconds that a request may take."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what does not go together."""
        if ("tls_cert" in table) != ("tls_key" in table):
            yield "tls_cert", "tls_cert and tls_key go together"
        if find_spec("httpx") is None:  # not imported for that: 10 MB, and checking needs none
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
            "expected is a subject, in which {subject} stands for the sealed one, and not first:"
            " senders choose that"
        )
    return text


class NATSSink(PlainNatsSection):
    """A subject on a server that may see plaintext: one of this machine, or through TLS."""

    kind: Literal["nats"]
    """`"nats"`"""
    subject: Annotated[Text, AfterValidator(_mapping)]
    """Where to; `{subject}` in it, and not first, stands for the sealed subject."""
    jetstream: Flag = False
    """A stream takes it, and its acknowledgement counts; it keeps a message once, by its id."""


class QuarantineSection(Section):
    """Where messages of streams go that cannot be opened, or that the sink does not take."""

    unproven: Name = "XKM_UNPROVEN"
    """The stream for messages of which nothing is proven."""
    proven: Name = "XKM_PROVEN"
    """The stream for those of admitted senders; when it is full, consuming stands still."""
    create: Flag = False
    """Make these streams where they are not there."""
    replicas: Annotated[Count, Field(le=5)] = 1
    """On how many servers of a cluster they are made; with one, they stand still when it does."""


_Sink = Annotated[
    StdoutSink | FilesSink | CommandSink | HTTPSink | NATSSink, Field(discriminator="kind")
]


class ReceiverConfig(Section):
    """The file of the receiver."""

    name: Name = "receiver"
    """What `nats micro ls` and the server's connections call it."""
    key: KeySection
    trust: TrustSection
    nats: NatsSection = Field(default_factory=NatsSection)
    route: Annotated[tuple[ReceiverRoute, ...], Field(min_length=1)]
    sinks: Annotated[dict[Name, _Sink], Field(min_length=1)]
    quarantine: QuarantineSection = QuarantineSection()
    observe: ObserveSection = ObserveSection()
    drain: DrainSection = DrainSection()

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str | Location, str]]:
        """Yield what does not go together: names that are there twice, or not at all."""
        routes, sinks = table.get("route"), table.get("sinks")
        if not isinstance(routes, list) or not isinstance(sinks, Mapping):
            return
        named = [each for each in routes if isinstance(each, Mapping)]
        for name, count in Counter(str(each.get("name")) for each in named).items():
            if count > 1 and name != "None":
                yield "route", f"expected is another name for each: {count} are called {name!r}"
        trust = table.get("trust")
        if isinstance(trust, Mapping) and trust.get("require_signature") is True:
            for each in filter(_takes_xkv1, named):
                yield "route", f"{each.get('name')!r} takes xkv1, which has no signature to require"
        yield from _of_sinks(routes, sinks)


def _of_sinks(routes: list[Any], sinks: Mapping[str, Any]) -> Iterator[tuple[str | Location, str]]:
    """Yield sinks to which no route leads, and what leads to none."""
    used = set()
    for number, route in enumerate(routes):
        sink = route.get("sink") if isinstance(route, Mapping) else None
        if isinstance(sink, str):
            used.add(sink)
            if sink not in sinks:
                expected = ", ".join(map(str, sinks))
                yield ("route", number, "sink"), f"there is no such sink; expected is {expected}"
    for name in sorted(sinks.keys() - used):
        yield "sinks", f"no route leads to {name!r}: expected is one that does"


def load(path: Path, environ: Mapping[str, str] | None = None) -> ReceiverConfig:
    """Read the receiver's file.

    Raises:
        ConfigurationError: If anything is wrong with it; has a line for each thing.
    """
    if environ is None:
        return load_config(ReceiverConfig, path, prefix=PREFIX)
    return load_config(ReceiverConfig, path, prefix=PREFIX, environ=environ)
