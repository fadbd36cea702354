"""Errors that nobody has foreseen: they are reported, and stop neither a task nor other entries."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.directory.realm import Realm
from tests.running import until
from tests.trust.store import Person
from xkeymsg import Trust
from xkeymsg.directory import directory as module
from xkeymsg.directory import own_claims
from xkeymsg.directory.events import DirectoryEvents
from xkeymsg.directory.own_claims import OwnClaims
from xkeymsg.directory.reader import BucketReader
from xkeymsg.directory.tasks import DirectoryTasks
from xkeymsg.errors import NotLoadedError, XKeyMsgError
from xkeymsg.trust import members
from xkeymsg.trust.claims import User
from xkeymsg.trust.stores import published_entries
from xkeymsg.trust.stores.judge import Judge
from xkeymsg.trust.stores.lookup import Lookup

SECRET = "content of a message"


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Realm]:
    monkeypatch.setattr(module, "AGAIN", 0.05)
    monkeypatch.setattr(module, "EVERY", 0.2)
    monkeypatch.setattr(own_claims, "EVERY", 0.2)
    monkeypatch.setattr(own_claims, "REPAIR", 0.2)
    realm = Realm(tmp_path / "HOSPITAL")
    async with realm.running():
        yield realm


class Failing:
    """Lets a method fail while `fails` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, where: type, name: str) -> None:
        self.fails = False
        self.count = 0
        method: Callable[..., Any] = getattr(where, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if self.fails:
                self.count += 1
                raise RuntimeError(SECRET)
            return method(*arguments, **more)

        monkeypatch.setattr(where, name, call)


@pytest.mark.parametrize(
    ("task", "where", "name"),
    [
        ("verify", Lookup, "verify"),
        ("verify", Trust, "take_news"),
        ("read", BucketReader, "last"),
        ("watch", Trust, "close_resolving"),
        ("account", OwnClaims, "may"),
        ("repair", BucketReader, "get"),
    ],
)
async def test_a_task_that_fails_is_reported_and_starts_again(
    running: Realm, monkeypatch: pytest.MonkeyPatch, task: str, where: type, name: str
) -> None:
    realm, failing = running, Failing(monkeypatch, where, name)
    alice, bob = realm.person("alice"), realm.person("bob")
    async with (
        realm.seat(alice, stale_after=60, fail_closed=True) as at_alice,
        realm.admin() as link,
    ):
        await at_alice.directory.loaded(60)
        assert at_alice.directory.report().failed == ()
        failing.fails = True
        await realm.put(link, realm.place(bob), realm.entry(bob))
        await realm.push(realm.clinic_jwt(age=10))
        at_alice.directory.look_again()
        await until(lambda: failing.count)
        carol = realm.person("carol")  # another task may have met the news before
        await realm.put(link, realm.place(carol), realm.entry(carol))
        await until(lambda: task in at_alice.directory.report().failed)
        await until(lambda: failing.count >= 2)
        if task != "watch":  # which closes
            await at_alice.fails("alice", NotLoadedError)
        failing.fails = False
        await until(lambda: at_alice.directory.report().failed == ())
        await at_alice.resolves("bob", bob)
        [told] = {each for each in at_alice.told if f"task '{task}'" in each}
        assert "RuntimeError at test_tasks.py" in told
        assert SECRET not in str(at_alice.told)


async def test_events_that_fail_are_subscribed_to_again(
    running: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    realm = running
    alice, bob = realm.person("alice"), realm.person("bob")
    subscribed = list[None]()
    subscribe = DirectoryEvents.subscribe

    async def counted(events: DirectoryEvents) -> Any:
        subscribed.append(None)
        return await subscribe(events)

    monkeypatch.setattr(DirectoryEvents, "subscribe", counted)
    async with realm.seat(alice) as at_alice, realm.admin() as link:
        await at_alice.directory.loaded(60)
        put = at_alice.directory.trust.published
        assert put is not None
        with monkeypatch.context() as patch:
            patch.setattr(put, "put", lambda *_, **__: 1 / 0)
            await realm.put(link, realm.place(bob), realm.entry(bob))
            await until(lambda: len(subscribed) > 1)
        await at_alice.resolves("bob", bob)


async def test_a_task_that_keeps_failing_waits_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, sleep = list[float](), asyncio.sleep

    async def slept(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", slept)
    kept, told = DirectoryTasks(), list[XKeyMsgError]()

    def tell(error: XKeyMsgError) -> None:
        told.append(error)
        raise ValueError(SECRET)  # an application's callback

    async def work() -> None:
        if len(pauses) < 12:
            raise KeyError(SECRET)

    kept.tell = tell
    await kept.keep("test", work)
    assert len(told) == 1
    assert SECRET not in str(told)
    assert pauses[0] < 1
    assert all(60 <= each <= 75 for each in pauses[-3:])


async def test_a_task_that_has_failed_and_then_ends_is_not_failed() -> None:
    """`fetch` ends as soon as everything is read, perhaps before it has run for a time."""
    kept, told, runs = DirectoryTasks(), list[XKeyMsgError](), list[None]()

    async def work() -> None:
        runs.append(None)
        if len(runs) == 1:
            raise KeyError(SECRET)

    kept.tell = told.append
    await kept.keep("test", work)
    assert len(told) == 1
    assert kept.failed == set()
    assert kept.why("test") == ""


def broken(monkeypatch: pytest.MonkeyPatch, step: str, mallory: Person) -> None:
    """Let one step of judging raise something unforeseen for one user."""
    steps: dict[str, tuple[Any, Callable[..., bool]]] = {
        "form_fault": (published_entries, lambda place, _: place.user == mallory.user),
        "decode": (User, lambda text: f'"{mallory.user}"' in claims_of(text)),
        "identify": (members, lambda _, user, *__: user == mallory.user),
        "take": (Judge, lambda *arguments: arguments[2].place.user == mallory.user),
    }
    where, is_about = steps[step]
    call: Any = getattr(where, step)

    def raising(*arguments: Any) -> Any:
        if is_about(*arguments):
            raise RuntimeError(SECRET)
        return call(*arguments)

    monkeypatch.setattr(where, step, raising)


def claims_of(text: str) -> str:
    """The unverified claims of a JWT."""
    part = text.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()


@pytest.mark.parametrize("step", ["form_fault", "decode", "identify", "take"])
async def test_an_entry_that_raises_something_unforeseen_stops_no_other_entry(
    running: Realm, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Nor the judging of account JWTs, which bring revocations; and it is no reason to be unready:
    whoever may write an entry could stop every daemon.
    """
    realm = running
    alice, bob, mallory = (realm.person(name) for name in ("alice", "bob", "mallory"))
    async with realm.admin() as link:
        await realm.put(link, realm.place(mallory), realm.entry(mallory))
        await realm.put(link, realm.place(bob), realm.entry(bob))
    broken(monkeypatch, step, mallory)
    async with realm.seat(alice) as at_alice:
        await at_alice.resolves("bob", bob)
        with pytest.raises(XKeyMsgError):
            at_alice.trust.resolve("mallory")
        report = at_alice.directory.report()
        assert report.failed == ()
        assert any(mallory.user in str(each) for each in report.alarms)
        assert SECRET not in str(report.alarms)
        realm.revocations[bob.user] = realm.now
        await realm.push(realm.clinic_jwt(age=10))
        at_alice.directory.look_again()
        await until(lambda: at_alice.trust.members.refused.get(("", bob.user)) is not None)
        await at_alice.resolves("alice", alice)


async def test_a_directory_whose_task_failed_makes_no_daemon_ready(
    running: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, Lookup, "verify")
    failing.fails = True
    async with running.seat(running.person("alice"), publish=False, wait=0.0) as seat:
        await until(lambda: seat.directory.report().failed == ("verify",))
        failing.fails = False
        await seat.directory.loaded(60)
