"""The manifest: the content of the envelope that makes chunks an object (spec, "Manifest")."""

from __future__ import annotations

from typing import Final, NamedTuple

from xkeymsg import wire
from xkeymsg.errors import MalformedError, UnsupportedVersionError
from xkeymsg.objects.names import nuid_of

__all__ = (
    "HASH",
    "INLINE",
    "LARGEST",
    "SMALLEST",
    "TOMBSTONE",
    "Manifest",
    "count_of",
    "encode_manifest",
    "parse_manifest",
)

HASH: Final = 32
"""Bytes of a chunk's SHA-256."""
INLINE: Final = 16_000
"""Hashes that a manifest holds at most; a longer list is stored in chunks of its own."""
SMALLEST, LARGEST = 1024, 128 * 1024
"""Limits of the length of a chunk's plaintext, which is a power of two."""
TOMBSTONE: Final = wire.array_header(0)
"""The content of the envelope that deletes an object."""

_ID: Final = 16
_KEY: Final = 32
_FIELDS: Final = 6
_MAX_SIZE: Final = 2**53
_TAG: Final = 16


class Manifest(NamedTuple):
    """What makes chunks an object."""

    id: bytes
    content_key: bytes
    size: int
    """Bytes of the plaintext."""
    chunk: int
    """Bytes of plaintext in each chunk but the last."""
    hashes: bytes
    """The SHA-256 of each chunk's ciphertext; with a list, of each of the list's chunks."""
    listed: bytes | None
    """The id of the list of hashes, if it is stored in chunks."""

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return count_of(self.size, self.chunk)

    @property
    def stored(self) -> int:
        """Bytes of the ciphertext of all chunks."""
        return self.size + _TAG * self.chunks

    @property
    def nuid(self) -> str:
        """The id as it is written in subjects and entries."""
        return nuid_of(self.id)

    def __repr__(self) -> str:
        return f"<Manifest {self.nuid} of {self.size} bytes>"  # a NamedTuple would show the key


def count_of(size: int, chunk: int) -> int:
    """Return the number of chunks for so many bytes; an empty object has one empty chunk."""
    return max(1, -(-size // chunk))


def encode_manifest(manifest: Manifest) -> bytes:
    """Encode a manifest."""
    listed = manifest.listed
    return b"".join(
        (
            wire.array_header(_FIELDS),
            wire.encode_bin(manifest.id),
            wire.encode_bin(manifest.content_key),
            wire.encode_uint(manifest.size),
            wire.encode_uint(manifest.chunk),
            wire.encode_bin(manifest.hashes),
            wire.NIL if listed is None else wire.encode_bin(listed),
        )
    )


def parse_manifest(data: bytes) -> Manifest | None:
    """Parse a manifest; None for a tombstone.

    Raises:
        MalformedError: If it is neither (B-5 to B-8).
        LimitExceededError: If it has more than 16,000 hashes (B-7).
        UnsupportedVersionError: If it has more fields than this version knows (B-5).
    """
    reader = wire.WireReader(data, 0, len(data))
    fields = reader.read_array("fields of a manifest")
    if fields > _FIELDS:
        raise UnsupportedVersionError("manifest: fields of a later version")
    manifest = None
    if fields:
        if fields != _FIELDS:
            raise MalformedError("manifest: too few fields")
        id, key = _exactly(reader, _ID), _exactly(reader, _KEY)  # noqa: A001 - the spec's term
        size, chunk = reader.read_uint(), reader.read_uint()
        hashes = reader.raw(*reader.read_bin("hashes", INLINE * HASH))
        listed = None if reader.read_nil() else _exactly(reader, _ID)
        manifest = Manifest(id, key, size, chunk, hashes, listed)
    if reader.at != reader.end:
        raise MalformedError("manifest: bytes after the last field")
    if manifest is not None:
        _check(manifest)
    return manifest


def _exactly(reader: wire.WireReader, size: int) -> bytes:
    data = reader.raw(*reader.read_bin("a field"))
    if len(data) != size:
        raise MalformedError("manifest: a field has the wrong length")
    return data


def _check(manifest: Manifest) -> None:
    _, _, size, chunk, hashes, listed = manifest
    if size >= _MAX_SIZE or not SMALLEST <= chunk <= LARGEST or chunk & (chunk - 1):
        raise MalformedError("manifest: invalid size, or invalid length of chunks")
    wanted = count_of(size, chunk)
    if listed is not None:
        if listed == manifest.id:  # two chunks would share a key and a nonce
            raise MalformedError("manifest: the list of hashes has the id of the object")
        wanted = count_of(wanted * HASH, chunk)
    if len(hashes) != wanted * HASH:
        raise MalformedError("manifest: the number of hashes is not that of the chunks")
