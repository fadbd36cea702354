"""The text of an entry: what an owner publishes, and how it repairs its entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from xkeymsg.ambient import now_ns
from xkeymsg.errors import ConfigurationError, ConflictError, TrustError
from xkeymsg.keys import XKey
from xkeymsg.trust.claims import Certificate, User
from xkeymsg.trust.jwt import Claims
from xkeymsg.trust.stores.published_entry import (
    MOST_CERTIFICATES,
    Place,
    form_fault,
    limit_of,
    lines_of,
)

__all__ = ("OwnEntry", "certificates_in", "is_ahead")

_AHEAD: Final = 3600
_Text = tuple[Certificate, str]


class OwnEntry:
    """The claims that a user publishes about itself.

    Args:
        jwt: The user JWT.
        certificates: The xkey certificates.
        without: Xkeys whose certificates leave the entry.
        held: Own xkeys whose certificates become ours once they were in the entry.

    Raises:
        TrustError: If a claim is malformed.
        ConfigurationError: If it is a bearer JWT, or a certificate belongs to another user.
    """

    def __init__(
        self,
        jwt: str,
        certificates: Iterable[str],
        *,
        without: Collection[XKey] = (),
        held: Collection[XKey] = (),
    ) -> None:
        self.user = User.decode(jwt)
        if self.user.bearer:
            raise ConfigurationError(
                "a bearer JWT must not be published: whoever reads it can log in"
            )
        self.place = Place(self.user.account, self.user.claims.subject)
        self._without, self._held = frozenset(without), frozenset(held)
        self._certificates = {text: Certificate.decode(text) for text in certificates}
        for each in self._certificates.values():
            if (each.account, each.claims.issuer) != self.place:
                raise ConfigurationError("a certificate belongs to another user or account")

    @property
    def only_repairs(self) -> bool:
        """Whether no certificates are known that a missing entry could be made of."""
        return bool(self._held) and not self._certificates

    def merged(self, present: bytes, issuers: Collection[str]) -> bytes:
        """Return the entry with what is ours and missing, and without what is not valid.

        Several replicas of a user come to the same entry, so they do not fight.

        Args:
            present: The entry in the bucket; empty if it does not exist.
            issuers: The keys that may issue the user's JWT now.

        Raises:
            ConflictError: If another JWT in it has the same `iat`.
        """
        lines = [] if form_fault(self.place, present) else lines_of(self.place, present)
        texts = [line.decode("ascii", "replace") for line in lines]
        found = self._certificates | dict(self._theirs(texts[1:]))
        self._certificates |= {t: each for t, each in found.items() if each.key in self._held}
        user = _newer(self.user, texts[0], issuers) if texts else self.user
        kept = [(c, text) for text, c in found.items() if c.key not in self._without]
        kept.sort(key=_age)
        ours = [user.claims.text, *(text for _, text in kept[-MOST_CERTIFICATES:])]
        while len(value := "\n".join(ours).encode()) > limit_of(self.place) and len(ours) > 1:
            del ours[1]
        return value

    def _theirs(self, texts: Iterable[str]) -> Iterator[tuple[str, Certificate]]:
        """Yield the certificates of this user in an entry."""
        for text in texts:
            with suppress(TrustError):
                certificate = Certificate.decode(text)
                if (certificate.account, certificate.claims.issuer) == self.place:
                    yield text, certificate


def _age(each: _Text) -> Any:
    claims = each[0].claims
    return claims.not_before, claims.issued, each[1]


def _newer(own: User, text: str, issuers: Collection[str]) -> User:
    """Return the JWT to publish."""
    try:
        other = User.decode(text)
    except TrustError:
        return own
    ours, theirs = own.claims, other.claims
    mine = other.account == own.account and theirs.subject == ours.subject
    mine &= theirs.issuer in issuers and not other.bearer and not is_ahead(theirs)
    if not mine or theirs.text == ours.text:
        return own
    if theirs.issued == ours.issued:
        raise ConflictError(
            "the directory has another JWT of this user with the same `iat`: issue it again"
        )
    return other if theirs.issued > ours.issued else own


def is_ahead(claims: Claims) -> bool:
    """Return whether a JWT in the bucket is dated far ahead of our clock.

    No reader accepts it before its time, so it must not keep others out until then. A difference of
    less than an hour ends by itself, and our own clock may be the wrong one.
    """
    return claims.issued > now_ns() // 1_000_000_000 + _AHEAD


_COMMENT: Final = "#"


def certificates_in(text: str) -> Iterator[str]:
    """Yield the certificates of a file, as `xkeymsg trust certify` writes it."""
    lines = (line.strip() for line in text.split("\n"))
    return (line for line in lines if line and not line.startswith(_COMMENT))
