"""Outgoing messages: sealing, header blocks and size checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.client.telemetry import TRACEPARENT, Carried, Tracing
from xkeymsg.client.trust import ONE, ClientTrust, To
from xkeymsg.envelope import subject as sealed_subject
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.envelope.plan import Headers, pairs_of
from xkeymsg.errors import LimitExceededError, MalformedError, PayloadTooLargeError, PolicyError
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.misuse import check_lasting
from xkeymsg.nkey import Signer
from xkeymsg.sealer import Sealer
from xkeymsg.transport.headers import encode_block
from xkeymsg.trust.resolver import PERMISSION

__all__ = ("REPLIES", "Outgoing", "Room", "check_subject", "most_bytes")

REPLIES: Final = f"{sealed_subject.REPLIES}."
"""Prefix of the sealed subjects of replies."""

_RESERVED: Final = ("nats-", "sender", "xkm-", "status")
"""Reserved prefixes of clear header names: the server's, ours, and those that clients mistake for
the server's."""

_OVERHEAD: Final = 512
_RECIPIENT: Final = 57
"""Upper bounds, in bytes, of what an envelope adds to data and subject, and for each recipient."""


class Room(NamedTuple):
    """The size limit for an envelope."""

    limit: int
    """The server's `max_payload`, in bytes; 0 for no limit."""
    taken: int
    """Bytes of the header block, which count towards the limit."""

    def check(self, size: int) -> None:
        """Refuse an envelope that is too large.

        Raises:
            PayloadTooLargeError: If it exceeds the limit.
        """
        if size + self.taken > self.limit > 0:
            raise PayloadTooLargeError(size + self.taken, self.limit)


class Outgoing:
    """Seals the messages of one sender, also to the recipients that trust adds.

    Raises:
        KeyFormatError: If `identity`, or the signer's key, is not a user key.
        ConfigurationError: If `identity` is not the signer's.
        TypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        pair: XKeyPair,
        client_trust: ClientTrust,
        *,
        signer: Signer | None = None,
        identity: str | None = None,
        limits: Limits | None = None,
        padding: bool = False,
        tracing: Tracing | None = None,
    ) -> None:
        self.tracing = tracing
        """Makes the spans of the client; None without telemetry."""
        self._pair = pair
        self._client_trust = client_trust
        self._more: dict[str, Any] = {
            "signer": signer,
            "identity": identity,
            "limits": limits,
            "padding": padding,
        }
        self._limits = limits or Limits()
        self._always = client_trust.always_to()
        self._sealer = Sealer(pair, always_to=self._always, **self._more)
        self._wire_headers: Mapping[str, str] = {"sender": str(pair.public)}
        """The clear headers of every message: the sender's key, as an untrusted hint."""
        self.block = encode_block(self._wire_headers)

    def rekey(self, pair: XKeyPair, identity: str | None) -> None:
        """Seal with another key, and for another user, from now on.

        Raises:
            XKeyMsgError: As the constructor; the previous key then stays in use.
        """
        more = self._more | {"identity": identity}
        sealer = Sealer(pair, always_to=self._always, **more)
        self._sealer.close()
        self._pair, self._more, self._sealer = pair, more, sealer
        self._wire_headers = {"sender": str(pair.public)}
        self.block = encode_block(self._wire_headers)

    def close(self) -> None:
        """Drop the session's secrets."""
        self._sealer.close()

    def block_with(
        self,
        clear_headers: Mapping[str, str] | None,
        trace: Carried | None = None,
        reserved: tuple[str, ...] = _RESERVED,
    ) -> bytes:
        """Return the header block, with an application's clear headers and a clear trace context.

        Args:
            clear_headers: Those of the application; a `traceparent` replaces the trace context.
            trace: The trace context.
            reserved: The prefixes that no name may have, in lower case.

        Raises:
            MalformedError: If a name is reserved or not a token, or if a value has a line break or
                is not Unicode text.
            TypeError: If `clear_headers` is not a mapping of str to str.
        """
        context = () if trace is None else trace.clear
        if not (clear_headers or context):
            return self.block
        headers = _checked(clear_headers or {}, reserved)
        own = {} if TRACEPARENT in headers else dict(context)
        return encode_block({**own, **self._wire_headers, **headers})

    def sealer(self) -> Sealer:
        """Return the sealer; its additional recipients are up to date with trust."""
        always = self._client_trust.always_to()
        if always is not self._always:
            if always != self._always:
                self._sealer.close()
                self._sealer = Sealer(self._pair, always_to=always, **self._more)
            self._always = always
        return self._sealer

    def check_size(
        self, most: int, to: tuple[XKey | Recipient, ...], room: Room
    ) -> Callable[[int], None] | None:
        """Return the check of an envelope's size, or None if it fits anyway; most do.

        Args:
            most: An upper bound of its size without the recipients.
            to: The recipients.
            room: The size limit.
        """
        most += room.taken + _RECIPIENT * (len(to) + len(self._always))
        return room.check if most > room.limit > 0 else None

    def payload(
        self,
        subject: str,
        data: Buffer,
        to: tuple[XKey | Recipient, ...],
        *,
        room: Room,
        headers: Headers = (),
        own: tuple[tuple[str, str], ...] = (),
        content_type: str | None = None,
        expires: float | None = None,
        trace: Carried | None = None,
    ) -> bytes:
        """Seal a payload.

        Args:
            subject: The subject to seal.
            data: The payload.
            to: The recipients.
            room: The size limit.
            headers: The application's headers.
            own: Our own headers, with reserved names.
            content_type: A media type.
            expires: How many seconds from now the message may be opened.
            trace: The trace context, which is left out if the message has no room for it.

        Raises:
            PayloadTooLargeError: If the envelope would exceed `room`; nothing is sealed.
            XKeyMsgError: As `Sealer.seal`.
        """
        if trace is not None:
            more: dict[str, Any] = {"room": room, "content_type": content_type, "expires": expires}
            seal = partial(self.payload, subject, data, to, **more)
            return _with_trace(trace, seal, headers, own)
        data = as_bytes("data", data)
        sealer, revision = self.sealer(), self._client_trust.revision
        pairs = (*own, *pairs_of(headers)) if headers else own
        most = most_bytes(subject, pairs, content_type)
        return sealer.seal(
            data,
            to=to,
            subject=subject,
            headers=TransportHeaders(pairs) if pairs else (),
            content_type=content_type,
            expires=expires,
            revision=revision,
            check_size=self.check_size(most + len(data) * 9 // 8, to, room),
        )

    def document(
        self,
        subject: str,
        document: Any,
        *,
        policy: Policy,
        readers: Mapping[str, To] | None = None,
        room: Room,
        headers: Headers = (),
        own: tuple[tuple[str, str], ...] = (),
        content_type: str | None = None,
        expires: float | None = None,
        trace: Carried | None = None,
    ) -> bytes:
        """Seal a document.

        Args:
            subject: The subject to seal.
            document: As for `Sealer.seal_document`.
            policy: Which permissions may read which field.
            readers: The holders of each permission; by default those that trust resolves for
                `perm:<permission>`.
            room: As for `payload`.
            headers: As for `payload`; every reader gets them.
            own: As for `payload`.
            content_type: As for `payload`.
            expires: As for `payload`.
            trace: As for `payload`.

        Raises:
            PayloadTooLargeError: If the envelope would exceed `room`; nothing is sealed.
            UnknownKeyError: If a name is unknown.
            XKeyMsgError: As `Sealer.seal_document`.
        """
        if trace is not None:
            more: dict[str, Any] = {"room": room, "content_type": content_type, "expires": expires}
            seal = partial(self.document, subject, document, policy=policy, readers=readers, **more)
            return _with_trace(trace, seal, headers, own)
        if not isinstance(policy, Policy):
            raise TypeError(f"policy must be a Policy, not {type(policy).__name__}")
        if own:
            headers = TransportHeaders((*own, *pairs_of(headers)))
        return self.sealer().seal_document(
            document,
            policy=policy,
            readers=self.holders(policy, readers),
            subject=subject,
            headers=headers,
            content_type=content_type,
            expires=expires,
            revision=self._client_trust.revision,
            check_size=room.check,
        )

    def holders(
        self, policy: Policy, readers: Mapping[str, To] | None
    ) -> Mapping[str, tuple[XKey | Recipient, ...]]:
        """Resolve the holders of each permission of a policy; see `document`.

        Raises:
            UnknownKeyError: If a name is unknown.
        """
        if readers is None:
            trust, optional = self._client_trust, policy.allow_unread
            names = [(name, PERMISSION + name) for name in sorted(policy.permissions)]
            return trust.holders(
                {each: (to,) for each, to in names if each not in optional or trust.knows(to)}
            )
        if not isinstance(readers, (dict, Mapping)):  # the test for a dict is faster
            raise TypeError(f"readers must be a mapping, not {type(readers).__name__}")
        listed: dict[str, tuple[str | XKey | Recipient, ...]] = {}
        for name, to in readers.items():
            if not isinstance(name, str):
                raise PolicyError("readers: a permission name must be a str")
            some = tuple(to) if type(to) is list or type(to) is tuple else _several(name, to)
            # The policy decides about an empty list of readers: it may allow unread permissions.
            if some:
                listed[name] = some
        return self._client_trust.holders(listed)


def _with_trace(
    trace: Carried,
    seal: Callable[..., bytes],
    headers: Headers,
    own: tuple[tuple[str, str], ...],
) -> bytes:
    """Seal a message in a span, with a trace context unless it has its own or has no room for it.

    Raises:
        XKeyMsgError: As `seal`.
    """
    with trace.sealing() as span:
        pairs = pairs_of(headers)
        added = () if any(name == TRACEPARENT for name, _ in pairs) else trace.sealed
        try:
            envelope = seal(headers=pairs, own=own + added)
        except (LimitExceededError, PayloadTooLargeError):
            if not added:
                raise
            envelope = seal(headers=pairs, own=own)
        span.set_attribute("messaging.message.envelope.size", len(envelope))
        return envelope


def _several(name: str, to: To) -> tuple[str | XKey | Recipient, ...]:
    """Return the readers of one permission; see `check_lasting`."""
    if isinstance(to, ONE):
        return (to,)
    check_lasting({name: to})
    return tuple(to)


def most_bytes(subject: str, pairs: Sequence[tuple[str, str]], content_type: str | None) -> int:
    """Return an upper bound of what an envelope adds to the data, without the recipients."""
    most = _OVERHEAD + 4 * len(subject)
    for name, value in pairs:
        most += 16 + 4 * (len(name) + len(value))
    return most if content_type is None else most + 8 + 4 * len(content_type)


def _checked(headers: Mapping[str, str], reserved: tuple[str, ...]) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"clear_headers must be a mapping, not {type(headers).__name__}")
    each: object
    for each in headers.items():
        match each:
            case (str(name), str()):
                if name.lower().startswith(reserved):
                    raise MalformedError("clear_headers: a name is reserved (for NATS or xkeymsg)")
            case _:
                raise TypeError("clear_headers must be a mapping of str to str")
    return headers


def check_subject(subject: str) -> None:
    """Refuse a subject that is reserved for replies.

    Raises:
        MalformedError: If the subject is below `_XKM`.
    """
    if f"{subject}.".startswith(REPLIES):
        raise MalformedError(f"subjects below {REPLIES[:-1]} are for replies: use respond()")
