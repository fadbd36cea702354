"""The errors of xkeymsg, and their codes.

Bad *data* raises an `XKeyMsgError`, whatever the bytes; a wrong argument *type* is the caller's bug
and raises a `TypeError`. `code` is stable: test vectors (`expect:`), metrics and log lines use it.
`retryable` says whether the same bytes may succeed later (when a missing key or peer has arrived).

No message contains plaintext or a secret, nor quotes outside bytes that could be either.

The class tree, grouped by who has to act; classes with a code are raised:

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
          SenderRevokedError        sender_revoked
        SubjectMismatchError        subject_mismatch
        ContentTypeError            content_type
        ExpiredError                expired
        StaleError                  stale
        ReplayError                 replay
          SessionClonedError        session_cloned
        NotSealedError              not_sealed
        ValueRollbackError          value_rollback
        SignatureMissingError       signature_missing
        SignatureInvalidError       signature_invalid
        ObjectError
          ObjectLinkError           object_link
          ObjectMixedError          object_mixed
          ObjectTruncatedError      object_truncated
          ChunkOrderError           chunk_order
          ChunkReplacedError        chunk_replaced
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
        NotLoadedError              not_loaded
        NotYetValidError            not_yet_valid
        ExpiredClaimError           expired_claim
        RevokedError                revoked
        RollbackError               rollback
        UnknownKeyError             unknown_key
        AmbiguousNameError          ambiguous_name
        ConflictError               conflict
      KeyStoreError                 key_store
        PinError                    pin
      ConfigurationError            configuration
      ObjectNotFoundError           object_not_found
      UnauthenticatedDeletionError  unauthenticated_deletion
      TransportError
        DeliveryError               delivery
        PayloadTooLargeError        payload_too_large
        ConnectionFailedError       connection
      ServiceError                  service
      KVError
        KeyNotFoundError            key_not_found
          KeyDeletedError           key_deleted
        WrongRevisionError          wrong_revision
        WatchGapError               watch_gap
"""

from __future__ import annotations

from xkeymsg.errors.messages import (
    AuthenticationError,
    BadKeyError,
    CommitmentError,
    ContentTypeError,
    EnvelopeError,
    ExpiredError,
    FieldAmbiguousError,
    FieldDeniedError,
    KeyFormatError,
    LimitExceededError,
    MalformedError,
    NotARecipientError,
    NotSealedError,
    OpenError,
    PolicyError,
    ReplayError,
    SenderNotAdmittedError,
    SenderRevokedError,
    SessionClonedError,
    SignatureInvalidError,
    SignatureMissingError,
    StaleError,
    SubjectMismatchError,
    UnsupportedVersionError,
    ValueRollbackError,
    XKeyMsgError,
)
from xkeymsg.errors.objects import (
    ChunkOrderError,
    ChunkReplacedError,
    ObjectError,
    ObjectLinkError,
    ObjectMixedError,
    ObjectTruncatedError,
)
from xkeymsg.errors.operation import (
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    KeyDeletedError,
    KeyNotFoundError,
    KeyStoreError,
    KVError,
    ObjectNotFoundError,
    PayloadTooLargeError,
    PinError,
    ServiceError,
    TransportError,
    UnauthenticatedDeletionError,
    WatchGapError,
    WrongRevisionError,
)
from xkeymsg.errors.trust import (
    AmbiguousNameError,
    BadSignatureError,
    CertificateLifeError,
    ConflictError,
    ExcessiveClaimError,
    ExpiredClaimError,
    FutureClaimError,
    IdentityIssuerError,
    MalformedClaimError,
    NotLoadedError,
    NotYetValidError,
    RevokedError,
    RollbackError,
    TrustError,
    UnknownKeyError,
    UntrustedOperatorError,
    WrongAccountError,
    WrongIssuerError,
)

__all__ = (
    "AmbiguousNameError",
    "AuthenticationError",
    "BadKeyError",
    "BadSignatureError",
    "CertificateLifeError",
    "ChunkOrderError",
    "ChunkReplacedError",
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
    "KVError",
    "KeyDeletedError",
    "KeyFormatError",
    "KeyNotFoundError",
    "KeyStoreError",
    "LimitExceededError",
    "MalformedClaimError",
    "MalformedError",
    "NotARecipientError",
    "NotLoadedError",
    "NotSealedError",
    "NotYetValidError",
    "ObjectError",
    "ObjectLinkError",
    "ObjectMixedError",
    "ObjectNotFoundError",
    "ObjectTruncatedError",
    "OpenError",
    "PayloadTooLargeError",
    "PinError",
    "PolicyError",
    "ReplayError",
    "RevokedError",
    "RollbackError",
    "SenderNotAdmittedError",
    "SenderRevokedError",
    "ServiceError",
    "SessionClonedError",
    "SignatureInvalidError",
    "SignatureMissingError",
    "StaleError",
    "SubjectMismatchError",
    "TransportError",
    "TrustError",
    "UnauthenticatedDeletionError",
    "UnknownKeyError",
    "UnsupportedVersionError",
    "UntrustedOperatorError",
    "ValueRollbackError",
    "WatchGapError",
    "WrongAccountError",
    "WrongIssuerError",
    "WrongRevisionError",
    "XKeyMsgError",
)

for _name in __all__:  # one public home: tracebacks and pickles name it
    globals()[_name].__module__ = __name__
