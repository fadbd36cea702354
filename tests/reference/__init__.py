"""A second implementation of `xkm1`, written from docs/spec/envelope.md alone, for the tests.

It shares no code with the package: it has its own msgpack, nkey strings and Ed25519 verification,
on the standard library and `cryptography`. It is slow, does not protect secrets, and seals with
given numbers, so that it can make vectors and check any envelope against the specification.

Sealing: `seal_envelope(Inputs(...))`. Opening: `open_envelope(data, Reader(...), now=...)`, which
returns an `Opened` or raises `RefusalError` with code, public code, step and rule.
"""

from tests.reference.admission import Anyone, Mapped, Only, Trust, Verdict
from tests.reference.limits import Limits
from tests.reference.open import Opened, Reader, open_envelope
from tests.reference.refusal import CODES, RefusalError
from tests.reference.replay import FileMemory, LiveMemory, Position, StreamMemory
from tests.reference.seal import Inputs, Part, Recipient, seal_envelope

__all__ = (
    "CODES",
    "Anyone",
    "FileMemory",
    "Inputs",
    "Limits",
    "LiveMemory",
    "Mapped",
    "Only",
    "Opened",
    "Part",
    "Position",
    "Reader",
    "Recipient",
    "RefusalError",
    "StreamMemory",
    "Trust",
    "Verdict",
    "open_envelope",
    "seal_envelope",
)
