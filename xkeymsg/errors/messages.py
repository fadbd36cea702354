"""Errors of keys, envelopes, opening and policies; see `xkeymsg.errors`."""

from __future__ import annotations

from typing import ClassVar

from xkeymsg.shown import MOST_PLACES, MOST_TEXT, cut, listed

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
    "OpenError",
    "PolicyError",
    "ReplayError",
    "SenderNotAdmittedError",
    "SessionClonedError",
    "SignatureInvalidError",
    "SignatureMissingError",
    "StaleError",
    "SubjectMismatchError",
    "UnsupportedVersionError",
    "XKeyMsgError",
)


class XKeyMsgError(Exception):
    """The base of every error of this package."""

    code: ClassVar[str] = ""
    """The stable name of the failure; empty on the classes that only group others."""

    retryable: ClassVar[bool] = False
    """Whether the same input may succeed later without anyone changing it."""

    outside: str = "undecryptable"
    """What anybody outside the process may learn of it: `undecryptable` where no wrap of a message
    has verified, else `refused` (docs/spec/envelope.md, E-90)."""

    def __init__(self, *args: object) -> None:
        # What quotes input cuts it where it is quoted; this bounds whatever did not.
        super().__init__(*(cut(each, MOST_TEXT) if type(each) is str else each for each in args))


class KeyFormatError(XKeyMsgError):
    """A string or byte string is not a key of the wanted kind; the text says what is wrong."""

    code = "key_format"


class EnvelopeError(XKeyMsgError):
    """The sender's bytes are at fault, whoever reads them."""


class MalformedError(EnvelopeError):
    """The bytes are not a sealed message."""

    code = "malformed"


class UnsupportedVersionError(EnvelopeError):
    """The bytes name a version of the format, or a feature of it, that this release lacks."""

    code = "unsupported_version"


class LimitExceededError(EnvelopeError):
    """Something is larger than a limit; checked before anything is allocated for it."""

    code = "limit_exceeded"

    def __init__(self, what: str, actual: int, limit: int) -> None:
        super().__init__(what, actual, limit)
        self.what = cut(what, MOST_TEXT)
        self.actual = actual
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what}: {self.actual}, and at most {self.limit} are allowed"


class BadKeyError(EnvelopeError):
    """A public key in an envelope is of small order, or not in its one canonical form."""

    code = "bad_key"


class OpenError(XKeyMsgError):
    """A well-formed message that this reader may not, or will not, open."""


class NotARecipientError(OpenError):
    """No key of this reader is among the recipients, or no part is granted to it."""

    code = "not_a_recipient"

    def __init__(self, recipients: int) -> None:
        super().__init__(recipients)
        self.recipients = recipients
        """How many recipients the message names."""

    def __str__(self) -> str:
        return f"sealed to {self.recipients} recipient(s), and none of them is a key held here"


class AuthenticationError(OpenError):
    """The bytes were altered, or sealed by or to another key: deliberately no detail."""

    code = "authentication"

    def __str__(self) -> str:
        return "does not authenticate: altered, or not from this sender, or not for this key"


class CommitmentError(OpenError):
    """A content key does not match its commitment: the sender showed readers different things."""

    code = "commitment"


class SenderNotAdmittedError(OpenError):
    """The sealing key is not one this reader admits for the sealed subject."""

    code = "sender_not_admitted"
    retryable = True


class SubjectMismatchError(OpenError):
    """The sealed subject is not one the caller expected."""

    code = "subject_mismatch"


class ContentTypeError(OpenError):
    """A document was opened as a payload, or a payload as a document."""

    code = "content_type"


class ExpiredError(OpenError):
    """The sender's own expiry time has passed."""

    code = "expired"


class StaleError(OpenError):
    """The message is outside the freshness window, or too old to be told from a copy."""

    code = "stale"


class ReplayError(OpenError):
    """The message was opened here before."""

    code = "replay"

    def __init__(self, reason: str, *, pending: bool = False) -> None:
        super().__init__(reason)
        self.pending = pending
        """Whether the first one, of a stream, is still pending (E-83, E-84)."""


class SessionClonedError(ReplayError):
    """Two different messages carry one counter: the sender's state was copied."""

    code = "session_cloned"


class SignatureMissingError(OpenError):
    """A signature is required and there is none."""

    code = "signature_missing"


class SignatureInvalidError(OpenError):
    """The signature does not verify under the identity it has to come from."""

    code = "signature_invalid"


class PolicyError(XKeyMsgError):
    """A policy, or the readers given with it, cannot be used; names file, line and rule."""

    code = "policy_invalid"


class FieldDeniedError(PolicyError):
    """Fields of a document match no rule, so nothing was sealed."""

    code = "field_denied"

    def __init__(self, pointers: tuple[str, ...], count: int | None = None) -> None:
        shown = pointers[:MOST_PLACES]
        self.count = len(pointers) if count is None else count
        """How many fields have no rule."""
        super().__init__(shown, self.count)
        self.pointers = shown
        """The patterns that match the first 20 of them, and no others, in document order; a name of
        more than 80 characters is cut."""

    def __str__(self) -> str:
        shown = [each or "the document" for each in self.pointers]
        return f"no rule for {listed(shown, self.count, most=MOST_TEXT)}"


class FieldAmbiguousError(FieldDeniedError):
    """A field looks like one that a rule means, but is another, so nothing was sealed."""

    code = "field_ambiguous"

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__((pointer,))
        self.args = (pointer, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.pointers[0]}: {self.reason}"
