"""The reference opens what it seals, and follows the numbers of the specification."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.cases import for_each
from tests.reference import (
    Inputs,
    Limits,
    Mapped,
    Opened,
    Part,
    Reader,
    Recipient,
    RefusalError,
    Trust,
    Verdict,
    crypto,
    ed25519,
    open_envelope,
    seal_envelope,
)
from tests.reference.accumulated import CASES, COUNT, HASHES, cases
from tests.reference.content import MessageArray, pad
from tests.reference.seal import length, merge, view_grants

SPEC = (Path(__file__).parent.parent.parent / "docs/spec/envelope.md").read_text()
NOW = 1767225600000
S, R, SEED = b"s" * 32, b"r" * 32, b"a" * 32
ALICE = crypto.pub(S)
IDENTITY = ed25519.public(SEED)


def inputs(**changes: object) -> Inputs:
    """Return the inputs of the smallest envelope, with changes."""
    smallest = Inputs(
        s=S,
        e=b"e" * 32,
        nonce=b"\x00\x00\x00\x01" + b"n" * 8,
        created_ms=NOW,
        subject="a",
        recipients=(Recipient(R=crypto.pub(R)),),
        parts=(Part(0, b""),),
        content_keys=tuple(bytes([j + 1]) * 32 for j in range(65)),
        view_keys=tuple(bytes([v]) * 32 for v in range(256)),
    )
    return replace(smallest, **changes)  # type: ignore[arg-type]


def opened(data: bytes, now: int = NOW, **options: object) -> Opened:
    return open_envelope(data, Reader(keys=(R,), **options), now=now)  # type: ignore[arg-type]


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(RefusalError) as caught:
        attempt()
    return f"{caught.value.code} {caught.value.rule}"


def expected_length(given: Inputs) -> int:
    recipients = merge(given.recipients, given.parts)
    grants = view_grants(recipients) if len(given.parts) > 1 else []
    return length(
        n=len(recipients),
        head=len(given.head.encode()),
        views=[48 + 33 * len(view) for view in grants],
        parts=[49 + len(part.plaintext) for part in given.parts],
        signature=64 if given.signing_seed else 0,
    )


def open_all(secrets: dict[bytes, bytes], given: Inputs, envelope: bytes) -> None:
    """Check that every recipient opens its granted parts."""
    kind: Literal["payload", "document"] = (
        "document" if given.parts[0].type % 16 == 1 else "payload"
    )
    for one in given.recipients:
        reader = Reader(keys=(secrets[one.R],), user=one.U, kind=kind)
        result = open_envelope(envelope, reader, now=given.created_ms)
        assert result.head == given.head
        assert result.parts_withheld == len(given.parts) - len(one.grants)
        for j, content in result.fields:
            part = given.parts[j]
            assert j in one.grants
            assert part.plaintext[: len(content)] == content
        if result.payload:
            assert result.payload in given.parts[0].plaintext


def test_accumulated() -> None:
    digest = hashlib.sha256()
    count = 0
    for count, (world, given) in enumerate(cases(), 1):
        envelope = seal_envelope(given)
        digest.update(envelope)
        assert len(envelope) == expected_length(given)
        if count % 50 == 0:
            open_all(dict(zip(world.R, world.r, strict=True)), given, envelope)
    assert count == COUNT
    assert digest.hexdigest() == HASHES[COUNT]


def test_the_specification_states_the_accumulated_hash() -> None:
    assert re.findall(r"accumulated-sha256: (\w+)", SPEC) == [HASHES[CASES]]


def test_the_smallest_envelope_is_laid_out_as_shown() -> None:
    envelope = seal_envelope(inputs())
    assert len(envelope) == 221
    assert envelope[:7] == b"xkm1\x96\xc4\x62"
    assert envelope[105:107] == b"\xc4\x08"
    assert envelope[115:120] == b"\x90\x91\xc4\x31\x00"
    assert envelope[168:172] == b"\xc4\x00\xc4\x31"


def test_nothing_is_longer_than_stated() -> None:
    assert "615,848" in SPEC
    longest = length(n=1024, head=402, views=[2160] * 256, parts=[49] * 64, signature=64)
    assert longest == 615_848


def test_the_head_has_the_stated_lengths() -> None:
    assert len(inputs().head.encode()) == 98
    full = inputs(
        subject="s" * 255, revision=2**53 - 1, identity=IDENTITY, expires_ms=2**53 - 1
    ).head
    assert len(full.encode()) == 402
    orders = replace(inputs().head, subject="orders").encode()
    assert len(orders) == 103
    assert orders.endswith(bytes.fromhex("cf0000019b76daa800 a66f7264657273 93c0c0c0"))


def test_a_message_with_everything_comes_back() -> None:
    message = MessageArray("text/plain", (("A", "b"), ("A", "b")))
    given = inputs(
        parts=(Part(18, pad(message.encode() + b"hi", 5)),),
        revision=7,
        identity=IDENTITY,
        expires_ms=NOW + 1,
        signing_seed=SEED,
    )
    result = opened(
        seal_envelope(given), admission=Mapped({ALICE: IDENTITY}), require_signature=True
    )
    assert (result.content_type, result.headers, result.payload) == (*message, b"hi")
    assert (result.signed, result.identity, result.admitted) == (True, IDENTITY, True)


def test_a_reader_gets_its_parts_only() -> None:
    reader, other = crypto.pub(R), crypto.pub(b"q" * 32)
    given = inputs(
        parts=(Part(1, b"zero"), Part(1, b"one"), Part(3, MessageArray().encode())),
        recipients=(
            Recipient(R=other, grants=frozenset({0, 1, 2})),
            Recipient(R=reader, grants=frozenset({1, 2})),
        ),
    )
    result = opened(seal_envelope(given), kind="parts")
    assert result.fields == ((1, b"one"),)
    assert (result.parts_withheld, result.recipients) == (1, 2)


def test_no_byte_can_be_changed_added_or_removed() -> None:
    envelope = seal_envelope(inputs(parts=(Part(0, b"hi"),)))
    changed = [
        envelope[:at] + bytes([envelope[at] ^ bit]) + envelope[at + 1 :]
        for at in range(len(envelope))
        for bit in (0x01, 0x80)
    ]
    changed += [envelope[:end] for end in range(len(envelope))]
    changed += [envelope[:at] + b"\x00" + envelope[at:] for at in range(len(envelope) + 1)]
    for data in changed:
        with pytest.raises(RefusalError):
            opened(data)


def test_a_sealer_merges_recipients_and_drops_those_without_fields() -> None:
    key, other = crypto.pub(R), crypto.pub(b"q" * 32)
    parts = (Part(1, b""), Part(1, b""), Part(3, MessageArray().encode()))
    kept = merge(
        (
            Recipient(R=key, grants=frozenset({0})),
            Recipient(R=other, grants=frozenset({2})),
            Recipient(R=key, grants=frozenset({1})),
        ),
        parts,
    )
    assert kept == [Recipient(R=key, grants=frozenset({0, 1}))]
    with pytest.raises(RefusalError, match="E-31"):
        merge((Recipient(R=other, grants=frozenset({2})),), parts)


@for_each("key", [*crypto.LOW_ORDER, b"\xee" + b"\xff" * 31, b"\xff" * 32])
def test_a_sealer_refuses_a_recipient_that_is_not_sound(key: bytes) -> None:
    given = inputs(recipients=(Recipient(R=key),))
    assert refusal(lambda: seal_envelope(given)) == "bad_key E-1"


@for_each(
    ("changes", "expected"),
    [
        ({"subject": "a..b"}, "malformed E-20"),
        ({"subject": "s" * 256}, "limit_exceeded E-16"),
        ({"nonce": bytes(12)}, "malformed E-19"),
        ({"created_ms": 2**53}, "malformed E-19"),
        ({"expires_ms": NOW}, "expired E-9"),
        ({"signing_seed": SEED}, "malformed E-50"),
        ({"parts": (Part(3, b""),)}, "malformed E-48"),
        ({"parts": (Part(1, b""),) * 65}, "limit_exceeded E-45"),
        ({"parts": (Part(4, b""),)}, "unsupported_version E-47"),
    ],
)
def test_a_sealer_refuses_what_a_reader_would(changes: dict[str, object], expected: str) -> None:
    many = Recipient(R=crypto.pub(R), grants=frozenset(range(64)))
    given = inputs(**({"recipients": (many,)} if "parts" in changes else {}), **changes)
    assert refusal(lambda: seal_envelope(given)) == expected


def test_a_zero_shared_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = seal_envelope(inputs())
    monkeypatch.setattr(crypto, "x25519", lambda k, u: crypto.ZERO32)
    assert refusal(lambda: opened(envelope)) == "bad_key E-2"
    fresh = inputs(s=b"t" * 32)
    assert refusal(lambda: seal_envelope(fresh)) == "bad_key E-2"


def test_a_zero_shared_secret_with_the_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = seal_envelope(inputs())
    real, e_public = crypto.x25519, inputs().head.E
    monkeypatch.setattr(
        crypto, "x25519", lambda k, u: crypto.ZERO32 if u == e_public else real(k, u)
    )
    assert refusal(lambda: opened(envelope)) == "bad_key E-2"


def test_a_reader_without_an_own_key_in_the_tags_multiplies_nothing_with_e(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """E-36."""
    envelope = seal_envelope(inputs())
    real, multiplied = crypto.x25519, []

    def spy(k: bytes, u: bytes) -> bytes:
        multiplied.append(u)
        return real(k, u)

    monkeypatch.setattr(crypto, "x25519", spy)
    stranger = Reader(keys=(b"q" * 32, b"p" * 32))
    assert refusal(lambda: open_envelope(envelope, stranger, now=NOW)) == "not_a_recipient E-35"
    assert multiplied == [ALICE, ALICE]


def test_trust_decides_for_the_sealed_subject() -> None:
    envelope = seal_envelope(inputs())
    trust = Trust(lambda s, subject: Verdict() if subject == "b" else None)
    assert refusal(lambda: opened(envelope, admission=trust)) == "sender_not_admitted E-62"


def test_trust_that_knows_of_signing_demands_it() -> None:
    envelope = seal_envelope(inputs(identity=IDENTITY, signing_seed=SEED))
    signs = Trust(lambda s, subject: Verdict(users=frozenset({IDENTITY}), signs=True))
    assert opened(envelope, admission=signs).signed
    unknown = Trust(lambda s, subject: Verdict(signs=True))
    assert refusal(lambda: opened(envelope, admission=unknown)) == "signature_missing E-66"


def test_to_demand_signatures_of_anyone_is_an_error_of_configuration() -> None:
    with pytest.raises(ValueError, match="E-66"):
        Reader(keys=(R,), require_signature=True)


def test_a_limit_of_the_format_can_be_lowered() -> None:
    envelope = seal_envelope(inputs(subject="abc"))
    low = Limits(subject=2)
    assert refusal(lambda: opened(envelope, limits=low)) == "limit_exceeded E-16"
