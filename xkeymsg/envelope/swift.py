"""The short way for the most ordinary messages: it says yes, or nothing.

An unsigned payload or document without headers, of a session, subject and recipients that this
reader knows: most messages. Here it takes all the steps of `opening`, each with the same check, but
in one go and with nothing made that is not needed; that takes two thirds of the time. When a
check does not pass, or anything is out of the ordinary, it returns None, and the general way, which
knows the order of checks and the errors, judges from the beginning. So a mistake here could let
something pass, and could not refuse anything, nor tell more than the general way does: what each
line below has to be read for is what it lets pass. Every case of the fuzz tests goes both ways.

Positions are counted from the end, and may be below 0 where an envelope is cut short: Python reads
on there, and a sender can have its wrap verify. What refuses it is that all between tags and wraps
has to end where the wraps begin. Where some of that is looked at before the wrap has verified, it
decides on the way, and never on the verdict (E-40).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from xkeymsg import primitives, wire
from xkeymsg.envelope import derive, frame
from xkeymsg.envelope.admission import Admit
from xkeymsg.envelope.content import PartType
from xkeymsg.envelope.head import Head, read_new
from xkeymsg.envelope.unlocking import Known
from xkeymsg.limits import Limits

__all__ = ("MOST", "Way", "open_parts", "open_payload")

_T = TypeVar("_T")

Way = Callable[
    [bytes, Mapping[bytes, Known], Admit, Callable[[str], bool], Limits], tuple[Head, _T] | None
]
"""One of the two functions below: what it makes of a message is the head, and the content."""

MOST: Final = 1 << 16
"""Bytes up to which an envelope goes this way: what is refused afterwards was looked at twice."""

_ONE_PART: Final = wire.array_header(0) + wire.array_header(1)
_UNSIGNED: Final = wire.encode_bin(b"")
_ENDS: Final = len(_UNSIGNED)
_PAYLOAD: Final = int(PartType.PAYLOAD)
_FIELDS: Final = int(PartType.FIELDS)
_NO_ITEMS: Final = 0x90
_BIN_8: Final = 0xC4
_BIN_16: Final = 0xC5


def open_payload(
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
    recognised = _recognise(envelope, fronts, admit, expected, limits)
    if recognised is None:
        return None
    (first, _, tags_end, wraps_header, wraps_size, place, aead), nonce, created_ms = recognised
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
    # Steps 6 to 10: our wrap, and what it opens.
    grant = _unwrap(envelope, wraps, place, aead, nonce)
    if grant is None or grant[0]:
        return None
    keys = derive.part_keys(grant[1:], first.ephemeral, nonce, 0)
    plaintext = _open_committed(envelope, kind_at + 1, end, keys)
    return None if plaintext is None else (first.again(nonce, created_ms), plaintext)


def open_parts(
    envelope: bytes,
    fronts: Mapping[bytes, Known],
    admit: Admit,
    expected: Callable[[str], bool],
    limits: Limits,
) -> tuple[Head, tuple[list[bytes], int]] | None:
    """Take the steps of opening up to the parts of a document that are granted.

    Left to the caller, as for the general way: the subject on the wire, what is in the parts, time,
    and the mark.

    Args:
        envelope: As for `open_payload`.
        fronts: As for `open_payload`.
        admit: As for `open_payload`.
        expected: As for `open_payload`.
        limits: As for `open_payload`.

    Returns:
        The head, the plaintexts in ascending order, and how many parts are not granted; None for
        whatever is not an ordinary document that opens.
    """
    recognised = _recognise(envelope, fronts, admit, expected, limits)
    if recognised is None:
        return None
    (first, _, tags_end, wraps_header, wraps_size, place, aead), nonce, created_ms = recognised
    # Step 5: the wraps, from the end, and before them no signature.
    wraps = len(envelope) - wraps_size
    end = wraps - len(wraps_header) - _ENDS
    if envelope[end:wraps] != _UNSIGNED + wraps_header:
        return None
    # Steps 6 to 10: our wrap, and what it opens.
    grant = _unwrap(envelope, wraps, place, aead, nonce)
    body = None if grant is None else _read_document(envelope, tags_end, end, limits)
    if grant is None or body is None:
        return None
    plaintexts = _open_granted(envelope, *body, grant, first.ephemeral, nonce)
    if plaintexts is None:
        return None
    return first.again(nonce, created_ms), (plaintexts, len(body[1]) - len(plaintexts))


def _unwrap(
    envelope: bytes, wraps: int, place: int, aead: primitives.AEAD, nonce: bytes
) -> bytes | None:
    """Open our wrap, over the hash of all that is before the wraps."""
    transcript = primitives.sha256(envelope[:wraps])
    at = wraps + place
    return primitives.aead_open(aead, nonce, envelope[at : at + frame.WRAP_SIZE], transcript)


def _open_committed(envelope: bytes, start: int, stop: int, keys: bytes) -> bytes | None:
    """Open a commitment, on every opening (E-57), and the ciphertext behind it."""
    sealed = start + frame.COMMIT_SIZE
    if not primitives.equal(envelope[start:sealed], keys[32:]):
        return None
    aead = primitives.AEAD(keys[:32])
    return primitives.aead_open(aead, derive.ZERO_NONCE, envelope[sealed:stop], None)


def _open_granted(
    envelope: bytes,
    views: list[frame.Span],
    parts: list[frame.Span],
    grant: bytes,
    ephemeral: bytes,
    nonce: bytes,
) -> list[bytes] | None:
    """Open our view, if there are any, and each part that it grants."""
    index, granted = grant[0], [(0, grant[1:])]
    if index >= (len(views) or 1):
        return None
    if views:
        keys = derive.view_keys(grant[1:], ephemeral, nonce, index)
        view = _open_committed(envelope, *views[index], keys)
        if view is None:
            return None
        granted = [
            (view[at], view[at + 1 : at + frame.GRANT_SIZE])
            for at in range(0, len(view), frame.GRANT_SIZE)
        ]
    plaintexts, last, count = [], -1, len(parts)
    for number, content_key in granted:
        if not last < number < count:
            return None
        last, (start, stop) = number, parts[number]
        keys = derive.part_keys(content_key, ephemeral, nonce, number)
        plaintext = _open_committed(envelope, start + 1, stop, keys)
        if plaintext is None:
            return None
        plaintexts.append(plaintext)
    return plaintexts


def _read_document(
    envelope: bytes, start: int, end: int, limits: Limits
) -> tuple[list[frame.Span], list[frame.Span]] | None:
    """Return where views and parts are, of a document without padding and metadata."""
    try:
        views, at = _spans(envelope, start, limits.views)
        parts, at = _spans(envelope, at, limits.parts)
    except (IndexError, ValueError):
        return None
    count = len(parts)
    if at != end or (count < 2 if views else count != 1):
        return None
    for first, last in parts:
        if last - first < frame.PART_OVERHEAD or envelope[first] != _FIELDS:
            return None
    for first, last in views:
        grants, rest = divmod(last - first - frame.VIEW_OVERHEAD, frame.GRANT_SIZE)
        if rest or not 0 < grants <= count:
            return None
    return views, parts


def _spans(envelope: bytes, at: int, most: int) -> tuple[list[frame.Span], int]:
    """Return where the bins of a list begin and end, and where the list ends.

    They may reach past the end of the envelope: the caller knows where the last one has to end.

    Raises:
        IndexError: If a header is past the end.
        ValueError: If it is not a list of at most 15 bins of at most 64 KiB in their shortest form.
    """
    count = envelope[at] - _NO_ITEMS
    if not 0 <= count <= min(most, 15):
        raise ValueError
    at += 1
    spans = []
    for _ in range(count):
        form, start, size = envelope[at], at + 2, envelope[at + 1]
        if form == _BIN_16:
            start, size = at + 3, size << 8 | envelope[start]
            if size < 256:
                raise ValueError
        elif form != _BIN_8:
            raise ValueError
        at = start + size
        spans.append((start, at))
    return spans, at


def _recognise(
    envelope: bytes,
    fronts: Mapping[bytes, Known],
    admit: Admit,
    expected: Callable[[str], bool],
    limits: Limits,
) -> tuple[Known, bytes, int] | None:
    """Take steps 1 to 4, the first three by what an envelope that began alike was found to be.

    Returns:
        What is known of it; and its nonce and time, which are new.
    """
    front = frame.front_of(envelope, limits)
    known = None if front is None else fronts.get(front)
    if known is None or not envelope.startswith(known.tags, known.tags_end - len(known.tags)):
        return None
    new = read_new(envelope, frame.HEAD)
    if new is None or not _may_come(known.head, admit, expected):
        return None
    return known, *new


def _may_come(first: Head, admit: Admit, expected: Callable[[str], bool]) -> bool:
    """Take step 4, who may send, judged anew, and look at the subject.

    Whoever has to sign goes the general way, and what expires.
    """
    admission = admit(first.sender, first.subject)
    return (
        admission is not None
        and admission.admitted
        and not admission.always_signs
        and (not admission.users or first.identity in admission.users)
        and first.expires_ms is None
        and expected(first.subject)
    )
