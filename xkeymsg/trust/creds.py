"""Credentials files of NATS users: a user JWT and the seed of its key, as nsc writes them."""

from __future__ import annotations

from typing import Final

from xkeymsg.errors import ConfigurationError
from xkeymsg.nkey import UserKey
from xkeymsg.refusals import refusing
from xkeymsg.trust.jwt import Claims, Kind, decode

__all__ = ("format_creds", "parse_creds")

_BEGIN_JWT: Final = "-----BEGIN NATS USER JWT-----"
_BEGIN_SEED: Final = "-----BEGIN USER NKEY SEED-----"
_CREDS: Final = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


@refusing
def format_creds(jwt: str, seed: str) -> str:
    """Return the text of a `.creds` file, as nsc writes it.

    Raises:
        ConfigurationError: If the seed is of another user.
        KeyFormatError: If the seed is invalid.
        TrustError: If `jwt` is not a user JWT.
    """
    _matching(jwt, UserKey(seed))
    return _CREDS.format(jwt=jwt, seed=seed)


@refusing
def parse_creds(text: str) -> tuple[Claims, UserKey]:
    """Read the text of a `.creds` file.

    Raises:
        ConfigurationError: If it lacks the JWT or the seed, or they do not belong together.
        KeyFormatError: If the seed is invalid.
        TrustError: If the JWT is not a valid user JWT.
    """
    user = UserKey(_after(text, _BEGIN_SEED))
    return _matching(_after(text, _BEGIN_JWT), user), user


def _after(text: str, marker: str) -> str:
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip() == marker and (content := next(lines, "").strip()):
            return content
    raise ConfigurationError(f"credentials: nothing after {marker!r}")


def _matching(jwt: str, user: UserKey) -> Claims:
    claims = decode(jwt, Kind.USER)
    if claims.subject != user.public:
        raise ConfigurationError("credentials: the seed does not belong to the user in the JWT")
    return claims
