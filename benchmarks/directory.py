"""The directory: reading 10,000 identities, verifying them in slices, lookups, a revocation.

Reading ends when every entry can be found; verification goes on in the background, as in a daemon,
which has the garbage collector ignore what was verified, ten times a second. One reader does
without that, to show what it is for. Each reader is a process of its own, with nats-server 0.1 ms
away.

A revocation ends on the wire: with the last message that was sealed to the user.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.promises import Figure
from benchmarks.report import AnyPromise, Report
from benchmarks.trust import Realm, resident
from xkeymsg import Directory, Recipient, Trust, TrustError, XKeyPair, connect
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.common.directory import SETTLING
from xkeymsg.daemons.common.heap import set_aside
from xkeymsg.directory.bucket import create_bucket
from xkeymsg.directory.settings import subject_of
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.creds import format_creds
from xkeymsg.trust.jwt import UNLIMITED_USER, Kind, decode, issue
from xkeymsg.trust.stores.lookup import Lookup
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("PROMISES", "suite")

_ROOT: Final = Path(__file__).parent.parent
_USERS: Final = 10_000
_JETSTREAM: Final = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
_READ, _REVOKED, _NAMED = "users from a directory", "a revocation", "publish to one recipient"
_KINDS: Final = {
    "own": "own account",
    "other": "other account",
    "plain": "own account, GC as it is",
}
_PUBLISHED: Final = 500
"""Messages of one batch."""


def _row(kind: str, count: int = _USERS) -> str:
    return f"{count:,} users, {_KINDS[kind]}"


def _bound(kind: str, column: str, target: str) -> Figure:
    return Figure(title=_READ, of=_row(kind), column=column, target=target)


PROMISES: tuple[AnyPromise, ...] = (
    _bound("own", "read, s", "≤ 1.2"),
    _bound("other", "read, s", "≤ 2.2"),
    _bound("own", "longest slice, ms", "≤ 5"),
    _bound("own", "longest slice, CPU ms", "≤ 5"),
    _bound("other", "longest slice, ms", "≤ 5"),
    _bound("other", "longest slice, CPU ms", "≤ 5"),
    _bound("own", "resident bytes each", "≤ 8,000"),
    _bound("own", "lookup, µs", "≤ 5"),
    _bound("own", "first lookup, µs", "≤ 1,000"),
    Figure(title=_REVOKED, of=f"{_USERS:,} users", column="seconds", target="< 1"),
    Figure(title=_NAMED, of="by name", column="µs more than by key", target="≤ 1"),
)


def suite(report: Report) -> None:
    """Measure a directory on a server of its own."""
    count = _USERS // 10 if report.quick else _USERS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        town = _Town(folder)
        with NATSServer(town.config) as server:
            asyncio.run(town.fill(server.url, count))
            rows: dict[str, dict[str, float]] = {}
            for kind in _KINDS:
                command = [
                    sys.executable, "-m", "benchmarks.directory", name, server.url,
                    town.realm.operator.public, kind, town.realm.account.public,
                ]  # fmt: skip
                done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True)
                rows[_row(kind, count)] = json.loads(done.stdout)
            seconds, times = asyncio.run(town.publish(server.url))
    report.add_table(_READ, rows)
    report.add_table(_REVOKED, {f"{count:,} users": {"seconds": seconds}})
    by_name, by_key = times
    more = {"µs": by_name, "µs more than by key": by_name - by_key}
    report.add_table(_NAMED, {"by name": more, "by key": {"µs": by_key}})


class _Town:
    """The account with the bucket, and another one."""

    def __init__(self, folder: Path) -> None:
        self.realm = realm = Realm()
        self.folder = folder
        system, other = (SigningKey(_seed(Prefix.ACCOUNT), Prefix.ACCOUNT) for _ in range(2))
        own = realm.account.public
        texts = {
            own: self._account(
                own,
                exports=[
                    {"name": "r", "subject": "$JS.API.DIRECT.GET.KV_XKEYS", "type": "service",
                     "response_type": "Stream"},
                    {"name": "e", "subject": "_XKM.DIR.>", "type": "stream"},
                ],
                limits={**_limits(), **_JETSTREAM},
            ),
            other.public: self._account(
                other.public,
                imports=[
                    {"name": "r", "subject": "$JS.API.DIRECT.GET.KV_XKEYS", "account": own,
                     "type": "service"},
                    {"name": "e", "subject": "_XKM.DIR.>", "account": own, "type": "stream"},
                ],
                limits=_limits(),
            ),
            system.public: self._account(system.public, limits=_limits()),
        }  # fmt: skip
        preload = "\n".join(f"{key}: {text}" for key, text in texts.items())
        self.config = (
            f"operator: {realm.operator_jwt}\nsystem_account: {system.public}\n"
            f"resolver: MEMORY\nresolver_preload: {{ {preload} }}\n"
            'jetstream { store_dir: "{dir}/js" }\n'
        )
        (folder / "O.jwt").write_text(realm.operator_jwt)
        for name, key in (("OWN", own), ("OTHER", other.public)):
            path = folder / "accounts" / name
            path.mkdir(parents=True)
            (path / f"{name}.jwt").write_text(texts[key])
            self._login(name.lower(), key)

    def _account(self, key: str, **nats: Any) -> str:
        realm = self.realm
        nats |= {"signing_keys": [realm.account_key.public]}
        return issue(
            Kind.ACCOUNT,
            realm.operator_key,
            key,
            nats,
            issued=realm.now - 50 * (1 + ("revocations" not in nats)),
        )

    def _login(self, name: str, account: str) -> None:
        seed = _seed(Prefix.USER)
        user = SigningKey(seed, Prefix.USER)
        nats = {"issuer_account": account, **UNLIMITED_USER}
        text = issue(
            Kind.USER, self.realm.account_key, user.public, nats, issued=self.realm.now, name=name
        )
        path = self.folder / f"{name}.creds"
        path.write_text(format_creds(text, seed))
        path.chmod(0o600)

    async def fill(self, url: str, count: int) -> None:
        async with open_link(_options(self.folder, url, "own")) as link:
            await create_bucket(API(link))
            for number in range(count):
                chain = self.realm.user(f"user-{number}", str(XKeyPair.generate().public))
                user = decode(chain.user, Kind.USER).subject
                place = Place(self.realm.account.public, user)
                entry = f"{chain.user}\n{chain.certificate}".encode()
                await link.publish(subject_of(place), entry)
            await link.confirm()

    async def publish(self, url: str) -> tuple[float, tuple[float, float]]:
        """Return the seconds from the put of an account JWT to the last message for the user.

        Also return the microseconds of a message by name, and by key.
        """
        realm, name = self.realm, "user-3"
        trust = Trust.load(
            self.folder, anchor=realm.operator.public, creds=self.folder / "own.creds"
        )
        directory = Directory(trust, wait=120.0)
        async with (
            connect(
                _options(self.folder, url, "own"),
                key=XKeyPair.generate(), trust=trust, directory=directory,
            ) as client,
            open_link(_options(self.folder, url, "own")) as link,
        ):  # fmt: skip
            while directory.report().unverified:  # noqa: ASYNC110 - measured from outside
                await asyncio.sleep(0.01)
            times = await _compare(client, "user-7", trust.resolve("user-7"))
            identities = trust.members.identities.values()
            users = {each.user: realm.now for each in identities if each.name == name}
            text = self._account(
                realm.account.public, limits={**_limits(), **_JETSTREAM}, revocations=users
            )
            begun = last = time.perf_counter()
            await link.publish(subject_of(Place(realm.account.public, "")), text.encode())
            while True:
                try:
                    await client.publish("bench", b"", to=name)
                except TrustError:
                    return last - begun, times
                await client.flush()
                last = time.perf_counter()
                await asyncio.sleep(0.001)


async def _compare(client: Client, name: str, key: tuple[Recipient, ...]) -> tuple[float, float]:
    """Return the least microseconds of a message by name and by key, in batches in turn."""
    least = {"name": float("inf"), "key": float("inf")}
    for _ in range(20):
        for kind, to in (("name", name), ("key", key)):
            begun = time.process_time()
            for _ in range(_PUBLISHED):
                await client.publish("bench", b"", to=to)
            took = (time.process_time() - begun) * 1e6 / _PUBLISHED
            least[kind] = min(least[kind], took)
            await client.flush()
    return least["name"], least["key"]


def _limits() -> dict[str, Any]:
    names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    return dict.fromkeys(names, -1) | {"wildcards": True}


def _seed(kind: Prefix) -> str:
    return encode_seed(kind, os.urandom(32))


def _options(folder: Path, url: str, name: str) -> ConnectOptions:
    return ConnectOptions(servers=(url,), creds=folder / f"{name}.creds")


async def _set_aside(directory: Directory) -> None:
    """Do as a daemon does."""
    while not directory.is_loaded or directory.report().unverified:
        set_aside()
        await asyncio.sleep(SETTLING)


async def _read(folder: Path, url: str, anchor: str, kind: str, account: str) -> dict[str, float]:
    name = "own" if kind == "plain" else kind
    accounts = {} if name == "own" else {"own": account}
    trust = Trust.load(folder, anchor=anchor, creds=folder / f"{name}.creds", accounts=accounts)
    before, slices, used_in = resident(), list[float](), list[float]()
    verify = Lookup.verify

    def timed(self: Lookup, seconds: float) -> None:
        begun, used = time.perf_counter(), time.thread_time()
        verify(self, seconds)
        slices.append(time.perf_counter() - begun)
        used_in.append(time.thread_time() - used)

    Lookup.verify = timed  # type: ignore[method-assign]
    directory = Directory(trust, wait=120.0)
    async with open_link(_options(folder, url, name)) as link, asyncio.TaskGroup() as group:
        if kind != "plain":
            group.create_task(_set_aside(directory))
        begun, used = time.perf_counter(), time.process_time()
        async with directory.following(link, lambda error: print(error, file=sys.stderr)):
            figures = {"read, s": time.perf_counter() - begun}
            figures["read, CPU s"] = time.process_time() - used
            prefix = "" if name == "own" else "own/"
            first = time.perf_counter()
            trust.resolve(f"{prefix}user-7")
            figures["first lookup, µs"] = (time.perf_counter() - first) * 1e6
            while directory.report().unverified:  # noqa: ASYNC110 - measured from outside
                await asyncio.sleep(0.01)
            figures["verified, s"] = time.perf_counter() - begun
            slices.sort()
            figures["longest slice, ms"] = slices[-1] * 1e3
            figures["longest slice, CPU ms"] = max(used_in) * 1e3
            figures["99 % of slices, ms"] = slices[len(slices) * 99 // 100] * 1e3
            figures["resident bytes each"] = (resident() - before) / directory.report().entries
            again = time.perf_counter()
            for _ in range(10_000):
                trust.resolve(f"{prefix}user-7")
            figures["lookup, µs"] = (time.perf_counter() - again) * 100
    return figures


if __name__ == "__main__":
    folder, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(_read(Path(folder), *rest))))
