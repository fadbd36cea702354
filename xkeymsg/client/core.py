"""The state of a client apart from its connection: keys, trust, sealing and opening."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypedDict

from xkeymsg import nkey
from xkeymsg.client.outgoing import Outgoing
from xkeymsg.client.replies import Prefix
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.stats import OnError
from xkeymsg.client.telemetry import Telemetry, tracing_of
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.admission import Senders
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import Keyring, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.nkey import Signer
from xkeymsg.transport.link import Event
from xkeymsg.trust.stores.chains import Trust

__all__ = ("ClientOptions", "Core", "own_user")


class ClientOptions(TypedDict, total=False):
    """Optional settings of a client."""

    signer: Signer | None
    """The user nkey that signs each message."""
    identity: str | None
    """The public user nkey `U…` of messages that are not signed; a keyring's user by default."""
    limits: Limits | None
    """Limits for sealed and accepted messages."""
    padding: bool
    """Whether to hide the exact length of messages."""
    on_error: OnError | None
    """Called with each refusal or failure, and where it happened."""
    on_event: Callable[[Event], None] | None
    """Called with each event of the connection."""
    reply_prefix: Prefix | None
    """The required prefix of the inboxes in requests: one for all, or a function that returns the
    prefix for the sender of a request; by default this client's own `inbox_prefix`."""
    telemetry: Telemetry
    """How trace contexts travel; by default sealed."""


class Core:
    """The state that publishing, subscriptions, requests and streams of one client share.

    Raises:
        ConfigurationError: If `trust` or another value is invalid.
        KeyFormatError: If a user key is invalid.
        TypeError: If an argument has the wrong type.
    """

    def __init__(self, key: XKeyPair | Keyring, trust: Senders, options: ClientOptions) -> None:
        keyring = Keyring.of(key)
        self._user = _own_user(keyring, trust, options)
        self.keyring = self._bound(keyring)
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
            tracing=tracing_of(options.get("telemetry", "sealed")),
        )
        self._scopes: weakref.WeakSet[OpeningScope] = weakref.WeakSet()  # to be rekeyed

    def rekey(self, key: XKeyPair | Keyring) -> None:
        """Seal with another key from now on, and open messages sealed to it.

        Raises:
            TypeError: If `key` is not a key pair or keyring; nothing has changed then.
        """
        keyring = self._bound(Keyring.of(key))
        self.outgoing.rekey(keyring.active, self._identity(keyring))
        self.keyring = keyring
        for scope in self._scopes:
            scope.rekey(keyring)

    def scope(self, **accepted: Any) -> OpeningScope:
        """Create an opening scope; see `OpeningScope` for the arguments.

        Raises:
            ConfigurationError: If a value is invalid.
            TypeError: If a subject is not a str.
        """
        more: Any = {"limits": self.limits, "tracing": self.outgoing.tracing}
        scope = OpeningScope(self.keyring, self.client_trust, **more, **accepted)
        self._scopes.add(scope)
        return scope

    def _bound(self, keyring: Keyring) -> Keyring:
        """Return the keyring with the own user, under trust that lists keys by user."""
        if self._user is None or keyring.user is not None:
            return keyring
        return Keyring(
            keyring.active,
            retired=keyring.retired,
            user=self._user,
            accept_unbound=keyring.accept_unbound,
        )

    def _identity(self, keyring: Keyring) -> str | None:
        """Return the user named in unsigned messages."""
        identity = self._options.get("identity")
        if identity is None and self._options.get("signer") is None and keyring.user is not None:
            return nkey.encode_public(nkey.Prefix.USER, keyring.user)
        return identity


def _own_user(keyring: Keyring, trust: object, options: ClientOptions) -> str | None:
    """Return the own user under trust in users; None if trust is of another kind."""
    if not isinstance(trust, Trust) or keyring.user is not None:
        return None
    given, signer = options.get("identity"), options.get("signer")
    if given is None and signer is not None:
        given = signer.public_key.decode()
    remedy = "pass creds, signer, identity or Keyring(key, user='U…')"
    return own_user(trust, keyring.active.public, given, remedy)


def own_user(trust: Trust, key: XKey, given: str | None, remedy: str) -> str:
    """Return the given user, that of the credentials, or the only one that has certified the key.

    Raises:
        ConfigurationError: If the user is unknown; the message contains `remedy`.
    """
    user = given or trust.user or trust.user_of(key)
    if user is None:
        raise ConfigurationError(
            "the own user is unknown, but receivers admit only messages that name a user:"
            f" {remedy}, or certify the key"
        )
    return user
