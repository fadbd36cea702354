"""What is inside of a sealer: tests look, nobody else does."""

from __future__ import annotations

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


def is_empty(ended: Session) -> bool:
    """Whether a session holds no secret any more."""
    secrets = ended._ephemeral, ended._hedge, ended._recipients, ended._audiences
    return secrets == (None, b"", {}, {})
