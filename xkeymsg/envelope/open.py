"""Opening after the wrap: body, content, signature (spec, "Opening order", steps 8 to 14).

    Unlocked --read--> Read

Every byte that is read here is authenticated as the sender's, but the sender may be malicious. A
`Read` holds plaintext that is not released yet; `Opener` releases it after the last check.
"""

from __future__ import annotations

from typing import Final

from xkeymsg import nkey, primitives
from xkeymsg.envelope import derive, frame
from xkeymsg.envelope.content import Headers, PartType, decode_message_array, unpadded
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.unlock import Read, Unlocked
from xkeymsg.errors import (
    AuthenticationError,
    CommitmentError,
    ContentTypeError,
    MalformedError,
    SignatureInvalidError,
)
from xkeymsg.limits import Limits

__all__ = ("NO_HEADERS", "fields", "payload", "read", "signer_of")

NO_HEADERS: Final = Headers()
_PAYLOAD: Final = PartType.PAYLOAD
_MESSAGE: Final = PartType.MESSAGE
_FIELDS: Final = PartType.FIELDS
_new: Final = tuple.__new__


def read(unlocked: Unlocked | Read, limits: Limits) -> Read:
    """Parse the body and decrypt the parts granted to us, unless the native core has done it.

    Raises:
        EnvelopeError: If the body is malformed.
        CommitmentError: If a view or part does not match its commitment (E-57).
        AuthenticationError: If a view or part does not decrypt.
    """
    if isinstance(unlocked, Read):
        return unlocked
    ((envelope, view, head, _), admission), (start, end), grant = unlocked
    body = frame.parse_body(envelope, start, end, limits)
    views, parts, (start, end), _, _ = body
    _, ephemeral, nonce, _, _, _, identity, _ = head
    if start != end and identity is None:
        raise MalformedError("a signature requires an identity in the head")
    index, key = grant[0], grant[1:]
    if index >= (len(views) or 1):
        raise MalformedError("the wrap refers to a missing view")
    if not views:
        _, _, start, end = parts[0]
        keys = derive.part_keys(key, ephemeral, nonce, 0)
        granted = {0: _open_committed(view, start, end, keys)}
    else:
        granted = _open_view(view, body, head, index, key)
        for number, content_key in granted.items():
            _, _, start, end = parts[number]
            keys = derive.part_keys(content_key, ephemeral, nonce, number)
            granted[number] = _open_committed(view, start, end, keys)
    return _new(Read, (view, head, admission, body, granted))


def payload(message: Read, limits: Limits) -> tuple[bytes, str | None, Headers]:
    """Return data, content type and headers of a payload (step 12).

    Raises:
        ContentTypeError: If the message is a document.
        MalformedError: If the padding or the message array is malformed.
        LimitExceededError: If the message array is too long.
    """
    kind, padded, _, _ = message.body[1][0]
    if kind is not _PAYLOAD and kind is not _MESSAGE:
        raise ContentTypeError("this is a document: use open_document()")
    content = unpadded(message.granted[0]) if padded else message.granted[0]
    if kind is _PAYLOAD:
        return content, None, NO_HEADERS
    content_type, headers, at = decode_message_array(content, limits)
    return content[at:], content_type, headers


def fields(message: Read, limits: Limits) -> tuple[dict[int, bytes], str | None, Headers]:
    """Return a document's granted contents by part, its content type and headers (step 12).

    Raises:
        ContentTypeError: If the message is a payload.
        MalformedError: If the padding or the metadata is malformed.
        LimitExceededError: If the metadata is too long.
    """
    parts = message.body[1]
    if parts[0][0] in (_PAYLOAD, _MESSAGE):
        raise ContentTypeError("this is a payload: use open()")
    contents, array = {}, None
    for number, plaintext in message.granted.items():
        kind, padded, _, _ = parts[number]
        content = unpadded(plaintext) if padded else plaintext
        if kind is _FIELDS:
            contents[number] = content
        else:
            array = content
    if array is None:
        return contents, None, NO_HEADERS
    content_type, headers, end = decode_message_array(array, limits)
    if end != len(array):
        raise MalformedError("trailing bytes after the document's metadata")
    return contents, content_type, headers


def signer_of(message: Read) -> str | None:
    """Return the user whose signature counts, or None (step 14); for a sender with known users.

    A signature is ignored if no user is known for the key: any sender can sign with a user key of
    its own, which would prove nothing (E-65).

    Raises:
        SignatureInvalidError: If a signature that counts does not verify.
    """
    view, head, admission, body, _ = message
    _, _, (start, end), signed_end, _ = body
    if not admission.users or head.identity is None or start == end:
        return None
    digest = primitives.sha256(view[:signed_end])
    signed, signature = derive.signed_bytes(digest), bytes(view[start:end])
    if not primitives.ed25519_verify(head.identity, signed, signature):
        raise SignatureInvalidError("the signature does not verify under the sender's user key")
    return nkey.encode_public(nkey.Prefix.USER, head.identity)


def _open_view(
    view: bytes | memoryview, body: frame.Body, head: Head, index: int, key: bytes
) -> dict[int, bytes]:
    """Open our view; return the content keys by part number, ascending."""
    start, end = body.views[index]
    keys = derive.view_keys(key, head.ephemeral, head.nonce, index)
    grants = _open_committed(view, start, end, keys)
    granted, last, fields, metadata = dict[int, bytes](), -1, False, False
    for at in range(0, len(grants), frame.GRANT_SIZE):
        part = grants[at]
        if not last < part < len(body.parts):
            raise MalformedError("the parts of a view are not strictly ascending, or do not exist")
        granted[part] = grants[at + 1 : at + frame.GRANT_SIZE]
        last = part
        if body.parts[part].kind is _FIELDS:
            fields = True
        else:
            metadata = True
    if not fields:
        raise MalformedError("a view without fields")
    if body.metadata and not metadata:
        raise MalformedError("a view without the document's metadata")
    return granted


def _open_committed(view: bytes | memoryview, start: int, end: int, keys: bytes) -> bytes:
    """Open `commitment || ciphertext`; the commitment is always checked first (E-57)."""
    sealed = start + frame.COMMIT_SIZE
    if not primitives.equal(view[start:sealed], keys[32:]):
        raise CommitmentError("the key of a part or view does not match its commitment")
    try:
        return primitives.AEAD(keys[:32]).decrypt(derive.ZERO_NONCE, view[sealed:end], None)
    except primitives.InvalidTag:
        pass
    raise AuthenticationError  # not above: without InvalidTag as its context
