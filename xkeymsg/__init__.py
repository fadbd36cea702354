"""End-to-end message encryption for NATS: only the named recipients can read a message.

    >>> from xkeymsg import XKeyPair
    >>> alice, bob, eve = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
    >>> sealed = alice.seal(b"Hello Secure World", bob.public)
    >>> bob.open(sealed, alice.public)
    b'Hello Secure World'
    >>> eve.open(sealed, alice.public)
    Traceback (most recent call last):
    ...
    xkeymsg.errors.AuthenticationError: authentication failed: the message was ...

`str(bob.public)` is a NATS xkey `X…`; `bob.seed()` is its seed `SX…`, for every nkeys library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xkeymsg import errors
from xkeymsg.envelope.admission import ANYONE, Admission, SenderTrust
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.errors import *
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.values import WITHHELD
from xkeymsg.keys import Keyring, Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.models.annotations import Readers
from xkeymsg.models.convert import document_of
from xkeymsg.nkey import Signer, UserKey
from xkeymsg.opener import Opener, View
from xkeymsg.sealer import Sealer
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer
from xkeymsg.trust.resolver import Resolver
from xkeymsg.trust.stores.file import read_seed, write_seed
from xkeymsg.trust.stores.peers_file import PeersFile

if TYPE_CHECKING:
    from xkeymsg.client.client import Client
    from xkeymsg.client.connect import connect
    from xkeymsg.client.jetstream.durables import DurableOptions
    from xkeymsg.client.jetstream.failures import FailurePolicy
    from xkeymsg.client.replies import Reply
    from xkeymsg.client.subscription import Subscription
    from xkeymsg.transport.options import ConnectOptions
    from xkeymsg.trust.stores.chains import Trust

__version__ = "0.1.0"
__all__ = (
    "ANYONE",
    "WITHHELD",
    "Admission",
    "Client",
    "ConnectOptions",
    "DurableOptions",
    "FailurePolicy",
    "Headers",
    "Keyring",
    "Limits",
    "Message",
    "Opener",
    "Peer",
    "Peers",
    "PeersFile",
    "Policy",
    "Readers",
    "Recipient",
    "ReplayState",
    "Reply",
    "Resolver",
    "Sealer",
    "SenderTrust",
    "Signer",
    "StreamPosition",
    "Subscription",
    "Trust",
    "UserKey",
    "View",
    "XKey",
    "XKeyPair",
    "connect",
    "document_of",
    "read_seed",
    "write_seed",
    *errors.__all__,
)

_ON_FIRST_USE = {
    "Client": "client.client",
    "ConnectOptions": "transport.options",
    "DurableOptions": "client.jetstream.durables",
    "FailurePolicy": "client.jetstream.failures",
    "Reply": "client.replies",
    "Subscription": "client.subscription",
    "Trust": "trust.stores.chains",
    "connect": "client.connect",
}


def __getattr__(name: str) -> Any:
    """Import the names that need NATS, or chains of JWTs, on first use: they take most of it."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'xkeymsg' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only when needed

    value = getattr(import_module(f"xkeymsg.{_ON_FIRST_USE[name]}"), name)
    globals()[name] = value
    return value
