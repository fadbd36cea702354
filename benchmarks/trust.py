"""Chains of NATS JWTs: what a verdict costs, and 10,000 users from a folder.

A cold chain is compared with its four signature checks by libsodium alone; a user with its
certificate, under a known account, with its two. The folder is loaded in a process of its own.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from nacl import bindings

from benchmarks.harness import Contender, repeated
from benchmarks.report import AnyPromise, Promise, Report
from xkeymsg import Trust, XKeyPair
from xkeymsg.nkey import Prefix, SigningKey, decode_public, encode_seed
from xkeymsg.trust import jwt
from xkeymsg.trust.chain import TrustPolicy, authorize, certify, identify
from xkeymsg.trust.claims import Account, Certificate, Operator, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.jwt import UNLIMITED_ACCOUNT, UNLIMITED_USER, Kind, issue
from xkeymsg.trust.marks import Marks

__all__ = ("PROMISES", "Realm", "resident", "suite")

_ROOT: Final = Path(__file__).parent.parent
_USERS: Final = 10_000
_DAY: Final = 86_400

_COLD, _FOUR = "a whole chain", "its four signature checks"
_WARM, _TWO = "user and certificate", "its two signature checks"

PROMISES: tuple[AnyPromise, ...] = (
    Promise(title=_COLD, of=_COLD, against=_FOUR, target="≤ 1.6"),
    Promise(title=_WARM, of=_WARM, against=_TWO, target="≤ 1.4"),
)


class _Chain(NamedTuple):
    operator: str
    account: str
    user: str
    certificate: str


class Realm:
    """An operator, an account, and claims by them."""

    def __init__(self) -> None:
        self.now = int(time.time())
        self.operator, self.operator_key = _key(Prefix.OPERATOR), _key(Prefix.OPERATOR)
        self.account, self.account_key = _key(Prefix.ACCOUNT), _key(Prefix.ACCOUNT)
        self.operator_jwt = self._issue(
            Kind.OPERATOR, self.operator, self.operator.public,
            signing_keys=[self.operator_key.public],
        )  # fmt: skip
        self.account_jwt = self._issue(
            Kind.ACCOUNT, self.operator_key, self.account.public,
            signing_keys=[self.account_key.public], **UNLIMITED_ACCOUNT,
        )  # fmt: skip
        self.policy = TrustPolicy(anchors=frozenset({self.operator.public}))

    def user(self, name: str, xkey: str) -> _Chain:
        """Issue a user and its certificate."""
        key = _key(Prefix.USER)
        nats = {"issuer_account": self.account.public, "tags": ["perm:clinic"], **UNLIMITED_USER}
        text = issue(Kind.USER, self.account_key, key.public, nats, issued=self.now - 60, name=name)
        certificate = issue(
            Kind.XKEY, key, xkey, {"issuer_account": self.account.public},
            issued=self.now, not_before=self.now, expires=self.now + _DAY,
        )  # fmt: skip
        return _Chain(self.operator_jwt, self.account_jwt, text, certificate)

    def _issue(self, kind: Kind, signer: SigningKey, subject: str, **nats: Any) -> str:
        return issue(kind, signer, subject, nats, issued=self.now - 120)


def _key(kind: Prefix) -> SigningKey:
    return SigningKey(encode_seed(kind, os.urandom(32)), kind)


def suite(report: Report) -> None:
    """Measure chains, lookups, and a folder."""
    realm = Realm()
    chain = realm.user("alice", str(XKeyPair.generate().public))
    report.measure(_COLD, list(_whole(realm, chain)), baseline=_FOUR)
    report.measure(_WARM, list(_under_account(realm, chain)), baseline=_TWO)
    count = _USERS // 10 if report.quick else _USERS
    with tempfile.TemporaryDirectory() as folder:
        _write(realm, Path(folder), count)
        trust = Trust.load(folder, anchor=realm.operator.public)
        name = f"user-{count // 2}"
        [recipient] = trust.resolve(name)
        report.measure(
            "warm lookup",
            [
                Contender(name="a name", batch=repeated(partial(trust.resolve, name))),
                Contender(
                    name="a sender",
                    batch=repeated(partial(trust.admit, recipient.key, "a", realm.now * 1000)),
                ),
            ],
            baseline="a name",
        )
        command = [sys.executable, "-m", "benchmarks.trust", folder, realm.operator.public]
        done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    report.add_table("users from a folder", {f"{count:,} users": json.loads(done.stdout)})


def _whole(realm: Realm, chain: _Chain) -> Iterator[Contender]:
    def verdict() -> Identity:
        jwt._issuer.cache_clear()  # cold: no key is known
        operator, account = Operator.decode(chain.operator), Account.decode(chain.account)
        authority = authorize(
            realm.policy, operator, realm.account.public, [account], realm.now, Marks()
        )
        user = User.decode(chain.user)
        found = identify(authority, user.claims.subject, [user], realm.now, Marks())
        return certify(authority, found, [Certificate.decode(chain.certificate)], realm.now)

    yield Contender(name=_COLD, batch=repeated(verdict))
    yield Contender(name=_FOUR, batch=repeated(partial(_verify, _signed(*chain))))


def _under_account(realm: Realm, chain: _Chain) -> Iterator[Contender]:
    account = Account.decode(chain.account)
    authority = authorize(
        realm.policy, Operator.decode(chain.operator), realm.account.public, [account],
        realm.now, Marks(),
    )  # fmt: skip

    def verdict() -> Identity:
        user = User.decode(chain.user)
        found = identify(authority, user.claims.subject, [user], realm.now, Marks())
        return certify(authority, found, [Certificate.decode(chain.certificate)], realm.now)

    yield Contender(name=_WARM, batch=repeated(verdict))
    yield Contender(name=_TWO, batch=repeated(partial(_verify, _signed(*chain[2:]))))


def _signed(*texts: str) -> list[tuple[bytes, bytes]]:
    """Return the signature with the signed bytes, and the key, of each claim."""
    kinds = (Kind.OPERATOR, Kind.ACCOUNT, Kind.USER, Kind.XKEY)[-len(texts) :]
    found = []
    for text, kind in zip(texts, kinds, strict=True):
        body, _, signature = text.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        key = decode_public(kind.issuer, jwt.decode(text, kind).issuer)
        found.append((raw + kind.domain + body.encode(), key))
    return found


def _verify(signed: list[tuple[bytes, bytes]]) -> None:
    for message, key in signed:
        bindings.crypto_sign_open(message, key)


def _write(realm: Realm, folder: Path, count: int) -> None:
    """Write a store with so many users."""
    users = folder / "accounts" / "A" / "users"
    users.mkdir(parents=True)
    (folder / "O.jwt").write_text(realm.operator_jwt)
    (users.parent / "A.jwt").write_text(realm.account_jwt)
    for number in range(count):
        name = f"user-{number}"
        chain = realm.user(name, str(XKeyPair.generate().public))
        (users / f"{name}.jwt").write_text(chain.user)
        (users / f"{name}.xkeys").write_text(chain.certificate)


def resident() -> int:
    """Return the bytes of memory in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _load(folder: str, anchor: str) -> None:
    before, begun, used = resident(), time.perf_counter(), time.process_time()
    trust = Trust.load(folder, anchor=anchor)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    count = len(trust.members.identities)
    figures = {"load, s": seconds, "load, CPU s": cpu}
    figures["resident bytes each"] = (resident() - before) / count
    time.sleep(2.5)  # files that have just been written are read again
    trust.reload(force=True)
    begun = time.perf_counter()
    trust.reload(force=True)
    figures["check for changes, s"] = time.perf_counter() - begun
    begun = time.perf_counter()
    trust.resolve("perm:clinic")
    figures["all as perm:clinic, s"] = time.perf_counter() - begun
    print(json.dumps(figures))


if __name__ == "__main__":
    _load(*sys.argv[1:])
