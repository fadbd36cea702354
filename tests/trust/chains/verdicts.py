"""The verdict on a chain: ours, and that of a real nats-server in operator mode."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Final

from tests.trust.chains.rows import ADMITTED, REFUSED, Row
from tests.trust.chains.world import Chain, Key, b64
from xkeymsg.errors import ConfigurationError, TrustError
from xkeymsg.nkey import Prefix
from xkeymsg.testing import NATSServer
from xkeymsg.trust.chain import authorize, certify, check_certificate, identify
from xkeymsg.trust.claims import Account, Certificate, Operator, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.marks import Marks, Seen

__all__ = ("Login", "judge", "ours", "server_verdicts", "subjects")

LATE: Final = 0.05
"""How long after its PONG a server may still throw out a client that is to be admitted, in seconds.

A timer of `exp` does so; a client that is to be refused is given more time.
"""
WAIT: Final = 60.0


def judge(chain: Chain, now: int) -> Identity:
    """Our verdict: every claim is read, and everything has to hold now."""
    marks = Marks()
    for subject, issuers in chain.marks.items():
        marks.record(Seen(subject, issuer, issued) for issuer, issued in issuers.items())
    operator = Operator.decode(chain.operator)
    accounts = [Account.decode(text) for text in chain.accounts]
    users = [User.decode(text) for text in chain.users]
    certificates = [Certificate.decode(text) for text in chain.certificates if text]
    authority = authorize(chain.policy, operator, chain.account, accounts, now, marks)
    identity = identify(authority, chain.user, users, now, marks)
    identity.check_life(now)
    for certificate in certificates:
        check_certificate(authority, identity, certificate, now)
    identity = certify(authority, identity, certificates, now)
    for key in identity.keys:
        identity.check_sender(key.key, now)
    return identity


def ours(chain: Chain, now: int) -> tuple[str, Identity | None]:
    """Our verdict as in a row: `admitted`, or the code of the refusal."""
    try:
        return ADMITTED, judge(chain, now)
    except TrustError as error:
        return error.code, None


def subjects(row: Row, chain: Chain, decisions: Mapping[str, bool]) -> dict[str, bool]:
    """The subjects of a row with the keys of its chain in them."""
    return {
        subject.format(account=chain.account, user=chain.user): decision
        for subject, decision in decisions.items()
    }


class Login:
    """One client of a server, as bytes."""

    def __init__(self, server: NATSServer, jwt: str, key: Key, *, signs: bool = True) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), WAIT)
        self._file = self._socket.makefile("rb")
        info = json.loads(self._file.readline().removeprefix(b"INFO "))
        sig = b64(key.sign(info["nonce"].encode())) if signs else ""
        options = {"jwt": jwt, "sig": sig, "verbose": False, "lang": "test", "version": "1"}
        connect = json.dumps(options | {"protocol": 1, "pedantic": False})
        self._send(f"CONNECT {connect}\r\nPING\r\n")
        self.admitted = "PONG" in list(self._answers())

    def _send(self, text: str) -> None:
        with suppress(OSError):  # refused while we were still writing: the answers say so
            self._socket.sendall(text.encode())

    def _answers(self) -> Iterator[str]:
        """Yield lines up to the next PONG or the end."""
        try:
            for line in self._file:
                text = line.decode(errors="replace").strip()
                yield text
                if text == "PONG":
                    return
        except OSError:
            return

    def may_send(self, subject: str) -> bool:
        self._send(f"PUB {subject} 0\r\n\r\nPING\r\n")
        answers = list(self._answers())
        assert answers[-1] == "PONG", answers
        return not any("Permissions Violation" in answer for answer in answers)

    def request(self, subject: str, payload: str) -> str:
        """Ask a service, and return its answer."""
        size = len(payload.encode())
        self._send(f"SUB answers 1\r\nUNSUB 1 1\r\nPUB {subject} answers {size}\r\n{payload}\r\n")
        for line in self._file:
            if line.startswith(b"MSG answers "):
                return self._file.read(int(line.split()[-1]) + 2).decode().strip()
        raise AssertionError(subject)

    def ends(self) -> None:
        """Wait for the server to close the connection."""
        with suppress(ConnectionError):
            while self._file.readline():
                pass

    def is_thrown_out(self, wait: float = 0) -> bool:
        """Whether an error or the end has come since, or comes in time."""
        while select.select([self._socket], [], [], wait)[0]:
            line = self._file.readline()
            if not line or line.startswith(b"-ERR"):
                return True
        return False

    def close(self) -> None:
        self._file.close()
        self._socket.close()


Verdict = tuple[str, dict[str, bool]]


def server_verdicts(rows: Sequence[Row], now: int) -> dict[str, Verdict]:
    """What a server says of each row: the verdict, and on which subjects the user may publish."""
    chains = {row.name: row.chain(now) for row in rows}
    ordered = sorted(rows, key=lambda row: chains[row.name].operator)
    found: dict[str, Verdict] = {}
    for operator, group in groupby(ordered, key=lambda row: chains[row.name].operator):
        found |= _of_one_operator(operator, list(group), chains)
    return found


def _of_one_operator(
    operator: str, rows: Sequence[Row], chains: Mapping[str, Chain]
) -> dict[str, Verdict]:
    preload = "\n".join(
        f'  {chains[row.name].account}: "{chains[row.name].accounts[0]}"' for row in rows
    )
    config = (
        f'operator: "{operator}"\nresolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n'
        "max_control_line: 32KB\n"
    )
    server = NATSServer(config)
    try:
        with server:
            return _ask(server, rows, chains)
    except ConfigurationError:  # one of the texts keeps the server from starting
        if len(rows) == 1:
            return {rows[0].name: (REFUSED, {})}
        middle = len(rows) // 2
        first = _of_one_operator(operator, rows[:middle], chains)
        return first | _of_one_operator(operator, rows[middle:], chains)


def _ask(
    server: NATSServer, rows: Sequence[Row], chains: Mapping[str, Chain]
) -> dict[str, Verdict]:
    logins: dict[str, Login] = {}
    sent: dict[str, dict[str, bool]] = {}
    try:
        for row in rows:
            chain = chains[row.name]
            key = Key(Prefix.USER, row.name)
            login = Login(server, chain.users[0], key, signs=row.signs)
            logins[row.name] = login
            asked = subjects(row, chain, row.sends) if login.admitted else {}
            sent[row.name] = {subject: login.may_send(subject) for subject in asked}
        time.sleep(LATE)
        found = {}
        for row in rows:
            login, wait = logins[row.name], 0 if row.server == ADMITTED else WAIT
            admitted = login.admitted and not login.is_thrown_out(wait)
            found[row.name] = (ADMITTED if admitted else REFUSED, sent[row.name])
        return found
    finally:
        for login in logins.values():
            login.close()


def identity_json(identity: Identity) -> dict[str, Any]:
    """A verdict as the vectors have it."""
    return {
        "account": identity.account,
        "user": identity.user,
        "name": identity.name,
        "role": identity.role,
        "permissions": sorted(identity.permissions),
        "ungranted": sorted(identity.ungranted),
        "bearer": identity.bearer,
        "xkeys": [str(each.key) for each in identity.keys],
    }
