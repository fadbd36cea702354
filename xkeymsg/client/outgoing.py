"""From what a program publishes to the bytes on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from xkeymsg.client.trust import ClientTrust, To
from xkeymsg.envelope import subject as sealed_subject
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.envelope.plan import Headers, pairs_of
from xkeymsg.errors import MalformedError, PayloadTooLargeError, PolicyError
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.misuse import check_lasting
from xkeymsg.nkey import Signer
from xkeymsg.sealer import Sealer
from xkeymsg.transport.headers import encode_block
from xkeymsg.trust.resolver import PERMISSION

__all__ = ("REPLIES", "Outgoing", "Room", "check_subject", "clear_block")

REPLIES: Final = f"{sealed_subject.REPLIES}."
"""What the sealed subjects of replies begin with."""

_RESERVED: Final = ("nats-", "sender", "xkm-", "status")
"""What no header in the clear may begin with: the server's, ours, and what clients take for the
server's word."""

_OVERHEAD: Final = 512
_RECIPIENT: Final = 57
"""More than an envelope without headers is longer than data and subject; and each recipient."""


class Room(NamedTuple):
    """How much the server takes."""

    limit: int
    """Its `max_payload`, in bytes; 0 for no limit."""
    taken: int
    """Bytes of the header block, which count."""

    def check(self, size: int) -> None:
        """Refuse an envelope that has no room.

        Raises:
            PayloadTooLargeError: If it is so long.
        """
        if size + self.taken > self.limit > 0:
            raise PayloadTooLargeError(size + self.taken, self.limit)


class Outgoing:
    """Seals for one sender, to whom trust says."""

    def __init__(
        self,
        pair: XKeyPair,
        client_trust: ClientTrust,
        *,
        signer: Signer | None = None,
        identity: str | None = None,
        limits: Limits | None = None,
        padding: bool = False,
    ) -> None:
        """Take the sender's key.

        Raises:
            KeyFormatError: If `identity`, or the signer's key, is not a user key.
            ConfigurationError: If `identity` is not the signer's.
            TypeError: If an argument has the wrong type.
        """
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
        self.wire_headers: Mapping[str, str] = {"sender": str(pair.public)}
        """What every message shows: its sender's key, a hint that nobody has to believe."""
        self.block = encode_block(self.wire_headers)

    def rekey(self, pair: XKeyPair, identity: str | None) -> None:
        """Seal with another key, and for another user, from now on.

        Raises:
            XKeyMsgError: As when it was made; the key of before stays.
        """
        more = self._more | {"identity": identity}
        sealer = Sealer(pair, always_to=self._always, **more)
        self._sealer.close()
        self._pair, self._more, self._sealer = pair, more, sealer
        self.wire_headers = {"sender": str(pair.public)}
        self.block = encode_block(self.wire_headers)

    def close(self) -> None:
        """Drop the secrets of the session."""
        self._sealer.close()

    def sealer(self) -> Sealer:
        """Return what seals: to whom every message goes, besides, is as trust has it now."""
        always = self._client_trust.always_to()
        if always is not self._always:
            if always != self._always:
                self._sealer.close()
                self._sealer = Sealer(self._pair, always_to=always, **self._more)
            self._always = always
        return self._sealer

    def payload(
        self,
        subject: str,
        data: bytes,
        to: tuple[XKey | Recipient, ...],
        *,
        room: Room,
        headers: Headers = (),
        own: tuple[tuple[str, str], ...] = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
    ) -> bytes:
        """Seal a payload, if the envelope has room.

        Args:
            subject: The subject to seal.
            data: What the recipients get.
            to: Who they are.
            room: How much the server takes.
            headers: The application's headers.
            own: Headers of ours, with names that are reserved.
            content_type: A media type.
            expires: How long from now it may be opened.

        Raises:
            PayloadTooLargeError: If it would be longer; nothing is sealed.
            XKeyMsgError: As `Sealer.seal`.
        """
        if type(data) is not bytes:
            raise TypeError(f"data is bytes, not {type(data).__name__}")
        sealer, revision = self.sealer(), self._client_trust.revision
        pairs = pairs_of(headers) if headers else []
        headers = TransportHeaders((*own, *pairs)) if own else pairs
        most = len(data) + len(data) // 8 + _OVERHEAD + 4 * len(subject or "")
        most += _RECIPIENT * (len(to) + len(self._always))
        if pairs or own or content_type is not None:
            texts = (content_type or "", *(text for pair in (*own, *pairs) for text in pair))
            most += sum(8 + 4 * len(text) for text in texts)
        tight = most + room.taken > room.limit > 0  # most messages are not
        return sealer.seal(
            data,
            to=to,
            subject=subject,
            headers=headers,
            content_type=content_type,
            expires=expires,
            revision=revision,
            check_size=room.check if tight else None,
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
        content_type: str | None = None,
        expires: timedelta | None = None,
    ) -> bytes:
        """Seal a document, if the envelope has room.

        Args:
            subject: The subject to seal.
            document: As `Sealer.seal_document` takes it.
            policy: Which permissions may read which field.
            readers: Who holds each permission; None: whom trust has for `perm:<permission>`.
            room: As for `payload`.
            headers: As for `payload`; every reader gets them.
            content_type: As for `payload`.
            expires: As for `payload`.

        Raises:
            PayloadTooLargeError: If it would be longer; nothing is sealed.
            UnknownKeyError: If a name stands for nobody.
            XKeyMsgError: As `Sealer.seal_document`.
        """
        if not isinstance(policy, Policy):
            raise TypeError(f"a policy is a Policy, not {type(policy).__name__}")
        return self.sealer().seal_document(
            document,
            policy=policy,
            readers=self._holders(policy, readers),
            subject=subject,
            headers=headers,
            content_type=content_type,
            expires=expires,
            revision=self._client_trust.revision,
            check_size=room.check,
        )

    def _holders(
        self, policy: Policy, readers: Mapping[str, To] | None
    ) -> dict[str, tuple[XKey | Recipient, ...]]:
        if readers is None:
            wanted = set(policy.permissions) - set(policy.allow_unread)
            return {
                name: self._client_trust.recipients(PERMISSION + name) for name in sorted(wanted)
            }
        if not isinstance(readers, Mapping):
            raise TypeError(f"readers are a mapping, not {type(readers).__name__}")
        check_lasting(readers)
        # An empty list of readers is for the policy to judge: it may be one that nobody need hold.
        listed = {
            name: to if isinstance(to, str | XKey | Recipient) else tuple(to)
            for name, to in readers.items()
        }
        if not all(isinstance(name, str) for name in listed):
            raise PolicyError("permissions are named by a str")
        return {name: self._client_trust.recipients(to) for name, to in listed.items() if to != ()}


def clear_block(own: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    """Return the header block with headers that everybody sees.

    Raises:
        MalformedError: If a name is one of NATS' or ours, or no token; if a value has a line break
            or is not Unicode text.
        TypeError: If they are not a mapping of str to str.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers in the clear are a mapping, not {type(headers).__name__}")
    each: object
    for each in headers.items():
        match each:
            case (str(), str()):
                pass
            case _:
                raise TypeError("headers in the clear are a mapping of str to str")
    for name in headers:
        if name.lower().startswith(_RESERVED):
            raise MalformedError("a header in the clear with a name of NATS' or of ours")
    return encode_block({**own, **headers})


def check_subject(subject: str) -> None:
    """Refuse to seal, for a program, what only answers are sealed for.

    Raises:
        MalformedError: If the subject is below `_XKM`.
    """
    if f"{subject}.".startswith(REPLIES):
        raise MalformedError(f"below {REPLIES[:-1]} are answers alone: `respond` sends them")
