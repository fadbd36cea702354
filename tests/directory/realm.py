"""An operator with two accounts and a bucket, on a real server; and clients with a directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import xkeymsg
from tests.running import DEADLINE, until
from tests.trust.chains.world import Key, token
from tests.trust.store import Person, Store
from xkeymsg import Directory, Trust
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.directory.bucket import create_bucket
from xkeymsg.directory.reader import BucketReader
from xkeymsg.directory.settings import subject_of
from xkeymsg.errors import DeliveryError
from xkeymsg.nkey import Prefix
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.creds import format_creds
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("Realm", "Seat", "withhold")

JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
ALL = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True}
LIMITS = {**ALL, "conn": -1, "leaf": -1}
OWN_ENTRY = "$KV.XKEYS.{{account-subject()}}.{{subject()}}"


class Seat:
    """A connected client with its directory, and the problems it was told."""

    def __init__(self, client: Client, directory: Directory, told: list[str]) -> None:
        self.client = client
        self.directory = directory
        self.trust = directory.trust
        self.told = told

    async def resolves(self, name: str, person: Person) -> None:
        """Wait until a name stands for the current xkey of a person."""

        def does() -> bool:
            try:
                [found] = self.trust.resolve(name)
            except xkeymsg.TrustError:
                return False
            return found.key == person.pair.public

        await until(does)

    async def fails(self, name: str, error: type[xkeymsg.TrustError]) -> None:
        """Wait until a name cannot be resolved for this reason."""

        def does() -> bool:
            try:
                self.trust.resolve(name)
            except xkeymsg.TrustError as refusal:
                return type(refusal) is error
            return False

        await until(does)


class Realm(Store):
    """CLINIC has the bucket, INSURER reads it; the folder has their JWTs, and no user."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.system, self.insurer = Key(Prefix.ACCOUNT, "realm SYS"), Key(Prefix.ACCOUNT, "insurer")
        self.insurer_key = Key(Prefix.ACCOUNT, "insurer signing")
        self.server: NATSServer
        self.revocations: dict[str, int] = {}
        self.signing = [self.key, self.second]
        self.write_operator(system_account=self.system.public)
        self.write_clinic()
        self.write("accounts/INSURER/INSURER.jwt", self.insurer_jwt())

    def write_operator(self, keys: Any = (), age: int = 1000, **nats: Any) -> Path:
        own = self.operator.public
        nats |= {"signing_keys": [self.operator_key.public], "type": "operator", "version": 2}
        claims = {"iat": self.now - age, "iss": own, "sub": own, "name": "HOSPITAL", "nats": nats}
        return self.write("HOSPITAL.jwt", token(claims, self.operator))

    def clinic_jwt(self, age: int = 900, **more: Any) -> str:
        exports = [
            {"name": "read", "subject": "$JS.API.DIRECT.GET.KV_XKEYS", "type": "service",
             "response_type": "Stream"},
            {"name": "events", "subject": "_XKM.DIR.>", "type": "stream"},
            {"name": "write", "subject": "$KV.XKEYS.*.*", "type": "service",
             "response_type": "Singleton", "account_token_position": 3},
            {"name": "mail", "subject": "mail.>", "type": "stream"},
        ]  # fmt: skip
        template = {"pub": {"allow": [OWN_ENTRY, "$JS.API.DIRECT.GET.KV_XKEYS", "ehr.>"]}}
        return self.account_jwt(
            *self.signing, self.scope("daemon", **template), age=age,
            limits={**LIMITS, **JETSTREAM}, exports=exports, revocations=self.revocations,
            imports=[self.info(self.account), self.claims()], tags=["grant:daemon:ward"], **more,
        )  # fmt: skip

    def insurer_jwt(self, age: int = 900, **more: Any) -> str:
        def taken(name: str, subject: str, kind: str) -> dict[str, str]:
            return {
                "name": name, "subject": subject, "account": self.account.public, "type": kind,
            }  # fmt: skip

        imports = [
            taken("mail", "mail.>", "stream"),
            taken("read", "$JS.API.DIRECT.GET.KV_XKEYS", "service"),
            taken("events", "_XKM.DIR.>", "stream"),
            taken("write", f"$KV.XKEYS.{self.insurer.public}.*", "service"),
            self.info(self.insurer),
        ]
        return self.account_jwt(
            self.insurer_key, account=self.insurer, age=age, limits=LIMITS, imports=imports,
            exports=[{"name": "claims", "subject": "claims.>", "type": "stream"}], **more,
        )  # fmt: skip

    def claims(self) -> dict[str, str]:
        """The import of the insurer's messages."""
        return {
            "name": "claims", "subject": "claims.>", "account": self.insurer.public,
            "type": "stream",
        }  # fmt: skip

    def info(self, account: Key) -> dict[str, str]:
        """The import of the account's own JWT."""
        subject = f"$SYS.REQ.ACCOUNT.{account.public}.INFO"
        return {
            "name": "info", "subject": subject, "account": self.system.public, "type": "service",
        }  # fmt: skip

    def system_jwt(self) -> str:
        export = {
            "name": "account-monitoring-services", "subject": "$SYS.REQ.ACCOUNT.*.*",
            "type": "service", "response_type": "Stream", "account_token_position": 4,
        }  # fmt: skip
        return self.account_jwt(account=self.system, limits=LIMITS, exports=[export])

    def write_clinic(self, **more: Any) -> Path:
        return self.write("accounts/CLINIC/CLINIC.jwt", self.clinic_jwt(**more))

    @asynccontextmanager
    async def running(self, *, bucket: bool = True) -> AsyncIterator[None]:
        """Run the server, with a bucket."""
        accounts = {
            self.system.public: self.system_jwt(),
            self.account.public: self.clinic_jwt(),
            self.insurer.public: self.insurer_jwt(),
        }
        preload = "\n".join(f"{key}: {text}" for key, text in accounts.items())
        config = (
            f"operator: {(self.folder / 'HOSPITAL.jwt').read_text()}\n"
            f"system_account: {self.system.public}\n"
            'resolver: { type: full, dir: "{dir}/accounts" }\n'
            f"resolver_preload: {{ {preload} }}\n"
            'jetstream { store_dir: "{dir}/js" }\n'
        )
        with NATSServer(config) as self.server:
            if bucket:
                async with self.admin() as link:
                    await create_bucket(API(link))
            yield

    # --- people -----------------------------------------------------------------------------------

    def person(self, name: str, issuer: Key | None = None) -> Person:
        """A user who is in no folder."""
        return Person(name, issuer or self.key)

    def of(self, person: Person) -> Key:
        """The account of a person."""
        return self.insurer if person.issuer is self.insurer_key else self.account

    def texts(self, person: Person, *permissions: str, **more: Any) -> tuple[str, list[str]]:
        """The user JWT, and the certificates."""
        account = self.of(person)
        jwt = self.user_jwt(person, *permissions, account=account, **more)
        return jwt, [self.certificate(person, account=account)]

    def entry(self, person: Person, *permissions: str, **more: Any) -> bytes:
        jwt, certificates = self.texts(person, *permissions, **more)
        return "\n".join([jwt, *certificates]).encode()

    def place(self, person: Person) -> Place:
        return Place(self.of(person).public, person.user)

    def login(self, person: Person, *permissions: str, **more: Any) -> Path:
        jwt = self.user_jwt(person, *permissions, account=self.of(person), **more)
        path = self.write(f"../{person.name}.creds", format_creds(jwt, person.key.seed))
        path.chmod(0o600)
        return path

    @asynccontextmanager
    async def link(self, person: Person, **more: Any) -> AsyncIterator[Link]:
        options = ConnectOptions(servers=(self.server.url,), creds=self.login(person, **more))
        async with open_link(options) as link:
            yield link

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Link]:
        """A connection that may do everything in the account with the bucket."""
        async with self.link(self.person("administrator")) as link:
            yield link

    async def put(self, link: Link, place: Place, value: bytes, headers: bytes = b"") -> bytes:
        answer = await link.request(subject_of(place), value, headers=headers, timeout=60)
        return answer.data

    async def push(self, text: str) -> None:
        """Show an account JWT to the server alone, as `nsc push` does."""
        system = Person("system", self.key)
        jwt = token(
            {"iat": int(time.time()), "iss": self.key.public, "sub": system.user, "name": "system",
             "nats": {"issuer_account": self.system.public, "type": "user", "version": 2,
                      "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}},
            self.key,
        )  # fmt: skip
        path = self.write("../system.creds", format_creds(jwt, system.key.seed))
        path.chmod(0o600)
        options = ConnectOptions(servers=(self.server.url,), creds=path)
        async with open_link(options) as link:
            answer = await link.request("$SYS.REQ.CLAIMS.UPDATE", text.encode(), timeout=60)
            assert b'"code":200' in answer.data, answer.data

    async def revoke(self, key: object, where: str = "server") -> None:
        """Revoke a user or an xkey by a newer account JWT, which one place alone has."""
        self.revocations[str(key)] = self.now
        text = self.clinic_jwt(age=10)
        if where == "server":
            await self.push(text)
        else:
            async with self.admin() as link:
                await self.put(link, Place(self.account.public, ""), text.encode())

    def trust(self, creds: Path, **more: Any) -> Trust:
        insurer, clinic = self.insurer.public, self.account.public
        own = xkeymsg.trust.stores.chains.own_account(creds.read_text()).account
        other = {"insurer": insurer} if own == clinic else {"clinic": clinic}
        return Trust.load(
            self.folder, anchor=self.operator.public, creds=creds, accounts=other, **more
        )

    @asynccontextmanager
    async def seat(
        self,
        person: Person,
        *permissions: str,
        publish: bool = True,
        jwt: Any = (),
        pins: Any = (),
        **more: Any,
    ) -> AsyncIterator[Seat]:
        """Connect a person whose trust follows the directory."""
        creds = self.login(person, *permissions, **dict(jwt))
        trust = self.trust(creds, pins=dict(pins))
        directory, told = Directory(trust, **{"wait": 60.0, **more}), []
        async with xkeymsg.connect(
            self.server.url, key=person.pair, trust=trust, directory=directory, creds=creds,
            timeout=DEADLINE, on_error=lambda error, where: told.append(f"{where.what}: {error}"),
        ) as client:  # fmt: skip
            if publish:
                await directory.publish(*self.texts(person, *permissions, **dict(jwt)))
            yield Seat(client, directory, told)
            await asyncio.sleep(0)


def withhold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody read the bucket as a whole."""

    async def never(*_: object) -> tuple[int, bool]:
        raise DeliveryError("withheld")

    monkeypatch.setattr(BucketReader, "consume", never)
    monkeypatch.setattr(BucketReader, "pages", never)
