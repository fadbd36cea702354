"""Errors of trust chains and names; see `xkeymsg.errors`."""

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
    "NotLoadedError",
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
    """A chain of claims is invalid."""


class MalformedClaimError(TrustError):
    """A text is not a JWT or certificate in the accepted form."""

    code = "malformed_claim"


class BadSignatureError(TrustError):
    """A claim's signature does not verify."""

    code = "bad_signature"


class UntrustedOperatorError(TrustError):
    """An operator JWT is not self-issued by a configured trust anchor."""

    code = "untrusted_operator"


class WrongIssuerError(TrustError):
    """A claim was issued by a key that may not issue it."""

    code = "wrong_issuer"


class IdentityIssuerError(WrongIssuerError):
    """A claim was issued by an identity key, but only signing keys may issue it."""

    code = "identity_issuer"


class WrongAccountError(TrustError):
    """A claim belongs to an account other than the one it is used for."""

    code = "wrong_account"


class ExcessiveClaimError(TrustError):
    """A user JWT claims more than its issuer's role or its account allows."""

    code = "excessive_claim"


class CertificateLifeError(TrustError):
    """An xkey certificate has no expiry, or a longer lifetime than the policy allows."""

    code = "certificate_life"


class FutureClaimError(TrustError):
    """A claim's time of issue is in the future."""

    code = "future_claim"


class NotYetValidError(TrustError):
    """A claim is not valid yet."""

    code = "not_yet_valid"


class ExpiredClaimError(TrustError):
    """A claim has expired."""

    code = "expired_claim"


class RevokedError(TrustError):
    """A claim was revoked by its account."""

    code = "revoked"


class RollbackError(TrustError):
    """A claim is older than one that was admitted before."""

    code = "rollback"


class UnknownKeyError(TrustError):
    """A name or key is not in the directory (yet)."""

    code = "unknown_key"
    retryable = True


class NotLoadedError(TrustError):
    """The directory has not been read yet, or is stale: the name or sender may be in it."""

    code = "not_loaded"
    retryable = True


class AmbiguousNameError(TrustError):
    """A name belongs to more than one valid user."""

    code = "ambiguous_name"


class ConflictError(TrustError):
    """Two claims contradict each other, or a stream holds another message with this id."""

    code = "conflict"
