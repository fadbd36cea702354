"""The login of browsers: HTTP Basic (RFC 7617), over TLS.

No cookie can be stolen or sent by another site. Attempts are compared in constant time, and limited
for all clients together: the password is long and random, and nobody guesses it at this rate.
"""

from __future__ import annotations

import base64
import hmac
from time import monotonic
from typing import Final

from xkeymsg.display import safe_repr

__all__ = ("Login",)

_PER_SECOND: Final = 5
"""Failed attempts."""


@safe_repr
class Login:
    """The user and password that browsers have to send.

    Args:
        user: The user.
        password: The password.
    """

    def __init__(self, user: str, password: str) -> None:
        self._expected = f"{user}:{password}".encode()
        self._second, self._failed = 0, 0

    def status(self, authorization: str) -> int:
        """Return 0 if a header `Authorization` is right, otherwise the status to refuse it with."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return 401
        if self._second != int(monotonic()):
            self._second, self._failed = int(monotonic()), 0
        if self._failed >= _PER_SECOND:
            return 429
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            given = b""
        if hmac.compare_digest(given, self._expected):
            return 0
        self._failed += 1
        return 401
