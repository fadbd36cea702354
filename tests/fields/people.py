"""Who seals, who reads, and how to see what they can decrypt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, combinations
from typing import Any, Final

from tests.envelope.cast import ALICE, BOB, NOW, Raw, pair
from tests.envelope.inside import open_at
from tests.fields.strategies import PERMISSIONS
from xkeymsg import (
    AtRest,
    Keyring,
    NotARecipientError,
    Opener,
    Policy,
    Sealer,
    XKey,
    XKeyPair,
)
from xkeymsg.envelope.open import NO_HEADERS
from xkeymsg.opener import Form, View

SUBJECT: Final = "ehr.records"
SEALER: Final = Sealer(ALICE)
ALL: Final = Policy([("/**", ["all"])])

GROUPS: Final = tuple(
    map(frozenset, chain.from_iterable(combinations(PERMISSIONS, n) for n in (1, 2, 3)))
)
"""Every set of permissions that somebody can hold."""

PAIRS: Final = {group: pair(100 + number) for number, group in enumerate(GROUPS)}
"""For each of them, somebody who does."""

READERS: Final = {
    name: [own.public for group, own in PAIRS.items() if name in group] for name in PERMISSIONS
}


def opener(
    own: XKeyPair | Keyring, senders: Iterable[XKey] = (ALICE.public,), **settings: Any
) -> Opener:
    """An opener that checks everything but age and replay."""
    return Opener(own, senders=senders, replay=AtRest(), **settings)


OPENERS: Final = {group: opener(own) for group, own in PAIRS.items()}


def seen(reader: Opener, envelope: bytes) -> View | None:
    """What a reader sees, or None if that is no field."""
    try:
        view = reader.open_document(envelope, subject=SUBJECT)
    except NotARecipientError:
        return None
    return view


def plaintexts(reader: Opener, envelope: bytes) -> dict[int, bytes]:
    """All bytes that a reader can decrypt of a document: its parts, whatever they are."""
    form = Form[Any, Any](lambda message, _: (message.granted, None, NO_HEADERS), Raw)
    try:
        raw = open_at(reader, NOW, envelope, form, SUBJECT)
    except NotARecipientError:
        return {}
    granted: dict[int, bytes] = raw.content
    return granted


def seal(
    document: Any,
    policy: Policy = ALL,
    readers: Mapping[str, Any] | None = None,
    sealer: Sealer = SEALER,
    **settings: Any,
) -> bytes:
    chosen = {"all": [BOB.public]} if readers is None else readers
    return sealer.seal_document(
        document, policy=policy, readers=chosen, subject=SUBJECT, **settings
    )


def view(own: XKeyPair | Keyring, envelope: bytes) -> Any:
    found = seen(opener(own), envelope)
    return None if found is None else found.document
