"""Entries: the JSON of an ObjectInfo, which foreign clients list, around the sealed manifest."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, NamedTuple

from xkeymsg.errors import (
    LimitExceededError,
    MalformedError,
    NotSealedError,
    ObjectLinkError,
    ObjectMixedError,
    SubjectMismatchError,
)
from xkeymsg.limits import Limits
from xkeymsg.objects.manifest import Manifest
from xkeymsg.objects.names import id_of, is_nuid, nuid_of

__all__ = ("PublicEntry", "check_entry", "encode_entry", "nuid_in", "parse_entry", "proven_nuid")

_MEMBER: Final = "xkm1"
"""The member of `metadata` that has the envelope."""
_SALT: Final = "xkm1-salt"
"""The member of `metadata` that proves whose the id is (B-1)."""
_REST: Final = 65_536
"""Bytes that an entry may have in addition to the envelope."""


class PublicEntry(NamedTuple):
    """What a bucket says of an object: all of it unauthenticated, except the envelope."""

    envelope: bytes
    """The envelope with the manifest; empty in a deletion that is not sealed."""
    nuid: object
    size: object
    chunks: object
    deleted: bool


def encode_entry(
    bucket: str,
    name: str,
    manifest: Manifest | None,
    envelope: bytes,
    *,
    nuid: str,
    salt: str,
    digest: bytes,
    mtime: str,
) -> bytes:
    """Encode an entry; without a manifest, that of a deleted object."""
    info: dict[str, Any] = {
        "name": name,
        "bucket": bucket,
        "nuid": nuid,
        "size": 0 if manifest is None else manifest.stored,
        "mtime": mtime,
        "chunks": 0 if manifest is None else manifest.chunks,
        "metadata": {_MEMBER: base64.b64encode(envelope).decode()},
    }
    if manifest is None:
        info["deleted"] = True
    else:
        info["metadata"][_SALT] = salt
        info["digest"] = f"SHA-256={base64.urlsafe_b64encode(digest).decode()}"
        info["options"] = {"max_chunk_size": manifest.chunk + 16}
    return json.dumps(info, separators=(",", ":")).encode()


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return info if isinstance(info, dict) else None


def _live(data: bytes) -> dict[str, Any]:
    info = _json(data) if len(data) <= Limits().envelope * 2 else None
    return info if info and info.get("deleted") is not True else {}


def _token(value: object) -> str | None:
    return value if isinstance(value, str) and is_nuid(value) else None


def nuid_in(data: bytes) -> str | None:
    """Return the id of the chunks that an entry names, if it is safe as a token of a subject."""
    return _token(_live(data).get("nuid"))


def proven_nuid(data: bytes, subject: str) -> str | None:
    """Return the id that an entry names, if its salt proves that no other object has it (B-24).

    Anyone who may publish the entry can name any id; it must not select the chunks to delete.
    """
    info = _live(data)
    metadata = info.get("metadata")
    salt = _token(metadata.get(_SALT)) if isinstance(metadata, dict) else None
    if salt is None:
        return None
    nuid = nuid_of(id_of(subject, salt))
    return nuid if info.get("nuid") == nuid else None


def parse_entry(data: bytes, bucket: str, name: str | None, limits: Limits) -> PublicEntry:
    """Parse an entry; without a name, one of any name.

    Raises:
        LimitExceededError: If it is too long (B-15).
        MalformedError: If it is not JSON, or the envelope not base64 (B-16).
        ObjectLinkError: If it is a link (B-17).
        NotSealedError: If it has no envelope (B-18).
        SubjectMismatchError: If it names another object or bucket (B-19).
    """
    most = limits.envelope * 4 // 3 + _REST
    if len(data) > most:
        raise LimitExceededError("bytes of an entry", len(data), most)
    info = _json(data)
    if info is None:
        raise MalformedError("the entry is not a JSON object")
    options, metadata = info.get("options"), info.get("metadata")
    if isinstance(options, dict) and options.get("link") is not None:
        raise ObjectLinkError("the entry is a link, which cannot be authenticated")
    deleted = info.get("deleted") is True
    sealed = metadata.get(_MEMBER) if isinstance(metadata, dict) else None
    if not sealed and not deleted:
        raise NotSealedError("the object is not sealed: its entry has no manifest")
    if name is not None and (info.get("name") != name or info.get("bucket") != bucket):
        raise SubjectMismatchError("the entry names another object than its subject")
    try:
        envelope = base64.b64decode(sealed, validate=True) if sealed else b""
    except (TypeError, ValueError, binascii.Error):
        envelope = None
    if envelope is None:
        raise MalformedError("the manifest in the entry is not base64")
    return PublicEntry(envelope, info.get("nuid"), info.get("size"), info.get("chunks"), deleted)


def check_entry(entry: PublicEntry, manifest: Manifest | None) -> None:
    """Compare an entry that is not a deletion with its opened manifest.

    Raises:
        ObjectMixedError: If they contradict each other (B-20).
    """
    if manifest is None:
        raise ObjectMixedError("the entry describes an object that its writer has deleted")
    found = entry.nuid, entry.size, entry.chunks
    if found != (manifest.nuid, manifest.stored, manifest.chunks):
        raise ObjectMixedError("the entry contradicts the manifest: another object's id or size")
