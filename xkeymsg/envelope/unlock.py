"""Opening up to the wrap: authenticates the sender (spec, "Opening order", steps 1 to 7).

    bytes --locate--> Located --admit--> Admitted --unlock--> Unlocked

Before `Unlocked`, the bytes may come from anybody. The order of the checks bounds the work: limits
come first; no X25519 is computed with the key of a sender that is not admitted, nor with an
ephemeral key unless its keyed hash, the tag, is for us: strangers can only copy both from a
message; and the bytes between the tags and the wraps are hashed, not parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from xkeymsg import primitives
from xkeymsg.envelope import derive, frame
from xkeymsg.envelope.admission import Admission, Admit
from xkeymsg.envelope.head import Head, decode_head
from xkeymsg.envelope.recent_cache import RecentCache
from xkeymsg.errors import (
    AuthenticationError,
    NotARecipientError,
    SenderNotAdmittedError,
    SenderRevokedError,
)
from xkeymsg.keys import Keyring, XKey, XKeyPair
from xkeymsg.limits import Limits

__all__ = (
    "ADMITTED_SENDERS",
    "ADMITTED_SESSIONS",
    "Admitted",
    "Located",
    "Read",
    "Unlocked",
    "Unlocker",
    "admit",
    "locate",
)

ADMITTED_SENDERS: Final = 4096
ADMITTED_SESSIONS: Final = 16_384
_OTHER_SENDERS: Final = 64
_OTHER_SESSIONS: Final = 256
"""Cache sizes: senders and sessions of admitted senders, and of all others (E-39)."""


_COPIED: Final = 1 << 14
"""Envelopes up to this many bytes are sliced as bytes: a short copy beats a memoryview."""


class Located(NamedTuple):
    """An envelope whose head is well-formed (steps 1 to 3)."""

    envelope: bytes
    view: bytes | memoryview
    """The envelope, for slices."""
    head: Head
    head_end: int

    def __repr__(self) -> str:
        return f"<Located {len(self.envelope)} bytes>"


class Admitted(NamedTuple):
    """A located envelope that names an admitted sender (step 4), still unauthenticated."""

    located: Located
    admission: Admission

    def __repr__(self) -> str:
        return "<Admitted>"


class Unlocked(NamedTuple):
    """An envelope whose wrap for us has verified (steps 5 to 7).

    The sender made every byte before the wraps, and ours, unless our secret key was stolen.
    """

    admitted: Admitted
    body: frame.Span
    """The span of views, parts and signature."""
    grant: bytes
    """The content of the wrap: an index and a key."""

    def __repr__(self) -> str:
        return "<Unlocked>"  # a NamedTuple would show the key


class Read(NamedTuple):
    """A message whose granted parts are decrypted (steps 8 to 10) but not yet released."""

    view: bytes | memoryview
    head: Head
    admission: Admission
    body: frame.Body
    """From the native core, plain tuples."""
    granted: dict[int, bytes]
    """The plaintext of the parts granted to us, by part number, ascending."""

    def __repr__(self) -> str:
        return "<Read>"  # a NamedTuple would show the plaintext


def locate(envelope: bytes, limits: Limits) -> Located:
    """Read the head.

    Raises:
        EnvelopeError: If the bytes do not begin like an envelope.
    """
    start, end = frame.locate_head(envelope, limits)
    view = envelope if len(envelope) <= _COPIED else memoryview(envelope)
    return _new(Located, (envelope, view, decode_head(envelope, start, end), end))


def admit(located: Located, admission_of: Admit) -> Admitted:
    """Check that the sender is admitted, at the message's time of sealing.

    Admission is decided for each message and never cached: once trust withdraws a sender, its next
    message is refused, although the keys of its session are cached.

    Raises:
        SenderNotAdmittedError: If the sender, or the user it names, is not admitted (E-62, E-63).
    """
    head = located.head
    try:
        admission = admission_of(head.sender, head.subject, head.created_ms)
    except SenderRevokedError as error:
        if not error.users or head.identity in error.users:
            raise
        admission = None  # of another user: anyone can certify the key, and be revoked (T-18)
    if admission is None:
        raise SenderNotAdmittedError(f"{XKey(head.sender)} may not send on this subject")
    if admission.users and head.identity not in admission.users:
        raise SenderNotAdmittedError("the message's identity is not a user of the sender's key")
    return _new(Admitted, (located, admission))


class _Own(NamedTuple):
    """One of our keys, and a user that it may be addressed under."""

    pair: XKeyPair
    public: bytes
    user: bytes


_SessionKeys = dict[int, tuple[bytes, primitives.AEAD]]
"""Maps the number of one of our (key, user) pairs to the session's tag and the AEAD under K."""

_NOTHING: Final[_SessionKeys] = {}
_new: Final = tuple.__new__


class _Cache:
    """A bounded cache of the keys of senders and sessions; unused entries are dropped."""

    def __init__(self, senders: int, sessions: int) -> None:
        self.senders = RecentCache[tuple[derive.PairKeys, ...]](senders)
        self.sessions = RecentCache[_SessionKeys](sessions)

    def add_session(self, name: bytes, number: int, tag: bytes, aead: primitives.AEAD) -> None:
        """Add session keys; only those under which a wrap has verified (E-38)."""
        self.sessions.add(name, (self.sessions.get(name) or _NOTHING) | {number: (tag, aead)})


class Unlocker:
    """Finds and opens the wrap for one of a reader's keys."""

    _aead: Callable[[bytes], primitives.AEAD] = primitives.AEAD

    def __init__(self, keyring: Keyring, limits: Limits) -> None:
        self._own = tuple(
            _Own(pair, bytes(pair.public), user) for pair, user in keyring.combinations
        )
        self._numbered = tuple(enumerate(self._own))
        self._limits = limits
        self._admitted = _Cache(ADMITTED_SENDERS, ADMITTED_SESSIONS)
        self._others = _Cache(_OTHER_SENDERS, _OTHER_SESSIONS)

    def unlock(self, admitted: Admitted) -> Unlocked | Read:
        """Find and open the wrap for one of our keys; the native core opens the rest, too.

        Raises:
            EnvelopeError: If tags or wraps are malformed.
            NotARecipientError: If no tag is ours (E-35).
            AuthenticationError: If no wrap under a tag of ours opens (E-37).
        """
        (envelope, view, head, head_end), admission = admitted
        tags, start, end, wraps = frame.locate_wraps(envelope, head_end, self._limits)
        cache = self._admitted if admission.admitted else self._others
        grant = self._unwrap(view, head, tags, wraps, cache)
        return _new(Unlocked, (admitted, (start, end), grant))

    def _unwrap(
        self, view: bytes | memoryview, head: Head, tags: bytes, start: int, cache: _Cache
    ) -> bytes:
        """Open the first wrap that verifies for one of our (key, user) pairs, in order (E-37)."""
        sender, ephemeral, nonce = head[:3]
        name = sender + ephemeral
        session, transcript = cache.sessions.get(name) or _NOTHING, b""
        for number, own in self._numbered:
            tag, aead = session.get(number) or (self._tag(cache, number, head), None)
            place = frame.find_tag(tags, tag)
            if place is None:
                continue
            if aead is None:
                aead = self._wrap_aead(cache, number, own, head)
            transcript = transcript or primitives.sha256(view[:start])
            at = start + frame.WRAP_SIZE * place
            wrap = view[at : at + frame.WRAP_SIZE]
            try:
                grant = aead.decrypt(nonce, wrap, transcript)
            except primitives.InvalidTag:
                continue
            if number not in session:
                cache.add_session(name, number, tag, aead)  # only after its wrap verified (E-38)
            return grant
        if transcript:
            raise AuthenticationError
        raise NotARecipientError(len(tags) // frame.TAG_SIZE)

    def _pairs(self, cache: _Cache, sender: bytes) -> tuple[derive.PairKeys, ...]:
        """Return the keys shared with a sender; the first call costs an X25519 for each own key."""
        keys = cache.senders.get(sender)
        if keys is None:
            peer = XKey(sender)
            # By key: with a user, each key is in `_own` twice, but needs only one X25519.
            pairs = {own.public: own.pair for own in self._own}
            shared = {public: pair._dh(peer) for public, pair in pairs.items()}  # noqa: SLF001
            keys = tuple(
                derive.pair_keys(shared[own.public], sender, own.public, own.user)
                for own in self._own
            )
            cache.senders.add(sender, keys)
        return keys

    def _tag(self, cache: _Cache, number: int, head: Head) -> bytes:
        return self._pairs(cache, head.sender)[number].tag(head.ephemeral)

    def _wrap_aead(self, cache: _Cache, number: int, own: _Own, head: Head) -> primitives.AEAD:
        """Derive K, at the cost of an X25519 with the ephemeral key: only for a matching tag."""
        auth_key = self._pairs(cache, head.sender)[number].auth_key
        e = head.ephemeral
        return self._aead(derive.wrap_key(own.pair, XKey(e), e, own.public, auth_key))
