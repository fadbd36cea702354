"""`Sealer`: seals data or documents into envelopes for one sender.

Planning checks the arguments (`envelope.plan`, `fields`), a session draws nonces and keys
(`envelope.session`), and assembling computes the bytes from both alone (`envelope.seal`, or
`native`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from threading import Lock
from typing import Any, Final, NoReturn

from xkeymsg import native, nkey
from xkeymsg.ambient import after_fork, call_later, now_ns
from xkeymsg.arguments import Buffer
from xkeymsg.display import SafeRepr
from xkeymsg.envelope import derive
from xkeymsg.envelope.plan import Contents, Headers, Planner, Sharing
from xkeymsg.envelope.session import (
    LIFETIME,
    Recipients,
    Session,
    SessionEndedError,
    TagCollisionError,
)
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.errors import ConfigurationError, LimitExceededError
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.readers import KnownHolders, Readers
from xkeymsg.fields.split import check_size, split
from xkeymsg.keys import Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.refusals import redact, refusing

__all__ = ("Headers", "Sealer")

_PAIRS: Final = 4096
"""Recipients whose static pair keys a sealer caches."""


class Sealer(SafeRepr):
    """Seals messages from one key, for one to 1,024 recipients each; see `seal`, `seal_document`.

        sealer = Sealer(alice)
        envelope = sealer.seal(b"…", to=[bob.public, carol.public], subject="orders.new")

    One sealer serves a whole process: it is thread-safe, and its session keeps the keys that it
    shares with recipients, so that only the first message to a recipient costs an X25519. The
    session ends after an hour or 2^20 messages, when the process forks, and with `close`.
    """

    @refusing
    def __init__(
        self,
        pair: XKeyPair,
        *,
        signer: nkey.Signer | None = None,
        identity: str | None = None,
        limits: Limits | None = None,
        padding: bool = False,
        always_to: Iterable[XKey | Recipient] = (),
    ) -> None:
        """Initialize with the sender's key pair.

        Args:
            pair: The sender's key pair.
            signer: The sender's user nkey, which signs each message: readers who know the sender
                by it can prove the message's origin to others, and a thief of a reader's key cannot
                forge a signed message of this sender.
            identity: The sender's public user nkey `U…`, for messages that are not signed.
            limits: The limits to enforce.
            padding: Whether to hide the exact length of the data, for one byte and at most 12 %
                more.
            always_to: Recipients of every message (escrow).

        Raises:
            KeyFormatError: If `identity` or the signer's key is not a public user key.
            ConfigurationError: If `identity` is not the signer's.
            TypeError: If an argument has the wrong type.
        """
        if not isinstance(pair, XKeyPair):
            raise TypeError(f"a sealer's key must be an XKeyPair, not {type(pair).__name__}")
        if signer is not None and not hasattr(signer, "public_key"):
            raise TypeError(f"a signer must be like a UserKey, not {type(signer).__name__}")
        self._pair = pair
        self._signer = signer
        own = None if signer is None else signer.public_key.decode("ascii", "replace")
        if identity is not None and own is not None and identity != own:
            raise ConfigurationError("the identity differs from the signer's user key")
        known = identity if own is None else own
        self._planner = Planner(
            limits or Limits(),
            identity=None if known is None else nkey.decode_public(nkey.Prefix.USER, known),
            signed=signer is not None,
            padding=padding,
            always_to=always_to,
        )
        self._holders = KnownHolders()
        public = bytes(pair.public)

        @lru_cache(maxsize=_PAIRS)
        def pairs(recipient: Recipient) -> derive.PairKeys:
            dh_s = pair._dh(recipient.key)  # noqa: SLF001 - private to the package
            return derive.pair_keys(dh_s, public, bytes(recipient.key), recipient.user)

        self._pairs = pairs
        self._session: Session | None = None
        self._lock = Lock()
        after_fork(self)

    @property
    def public(self) -> XKey:
        """The sender's public key."""
        return self._pair.public

    def seal(
        self,
        data: Buffer,
        *,
        to: Iterable[XKey | Recipient],
        subject: str,
        headers: Headers = (),
        content_type: str | None = None,
        expires: float | None = None,
        revision: int | None = None,
        check_size: Callable[[int], None] | None = None,
    ) -> bytes:
        """Seal a payload.

        Args:
            data: The payload.
            to: The recipients, in addition to `always_to`; equal ones count once.
            subject: The subject to seal it for; readers compare it with their expected subjects.
            headers: Sealed headers; names may repeat in a sequence of pairs. They arrive in order.
            content_type: A media type, or None.
            expires: The seconds from now after which readers refuse it.
            revision: The directory's revision at which `to` was resolved.
            check_size: Called with the length of the envelope before anything is encrypted; its
                exceptions propagate.

        Raises:
            LimitExceededError: If a limit is exceeded, such as the number of recipients.
            MalformedError: If the subject is invalid, there are no recipients, a text is not
                Unicode, or a header name is reserved.
            ExpiredError: If `expires` is not in the future.
            TypeError: If an argument has the wrong type.
        """
        planner = self._planner
        try:
            array = None
            if headers or content_type is not None:
                array = planner.message_array(headers, content_type)
            parts, everyone = planner.payload(data, array), planner.recipients(to)
            return self._seal_at(now_ns(), parts, everyone, subject, expires, revision, check_size)
        except Exception as error:
            redact(error)
            raise

    def seal_document(
        self,
        document: Any,
        *,
        policy: Policy,
        readers: Readers,
        subject: str,
        headers: Headers = (),
        content_type: str | None = None,
        expires: float | None = None,
        revision: int | None = None,
        check_size: Callable[[int], None] | None = None,
    ) -> bytes:
        """Seal a document; each reader can open only the fields that its permissions allow.

        Args:
            document: `None`, `bool`, `int`, `float`, `str`, `bytes`, `Decimal`, aware `datetime`,
                `UUID`, and `list` and `dict` of these, with text as names; it must not change
                during the call.
            policy: Which permissions may read which field.
            readers: The keys that hold each permission; a key under several permissions is one
                recipient with all of them. Recipients in `always_to` hold every permission.
            subject: As for `seal`.
            headers: As for `seal`; every reader gets them.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.
            check_size: As for `seal`.

        Raises:
            FieldDeniedError: If no rule matches a field; names every such field. Nothing is sealed.
            PolicyError: If a permission of the policy has no readers, and is not in `allow_unread`.
            MalformedError: If the document holds an unsupported value, or has no reader; and as
                for `seal`.
            LimitExceededError: If it is too deep or too large; and as for `seal`.
            ExpiredError: If `expires` is not in the future.
        """
        try:
            contents, to = self._planned(document, policy, readers, headers, content_type)
            return self._seal_at(now_ns(), contents, to, subject, expires, revision, check_size)
        except Exception as error:
            redact(error)
            raise

    def close(self) -> None:
        """End the session and drop its secrets; the next message begins another."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.end()

    def _planned(
        self,
        document: Any,
        policy: Policy,
        readers: Readers,
        headers: Headers,
        content_type: str | None,
    ) -> tuple[Contents, Sharing]:
        """Return the parts of a document, ready to be sealed, and which reader gets which."""
        holders = self._holders.of(policy, readers)
        made = split(document, policy, self._planner.limits)
        parts = len(made.parts)
        contents = self._planner.contents(
            [part.plaintext for part in made.parts], headers, content_type
        )
        metadata = len(contents) > parts
        sharing = holders.sharing(
            (made.sets, metadata),
            lambda: self._planner.sharing(holders.grants(made.sets), parts, metadata=metadata),
        )
        check_size(made, sharing.views, self._planner.limits)
        return contents, sharing

    def _seal_at(
        self,
        now: int,
        contents: Contents,
        to: Recipients,
        subject: str,
        expires: float | None,
        revision: int | None,
        check_size: Callable[[int], None] | None = None,
    ) -> bytes:
        """Seal at a given time, in nanoseconds since 1970."""
        created_ms, planner = now // 1_000_000, self._planner
        attributes = planner.attributes(created_ms, expires, revision)
        if check_size is not None:
            check_size(planner.size(contents, to, encode_subject(subject), attributes))
        while True:
            session = self._session or self._begin(None)
            try:
                plan = session.plan(to, subject, attributes)
                envelope = session.seal(plan, now, contents, self._signer)
            except (SessionEndedError, TagCollisionError):
                self._begin(session)
            else:
                break
        if len(envelope) > planner.limits.envelope:
            raise LimitExceededError(
                "bytes of the envelope", len(envelope), planner.limits.envelope
            )
        return envelope

    def _begin(self, old: Session | None) -> Session:
        """Replace the session `old` with a new one, unless another thread did."""
        with self._lock:
            if self._session is None or self._session is old:
                if old is not None:
                    old.end()
                self._session = native.session(self._pair, self._pairs)
                call_later(LIFETIME, self._session.end)
            return self._session

    def _after_fork(self) -> None:
        """Drop the session in a forked child; the parent continues it (E-24)."""
        self._lock = Lock()
        self._session = None

    def __repr__(self) -> str:
        return f"<Sealer {self._pair.public}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a sealer cannot be pickled or copied: its counter would repeat")
