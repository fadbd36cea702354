"""A sender's session: one ephemeral key, and what it shares with each recipient (spec, "Sessions").

A session makes a message cost microseconds: the X25519 with a recipient is paid once, and what is
kept is the very AEAD object that wraps for it. The price is that whoever reads this process's
memory opens the session's messages, so that it is bounded by count and time, its secret is dropped
when it ends, and no other process ever has it.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, NoReturn

from xkeymsg import primitives, wire
from xkeymsg.ambient import monotonic, random_bytes
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import MAGIC, WRAP_SIZE
from xkeymsg.envelope.head import MAX_COUNTER, NEW_SIZE, encode_prefix
from xkeymsg.envelope.plan import Sharing
from xkeymsg.keys import Recipient, XKey, XKeyPair

__all__ = ("LIFETIME", "Audience", "Route", "Session", "SessionEndedError", "TagCollisionError")

LIFETIME: Final = 3600.0
"""Seconds after which a session ends (E-22)."""

_AUDIENCES: Final = 256
_RECIPIENTS: Final = 16_384
"""How many sets of recipients, and recipients, a session remembers; beyond, it forgets all of them
and computes the same again."""

Wrap = Callable[[bytes, bytes, bytes], bytes]
"""The encryption under K: nonce, index and key, T."""


class SessionEndedError(Exception):
    """The session is over: the sealer begins another one. Never leaves the sealer."""


class TagCollisionError(Exception):
    """Two recipients have one tag in this session (E-29). Never leaves the sealer."""


class Audience(NamedTuple):
    """A set of recipients in a session, in the order of their tags."""

    tags: bytes
    """The tags element, as it stands in the envelope."""
    wraps_header: bytes
    """What precedes the wraps."""
    unsigned: bytes
    """The signature element of an unsigned message, and the header of the wraps."""
    wraps: tuple[Wrap, ...]
    recipients: tuple[Recipient, ...]


class Route(NamedTuple):
    """What is the same in a session's envelopes for one subject and the same recipients."""

    before: bytes
    """All that precedes the nonce."""
    between: bytes
    """What is between the time of sealing and the views."""
    audience: Audience


_START: Final = MAGIC + wire.array_header(6)
_HEDGE: Final = primitives.label(b"xkm1/hedge")
_when: Final = struct.Struct(">QI").pack
_counter: Final = struct.Struct(">I").pack
_Wanted = tuple[tuple[XKey | Recipient, ...], bytes, bytes]
_Last = list[tuple[_Wanted, Route]]
_NOTHING: Final[_Wanted] = ((), b"", b"")
_NOWHERE: Final = Route(b"", b"", Audience(b"", b"", b"", (), ()))


class Session:
    """One ephemeral key with its counter; thread-safe, never copied."""

    def __init__(
        self,
        pair: XKeyPair,
        pairs: Callable[[Recipient], derive.PairKeys],
        *,
        secret: bytes | None = None,
    ) -> None:
        """Begin a session.

        Args:
            pair: The sender's static pair.
            pairs: The static keys with a recipient; they outlive the session.
            secret: The ephemeral secret, for test vectors only.
        """
        ephemeral = XKeyPair(random_bytes(primitives.KEY_SIZE) if secret is None else secret)
        self.public = bytes(ephemeral.public)
        self.prefix = encode_prefix(bytes(pair.public), self.public)
        """What every head of this session begins with."""
        self._ephemeral: XKeyPair | None = ephemeral
        self._pairs = pairs
        self._hedge: primitives.Hash | None = primitives.keyed_hash(_HEDGE, random_bytes(32))
        self._counter = itertools.count(1)
        self._ends = monotonic() + LIFETIME
        self._recipients: dict[Recipient, tuple[bytes, Wrap]] = {}
        self._audiences: dict[tuple[XKey | Recipient, ...], Audience] = {}
        self._shared: dict[Sharing, tuple[Audience, tuple[int, ...]]] = {}
        self._last: _Last = [(_NOTHING, _NOWHERE)]

    def end(self) -> None:
        """Drop every secret of the session; what is being sealed with them goes on."""
        self._ephemeral = None
        self._recipients = {}
        self._audiences = {}
        self._shared = {}
        self._last = [(_NOTHING, _NOWHERE)]
        self._hedge = None

    def next_nonce(self, now_ns: int) -> tuple[bytes, bytes]:
        """Take the next counter, for ever, and draw what one message needs (E-23, E-26).

        Returns:
            The nonce, and 32 bytes for a content key.

        Raises:
            SessionEndedError: If the session is over (E-22).
        """
        counter = next(self._counter)  # atomic: one call into C
        if counter > MAX_COUNTER or self._ephemeral is None or monotonic() >= self._ends:
            raise SessionEndedError
        drawn = self.draw(40, now_ns, 0)
        return _counter(counter) + drawn[:8], drawn[8:40]

    def draw(self, size: int, now_ns: int, position: int) -> bytes:
        """Draw 64 bytes: `size` random ones, mixed with a secret and the clock (E-27).

        A virtual machine that is restored from a snapshot may get the same randomness twice, and
        then only the clock differs.
        """
        data = random_bytes(size) + _when(now_ns, position)
        hedge = self._hedge
        if hedge is None:  # ended by another thread just now: without the secret nothing is mixed
            raise SessionEndedError
        mixed = hedge.copy()
        mixed.update(data)
        return mixed.digest()

    def draw_keys(self, count: int, now_ns: int) -> Iterator[bytes]:
        """Draw keys besides the first of a message, two at a time."""
        for at in range(0, count, 2):
            drawn = self.draw(64, now_ns, 1 + at)
            yield drawn[:32]
            if at + 1 < count:
                yield drawn[32:]

    def shared(self, sharing: Sharing) -> tuple[Audience, tuple[int, ...]]:
        """Return the recipients of a document, and the numbers of their views in that order.

        Raises:
            As for `audience`.
        """
        shared = self._shared  # as in `route`
        known = shared.get(sharing)
        if known is None:
            audience = self.audience(sharing.recipients)
            known = audience, sharing.order(audience.recipients)
            if len(shared) >= _AUDIENCES:
                shared.clear()
            shared[sharing] = known
        return known

    def route(self, to: tuple[XKey | Recipient, ...], subject: bytes, attributes: bytes) -> Route:
        """Return what envelopes for this subject and these recipients have in common.

        Raises:
            As for `audience`.
        """
        # Into the very object that was looked into: if the session ends meanwhile, its keys are
        # dropped together with that (E-21), and not put into the new one.
        last, wanted = self._last, (to, subject, attributes)
        same, route = last[0]  # in one look: another thread may put another one there
        if same != wanted:  # mostly equal; where the keys are the same objects, nothing is hashed
            route = self.route_to(self.audience(to), subject, attributes)
            last[0] = wanted, route
        return route

    def route_to(self, audience: Audience, subject: bytes, attributes: bytes) -> Route:
        """Return the same for an audience, which is not remembered."""
        rest = subject + attributes
        header = wire.bin_header(len(self.prefix) + NEW_SIZE + len(rest))
        return Route(_START + header + self.prefix, rest + audience.tags, audience)

    def audience(self, to: tuple[XKey | Recipient, ...]) -> Audience:
        """Return recipients with tags and wraps; kept, as it mostly is the same again.

        Equal recipients are one (E-28).

        Raises:
            TagCollisionError: If two of them have one tag here.
            SessionEndedError: If the session is over.
            BadKeyError: If a shared secret is all zeros.
        """
        audiences = self._audiences  # as in `route`
        known = audiences.get(to)
        if known is None:
            recipients = (one if isinstance(one, Recipient) else Recipient(one) for one in to)
            known = self._new_audience(dict.fromkeys(recipients))
            if len(audiences) >= _AUDIENCES:
                audiences.clear()
            audiences[to] = known
        return known

    def _new_audience(self, recipients: Iterable[Recipient]) -> Audience:
        entries = sorted(
            ((*self._recipient(recipient), recipient) for recipient in recipients),
            key=lambda entry: entry[0],
        )
        tags = [tag for tag, _, _ in entries]
        if len(set(tags)) != len(tags):
            raise TagCollisionError
        return Audience(
            wire.encode_bin(b"".join(tags)),
            (header := wire.bin_header(WRAP_SIZE * len(tags))),
            wire.encode_bin(b"") + header,
            tuple(wrap for _, wrap, _ in entries),
            tuple(recipient for _, _, recipient in entries),
        )

    def _recipient(self, recipient: Recipient) -> tuple[bytes, Wrap]:
        """Return the tag of a recipient and how to wrap for it; one X25519 the first time."""
        of_session = self._recipients  # as in `route`
        known = of_session.get(recipient)
        if known is None:
            ephemeral = self._ephemeral
            if ephemeral is None:
                raise SessionEndedError
            keys = self._pairs(recipient)
            key = derive.wrap_key(
                ephemeral, recipient.key, self.public, bytes(recipient.key), keys.auth_key
            )
            known = keys.tag(self.public), primitives.AEAD(key).encrypt
            if len(of_session) >= _RECIPIENTS:
                of_session.clear()
            of_session[recipient] = known
        return known

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a session cannot be pickled or copied")
