"""The file of the sender: where messages come from, for whom they are sealed, and where they go."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.sections import (
    DrainSection,
    KeySection,
    NatsSection,
    ObserveSection,
    PlainNatsSection,
)
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import (
    Count,
    FilePath,
    Flag,
    Folder,
    Name,
    Pattern,
    PeersPath,
    PolicyPath,
    Seconds,
    SignerPath,
    Subject,
    Text,
)
from xkeymsg.daemons.sender.subject_map import SubjectMap
from xkeymsg.errors import ConfigurationError
from xkeymsg.transport.subjects import overlap

__all__ = (
    "PREFIX",
    "PeersSection",
    "SenderConfig",
    "SenderKeySection",
    "SenderRoute",
    "load",
)

PREFIX: Final = "XKEYMSG_SENDER"

_SOURCES: Final = ("stdin", "files", "subject", "stream")
_HEADER: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_RESERVED: Final = "xkm-"


def _readable(path: Path) -> Path:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError(
            f"{path}: expected is a regular file that can be read; a pipe is for stdin"
        )
    return path


def _taken(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.lower().startswith(_RESERVED):
        raise ValueError('expected is the name of a header, not "xkm-…"; or "*" for all')
    return name


def _header(name: str) -> str:
    if name.lower().startswith(_RESERVED):
        raise ValueError('expected is another name: "xkm-…" is reserved')
    return name


Lines = Annotated[FilePath, AfterValidator(_readable)]


class SenderKeySection(KeySection):
    """The sender's own key, and with what it signs."""

    signer: SignerPath | None = None
    """A file with the user's seed `SU…`, or a `.creds` file: sign every message with it."""


class PeersSection(Section):
    """Whom names stand for."""

    peers: PeersPath
    """A file of peers (`xkeymsg peers add`); read again on SIGHUP, and when it changes."""


class SenderRoute(Section):
    """Where messages come from, for whom they are sealed, and where they go."""

    name: Name
    """What logs and metrics call it. A stream knows messages by it too: keep it."""
    stdin: Flag = False
    """Take the lines of stdin, a message each. One of stdin, files, subject, and stream."""
    files: tuple[Lines, ...] = ()
    """Take the lines of these files, one file after another."""
    state: Folder | None = None
    """With `files`: a folder in which to note how far they are sent, so that the next run goes on
    from there."""
    subject: Pattern | None = None
    """A subject of `[source]` to listen on, wildcards as in NATS. With `stream`: what `to` refers
    to."""
    queue: Subject | None = None
    """With `subject` alone: a queue group, whose members share the messages."""
    stream: Name | None = None
    """A JetStream stream of `[source]` to consume."""
    durable: Name | None = None
    """With `stream`: the durable pull consumer, which workers share."""
    create_durable: Flag = False
    """With `stream`: make the durable, for `subject`, where it is not there."""
    on_refused: Literal["keep", "terminate"] = "keep"
    """With `stream`: what becomes of a message that cannot be sealed. Kept, it is offered again for
    ever; terminated, after `attempts`, and it stays in the stream."""
    to: Text
    """The subject to seal for and send to. `{1}` is what the first `*` of `subject` stands for,
    `{>}` what `>` does, `{subject}` all of it; not first."""
    recipients: tuple[Text, ...] = ()
    """For whom: names of peers, and `perm:NAME` for all who hold a permission."""
    policy: PolicyPath | None = None
    """The messages are documents in JSON, of which this says who may see what. In the place of
    `recipients`."""
    readers: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    """With `policy`: who holds each permission, in the place of `perm:NAME`."""
    numbers: Literal["float", "exact"] = "float"
    """With `policy`: `"exact"` keeps all digits of numbers with a fraction or an exponent, as
    Decimals. As floats, digits may change, which is counted."""
    format: Literal["xkm1", "xkv1"] = "xkm1"
    """`"xkv1"` for one recipient that knows nothing else: it binds no subject and no time."""
    headers: dict[Annotated[Text, AfterValidator(_header)], str] = Field(default_factory=dict)
    """Headers to seal with each message."""
    take_headers: tuple[Annotated[Text, AfterValidator(_taken)], ...] = ("*",)
    """Headers of the source's messages that are sealed with them; `"*"` is all but `Nats-…`. The
    others go nowhere."""
    content_type: Text | None = None
    """A media type, sealed with each message."""
    expires: Seconds | None = None
    """Seconds from sealing after which receivers refuse a message."""
    padding: Flag = False
    """Hide the exact length, for up to 12 % more."""
    output: Literal["core", "jetstream"]
    """`"jetstream"`: a stream has to take each message, and its acknowledgement counts. `"core"`:
    that of the server, for whoever listens now."""
    max_in_flight: Annotated[Count, Field(le=10_000)] = 256
    """Messages that may wait for their acknowledgement; then no more are taken."""
    attempts: Count = 5
    """How often a message is tried that has no stream behind it. A stream's is tried for ever."""
    backoff: Seconds = 1.0
    """Seconds before the second attempt, doubled with each further one."""
    backoff_most: Seconds = 30.0
    """The longest pause between attempts, in seconds."""

    @property
    def pattern(self) -> str | None:
        """What the source's subjects match; None where there are none."""
        if self.stdin or self.files:
            return None
        return self.subject or ">"

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what does not go together."""
        source = _source_of(table)
        if source is None:
            yield "", f"expected is one source of {', '.join(_SOURCES)}"
        else:
            yield from _of_source(table, source)
        yield from _of_readers(table)
        yield from _of_mapping(table, source)


def _source_of(table: Mapping[str, Any]) -> str | None:
    given = [each for each in _SOURCES if table.get(each)]
    if given == ["subject", "stream"]:
        return "stream"
    return given[0] if len(given) == 1 else None


def _of_source(table: Mapping[str, Any], source: str) -> Iterator[tuple[str, str]]:
    belongs = {
        "files": ("state",),
        "subject": ("queue",),
        "stream": ("durable", "create_durable", "on_refused"),
    }
    for owner, keys in belongs.items():
        for key in keys:
            if key in table and owner != source:
                yield key, f"goes with {owner}, and messages are from {source}"
    if source in ("stdin", "files") and "take_headers" in table:
        yield "take_headers", "lines have no headers"
    if source == "stream":
        if "durable" not in table:
            yield "durable", "missing: a stream is consumed by a durable"
        if table.get("output") == "core":
            yield "output", "expected is \"jetstream\": only a stream's word lets go of a stream's"


def _of_readers(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if ("policy" in table) == bool(table.get("recipients")):
        yield "recipients", "expected is one of recipients and policy"
    for key in ("readers", "numbers"):
        if key in table and "policy" not in table:
            yield key, "goes with policy, which is not here"
    if table.get("format") == "xkv1":
        for key in ("policy", "headers", "content_type", "expires", "padding"):
            if table.get(key):
                yield key, "xkv1 has none"


def _of_mapping(table: Mapping[str, Any], source: str | None) -> Iterator[tuple[str, str]]:
    to, subject = table.get("to"), table.get("subject")
    if not isinstance(to, str) or not isinstance(subject, str | None) or source is None:
        return
    pattern = None if source in ("stdin", "files") else subject or ">"
    try:
        SubjectMap(pattern, to)
    except ConfigurationError as error:
        yield "to", str(error)


class SenderConfig(Section):
    """The file of the sender."""

    name: Name = "sender"
    """What `nats micro ls` and the server's connections call it."""
    key: SenderKeySection
    trust: PeersSection
    nats: NatsSection = Field(default_factory=NatsSection)
    source: PlainNatsSection | None = None
    route: Annotated[tuple[SenderRoute, ...], Field(min_length=1)]
    observe: ObserveSection = ObserveSection()
    drain: DrainSection = DrainSection()

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what does not go together."""
        routes = table.get("route")
        if not isinstance(routes, list):
            return
        named = [each for each in routes if isinstance(each, Mapping)]
        for name, count in Counter(str(each.get("name")) for each in named).items():
            if count > 1 and name != "None":
                yield "route", f"expected is another name for each: {count} are called {name!r}"
        if sum(each.get("stdin") is True for each in named) > 1:
            yield "route", "there is one stdin, and more than one route takes it"
        remote = any(_source_of(each) in ("subject", "stream") for each in named)
        if remote and "source" not in table:
            yield "source", "missing: the server with the messages of subject and stream"
        if "source" in table and not remote:
            yield "source", "no route takes messages from it"
        yield from _circles(table, named)


def _circles(
    table: Mapping[str, Any], routes: list[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield the routes that would take what another, or they themselves, have sent."""
    source, nats = table.get("source"), table.get("nats", {})
    if not isinstance(source, Mapping) or not isinstance(nats, Mapping):
        return
    default = ["nats://127.0.0.1:4222"]
    theirs, ours = source.get("servers", default), nats.get("servers", default)
    if not isinstance(theirs, list) or not isinstance(ours, list):
        return
    if not {str(each) for each in theirs} & {str(each) for each in ours}:
        return
    for taker in routes:
        pattern = taker.get("subject")
        if _source_of(taker) != "subject" or not isinstance(pattern, str):
            continue
        for giver in routes:
            to = _pattern_of(giver)
            if to is not None and overlap(to, pattern):
                yield (
                    "route",
                    f"{taker.get('name')!r} would take what {giver.get('name')!r} has sent to the"
                    " same server",
                )


def _pattern_of(route: Mapping[str, Any]) -> str | None:
    source, to, subject = _source_of(route), route.get("to"), route.get("subject")
    if source is None or not isinstance(to, str) or not isinstance(subject, str | None):
        return None
    try:
        return SubjectMap(None if source in ("stdin", "files") else subject or ">", to).pattern
    except ConfigurationError:
        return None


def load(path: Path, environ: Mapping[str, str] | None = None) -> SenderConfig:
    """Read the sender's file.

    Raises:
        ConfigurationError: If anything is wrong with it; has a line for each thing.
    """
    given = os.environ if environ is None else environ
    return load_config(SenderConfig, path, prefix=PREFIX, environ=given)
