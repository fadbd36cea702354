"""The short way for the most ordinary message: it says yes, or nothing.

An unsigned payload without headers, of a session, subject and recipients that this reader knows:
most messages. Here it takes all the steps of `opening`, each with the same check, but in one
function and with nothing made that is not needed; that takes two thirds of the time. Whenever a
check does not pass, or anything is out of the ordinary, it returns None, and the general way, which
knows the order of checks and the errors, judges from the beginning. So a mistake here could let
something pass, and could not refuse anything, nor tell more than the general way does: what each
line below has to be read for is what it lets pass. Every case of the fuzz tests goes both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from xkeymsg import primitives, wire
from xkeymsg.envelope import derive, frame
from xkeymsg.envelope.admission import Admit
from xkeymsg.envelope.content import PartType
from xkeymsg.envelope.head import Head, read_new
from xkeymsg.envelope.unlocking import Known
from xkeymsg.limits import Limits

__all__ = ("MOST", "open_ordinary")

MOST: Final = 1 << 16
"""Bytes up to which an envelope goes this way: what is refused afterwards was looked at twice."""

_ONE_PART: Final = wire.array_header(0) + wire.array_header(1)
_UNSIGNED: Final = wire.encode_bin(b"")
_ENDS: Final = len(_UNSIGNED)
_PAYLOAD: Final = int(PartType.PAYLOAD)


def open_ordinary(  # noqa: PLR0911 - every return but the last leaves it to the general way
    envelope: bytes,
    fronts: Mapping[bytes, Known],
    admit: Admit,
    expected: Callable[[str], bool],
    limits: Limits,
) -> tuple[Head, bytes] | None:
    """Take the steps of opening up to the decrypted content and its subject.

    Left to the caller, as for the general way: the subject on the wire, time, and the mark.

    Args:
        envelope: What came, from anybody.
        fronts: How envelopes of admitted senders began that have verified.
        admit: Says who may send.
        expected: Says which subjects may come.
        limits: What is taken at most.

    Returns:
        The head and the data; None for whatever is not an ordinary message that opens.
    """
    recognised = _recognise(envelope, fronts, limits)
    if recognised is None:
        return None
    (first, _, tags_end, wraps_header, wraps_size, place, aead), nonce, created_ms = recognised
    # Step 4: who may send, judged anew; whoever has to sign goes the general way, and what expires.
    admission = admit(first.sender, first.subject)
    if (
        admission is None
        or not admission.admitted
        or admission.always_signs
        or (admission.users and first.identity not in admission.users)
        or first.expires_ms is not None
        or not expected(first.subject)
    ):
        return None
    # Step 5: the wraps, from the end, and before them no view, one payload and no signature.
    wraps = len(envelope) - wraps_size
    end = wraps - len(wraps_header) - _ENDS
    start = tags_end + len(_ONE_PART)
    inner = end - start
    size = inner - (2 if inner < 258 else 3 if inner < 65_539 else 5)
    lead = _ONE_PART + wire.bin_header(size) if size >= frame.PART_OVERHEAD else b"?"
    kind_at = tags_end + len(lead)
    if (
        kind_at + size != end
        or envelope[tags_end:kind_at] != lead
        or envelope[kind_at] != _PAYLOAD
        or envelope[end:wraps] != _UNSIGNED + wraps_header
    ):
        return None
    # Steps 6 and 7: our wrap, over the hash of all that is before the wraps.
    transcript = primitives.sha256(envelope[:wraps])
    at = wraps + place
    try:
        grant = aead.decrypt(nonce, envelope[at : at + frame.WRAP_SIZE], transcript)
    except primitives.InvalidTag:
        return None
    if grant[0]:
        return None
    # Steps 9 and 10: the commitment, on every opening (E-57), and then the ciphertext.
    keys = derive.part_keys(grant[1:], first.ephemeral, nonce, 0)
    sealed = kind_at + 1 + frame.COMMIT_SIZE
    if not primitives.equal(envelope[kind_at + 1 : sealed], keys[32:]):
        return None
    try:
        plaintext = primitives.AEAD(keys[:32]).decrypt(
            derive.ZERO_NONCE, envelope[sealed:end], None
        )
    except primitives.InvalidTag:
        return None
    return first.again(nonce, created_ms), plaintext


def _recognise(
    envelope: bytes, fronts: Mapping[bytes, Known], limits: Limits
) -> tuple[Known, bytes, int] | None:
    """Take steps 1 to 3, by what an envelope that began alike was found to be.

    Returns:
        What is known of it; and its nonce and time, which are new.
    """
    front = frame.front_of(envelope, limits)
    known = None if front is None else fronts.get(front)
    if known is None or not envelope.startswith(known.tags, known.tags_end - len(known.tags)):
        return None
    new = read_new(envelope, frame.HEAD)
    return None if new is None else (known, *new)
