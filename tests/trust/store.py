"""A folder of claims that a test writes, like an administrator with nsc and `certify`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.trust.chains.world import ACCOUNT, DOMAIN, USER, XKEY_HEADER, Key, token
from xkeymsg import Keyring, Trust, XKeyPair
from xkeymsg.nkey import Prefix, UserKey
from xkeymsg.trust.creds import format_creds

__all__ = ("HOUR", "Person", "Store")

HOUR = 3600


class Person:
    """A user with its keys."""

    def __init__(self, name: str, issuer: Key) -> None:
        self.name = name
        self.issuer = issuer
        self.key = Key(Prefix.USER, f"store {name}")
        self.pair = XKeyPair.generate()

    @property
    def user(self) -> str:
        return self.key.public

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.pair, user=self.user)

    @property
    def signer(self) -> UserKey:
        return UserKey(self.key.seed)


class Store:
    """An operator with one account, `CLINIC`, and as many others as a test adds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = int(time.time())
        self.operator = Key(Prefix.OPERATOR, "store")
        self.operator_key = Key(Prefix.OPERATOR, "store signing")
        self.account = Key(Prefix.ACCOUNT, "store")
        self.key, self.second, self.scoped = (
            Key(Prefix.ACCOUNT, f"store {label}") for label in ("signing", "second", "scoped")
        )
        self.write_operator()
        self.write_account()

    # --- the operator and accounts ----------------------------------------------------------------

    def write(self, path: str, text: str) -> Path:
        """Replace a file."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}")
        new.write_text(text)
        new.replace(file)
        return file

    def write_operator(self, keys: Iterable[Key] = (), age: int = 1000, **top: Any) -> Path:
        listed = [key.public for key in keys] or [self.operator_key.public]
        nats = {"signing_keys": listed, "type": "operator", "version": 2}
        own = self.operator.public
        claims = {"iat": self.now - age, "iss": own, "sub": own, "name": "HOSPITAL", "nats": nats}
        return self.write("HOSPITAL.jwt", token(claims | top, self.operator))

    def scope(self, role: str = "reader", **template: Any) -> dict[str, Any]:
        scope = {"kind": "user_scope", "key": self.scoped.public, "role": role}
        return scope | {"template": USER | template}

    def account_jwt(
        self,
        *keys: Any,
        account: Key | None = None,
        issuer: Key | None = None,
        age: int = 900,
        top: Any = (),
        **nats: Any,
    ) -> str:
        issuer, account = issuer or self.operator_key, account or self.account
        listed = [key.public if isinstance(key, Key) else key for key in keys or (self.key,)]
        nats = {**ACCOUNT, "signing_keys": listed, "type": "account", "version": 2} | nats
        claims = {"iat": self.now - age, "iss": issuer.public, "sub": account.public, "nats": nats}
        return token(claims | dict(top), issuer)

    def write_account(self, *keys: Any, name: str = "CLINIC", **more: Any) -> Path:
        return self.write(f"accounts/{name}/{name}.jwt", self.account_jwt(*keys, **more))

    # --- users ------------------------------------------------------------------------------------

    def user_jwt(
        self,
        person: Person,
        *permissions: str,
        account: Key | None = None,
        age: int = 800,
        top: Any = (),
        **nats: Any,
    ) -> str:
        base = {"pub": {}, "sub": {}} if person.issuer is self.scoped else USER
        account = account or self.account
        nats = {**base, "issuer_account": account.public, "type": "user", "version": 2} | nats
        nats["tags"] = [f"perm:{permission}" for permission in permissions]
        claims = {"iat": self.now - age, "iss": person.issuer.public, "sub": person.user}
        return token(claims | {"name": person.name, "nats": nats} | dict(top), person.issuer)

    def certificate(
        self,
        person: Person,
        pair: XKeyPair | None = None,
        *,
        account: Key | None = None,
        age: int = 700,
        life: int = 24 * HOUR,
        **top: Any,
    ) -> str:
        account = account or self.account
        nats = {"type": "xkey", "version": 2, "issuer_account": account.public}
        begin = self.now - age
        claims = {
            "iat": min(begin, self.now),
            "nbf": begin,
            "exp": begin + life,
            "iss": person.user,
        }
        xkey = str((pair or person.pair).public)
        return token(claims | {"sub": xkey, "nats": nats} | top, person.key, XKEY_HEADER, DOMAIN)

    def write_user(
        self, person: Person, *permissions: str, folder: str = "CLINIC", **more: Any
    ) -> Path:
        path = f"accounts/{folder}/users/{person.name}.jwt"
        return self.write(path, self.user_jwt(person, *permissions, **more))

    def write_xkeys(self, person: Person, *certificates: str, folder: str = "CLINIC") -> Path:
        text = "".join(f"{each}\n" for each in certificates)
        return self.write(f"accounts/{folder}/users/{person.name}.xkeys", text)

    def add(self, name: str, *permissions: str, issuer: Key | None = None, **more: Any) -> Person:
        """Add a user with an xkey."""
        person = Person(name, issuer or self.key)
        self.write_user(person, *permissions, **more)
        self.write_xkeys(person, self.certificate(person))
        return person

    def creds(self, person: Person, *permissions: str) -> Path:
        text = format_creds(self.user_jwt(person, *permissions), person.key.seed)
        path = self.write(f"../{person.name}.creds", text)
        path.chmod(0o600)
        return path

    def load(self, **more: Any) -> Trust:
        return Trust.load(
            self.folder, anchor=self.operator.public, account=self.account.public, **more
        )
