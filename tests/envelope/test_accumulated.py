"""Random envelopes equal those of the specification byte by byte (spec, "Accumulated test")."""

from __future__ import annotations

import hashlib
from unittest import mock

from tests.envelope.cast import FIELDS, PAYLOAD
from tests.envelope.inside import opened_at
from tests.reference.accumulated import COUNT, HASHES, cases
from tests.reference.content import METADATA, PADDED
from tests.reference.seal import Inputs
from xkeymsg import AtRest, Opener, Recipient, XKey, XKeyPair, primitives
from xkeymsg.envelope import derive
from xkeymsg.envelope import seal as assembly
from xkeymsg.envelope.head import Attributes
from xkeymsg.envelope.plan import Sharing
from xkeymsg.envelope.seal import assemble
from xkeymsg.envelope.session import Session
from xkeymsg.keys import Keyring
from xkeymsg.nkey import Prefix, UserKey, encode_public, encode_seed


def user_of(raw: bytes) -> str | None:
    return encode_public(Prefix.USER, raw) if any(raw) else None


def seal(inputs: Inputs, *, large: bool) -> bytes:
    """Seal with given numbers through the package's own assembly."""
    pair = XKeyPair(inputs.s)
    public = bytes(pair.public)

    def pairs(recipient: Recipient) -> derive.PairKeys:
        shared = primitives.x25519(inputs.s, bytes(recipient.key))
        return derive.pair_keys(shared, public, bytes(recipient.key), recipient.user)

    session = Session(pair, pairs, secret=inputs.e)
    readers = {Recipient(XKey(one.R), user_of(one.U)): one.grants for one in inputs.recipients}
    attributes = Attributes(inputs.revision, inputs.identity, inputs.expires_ms).encode()
    plan = session.plan(Sharing(readers, len(inputs.parts)), inputs.subject, attributes)
    seed = inputs.signing_seed
    signer = None if seed is None else UserKey(encode_seed(Prefix.USER, seed))
    keys = [*inputs.content_keys, *(inputs.view_keys if plan.audience.views else ())]
    with mock.patch.object(assembly, "LARGE", 0 if large else 1 << 30):
        return assemble(plan, inputs.nonce, inputs.created_ms, list(inputs.parts), keys, signer)


def open_as(inputs: Inputs, secret: bytes, reader: int, envelope: bytes) -> None:
    """Open as one of the recipients, and compare with its granted parts."""
    recipient = inputs.recipients[reader]
    keyring = Keyring(XKeyPair(secret), user=user_of(recipient.U), accept_unbound=False)
    if not any(recipient.U):
        keyring = Keyring(XKeyPair(secret))
    opener = Opener(keyring, {XKeyPair(inputs.s).public}, replay=AtRest())
    kinds = [kind % PADDED for kind, _ in inputs.parts]
    document = len(kinds) > 1 or kinds[0] in (1, METADATA)
    form = FIELDS if document else PAYLOAD
    now = inputs.created_ms
    opened = opened_at(opener, now, envelope, form)
    assert opened.head.subject == inputs.subject
    if document:
        assert set(opened.content) == {n for n in recipient.grants if kinds[n] == 1}


def test_accumulated_envelopes_have_the_hash_of_the_specification() -> None:
    state, opened = hashlib.sha256(), 0
    for number, (world, inputs) in enumerate(cases()):
        # Sealing in place and assembling must give the same bytes.
        envelope = seal(inputs, large=len(inputs.parts) == 1 and number % 2 == 0)
        state.update(envelope)
        if number % 20 == 0:
            reader = number // 20 % len(inputs.recipients)
            secret = next(r for r, public in zip(world.r, world.R, strict=True)
                          if public == inputs.recipients[reader].R)  # fmt: skip
            open_as(inputs, secret, reader, envelope)
            opened += 1
    assert opened == COUNT // 20
    assert state.hexdigest() == HASHES[COUNT]
