"""Opening: the sixteen steps of the spec's opening order, one or more in each function."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from tests.reference import crypto, ed25519
from tests.reference.admission import Admission, Anyone, Verdict
from tests.reference.body import Body, check_index, open_part, open_view, read_body
from tests.reference.content import Content, Headers, read_content
from tests.reference.encoding import Cursor, Limit, header
from tests.reference.fields_join import join_pairs
from tests.reference.fields_model import Document, FieldLimits, FieldsRefusalError
from tests.reference.fields_read import read_parts
from tests.reference.head import Head, read_head, read_magic
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError
from tests.reference.replay import FileMemory, Memory, Position
from tests.reference.seal import NO_USER
from tests.reference.subject import matches

ANYONE: Final = Anyone()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The reader: its keys, and what it accepts."""

    keys: tuple[bytes, ...]
    """The own secret keys r: active ones first, then retired ones."""
    user: bytes | None = None
    zero_user: bool = True
    admission: Admission = ANYONE
    subjects: tuple[str, ...] = (">",)
    kind: Literal["payload", "document", "parts"] = "payload"
    """`parts` opens a document, but does not parse its fields."""
    require_signature: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.require_signature and not self.admission.can_demand_signatures:
            raise ValueError("requiring signatures needs known user keys (E-66)")

    @property
    def users(self) -> list[bytes]:
        """Return the U to try for each key, in order (spec, Finding the wrap of the reader)."""
        if self.user is None:
            return [NO_USER]
        return [self.user, NO_USER] if self.zero_user else [self.user]


class Wraps(NamedTuple):
    """Offsets: p after the tags, q and c before and after the header of wraps."""

    tags: list[bytes]
    p: int
    q: int
    c: int


class Candidate(NamedTuple):
    r: bytes
    R: bytes
    U: bytes
    auth_key: bytes
    position: int


@dataclass(frozen=True, slots=True)
class Found:
    """The wrap that opened."""

    candidate: Candidate
    index: int
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The result released in step 16."""

    head: Head
    admitted: bool
    signed: bool
    identity: bytes | None
    """The user key of the sender; None if none is known for S (E-65)."""
    R: bytes
    U: bytes
    message_id: bytes
    digest: bytes
    """D, for comparing messages across receivers."""
    content_type: str | None
    headers: Headers
    payload: bytes | None
    fields: tuple[tuple[int, bytes], ...]
    """Of a document: position and content of each granted part of type 1."""
    recipients: int
    parts_withheld: int
    document: Document
    """The joined fields; None for a payload, and for `parts`."""

    @property
    def content(self) -> bytes:
        """The payload, or the granted contents of type 1, joined, as in the vectors."""
        if self.payload is not None:
            return self.payload
        return b"".join(content for _, content in self.fields)


def open_envelope(
    data: bytes,
    reader: Reader,
    *,
    now: int,
    memory: Memory | None = None,
    position: Position | None = None,
    wire: str | None = None,
) -> Opened:
    """Perform all steps. Without a memory the policy is *file*.

    Raises:
        RefusalError: The first check that fails (E-88).
    """
    memory = FileMemory() if memory is None else memory
    if len(data) > reader.limits.envelope:
        raise RefusalError("limit_exceeded", 1, "E-10")
    read_magic(data)
    head, at = read_head(data, reader.limits)
    verdict = admit(reader, head)
    wraps = read_tags(data, at, reader.limits)
    candidates = find(reader, head, wraps)
    found = unwrap(data, head, wraps, candidates)
    body = read_body(data, wraps.p, wraps.q, head, reader.limits)
    granted = open_granted(body, head, found)
    check_subject(reader, head, wire)
    content = read_content(granted, reader.kind, reader.limits)
    document = join_fields(content) if reader.kind == "document" else None
    if head.expires_ms is not None and now >= head.expires_ms:
        raise RefusalError("expired", 13, "E-69")
    memory.fresh(head, now=now, position=position)
    digest = crypto.sha256(data[: body.d])
    signed = check_signature(reader, head, body, verdict, digest)
    memory.mark(head, admitted=verdict.admitted, now=now, position=position)
    return release(head, verdict, found, wraps, body, content, document, digest, signed)


def admit(reader: Reader, head: Head) -> Verdict:
    """Admit the sender (step 4)."""
    verdict = reader.admission.judge(head.S, head.subject)
    if verdict is None:
        raise RefusalError("sender_not_admitted", 4, "E-62")
    if verdict.users and head.identity not in verdict.users:
        raise RefusalError("sender_not_admitted", 4, "E-63")
    return verdict


def read_tags(data: bytes, at: int, limits: Limits) -> Wraps:
    """Read the tags and locate the wraps (step 5)."""
    cursor = Cursor(data, 5, at=at)
    encoded = cursor.binary(Limit(8 * limits.recipients, "E-30"))
    if not encoded or len(encoded) % 8:
        raise cursor.malformed("E-31")
    tags = [encoded[i : i + 8] for i in range(0, len(encoded), 8)]
    if any(one >= other for one, other in pairwise(tags)):
        raise cursor.malformed("E-32")
    n = len(tags)
    wraps_header = header("bin", 49 * n)
    c = len(data) - 49 * n
    q = c - len(wraps_header)
    if q < cursor.at:
        raise cursor.malformed("E-33")
    if data[q:c] != wraps_header:
        raise cursor.malformed("E-34")
    return Wraps(tags, cursor.at, q, c)


def find(reader: Reader, head: Head, wraps: Wraps) -> list[Candidate]:
    """Find the candidates (step 6)."""
    candidates = []
    for r in reader.keys:
        r_public = crypto.pub(r)
        dh_s = crypto.x25519(r, head.S)
        if dh_s == crypto.ZERO32:
            raise RefusalError("bad_key", 6, "E-2")
        for u in reader.users:
            tag_key, auth_key = crypto.pair_keys(dh_s, head.S, r_public, u)
            tag = crypto.tag_of(tag_key, head.E)
            if tag in wraps.tags:
                candidates.append(Candidate(r, r_public, u, auth_key, wraps.tags.index(tag)))
    if not candidates:
        raise RefusalError("not_a_recipient", 6, "E-35")
    return candidates


def unwrap(data: bytes, head: Head, wraps: Wraps, candidates: list[Candidate]) -> Found:
    """Verify a wrap (step 7)."""
    t = crypto.sha256(data[: wraps.c])
    for one in candidates:
        dh_e = crypto.x25519(one.r, head.E)
        if dh_e == crypto.ZERO32:
            raise RefusalError("bad_key", 7, "E-2")
        k = crypto.wrap_key(one.auth_key, dh_e, head.E, one.R)
        start = wraps.c + 49 * one.position
        text = crypto.unseal(k, head.nonce, data[start : start + 49], t)
        if text is not None:
            return Found(one, text[0], text[1:])
    raise RefusalError("authentication", 7, "E-37")


def open_granted(body: Body, head: Head, found: Found) -> list[tuple[int, int, bytes]]:
    """Perform the end of step 8, and steps 9 and 10."""
    check_index(body, found.index)
    keys = {0: found.key}
    if len(body.parts) > 1:
        keys = open_view(body, head, found.index, found.key)
    return [open_part(body, head, j, ck) for j, ck in keys.items()]


def check_subject(reader: Reader, head: Head, wire: str | None) -> None:
    """Check the subject (step 11)."""
    if not any(matches(pattern, head.subject) for pattern in reader.subjects):
        rule = "E-68" if head.subject.split(".")[0] == "_XKM" else "E-67"
        raise RefusalError("subject_mismatch", 11, rule)
    if wire is not None and wire != head.subject:
        raise RefusalError("subject_mismatch", 11, "E-67")


def join_fields(content: Content) -> Document:
    """Read and join the fields of a document (step 12, F-61)."""
    limits = FieldLimits()
    try:
        read = read_parts((plaintext for _, plaintext in content.fields), limits)
        return join_pairs((pair for part in read for pair in part), limits)
    except FieldsRefusalError as refused:
        raise RefusalError(refused.code, 12, refused.rule) from refused


def check_signature(
    reader: Reader, head: Head, body: Body, verdict: Verdict, digest: bytes
) -> bool:
    """Return whether the message is signed in the sense of E-65 (step 14)."""
    counts = bool(verdict.users and body.signature)
    if (reader.require_signature or verdict.signs) and not counts:
        raise RefusalError("signature_missing", 14, "E-66")
    if counts:
        assert head.identity is not None  # E-63
        fault = ed25519.fault(head.identity, crypto.signed_message(digest), body.signature)
        if fault is not None:
            raise RefusalError("signature_invalid", 14, fault)
    return counts


def release(
    head: Head,
    verdict: Verdict,
    found: Found,
    wraps: Wraps,
    body: Body,
    content: Content,
    document: Document,
    digest: bytes,
    signed: bool,
) -> Opened:
    """Release the message (step 16)."""
    return Opened(
        head=head,
        admitted=verdict.admitted,
        signed=signed,
        identity=head.identity if verdict.users else None,
        R=found.candidate.R,
        U=found.candidate.U,
        message_id=crypto.message_id(head.S, head.E, head.nonce),
        digest=digest,
        content_type=content.array.content_type,
        headers=content.array.headers,
        payload=content.payload,
        fields=content.fields,
        recipients=len(wraps.tags),
        parts_withheld=len(body.parts) - content.granted,
        document=document,
    )
