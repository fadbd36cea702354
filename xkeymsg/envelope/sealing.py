"""Sealing (spec, "Sealing order")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from threading import Lock
from typing import Final, NoReturn, TypeVar

from xkeymsg import nkey, wire
from xkeymsg.ambient import after_fork, call_later, now_ns
from xkeymsg.envelope import derive
from xkeymsg.envelope.assembly import (
    LARGE,
    NO_VIEWS,
    ONE_PART,
    assemble,
    seal_large,
    seal_part,
    seal_view,
)
from xkeymsg.envelope.content import (
    PADDED,
    padded,
)
from xkeymsg.envelope.planning import Grants, Headers, Planner, pairs_of
from xkeymsg.envelope.session import (
    LIFETIME,
    Session,
    SessionEndedError,
    TagCollisionError,
)
from xkeymsg.envelope.sharing import Sharing
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.errors import (
    ConfigurationError,
    LimitExceededError,
    XKeyMsgError,
)
from xkeymsg.keys import Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.refusals import bare, refusing
from xkeymsg.shown import safe_repr

__all__ = ("Headers", "Sealer")

_PAIRS: Final = 4096
"""How many recipients' static keys a sealer keeps."""

_NO_VIEWS_ONE_PART: Final = NO_VIEWS + ONE_PART

_T = TypeVar("_T")


@safe_repr
class Sealer(Planner):
    """Seals messages from one key, for one to 1,024 recipients each.

        sealer = Sealer(alice)
        envelope = sealer.seal(b"…", to=[bob.public, carol.public], subject="orders.new")

    One sealer serves a whole process: it is thread-safe, and the keys it shares with recipients are
    kept in a session, so that only the first message to somebody costs an X25519. The session ends
    by itself after an hour or 2^20 messages, when a process is forked, and with `close`.
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
        """Take the sender's key.

        Args:
            pair: Whose messages these are.
            signer: The sender's user nkey, which signs each message: readers who know the sender
                by it can prove the message to others, and nobody who has stolen a reader's key can
                make one in the sender's name.
            identity: The sender's public user nkey `U…`, for messages that are not signed.
            limits: What is made at most.
            padding: Whether to hide the exact length of the data, for at most 12 % more.
            always_to: Recipients of every message (escrow).

        Raises:
            KeyFormatError: If `identity`, or the signer's key, is not a user key.
            ConfigurationError: If `identity` is not the signer's.
            TypeError: If an argument has the wrong type.
        """
        if not isinstance(pair, XKeyPair):
            raise TypeError(f"a sealer's key is an XKeyPair, not {type(pair).__name__}")
        if signer is not None and not hasattr(signer, "public_key"):
            raise TypeError(f"a signer is a UserKey, or like one, not {type(signer).__name__}")
        self._pair = pair
        self._signer = signer
        own = None if signer is None else signer.public_key.decode("ascii", "replace")
        if identity is not None and own is not None and identity != own:
            raise ConfigurationError("the identity is not that of the signer")
        known = identity if own is None else own
        super().__init__(
            limits,
            identity=None if known is None else nkey.decode_public(nkey.Prefix.USER, known),
            signed=signer is not None,
            padding=padding,
            always_to=always_to,
        )
        public = bytes(pair.public)

        @lru_cache(maxsize=_PAIRS)
        def pairs(recipient: Recipient) -> derive.PairKeys:
            dh_s = pair.dh(recipient.key)
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
        data: bytes,
        *,
        to: Iterable[XKey | Recipient],
        subject: str,
        headers: Headers = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
        revision: int | None = None,
    ) -> bytes:
        """Seal a payload.

        Args:
            data: What the recipients get.
            to: Who can open it, besides `always_to`; equal ones count once.
            subject: The subject it is for, which readers compare with what they expect.
            headers: Sealed headers; names may repeat in a sequence of pairs. They arrive in order.
            content_type: A media type, or nothing.
            expires: How long from now readers may open it.
            revision: The directory's revision at which `to` was resolved.

        Raises:
            LimitExceededError: If there are too many recipients, or too much of anything.
            MalformedError: If the subject is none, nobody is to read it, a text is not Unicode, or
                a header name is reserved.
            ExpiredError: If `expires` is not in the future.
            TypeError: If an argument has the wrong type.
        """
        try:
            pairs = pairs_of(headers) if headers else []
            payload = self._payload(data, pairs, content_type)
            return self._seal_at(now_ns(), *payload, tuple(to), subject, expires, revision)
        except XKeyMsgError as error:
            data, headers, pairs, payload = b"", (), [], (0, b"")  # not in the traceback
            raise bare(error) from None

    def close(self) -> None:
        """End the session and drop its secrets; the next message begins another."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.end()

    def _seal_at(
        self,
        now: int,
        kind: int,
        content: bytes,
        to: tuple[XKey | Recipient, ...],
        subject: str,
        expires: timedelta | None,
        revision: int | None,
    ) -> bytes:
        """Seal one part at a given time, in nanoseconds."""
        created_ms = now // 1_000_000
        raw_subject = encode_subject(subject)
        attributes = self._attributes(created_ms, expires, revision)
        limits = self._limits
        if self._padding:
            kind, content = kind + PADDED, padded(content)
        if self._always_to:
            to += self._always_to
        if not 0 < len(to) <= limits.recipients:
            self._check_number(to)

        # What `_in_session` does, written out: most messages come this way.
        while True:
            session = self._session or self._begin(None)
            try:
                nonce, content_key = session.next_nonce(now)
                route = session.route(to, raw_subject, attributes)
            except (SessionEndedError, TagCollisionError):
                self._begin(session)
            else:
                break
        ephemeral, signer = session.public, self._signer
        if len(content) >= LARGE:
            envelope = seal_large(
                route, nonce, created_ms, ephemeral, kind, content, content_key, signer
            )
        else:
            part = seal_part(ephemeral, nonce, 0, kind, content, content_key)
            body = (_NO_VIEWS_ONE_PART, *part)
            envelope = assemble(route, nonce, created_ms, body, b"\0" + content_key, signer)
        return self._check_size(envelope)

    @refusing
    def seal_parts(
        self,
        parts: Sequence[bytes],
        *,
        grants: Grants,
        subject: str,
        headers: Headers = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
        revision: int | None = None,
    ) -> bytes:
        """Seal the parts of a document, each for the readers to whom it is granted.

        What the parts hold is for the layer above. Recipients of `always_to` get all of them, and
        one to whom nothing is granted gets no wrap.

        Args:
            parts: The contents, at least one.
            grants: For each reader the numbers of the parts that it may open.
            subject: As for `seal`.
            headers: As for `seal`; every reader gets them.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.

        Raises:
            LimitExceededError: If there are too many recipients, parts, or sets of parts.
            MalformedError: As for `seal`, and if there are no parts, or one is granted that is not
                there.
            ExpiredError: If `expires` is not in the future.
            TypeError: If an argument has the wrong type.
        """
        if not all(type(part) is bytes for part in parts):
            raise TypeError("parts are bytes")
        if not isinstance(grants, Mapping):
            raise TypeError(f"grants are a mapping, not {type(grants).__name__}")
        contents = self._contents(parts, headers, content_type)
        sharing = self._sharing(grants, len(parts), metadata=len(contents) > len(parts))
        return self._seal_parts_at(now_ns(), contents, sharing, subject, expires, revision)

    def _seal_parts_at(
        self,
        now: int,
        contents: Sequence[tuple[int, bytes]],
        sharing: Sharing,
        subject: str,
        expires: timedelta | None,
        revision: int | None,
    ) -> bytes:
        """Seal the parts of a document at a given time, in nanoseconds."""
        created_ms = now // 1_000_000
        raw_subject = encode_subject(subject)
        attributes = self._attributes(created_ms, expires, revision)
        parts, views = len(contents), sharing.views
        if parts > self._limits.parts:
            raise LimitExceededError("number of parts", parts, self._limits.parts)
        if len(views) > self._limits.views:
            raise LimitExceededError("number of views", len(views), self._limits.views)

        def attempt(session: Session) -> bytes:
            nonce, first_key = session.next_nonce(now)
            keys = [first_key, *session.draw_keys(parts + len(views) - 1, now)]
            audience, order = session.shared(sharing)
            ephemeral, body = session.public, [wire.array_header(len(views))]
            for index, granted in enumerate(views):
                body.append(seal_view(ephemeral, nonce, index, granted, keys, keys[parts + index]))
            body.append(wire.array_header(parts))
            for index, (kind, content) in enumerate(contents):
                body += seal_part(ephemeral, nonce, index, kind, content, keys[index])
            of_view = [bytes((index,)) + keys[parts + index] for index in range(len(views))]
            return assemble(
                session.route_to(audience, raw_subject, attributes),
                nonce,
                created_ms,
                body,
                [of_view[index] for index in order] if views else b"\0" + first_key,
                self._signer,
            )

        return self._check_size(self._in_session(attempt))

    def _in_session(self, attempt: Callable[[Session], _T]) -> _T:
        """Call with the session; again with a new one where it is over, or has a tag twice."""
        while True:
            session = self._session or self._begin(None)
            try:
                return attempt(session)
            except (SessionEndedError, TagCollisionError):
                self._begin(session)

    def _begin(self, old: Session | None) -> Session:
        """Begin a session in the place of `old`, unless another thread has."""
        with self._lock:
            if self._session is None or self._session is old:
                if old is not None:
                    old.end()
                self._session = Session(self._pair, self._pairs)
                call_later(LIFETIME, self._session.end)
            return self._session

    def _after_fork(self) -> None:
        """Forget, in a child, the session that the parent goes on with (E-24)."""
        self._lock = Lock()
        self._session = None

    def __repr__(self) -> str:
        return f"<Sealer {self._pair.public}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a sealer cannot be pickled or copied: its counter would repeat")
