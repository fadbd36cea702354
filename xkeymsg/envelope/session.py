"""A sender's session: one ephemeral key, and what it shares with each recipient (spec, "Sessions").

A session makes a message cost microseconds: the X25519 with a recipient is paid once, and what is
kept is the very AEAD object that wraps for it. The price is that whoever reads this process's
memory opens the session's messages, so that it is bounded by count and time, its secret is dropped
when it ends, and no other process ever has it.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, NoReturn

from xkeymsg import primitives, wire
from xkeymsg.ambient import monotonic, random_bytes
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import MAGIC, ONE_PART, UNSIGNED, WRAP_SIZE
from xkeymsg.envelope.head import HEAD_SIZE, MAX_COUNTER, encode_prefix
from xkeymsg.envelope.plan import Sharing, as_recipient
from xkeymsg.keys import Recipient, XKey, XKeyPair

__all__ = (
    "LIFETIME",
    "Audience",
    "Plan",
    "Recipients",
    "Session",
    "SessionEndedError",
    "TagCollisionError",
    "Wrap",
)

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
    views_header: bytes
    """What precedes the first view; without views, what precedes the one part."""
    wraps_header: bytes
    """What precedes the wraps."""
    unsigned: bytes
    """The signature element of an unsigned message, and the header of the wraps."""
    wraps: tuple[Wrap, ...]
    views: tuple[tuple[int, ...], ...]
    """The numbers of the parts in each view."""
    order: tuple[int, ...]
    """The number of each recipient's view; empty without views."""


class Plan(NamedTuple):
    """A prepared route: what a session's envelopes for one subject and the same recipients share.

    With a nonce, a time, contents and keys, `seal.assemble` makes an envelope of it.
    """

    ephemeral: bytes
    before: bytes
    """All that precedes the nonce."""
    between: bytes
    """All between the time of sealing and the first view, or the one part."""
    audience: Audience


_START: Final = MAGIC + wire.array_header(6)
_HEDGE: Final = primitives.label(b"xkm1/hedge")
_when: Final = struct.Struct(">QI").pack
_counter: Final = struct.Struct(">I").pack
Recipients = tuple[XKey | Recipient, ...] | Sharing
"""Those of a payload; or those of a document, each with its parts."""

_Wanted = tuple[Recipients, bytes, bytes]
_NOTHING: Final[_Wanted] = ((), b"", b"")
_NOWHERE: Final = Plan(b"", b"", b"", Audience(b"", b"", b"", b"", (), (), ()))


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
        self._audiences: dict[Recipients, Audience] = {}
        self._last: list[tuple[_Wanted, Plan]] = [(_NOTHING, _NOWHERE)]

    def end(self) -> None:
        """Drop every secret of the session; what is being sealed with them goes on."""
        self._ephemeral = None
        self._recipients = {}
        self._audiences = {}
        self._last = [(_NOTHING, _NOWHERE)]
        self._hedge = None

    def next_nonce(self, now_ns: int) -> tuple[bytes, bytes]:
        """Take the next counter, never to be reused, and draw what one message needs (E-23, E-26).

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

    def plan(self, to: Recipients, subject: bytes, attributes: bytes) -> Plan:
        """Return what envelopes for these recipients and this subject have in common.

        Equal recipients are one (E-28). The last plan is kept, and the recipients of several: most
        messages go the way of the one before.

        Raises:
            TagCollisionError: If two recipients have one tag here.
            SessionEndedError: If the session is over.
            BadKeyError: If a shared secret is all zeros.
        """
        # Into the very object that was looked into: if the session ends meanwhile, its keys are
        # dropped together with that (E-21), and not put into the new one.
        last, wanted = self._last, (to, subject, attributes)
        same, plan = last[0]  # in one look: another thread may put another one there
        if same != wanted:  # mostly equal; where the keys are the same objects, nothing is hashed
            audience, rest = self._audience(to), subject + attributes
            header = wire.bin_header(HEAD_SIZE + len(rest))
            between = rest + audience.tags + audience.views_header
            plan = Plan(self.public, _START + header + self.prefix, between, audience)
            last[0] = wanted, plan
        return plan

    def _audience(self, to: Recipients) -> Audience:
        audiences = self._audiences  # as in `plan`
        known = audiences.get(to)
        if known is None:
            known = self._new_audience(to)
            if len(audiences) >= _AUDIENCES:
                audiences.clear()
            audiences[to] = known
        return known

    def _new_audience(self, to: Recipients) -> Audience:
        if isinstance(to, Sharing):
            recipients, views, view_of = to.recipients, to.views, to.view_of
        else:
            recipients, views, view_of = tuple(map(as_recipient, to)), (), {}
        entries = sorted(
            ((*self._recipient(recipient), recipient) for recipient in dict.fromkeys(recipients)),
            key=lambda entry: entry[0],
        )
        tags = [tag for tag, _, _ in entries]
        if len(set(tags)) != len(tags):
            raise TagCollisionError
        header = wire.bin_header(WRAP_SIZE * len(tags))
        return Audience(
            wire.encode_bin(b"".join(tags)),
            wire.array_header(len(views)) if views else ONE_PART,
            header,
            UNSIGNED + header,
            tuple(wrap for _, wrap, _ in entries),
            views,
            tuple(view_of[recipient] for _, _, recipient in entries) if views else (),
        )

    def _recipient(self, recipient: Recipient) -> tuple[bytes, Wrap]:
        """Return the tag of a recipient and how to wrap for it; one X25519 the first time."""
        of_session = self._recipients  # as in `plan`
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
