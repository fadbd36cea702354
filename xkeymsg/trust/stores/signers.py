"""The authority of the own account, and who may issue users of an account."""

from __future__ import annotations

from typing import NamedTuple

from xkeymsg.errors import TrustError
from xkeymsg.trust.chain import Authority
from xkeymsg.trust.members import Members

__all__ = ("ValidSigner", "own_authority", "valid_signers")


class ValidSigner(NamedTuple):
    """A key that may issue users of an account."""

    key: str
    role: str
    """The role of a scoped key; empty for an unscoped key."""
    scoped: bool
    identity: bool
    """Whether it is the account's identity."""


def own_authority(members: Members) -> Authority:
    """Return the authority of the own account.

    Raises:
        TrustError: If it has none: the operator does not list the key that issued it any more.
    """
    if (known := members.known.get("")) is None:
        raise TrustError("the own account is not valid now: see the problems of trust")
    return known.authority


def valid_signers(authority: Authority) -> tuple[ValidSigner, ...]:
    """Return the keys that may issue users under an authority."""
    signers = [account.signers for account in authority.accounts]
    return tuple(
        ValidSigner(
            key,
            next((s.role for each in signers if (s := each.get(key)) is not None), ""),
            scoped=not unscoped,
            identity=key == authority.account,
        )
        for key, unscoped in sorted(authority.issuers.items())
    )
