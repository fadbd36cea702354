"""Buckets, names and subjects of objects (docs/spec/objects.md, "Subjects")."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

from xkeymsg import primitives
from xkeymsg.client.jetstream.streams import build_config
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.errors import ConfigurationError, MalformedError

__all__ = (
    "bucket_config",
    "check_bucket",
    "chunk_subject",
    "id_of",
    "is_nuid",
    "list_subject",
    "metadata_subject",
    "name_of",
    "nuid_of",
)

_BUCKET: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID: Final = primitives.label(b"xkm1/object-id")


def check_bucket(bucket: str) -> str:
    """Return the name of a bucket, if it is valid.

    Raises:
        ConfigurationError: If it is not one token of letters, digits, '-' and '_'.
        TypeError: If it is not a str.
    """
    if not isinstance(bucket, str):
        raise TypeError(f"a bucket must be a str, not {type(bucket).__name__}")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError("invalid bucket name (1 to 64 letters, digits, '-' and '_')")
    return bucket


def metadata_subject(bucket: str, name: str) -> str:
    """Return the subject of an object's entry, which is also the sealed subject of its manifest.

    Raises:
        MalformedError: If the name is empty, or not valid Unicode.
        LimitExceededError: If the subject is longer than 255 bytes.
        TypeError: If the name is not a str.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of an object must be a str, not {type(name).__name__}")
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raw = b""
    if not raw:
        raise MalformedError("the name of an object must be valid Unicode, and not empty")
    subject = f"$O.{bucket}.M.{base64.urlsafe_b64encode(raw).decode()}"
    encode_subject(subject)  # checks its length
    return subject


def name_of(bucket: str, subject: str) -> str | None:
    """Return the name of the object whose entry has this subject; None if it is not one."""
    token = subject.removeprefix(f"$O.{bucket}.M.")
    try:
        name = base64.urlsafe_b64decode(token.encode("ascii")).decode()
        return name if metadata_subject(bucket, name) == subject else None
    except (binascii.Error, ValueError, MalformedError):
        return None


def id_of(subject: str, salt: str) -> bytes:
    """Return the id of an object, which its salt proves to be of the entry with this subject."""
    return primitives.digest(_ID, (salt + subject).encode(), size=16)


def nuid_of(id: bytes) -> str:  # noqa: A002 - the term of the spec
    """Return an id of 16 bytes as it is written in subjects and entries."""
    return base64.urlsafe_b64encode(id)[:22].decode()


def is_nuid(text: str) -> bool:
    """Return whether a text from a bucket is safe as a token of a subject."""
    return _NUID.fullmatch(text) is not None


def chunk_subject(bucket: str, nuid: str) -> str:
    """Return the subject of an object's chunks."""
    return f"$O.{bucket}.C.{nuid}"


def list_subject(bucket: str, nuid: str, listed: bytes) -> str:
    """Return the subject of the chunks of a hash list: below that of the object's chunks."""
    return f"{chunk_subject(bucket, nuid)}.{nuid_of(listed)}"


def bucket_config(
    bucket: str, *, storage: str, ttl: float | None, max_bytes: int | None, replicas: int
) -> dict[str, Any]:
    """Return the configuration of the stream of a bucket, as nats-py creates it.

    Raises:
        ConfigurationError: If a value is invalid.
        TypeError: If an argument has the wrong type.
    """
    config = build_config(
        f"OBJ_{check_bucket(bucket)}",
        [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
        retention="limits",
        storage=storage,
        discard="new",
        max_age=ttl,
        max_bytes=max_bytes,
        duplicate_window=None,
        replicas=replicas,
    )
    return config | {"allow_rollup_hdrs": True}
