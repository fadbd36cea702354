"""The length of an envelope is known before anything is encrypted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.inside import is_idle
from xkeymsg import Policy, Recipient, Sealer, XKey, XKeyPair

from .cast import ALICE, BOB, CAROL, DAVE, EVE, user

USER = user(0)
KEYS = [each.public for each in (BOB, CAROL, DAVE, EVE)]
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "signed": {"signer": USER},
    "named": {"identity": USER.public},
    "padded": {"padding": True},
    "with an escrow": {"always_to": [ALICE.public, Recipient(BOB.public, USER.public)]},
    "all": {"signer": USER, "padding": True, "always_to": [BOB.public]},
}
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.lists(st.tuples(st.text(max_size=40), st.text(max_size=300)), max_size=4),
        "content_type": st.text(max_size=40),
        "expires": st.just(5),
        "revision": st.integers(0, 2**53 - 1),
    },
)
SUBJECTS = st.sampled_from(["a", "orders.new", "ü" * 20, "x" * 255])


def usable(extras: dict[str, Any]) -> bool:
    try:
        for name, value in [*extras.get("headers", ()), (extras.get("content_type") or "", "")]:
            name.encode(), value.encode()
    except UnicodeEncodeError:
        return False
    return not any(n.lower().startswith("xkm-") for n, _ in extras.get("headers", ()))


@pytest.mark.parametrize("shape", SHAPES)
@given(
    size=st.one_of(st.integers(0, 1000), st.integers(64_900, 66_000), st.just(1 << 18)),
    to=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6),
    subject=SUBJECTS,
    extras=EXTRAS.filter(usable),
)
def test_of_a_payload(
    shape: str, size: int, to: list[XKey], subject: str, extras: dict[str, Any]
) -> None:
    sealer = Sealer(ALICE, **SHAPES[shape])
    told: list[int] = []
    envelope = sealer.seal(bytes(size), to=to, subject=subject, **extras, check_size=told.append)
    assert told == [len(envelope)]


@pytest.mark.parametrize("shape", SHAPES)
@given(
    texts=st.lists(st.text(st.characters(codec="ascii"), max_size=400), min_size=1, max_size=5),
    holders=st.lists(st.lists(st.sampled_from(KEYS), max_size=4), min_size=5, max_size=5),
    subject=SUBJECTS,
    extras=EXTRAS.filter(usable),
)
def test_of_a_document(
    shape: str,
    texts: list[str],
    holders: list[list[XKey]],
    subject: str,
    extras: dict[str, Any],
) -> None:
    sealer = Sealer(ALICE, **SHAPES[shape])
    document = {f"f{number}": text for number, text in enumerate(texts)}
    policy = Policy([(f"/f{number}", [f"p{number}"]) for number in range(len(texts))])
    readers = {f"p{number}": keys or KEYS[:1] for number, keys in enumerate(holders)}
    arguments: dict[str, Any] = {"policy": policy, "readers": readers, "subject": subject}
    told: list[int] = []
    envelope = sealer.seal_document(document, **arguments, **extras, check_size=told.append)
    assert told == [len(envelope)]


def many(count: int) -> Iterable[XKey]:
    return (XKeyPair.generate().public for _ in range(count))


@for_each("count", [31, 32, 33, 200, 1024])
def test_of_many_recipients(count: int) -> None:
    sealer, to = Sealer(ALICE), list(many(count))
    told: list[int] = []
    envelope = sealer.seal(b"x", to=to, subject="a.b", check_size=told.append)
    assert told == [len(envelope)]


def test_a_size_that_is_refused_ends_the_call_before_anything_is_drawn() -> None:
    sealer = Sealer(ALICE)

    def refuse(size: int) -> None:
        raise OverflowError(size)

    policy = Policy([("/a", ["x"])])
    with pytest.raises(OverflowError):
        sealer.seal(b"x", to=KEYS, subject="a", check_size=refuse)
    with pytest.raises(OverflowError):
        sealer.seal_document(
            {"a": 1}, policy=policy, readers={"x": KEYS}, subject="a", check_size=refuse
        )
    assert is_idle(sealer)
