"""One entry of a directory: verified line by line; what it states is known before."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from xkeymsg.display import origin
from xkeymsg.errors import ConfigurationError, TrustError, WrongAccountError, XKeyMsgError
from xkeymsg.trust.claims import Account, Certificate, User
from xkeymsg.trust.jwt import Kind
from xkeymsg.trust.names import fold_name
from xkeymsg.trust.resolver import PERMISSION
from xkeymsg.trust.stores.folder import decode_certificate

__all__ = (
    "MOST_CERTIFICATES",
    "Place",
    "PublishedEntry",
    "Verified",
    "fault_of",
    "form_fault",
    "limit_of",
    "lines_of",
)

MOST_CERTIFICATES: Final = 24
"""Certificates of one user."""
_HINT_SIZE: Final = 512
_NOT_EMPTY: Final = {"subs": 1}
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


class Place(NamedTuple):
    """Under which an entry is published."""

    account: str
    user: str
    """Empty for the entry of the account."""

    def __str__(self) -> str:
        return f"{self.account}.{self.user or 'account'}"


class Verified(NamedTuple):
    """The claims of one entry with valid form and signature."""

    place: Place
    stored: bool
    """Whether the bucket had it; an event can be forged."""
    digest: bytes
    accounts: tuple[Account, ...]
    users: tuple[User, ...]
    certificates: tuple[Certificate, ...]


class PublishedEntry:
    """An entry without a `form_fault` that waits to be verified, one line at a time."""

    def __init__(self, place: Place, value: bytes, digest: bytes, *, stored: bool) -> None:
        self.place = place
        self.stored = stored
        self.digest = digest
        self.lines = lines_of(place, value)
        self.hints = frozenset(_hints(place, self.lines))
        self.size = len(value) + _HINT_SIZE * len(self.hints)
        """Memory of the text and its hints in an index, about."""
        self.faults: list[XKeyMsgError] = []
        self._accounts: list[Account] = []
        self._users: list[User] = []
        self._certificates: list[Certificate] = []
        self._next = 0

    def step(self) -> bool:
        """Verify the next line; return whether that was the last."""
        try:
            self._decode(self.lines[self._next].decode("ascii", "replace"))
        except Exception as error:  # noqa: BLE001 - one entry must not stop the others
            self.faults.append(fault_of(self.place, error))
        self._next += 1
        return self._next >= len(self.lines)

    def _decode(self, text: str) -> None:
        place = self.place
        if not place.user:
            account = Account.decode(text)
            if account.claims.subject != place.account:
                raise WrongAccountError("the JWT belongs to another account")
            self._accounts.append(account)
        elif not self._next:
            user = User.decode(text)
            if (user.account, user.claims.subject) != place:
                raise WrongAccountError("the JWT belongs to another user")
            if user.bearer:
                raise ConfigurationError(
                    "a bearer JWT is published: whoever has read it can log in; revoke the user"
                )
            self._users.append(_slim_user(user))
        else:
            certificate = decode_certificate(text)
            if (certificate.account, certificate.claims.issuer) != place:
                raise WrongAccountError("the certificate belongs to another user")
            self._certificates.append(certificate)

    @property
    def result(self) -> Verified:
        """The claims that have verified so far."""
        found = tuple(self._accounts), tuple(self._users), tuple(self._certificates)
        return Verified(self.place, self.stored, self.digest, *found)


def fault_of(place: Place, error: Exception) -> XKeyMsgError:
    """Return an error that names the place; of an unforeseen one, say only what it is."""
    if isinstance(error, XKeyMsgError):
        return type(error)(f"{place}: {error}")
    return TrustError(f"{place}: unforeseen error: {origin(error)}; please report this")


def limit_of(place: Place) -> int:
    """Return the limit of an entry's size, in bytes."""
    return Kind.USER.size if place.user else Kind.ACCOUNT.size


def lines_of(place: Place, value: bytes) -> list[bytes]:
    """Return the lines of an entry that are not blank; that of an account has one."""
    lines = value.split(b"\n") if place.user else [value]
    return [line for each in lines if (line := each.strip())]


def form_fault(place: Place, value: bytes) -> str:
    """Return why an entry is empty or beyond the limits of T-19, as a code; "" if it is neither."""
    if len(value) > limit_of(place):
        return "oversized"
    if not (text := value.strip()):
        return "deleted"
    return "malformed_claim" if text.count(b"\n") > MOST_CERTIFICATES else ""


def _slim_user(user: User) -> User:
    """Drop what no rule reads: half of the memory, and much more if someone wants it to be."""
    nats = {} if user.is_empty else _NOT_EMPTY
    return user._replace(claims=user.claims._replace(members={}, nats=nats))


def _hints(place: Place, lines: list[bytes]) -> Iterator[str]:
    """Yield what the texts of a user state about themselves, wrong or not."""
    if not place.user:
        return
    for number, line in enumerate(lines):
        try:
            part = line.split(b".", 2)[1].translate(_TO_STANDARD)
            claims = json.loads(binascii.a2b_base64(part + b"=" * (-len(part) % 4)))
            if number:
                yield str(claims["sub"])
                continue
            if len(name := str(claims.get("name", ""))) <= 64:
                yield f"{place.account}/{fold_name(name)}"
            tags = claims["nats"].get("tags", [])
            for tag in tags:
                if str(tag).startswith(PERMISSION):
                    yield f"{place.account} {tag}"
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError):
            continue
