"""Assembles an envelope from given keys and nonces (spec, "Parts", "Signature", "Wraps").

Deterministic and stateless: the same arguments make the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Final, NamedTuple

from xkeymsg import nkey, primitives, wire
from xkeymsg.arguments import as_bytes
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import COMMIT_SIZE, PART_OVERHEAD, WRAP_SIZE
from xkeymsg.envelope.head import encode_time
from xkeymsg.envelope.plan import Contents
from xkeymsg.errors import SignatureInvalidError

__all__ = ("LARGE", "Audience", "Plan", "Wrap", "assemble", "sign")

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


def _seal_views(
    ephemeral: bytes,
    nonce: bytes,
    views: Iterable[Iterable[int]],
    content_keys: Sequence[bytes],
    view_keys: Sequence[bytes],
) -> list[bytes]:
    """Encrypt the grants of the parts in each view, ascending: their numbers and content keys.

    Returns:
        The encoding of each view.
    """
    grants = [_BYTES[index] + key for index, key in enumerate(content_keys)]
    encoded = []
    for index, granted in enumerate(views):
        keys = derive.view_keys(view_keys[index], ephemeral, nonce, index)
        content = b"".join([grants[part] for part in granted])
        sealed = primitives.AEAD(keys[:32]).encrypt(derive.ZERO_NONCE, content, None)
        encoded.append(wire.encode_bin(keys[32:] + sealed))
    return encoded


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
    if views:
        parts, view_keys = keys[: len(contents)], keys[len(contents) :]
        pieces += _seal_views(ephemeral, nonce, views, parts, view_keys)
        pieces.append(wire.array_header(len(contents)))
    elif len(contents[0][1]) >= LARGE:
        return _assemble_in_place(plan, nonce, b"".join(pieces), contents[0], keys[0], signer)
    index = 0
    for kind, content in contents:
        of_part = derive.part_keys(keys[index], ephemeral, nonce, index)
        index += 1  # noqa: SIM113 - faster than `enumerate` for one part
        # The nonce can be fixed: the key is used only for this part of this message.
        sealed = primitives.AEAD(of_part[:32]).encrypt(derive.ZERO_NONCE, content, None)
        pieces += wire.bin_header(PART_OVERHEAD + len(content)), _BYTES[kind], of_part[32:], sealed
    if signer is None:
        pieces.append(unsigned)
    else:
        signature = sign(signer, primitives.sha256(b"".join(pieces)))
        pieces += wire.encode_bin(signature), wraps_header
    covered = b"".join(pieces)
    transcript, pieces = primitives.sha256(covered), [covered]
    if views:
        of_views = [_BYTES[index] + key for index, key in enumerate(view_keys)]
        for wrap, index in zip(wraps, order, strict=True):
            pieces.append(wrap(nonce, of_views[index], transcript))
    else:
        grant = b"\0" + keys[0]
        for wrap in wraps:
            pieces.append(wrap(nonce, grant, transcript))
    return b"".join(pieces)


def _assemble_in_place(
    plan: Plan,
    nonce: bytes,
    front: bytes,
    part: tuple[int, bytes],
    content_key: bytes,
    signer: nkey.Signer | None,
) -> bytes:
    """Seal one large part in place, in an envelope that begins with `front`.

    A separate ciphertext would be a second allocation of that size, which at a megabyte costs as
    much as encrypting and hashing: the C library returns such memory to the kernel after each
    message, and gets it back page by page.
    """
    (kind, content), (_, _, wraps_header, _, wraps, _, _) = part, plan.audience
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
        grant = b"\0" + content_key
        view[wraps_start:] = b"".join([wrap(nonce, grant, transcript) for wrap in wraps])
    return envelope.getvalue()


def sign(signer: nkey.Signer, digest: bytes) -> bytes:
    """Return the signature of an envelope with this SHA-256 up to the signature.

    Raises:
        SignatureInvalidError: If the signer does not return 64 bytes.
        TypeError: If it returns something other than bytes.
    """
    signature = as_bytes("a signature", signer.sign(derive.signed_bytes(digest)))
    if len(signature) != 64:
        raise SignatureInvalidError("the signer did not return an Ed25519 signature")
    return signature
