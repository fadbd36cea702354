"""What a client puts on the wire, and what it refuses to."""

from __future__ import annotations

import subprocess
import sys
from bisect import bisect_right
from typing import Any

import pytest

from tests.client.inside import connection_of, forbid_sealing, outgoing_of, trust_of
from tests.running import DEADLINE
from xkeymsg import (
    ANYONE,
    ConfigurationError,
    FieldDeniedError,
    MalformedError,
    Opener,
    PayloadTooLargeError,
    Peers,
    Policy,
    PolicyError,
    Recipient,
    TransportError,
    UnknownKeyError,
    XKeyMsgError,
)
from xkeymsg.client.trust import To
from xkeymsg.envelope.inspect import inspect
from xkeymsg.envelope.session import Session
from xkeymsg.transport.headers import parse_block

from .conftest import ALICE, BOB, CAROL, ESCROW, EVE, PEERS, Town

WITH_ESCROW = Peers.parse(
    f'''
    always_to = ["escrow"]
    [peers.alice]
    xkey = "{ALICE.public}"
    subjects = [">"]
    [peers.bob]
    xkey = "{BOB.public}"
    subjects = [">"]
    permissions = ["clinic"]
    [peers.carol]
    xkey = "{CAROL.public}"
    permissions = ["billing", "clinic"]
    [peers.escrow]
    xkey = "{ESCROW.public}"
    '''
)
POLICY = Policy([("/name", ["clinic"]), ("/**", ["billing"])])


async def test_the_wire_shows_the_senders_key_and_nothing_of_the_application(town: Town) -> None:
    async with town.connect() as alice, town.link() as link:
        raw = await link.subscribe("orders.*")
        await link.confirm()
        await alice.publish("orders.new", b"secret", to="bob", headers={"Trace": "secret"})
        got = await raw.next(DEADLINE)
    assert parse_block(got.headers) == [("sender", str(ALICE.public))]
    assert b"secret" not in got.data
    message = Opener(BOB, {ALICE.public}).open(got.data, subject="orders.new")
    assert (message.data, message.headers.pairs) == (b"secret", (("Trace", "secret"),))
    assert message.wire_subject is None


async def test_the_holders_of_a_permission_in_allow_unread_are_recipients(town: Town) -> None:
    policy = Policy(
        [("/name", ["clinic"]), ("/sum", ["billing"]), ("/**", ["audit"])],
        allow_unread=["billing", "audit"],
    )
    async with town.connect(trust=WITH_ESCROW) as alice, town.link() as link:
        raw = await link.subscribe("a")
        await link.confirm()
        await alice.publish_document("a", {"name": "Ann", "sum": 3, "x": 1}, policy=policy)
        got = await raw.next(DEADLINE)
    view = Opener(CAROL, {ALICE.public}).open_document(got.data, subject="a")
    assert view.document == {"name": "Ann", "sum": 3}


async def test_headers_in_the_clear_are_said_aloud(town: Town) -> None:
    async with town.connect() as alice, town.link() as link:
        raw = await link.subscribe("a")
        await link.confirm()
        await alice.publish("a", b"", to="bob", clear_headers={"Trace": "open"})
        got = await raw.next(DEADLINE)
    assert parse_block(got.headers) == [("sender", str(ALICE.public)), ("Trace", "open")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Msg-Id": "1"},
        {"nats-rollup": "all"},
        {"sender": "X"},
        {"Sender": "X"},
        {"XKM-reply-to": "x"},
        {"Status": "503"},
        {"a": "b\r\nNats-Rollup: all"},
        {"a\r\nb": "c"},
        {"a b": "c"},
        {"": "c"},
        {"a": "\ud800"},
    ],
)
async def test_headers_of_nats_or_of_ours_are_refused(headers: dict[str, str], town: Town) -> None:
    async with town.connect() as alice:
        with pytest.raises(MalformedError):
            await alice.publish("a", b"", to="bob", clear_headers=headers)
        assert alice.stats.published == 0


async def test_reserved_names_are_refused_among_sealed_headers(town: Town) -> None:
    async with town.connect() as alice:
        for headers in ({"xkm-reply-to": "x"}, [("Xkm-Error", "x")]):
            with pytest.raises(MalformedError):
                await alice.publish("a", b"", to="bob", headers=headers)
            with pytest.raises(MalformedError):
                await alice.request("a", b"", to="bob", headers=headers, timeout=DEADLINE)


async def test_nothing_is_published_for_what_only_answers_are_for(town: Town) -> None:
    async with town.connect() as alice:
        for subject in ("_XKM", "_XKM.REPLY.x"):
            with pytest.raises(MalformedError):
                await alice.publish(subject, b"", to="bob")
            with pytest.raises(MalformedError):
                await alice.request(subject, b"", to="bob", timeout=DEADLINE)


class Recording:
    """Trust, and a note of each question."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    revision = 7

    def __getattr__(self, name: str) -> Any:
        return getattr(PEERS, name)

    def admit(self, *arguments: Any) -> Any:
        return PEERS.admit(*arguments)

    def admits_xkv1(self, *arguments: Any) -> Any:
        return PEERS.admits_xkv1(*arguments)

    def resolve(self, name: str) -> tuple[Recipient, ...]:
        self.asked.append(name)
        return PEERS.resolve(name)

    def always_to(self) -> tuple[Recipient, ...]:
        return PEERS.always_to()


async def test_an_unknown_name_is_an_error_before_anything_is_sealed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town.connect() as alice:
        forbid_sealing(monkeypatch, alice)
        for to in ("nobody", ["bob", "nobody"], "perm:audit"):
            with pytest.raises(UnknownKeyError):
                await alice.publish("a", b"", to=to)
        with pytest.raises(UnknownKeyError):
            await alice.publish_document("a", {"name": 1}, policy=POLICY)
        with pytest.raises(MalformedError):
            await alice.publish("a", b"", to=[])


async def test_a_resolver_that_answers_with_nobody_is_not_believed(town: Town) -> None:
    """Escrow alone would get the message, and nobody would know."""

    class Empty(Recording):
        def resolve(self, name: str) -> Any:
            return iter(())

        def always_to(self) -> tuple[Recipient, ...]:
            return (Recipient(ESCROW.public),)

    async with town.connect(trust=Empty()) as alice:
        for _ in range(2):
            with pytest.raises(UnknownKeyError):
                await alice.publish("a", b"", to="bob")
    assert not alice.stats.published


async def test_recipients_are_the_same_object_as_long_as_trust_says_the_same() -> None:
    trust = Recording()
    town = Town(None)
    async with town.connect(trust=trust) as alice:
        first = trust_of(alice).recipients(["bob", CAROL.public])
        assert trust_of(alice).recipients(["bob", CAROL.public]) is first
        assert trust_of(alice).recipients(("bob", CAROL.public)) is first
        assert first == (Recipient(BOB.public), Recipient(CAROL.public))
        assert trust.asked == ["bob"] * 3  # for every message: a change counts for the next one


async def test_a_name_that_stands_for_another_key_counts_for_the_next_message(town: Town) -> None:
    trust = Recording()
    async with town.connect(trust=trust) as alice, town.link() as link:
        raw = await link.subscribe("a")
        await link.confirm()
        await alice.publish("a", b"1", to="bob")
        trust.resolve = lambda name: (Recipient(CAROL.public),)  # type: ignore[method-assign]
        await alice.publish("a", b"2", to="bob")
        envelopes = [(await raw.next(DEADLINE)).data for _ in range(2)]
    for reader, envelope in zip((BOB, CAROL), envelopes, strict=True):
        Opener(reader, {ALICE.public}).open(envelope, subject="a")
    assert inspect(envelopes[0]).revision == 7


async def test_everything_is_sealed_to_escrow_too(town: Town) -> None:
    async with (
        town.connect(trust=WITH_ESCROW) as alice,
        town.connect(BOB, WITH_ESCROW) as bob,
        town.link() as link,
        bob.serve("svc", _echo),
    ):
        raw = await link.subscribe(">")
        await link.confirm()
        await bob.flush()
        await alice.publish("a", b"1", to="bob")
        await alice.publish_document("a", {"name": "Ann", "sum": 3}, policy=POLICY)
        await alice.request("svc", b"2", to="bob", timeout=DEADLINE)
        envelopes = [(await raw.next(DEADLINE)).data for _ in range(4)]
    reader = Opener(ESCROW, {ALICE.public, BOB.public})
    assert reader.open(envelopes[0], subject="a").data == b"1"
    assert reader.open_document(envelopes[1], subject="a").document == {"name": "Ann", "sum": 3}
    assert reader.open(envelopes[2], subject="svc").data == b"2"
    answer = inspect(envelopes[3]).subject
    assert reader.open(envelopes[3], subject=answer).data == b"2"


async def _echo(message: Any) -> bytes:
    return bytes(message.data)


async def test_escrow_that_changes_counts_for_the_next_message(town: Town) -> None:
    trust = Recording()
    async with town.connect(trust=trust) as alice, town.link() as link:
        raw = await link.subscribe("a")
        await link.confirm()
        trust.always_to = lambda: (Recipient(ESCROW.public),)  # type: ignore[method-assign]
        await alice.publish("a", b"1", to="bob")
        envelope = (await raw.next(DEADLINE)).data
    Opener(ESCROW, {ALICE.public}).open(envelope, subject="a")


async def test_readers_of_a_document_are_whom_trust_has_for_the_permissions(town: Town) -> None:
    async with town.connect(trust=WITH_ESCROW) as alice, town.connect(BOB, WITH_ESCROW) as bob:
        async with bob.subscribe("a", documents=True) as views:
            await bob.flush()
            await alice.publish_document("a", {"name": "Ann", "sum": 3}, policy=POLICY)
            view = await anext(views)
            assert (view.document, view.withheld) == ({"name": "Ann"}, 1)
            readers: dict[str, To] = {"clinic": ["carol"], "billing": BOB.public}
            await alice.publish_document(
                "a", {"name": "Ann", "sum": 3}, policy=POLICY, readers=readers
            )
            assert (await anext(views)).document == {"sum": 3}
        with pytest.raises(PolicyError):
            await alice.publish_document("a", {"name": 1}, policy=POLICY, readers={"clinic": []})
        policy = Policy([("/name", ["clinic"])])
        with pytest.raises(FieldDeniedError):
            await alice.publish_document("a", {"other": 1}, policy=policy)


@pytest.mark.parametrize("padding", [False, True])
async def test_what_is_too_long_is_refused_before_it_is_sealed(
    town: Town, monkeypatch: pytest.MonkeyPatch, padding: bool
) -> None:
    more: dict[str, Any] = {"headers": {"a": "b"}, "expires": 60}
    async with town.connect(padding=padding) as alice, town.connect(BOB) as bob:
        limit = connection_of(alice).max_payload
        sealer = outgoing_of(alice).sealer()
        to = trust_of(alice).recipients("bob")

        def wire(size: int) -> int:
            told: list[int] = []

            def stop(length: int) -> None:
                told.append(length)
                raise OverflowError

            with pytest.raises(OverflowError):
                sealer.seal(bytes(size), to=to, subject="a", check_size=stop, **more)
            return told[0] + len(outgoing_of(alice).block)

        most = bisect_right(range(limit), limit, key=wire) - 1
        async with bob.subscribe("a") as messages:
            await bob.flush()
            await alice.publish("a", bytes(most), to="bob", **more)
            await alice.flush()
            assert len((await anext(messages)).data) == most
        monkeypatch.setattr(Session, "plan", None)
        with pytest.raises(PayloadTooLargeError) as caught:
            await alice.publish("a", bytes(most + 1), to="bob", **more)
        assert (caught.value.size, caught.value.limit) == (wire(most + 1), limit)


async def test_a_document_that_is_too_long_is_refused_before_it_is_sealed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town.connect(trust=WITH_ESCROW) as alice:
        limit = connection_of(alice).max_payload
        monkeypatch.setattr(Session, "plan", None)
        document = {"name": "x" * limit, "sum": 0}
        with pytest.raises(PayloadTooLargeError) as caught:
            await alice.publish_document("a", document, policy=POLICY)
        assert caught.value.size > limit == caught.value.limit
        assert alice.stats.published == 0


async def test_wrong_types_are_type_errors(town: Town) -> None:
    wrong: list[dict[str, Any]] = [
        {"data": "text"},
        {"data": [120]},
        {"to": 5},
        {"to": None},
        {"to": [b"X"]},
        {"to": b"bob"},
        {"subject": b"a"},
        {"headers": {"a": 1}},
        {"clear_headers": {"a": 1}},
        {"clear_headers": [("a", "b")]},
    ]
    async with town.connect() as alice:
        for each in wrong:
            arguments: dict[str, Any] = {"subject": "a", "data": b"", "to": "bob"} | each
            subject, data = arguments.pop("subject"), arguments.pop("data")
            with pytest.raises(TypeError):
                await alice.publish(subject, data, **arguments)


@pytest.mark.parametrize(
    "subject", ["", "a b", "a.*", ">", "a..b", "a\r\nPUB b", "\ud800", "x" * 256]
)
async def test_a_subject_that_is_none_is_refused(subject: str, town: Town) -> None:
    async with town.connect() as alice:
        with pytest.raises(XKeyMsgError):
            await alice.publish(subject, b"", to="bob")


async def test_trust_has_to_be_said(town: Town) -> None:
    for trust in (None, "peers.toml", 5, [1]):
        with pytest.raises(ConfigurationError):
            async with town.connect(trust=trust):
                pass
    with pytest.raises(TypeError):
        async with town.connect(key="SX"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("trust", [ANYONE, {BOB.public}, {BOB.public: None}])
async def test_without_a_resolver_there_are_keys_and_no_names(trust: Any, town: Town) -> None:
    if isinstance(trust, dict):
        trust = {}
    async with town.connect(trust=trust) as alice:
        await alice.publish("a", b"", to=[EVE.public, Recipient(BOB.public)])
        with pytest.raises(UnknownKeyError):
            await alice.publish("a", b"", to="bob")
        with pytest.raises(UnknownKeyError):
            await alice.publish_document("a", {"name": 1}, policy=POLICY)


async def test_a_closed_client_says_so(town: Town) -> None:
    async with town.connect() as alice:
        pass
    for call in (
        alice.publish("a", b"", to="bob"),
        alice.request("a", b"", to="bob", timeout=DEADLINE),
        alice.flush(),
        alice.subscribe("a").__aenter__(),
    ):
        with pytest.raises(TransportError):
            await call
    assert alice.state == "closed"


def test_the_client_is_not_imported_until_it_is_used() -> None:
    look = "'nats' in sys.modules"
    code = f"import sys, xkeymsg; before = {look}; xkeymsg.connect; print(before, {look})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
