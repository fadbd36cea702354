"""End-to-end message encryption for NATS: only the named recipients can read a message.

    >>> from xkeymsg import Opener, Sealer, XKeyPair
    >>> alice, bob, eve = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
    >>> sealed = Sealer(alice).seal(b"Hello", to=[bob.public], subject="orders.new")
    >>> opener = Opener(bob, senders={alice.public})
    >>> opener.open(sealed, subject="orders.*").data
    b'Hello'
    >>> Opener(eve, senders={alice.public}).open(sealed, subject="orders.*")
    Traceback (most recent call last):
    ...
    xkeymsg.errors.NotARecipientError: sealed to 1 other recipient(s), not to a key held here

`connect` seals and opens over NATS. `str(bob.public)` is a NATS xkey `X…`; `bob.seed()` is its seed
`SX…`, for every nkeys library. `xkv1` is the format of those libraries.

What `__all__` lists is public, with the modules `xkeymsg.errors`, `xkeymsg.xkv1` and
`xkeymsg.testing`; everything else is private. Every duration is a number of seconds, an `int` or a
`float`. A payload is `bytes`, a `bytearray` or a `memoryview`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xkeymsg import errors, xkv1
from xkeymsg.envelope.admission import ANYONE, Admission, SenderTrust
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.errors import (
    AmbiguousNameError,
    AuthenticationError,
    BadKeyError,
    ChunkOrderError,
    ChunkReplacedError,
    CommitmentError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    ContentTypeError,
    DeliveryError,
    EnvelopeError,
    ExpiredError,
    FieldAmbiguousError,
    FieldDeniedError,
    KeyDeletedError,
    KeyFormatError,
    KeyNotFoundError,
    KeyStoreError,
    KVError,
    LimitExceededError,
    MalformedError,
    NotARecipientError,
    NotSealedError,
    ObjectError,
    ObjectLinkError,
    ObjectMixedError,
    ObjectNotFoundError,
    ObjectTruncatedError,
    OpenError,
    PayloadTooLargeError,
    PinError,
    PolicyError,
    ReplayError,
    SenderNotAdmittedError,
    SenderRevokedError,
    ServiceError,
    SessionClonedError,
    SignatureInvalidError,
    SignatureMissingError,
    StaleError,
    SubjectMismatchError,
    TransportError,
    TrustError,
    UnauthenticatedDeletionError,
    UnknownKeyError,
    UnsupportedVersionError,
    ValueRollbackError,
    WatchGapError,
    WrongRevisionError,
    XKeyMsgError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.values import WITHHELD
from xkeymsg.keys import Keyring, Recipient, XKey, XKeyPair
from xkeymsg.limits import AtRest, Limits, Live, Stream
from xkeymsg.models.conversion import document_of
from xkeymsg.models.tree import Readers
from xkeymsg.nkey import Signer, UserKey
from xkeymsg.opener import Opener, View
from xkeymsg.origins import Origin, Resealed
from xkeymsg.sealer import Sealer
from xkeymsg.text_armour import armour, dearmour
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer
from xkeymsg.trust.resolver import Resolver
from xkeymsg.trust.stores.file import read_seed, write_seed
from xkeymsg.trust.stores.peers_file import PeersFile

if TYPE_CHECKING:
    from xkeymsg.client.client import Client
    from xkeymsg.client.connect import connect
    from xkeymsg.client.jetstream.api import PubAck
    from xkeymsg.client.jetstream.consumer import Consumer
    from xkeymsg.client.jetstream.context import JetStream
    from xkeymsg.client.jetstream.durables import DurableOptions
    from xkeymsg.client.jetstream.events import ConsumerEvent, Reject
    from xkeymsg.client.jetstream.failures import FailurePolicy
    from xkeymsg.client.memory import RollbackMemory
    from xkeymsg.client.prepared_route import PreparedRoute
    from xkeymsg.client.replies import Reply
    from xkeymsg.client.services import Service
    from xkeymsg.client.stats import Stats, Where
    from xkeymsg.client.subscription import Subscription
    from xkeymsg.directory.directory import Directory
    from xkeymsg.directory.report import DirectoryReport
    from xkeymsg.key_stores.opening import open_key, open_signer
    from xkeymsg.kv.bucket import KVBucket
    from xkeymsg.kv.codec import KVCodec
    from xkeymsg.kv.entry import KVEntry
    from xkeymsg.kv.store import KVStatus
    from xkeymsg.kv.watch import KVWatch
    from xkeymsg.objects.info import ObjectInfo, ObjectResult, ObjectStoreStatus
    from xkeymsg.objects.reader import ObjectReader
    from xkeymsg.objects.store import ObjectStore
    from xkeymsg.objects.watch import ObjectWatch
    from xkeymsg.reseal.bucket import reseal_bucket
    from xkeymsg.reseal.ledger import ResealReport
    from xkeymsg.reseal.run import reseal_stream
    from xkeymsg.transport.keeper import Event
    from xkeymsg.transport.options import ConnectOptions
    from xkeymsg.trust.stores.chains import Trust

__version__ = "0.1.0"
__all__ = (
    "ANYONE",
    "WITHHELD",
    "Admission",
    "AmbiguousNameError",
    "AtRest",
    "AuthenticationError",
    "BadKeyError",
    "ChunkOrderError",
    "ChunkReplacedError",
    "Client",
    "CommitmentError",
    "ConfigurationError",
    "ConflictError",
    "ConnectOptions",
    "ConnectionFailedError",
    "Consumer",
    "ConsumerEvent",
    "ContentTypeError",
    "DeliveryError",
    "Directory",
    "DirectoryReport",
    "DurableOptions",
    "EnvelopeError",
    "Event",
    "ExpiredError",
    "FailurePolicy",
    "FieldAmbiguousError",
    "FieldDeniedError",
    "Headers",
    "JetStream",
    "KVBucket",
    "KVCodec",
    "KVEntry",
    "KVError",
    "KVStatus",
    "KVWatch",
    "KeyDeletedError",
    "KeyFormatError",
    "KeyNotFoundError",
    "KeyStoreError",
    "Keyring",
    "LimitExceededError",
    "Limits",
    "Live",
    "MalformedError",
    "Message",
    "NotARecipientError",
    "NotSealedError",
    "ObjectError",
    "ObjectInfo",
    "ObjectLinkError",
    "ObjectMixedError",
    "ObjectNotFoundError",
    "ObjectReader",
    "ObjectResult",
    "ObjectStore",
    "ObjectStoreStatus",
    "ObjectTruncatedError",
    "ObjectWatch",
    "OpenError",
    "Opener",
    "Origin",
    "PayloadTooLargeError",
    "Peer",
    "Peers",
    "PeersFile",
    "PinError",
    "Policy",
    "PolicyError",
    "PreparedRoute",
    "PubAck",
    "Readers",
    "Recipient",
    "Reject",
    "ReplayError",
    "ReplayState",
    "Reply",
    "ResealReport",
    "Resealed",
    "Resolver",
    "RollbackMemory",
    "Sealer",
    "SenderNotAdmittedError",
    "SenderRevokedError",
    "SenderTrust",
    "Service",
    "ServiceError",
    "SessionClonedError",
    "SignatureInvalidError",
    "SignatureMissingError",
    "Signer",
    "StaleError",
    "Stats",
    "Stream",
    "StreamPosition",
    "SubjectMismatchError",
    "Subscription",
    "TransportError",
    "Trust",
    "TrustError",
    "UnauthenticatedDeletionError",
    "UnknownKeyError",
    "UnsupportedVersionError",
    "UserKey",
    "ValueRollbackError",
    "View",
    "WatchGapError",
    "Where",
    "WrongRevisionError",
    "XKey",
    "XKeyMsgError",
    "XKeyPair",
    "armour",
    "connect",
    "dearmour",
    "document_of",
    "errors",
    "open_key",
    "open_signer",
    "read_seed",
    "reseal_bucket",
    "reseal_stream",
    "write_seed",
    "xkv1",
)

_ON_FIRST_USE = {
    "Client": "client.client",
    "ConnectOptions": "transport.options",
    "Consumer": "client.jetstream.consumer",
    "ConsumerEvent": "client.jetstream.events",
    "Directory": "directory.directory",
    "DirectoryReport": "directory.report",
    "DurableOptions": "client.jetstream.durables",
    "Event": "transport.keeper",
    "FailurePolicy": "client.jetstream.failures",
    "JetStream": "client.jetstream.context",
    "ObjectInfo": "objects.info",
    "ObjectReader": "objects.reader",
    "ObjectResult": "objects.info",
    "ObjectStore": "objects.store",
    "ObjectStoreStatus": "objects.info",
    "ObjectWatch": "objects.watch",
    "KVBucket": "kv.bucket",
    "KVCodec": "kv.codec",
    "KVEntry": "kv.entry",
    "RollbackMemory": "client.memory",
    "KVStatus": "kv.store",
    "KVWatch": "kv.watch",
    "PreparedRoute": "client.prepared_route",
    "PubAck": "client.jetstream.api",
    "Reject": "client.jetstream.events",
    "Reply": "client.replies",
    "ResealReport": "reseal.ledger",
    "Service": "client.services",
    "Stats": "client.stats",
    "Subscription": "client.subscription",
    "Trust": "trust.stores.chains",
    "Where": "client.stats",
    "connect": "client.connect",
    "open_key": "key_stores.opening",
    "open_signer": "key_stores.opening",
    "reseal_bucket": "reseal.bucket",
    "reseal_stream": "reseal.run",
}


def __getattr__(name: str) -> Any:
    """Import the names that need NATS, chains of JWTs, or key stores, on first use."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'xkeymsg' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only when needed

    value = getattr(import_module(f"xkeymsg.{_ON_FIRST_USE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what is public, for completion."""
    return sorted((*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"))
