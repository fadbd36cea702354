"""Arguments of public functions: buffers, durations, and objects that stay as they were made."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - recipients can be pickled
from array import array
from typing import Any

import pytest

import xkeymsg
from tests.cases import for_each
from tests.envelope.cast import ALICE, ALICE_USER, BOB, EVE
from xkeymsg import (
    AtRest,
    ConnectOptions,
    DurableOptions,
    FailurePolicy,
    Keyring,
    KVStatus,
    Limits,
    Live,
    MalformedError,
    ObjectInfo,
    Opener,
    Peers,
    Policy,
    Readers,
    Recipient,
    Sealer,
    Stream,
    XKey,
    xkv1,
)
from xkeymsg.arguments import as_bytes, milliseconds
from xkeymsg.testing import MemoryNATS

KINDS = [bytes, bytearray, memoryview]

# --- buffers --------------------------------------------------------------------------------------


@for_each("kind", KINDS)
def test_any_buffer_is_sealed_and_opened(kind: Any) -> None:
    envelope = Sealer(ALICE).seal(kind(b"data"), to=[BOB.public], subject="a")
    assert type(envelope) is bytes
    data = Opener(BOB, {ALICE.public}).open(kind(envelope), subject="a").data
    assert (type(data), data) == (bytes, b"data")
    box = xkv1.seal(kind(b"data"), key=ALICE, to=BOB.public)
    assert xkv1.open(kind(box), key=BOB, sender=ALICE.public) == b"data"


@for_each("kind", KINDS)
def test_any_buffer_with_a_document_is_opened(kind: Any) -> None:
    envelope = Sealer(ALICE).seal_document(
        {"a": 1}, policy=Policy([("/**", ["p"])]), readers={"p": [BOB.public]}, subject="a"
    )
    view = Opener(BOB, {ALICE.public}).open_document(kind(envelope), subject="a")
    assert view.document == {"a": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_any_buffer_is_published_requested_and_replied(kind: Any) -> None:
    nats = MemoryNATS()
    trust = {ALICE.public, BOB.public}
    async with (
        nats.connect(key=ALICE, trust=trust) as alice,
        nats.connect(key=BOB, trust=trust) as bob,
    ):

        async def echo(request: xkeymsg.Message) -> Any:
            return kind(request.data)

        async with bob.subscribe("a") as messages, bob.serve("svc", echo):
            await alice.publish("a", kind(b"data"), to=BOB.public)
            assert (await anext(messages)).data == b"data"
            assert (await alice.request("svc", kind(b"data"), to=BOB.public)).data == b"data"


def test_a_sealed_buffer_may_change_afterwards() -> None:
    data = bytearray(b"before")
    envelope = Sealer(ALICE).seal(data, to=[BOB.public], subject="a")
    data[:] = b"after!"
    assert Opener(BOB, {ALICE.public}).open(envelope, subject="a").data == b"before"


def test_a_buffer_of_another_layout_is_its_bytes_in_order() -> None:
    assert as_bytes("data", memoryview(array("H", [1, 256]))) == array("H", [1, 256]).tobytes()
    assert as_bytes("data", memoryview(b"abcdef")[::2]) == b"ace"


class Lying(bytes):
    """Bytes that claim to be others."""

    def __bytes__(self) -> bytes:
        return self

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: Any) -> Any:
        return b"other"[place]

    def startswith(self, *_: Any) -> bool:
        return True


def test_a_subclass_of_bytes_is_its_bytes_whatever_its_methods_say() -> None:
    assert type(as_bytes("data", Lying(b"data"))) is bytes
    envelope = Sealer(ALICE).seal(Lying(b"data"), to=[BOB.public], subject="a")
    opener = Opener(BOB, {ALICE.public})
    assert opener.open(Lying(envelope), subject="a").data == b"data"
    with pytest.raises(MalformedError):
        opener.open(Lying(b"garbage"), subject="a")


@for_each("value", ["text", None, 7, [1, 2], array("B", [1])])
def test_what_is_not_a_buffer_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="data must be bytes, a bytearray or a memoryview, not"):
        Sealer(ALICE).seal(value, to=[BOB.public], subject="a")


# --- durations ------------------------------------------------------------------------------------


@for_each(("seconds", "expected"), [(300, 300_000), (0.0294, 29), (1.001, 1001), (-1, -1000)])
def test_a_duration_is_a_number_of_seconds(seconds: float, expected: int) -> None:
    assert milliseconds("x", seconds) == expected


# --- objects that stay as they were made ----------------------------------------------------------

IMMUTABLE = [
    ALICE,
    ALICE.public,
    Recipient(BOB.public, ALICE_USER.public),
    Keyring(BOB, retired=[EVE], user=ALICE_USER.public),
    Limits(),
    Live(),
    Stream(60),
    AtRest(),
    Readers("hr"),
    Peers.parse(f'peers.bob = {{ xkey = "{BOB.public}" }}'),
    DurableOptions(),
    FailurePolicy(),
    ConnectOptions(),
    KVStatus("CONFIG", 0, 0, 1, None, False, "file", 1, False, None, ()),
    ObjectInfo(bucket="scans", name="a", nuid="", size=0, chunks=0, created=None, sender=None),
]


@for_each("one", IMMUTABLE, ids=lambda each: type(each).__name__)
def test_its_attributes_cannot_be_set_or_deleted(one: Any) -> None:
    names = [
        name for name in dir(one) if not name.startswith("__") and not callable(getattr(one, name))
    ]
    assert names or type(one) is AtRest
    for name in names:
        with pytest.raises((AttributeError, TypeError)):
            setattr(one, name, None)
        with pytest.raises((AttributeError, TypeError)):
            delattr(one, name)


def _methods(cls: type) -> set[str]:
    """The methods that a class has from the package, unless it says it has none."""
    homes = [vars(each) for each in cls.__mro__ if each.__module__.startswith("xkeymsg")]
    return {name for home in homes for name, value in home.items() if value is not None}


def test_everything_public_that_is_equal_by_value_is_among_them() -> None:
    public = [each for name in xkeymsg.__all__ if isinstance(each := getattr(xkeymsg, name), type)]
    known = {type(one) for one in IMMUTABLE}
    by_value = {each for each in public if "__hash__" in _methods(each)}
    others = {each for each in by_value if issubclass(each, tuple)} | {xkeymsg.Event}
    assert by_value - others <= known


def test_a_recipient_stays_in_its_set() -> None:
    one, other = Recipient(BOB.public), Recipient(EVE.public)
    known = {one: "bob"}
    with pytest.raises(AttributeError, match="Recipient is immutable"):
        one.key = EVE.public
    assert known[one] == "bob"
    assert one != other


@pytest.mark.parametrize("user", [None, ALICE_USER.public])
def test_a_recipient_can_be_copied(user: str | None) -> None:
    one = Recipient(BOB.public, user)
    assert copy.deepcopy(Readers("a", "b")) == Readers("a", "b")
    for made in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (made, made.key, made.user) == (one, one.key, one.user)


def test_a_keyring_checks_its_keys() -> None:
    for keys in [(BOB.public,), (BOB, [EVE.public]), (None,)]:
        active, *retired = keys
        with pytest.raises(TypeError, match="a key of a keyring must be an XKeyPair, not"):
            Keyring(active, retired=retired[0] if retired else ())  # type: ignore[arg-type]


def test_a_policy_of_replay_does_not_change_the_limits_of_others() -> None:
    limits = Limits(max_age=10)
    assert Live(60).limits(limits) == Limits(max_age=60)
    assert Live().limits(limits) is limits
    assert AtRest().limits(limits) is limits
    assert limits == Limits(max_age=10)


def test_a_key_and_its_parts_are_those_of_the_seed() -> None:
    assert XKey.parse(str(ALICE.public)) == ALICE.public
    assert not hasattr(ALICE, "dh")
    assert not hasattr(ALICE, "seal")
