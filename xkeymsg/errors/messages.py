"""Errors of keys, envelopes, opening and policies; see `xkeymsg.errors`."""

from __future__ import annotations

from typing import ClassVar

from xkeymsg.display import MOST_PLACES, MOST_TEXT, cut, listed

__all__ = (
    "AuthenticationError",
    "BadKeyError",
    "CommitmentError",
    "ContentTypeError",
    "EnvelopeError",
    "ExpiredError",
    "FieldAmbiguousError",
    "FieldDeniedError",
    "KeyFormatError",
    "LimitExceededError",
    "MalformedError",
    "NotARecipientError",
    "NotSealedError",
    "OpenError",
    "PolicyError",
    "ReplayError",
    "SenderNotAdmittedError",
    "SenderRevokedError",
    "SessionClonedError",
    "SignatureInvalidError",
    "SignatureMissingError",
    "StaleError",
    "SubjectMismatchError",
    "UnsupportedVersionError",
    "ValueRollbackError",
    "XKeyMsgError",
)


class XKeyMsgError(Exception):
    """Base class of the errors of this package."""

    code: ClassVar[str] = ""
    """The stable name of the failure; empty for base classes."""

    retryable: ClassVar[bool] = False
    """Whether the same input may succeed later, unchanged."""

    public_code: str = "undecryptable"
    """The code that others may learn: `undecryptable` if no wrap of the message verified, else
    `refused` (docs/spec/envelope.md, E-90)."""

    def __init__(self, *args: object) -> None:
        # Errors truncate input where they quote it; this bounds any that do not.
        super().__init__(*(cut(each, MOST_TEXT) if type(each) is str else each for each in args))


class KeyFormatError(XKeyMsgError):
    """A string or byte string is not a valid key of the expected kind; the text says why."""

    code = "key_format"


class EnvelopeError(XKeyMsgError):
    """The sender's bytes are invalid for every reader."""


class MalformedError(EnvelopeError):
    """The bytes, or arguments of sealing, do not form a valid message."""

    code = "malformed"


class UnsupportedVersionError(EnvelopeError):
    """The bytes use a version or feature of the format that this release does not support."""

    code = "unsupported_version"


class LimitExceededError(EnvelopeError):
    """A value exceeds a limit; checked before anything is allocated for it."""

    code = "limit_exceeded"

    def __init__(self, what: str, actual: int, limit: int) -> None:
        super().__init__(what, actual, limit)
        self.what = cut(what, MOST_TEXT)
        self.actual = actual
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what}: {self.actual} exceeds the limit of {self.limit}"


class BadKeyError(EnvelopeError):
    """A public key is of small order, or not canonical; or a shared secret is all zeros."""

    code = "bad_key"


class OpenError(XKeyMsgError):
    """A well-formed message that this reader cannot, or must not, open."""


class NotARecipientError(OpenError):
    """No key of this reader is among the recipients."""

    code = "not_a_recipient"

    def __init__(self, recipients: int) -> None:
        super().__init__(recipients)
        self.recipients = recipients
        """The number of recipients of the message."""

    def __str__(self) -> str:
        return f"sealed to {self.recipients} other recipient(s), not to a key held here"


class AuthenticationError(OpenError):
    """The bytes were altered, or sealed by or to another key; deliberately without detail."""

    code = "authentication"

    def __str__(self) -> str:
        return (
            "authentication failed: the message was altered,"
            " or was not sealed by this sender for this key"
        )


class CommitmentError(OpenError):
    """The key of a part or view does not match its commitment: readers could get other contents."""

    code = "commitment"


class SenderNotAdmittedError(OpenError):
    """The reader does not admit the sender's key for the sealed subject."""

    code = "sender_not_admitted"
    retryable = True


class SenderRevokedError(SenderNotAdmittedError):
    """The sender's key or user is revoked, or the signing key that issued the user is removed."""

    code = "sender_revoked"
    retryable = False
    users: frozenset[bytes] = frozenset()
    """The raw keys of the users who have lost the key; if empty, whoever the message names."""


class SubjectMismatchError(OpenError):
    """The sealed subject is not one that the caller expects."""

    code = "subject_mismatch"


class ContentTypeError(OpenError):
    """A document was opened as a payload, or a payload as a document."""

    code = "content_type"


class ExpiredError(OpenError):
    """The expiry time that the sender set has passed."""

    code = "expired"


class StaleError(OpenError):
    """The message is outside the freshness window, or older than the replay memory covers."""

    code = "stale"


class ReplayError(OpenError):
    """The message was already opened here."""

    code = "replay"

    def __init__(self, reason: str, *, pending: bool = False) -> None:
        super().__init__(reason)
        self.pending = pending
        """Whether the first delivery, from a stream, is still pending (E-83, E-84)."""


class NotSealedError(OpenError):
    """An entry of a bucket is not an envelope: anyone can have written it."""

    code = "not_sealed"


class ValueRollbackError(OpenError):
    """An entry of a bucket is older than one that this reader has opened."""

    code = "value_rollback"


class SessionClonedError(ReplayError):
    """Two different messages have the same counter: the sender's state was copied."""

    code = "session_cloned"


class SignatureMissingError(OpenError):
    """A signature is required, but the message is unsigned."""

    code = "signature_missing"


class SignatureInvalidError(OpenError):
    """The signature does not verify under the message's identity."""

    code = "signature_invalid"


class PolicyError(XKeyMsgError):
    """A policy, or its readers, is invalid; names file, line and rule."""

    code = "policy_invalid"


class FieldDeniedError(PolicyError):
    """Fields of a document match no rule; nothing was sealed."""

    code = "field_denied"

    def __init__(self, pointers: tuple[str, ...], count: int | None = None) -> None:
        shown = pointers[:MOST_PLACES]
        self.count = len(pointers) if count is None else count
        """The number of fields without a rule."""
        super().__init__(shown, self.count)
        self.pointers = shown
        """Patterns that match exactly the first 20 of them, in document order; names are truncated
        to 80 characters."""

    def __str__(self) -> str:
        shown = [each or "the document" for each in self.pointers]
        return f"no rule for {listed(shown, self.count, most=MOST_TEXT)}"


class FieldAmbiguousError(FieldDeniedError):
    """A field looks like one in a rule, but differs from it; nothing was sealed."""

    code = "field_ambiguous"

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__((pointer,))
        self.args = (pointer, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.pointers[0]}: {self.reason}"
