"""Assembles an envelope from given keys and nonces (spec, "Parts", "Signature", "Wraps").

Deterministic and stateless: the same arguments make the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Final, NamedTuple

from xkeymsg import nkey, primitives, wire
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import COMMIT_SIZE, WRAP_SIZE
from xkeymsg.envelope.head import encode_time
from xkeymsg.envelope.plan import Contents
from xkeymsg.errors import SignatureInvalidError

__all__ = (
    "LARGE",
    "Audience",
    "Plan",
    "Wrap",
    "assemble",
    "seal_part",
    "seal_view",
    "seal_wraps",
    "sign",
)

_BYTES: Final = tuple(bytes((value,)) for value in range(256))
LARGE: Final = 1 << 18
"""Least size in bytes at which sealing a single part in place is worth its fixed cost."""


Wrap = Callable[[bytes, bytes, bytes], bytes]
"""The encryption under K: nonce, index and key, T."""


class Audience(NamedTuple):
    """A set of recipients in a session, in the order of their tags."""

    tags: bytes
    """The encoded tags element."""
    views_header: bytes
    """The bytes before the first view; without views, those before the single part."""
    wraps_header: bytes
    """The header of the wraps."""
    unsigned: bytes
    """The signature element of an unsigned message, followed by the header of the wraps."""
    wraps: tuple[Wrap, ...]
    views: tuple[tuple[int, ...], ...]
    """The numbers of the parts in each view."""
    order: tuple[int, ...]
    """The number of each recipient's view; empty without views."""


class Plan(NamedTuple):
    """A prepared route: the shared bytes of a session's envelopes for one subject and audience.

    `assemble` makes an envelope from it, a nonce, a time, contents and keys.
    """

    ephemeral: bytes
    before: bytes
    """The bytes before the nonce."""
    between: bytes
    """The bytes between the time of sealing and the first view, or the single part."""
    audience: Audience


def seal_part(
    ephemeral: bytes, nonce: bytes, index: int, kind: int, content: bytes, content_key: bytes
) -> tuple[bytes, ...]:
    """Encrypt one part under its own, fresh key, and commit to that key.

    Returns:
        The encoding of the part in pieces, so that a large part is copied only once, at the end.
    """
    keys = derive.part_keys(content_key, ephemeral, nonce, index)
    # The nonce can be fixed: the key is used only for this part of this message.
    sealed = primitives.AEAD(keys[:32]).encrypt(derive.ZERO_NONCE, content, None)
    return wire.bin_header(1 + COMMIT_SIZE + len(sealed)), _BYTES[kind], keys[32:], sealed


def seal_view(
    ephemeral: bytes,
    nonce: bytes,
    index: int,
    granted: Iterable[int],
    grants: Sequence[bytes],
    view_key: bytes,
) -> bytes:
    """Encrypt the grants of the parts in one view, ascending: their numbers and content keys.

    Returns:
        The encoding of the view.
    """
    keys = derive.view_keys(view_key, ephemeral, nonce, index)
    content = b"".join([grants[part] for part in granted])
    sealed = primitives.AEAD(keys[:32]).encrypt(derive.ZERO_NONCE, content, None)
    return wire.encode_bin(keys[32:] + sealed)


def assemble(
    plan: Plan,
    nonce: bytes,
    created_ms: int,
    contents: Contents,
    keys: Sequence[bytes],
    signer: nkey.Signer | None,
) -> bytes:
    """Assemble an envelope.

    Args:
        plan: The prepared route.
        nonce: The counter and random bytes, unique in the session.
        created_ms: The time of sealing, in milliseconds since 1970.
        contents: The parts; exactly one if the plan has no views.
        keys: A fresh key for each part, followed by one for each view.
        signer: The signer, or None.
    """
    ephemeral, before, between, (_, _, wraps_header, unsigned, wraps, views, order) = plan
    pieces = [before, nonce, encode_time(created_ms), between]
    grants: bytes | list[bytes] = b"\0" + keys[0]
    if views:
        view_keys = keys[len(contents) :]
        of_parts = [_BYTES[index] + key for index, key in enumerate(keys[: len(contents)])]
        of_views = [_BYTES[index] + key for index, key in enumerate(view_keys)]
        for index, granted in enumerate(views):
            pieces.append(seal_view(ephemeral, nonce, index, granted, of_parts, view_keys[index]))
        pieces.append(wire.array_header(len(contents)))
        for index, (kind, content) in enumerate(contents):
            pieces += seal_part(ephemeral, nonce, index, kind, content, keys[index])
        grants = [of_views[index] for index in order]
    else:
        [(kind, content)] = contents
        if len(content) >= LARGE:
            return _assemble_in_place(plan, nonce, b"".join(pieces), kind, content, keys[0], signer)
        pieces += seal_part(ephemeral, nonce, 0, kind, content, keys[0])
    if signer is None:
        pieces.append(unsigned)
    else:
        signature = sign(signer, primitives.sha256(b"".join(pieces)))
        pieces += wire.encode_bin(signature), wraps_header
    covered = b"".join(pieces)
    return seal_wraps([covered], wraps, nonce, grants, primitives.sha256(covered))


def seal_wraps(
    pieces: list[bytes],
    wraps: Iterable[Wrap],
    nonce: bytes,
    grants: bytes | Iterable[bytes],
    transcript: bytes,
) -> bytes:
    """Join `pieces` and a wrap for each recipient, in the order of their tags.

    Args:
        pieces: The bytes before the wraps.
        wraps: The encryption for each recipient.
        nonce: The nonce of the message.
        grants: The content of a wrap, an index and a key: one for all recipients, or one for each.
        transcript: T, the hash of everything before the wraps; each wrap authenticates it.
    """
    if isinstance(grants, bytes):
        for wrap in wraps:
            pieces.append(wrap(nonce, grants, transcript))  # noqa: PERF401 - saves a call
    else:
        pairs = zip(wraps, grants, strict=True)
        pieces += [wrap(nonce, grant, transcript) for wrap, grant in pairs]
    return b"".join(pieces)


def _assemble_in_place(
    plan: Plan,
    nonce: bytes,
    front: bytes,
    kind: int,
    content: bytes,
    content_key: bytes,
    signer: nkey.Signer | None,
) -> bytes:
    """Seal one large part in place, in an envelope that begins with `front`.

    A separate ciphertext would be a second allocation of that size, which at a megabyte costs as
    much as encrypting and hashing: the C library returns such memory to the kernel after each
    message, and gets it back page by page.
    """
    _, _, wraps_header, _, wraps, _, _ = plan.audience
    keys = derive.part_keys(content_key, plan.ephemeral, nonce, 0)
    sealed_size = len(content) + primitives.AEAD_TAG_SIZE
    lead = front + wire.bin_header(1 + COMMIT_SIZE + sealed_size) + _BYTES[kind] + keys[32:]
    sealed_end = len(lead) + sealed_size
    wraps_start = sealed_end + 2 + (0 if signer is None else 64) + len(wraps_header)
    envelope = BytesIO(bytes(wraps_start + WRAP_SIZE * len(wraps)))
    with envelope.getbuffer() as view:
        view[: len(lead)] = lead
        aead = primitives.AEAD(keys[:32])
        aead.encrypt_into(derive.ZERO_NONCE, content, None, view[len(lead) : sealed_end])
        signature = b"" if signer is None else sign(signer, primitives.sha256(view[:sealed_end]))
        view[sealed_end:wraps_start] = wire.encode_bin(signature) + wraps_header
        transcript = primitives.sha256(view[:wraps_start])
        view[wraps_start:] = seal_wraps([], wraps, nonce, b"\0" + content_key, transcript)
    return envelope.getvalue()


def sign(signer: nkey.Signer, digest: bytes) -> bytes:
    """Return the signature of an envelope with this SHA-256 up to the signature.

    Raises:
        SignatureInvalidError: If the signer returns anything but 64 bytes.
    """
    signature = signer.sign(derive.signed_bytes(digest))
    if len(signature) != 64:
        raise SignatureInvalidError("the signer did not return an Ed25519 signature")
    return signature
