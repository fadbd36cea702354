"""Claims that change while a server runs: what it does, and what we do (T-6, T-9, T-12).

The server has the full resolver; claims are pushed to it as nsc does. It answers 200 to every
account JWT that can be parsed, whoever issued it and however old it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.trust.chains.verdicts import Login
from tests.trust.chains.world import Key, Scene
from tests.trust.reader import Reader
from xkeymsg.errors import (
    ExpiredClaimError,
    RevokedError,
    RollbackError,
    TrustError,
    WrongIssuerError,
)
from xkeymsg.nkey import Prefix
from xkeymsg.testing import NATSServer

SYSTEM = Scene("system account", int(time.time()))


class Live:
    """A server, and a reader of ours that is shown the same claims."""

    def __init__(self, server: NATSServer, scene: Scene) -> None:
        self.server = server
        self.scene = scene
        self.reader = Reader(scene, operator())
        self.reader.now = scene.now + 60  # the server's clock goes on while this runs
        self.shown: list[str] = []

    def account(self, *keys: Any, age: int, **more: Any) -> str:
        return self.scene.account_jwt(*keys, top={"iat": self.scene.now - age}, **more)

    def push(self, account: str) -> None:
        """Show an account JWT to both, and nothing else."""
        system = Login(self.server, SYSTEM.user_jwt(), SYSTEM.user)
        try:
            answer = system.request("$SYS.REQ.CLAIMS.UPDATE", account)
        finally:
            system.close()
        assert json.loads(answer)["data"]["code"] == 200
        self.shown = [account]

    def connect(self, user: str) -> Login:
        return Login(self.server, user, self.scene.user)

    def login(self, user: str) -> bool:
        """Whether the server takes a user."""
        client = self.connect(user)
        client.close()
        return client.admitted

    def admit(self, user: str) -> None:
        """Have ours decide, or raise its refusal."""
        self.reader.admit(self.shown, [user]).check_life(int(time.time()))


def operator() -> str:
    return SYSTEM.operator_jwt(system_account=SYSTEM.account.public)


@pytest.fixture
def server() -> Iterator[NATSServer]:
    config = (
        f"operator: {operator()}\nsystem_account: {SYSTEM.account.public}\n"
        'resolver: { type: full, dir: "{dir}/accounts" }\n'
        f"resolver_preload: {{ {SYSTEM.account.public}: {SYSTEM.account_jwt()} }}\n"
    )
    with NATSServer(config) as running:
        yield running


@pytest.fixture
def live(server: NATSServer, request: pytest.FixtureRequest) -> Live:
    return Live(server, Scene(request.node.name, int(time.time())))


def refused_by_both(live: Live, user: str, error: type[TrustError]) -> None:
    assert not live.login(user)
    with pytest.raises(error):
        live.admit(user)


def taken_by_both(live: Live, user: str) -> None:
    assert live.login(user)
    live.admit(user)


def test_a_removed_signing_key_silences_what_it_signed_and_nothing_else(live: Live) -> None:
    s = live.scene
    first, second = s.user_jwt(s.key), s.user_jwt(s.second)
    live.push(live.account(s.key, s.second, age=100))
    taken_by_both(live, second)
    removed, other = live.connect(second), live.connect(first)
    live.push(live.account(s.key, age=50))
    removed.ends()
    assert not other.is_thrown_out()
    other.close()
    removed.close()
    refused_by_both(live, second, WrongIssuerError)
    # The mark that the removed key left is not held against a user of the other one.
    assert live.login(first)
    live.admit(first)


@pytest.mark.parametrize("entry", ["user", "*"])
def test_revocation(live: Live, entry: str) -> None:
    s = live.scene
    key = s.user.public if entry == "user" else "*"
    user = s.user_jwt()
    live.push(live.account(s.key, age=100))
    taken_by_both(live, user)
    connected = live.connect(user)
    live.push(live.account(s.key, age=50, revocations={key: s.now - 500}))
    connected.ends()
    connected.close()
    refused_by_both(live, user, RevokedError)
    taken_by_both(live, s.user_jwt(top={"iat": s.now - 499}))


def test_an_account_that_expires(live: Live) -> None:
    s = live.scene
    user = s.user_jwt()
    expires = int(time.time()) + 3
    live.push(s.account_jwt(top={"iat": s.now - 50, "exp": expires}))
    taken_by_both(live, user)
    connected = live.connect(user)
    connected.ends()
    connected.close()
    time.sleep(max(0, expires + 1 - time.time()))
    refused_by_both(live, user, ExpiredClaimError)


def test_an_older_account_jwt_is_taken_by_the_server_and_refused_by_ours(live: Live) -> None:
    s = live.scene
    older = live.account(s.key, s.second, age=100)
    live.push(older)
    live.push(live.account(s.key, age=50))
    live.admit(s.user_jwt())
    live.push(older)
    stolen = s.user_jwt(s.second)
    assert live.login(stolen)
    with pytest.raises(RollbackError):
        live.admit(stolen)


def test_a_foreign_account_jwt_locks_out_everybody_after_a_restart(live: Live) -> None:
    s = live.scene
    user = s.user_jwt()
    honest = live.account(s.key, age=100)
    live.push(honest)
    taken_by_both(live, user)
    live.push(live.account(s.key, age=50, issuer=Key(Prefix.OPERATOR, "foreign")))
    with pytest.raises(WrongIssuerError):
        live.admit(user)
    live.server.restart()
    assert not live.login(user)
    live.shown.append(honest)  # ours takes the honest one, wherever the other comes from
    live.admit(user)
