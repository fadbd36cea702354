"""Chunks: sealed under STREAM nonces, opened in order (spec, "Chunks")."""

from __future__ import annotations

from typing import Final

from xkeymsg import primitives
from xkeymsg.ambient import now_ns, random_bytes
from xkeymsg.arguments import Buffer
from xkeymsg.display import SafeRepr
from xkeymsg.envelope.derive import object_key
from xkeymsg.errors import (
    AuthenticationError,
    ChunkOrderError,
    ChunkReplacedError,
    MalformedError,
)
from xkeymsg.objects.manifest import HASH, Manifest, count_of

__all__ = ("ChunkOpener", "ChunkSealer", "DataOpener", "draw_key")

_HEDGE: Final = primitives.label(b"xkm1/hedge")
_SECRET: Final = random_bytes(32)


def draw_key() -> bytes:
    """Draw a content key: random bytes, hashed with a secret and the clock (B-2, E-27)."""
    data = random_bytes(32) + now_ns().to_bytes(8, "big")
    return primitives.digest(_HEDGE, data, key=_SECRET, size=32)


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes((last,))


class ChunkSealer(SafeRepr):
    """Seals the chunks of one object, or of one list of hashes, in order."""

    def __init__(self, content_key: bytes, id: bytes) -> None:  # noqa: A002 - the spec's term
        self._encrypt = primitives.AEAD(object_key(content_key, id)).encrypt
        self.count = 0
        """The number of sealed chunks."""

    def seal(self, data: Buffer, *, last: bool) -> tuple[bytes, bytes]:
        """Return the ciphertext of the next chunk, and its hash."""
        sealed = self._encrypt(_nonce(self.count, last), data, b"")
        self.count += 1
        return sealed, primitives.sha256(sealed)

    def __repr__(self) -> str:
        return f"<ChunkSealer, {self.count} chunks>"


class ChunkOpener(SafeRepr):
    """Opens the chunks of one object, or of one list of hashes, in order.

    Args:
        content_key: CK.
        id: The id of the chunks.
        size: Bytes of the plaintext.
        chunk: Bytes of plaintext in each chunk but the last.
        hashes: The hashes of the chunks, or nothing if `expect` gives them.
    """

    def __init__(
        self,
        content_key: bytes,
        id: bytes,  # noqa: A002 - the spec's term
        *,
        size: int,
        chunk: int,
        hashes: bytes = b"",
    ) -> None:
        self._decrypt = primitives.AEAD(object_key(content_key, id)).decrypt
        self._size = size
        self._chunk = chunk
        self._count = count_of(size, chunk)
        self._index = 0
        self._hashes = hashes
        self._first = 0  # the index of the chunk with the first of these hashes

    @property
    def left(self) -> int:
        """The number of chunks that are not opened yet."""
        return self._count - self._index

    @property
    def needs_hashes(self) -> bool:
        """Whether the hash of the next chunk is not known."""
        return (self._index - self._first) * HASH >= len(self._hashes)

    def expect(self, hashes: bytes) -> None:
        """Continue with these hashes, from the next chunk on."""
        self._hashes, self._first = hashes, self._index

    def open(self, sealed: bytes) -> bytes:
        """Return the plaintext of the next chunk.

        Raises:
            ChunkOrderError: If it belongs to another position (B-12).
            ChunkReplacedError: If it is not a chunk of this object (B-12).
            AuthenticationError: If it does not open (B-13).
            MalformedError: If it has the wrong length (B-14).
        """
        index = self._index
        found, at = primitives.sha256(sealed), (index - self._first) * HASH
        if found != self._hashes[at : at + HASH]:
            hashes = range(0, len(self._hashes), HASH)
            if any(self._hashes[each : each + HASH] == found for each in hashes):
                raise ChunkOrderError(f"chunk {index} is another chunk of this object")
            raise ChunkReplacedError(f"chunk {index} was replaced or altered")
        last = index == self._count - 1
        try:
            data = self._decrypt(_nonce(index, last), sealed, b"")
        except primitives.InvalidTag:
            data = None
        if data is None:  # raised outside of the block, without the context
            raise AuthenticationError
        if len(data) != (self._size - index * self._chunk if last else self._chunk):
            raise MalformedError(f"chunk {index} has the wrong length")
        self._index = index + 1
        return data

    def __repr__(self) -> str:
        return f"<ChunkOpener, chunk {self._index} of {self._count}>"


class DataOpener(SafeRepr):
    """Opens the chunks of an object, with those of its list of hashes if it has one."""

    def __init__(self, manifest: Manifest) -> None:
        key, chunk, listed = manifest.content_key, manifest.chunk, manifest.listed
        self._list: ChunkOpener | None = None
        hashes = manifest.hashes
        if listed is not None:
            size = HASH * manifest.chunks
            self._list = ChunkOpener(key, listed, size=size, chunk=chunk, hashes=hashes)
            hashes = b""
        self._data = ChunkOpener(key, manifest.id, size=manifest.size, chunk=chunk, hashes=hashes)

    @property
    def left(self) -> int:
        """The number of chunks that are not opened yet."""
        return self._data.left

    @property
    def needs_list(self) -> bool:
        """Whether the next chunk of the list must be opened before the next one of the object."""
        return self._list is not None and self._data.needs_hashes

    def open_list(self, sealed: bytes) -> None:
        """Open the next chunk of the list.

        Raises:
            XKeyMsgError: As `ChunkOpener.open`.
        """
        assert self._list is not None  # noqa: S101 - `needs_list` says so
        self._data.expect(self._list.open(sealed))

    def open(self, sealed: bytes) -> bytes:
        """Return the plaintext of the next chunk.

        Raises:
            XKeyMsgError: As `ChunkOpener.open`.
        """
        return self._data.open(sealed)

    def __repr__(self) -> str:
        return f"<DataOpener, {self._data!r}>"
