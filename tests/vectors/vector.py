"""A vector, and its text (spec, Test vectors). Parsing is strict: whatever is not known fails."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

NOW: Final = 1767225600000
ENVELOPE_LIMIT: Final = 8 * 1024 * 1024
REPEATED: Final = ("spec", "identity", "sender", "subject", "after")
KEYS: Final = (
    "expect",
    "outside",
    "spec",
    "comment",
    "identity",
    "user",
    "zero-user",
    "sender",
    "subject",
    "wire",
    "open",
    "require-signature",
    "now",
    "policy",
    "after",
    "limit-envelope",
    "content",
    "message-id",
    "report",
)
ALWAYS: Final = {"expect", "spec", "comment", "identity"}
BYTES_PER_LINE: Final = 40

Header = dict[str, list[str]]
Report = Mapping[str, object]
"""The reported values by name (spec, Release), as in JSON."""

REPORTED: Final = (
    "sender",
    "admitted",
    "identity",
    "signed",
    "subject",
    "created",
    "revision",
    "expires",
    "content-type",
    "headers",
    "withheld",
    "document",
)
"""Every name, in order; `document` for documents only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`file`, `live STARTED`, or `stream NAME SEQUENCE STORED_AT`."""

    kind: Literal["file", "live", "stream"] = "file"
    started: int = 0
    stream: str = ""
    sequence: int = 0
    stored_at: int = 0

    @classmethod
    def parse(cls, text: str) -> Policy:
        match text.split(" "):
            case ["file"]:
                policy = cls()
            case ["live", started]:
                policy = cls(kind="live", started=int(started))
            case ["stream", stream, sequence, stored_at]:
                policy = cls(
                    kind="stream", stream=stream, sequence=int(sequence), stored_at=int(stored_at)
                )
            case _:
                raise ValueError(f"no policy: {text}")
        if policy.text() != text:
            raise ValueError(f"no policy: {text}")
        return policy

    def text(self) -> str:
        if self.kind == "live":
            return f"live {self.started}"
        if self.kind == "stream":
            return f"stream {self.stream} {self.sequence} {self.stored_at}"
        return "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One scenario: an envelope, a reader, and what has to come of it. Keys are nkey strings."""

    name: str
    envelope: bytes
    expect: str
    outside: str | None = None
    spec: tuple[str, ...]
    comment: str
    identity: tuple[str, ...]
    user: str | None = None
    zero_user: bool = True
    sender: tuple[str, ...] = ()
    """`X…`, or `X… U…` if a user is known for it; none at all is ANYONE."""
    subject: tuple[str, ...] = (">",)
    wire: str | None = None
    kind: Literal["payload", "document"] = "payload"
    """The key `open`."""
    require_signature: bool = False
    now: int = NOW
    policy: Policy = Policy()
    after: tuple[str, ...] = ()
    limit_envelope: int = ENVELOPE_LIMIT
    content: bytes | None = None
    message_id: bytes | None = None
    report: Report | None = None

    @property
    def is_success(self) -> bool:
        return self.expect == "success"

    def senders(self) -> list[tuple[str, list[str]]]:
        """Each admitted sender, with the users that are known for it."""
        users = dict[str, list[str]]()
        for line in self.sender:
            sender, *user = line.split(" ")
            users.setdefault(sender, []).extend(user)
        return list(users.items())

    def header(self) -> Header:
        """The keys that differ from their defaults, in the order of the specification."""
        single = {
            "expect": self.expect,
            "outside": self.outside,
            "comment": self.comment,
            "user": self.user,
            "zero-user": None if self.zero_user else "no",
            "wire": self.wire,
            "open": None if self.kind == "payload" else self.kind,
            "require-signature": "yes" if self.require_signature else None,
            "now": None if self.now == NOW else str(self.now),
            "policy": None if self.policy == Policy() else self.policy.text(),
            "limit-envelope": (
                None if self.limit_envelope == ENVELOPE_LIMIT else str(self.limit_envelope)
            ),
            "content": None if self.content is None else self.content.hex(),
            "message-id": None if self.message_id is None else self.message_id.hex(),
            "report": None if self.report is None else json.dumps(self.report),
        }
        several = {
            "spec": self.spec,
            "identity": self.identity,
            "sender": self.sender,
            "subject": () if self.subject == (">",) else self.subject,
            "after": self.after,
        }
        values: Header = {key: [value] for key, value in single.items() if value is not None}
        values |= {key: list(group) for key, group in several.items() if group}
        return {key: values[key] for key in KEYS if key in values}

    def text(self) -> str:
        lines = [
            f"{key}: {value}" if value else f"{key}:"
            for key, group in self.header().items()
            for value in group
        ]
        body = [
            self.envelope[at : at + BYTES_PER_LINE].hex()
            for at in range(0, len(self.envelope), BYTES_PER_LINE)
        ]
        return "\n".join([*lines, "", *body]) + "\n"

    def json(self) -> dict[str, object]:
        """The object in vectors/xkm1.json."""
        header = {
            key: group if key in REPEATED else group[0] for key, group in self.header().items()
        }
        report = {} if self.report is None else {"report": self.report}
        return {"name": self.name, **header, **report, "envelope": self.envelope.hex()}


def parse(name: str, text: str) -> Vector:
    """The vector in a file.

    Raises:
        ValueError: A key is unknown, missing, repeated or out of place, or a value has no meaning.
    """
    head, found, body = text.partition("\n\n")
    if not found or not text.endswith("\n"):
        raise ValueError(f"{name}: no empty line behind the header, or none at the end")
    header: Header = {}
    for line in head.split("\n"):
        match = re.fullmatch(r"([a-z-]+):(?: (\S.*))?", line)
        if match is None or match[1] not in KEYS:
            raise ValueError(f"{name}: not a header line: {line}")
        header.setdefault(match[1], []).append(match[2] or "")
    check(name, header)
    return from_header(name, header, bytes.fromhex("".join(body.split())))


def check(name: str, header: Header) -> None:
    for key, group in header.items():
        if key not in REPEATED and len(group) > 1:
            raise ValueError(f"{name}: {key} is repeated")
    opened = {"content", "message-id", "report"}
    needed = ALWAYS | (opened if header.get("expect") == ["success"] else {"outside"})
    if missing := needed - header.keys():
        raise ValueError(f"{name}: {missing} missing")
    if extra := ({*opened, "outside"} - needed) & header.keys():
        raise ValueError(f"{name}: {extra} out of place")


def report_of(text: str, kind: str) -> Report:
    report: Report = json.loads(text)
    if tuple(report) != REPORTED[: None if kind == "document" else -1]:
        raise ValueError(f"not a report: {text[:60]}")
    return report


def from_header(name: str, header: Header, envelope: bytes) -> Vector:
    one = {key: group[0] for key, group in header.items()}
    kinds: dict[str, Literal["payload", "document"]] = {
        "payload": "payload",
        "document": "document",
    }
    yes = {"yes": True, "no": False}
    try:
        return Vector(
            name=name,
            envelope=envelope,
            expect=one["expect"],
            outside=one.get("outside"),
            spec=tuple(header["spec"]),
            comment=one["comment"],
            identity=tuple(header["identity"]),
            user=one.get("user"),
            zero_user=yes[one.get("zero-user", "yes")],
            sender=tuple(header.get("sender", ())),
            subject=tuple(header.get("subject", (">",))),
            wire=one.get("wire"),
            kind=kinds[one.get("open", "payload")],
            require_signature=yes[one.get("require-signature", "no")],
            now=int(one.get("now", NOW)),
            policy=Policy.parse(one.get("policy", "file")),
            after=tuple(header.get("after", ())),
            limit_envelope=int(one.get("limit-envelope", ENVELOPE_LIMIT)),
            content=bytes.fromhex(one["content"]) if "content" in one else None,
            message_id=bytes.fromhex(one["message-id"]) if "message-id" in one else None,
            report=report_of(one["report"], one.get("open", "payload"))
            if "report" in one
            else None,
        )
    except KeyError as unknown:
        raise ValueError(f"{name}: {unknown} is no value here") from None
