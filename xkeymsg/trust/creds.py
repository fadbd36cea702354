"""Credentials files of NATS users: a user JWT and the seed of its key, as nsc writes them.

`find_creds` splits the text and accepts every form that nats.go reads; it decodes neither the JWT
nor the seed, which a login passes to the server. `parse_creds` also verifies both.
"""

from __future__ import annotations

import re
from typing import Final

from xkeymsg.errors import ConfigurationError
from xkeymsg.nkey import UserKey
from xkeymsg.refusals import refusing
from xkeymsg.trust.jwt import Claims, Kind, decode

__all__ = ("find_creds", "format_creds", "join_creds", "parse_creds")

_BEGIN: Final = re.compile(r"-{3,}\s*BEGIN\b.*\b(JWT|SEED)\s*-{3,}")
_CREDS: Final = (
    "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
    f"{'*' * 25} IMPORTANT {'*' * 25}\n"
    "NKEY Seed printed below can be used to sign and prove identity.\n"
    "NKEYs are sensitive and should be treated as secrets.\n\n"
    "-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n"
    f"{'*' * 61}\n"
)


@refusing
def format_creds(jwt: str, seed: str) -> str:
    """Return the text of a `.creds` file, as nsc writes it.

    Raises:
        ConfigurationError: If the seed is of another user.
        KeyFormatError: If the seed is invalid.
        TrustError: If `jwt` is not a user JWT.
    """
    _matching(jwt, UserKey(seed))
    return join_creds(jwt, seed)


@refusing
def parse_creds(text: str) -> tuple[Claims, UserKey]:
    """Read the text of a `.creds` file.

    Raises:
        ConfigurationError: If it lacks the JWT or the seed, or they do not belong together.
        KeyFormatError: If the seed is invalid.
        TrustError: If the JWT is not a valid user JWT.
    """
    jwt, seed = find_creds(text)
    if jwt is None or seed is None:
        raise ConfigurationError(f"credentials: no {'user JWT' if jwt is None else 'seed'} found")
    user = UserKey(seed)
    return _matching(jwt, user), user


def join_creds(jwt: str, seed: str) -> str:
    """Return the text of a `.creds` file, without checking its parts."""
    return _CREDS.format(jwt=jwt, seed=seed)


def find_creds(text: str) -> tuple[str | None, str | None]:
    """Return the first JWT and the first seed between marker lines; None for what is missing.

    A marker line has three or more dashes on each side and ends in JWT or SEED; blanks around the
    lines, and text outside of the markers, are ignored.
    """
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        marker = _BEGIN.fullmatch(line.strip())
        if marker is not None and (content := next(lines, "").strip()):
            found.setdefault(marker[1], content)
    return found.get("JWT"), found.get("SEED")


def _matching(jwt: str, user: UserKey) -> Claims:
    claims = decode(jwt, Kind.USER)
    if claims.subject != user.public:
        raise ConfigurationError("credentials: the seed does not belong to the user in the JWT")
    return claims
