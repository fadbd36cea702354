"""Errors of chains of trust and of names. See `xkeymsg.errors`."""

from __future__ import annotations

from xkeymsg.errors.messages import XKeyMsgError

__all__ = (
    "AmbiguousNameError",
    "BadSignatureError",
    "CertificateLifeError",
    "ConflictError",
    "ExcessiveClaimError",
    "ExpiredClaimError",
    "FutureClaimError",
    "IdentityIssuerError",
    "MalformedClaimError",
    "NotYetValidError",
    "RevokedError",
    "RollbackError",
    "TrustError",
    "UnknownKeyError",
    "UntrustedOperatorError",
    "WrongAccountError",
    "WrongIssuerError",
)


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
