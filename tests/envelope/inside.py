"""The internals of a sealer, for tests only."""

from __future__ import annotations

from typing import Final

from tests.envelope.cast import BOB, SUBJECT
from tests.envelope.forge import head_of
from tests.reference.head import Head
from xkeymsg import Sealer
from xkeymsg.envelope.session import Session


def seal(sealer: Sealer, data: bytes = b"") -> Head:
    """Seal to Bob and return the head."""
    return head_of(sealer.seal(data, to=[BOB.public], subject=SUBJECT))


def running(sealer: Sealer) -> Session:
    assert sealer._session is not None
    return sealer._session


HARMLESS: Final = {"public", "prefix", "_pairs", "_counter", "_ends"}
"""Attributes that an ended session may keep: none holds a secret of the session."""


def is_empty(ended: Session) -> bool:
    """Return whether a session holds no secret. Add new secret attributes here."""
    left = {name: value for name, value in vars(ended).items() if name not in HARMLESS}
    wraps = [plan.audience.wraps for _, plan in left.pop("_last")]
    expected: dict[str, object] = {
        "_ephemeral": None,
        "_hedge": None,
        "_recipients": {},
        "_audiences": {},
    }
    return left == expected and not any(wraps)
