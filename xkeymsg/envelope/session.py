"""A sender's session: one ephemeral key, and its keys with each recipient (spec, "Sessions").

A session reduces the cost of a message to microseconds: the X25519 with a recipient is computed
once, and the AEAD object that wraps for it is kept. The price is that anybody who can read this
process's memory can open the session's messages. A session is therefore bounded by count and time,
drops its secrets when it ends, and never leaves its process.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Final, NoReturn

from xkeymsg import primitives, wire
from xkeymsg.ambient import monotonic, random_bytes
from xkeymsg.envelope import derive
from xkeymsg.envelope.frame import MAGIC, ONE_PART, UNSIGNED, WRAP_SIZE
from xkeymsg.envelope.head import HEAD_SIZE, MAX_COUNTER, encode_prefix
from xkeymsg.envelope.plan import Contents, Sharing, as_recipient
from xkeymsg.envelope.seal import Audience, Plan, Wrap, assemble
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.keys import Recipient, XKey, XKeyPair
from xkeymsg.nkey import Signer

__all__ = (
    "AUDIENCES",
    "LIFETIME",
    "RECIPIENTS",
    "Recipients",
    "Session",
    "SessionEndedError",
    "TagCollisionError",
)

LIFETIME: Final = 3600.0
"""Seconds after which a session ends (E-22)."""

AUDIENCES: Final = 256
RECIPIENTS: Final = 16_384
"""Sets of recipients, and recipients, that a session caches. A full cache is cleared; its entries
are computed again."""


class SessionEndedError(Exception):
    """The session has ended: the sealer begins another one. Never leaves the sealer."""


class TagCollisionError(Exception):
    """Two recipients have the same tag in this session (E-29). Never leaves the sealer."""


_START: Final = MAGIC + wire.array_header(6)
_HEDGE: Final = primitives.label(b"xkm1/hedge")
_when: Final = struct.Struct(">QI").pack
_counter: Final = struct.Struct(">I").pack
Recipients = tuple[XKey | Recipient, ...] | Sharing
"""The recipients of a payload; or those of a document, with their parts."""

_Wanted = tuple[Recipients, str, bytes]
_NOTHING: Final[_Wanted] = ((), "", b"")
_NOWHERE: Final = Plan(b"", b"", b"", Audience(b"", b"", b"", b"", (), (), ()))


class Session:
    """An ephemeral key and its counter; thread-safe, never copied."""

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
            pairs: Returns the static pair keys with a recipient, which outlive the session.
            secret: The ephemeral secret, for test vectors only.
        """
        self._ends = monotonic() + LIFETIME
        self.public = self._begin(secret)
        self.prefix = encode_prefix(bytes(pair.public), self.public)
        """The header prefix of every head of this session."""
        self._pairs = pairs
        self._recipients: dict[Recipient, tuple[bytes, Wrap]] = {}
        self._audiences: dict[Recipients, Audience] = {}
        self._last: list[tuple[_Wanted, Plan]] = [(_NOTHING, _NOWHERE)]

    def _begin(self, secret: bytes | None) -> bytes:
        """Make the secrets of the session, and return E."""
        ephemeral = XKeyPair(random_bytes(primitives.KEY_SIZE) if secret is None else secret)
        self._ephemeral: XKeyPair | None = ephemeral
        self._hedge: primitives.Hash | None = primitives.keyed_hash(_HEDGE, random_bytes(32))
        self._counter = itertools.count(1)
        return bytes(ephemeral.public)

    def end(self) -> None:
        """Drop the secrets of the session; calls that already use them complete."""
        self._hedge = None
        self._ephemeral = None
        self._recipients = {}
        self._audiences = {}
        self._last = [(_NOTHING, _NOWHERE)]

    def seal(self, plan: Plan, now_ns: int, contents: Contents, signer: Signer | None) -> bytes:
        """Consume the next counter, draw the keys, and assemble an envelope.

        Raises:
            SessionEndedError: If the session has ended (E-22).
        """
        nonce, key = self.next_nonce(now_ns)
        more = len(contents) - 1 + len(plan.audience.views)
        keys = [key, *self.draw_keys(more, now_ns)] if more else [key]
        return assemble(plan, nonce, now_ns // 1_000_000, contents, keys, signer)

    def next_nonce(self, now_ns: int) -> tuple[bytes, bytes]:
        """Consume the next counter; return a nonce and a content key (E-23, E-26).

        Raises:
            SessionEndedError: If the session has ended (E-22).
        """
        counter = next(self._counter)  # atomic: one call into C
        if counter > MAX_COUNTER or monotonic() >= self._ends:
            raise SessionEndedError
        drawn = self.mix(random_bytes(40), now_ns, 0)
        return _counter(counter) + drawn[:8], drawn[8:40]

    def mix(self, random: bytes, now_ns: int, position: int) -> bytes:
        """Hash at most 64 random bytes with a secret and the clock (E-27); return 64 bytes.

        A virtual machine that is restored from a snapshot may draw the same random bytes again;
        then only the clock differs.

        Raises:
            SessionEndedError: If the session has ended: nothing is drawn without its secret.
        """
        hedge = self._hedge  # one read: another thread may end the session
        if hedge is None:
            raise SessionEndedError
        mixed = hedge.copy()
        mixed.update(random + _when(now_ns, position))
        return mixed.digest()

    def draw_keys(self, count: int, now_ns: int) -> list[bytes]:
        """Draw further keys of a message; two at a time are mixed."""
        random, keys = random_bytes(32 * count), list[bytes]()
        for at in range(0, len(random), 64):
            drawn = self.mix(random[at : at + 64], now_ns, 1 + at)
            keys += drawn[:32], drawn[32:]
        return keys[:count]

    def plan(self, to: Recipients, subject: str, attributes: bytes) -> Plan:
        """Return the prepared route for these recipients and this subject.

        Equal recipients are merged (E-28). The last plan and several audiences are cached: most
        messages have the same route as the previous one.

        Raises:
            TagCollisionError: If two recipients have the same tag in this session.
            SessionEndedError: If the session has ended.
            BadKeyError: If a shared secret is all zeros.
            XKeyMsgError: As `encode_subject`.
            TypeError: As `encode_subject`.
        """
        # Store into the object that was read: if the session ends meanwhile, the stored keys are
        # dropped together with that object (E-21), not added to its replacement.
        last, wanted = self._last, (to, subject, attributes)
        same, plan = last[0]  # one read: another thread may replace the entry
        if same != wanted:  # usually equal; identical keys are compared without hashing
            rest = encode_subject(subject) + attributes
            audience = self._audience(to)
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
            if len(audiences) >= AUDIENCES:
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
        """Return the tag of a recipient and its encryption; costs an X25519 the first time."""
        of_session = self._recipients  # as in `plan`
        known = of_session.get(recipient)
        if known is None:
            keys = self._pairs(recipient)
            known = keys.tag(self.public), self._wrap(recipient.key, keys.auth_key)
            if len(of_session) >= RECIPIENTS:
                of_session.clear()
            of_session[recipient] = known
        return known

    def _wrap(self, recipient: XKey, auth_key: bytes) -> Wrap:
        """Return the encryption for a recipient, under K."""
        ephemeral = self._ephemeral
        if ephemeral is None:
            raise SessionEndedError
        key = derive.wrap_key(ephemeral, recipient, self.public, bytes(recipient), auth_key)
        return primitives.AEAD(key).encrypt

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a session cannot be pickled or copied")
