"""Sealing: the only step between a source and an output.

An output accepts `Sealed` values only, and only this module makes them, from what a sealer
returned. So if anything fails for a message (a name, a policy, a limit), there is nothing to send.
Everything that is sent passes here, including headers and message ids.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn, cast

from xkeymsg import xkv1
from xkeymsg.client.outgoing import REPLIES, Outgoing, Room
from xkeymsg.client.telemetry import Carried, Destination, Tracing, sealing
from xkeymsg.client.trust import ClientTrust
from xkeymsg.daemons.common.documents import OnLoss, parse_document
from xkeymsg.daemons.sender.config import SenderRoute
from xkeymsg.daemons.sender.headers import RouteHeaders
from xkeymsg.daemons.sender.rules import RuleCounts, deciding_rules
from xkeymsg.daemons.sender.subject_map import SubjectMap
from xkeymsg.display import safe_repr
from xkeymsg.envelope.inspect import message_id
from xkeymsg.errors import (
    ConfigurationError,
    FieldDeniedError,
    KeyStoreError,
    MalformedError,
    PolicyError,
    TrustError,
    UnknownKeyError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Recipient, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.nkey import Signer
from xkeymsg.suggestions import did_you_mean
from xkeymsg.transport.headers import parse_block
from xkeymsg.trust.resolver import PERMISSION, Resolver

__all__ = ("Author", "RouteSealer", "Sealed", "is_of_setup")

_LARGE: Final = 128 * 1024
"""Size in bytes from which a message is sealed in a thread: sealing outweighs the switch."""
_OURS: Final = object()
_NAME_SIZE: Final = 64
"""Bytes reserved for the message id in the header block."""
_MOST: Final = Limits().recipients


@safe_repr
class Sealed:
    """A message that may leave; only `RouteSealer` makes one."""

    __slots__ = ("block", "envelope", "left_out", "name", "sent", "subject", "trace")

    def __init__(
        self,
        maker: object,
        subject: str,
        envelope: bytes,
        block: bytes,
        name: str,
        left_out: tuple[str, ...],
        trace: Carried | None,
    ) -> None:
        if maker is not _OURS:
            raise TypeError("Sealed can only be made by RouteSealer")
        self.subject = subject
        """The subject that it is sealed for and published to."""
        self.envelope = envelope
        self.block = block
        """Its header block: the sender's public key, a hint."""
        self.name = name
        """Its id for deduplication by a stream."""
        self.left_out = left_out
        """The names of headers of the source that could not be sealed."""
        self.trace = trace
        """Its trace context, if there is telemetry."""
        self.sent = False
        """Whether an attempt was made to send it, which may have succeeded."""

    def __repr__(self) -> str:
        return f"<Sealed for {self.subject}: {len(self.envelope)} bytes>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Sealed can only be made by RouteSealer")


def is_of_setup(error: BaseException) -> bool:
    """Return whether the fault is configuration (names, keys, policy) rather than the message.

    Then the route can seal no message until that is fixed.
    """
    if isinstance(error, FieldDeniedError):
        return False
    return isinstance(error, TrustError | PolicyError | ConfigurationError | KeyStoreError)


class Author(NamedTuple):
    """The identity to seal as."""

    pair: XKeyPair
    signer: Signer | None = None
    """The user nkey to sign with, for signed messages."""
    identity: str | None = None
    """The public user nkey, for unsigned messages."""

    @property
    def user(self) -> str:
        """The user that messages name; empty for none."""
        return self.identity or (self.signer.public_key.decode() if self.signer else "")


class RouteSealer:
    """Seals the messages of one route; recipients are resolved for each message."""

    def __init__(
        self,
        route: SenderRoute,
        trust: Resolver,
        author: Author,
        *,
        max_payload: Callable[[], int] = lambda: 0,
        rules: RuleCounts | None = None,
        on_loss: OnLoss | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Initialize the sealer; `check` tells whether it can seal.

        Args:
            route: The route's settings.
            trust: Resolves the route's names.
            author: The identity to seal as.
            max_payload: Returns the server's limit in bytes; 0 for none.
            rules: Counts the rules of the policy that decide about a field.
            on_loss: Called for numbers whose digits change, as in `parse_document`.
            tracing: Makes a span for each message; None without telemetry.

        Raises:
            XKeyMsgError: If signer and identity belong to different users, or the policy cannot be
                used.
        """
        self._route = route
        self._trust = trust
        self._whom = ClientTrust(trust)
        self._max_payload = max_payload
        self._exact = route.numbers == "exact"
        self._on_loss = on_loss
        self._map = SubjectMap(route.pattern, route.to)
        self._headers = RouteHeaders(route)
        self._expires = route.expires
        self._tracing, self._place = tracing, Destination(route.to)
        self._rules = rules
        self._policy = None if route.policy is None else Policy.load(route.policy)
        self._watch()
        self.rekey(author)

    def rekey(self, author: Author) -> None:
        """Seal with another key from now on.

        Raises:
            XKeyMsgError: If signer and identity belong to different users; the old key stays in
                use.
        """
        outgoing = Outgoing(
            author.pair,
            self._whom,
            signer=author.signer,
            identity=author.identity,
            padding=self._route.padding,
        )
        self._author = author.pair, outgoing  # together: another thread may be sealing

    @property
    def has_policy(self) -> bool:
        """Whether messages are documents."""
        return self._policy is not None

    def reload(self) -> bool:
        """Read the policy again; return whether there is one.

        Raises:
            XKeyMsgError: If it cannot be used; the old policy stays in use.
        """
        if self._route.policy is None:
            return False
        policy = Policy.load(self._route.policy)
        self._holders(policy)
        self._policy = policy
        self._watch()
        return True

    def _watch(self) -> None:
        if self._rules is not None and self._policy is not None:
            self._rules.watch(self._route.name, self._policy)

    def check(self) -> None:
        """Check that every name resolves to a recipient.

        Raises:
            XKeyMsgError: If one does not, or there are too many recipients; xkv1 allows one.
        """
        if self._policy is not None:
            self._holders(self._policy)
        else:
            self._recipients()

    async def seal(self, data: bytes, subject: str = "", headers: bytes = b"") -> Sealed:
        """Seal a message.

        Args:
            data: The payload.
            subject: The subject that it arrived on, for routes with a pattern.
            headers: Its header block; the headers listed in `take_headers` are sealed too.

        Raises:
            XKeyMsgError: If it cannot be sealed; `is_of_setup` classifies the fault.
        """
        if len(data) + len(headers) >= _LARGE:
            return await asyncio.to_thread(self._seal, data, subject, headers)
        return self._seal(data, subject, headers)

    def _seal(self, data: bytes, subject: str, block: bytes) -> Sealed:
        with sealing(self._tracing, self._place, partial(parse_block, block)) as trace:
            return self._seal_with(trace, data, subject, block)

    def _seal_with(self, trace: Carried | None, data: bytes, subject: str, block: bytes) -> Sealed:
        to = self._map(subject)
        if to.startswith(REPLIES):
            raise MalformedError("the subject is reserved for replies")
        (pair, outgoing), policy = self._author, self._policy
        head = outgoing.block_with(None, trace)
        room = Room(self._max_payload(), len(head) + _NAME_SIZE)
        headers, left_out = self._headers.select(block)
        if self._route.format == "xkv1":
            [recipient] = self._recipients()
            room.check(len(data) + xkv1.OVERHEAD)
            envelope = xkv1.seal(data, key=pair, to=recipient.key)
            left_out += tuple(name for name, _ in headers)  # it has none
            name = secrets.token_urlsafe(16)
            return Sealed(_OURS, to, envelope, head, name, left_out, trace)
        more: dict[str, Any] = {
            "room": room,
            "headers": headers,
            "content_type": self._route.content_type,
            "expires": self._expires,
            "trace": trace,
        }
        if policy is None:
            envelope = outgoing.payload(to, data, self._recipients(), **more)
        else:
            readers = self._holders(policy)
            document = parse_document(data, exact=self._exact, on_loss=self._on_loss)
            envelope = outgoing.document(to, document, policy=policy, readers=readers, **more)
            if self._rules is not None:
                self._rules.count(self._route.name, deciding_rules(policy, document))
        name = base64.urlsafe_b64encode(message_id(envelope))[:22].decode()
        return Sealed(_OURS, to, envelope, head, name, left_out, trace)

    # --- recipients -------------------------------------------------------------------------------

    def _recipients(self) -> tuple[Recipient, ...]:
        """Return the recipients of the route, including those of `always_to`.

        Raises:
            XKeyMsgError: If a name is unknown, or there are too many recipients.
        """
        found = self._resolve(self._route.recipients)
        if self._route.format == "xkv1" and len({each.key for each in found}) != 1:
            raise ConfigurationError(
                f"xkv1 allows one recipient, not {len(found)} (including always_to)"
            )
        return found

    def _resolve(self, names: tuple[str, ...]) -> tuple[Recipient, ...]:
        if not names:
            raise ConfigurationError("no recipients")
        # A resolver returns Recipient values only: a trust without names would have raised.
        found = cast("tuple[Recipient, ...]", self._whom.recipients(names))
        always = self._whom.always_to()
        if not set(always) <= set(found):
            found += tuple(each for each in always if each not in found)
        if len(found) > _MOST:
            raise ConfigurationError(
                f"too many recipients: {len(found)}, at most {_MOST} are allowed"
            )
        return found

    def _holders(self, policy: Policy) -> dict[str, tuple[Recipient, ...]]:
        """Return the holders of each permission of a policy.

        Raises:
            XKeyMsgError: If a permission outside `allow_unread` has no holder.
        """
        listed = self._route.readers
        holders = {}
        for name in sorted(policy.permissions):
            names = tuple(listed.get(name, ())) if listed else (PERMISSION + name,)
            optional = name in policy.allow_unread
            if not names and not optional:
                near = did_you_mean(name, listed.keys() - policy.permissions)
                remedy = near or ": name one, or add it to allow_unread"
                raise ConfigurationError(f"readers: no holder of {name!r} of the policy{remedy}")
            try:
                holders[name] = self._resolve(names) if names else ()
            except UnknownKeyError as error:
                if not optional:
                    why = f"{error} - grant {name!r}, or list it in the policy's allow_unread"
                    raise UnknownKeyError(why) from None
                holders[name] = ()
        return holders
