"""Putting an envelope together from numbers that are given (spec, "Parts", "Signature", "Wraps").

Nothing here is drawn or remembered: the same arguments make the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Final

from xkeymsg import nkey, primitives, wire
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import COMMIT_SIZE, WRAP_SIZE
from xkeymsg.envelope.head import encode_new
from xkeymsg.envelope.session import Route
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

_KINDS: Final = tuple(bytes((kind,)) for kind in range(256))
LARGE: Final = 1 << 18
"""From how many bytes on a single part is sealed by `seal_large`; below, its fixed costs count."""


def seal_part(
    ephemeral: bytes, nonce: bytes, index: int, kind: int, content: bytes, content_key: bytes
) -> tuple[bytes, ...]:
    """Encrypt one part under its own, fresh key, and commit to that key.

    Returns:
        The encoding of the part in pieces, so that a large one is copied once, at the end.
    """
    keys = derive.part_keys(content_key, ephemeral, nonce, index)
    # The nonce can be fixed: this key is of this part of this message alone.
    sealed = primitives.AEAD(keys[:32]).encrypt(derive.ZERO_NONCE, content, None)
    return wire.bin_header(1 + COMMIT_SIZE + len(sealed)), _KINDS[kind], keys[32:], sealed


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
    route: Route,
    nonce: bytes,
    created_ms: int,
    body: Iterable[bytes],
    grants: bytes | Iterable[bytes],
    signer: nkey.Signer | None,
) -> bytes:
    """Put an envelope together around `body`, the pieces of the encoded views and parts.

    `grants` are what the wraps hold, an index and a key: one for all, or in the audience's order.
    """
    before, between, (_, wraps_header, unsigned, wraps, _) = route
    pieces = [before, encode_new(nonce, created_ms), between, *body]
    if signer is None:
        pieces.append(unsigned)
    else:
        signature = _sign(signer, primitives.sha256(b"".join(pieces)))
        pieces += wire.encode_bin(signature), wraps_header
    covered = b"".join(pieces)
    # One hash over everything before the wraps: each of them authenticates all of it.
    transcript = primitives.sha256(covered)
    pieces = [covered]
    if isinstance(grants, bytes):
        for wrap in wraps:
            pieces.append(wrap(nonce, grants, transcript))
    else:
        pairs = zip(wraps, grants, strict=True)
        pieces += [wrap(nonce, grant, transcript) for wrap, grant in pairs]
    return b"".join(pieces)


def seal_large(
    route: Route,
    nonce: bytes,
    created_ms: int,
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
    audience = route.audience
    front = (route.before, encode_new(nonce, created_ms), route.between, NO_VIEWS, ONE_PART)
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
