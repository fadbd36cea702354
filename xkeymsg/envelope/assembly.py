"""Putting an envelope together from numbers that are given (spec, "Parts", "Signature", "Wraps").

Nothing here is drawn or remembered: the same arguments make the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Final

from xkeymsg import nkey, primitives, wire
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import COMMIT_SIZE, MAGIC, WRAP_SIZE
from xkeymsg.envelope.session import Audience
from xkeymsg.errors import SignatureInvalidError

__all__ = (
    "LARGE",
    "NO_VIEWS",
    "ONE_PART",
    "assemble",
    "seal_large",
    "seal_part",
    "seal_view",
)

NO_VIEWS: Final = wire.array_header(0)
ONE_PART: Final = wire.array_header(1)

_START: Final = MAGIC + wire.array_header(6)
LARGE: Final = 1 << 18
"""From how many bytes on a single part is sealed by `seal_large`; below, its fixed costs count."""


def seal_part(
    ephemeral: bytes, nonce: bytes, index: int, kind: int, content: bytes, content_key: bytes
) -> tuple[bytes, bytes]:
    """Encrypt one part under its own, fresh key, and commit to that key.

    Returns:
        The encoding of the part in two pieces, so that a large one is copied once, at the end.
    """
    keys = derive.part_keys(content_key, ephemeral, nonce, index)
    # The nonce can be fixed: this key is of this part of this message alone.
    sealed = primitives.AEAD(keys[:32]).encrypt(derive.ZERO_NONCE, content, None)
    size = wire.bin_header(1 + COMMIT_SIZE + len(sealed))
    return b"%b%c%b" % (size, kind, keys[32:]), sealed


def seal_view(
    ephemeral: bytes,
    nonce: bytes,
    index: int,
    granted: Iterable[int],
    content_keys: Sequence[bytes],
    view_key: bytes,
) -> bytes:
    """Encrypt the content keys of the parts that one group of readers may open, ascending.

    Returns:
        The encoding of the view.
    """
    keys = derive.view_keys(view_key, ephemeral, nonce, index)
    grants = b"".join(bytes((part,)) + content_keys[part] for part in granted)
    sealed = primitives.AEAD(keys[:32]).encrypt(derive.ZERO_NONCE, grants, None)
    return wire.encode_bin(keys[32:] + sealed)


def assemble(
    head: bytes,
    nonce: bytes,
    audience: Audience,
    body: Sequence[bytes],
    grants: bytes | Iterable[bytes],
    signer: nkey.Signer | None,
) -> bytes:
    """Put an envelope together around `body`, the pieces of the encoded views and parts.

    `grants` are what the wraps hold, an index and a key: one for all, or in the audience's order.
    """
    front = (_START, wire.bin_header(len(head)), head, audience.tags, *body)
    if signer is None:
        covered = b"".join((*front, audience.unsigned))
    else:
        signed = b"".join(front)
        signature = wire.encode_bin(_sign(signer, primitives.sha256(signed)))
        covered = b"".join((signed, signature, audience.wraps_header))
    # One hash over everything before the wraps: each of them authenticates all of it.
    transcript = primitives.sha256(covered)
    if not isinstance(grants, bytes):
        pairs = zip(audience.wraps, grants, strict=True)
        wraps = [wrap(nonce, grant, transcript) for wrap, grant in pairs]
    elif len(audience.wraps) == 1:  # so often that the list of one is worth saving
        return covered + audience.wraps[0](nonce, grants, transcript)
    else:
        wraps = [wrap(nonce, grants, transcript) for wrap in audience.wraps]
    return b"".join((covered, *wraps))


def seal_large(
    head: bytes,
    nonce: bytes,
    audience: Audience,
    ephemeral: bytes,
    kind: int,
    content: bytes,
    content_key: bytes,
    signer: nkey.Signer | None,
) -> bytes:
    """Seal one large part where it stands in the envelope: the same bytes as `assemble` makes.

    A ciphertext of its own, to be copied later, is a second allocation of that size, which at a
    megabyte costs as much as encrypting and hashing: the C library gives such memory back to the
    kernel after each message and gets it anew, page by page.
    """
    keys = derive.part_keys(content_key, ephemeral, nonce, 0)
    sealed_size = len(content) + primitives.AEAD_TAG_SIZE
    size = wire.bin_header(1 + COMMIT_SIZE + sealed_size)
    front = (_START, wire.bin_header(len(head)), head, audience.tags, NO_VIEWS, ONE_PART)
    lead = b"".join((*front, size, bytes((kind,)), keys[32:]))
    sealed_end = len(lead) + sealed_size
    tail_size = 2 + (0 if signer is None else 64) + len(audience.wraps_header)
    wraps_start = sealed_end + tail_size
    envelope = BytesIO(bytes(wraps_start + WRAP_SIZE * len(audience.wraps)))
    with envelope.getbuffer() as view:
        view[: len(lead)] = lead
        aead = primitives.AEAD(keys[:32])
        aead.encrypt_into(derive.ZERO_NONCE, content, None, view[len(lead) : sealed_end])
        signature = b"" if signer is None else _sign(signer, primitives.sha256(view[:sealed_end]))
        view[sealed_end:wraps_start] = wire.encode_bin(signature) + audience.wraps_header
        transcript = primitives.sha256(view[:wraps_start])
        for number, wrap in enumerate(audience.wraps):
            at = wraps_start + WRAP_SIZE * number
            view[at : at + WRAP_SIZE] = wrap(nonce, b"\0" + content_key, transcript)
    return envelope.getvalue()


def _sign(signer: nkey.Signer, digest: bytes) -> bytes:
    signature = signer.sign(derive.signed_bytes(digest))
    if len(signature) != 64:
        raise SignatureInvalidError("the signer did not return an Ed25519 signature")
    return signature
