"""The sender's configuration file: sources, recipients and outputs of each route."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.key_section import KeySection, OpenedKeys, rotation_faults
from xkeymsg.daemons.common.sections import (
    DaemonConfig,
    PlainNatsSection,
    SourcesSection,
    repeated_names,
)
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import (
    Count,
    FilePath,
    Flag,
    Folder,
    Name,
    Pattern,
    PolicyPath,
    Seconds,
    SignerPath,
    Subject,
    Text,
)
from xkeymsg.daemons.sender.subject_map import SubjectMap
from xkeymsg.errors import ConfigurationError
from xkeymsg.key_stores.opening import open_signer
from xkeymsg.nkey import Signer
from xkeymsg.text import path_text
from xkeymsg.transport.subjects import overlap

__all__ = (
    "PREFIX",
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
    if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113 - never raises
        raise ValueError(
            f"{path_text(path)}: expected a readable regular file; use stdin for a pipe"
        )
    return path


def _taken(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.lower().startswith(_RESERVED):
        raise ValueError('expected a header name, or "*" for all; "xkm-…" is reserved')
    return name


def _header(name: str) -> str:
    if name.lower().startswith(_RESERVED):
        raise ValueError('"xkm-…" is reserved: choose another name')
    return name


Lines = Annotated[FilePath, AfterValidator(_readable)]


class SenderKeySection(KeySection):
    """The sender's own key, and its signing key."""

    signer: SignerPath | None = None
    """A file with the user's seed `SU…`, or a `.creds` file, to sign every message with."""
    signer_store: Text | None = None
    """A key store with that key instead."""
    signer_match_by: Text | None = None
    """With `signer_store`: what `signer_match` is; by default, the address in the store."""
    signer_match: Text | None = None
    """With `signer_store`: which key (exact match)."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Require at most one signing key."""
        yield from super().contradictions(table)
        if "signer" in table and "signer_store" in table:
            yield "signer", "'signer' and 'signer_store' may not both be configured"
        for key in sorted({"signer_match", "signer_match_by"} & table.keys()):
            if "signer_store" not in table:
                yield key, "requires signer_store"

    def open_signer(self) -> Signer | None:
        """Return the signing key of `signer_store`, if any, as opened when the section was read.

        Raises:
            KeyStoreError: If it cannot be used.
        """
        return self.opened().signer

    def _open(self) -> OpenedKeys:
        opened = super()._open()
        if self.signer_store is not None:
            by, match = self.signer_match_by, self.signer_match
            opened.signer = open_signer(self.signer_store, match_by=by, match=match)
        return opened


class SenderRoute(Section):
    """Where messages come from, who can read them, where they go."""

    name: Name
    """The name in logs and metrics. Message ids depend on it: do not change it."""
    stdin: Flag = False
    """Read stdin, one message per line. Set exactly one of stdin, files, subject and stream."""
    files: tuple[Lines, ...] = ()
    """Read these files one after another, one message per line."""
    state: Folder | None = None
    """With `files`: a folder to record the progress in, so that the next run continues there."""
    subject: Pattern | None = None
    """A subject of `[source]` to listen on, wildcards as in NATS. With `stream`: the pattern that
    `to` refers to."""
    queue: Subject | None = None
    """With `subject` and without `stream`: a queue group, whose members share the messages."""
    stream: Name | None = None
    """A JetStream stream of `[source]` to consume."""
    durable: Name | None = None
    """With `stream`: the durable pull consumer, which workers share."""
    create_durable: Flag = False
    """With `stream`: create the durable, for `subject`, if it does not exist."""
    on_refused: Literal["keep", "terminate"] = "keep"
    """With `stream`: what to do with a message that cannot be sealed. `"keep"` retries it forever;
    `"terminate"` gives up after `attempts` and leaves it in the stream."""
    to: Text
    """The subject to seal for and publish to. `{1}` is the match of the first `*` of `subject`,
    `{>}` that of `>`, `{subject}` the whole subject; none of them may come first."""
    recipients: tuple[Text, ...] = ()
    """The recipients: names of peers, and `perm:NAME` for all holders of a permission."""
    policy: PolicyPath | None = None
    """The messages are JSON documents; this file says who may read which fields. Instead of
    `recipients`."""
    readers: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    """With `policy`: the holders of each permission, instead of `perm:NAME`."""
    numbers: Literal["float", "exact"] = "float"
    """With `policy`: `"exact"` keeps all digits of numbers with a fraction or an exponent, as
    Decimals. With `"float"`, digits may change; such numbers are counted."""
    format: Literal["xkm1", "xkv1"] = "xkm1"
    """`"xkv1"` for a single recipient that does not support xkm1: it authenticates neither
    subject nor time."""
    headers: dict[Annotated[Text, AfterValidator(_header)], str] = Field(default_factory=dict)
    """Headers to seal with each message."""
    take_headers: tuple[Annotated[Text, AfterValidator(_taken)], ...] = ("*",)
    """Headers of the source's messages to seal with them; `"*"` is all but `Nats-…`. The others are
    dropped."""
    content_type: Text | None = None
    """A media type, sealed with each message."""
    expires: Seconds | None = None
    """Seconds from sealing after which receivers refuse a message."""
    padding: Flag = False
    """Hide the exact length, at a cost of up to 12 % more bytes."""
    output: Literal["core", "jetstream"]
    """`"jetstream"`: publish to a stream and wait for its acknowledgement. `"core"`: publish to
    current subscribers and wait for the server."""
    max_in_flight: Annotated[Count, Field(le=10_000)] = 256
    """Maximum number of messages waiting for acknowledgement; at the limit, reading pauses."""
    attempts: Count = 5
    """How often to try a message from stdin, files or a subject. One from a stream is retried
    forever."""
    backoff: Seconds = 1.0
    """Seconds before the second attempt, doubled for each further one."""
    backoff_most: Seconds = 30.0
    """The longest pause between attempts, in seconds."""

    @property
    def pattern(self) -> str | None:
        """The pattern that the source's subjects match; None for lines."""
        if self.stdin or self.files:
            return None
        return self.subject or ">"

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield conflicting settings."""
        source = _source_of(table)
        if source is None:
            yield "", f"expected exactly one source: {', '.join(_SOURCES)}"
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
                yield key, f"requires {owner}, but the source is {source}"
    if source in ("stdin", "files") and "take_headers" in table:
        yield "take_headers", "lines have no headers"
    if source == "stream":
        if "durable" not in table:
            yield "durable", "missing: stream requires a durable"
        if table.get("output") == "core":
            yield "output", 'stream requires "jetstream": messages need an acknowledgement'


def _of_readers(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if ("policy" in table) == bool(table.get("recipients")):
        yield "recipients", "expected exactly one of recipients and policy"
    for key in ("readers", "numbers"):
        if key in table and "policy" not in table:
            yield key, "requires policy"
    if table.get("format") == "xkv1":
        for key in ("policy", "headers", "content_type", "expires", "padding"):
            if table.get(key):
                yield key, "not supported by xkv1"


def _of_mapping(table: Mapping[str, Any], source: str | None) -> Iterator[tuple[str, str]]:
    to, subject = table.get("to"), table.get("subject")
    if not isinstance(to, str) or not isinstance(subject, str | None) or source is None:
        return
    pattern = None if source in ("stdin", "files") else subject or ">"
    try:
        SubjectMap(pattern, to)
    except ConfigurationError as error:
        yield "to", str(error)


class SenderConfig(DaemonConfig):
    """The sender's configuration."""

    name: Name = "sender"
    key: SenderKeySection
    trust: SourcesSection
    source: PlainNatsSection | None = None
    route: Annotated[tuple[SenderRoute, ...], Field(min_length=1)]

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield conflicting settings."""
        yield from rotation_faults(table)
        routes = table.get("route")
        if not isinstance(routes, list):
            return
        named = [each for each in routes if isinstance(each, Mapping)]
        yield from repeated_names(named)
        if sum(each.get("stdin") is True for each in named) > 1:
            yield "route", "more than one route reads stdin"
        remote = any(_source_of(each) in ("subject", "stream") for each in named)
        if remote and "source" not in table:
            yield "source", "missing: the server to read subject and stream from"
        if "source" in table and not remote:
            yield "source", "no route reads from it"
        yield from _circles(table, named)


def _circles(
    table: Mapping[str, Any], routes: list[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield the routes that would receive messages sent by a route of the same file."""
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
                    f"{taker.get('name')!r} would receive the messages that {giver.get('name')!r}"
                    " sends to the same server",
                )


def _pattern_of(route: Mapping[str, Any]) -> str | None:
    source, to, subject = _source_of(route), route.get("to"), route.get("subject")
    if source is None or not isinstance(to, str) or not isinstance(subject, str | None):
        return None
    try:
        return SubjectMap(None if source in ("stdin", "files") else subject or ">", to).pattern
    except ConfigurationError:
        return None


class _SenderKeyTable(Section):
    key: SenderKeySection


def load(path: Path, environ: Mapping[str, str] | None = None) -> SenderConfig:
    """Read the sender's configuration file.

    Raises:
        ConfigurationError: If it is invalid; the error has one line per fault.
    """
    given = os.environ if environ is None else environ
    config = load_config(SenderConfig, path, prefix=PREFIX, environ=given)
    again = partial(load_config, _SenderKeyTable, path, prefix=PREFIX, environ=given, part=True)
    config.key.reread_with(lambda: again().key)
    return config
