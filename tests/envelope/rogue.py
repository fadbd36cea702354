"""A malicious sender of documents: parts of bodies whose wraps verify."""

from __future__ import annotations

import pytest

from tests.envelope.cast import reader
from tests.envelope.forge import FIELDS, PADDED, Rogue, grant_list
from tests.envelope.inside import open_fields
from tests.reference.content import MessageArray
from xkeymsg import XKeyMsgError

__all__ = ("NO_ARRAY", "ROGUE", "code", "parts", "view")

ROGUE = Rogue()


NO_ARRAY = MessageArray().encode()


def parts(*kinds: int, content: bytes = b"") -> list[bytes]:
    return [
        ROGUE.part(j, content or (NO_ARRAY if kind % PADDED > FIELDS else b""), kind)
        for j, kind in enumerate(kinds)
    ]


def view(*indices: int, index: int = 0) -> bytes:
    return ROGUE.view(index, grant_list(indices))


def code(envelope: bytes) -> str:
    """Return the code with which an opener of documents refuses it after a verified wrap."""
    with pytest.raises(XKeyMsgError) as caught:
        open_fields(reader(), envelope)
    assert caught.value.public_code == "refused"
    return caught.value.code
