"""Hostile writers: of one entry, of all entries, of the stream, and of events.

They can withhold and delay. No name stands for their keys, nothing that was verified is forgotten,
the alarm is raised, and the entries are there again when their owners publish (T-19, T-20, T-23,
T-24).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.directory.inside import alarms_of, asks_of, lose_events
from tests.directory.realm import Realm, Seat, withhold
from tests.running import until
from tests.trust.chains.world import Key
from tests.trust.store import Person
from xkeymsg import UnknownKeyError, XKeyPair
from xkeymsg.client.jetstream.api import API
from xkeymsg.directory import directory as module
from xkeymsg.directory import own_claims
from xkeymsg.directory.bucket import check_bucket
from xkeymsg.directory.reader import BucketReader
from xkeymsg.directory.settings import EVENTS, STREAM, bucket_config, subject_of
from xkeymsg.errors import ConfigurationError, DeliveryError, NotLoadedError
from xkeymsg.nkey import Prefix
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link
from xkeymsg.trust.stores.published_entry import Place


@pytest.fixture
async def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Realm]:
    monkeypatch.setattr(module, "AGAIN", 0.05)
    monkeypatch.setattr(own_claims, "REPAIR", 0.2)
    realm = Realm(tmp_path / "HOSPITAL")
    async with realm.running():
        yield realm


async def stored(link: Link, place: Place) -> bytes:
    entry = await BucketReader(API(link), frozenset({place.account})).get(place)
    return b"" if entry is None else entry.value


async def stored_is(link: Link, place: Place, value: bytes) -> None:
    """Wait until the bucket has this value."""

    async def holds() -> bool:
        return await stored(link, place) == value

    await until(holds)


async def looked(seat: Seat, alarm: str) -> None:
    """Wait until a reader has seen an entry that is not right."""
    seat.directory.look_again()
    await until(lambda: any(alarm in str(each) for each in seat.directory.report().alarms))


def forgeries(realm: Realm, victim: Person) -> list[bytes]:
    """Entries that whoever may write under the key of a user could put there."""
    thief = XKeyPair.generate()
    stranger = Key(Prefix.ACCOUNT, "stranger")
    forged = Person(victim.name, stranger)
    other = realm.person("mallory")
    jwt, [certificate] = realm.texts(victim)
    by_stranger = realm.user_jwt(forged, account=realm.account, age=-5)
    of_thief = realm.certificate(other, thief)
    tampered = certificate[:-8] + ("AAAAAAAA" if certificate[-8:] != "AAAAAAAA" else "BBBBBBBB")
    return [
        b"", b"garbage", b"\xff" * 2000, b"a.b.c", b"{}", b"x" * 17_000, b"\n" * 100,
        f"{jwt}\n{tampered}".encode(),
        f"{jwt}\n{of_thief}".encode(),
        realm.entry(other),
        by_stranger.encode(),
        f"{by_stranger}\n{of_thief}".encode(),
        realm.entry(victim, age=5000, top={"exp": realm.now - 1000}),
        realm.user_jwt(victim, bearer_token=True, age=1).encode(),
        "\n".join([jwt, *[of_thief] * 30]).encode(),
    ]  # fmt: skip


async def test_rights_to_an_entry_forge_nothing_and_the_owner_repairs_it(realm: Realm) -> None:
    """Three owners at once, each under a third of the forgeries: an owner waits between repairs."""
    owners = [realm.person(name) for name in ("bob", "carol", "dave")]
    async with realm.seat(realm.person("alice")) as at_alice, realm.admin() as link:
        await asyncio.gather(
            *(forged(realm, at_alice, link, bob, n, len(owners)) for n, bob in enumerate(owners))
        )


async def forged(realm: Realm, reader: Seat, link: Link, bob: Person, n: int, of: int) -> None:
    """Forge the entry of `bob` with every `of`-th value from the `n`-th on."""

    def is_resolved() -> bool:
        [found] = reader.trust.resolve(bob.name)
        return found.key == bob.pair.public

    async with realm.seat(bob) as at_bob:
        await reader.resolves(bob.name, bob)
        honest = await stored(link, realm.place(bob))
        for value in forgeries(realm, bob)[n::of]:
            await realm.put(link, realm.place(bob), value)
            reader.directory.look_again()
            assert is_resolved()
            await stored_is(link, realm.place(bob), honest)
        assert is_resolved()
        # The next forgery may come before the owner has read its entry back.
        assert all("the entry changes while it is written" in each for each in at_bob.told)


async def test_a_fresh_reader_of_a_damaged_bucket_resolves_nothing_wrong(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.admin() as link:
        for value in forgeries(realm, bob)[:-2]:
            await realm.put(link, realm.place(bob), value or b" ")
            async with realm.seat(alice, publish=False) as at_alice:
                await at_alice.fails("bob", UnknownKeyError)
                assert at_alice.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000) is None


async def test_rights_to_all_entries_withhold_and_are_noticed(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    mallory = realm.person("mallory")
    async with realm.seat(alice) as at_alice, realm.admin() as link:
        await realm.put(link, realm.place(bob), realm.entry(bob))
        await at_alice.resolves("bob", bob)
        # Its own texts under the keys of others.
        await realm.put(link, realm.place(bob), realm.entry(mallory))
        await looked(at_alice, "belongs to another user")
        await realm.put(link, realm.place(bob), b"")
        await looked(at_alice, "was deleted")
        # An older account JWT, without any signing key of today.
        older = realm.account_jwt(realm.second, age=5000)
        await realm.put(link, Place(realm.account.public, ""), older.encode())
        forged = realm.account_jwt(realm.second, age=-5, issuer=Key(Prefix.OPERATOR, "foreign"))
        await realm.put(link, Place(realm.account.public, ""), forged.encode())
        await looked(at_alice, "does not count")
        for number in range(300):
            await link.publish(f"$KV.XKEYS.{realm.account.public}.U{number}", b"no user")
        await link.confirm()
        [found] = at_alice.trust.resolve("bob")
        assert found.key == bob.pair.public
        assert at_alice.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000) is not None
        await realm.put(link, realm.place(bob), realm.entry(bob))
        at_alice.directory.look_again()
        await until(lambda: realm.place(bob) not in alarms_of(at_alice.directory))


async def test_one_entry_cannot_erase_the_others(realm: Realm) -> None:
    """T-22."""
    alice, bob = realm.person("alice"), realm.person("bob", realm.scoped)
    async with realm.seat(alice) as at_alice, realm.link(bob) as link:
        await at_alice.directory.loaded(60)
        for headers in (
            {"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-TTL": "1s"},
            {"Nats-Incr": "+1"},
            {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "a"},
        ):  # fmt: skip
            data = await realm.put(link, realm.place(bob), b"x", encode_block(headers))
            assert "error" in json.loads(data), headers
        with pytest.raises(DeliveryError, match="does not permit"):
            await realm.put(link, realm.place(alice), b"x")
        async with realm.admin() as admin:
            api = API(admin)
            for request, body in (
                (f"STREAM.PURGE.{STREAM}", {}), (f"STREAM.MSG.DELETE.{STREAM}", {"seq": 1}),
            ):  # fmt: skip
                with pytest.raises(DeliveryError):
                    await api.request(request, body)
            assert await stored(admin, realm.place(alice)) == realm.entry(alice)


async def test_rights_to_the_stream_withhold_until_the_owners_publish(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice, realm.seat(bob) as at_bob, realm.admin() as link:
        await at_alice.resolves("bob", bob)
        api = API(link)
        await api.request(f"STREAM.DELETE.{STREAM}")
        at_alice.directory.look_again()
        await until(lambda: any("directory" in each for each in at_alice.told))
        [found] = at_alice.trust.resolve("bob")
        assert found.key == bob.pair.public
        # A bucket that counts from 1 again; the owners put their entries back.
        await api.request(f"STREAM.CREATE.{STREAM}", bucket_config())
        for place in (realm.place(alice), realm.place(bob)):
            await until(partial(stored, link, place))
        carol = realm.person("carol")
        await realm.put(link, realm.place(carol), realm.entry(carol))
        await at_alice.resolves("carol", carol)
        await at_bob.resolves("carol", carol)
        # Rollups are turned on: later readers refuse the bucket, with the reason.
        unsafe = bucket_config() | {"allow_rollup_hdrs": True, "deny_purge": False}
        await api.request(f"STREAM.DELETE.{STREAM}")
        await api.request(f"STREAM.CREATE.{STREAM}", unsafe)
        with pytest.raises(ConfigurationError, match="allow_rollup_hdrs"):
            async with realm.seat(carol, publish=False):
                pass
        with pytest.raises(ConfigurationError, match="allow_rollup_hdrs"):
            await check_bucket(api)


async def test_forged_events_neither_forge_nor_hide_anything(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice, realm.admin() as link:
        await realm.put(link, realm.place(bob), realm.entry(bob))
        await at_alice.resolves("bob", bob)
        late = encode_block({"Nats-Sequence": "99999999", "Nats-Last-Sequence": "99999998"})
        newer = XKeyPair.generate()
        for value in forgeries(realm, bob):
            subject = EVENTS + subject_of(realm.place(bob))
            await link.publish(subject, value, headers=late)
        revision = at_alice.trust.revision
        assert revision is not None
        assert revision < 99999999
        # What really is newer counts, although an event had a greater sequence.
        jwt, _ = realm.texts(bob)
        bob.pair = newer
        value = "\n".join([jwt, realm.certificate(bob, newer, age=5)]).encode()
        await realm.put(link, realm.place(bob), value)
        await at_alice.resolves("bob", bob)
        await until(lambda: at_alice.directory.report().ignored["event"] > 0)
        assert at_alice.directory.report().alarms == ()


async def test_missed_events_are_read_from_the_bucket(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice, realm.admin() as link:
        await at_alice.directory.loaded(60)
        # The permission to hear events is missing, or the server was away.
        await lose_events(at_alice.directory)
        await realm.put(link, realm.place(bob), realm.entry(bob))
        at_alice.directory.look_again()
        await at_alice.resolves("bob", bob)


async def test_a_restarted_server_is_read_again(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice:
        await at_alice.directory.loaded(60)
        await asyncio.to_thread(realm.server.restart)
        async with realm.admin() as link:
            await realm.put(link, realm.place(bob), realm.entry(bob))
        await at_alice.resolves("bob", bob)


async def test_after_a_reconnect_the_server_is_asked_for_the_account_at_once(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been revoked there meanwhile, by a push that no bucket has seen."""
    monkeypatch.setattr(own_claims, "EVERY", 3600.0)
    asked = asks_of(monkeypatch)
    async with realm.seat(realm.person("alice")) as at_alice:
        await at_alice.directory.loaded(60)
        await until(lambda: len(asked) == 2)  # before and after loading
        await asyncio.to_thread(realm.server.restart)
        await until(lambda: len(asked) == 3)


async def test_before_everything_is_read_only_keys_are_resolved(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-21."""
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.admin() as link:
        await realm.put(link, realm.place(bob), realm.entry(bob, "ward"))
    withhold(monkeypatch)
    pins = {"doctor": bob.user}
    async with realm.seat(alice, publish=False, wait=0.1, pins=pins) as at_alice:
        assert not at_alice.directory.is_loaded
        for name in ("bob", "perm:ward", "insurer/claims", bob.user, "doctor"):
            with pytest.raises(NotLoadedError):
                at_alice.trust.resolve(name)
        await at_alice.resolves(bob.user, bob)
        await at_alice.resolves("doctor", bob)
        await at_alice.fails("bob", NotLoadedError)
        stranger = XKeyPair.generate().public
        with pytest.raises(NotLoadedError):
            at_alice.trust.admit(stranger, "ehr.new", realm.now * 1000)
        assert at_alice.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000) is not None
        assert at_alice.trust.revision is None


async def test_a_stale_directory_resolves_nothing_if_it_is_to_fail_closed(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.2)
    alice, bob = realm.person("alice"), realm.person("bob")
    async with (
        realm.seat(alice, stale_after=1, fail_closed=True) as closed,
        realm.seat(bob, stale_after=1) as warned,
    ):
        await closed.resolves("bob", bob)
        realm.server.kill()
        await until(lambda: any("has not answered" in each for each in warned.told))
        await closed.fails("bob", NotLoadedError)
        await warned.resolves("alice", alice)
        await asyncio.to_thread(realm.server.start)
        await closed.resolves("bob", bob)


async def test_jwts_from_the_future_do_not_keep_their_successors_out(realm: Realm) -> None:
    """The clock of the issuer was wrong: readers ignore them, but the bucket has one of each."""
    alice, bob = realm.person("alice"), realm.person("bob")
    far, account = -4_000_000, Place(realm.account.public, "")
    async with realm.admin() as link:
        await realm.put(link, account, realm.clinic_jwt(age=far).encode())
        await realm.put(link, realm.place(alice), realm.user_jwt(alice, age=far).encode())
        async with realm.seat(alice, publish=False) as seat:
            assert await seat.directory.publish(*realm.texts(alice)) > 2
            assert await seat.directory.publish_account() > 2
            reader = BucketReader(API(link), frozenset([realm.account.public]))
            for place, text in (
                (account, realm.clinic_jwt().encode()), (realm.place(alice), realm.entry(alice)),
            ):  # fmt: skip
                found = await reader.get(place)
                assert found is not None
                assert found.value == text
        async with realm.seat(bob) as at_bob:
            await at_bob.resolves("alice", alice)
            assert at_bob.directory.report().alarms == ()


async def test_two_replicas_do_not_fight(realm: Realm) -> None:
    alice = realm.person("alice")
    first, second = XKeyPair.generate(), XKeyPair.generate()
    jwt = realm.user_jwt(alice)
    async with realm.seat(alice, publish=False) as one, realm.seat(alice, publish=False) as two:
        certificates = [realm.certificate(alice, pair, age=9) for pair in (first, second)]
        await asyncio.gather(
            one.directory.publish(jwt, certificates[:1]),
            two.directory.publish(jwt, certificates[1:]),
        )
        async with realm.admin() as link:
            settled = await one.directory.publish(jwt, certificates[:1])
            value = await stored(link, realm.place(alice))
            assert set(value.decode().split("\n")) == {jwt, *certificates}
            await asyncio.sleep(1)  # several repairs
            assert await stored(link, realm.place(alice)) == value
            assert await two.directory.publish(jwt, certificates[1:]) == settled
            entry = await BucketReader(API(link), frozenset()).get(realm.place(alice))
            assert entry is not None
            assert entry.sequence == settled


async def test_the_certificate_of_a_held_key_is_repaired_though_another_program_made_it(
    realm: Realm,
) -> None:
    alice = realm.person("alice")
    jwt, held = realm.user_jwt(alice), {alice.pair.public}
    retired = realm.certificate(alice, XKeyPair.generate(), age=9000).encode()
    async with realm.seat(alice, publish=False) as seat, realm.admin() as link:
        assert await seat.directory.publish(jwt, [], held=held) == 0
        assert await stored(link, realm.place(alice)) == b""
        honest = realm.entry(alice)
        await realm.put(link, realm.place(alice), honest + b"\n" + retired)
        await until(lambda: seat.directory.publish(jwt, [], held=held))
        for damage in (b"", b"x", honest.partition(b"\n")[0]):
            await realm.put(link, realm.place(alice), damage)
            await stored_is(link, realm.place(alice), honest)


async def test_a_bucket_that_was_made_again_and_has_grown_unseen_is_read_from_its_start(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last sequence is greater than ours, as if only a few entries were new."""
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice, realm.admin() as link:
        await at_alice.directory.loaded(60)
        await lose_events(at_alice.directory)
        api = API(link)
        await api.request(f"STREAM.DELETE.{STREAM}")
        await api.request(f"STREAM.CREATE.{STREAM}", bucket_config())
        await realm.put(link, realm.place(bob), realm.entry(bob))
        for number in range(5):
            await realm.put(link, realm.place(realm.person(f"user-{number}")), b"no user")
        monkeypatch.setattr(module, "FULL", 0.2)
        at_alice.directory.look_again()
        await at_alice.resolves("bob", bob)
