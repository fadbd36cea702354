"""Every error that xkeymsg raises, and the one vocabulary of codes for all of them.

A public call that is given bad *data* raises an `XKeyMsgError`, whatever the bytes; a wrong
argument *type* is the caller's bug and a `TypeError`. `code` is stable: it is the `expect:` of a
test vector, the label of a metric and the field of a log line. `retryable` says whether the same
bytes may succeed later (a key or a peer that has not arrived yet).

No message carries plaintext or a secret, and none repeats bytes from outside that could be either.

The tree, grouped by who has to act; a class with a code can be raised:

    XKeyMsgError
      KeyFormatError                key_format
      EnvelopeError
        MalformedError              malformed
        UnsupportedVersionError     unsupported_version
        LimitExceededError          limit_exceeded
        BadKeyError                 bad_key
      OpenError
        NotARecipientError          not_a_recipient
        AuthenticationError         authentication
        CommitmentError             commitment
        SenderNotAdmittedError      sender_not_admitted
        SubjectMismatchError        subject_mismatch
        ContentTypeError            content_type
        ExpiredError                expired
        StaleError                  stale
        ReplayError                 replay
          SessionClonedError        session_cloned
        SignatureMissingError       signature_missing
        SignatureInvalidError       signature_invalid
      PolicyError                   policy_invalid
        FieldDeniedError            field_denied
          FieldAmbiguousError       field_ambiguous
      TrustError
        MalformedClaimError         malformed_claim
        BadSignatureError           bad_signature
        UntrustedOperatorError      untrusted_operator
        WrongIssuerError            wrong_issuer
          IdentityIssuerError       identity_issuer
        WrongAccountError           wrong_account
        ExcessiveClaimError         excessive_claim
        CertificateLifeError        certificate_life
        FutureClaimError            future_claim
        NotYetValidError            not_yet_valid
        ExpiredClaimError           expired_claim
        RevokedError                revoked
        RollbackError               rollback
        UnknownKeyError             unknown_key
        AmbiguousNameError          ambiguous_name
        ConflictError               conflict
      KeyStoreError                 key_store
      ConfigurationError            configuration
      TransportError
        DeliveryError               delivery
        PayloadTooLargeError        payload_too_large
        ConnectionFailedError       connection
      ServiceError                  service
"""

from __future__ import annotations

from typing import ClassVar

from xkeymsg.shown import MOST_PLACES, MOST_TEXT, cut, listed

__all__ = (
    "AmbiguousNameError",
    "AuthenticationError",
    "BadKeyError",
    "BadSignatureError",
    "CertificateLifeError",
    "CommitmentError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "ContentTypeError",
    "DeliveryError",
    "EnvelopeError",
    "ExcessiveClaimError",
    "ExpiredClaimError",
    "ExpiredError",
    "FieldAmbiguousError",
    "FieldDeniedError",
    "FutureClaimError",
    "IdentityIssuerError",
    "KeyFormatError",
    "KeyStoreError",
    "LimitExceededError",
    "MalformedClaimError",
    "MalformedError",
    "NotARecipientError",
    "NotYetValidError",
    "OpenError",
    "PayloadTooLargeError",
    "PolicyError",
    "ReplayError",
    "RevokedError",
    "RollbackError",
    "SenderNotAdmittedError",
    "ServiceError",
    "SessionClonedError",
    "SignatureInvalidError",
    "SignatureMissingError",
    "StaleError",
    "SubjectMismatchError",
    "TransportError",
    "TrustError",
    "UnknownKeyError",
    "UnsupportedVersionError",
    "UntrustedOperatorError",
    "WrongAccountError",
    "WrongIssuerError",
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


class TrustError(XKeyMsgError):
    """A chain of claims does not hold."""


class MalformedClaimError(TrustError):
    """A text is not a JWT or certificate in the one accepted form."""

    code = "malformed_claim"


class BadSignatureError(TrustError):
    """A claim's signature does not verify."""

    code = "bad_signature"


class UntrustedOperatorError(TrustError):
    """An operator JWT is not self-issued by a configured anchor."""

    code = "untrusted_operator"


class WrongIssuerError(TrustError):
    """A claim was issued by a key that may not issue it."""

    code = "wrong_issuer"


class IdentityIssuerError(WrongIssuerError):
    """A claim was issued by an identity key where only signing keys may issue."""

    code = "identity_issuer"


class WrongAccountError(TrustError):
    """A claim belongs to another account than the one it is used for."""

    code = "wrong_account"


class ExcessiveClaimError(TrustError):
    """A user JWT claims more than its issuer's role or its account allows."""

    code = "excessive_claim"


class CertificateLifeError(TrustError):
    """An xkey certificate has no limited life, or one longer than the policy allows."""

    code = "certificate_life"


class FutureClaimError(TrustError):
    """A claim states a time of issue that has not come yet."""

    code = "future_claim"


class NotYetValidError(TrustError):
    """A claim is not valid yet."""

    code = "not_yet_valid"


class ExpiredClaimError(TrustError):
    """A claim is not valid any more."""

    code = "expired_claim"


class RevokedError(TrustError):
    """A claim was revoked by its account."""

    code = "revoked"


class RollbackError(TrustError):
    """A claim is older than one that was admitted before it."""

    code = "rollback"


class UnknownKeyError(TrustError):
    """A name or key is not in the directory (yet)."""

    code = "unknown_key"
    retryable = True


class AmbiguousNameError(TrustError):
    """A name stands for more than one live user."""

    code = "ambiguous_name"


class ConflictError(TrustError):
    """Two claims contradict each other, or a stream keeps another message under this one's id."""

    code = "conflict"


class KeyStoreError(XKeyMsgError):
    """A secret key cannot be read from, or written to, where it is kept."""

    code = "key_store"


class ConfigurationError(XKeyMsgError):
    """A setting is missing, contradicts another, or has a value that cannot be used."""

    code = "configuration"


class TransportError(XKeyMsgError):
    """Something between this program and the NATS server failed."""


class DeliveryError(TransportError):
    """The server did not take a message."""

    code = "delivery"
    retryable = True

    def __init__(self, reason: str, err_code: int | None = None) -> None:
        super().__init__(*((reason,) if err_code is None else (reason, err_code)))
        self.err_code = err_code
        """The number that JetStream gives its errors (10071: wrong last sequence), if it is one."""

    def __str__(self) -> str:
        return str(self.args[0])


class PayloadTooLargeError(TransportError):
    """A message would not fit the server's `max_payload`, headers included."""

    code = "payload_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        """What the message would take on the wire, headers included, in bytes."""
        self.limit = limit
        """The server's `max_payload`, in bytes."""

    def __str__(self) -> str:
        return f"would take {self.size} bytes, and the server's max_payload is {self.limit}"


class ConnectionFailedError(TransportError):
    """No connection to a NATS server; the text says what was tried and what to check."""

    code = "connection"
    retryable = True


class ServiceError(XKeyMsgError):
    """A service answered a request with an error; a handler raises one to answer so.

    Both arguments travel to whoever asked, sealed; nothing else of a handler's failure does.
    """

    code = "service"

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason, text)
        self.reason = reason
        """A name for the failure, for programs: the service's own, or `internal` where its handler
        failed without saying why."""
        self.text = text
        """What it has to say to people."""

    def __str__(self) -> str:
        return f"the service answered {self.reason!a}" + (f": {self.text!a}" if self.text else "")
