"""NATS JWTs and xkey certificates, read and written in one strict form.

A claim is `header "." claims "." signature`, each part in base64url. The rules of form, T-1 in
docs/spec/trust.md:

- The header is `{"typ":"JWT","alg":"ed25519-nkey"}`, for a certificate `ed25519-xkey`: the place in
  the chain decides which, never the text itself. The two members may be in either order; no others
  are allowed.
- base64url is canonical: no padding, no characters outside the alphabet, spare bits are zero.
  Otherwise one claim has 16 spellings, and anyone can make another text of the same claim.
- Claims are one JSON object in UTF-8: no repeated name, only integers of 64 bits, no lone
  surrogate, at most 32 levels of nesting. A name that differs from a known name only in case is
  refused: Go takes it for the known one.
- `nats.type` matches the place, `nats.version` is 2, and there is no `type` at the top (version 1).
- `sub` and `iss` are nkeys of the kinds required at that place; `iat` is required; `exp` and `nbf`
  are not negative.
- Sizes are checked first: 16 KiB for a user JWT or a certificate, 64 KiB for an operator's, 256 KiB
  for an account's.
- The signature is Ed25519 over the exact bytes of `header "." claims`, preceded in a certificate by
  0xFF "xkm1/xkey" 0x00. A byte 0xFF cannot be part of a login nonce, which travels as JSON, so no
  signed nonce is a certificate. An issuer of small order, whose signatures anybody can forge, is
  refused; nats-server accepts it.

`jti` identifies nothing: tools give all edits within one second the same id. It is written as the
Go library computes it, and ignored on reading. No error and no `repr` shows the text of a claim: a
bearer JWT is a password.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from xkeymsg import primitives
from xkeymsg.errors import (
    BadSignatureError,
    KeyFormatError,
    MalformedClaimError,
    WrongIssuerError,
)
from xkeymsg.nkey import Prefix, Signer, decode_public

__all__ = (
    "CERTIFICATE_DOMAIN",
    "UNLIMITED_ACCOUNT",
    "UNLIMITED_USER",
    "Claims",
    "Kind",
    "decode",
    "exact_names",
    "issue",
    "issue_time",
    "jti",
    "list_of_text",
)

CERTIFICATE_DOMAIN: Final = b"\xffxkm1/xkey\x00"
"""The prefix of the signed bytes of a certificate."""

_NKEY_HEADER: Final = b"eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ"
_XKEY_HEADER: Final = b"eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LXhrZXkifQ"
_MAX_DEPTH: Final = 32
_MAX_INTEGER: Final = 2**63 - 1

UNLIMITED_USER: Final[Mapping[str, Any]] = {
    "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
}  # fmt: skip
"""The members that tools write for an unscoped user without permissions or limits of its own."""

UNLIMITED_ACCOUNT: Final[Mapping[str, Any]] = {
    "limits": dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    | {"wildcards": True},
    "default_permissions": {"pub": {}, "sub": {}},
}
"""The members that tools write for an account without limits."""


class Kind(Enum):
    """The places in a chain: `nats.type`, kinds of key, header, signing domain, maximum size."""

    OPERATOR = ("operator", Prefix.OPERATOR, Prefix.OPERATOR, _NKEY_HEADER, b"", 64 << 10)
    ACCOUNT = ("account", Prefix.ACCOUNT, Prefix.OPERATOR, _NKEY_HEADER, b"", 256 << 10)
    USER = ("user", Prefix.USER, Prefix.ACCOUNT, _NKEY_HEADER, b"", 16 << 10)
    # Activation tokens are in imports of accounts, and not part of a chain.
    ACTIVATION = ("activation", Prefix.ACCOUNT, Prefix.ACCOUNT, _NKEY_HEADER, b"", 16 << 10)
    XKEY = ("xkey", Prefix.CURVE, Prefix.USER, _XKEY_HEADER, CERTIFICATE_DOMAIN, 16 << 10)

    def __init__(
        self, type_: str, subject: Prefix, issuer: Prefix, header: bytes, domain: bytes, size: int
    ) -> None:
        self.type, self.subject, self.issuer = type_, subject, issuer
        self.header, self.domain, self.size = header, domain, size

    def __str__(self) -> str:
        return "xkey certificate" if self is Kind.XKEY else f"{self.type} JWT"


class Claims(NamedTuple):
    """A claim with valid form and signature; `trust.chain` decides whether it counts."""

    kind: Kind
    text: str
    """The whole JWT or certificate."""
    subject: str
    raw_subject: bytes
    """The 32 bytes of `sub`."""
    issuer: str
    name: str
    issued: int
    """`iat`, in seconds, as the other times."""
    not_before: int
    """`nbf`, or 0."""
    expires: int
    """`exp`, or 0."""
    members: Mapping[str, Any]
    """All top-level members."""
    nats: Mapping[str, Any]
    """The member defined by NATS; the shapes of its contents are not checked."""

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.subject} by {self.issuer}>"


def decode(text: str, kind: Kind) -> Claims:
    """Decode a claim for one place in a chain; check its form and its signature (T-1).

    Raises:
        BadSignatureError: If the signature is not by the named issuer.
        MalformedClaimError: If it is not a claim of this kind in the accepted form.
        WrongIssuerError: If the issuer's kind of key may not issue such claims.
        TypeError: If `text` is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"a claim must be a str, not {type(text).__name__}")
    if len(text) > kind.size:
        _malformed(kind, f"{len(text)} characters, at most {kind.size} are allowed")
    raw = text.encode("ascii", "replace")
    parts = raw.translate(_TO_STANDARD).split(b".", 3)
    if len(parts) != 3:
        _malformed(kind, "expected three parts")
    header, body, signature = parts
    try:
        if header != kind.header and _json(header) != _json(kind.header):
            _malformed(kind, "the header is not the one for this kind of claim")
        message = kind.domain + raw[: -1 - len(signature)]
        return _verified(text, kind, _json(body), message, _base64(signature))
    except _Fault as fault:
        _malformed(kind, str(fault))


def _verified(
    text: str, kind: Kind, claims: dict[str, Any], message: bytes, signature: bytes
) -> Claims:
    nats = _checked(kind, claims)
    get = claims.get
    subject: Any = get("sub")
    issuer: Any = get("iss")
    try:
        raw_subject = decode_public(kind.subject, subject)
    except (KeyFormatError, TypeError):
        raise _Fault(f"the subject is not a public key {kind.subject.letter}…") from None
    if raw_subject == _NO_USER and kind is Kind.USER:
        raise _Fault("the all-zero user key is reserved")
    try:
        signer = _issuer(kind.issuer, issuer)
    except (KeyFormatError, TypeError):
        raise WrongIssuerError(
            f"{kind}: the issuer is not a public key {kind.issuer.letter}…"
        ) from None
    if len(signature) != 64 or not primitives.ed25519_verify(signer, message, signature):
        raise BadSignatureError(f"{kind}: the signature is not by the issuer")
    name, times = get("name", ""), (claims["iat"], get("nbf", 0), get("exp", 0))
    return Claims(kind, text, subject, raw_subject, issuer, name, *times, claims, nats)


def _checked(kind: Kind, claims: dict[str, Any]) -> dict[str, Any]:
    """Check the members that all kinds of claims share, but for the keys; return `nats`."""
    exact_names(claims, _TOP)
    get = claims.get
    nats = get("nats")
    if type(nats) is not dict or "type" in claims or nats.get("version") != 2:
        raise _Fault("not version 2 of NATS JWTs")
    if nats.get("type") != kind.type:
        raise _Fault("`nats.type` is that of another kind of claim")
    if not (type(get("name", "")) is type(get("aud", "")) is type(get("jti", "")) is str):
        raise _Fault("`name`, `aud` or `jti` is not text")
    issued, not_before, expires = get("iat", 0), get("nbf", 0), get("exp", 0)
    if not (type(issued) is type(not_before) is type(expires) is int):
        raise _Fault("`iat`, `nbf` or `exp` is not an integer")
    if issued <= 0 or not_before < 0 or expires < 0:
        raise _Fault("`iat` is missing, or a time is negative")
    return nats


_TOP: Final = frozenset({"aud", "exp", "iat", "iss", "jti", "name", "nats", "nbf", "sub", "type"})
_NO_USER: Final = bytes(32)
"""Stands for a key without a user."""


class _Fault(Exception):  # noqa: N818 - never leaves this module
    """A fault of form, without the kind of claim."""


def _malformed(kind: Kind, why: str) -> NoReturn:
    raise MalformedClaimError(f"{kind}: {why}") from None


# "-" and "_" become "+" and "/" of the standard alphabet; these themselves are refused, as is
# padding.
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_SPARE: Final = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}
"""The characters with zero spare bits, by the length of the last group."""


def _base64(part: bytes) -> bytes:
    last = len(part) % 4
    if last and (last == 1 or part[-1] not in _SPARE[last]):
        raise _Fault("base64url is not canonical")
    try:
        return binascii.a2b_base64(part + b"=" * (-last % 4), strict_mode=True)
    except ValueError:
        raise _Fault("not base64url") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Fault("repeated JSON name")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 18 and (len(digits) > 20 or abs(int(digits)) > _MAX_INTEGER):
        raise _Fault("integer of more than 64 bits")
    return int(digits)


def _no_number(_digits: str) -> NoReturn:
    raise _Fault("number is not an integer")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_once,
    parse_int=_integer,
    parse_float=_no_number,
    parse_constant=_no_number,
)
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _json(part: bytes) -> dict[str, Any]:
    """Return the JSON object of one part of a claim."""
    raw = _base64(part)
    openings = raw.count(b"{") + raw.count(b"[")
    if openings > _MAX_DEPTH and _is_deep(raw):
        raise _Fault("JSON is nested too deeply")  # Python's decoder would use the stack for it
    try:
        text = raw.decode().strip(" \t\r\n")
        value, end = _DECODER.raw_decode(text)  # `decode` searches for white space, slowly
        if b"\\" in raw:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate fails here
    except ValueError:  # UnicodeError too
        raise _Fault("not JSON in UTF-8") from None
    if type(value) is not dict or end != len(text):
        raise _Fault("not a JSON object")
    return value


def _is_deep(raw: bytes) -> bool:
    """Return whether brackets remain after the innermost pairs are removed `_MAX_DEPTH` times."""
    brackets = _STRING.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(_MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def exact_names(members: Mapping[str, Any], known: frozenset[str]) -> Mapping[str, Any]:
    """Return the members, if none has a known name in another case, which Go takes for the name.

    Raises:
        MalformedClaimError: If one has.
    """
    if not (members.keys() <= known or known.isdisjoint(map(str.casefold, members.keys() - known))):
        raise MalformedClaimError("a JSON name differs from a known one only in case")
    return members


def list_of_text(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a member that is a list of strings; empty if absent.

    Raises:
        MalformedClaimError: If it is anything else.
    """
    value = members.get(name, [])
    if type(value) is not list or {*map(type, value)} - {str}:
        raise MalformedClaimError(f"`{name}` is not a list of text")
    return tuple(value)


_issuer = lru_cache(maxsize=256)(decode_public)  # many users have few issuers


_STANDARD_CLAIMS: Final = ("aud", "exp", "iat", "iss", "name", "nbf", "sub")


def _go_json(value: object) -> bytes:
    """Return JSON as Go writes it: `<`, `>`, `&` and two line separators escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()
    except UnicodeEncodeError:
        raise MalformedClaimError("text with a lone surrogate") from None


_ESCAPED: Final = re.compile("[<>&\u2028\u2029]")


def jti(claims: Mapping[str, Any]) -> str:
    """Return the id that the Go library computes: a hash of the standard members, without `nats`.

    Args:
        claims: The top-level members.
    """
    standard = {name: claims[name] for name in _STANDARD_CLAIMS if claims.get(name)}
    return base64.b32encode(primitives.sha512_256(_go_json(standard))).rstrip(b"=").decode()


def issue_time(now: int, last: int = 0, revoked: int = 0) -> int:
    """Return the `iat` for a new claim, later than the last one and any revocation (T-6).

    Args:
        now: Our clock, in seconds.
        last: `iat` of the newest claim about the same subject.
        revoked: The greatest time in `revocations` that would apply to the new claim.
    """
    return max(now, last + 1, revoked + 1)


def issue(
    kind: Kind,
    signer: Signer,
    subject: str,
    nats: Mapping[str, Any],
    *,
    issued: int,
    name: str = "",
    not_before: int = 0,
    expires: int = 0,
) -> str:
    """Issue a claim, and decode it as every reader will.

    Args:
        kind: What to issue.
        signer: The issuer's key.
        subject: The public key that the claim is about.
        nats: Members of `nats`; `type` and `version` are added.
        issued: `iat`; see `issue_time`.
        name: The name; empty for certificates.
        not_before: `nbf`, or 0.
        expires: `exp`, or 0.

    Raises:
        TrustError: If the result is not a valid claim.
    """
    claims: dict[str, Any] = {
        "exp": expires, "iat": issued, "iss": signer.public_key.decode(), "name": name,
        "nbf": not_before, "sub": subject,
    }  # fmt: skip
    claims = {name: value for name, value in claims.items() if value}
    if kind is not Kind.XKEY:
        claims = {"jti": jti(claims)} | claims
    claims["nats"] = {**nats, "type": kind.type, "version": 2}
    signed = kind.header + b"." + _to_base64(_go_json(claims))
    text = (signed + b"." + _to_base64(signer.sign(kind.domain + signed))).decode()
    decode(text, kind)
    return text


def _to_base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
