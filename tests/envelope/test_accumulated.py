"""Random envelopes, byte for byte those of the specification (spec, "Accumulated test")."""

from __future__ import annotations

import hashlib

from tests.envelope.cast import FIELDS, PAYLOAD, opened_at
from tests.reference.accumulated import COUNT, HASHES, cases
from tests.reference.content import METADATA, PADDED
from tests.reference.seal import Inputs, view_grants
from xkeymsg import Opener, Recipient, XKey, XKeyPair, wire
from xkeymsg.envelope import derive
from xkeymsg.envelope.head import Attributes
from xkeymsg.envelope.seal import assemble, seal_large, seal_part, seal_view
from xkeymsg.envelope.session import Session
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.keys import Keyring
from xkeymsg.nkey import Prefix, UserKey, encode_public, encode_seed


def user_of(raw: bytes) -> str | None:
    return encode_public(Prefix.USER, raw) if any(raw) else None


def seal(inputs: Inputs, *, large: bool) -> bytes:
    """Seal with given numbers through the package's own assembly."""
    pair = XKeyPair(inputs.s)
    public = bytes(pair.public)

    def pairs(recipient: Recipient) -> derive.PairKeys:
        shared = pair.dh(recipient.key)
        return derive.pair_keys(shared, public, bytes(recipient.key), recipient.user)

    session = Session(pair, pairs, secret=inputs.e)
    readers = {Recipient(XKey(one.R), user_of(one.U)): one.grants for one in inputs.recipients}
    audience = session.audience(tuple(readers))
    views = view_grants(list(inputs.recipients)) if len(inputs.parts) > 1 else []
    attributes = Attributes(inputs.revision, inputs.identity, inputs.expires_ms).encode()
    subject = encode_subject(inputs.subject)
    route, when = session.route_to(audience, subject, attributes), inputs.created_ms
    seed = inputs.signing_seed
    signer = None if seed is None else UserKey(encode_seed(Prefix.USER, seed))
    if large:
        [(kind, content)], [key] = inputs.parts, inputs.content_keys
        return seal_large(route, inputs.nonce, when, session.public, kind, content, key, signer)
    body = [wire.array_header(len(views))]
    for index, granted in enumerate(views):
        keys = inputs.content_keys, inputs.view_keys[index]
        body.append(seal_view(session.public, inputs.nonce, index, sorted(granted), *keys))
    body.append(wire.array_header(len(inputs.parts)))
    for index, (kind, content) in enumerate(inputs.parts):
        key = inputs.content_keys[index]
        body += seal_part(session.public, inputs.nonce, index, kind, content, key)
    grants = [
        bytes((at := views.index(readers[one]),)) + inputs.view_keys[at]
        if views
        else b"\0" + inputs.content_keys[0]
        for one in audience.recipients
    ]
    return assemble(route, inputs.nonce, when, body, grants, signer)


def open_as(inputs: Inputs, secret: bytes, reader: int, envelope: bytes) -> None:
    """Open as one of the recipients and compare with what it was granted."""
    recipient = inputs.recipients[reader]
    keyring = Keyring(XKeyPair(secret), user=user_of(recipient.U), without_user=False)
    if not any(recipient.U):
        keyring = Keyring(XKeyPair(secret))
    opener = Opener(keyring, {XKeyPair(inputs.s).public}, replay="file")
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
        # What is sealed in place, and what is put together, has to be the same.
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
