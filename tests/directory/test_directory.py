"""Users of two accounts who find each other in the directory, with no key copied by hand."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.directory.inside import answer_late, wait_for_accounts
from tests.directory.realm import Realm, withhold
from tests.running import DEADLINE, ROOT, until
from xkeymsg import (
    ConfigurationError,
    Directory,
    DurableOptions,
    FailurePolicy,
    Message,
    Sealer,
    Trust,
    UnknownKeyError,
    connect,
)
from xkeymsg.ambient import monotonic
from xkeymsg.directory import directory as module
from xkeymsg.directory import own_claims
from xkeymsg.directory.reader import BucketReader
from xkeymsg.errors import (
    DeliveryError,
    NotLoadedError,
    RevokedError,
    SenderRevokedError,
    XKeyMsgError,
)
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place


@pytest.fixture
async def realm(tmp_path: Path) -> AsyncIterator[Realm]:
    realm = Realm(tmp_path / "HOSPITAL")
    async with realm.running():
        yield realm


async def test_two_accounts_publish_to_each_other_by_name_and_permission(realm: Realm) -> None:
    alice, ward = realm.person("alice"), realm.person("ward-a", realm.scoped)
    claims = realm.person("claims", realm.insurer_key)
    async with (
        realm.seat(alice, "billing") as at_alice,
        realm.seat(ward, "ward") as at_ward,
        realm.seat(claims) as at_claims,
    ):
        await at_alice.resolves("insurer/claims", claims)
        await at_alice.resolves("daemon:ward-a", ward)
        await at_alice.resolves("perm:ward", ward)
        await at_ward.resolves("alice", alice)
        await at_ward.resolves("perm:billing", alice)
        await at_claims.resolves("clinic/alice", alice)
        await at_claims.resolves(f"clinic/{alice.user}", alice)
        async with at_ward.client.subscribe("ehr.>") as messages:
            await at_ward.client.flush()
            await at_alice.client.publish("ehr.new", b"hello", to="daemon:ward-a")
            message = await asyncio.wait_for(anext(messages), 60)
        assert (message.data, message.sender) == (b"hello", alice.pair.public)
        assert message.revision is not None
        for seat in (at_alice, at_ward, at_claims):
            assert seat.told == []
            assert seat.directory.report().alarms == ()


async def test_an_entry_of_a_user_who_has_left_raises_no_alarm(realm: Realm) -> None:
    """A reader that starts after a revocation reports what one that saw it come does."""
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(bob):
        pass
    realm.revocations[bob.user] = realm.now
    realm.write_clinic(age=10)
    await realm.push(realm.clinic_jwt(age=10))
    async with realm.seat(alice) as seat:
        await seat.fails("bob", UnknownKeyError)
        # The bucket may have the account's older JWT until this seat has published its own.
        await until(lambda: seat.directory.report().alarms == ())


async def test_a_revocation_comes_by_a_push_to_the_server_alone(realm: Realm) -> None:
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice, realm.seat(bob) as at_bob:
        await at_alice.resolves("bob", bob)
        await realm.revoke(bob.user)
        at_alice.directory.look_again()
        await at_alice.fails("bob", UnknownKeyError)
        refused = at_alice.trust.members.refused["", bob.user]
        assert isinstance(refused, RevokedError)
        del at_bob


@pytest.mark.parametrize("where", ["bucket", "server"])
@pytest.mark.parametrize("target", ["user", "xkey"])
async def test_a_reader_that_starts_seals_nothing_to_what_was_revoked_before(
    realm: Realm, monkeypatch: pytest.MonkeyPatch, target: str, where: str
) -> None:
    """The folder has the account JWT from before; entries are indexed, and verified later."""
    alice, bob = realm.person("alice"), realm.person("bob")
    genuine = Published.steps

    def only_index(self: Published) -> Iterator[Any]:
        while not self.is_indexed:
            yield from islice(genuine(self), 1)

    async with realm.admin() as link:
        await realm.put(link, realm.place(bob), realm.entry(bob))
    await realm.revoke(bob.user if target == "user" else bob.pair.public, where)
    monkeypatch.setattr(Published, "steps", only_index)
    monkeypatch.setattr(BucketReader, "get", _never)  # the whole bucket has it, too
    answer_late(monkeypatch, 0.5)
    trust = realm.trust(realm.login(alice))

    async def resolve() -> None:
        while True:
            for name in ("bob", bob.user):
                with pytest.raises((NotLoadedError, UnknownKeyError, RevokedError)):
                    trust.resolve(name)
            await asyncio.sleep(0)

    async with realm.link(alice) as link:
        resolving = asyncio.create_task(resolve())
        async with Directory(trust).following(link, lambda _: None):
            for name in ("bob", bob.user):
                with pytest.raises((UnknownKeyError, RevokedError)):
                    trust.resolve(name)
            assert not resolving.done()
        resolving.cancel()


async def test_a_directory_that_connects_again_resolves_nothing_that_was_revoked_meanwhile(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not loaded until it has read everything over the new connection."""
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.admin() as link:
        await realm.put(link, realm.place(bob), realm.entry(bob))
    monkeypatch.setattr(module, "AGAIN", 0.1)
    with monkeypatch.context() as patch:
        withhold(patch)
        async with realm.seat(alice, publish=False, wait=0.1) as seat:
            await seat.resolves(bob.user, bob)
            patch.undo()
            await seat.resolves("bob", bob)
    await realm.revoke(bob.user, "bucket")
    withhold(monkeypatch)
    monkeypatch.setattr(BucketReader, "get", _never)
    answer_late(monkeypatch, 0.5)
    async with connect(
        realm.server.url, key=alice.pair, trust=seat.trust, directory=seat.directory,
        creds=realm.login(alice),
    ):  # fmt: skip
        assert not seat.directory.is_loaded
        for name in ("bob", bob.user):
            with pytest.raises(NotLoadedError):
                seat.trust.resolve(name)


async def test_a_directory_that_connects_again_admits_nobody_who_was_revoked_meanwhile(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is asked again before the client starts."""
    alice, bob = realm.person("alice"), realm.add("bob")
    async with realm.seat(alice, publish=False, wait=0.1) as seat:
        assert seat.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000) is not None
    await realm.revoke(bob.user)
    withhold(monkeypatch)
    answer_late(monkeypatch, 0.5)
    async with realm.link(alice) as link, seat.directory.following(link, lambda _: None):
        with pytest.raises((NotLoadedError, SenderRevokedError)):
            seat.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000)


async def test_a_directory_that_connects_later_is_not_stale_yet(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = realm.person("alice")
    directory = Directory(realm.trust(realm.login(alice)))
    monkeypatch.setattr(module, "monotonic", lambda: monotonic() + 3600.0)
    async with realm.link(alice) as link:
        told = list[XKeyMsgError]()
        async with directory.following(link, told.append):
            assert directory.report().silent < 600
    assert not any("has not answered" in str(error) for error in told)


async def test_a_directory_follows_one_connection_at_a_time(realm: Realm) -> None:
    """Otherwise the second one makes names unknown to the first."""
    alice = realm.person("alice")
    async with realm.seat(alice, publish=False) as seat, realm.link(alice) as link:
        with pytest.raises(ConfigurationError, match="in use"):
            async with seat.directory.following(link, lambda _: None):
                pass
        assert seat.directory.is_loaded
    async with realm.link(alice) as link, seat.directory.following(link, lambda _: None):
        await seat.directory.loaded(DEADLINE)


@pytest.mark.parametrize("where", ["bucket", "server"])
@pytest.mark.parametrize("target", ["user", "xkey"])
async def test_a_reader_that_starts_admits_nobody_who_was_revoked_before(
    realm: Realm, monkeypatch: pytest.MonkeyPatch, target: str, where: str
) -> None:
    """The folder has the account JWT from before, and the bucket is not read yet."""
    alice, bob = realm.person("alice"), realm.add("bob")
    await realm.revoke(bob.user if target == "user" else bob.pair.public, where)
    if where == "server":
        answer_late(monkeypatch, 0.5)
    withhold(monkeypatch)
    async with realm.seat(alice, publish=False, wait=0.0) as seat:
        with pytest.raises((NotLoadedError, SenderRevokedError)):
            seat.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000)


async def test_a_reader_of_a_bucket_that_does_not_answer_admits_whom_the_folder_has(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that withholds entries does not stop a receiver that restarts."""
    alice, bob = realm.person("alice"), realm.add("bob")
    withhold(monkeypatch)
    monkeypatch.setattr(BucketReader, "get", _never)
    async with realm.seat(alice, publish=False, wait=0.0) as seat:
        assert seat.trust.admit(bob.pair.public, "ehr.new", realm.now * 1000) is not None


async def test_a_client_starts_though_the_server_does_not_show_the_account(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_accounts(monkeypatch, 0.1)
    answer_late(monkeypatch, DEADLINE)
    async with realm.seat(realm.person("alice"), publish=False, wait=0.0) as seat:
        assert not seat.directory.is_loaded


async def test_an_unforeseen_error_about_the_account_does_not_stop_loading(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_claims, "account_in", Mock(side_effect=RuntimeError))
    async with realm.seat(realm.person("alice"), publish=False) as seat:
        assert seat.directory.is_loaded
        assert seat.directory.report().failed == ("account",)


async def test_an_account_jwt_by_the_operators_identity_is_not_published_twice(
    realm: Realm,
) -> None:
    async with realm.admin() as link:
        text = realm.clinic_jwt(age=5, issuer=realm.operator)
        await realm.put(link, Place(realm.account.public, ""), text.encode())
    alice = realm.person("alice")
    trust = realm.trust(realm.login(alice), operator_identity_issues=True)
    directory = Directory(trust, wait=DEADLINE)
    async with realm.link(alice) as link, directory.following(link, lambda _: None):
        assert await directory.publish_account() == directory.report().revision


async def test_a_user_who_may_not_publish_the_account_says_what_to_run(realm: Realm) -> None:
    alice = realm.person("alice")
    await realm.push(realm.clinic_jwt(age=10))
    account = f"$KV.XKEYS.{realm.account.public}.account"
    async with realm.seat(alice, jwt={"pub": {"deny": [account]}}) as seat:
        seat.directory.look_again()
        await until(lambda: any("run `xkeymsg trust push`" in each for each in seat.told))


async def test_a_sender_that_resolves_with_an_old_revision_is_counted(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is behind once the bucket has been past its revision for two questions."""
    monkeypatch.setattr(module, "EVERY", 0.1)
    monkeypatch.setattr(module, "AGAIN", 0.05)
    alice, bob = realm.person("alice"), realm.person("bob")
    async with realm.seat(alice) as at_alice, realm.seat(bob) as at_bob:
        await at_bob.resolves("alice", alice)
        sealer, to = Sealer(alice.pair, identity=alice.user), at_bob.trust.resolve("bob")
        report = at_bob.directory.report
        async with at_bob.client.subscribe("ehr.>") as messages:
            await at_bob.client.flush()

            async def behind(revision: int) -> int:
                sealed = sealer.seal(b"", to=to, subject="ehr.new", revision=revision)
                await at_alice.client.js.api.link.publish("ehr.new", sealed)
                await asyncio.wait_for(anext(messages), 60)
                return report().behind

            assert await behind(report().revision) == 0
            while await behind(report().revision - 1) == 0:  # noqa: ASYNC110 - it is asked for
                await asyncio.sleep(0.05)
            assert await behind(report().revision) == 0


async def test_a_stream_message_is_held_until_the_directory_is_read(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-21."""
    alice, bob = realm.person("alice"), realm.person("bob")
    gate = asyncio.Event()
    consume = BucketReader.consume

    async def late(*arguments: Any) -> tuple[int, bool]:
        await gate.wait()
        return await consume(*arguments)

    async with realm.seat(alice) as at_alice:
        async with realm.seat(bob) as at_bob:
            await at_alice.resolves("bob", bob)
            await at_bob.client.js.add_stream("EHR", "ehr.>")
        await at_alice.client.js.publish("ehr.new", b"kept", to="bob")
    monkeypatch.setattr(BucketReader, "consume", late)
    monkeypatch.setattr(BucketReader, "get", _nothing)
    handled, asked = asyncio.Event(), list[str | None]()
    monkeypatch.setattr(Published, "want", lambda _, user: asked.append(user))

    async def work(message: Message) -> None:
        assert message.data == b"kept"
        handled.set()

    async with realm.seat(bob, publish=False, wait=0.0) as at_bob:
        policy = FailurePolicy(deliveries=2, backoff=0.05, patience=0.0)
        async with at_bob.client.js.consume(
            "EHR", "bob", work, create=DurableOptions(), policy=policy
        ):
            await until(lambda: len(asked) > 3)  # more often than a handler's deliveries
            assert not handled.is_set()
            gate.set()
            async with asyncio.timeout(120):
                await handled.wait()


async def _nothing(*_: object) -> None:
    return None


async def _never(*_: object) -> None:
    raise DeliveryError("withheld")


async def test_the_program_of_the_page_runs(realm: Realm, tmp_path: Path) -> None:
    page = (ROOT / "docs/directory.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    alice, claims = realm.person("alice"), realm.person("claims", realm.insurer_key)
    for text, value in {
        "HOSPITAL": realm.folder,
        "O…": realm.operator.public,
        "A…": realm.insurer.public,
        "alice.creds": realm.login(alice, "billing"),
        "marks.json": tmp_path / "marks.json",
    }.items():
        assert f'"{text}"' in program
        program = program.replace(f'"{text}"', f'"{value}"')
    jwt, certificates = realm.texts(alice, "billing")
    names: dict[str, Any] = {
        "Trust": Trust, "Directory": Directory, "connect": connect, "url": realm.server.url,
        "alice": alice.pair, "jwt": jwt, "certificates": certificates,
    }  # fmt: skip
    async with realm.seat(claims):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        await eval(compile(program, "docs/directory.md", "exec", flags=flags), names)
