"""Sealing: the reference and the package seal, or refuse, as vectors/seal.json says."""

from __future__ import annotations

import json

import pytest

from tests.cases import check_each
from tests.reference import Limits, nkeystring
from tests.reference.head import read_head
from tests.reference.open import read_tags
from tests.vectors import generate, sealing
from tests.vectors.people import ALICE, BOB
from tests.vectors.sealing import Order
from xkeymsg import (
    AtRest,
    Opener,
    Recipient,
    Sealer,
    UserKey,
    XKey,
    XKeyMsgError,
    XKeyPair,
)

LIMITS = Limits()


def recipient(text: str) -> Recipient:
    xkey, *user = text.split(" ")
    return Recipient(XKey.parse(xkey), *user)


def seal(order: Order) -> bytes:
    signer = None if order.signer is None else UserKey(order.signer)
    return Sealer(XKeyPair.from_seed(ALICE.seed_text), signer=signer).seal(
        order.payload,
        to=map(recipient, order.to),
        subject=order.subject,
        content_type=order.content_type,
        headers=order.headers,
        expires=None if order.lifetime is None else order.lifetime / 1000,
    )


def check_reference(order: Order) -> None:
    assert sealing.outcome(order) == order.expect


def check_package(order: Order) -> None:
    if order.expect != "success":
        with pytest.raises(XKeyMsgError) as refused:
            seal(order)
        assert refused.value.code == order.expect
        return
    envelope = seal(order)
    assert len(envelope) == len(sealing.sealed(order))
    assert len(read_tags(envelope, read_head(envelope, LIMITS)[1], LIMITS).tags) == order.recipients
    sender = {XKey.parse(ALICE.xkey_text): nkeystring.user_text(ALICE.user)}
    if order.to[0] != BOB.xkey_text or order.lifetime:
        return
    opener = Opener(
        XKeyPair.from_seed(BOB.seed_text), sender if order.signer else set(sender), replay=AtRest()
    )
    message = opener.open(envelope, subject=order.subject)
    assert message.data == order.payload
    assert message.content_type == order.content_type
    assert message.headers.pairs == order.headers
    assert (message.signer is None) == (order.signer is None)


def test_the_reference_seals_or_refuses() -> None:
    check_each(sealing.everything(), check_reference)


def test_the_package_seals_or_refuses() -> None:
    check_each(sealing.everything(), check_package)


def test_the_file_is_what_the_vectors_say() -> None:
    text = generate.SEAL_JSON.read_text()
    assert text == sealing.as_json()
    names = [one["name"] for one in json.loads(text)]
    assert len(set(names)) == len(names)
