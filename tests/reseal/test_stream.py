"""`reseal_stream`: what copies are, what is skipped and refused, and that each is made once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any, NoReturn

import pytest

from tests.cases import for_each
from tests.reseal.conftest import (
    ALICE,
    CAROL,
    DAVE,
    EVE,
    PAIRS,
    PEERS,
    RITA,
    Place,
    everything,
    opened,
)
from tests.running import until
from xkeymsg import (
    ANYONE,
    WITHHELD,
    ConfigurationError,
    ConflictError,
    DeliveryError,
    NotARecipientError,
    Opener,
    Policy,
    Sealer,
    SenderNotAdmittedError,
    SubjectMismatchError,
    View,
    connect,
    reseal_stream,
)
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.client.outgoing import Room
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.envelope.plan import Planner
from xkeymsg.limits import AtRest
from xkeymsg.origins import RESEALED
from xkeymsg.reseal import run
from xkeymsg.reseal.copier import Copier
from xkeymsg.testing.pytest_plugin import peers_of
from xkeymsg.trust.stores.file import lock_file


def copier_of() -> Copier:
    return Copier(Core(RITA, PEERS, {}), [CAROL.public])


def target(**more: object) -> dict[str, object]:
    return {
        "name": "COPIES",
        "subjects": ["reseal.COPIES.>"],
        "subject_transform": {"src": "reseal.COPIES.>", "dest": ">"},
    } | more


async def test_a_new_recipient_reads_copies_from_the_resealer(place: Place) -> None:
    """R-2."""
    await place.fill(3)
    report = await place.reseal()
    assert (report.read, report.resealed, report.skipped, report.refused) == (3, 3, {}, {})
    stored = await place.stored()
    assert [each.subject for each in stored] == ["orders.new"] * 3
    for number, (copy, original) in enumerate(
        zip(stored, await place.stored("ORDERS"), strict=True)
    ):
        message = opened(copy.data)
        first = opened(original.data, RITA, ALICE.public)
        assert (message.data, message.sender, message.subject) == (
            b"%d" % number,
            RITA.public,
            "orders.new",
        )
        assert message.resealed is not None
        [origin] = message.resealed.origins
        assert (origin.sender, origin.message_id) == (ALICE.public, first.message_id)
        assert origin.created_ms == round(first.created.timestamp() * 1000)
        assert first.resealed is None


async def test_a_consumer_of_the_copies_gets_them_and_what_was_resealed(place: Place) -> None:
    """R-2, R-9."""
    await place.fill(2)
    await place.store(
        place.seal(b"x", "orders.b", headers={"A": "1"}, content_type="t/p"), "orders.b"
    )
    await place.reseal()
    await create_quarantine(place.api, "XKM_UNPROVEN", "XKM_PROVEN")
    got: list[Any] = []

    async def take(message: Any) -> None:
        got.append(message)

    async with connect(place.server.url, key=CAROL, trust=PEERS) as carol:
        consumer = carol.js.consume("COPIES", "d", take, match_wire=True, create=DurableOptions())
        async with consumer:
            await until(lambda: len(got) == 3)
    assert [message.data for message in got] == [b"0", b"1", b"x"]
    assert {str(message.resealed.by) for message in got} == {str(RITA.public)}
    assert (got[2].subject, got[2].headers.pairs, got[2].content_type) == (
        "orders.b",
        (("A", "1"),),
        "t/p",
    )


async def test_a_replayed_or_moved_copy_is_not_handled_again(place: Place) -> None:
    await place.fill(1)
    await place.reseal()
    [copy] = await place.stored()
    headers = {"Nats-Msg-Id": "another"}
    await place.store(copy.data, "reseal.COPIES.orders.new", headers=headers)
    await place.store(copy.data, "reseal.COPIES.orders.other")
    await create_quarantine(place.api, "XKM_UNPROVEN", "XKM_PROVEN")
    got: list[Any] = []
    kinds: list[str] = []

    async def take(message: Any) -> None:
        got.append(message)

    async with connect(place.server.url, key=CAROL, trust=PEERS) as carol:
        consumer = carol.js.consume(
            "COPIES",
            "d",
            take,
            create=DurableOptions(),
            on_event=lambda event: kinds.append(event.kind),
        )
        async with consumer:
            await until(lambda: kinds.count("drop") == 2)
    assert [message.subject for message in got] == ["orders.new"]
    again = await place.reseal(stream="COPIES", into="MORE", ledger=place.folder / "second")
    assert (again.resealed, again.skipped) == (1, {"copy": 2})


async def test_the_original_sender_is_never_the_sender_of_a_copy(place: Place) -> None:
    """R-6."""
    await place.fill(1)
    await place.reseal()
    [copy] = await place.stored()
    with pytest.raises(SenderNotAdmittedError):
        opened(copy.data, CAROL, ALICE.public)


async def test_another_recipient_and_a_removed_one_do_not_read_copies(place: Place) -> None:
    await place.store(place.sealer.seal(b"x", to=[RITA.public, DAVE.public], subject="orders.new"))
    await place.reseal(to=["carol"])
    [copy] = await place.stored()
    for reader in (DAVE, ALICE, EVE):
        with pytest.raises(NotARecipientError):
            opened(copy.data, reader)
    [original] = await place.stored("ORDERS")
    assert opened(original.data, DAVE, ALICE.public).data == b"x"  # the original stays


async def test_a_claim_of_another_sender_is_shown_as_the_word_of_its_resealer() -> None:
    """R-6."""
    claim = (RESEALED, f"{ALICE.public} {'A' * 22} 1767225600000 0")
    forged = Sealer(EVE).seal(
        b"x", to=[CAROL.public], subject="a", headers=TransportHeaders([claim])
    )
    message = opened(forged, CAROL, EVE.public)
    assert (message.sender, message.signer) == (EVE.public, None)
    assert message.resealed is not None
    assert message.resealed.by == EVE.public
    assert str(message.resealed).startswith(f"resealed by {EVE.public}, which says: message ")
    with pytest.raises(SenderNotAdmittedError):
        opened(forged, CAROL, ALICE.public)


@for_each("name", ["xkm-resealed", "XKM-Resealed", "Xkm-resealed"])
def test_an_application_cannot_seal_a_claim(name: str) -> None:
    """R-8."""
    with pytest.raises(Exception, match="reserved"):
        Sealer(EVE).seal(b"x", to=[CAROL.public], subject="a", headers={name: "x"})


@for_each(
    "claim",
    [
        "",
        "x",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 1767225600000",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 1767225600000 0 ",
        "KEY AAAAAAAAAAAAAAAAAAAAAB 1767225600000 0",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 01767225600000 0",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 1 0",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 9999999999999999 0",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 1767225600000 00",
        "BAD AAAAAAAAAAAAAAAAAAAAAA 1767225600000 0",
        "KEY  AAAAAAAAAAAAAAAAAAAAAA 1767225600000 0",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 1767225600000 0\n",
        "KEY AAAAAAAAAAAAAAAAAAAAAA 176722560000\u0660 0",
    ],
)
def test_an_invalid_claim_names_no_original(claim: str) -> None:
    key = str(ALICE.public)
    other = "A" if key[-1] != "A" else "B"
    claim = claim.replace("KEY", key).replace("BAD", key[:-1] + other)
    sealed = Sealer(EVE).seal(
        b"x", to=[CAROL.public], subject="a", headers=TransportHeaders([(RESEALED, claim)])
    )
    message = opened(sealed, CAROL, EVE.public)
    assert message.resealed is not None
    assert (message.resealed.by, message.resealed.origins) == (EVE.public, ())
    assert "invalid" in str(message.resealed)


def test_too_many_claims_name_no_original() -> None:
    """R-7."""
    claim = (RESEALED, f"{ALICE.public} {'A' * 22} 1767225600000 0")
    for count, known in ((8, 8), (9, 0), (500, 0)):
        sealed = Sealer(EVE).seal(
            b"x", to=[CAROL.public], subject="a", headers=TransportHeaders([claim] * count)
        )
        resealed = opened(sealed, CAROL, EVE.public).resealed
        assert resealed is not None
        assert len(resealed.origins) == known


async def test_a_reseal_of_a_reseal_names_both(place: Place) -> None:
    await place.fill(1)
    await place.reseal()
    async with connect(place.server.url, key=CAROL, trust=PEERS) as carol:
        report = await reseal_stream(
            carol, "COPIES", into="MORE", to="dave", create=True, ledger=place.folder / "second"
        )
    assert report.resealed == 1
    [copy] = await place.stored("MORE")
    message = opened(copy.data, DAVE, CAROL.public)
    assert message.resealed is not None
    assert message.resealed.by == CAROL.public
    assert [each.sender for each in message.resealed.origins] == [ALICE.public, RITA.public]
    assert f"of {ALICE.public}, resealed by {RITA.public}" in str(message.resealed)


async def test_a_message_resealed_eight_times_is_refused(place: Place) -> None:
    """R-3."""
    claim = (RESEALED, f"{ALICE.public} {'A' * 22} 1767225600000 0")
    for count in (7, 8):
        await place.store(place.seal(b"x", headers=TransportHeaders([claim] * count)))
    report = await place.reseal()
    assert (report.resealed, report.refused) == (1, {"limit_exceeded": 1})


async def test_what_is_skipped_and_refused_is_counted_by_reason(place: Place) -> None:
    """R-1."""
    refused: list[tuple[int, str]] = []
    await place.fill(1)
    twice = place.seal(b"twice")
    await place.store(twice)
    await place.store(twice, headers={"Nats-Msg-Id": "another"})
    await place.store(Sealer(ALICE).seal(b"x", to=[CAROL.public], subject="orders.new"))
    await place.store(Sealer(EVE).seal(b"x", to=[RITA.public], subject="orders.new"))
    await place.store(b"plain")
    altered = bytearray(place.seal(b"altered"))
    altered[-1] ^= 1
    await place.store(bytes(altered))
    report = await place.reseal(on_refused=lambda at, error: refused.append((at, error.code)))
    assert report.resealed == 2
    assert report.skipped == {"copy": 1, "not_a_recipient": 1}
    assert report.refused == {"sender_not_admitted": 1, "malformed": 1, "authentication": 1}
    assert report.read == 7
    assert refused == [(5, "sender_not_admitted"), (6, "malformed"), (7, "authentication")]


async def test_reply_headers_are_not_copied(place: Place) -> None:
    """R-2."""
    headers = TransportHeaders(
        [("A", "1"), ("xkm-reply-to", "_INBOX.x"), ("XKM-reply-key", "k"), ("A", "2")]
    )
    await place.store(place.seal(b"x", headers=headers))
    await place.reseal()
    [copy] = await place.stored()
    names = [name for name, _ in opened(copy.data).headers.pairs]
    assert names == ["xkm-resealed", "xkm-reseal-job", "A", "A"]


async def test_a_message_moved_to_another_subject_keeps_its_sealed_one(place: Place) -> None:
    await place.store(place.seal(b"x", "orders.mine"), "orders.other")
    await place.reseal()
    [copy] = await place.stored()
    assert copy.subject == "orders.mine"
    with pytest.raises(SubjectMismatchError):
        Opener(CAROL, {RITA.public}, replay=AtRest()).open(copy.data, subject="orders.other")


async def test_an_old_message_that_is_stored_again_is_stale(place: Place) -> None:
    envelope = place.seal(b"x")
    await asyncio.sleep(0.2)
    await place.store(envelope)
    report = await place.reseal(max_age=0.1)
    assert (report.resealed, report.refused) == (0, {"stale": 1})


async def test_an_expiry_is_kept_and_never_later(place: Place) -> None:
    """R-4."""
    await place.store(place.seal(b"x", expires=3600))
    await place.reseal()
    [copy], [original] = await place.stored(), await place.stored("ORDERS")
    before, after = opened(original.data, RITA, ALICE.public).expires, opened(copy.data).expires
    assert before is not None
    assert after is not None
    assert 0 <= (before - after).total_seconds() < 60


async def test_an_expiry_is_never_later_if_sealing_takes_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-4."""
    message = opened(place.seal(b"x", expires=3600), RITA, ALICE.public)
    copier = copier_of()
    payload = Planner.payload

    def slow(*arguments: Any) -> Any:
        time.sleep(0.05)
        return payload(*arguments)

    monkeypatch.setattr(Planner, "payload", slow)
    copy = opened(copier.seal(message, Room(0, 0)))
    assert copy.expires is not None
    assert message.expires is not None
    assert 0 <= (message.expires - copy.expires).total_seconds() < 60


async def test_refused_messages_are_copied_without_the_ledger_once_the_sender_is_a_peer(
    place: Place,
) -> None:
    await place.fill(2)
    await place.store(Sealer(EVE).seal(b"2", to=[RITA.public], subject="orders.new"))
    assert (await place.reseal()).refused == {"sender_not_admitted": 1}
    await place.fill(1, since=3)
    (place.folder / "ledger").unlink()
    peers = peers_of(PAIRS | {"eve": EVE})
    async with connect(place.server.url, key=RITA, trust=peers) as client:
        report = await reseal_stream(
            client, "ORDERS", into="COPIES", to="carol", ledger=place.folder / "ledger"
        )
    assert (report.read, report.resealed, report.refused) == (4, 4, {})
    assert sorted(opened(each.data).data for each in await place.stored()) == [
        b"0", b"1", b"2", b"3",
    ]  # fmt: skip


async def test_a_second_call_reads_what_is_new(place: Place) -> None:
    names = await place.fill(3)
    await place.reseal()
    names += await place.fill(2, since=3)
    report = await place.reseal(create=False)
    assert (report.read, report.resealed) == (5, 5)
    assert await place.ids() == names


async def test_a_later_call_reads_from_where_the_first_one_began(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, messages that the first call did not reach would be left out."""
    await place.fill(2)
    with monkeypatch.context() as patched:
        patched.setattr(StreamPublisher, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await place.reseal(since=600)
    monkeypatch.setattr(run, "now_ns", lambda: time.time_ns() + 10**12)
    assert (await place.reseal(since=600)).resealed == 2


async def interrupted(*_: Any, **__: Any) -> NoReturn:
    raise KeyboardInterrupt


async def test_a_copy_stored_after_the_first_call_is_not_resealed_again(place: Place) -> None:
    envelope = place.seal(b"x")
    await place.store(envelope)
    await place.reseal()
    await place.store(envelope, headers={"Nats-Msg-Id": "another"})
    report = await place.reseal()
    assert (report.resealed, report.skipped) == (1, {"copy": 1})


async def test_copies_that_the_ledger_does_not_know_are_not_made_again(place: Place) -> None:
    names = await place.fill(5)
    await place.reseal()
    saved = json.loads((place.folder / "ledger").read_text())
    (place.folder / "ledger").unlink()
    report = await place.reseal()
    assert (report.read, report.resealed) == (5, 5)
    assert await place.ids() == names
    again = json.loads((place.folder / "ledger").read_text())
    assert again == saved


async def test_no_duplicate_window_is_needed_to_resume(place: Place) -> None:
    await place.api.request("STREAM.CREATE.COPIES", target(duplicate_window=10**8))
    names = await place.fill(3)
    await place.reseal()
    (place.folder / "ledger").unlink()
    await asyncio.sleep(0.5)
    names += await place.fill(2, since=3)
    report = await place.reseal()
    assert (report.read, report.resealed) == (5, 5)
    assert await place.ids() == names


async def test_copies_whose_originals_are_gone_are_counted_once(place: Place) -> None:
    await place.fill(4)
    await place.reseal()
    (place.folder / "ledger").unlink()
    await place.api.delete_message("ORDERS", 2)
    for _ in range(2):
        report = await place.reseal()
        assert (report.read, report.resealed) == (4, 4)


async def test_another_message_under_the_id_of_a_copy_is_an_alarm(place: Place) -> None:
    [name] = await place.fill(1)
    await place.reseal(to="carol", stream="ORDERS", subject="nothing.here")  # makes the stream
    headers = {"Nats-Msg-Id": f"reseal.{name}.{RITA.public}"}
    forged = Sealer(EVE).seal(b"x", to=[RITA.public], subject="orders.new")
    await place.store(forged, "reseal.COPIES.orders.new", headers=headers)
    with pytest.raises(ConflictError, match="only resealers"):
        await place.reseal(ledger=place.folder / "second")


async def test_a_copy_for_other_recipients_hides_no_original(place: Place) -> None:
    """R-10: a publisher to the target puts our own copies of another target there."""
    await place.api.request("STREAM.CREATE.COPIES", target(duplicate_window=10**8))
    await place.fill(3)
    await place.reseal(into="OTHERS", to="dave", ledger=place.folder / "others")
    for copy in await place.stored("OTHERS"):
        await place.store(copy.data, f"reseal.COPIES.{copy.subject}", dict(copy.headers))
    await asyncio.sleep(0.5)
    report = await place.reseal()
    assert report.resealed == 3
    assert [opened(each.data).data for each in (await place.stored())[3:]] == [b"0", b"1", b"2"]


async def test_copies_for_other_recipients_do_not_count(place: Place) -> None:
    """R-10: the operator has used another ledger, and the same target."""
    await place.api.request("STREAM.CREATE.COPIES", target(duplicate_window=10**8))
    await place.fill(2)
    await place.reseal(to="dave")
    await asyncio.sleep(0.5)
    report = await place.reseal(ledger=place.folder / "second")
    assert report.resealed == 2
    assert [opened(each.data).data for each in (await place.stored())[2:]] == [b"0", b"1"]


async def test_a_copy_for_other_recipients_within_the_window_is_an_alarm(place: Place) -> None:
    await place.fill(1)
    await place.reseal(to="dave")
    with pytest.raises(ConflictError, match="other recipients"):
        await place.reseal(ledger=place.folder / "second")


async def test_a_foreign_message_in_the_target_hides_no_original(place: Place) -> None:
    [name] = await place.fill(1)
    await place.reseal(subject="nothing.here")
    headers = {"Nats-Msg-Id": f"reseal.{name}x.{RITA.public}"}
    own = Sealer(RITA).seal(b"no claim", to=[RITA.public], subject="orders.new")
    await place.store(own, "reseal.COPIES.orders.new", headers=headers)
    report = await place.reseal(ledger=place.folder / "second")
    assert report.resealed == 1


@pytest.mark.parametrize("documents", ["refuse", "part"])
async def test_of_a_document_only_the_own_part_is_resealed_on_demand(
    place: Place, documents: Any
) -> None:
    policy = [("/name", ["desk", "ward"]), ("/blood", ["ward"])]
    sealed = place.sealer.seal_document(
        {"name": "Ann", "blood": "AB"},
        policy=Policy(policy),
        readers={"desk": [RITA.public], "ward": [DAVE.public]},
        subject="orders.new",
    )
    await place.store(sealed)
    report = await place.reseal(documents=documents)
    if documents == "refuse":
        assert report.refused == {"content_type": 1}
        return
    [copy] = await place.stored()
    view = Opener(CAROL, {RITA.public}, replay=AtRest()).open_document(copy.data, subject=">")
    assert isinstance(view, View)
    assert view.document == {"name": "Ann"}
    assert view.resealed is not None
    assert view.resealed.origins[0].withheld == 1
    assert (await place.reseal(documents=documents)).resealed == 1


async def test_a_document_with_withheld_items_is_refused(place: Place) -> None:
    """R-5."""
    sealed = place.sealer.seal_document(
        {"list": [1, 2]},
        policy=Policy([("/list/0", ["ward"]), ("/list/*", ["desk"])]),
        readers={"desk": [RITA.public], "ward": [DAVE.public]},
        subject="orders.new",
    )
    view = Opener(RITA, {ALICE.public}).open_document(sealed, subject=">")
    assert view.document == {"list": [WITHHELD, 2]}
    await place.store(sealed)
    report = await place.reseal(documents="part")
    assert report.refused == {"content_type": 1}


async def test_anyone_as_trust_is_refused(place: Place) -> None:
    async with connect(place.server.url, key=RITA, trust=ANYONE) as client:
        with pytest.raises(ConfigurationError, match="vouches"):
            await reseal_stream(
                client, "ORDERS", into="COPIES", to=CAROL.public, ledger=place.folder / "l"
            )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"to": "dave"}, "recipients differs; use another ledger, and another target stream"),
        ({"subject": "orders.*"}, "subject differs"),
        ({"into": "OTHERS"}, "target differs"),
    ],
)
async def test_a_ledger_belongs_to_one_reseal(
    place: Place, change: dict[str, str], text: str
) -> None:
    await place.fill(1)
    await place.reseal()
    with pytest.raises(ConfigurationError, match=text):
        await place.reseal(**change)


async def test_a_stream_that_was_made_again_is_another_one(place: Place) -> None:
    await place.fill(1)
    await place.reseal()
    await place.api.request("STREAM.DELETE.ORDERS")
    await place.client.js.add_stream("ORDERS", "orders.>")
    with pytest.raises(ConfigurationError, match="source_created differs"):
        await place.reseal()


async def test_a_ledger_has_one_process(place: Place) -> None:
    await place.fill(1)
    descriptor = lock_file(place.folder / "ledger.lock")
    try:
        with pytest.raises(ConfigurationError, match="another process uses this ledger"):
            await place.reseal()
    finally:
        os.close(descriptor)
    assert (await place.reseal()).resealed == 1


async def test_a_target_with_too_many_copies_is_not_continued_without_its_ledger(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.fill(3)
    await place.reseal()
    (place.folder / "ledger").unlink()
    monkeypatch.setattr(run, "AHEAD", 2)
    with pytest.raises(ConfigurationError, match="more copies than the ledger knows"):
        await place.reseal()
    monkeypatch.setattr(run, "AHEAD", 3)
    assert (await place.reseal()).resealed == 3


@pytest.mark.parametrize("member", ["position", "target_position"])
async def test_a_stream_that_lost_messages_is_noticed(place: Place, member: str) -> None:
    await place.fill(1)
    await place.reseal()
    path = place.folder / "ledger"
    path.write_text(json.dumps(json.loads(path.read_text()) | {member: 2}))
    with pytest.raises(ConfigurationError, match="lost messages"):
        await place.reseal()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"\xff", b'{"format": "xkeymsg reseal ledger 1"}', b"[" * 100_000],
)
async def test_a_damaged_ledger_is_refused(place: Place, content: bytes) -> None:
    (place.folder / "ledger").write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a ledger"):
        await place.reseal()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("position", -1),
        ("stored_ms", 2**62),
        ("resealed", 2),
        ("skipped", {"copy": True}),
        ("ahead", ["x"]),
        ("read", 7),
    ],
)
async def test_a_ledger_that_does_not_balance_is_refused(
    place: Place, member: str, value: object
) -> None:
    await place.fill(1)
    await place.reseal()
    path = place.folder / "ledger"
    path.write_text(json.dumps(json.loads(path.read_text()) | {member: value}))
    with pytest.raises(ConfigurationError, match="damaged"):
        await place.reseal()


async def test_a_stream_with_other_subjects_is_no_target(place: Place) -> None:
    await place.client.js.add_stream("PLAIN", "plain.>")
    with pytest.raises(ConfigurationError, match="subject_transform"):
        await place.reseal(into="PLAIN")
    await place.api.request("STREAM.CREATE.COPIES", target(retention="interest"))
    with pytest.raises(ConfigurationError, match="retention"):
        await place.reseal()  # without consumers, the server drops what it acknowledges
    with pytest.raises(ConfigurationError, match="into itself"):
        await place.reseal(into="ORDERS")
    with pytest.raises(ConfigurationError, match="no stream NONE"):
        await place.reseal(into="NONE", create=False)


@pytest.mark.parametrize("name", ["COPIES.X", "../x", "", "a b", ">", "COPIES\n"])
async def test_an_invalid_name_of_a_stream_is_refused(place: Place, name: str) -> None:
    for change in ({"into": name}, {"stream": name}):
        with pytest.raises(ConfigurationError, match="stream"):
            await place.reseal(**change)


async def test_a_stream_that_listens_on_the_originals_subjects_is_refused_by_nats(
    place: Place,
) -> None:
    with pytest.raises(DeliveryError, match="overlap"):
        await place.client.js.add_stream("SAME", "orders.new")


async def test_a_large_message_is_copied_and_one_too_large_is_counted(place: Place) -> None:
    await place.store(place.seal(b"x" * 900_000))
    await place.store(place.seal(b"y" * (1_048_576 - 300)))
    report = await place.reseal(to=["carol", "dave"])
    assert (report.resealed, report.refused) == (1, {"payload_too_large": 1})


async def test_a_message_with_its_own_lifetime_is_skipped(place: Place) -> None:
    await place.store(place.seal(b"x"), headers={"nats-ttl": "1h"})
    report = await place.reseal()
    assert report.skipped == {"ttl": 1}


def test_the_policy_of_a_part_grants_everything() -> None:
    sealed = Sealer(ALICE).seal_document(
        {"a": [1, {"b": []}], "": {}},
        policy=everything(),
        readers={"all": [CAROL.public]},
        subject="a",
    )
    view = Opener(CAROL, {ALICE.public}).open_document(sealed, subject="a")
    assert view.document == {"a": [1, {"b": []}], "": {}}
