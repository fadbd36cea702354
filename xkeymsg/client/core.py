"""What a client consists of, its connection aside: its keys, whom it trusts, how it seals."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypedDict

from xkeymsg import nkey
from xkeymsg.client.outgoing import Outgoing
from xkeymsg.client.replies import Prefix
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.stats import OnError
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.admission import Senders
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.nkey import Signer
from xkeymsg.transport.link import Event

__all__ = ("ClientOptions", "Core")


class ClientOptions(TypedDict, total=False):
    """How a client seals and opens, besides its key and its trust."""

    signer: Signer | None
    """The user nkey that signs each message."""
    identity: str | None
    """The public user nkey `U…` of messages that are not signed; a keyring's user by default."""
    limits: Limits | None
    """What is made and taken at most."""
    padding: bool
    """Whether to hide the exact length of messages."""
    on_error: OnError | None
    """Told of what was refused or failed, and where."""
    on_event: Callable[[Event], None] | None
    """Told of what happens to the connection."""
    reply_prefix: Prefix | None
    """What the inboxes begin with to which requests are answered: one for all, or a function from
    a request to that of its sender; by default this client's own `inbox_prefix`."""


class Core:
    """What publishing, subscribing, requests and streams of one client share."""

    def __init__(self, key: XKeyPair | Keyring, trust: Senders, options: ClientOptions) -> None:
        """Take what a client is given; what is wrong with it shows here.

        Raises:
            ConfigurationError: If trust is none, or a value makes no sense.
            KeyFormatError: If a user key is none.
            TypeError: If an argument has the wrong type.
        """
        self.keyring = _keyring(key)
        self.client_trust = ClientTrust(trust)
        self.limits = options.get("limits")
        self._options = options
        self.outgoing = Outgoing(
            self.keyring.active,
            self.client_trust,
            signer=options.get("signer"),
            identity=self._identity(self.keyring),
            limits=self.limits,
            padding=options.get("padding", False),
        )
        self._scopes: weakref.WeakSet[OpeningScope] = weakref.WeakSet()  # that another key is for

    def rekey(self, key: XKeyPair | Keyring) -> None:
        """Seal with another key from now on, and open what is sealed to it.

        Raises:
            TypeError: If it is neither; nothing has changed then.
        """
        keyring = _keyring(key)
        self.outgoing.rekey(keyring.active, self._identity(keyring))
        self.keyring = keyring
        for scope in self._scopes:
            scope.rekey(keyring)

    def scope(self, **accepted: Any) -> OpeningScope:
        """Begin a scope in which messages are opened; see `OpeningScope` for what it may accept.

        Raises:
            ConfigurationError: If a value makes no sense.
            TypeError: If a subject is not a str.
        """
        scope = OpeningScope(self.keyring, self.client_trust, limits=self.limits, **accepted)
        self._scopes.add(scope)
        return scope

    def _identity(self, keyring: Keyring) -> str | None:
        """Return the user whom messages name that are not signed."""
        identity = self._options.get("identity")
        if identity is None and self._options.get("signer") is None and keyring.user is not None:
            return nkey.encode_public(nkey.Prefix.USER, keyring.user)
        return identity


def _keyring(key: XKeyPair | Keyring) -> Keyring:
    if not isinstance(key, XKeyPair | Keyring):
        raise TypeError(f"a client's key is an XKeyPair or Keyring, not {type(key).__name__}")
    keyring = key if isinstance(key, Keyring) else Keyring(key)
    for pair in (keyring.active, *keyring.retired):
        if not isinstance(pair, XKeyPair):
            raise TypeError(f"a keyring's key is an XKeyPair, not {type(pair).__name__}")
    return keyring
