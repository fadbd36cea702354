"""A hostile or slow broker: its answers end a load late, or never, and forge nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cases import for_each
from tests.directory.inside import answer_nothing
from tests.directory.realm import Realm, withhold
from tests.running import DEADLINE, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.directory import directory as module
from xkeymsg.directory import events, own_claims
from xkeymsg.directory.reader import BucketEntry, BucketReader
from xkeymsg.directory.report import account_in
from xkeymsg.directory.settings import EVENTS, subject_of
from xkeymsg.errors import DeliveryError, NotLoadedError, TrustError
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.raw import Raw
from xkeymsg.trust.stores.published_entry import Place

Script = Callable[[int], Iterable[Raw]]
"""The answers to the request of this number."""

ACCOUNT = "A" * 56
PLACE = Place(ACCOUNT, "U" * 56)
END = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\n\r\n"


class Inbox:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Raw] = asyncio.Queue()
        self.answers: Iterator[Raw] = iter(())

    async def next(self, timeout: float) -> Raw:
        await asyncio.sleep(0)
        raw = next(self.answers, None)
        if raw is None:
            raise DeliveryError(f"no message within {timeout:g} s")
        return raw

    async def unsubscribe(self) -> None:
        pass


class Broker:
    """A link whose server answers as a script says."""

    jetstream_api = "$JS.API"
    timeout = DEADLINE

    def __init__(self, script: Script) -> None:
        self.script, self.asked = script, list[tuple[str, dict[str, Any]]]()
        self.inbox = Inbox()

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, *_: object, **__: object) -> Inbox:
        return self.inbox

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        self.inbox.answers = iter(self.script(self._note(subject, data)))

    async def request(self, subject: str, data: bytes, **_: object) -> Raw:
        answers = iter(self.script(self._note(subject, data)))
        first = next(answers)
        self.inbox.answers = answers
        return first

    def _note(self, subject: str, data: bytes) -> int:
        self.asked.append((subject, json.loads(data)))
        return len(self.asked) - 1


def reader(script: Script) -> tuple[BucketReader, Broker]:
    broker = Broker(script)
    return BucketReader(API(broker), frozenset({ACCOUNT})), broker  # type: ignore[arg-type]


def stored(sequence: object, place: Place = PLACE, value: bytes = b"x", **more: str) -> Raw:
    names = {"Nats-Subject": subject_of(place), "Nats-Sequence": str(sequence), **more}
    return Raw(b"_INBOX.x", b"", encode_block(names), value)


def end(pending: int = 0) -> Raw:
    return Raw(b"_INBOX.x", b"", END % pending, b"")


async def read(script: Script) -> tuple[int, list[BucketEntry]]:
    taken: list[BucketEntry] = []
    last = await reader(script)[0].pages(1, taken.append)
    return last, taken


@pytest.mark.parametrize(
    "script",
    [
        lambda _: [stored(1), stored(1)],  # a page that repeats
        lambda _: [stored(1), end(1)],  # a page of before again
        lambda _: [end(9)],  # entries that never come
        lambda _: [stored(2), stored(1)],
        lambda _: [stored(0)],
        lambda _: [stored(-1)],
        lambda _: [stored("1e3")],
        lambda _: [stored("9" * 400)],
        lambda _: [stored("\u0661")],
        lambda _: [Raw(b"", b"", b"", b"")],
        lambda _: [Raw(b"\xff", b"\xff", b"\xff" * 100_000, b"")],
        lambda _: [Raw(b"", b"", b"NATS/1.0 503\r\n\r\n", b"")],
        lambda _: [Raw(b"", b"", b"NATS/1.0\r\n" + b"a:b\r\n" * 100_000, b"")],
        lambda _: [],
    ],
)
async def test_pages_that_make_no_progress_are_an_error(script: Script) -> None:
    with pytest.raises(DeliveryError):
        await read(script)


async def test_entries_that_were_not_asked_for_are_dropped() -> None:
    other = Place("B" * 56, PLACE.user)
    answers = [stored(1, other), stored(2), stored(3, value=b"")]
    answers.append(Raw(b"", b"", encode_block({"Nats-Subject": "a.b", "Nats-Sequence": "4"}), b""))
    last, taken = await read(lambda _: [*answers, end()])
    assert last == 4
    assert taken == [BucketEntry(PLACE, b"x", 2), BucketEntry(PLACE, b"", 3)]


async def test_another_entry_than_asked_for_is_an_error() -> None:
    for place in (Place(ACCOUNT, ""), Place("B" * 56, PLACE.user)):
        with pytest.raises(DeliveryError, match="another entry"):
            await reader(lambda _, place=place: [stored(1, place)])[0].get(PLACE)  # type: ignore[misc]


@pytest.mark.parametrize("pending", [3, 2**62, -1, 0, "9", None, [], 2.5, True, 10**400])
async def test_a_consumer_that_lies_about_what_is_left_is_not_believed(pending: object) -> None:
    def script(_: int) -> Iterable[Raw]:
        yield Raw(b"", b"", b"", json.dumps({"num_pending": pending}).encode())
        yield Raw(
            subject_of(PLACE).encode(), b"$JS.ACK.KV_XKEYS.c.1.7.1.1700000000000000000.2", b"", b"x"
        )
        yield Raw(
            subject_of(PLACE).encode(), b"$JS.ACK.KV_XKEYS.c.1.9.3.1700000000000000000.2", b"", b"x"
        )

    taken: list[BucketEntry] = []
    bucket, _ = reader(script)
    last, complete = await bucket.consume(taken.append, lambda: True)
    assert not complete  # `pages` goes on
    is_number = type(pending) is int and 0 < pending < 2**63
    assert (last, len(taken)) == ((7, 1) if is_number else (0, 0))


@for_each(
    "answer",
    [
        b"", b"{}", b"[]", b"null", b'{"data": []}', b'{"data": {"jwt": 1}}', b"[" * 100_000,
        b'{"data": {"jwt": "x"}}' + b" " * (1 << 20), b"\xff", b"1" * 10_000,
    ],
)  # fmt: skip
def test_answers_of_the_server_without_a_jwt_are_errors(answer: bytes) -> None:
    with pytest.raises(DeliveryError):
        account_in(answer)


# --- on a real server -----------------------------------------------------------------------------


@pytest.fixture
async def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Realm]:
    monkeypatch.setattr(module, "AGAIN", 0.05)
    realm = Realm(tmp_path / "HOSPITAL")
    async with realm.running():
        yield realm


async def test_answers_that_never_end_load_nothing_and_are_reported(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-21."""
    monkeypatch.setattr(module, "EVERY", 0.2)
    alice, bob = realm.person("alice"), realm.person("bob")
    place, value = realm.place(bob), realm.entry(bob)

    async def endless(_: BucketReader, begin: int, take: Any) -> int:
        while True:
            begin += 1
            take(BucketEntry(place, value, begin))
            await asyncio.sleep(0.001)

    async def refused(*_: object) -> tuple[int, bool]:
        raise DeliveryError("no consumers here")

    monkeypatch.setattr(BucketReader, "consume", refused)
    monkeypatch.setattr(BucketReader, "pages", endless)
    async with realm.seat(alice, publish=False, wait=0.1, stale_after=1) as at_alice:
        await until(lambda: any("has not answered" in each for each in at_alice.told))
        assert not at_alice.directory.is_loaded
        with pytest.raises(NotLoadedError):
            at_alice.trust.resolve("bob")


async def test_a_flood_of_events_is_not_listened_to(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "FLOOD", 200)
    alice, bob, carol = (realm.person(name) for name in ("alice", "bob", "carol"))
    async with realm.seat(alice) as at_alice, realm.admin() as link:
        subject = EVENTS + subject_of(realm.place(bob))
        ended = asyncio.Event()

        async def flood() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                headers = encode_block({"Nats-Sequence": str(number)})
                await link.publish(subject, b"x" * 100, headers=headers)
                if not number % 50:
                    await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        try:
            await realm.put(link, realm.place(bob), realm.entry(bob))
            await at_alice.resolves("bob", bob)
            report = at_alice.directory.report()
            await realm.put(link, realm.place(carol), realm.entry(carol))
            await at_alice.resolves("carol", carol)
            assert report.alarms == ()
        finally:
            ended.set()
            await flooding
        # Events count again afterwards.
        await until(lambda: at_alice.directory.report().unverified == 0)
        dave = realm.person("dave")
        await realm.put(link, realm.place(dave), realm.entry(dave))
        await at_alice.resolves("dave", dave)


async def test_the_server_shows_the_jwt_of_another_account(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_claims, "account_in", lambda _: realm.insurer_jwt(age=5))
    alice = realm.person("alice")
    async with realm.seat(alice) as at_alice:
        await until(lambda: any("another account" in each for each in at_alice.told))
        assert at_alice.trust.resolve("alice")


async def test_a_user_that_is_revoked_in_the_bucket_is_not_resolved_by_key(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-21: the account comes first, also before everything has been read, and if it came late."""
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.admin() as link:
        await realm.put(link, realm.place(bob), realm.entry(bob))
    await realm.revoke(bob.user, "bucket")
    withhold(monkeypatch)
    answer_nothing(monkeypatch)
    get, calls = BucketReader.get, list[Place]()

    async def late(self: BucketReader, place: Place) -> BucketEntry | None:
        calls.append(place)
        if len(calls) == 1:
            raise DeliveryError("no answer")
        return await get(self, place)

    monkeypatch.setattr(BucketReader, "get", late)
    async with realm.seat(alice, publish=False, wait=0.1) as at_alice:
        await until(lambda: _refused(at_alice.trust, bob.user))


def _refused(trust: Any, name: str) -> bool:
    try:
        trust.resolve(name)
    except NotLoadedError:
        return False
    except TrustError:
        return True
    raise AssertionError("a revoked user is resolved")
