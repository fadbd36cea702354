"""End-to-end message encryption for NATS: only the receivers that are named can read.

    >>> from xkeymsg import XKeyPair
    >>> alice, bob, eve = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
    >>> sealed = alice.seal(b"Hello Secure World", bob.public)
    >>> bob.open(sealed, alice.public)
    b'Hello Secure World'
    >>> eve.open(sealed, alice.public)
    Traceback (most recent call last):
    ...
    xkeymsg.errors.AuthenticationError: does not authenticate: altered, or not from this sender, …

`str(bob.public)` is an `X…` key of NATS; `bob.seed()` the `SX…` that every nkeys library reads.
"""

from xkeymsg import errors
from xkeymsg.envelope.admission import ANYONE, Admission, Trust
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.errors import *
from xkeymsg.fields.annotations import Readers
from xkeymsg.fields.documents import Opener, Sealer, View
from xkeymsg.fields.files import Policy
from xkeymsg.fields.models import document_of
from xkeymsg.fields.values import WITHHELD
from xkeymsg.keys import Keyring, Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.nkey import Signer, UserKey

__version__ = "0.1.0"
__all__ = (
    "ANYONE",
    "WITHHELD",
    "Admission",
    "Headers",
    "Keyring",
    "Limits",
    "Message",
    "Opener",
    "Policy",
    "Readers",
    "Recipient",
    "Sealer",
    "Signer",
    "StreamPosition",
    "Trust",
    "UserKey",
    "View",
    "XKey",
    "XKeyPair",
    "document_of",
    *errors.__all__,
)
