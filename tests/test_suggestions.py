"""Suggestions for unknown names: near ones, bounded, and never for or from a possible secret."""

from __future__ import annotations

import pytest

from tests.cases import for_each
from xkeymsg import Peers, UnknownKeyError, XKeyPair
from xkeymsg.display import MOST_NAME
from xkeymsg.suggestions import did_you_mean

PAIR = XKeyPair(bytes(range(32)))


@for_each(
    ("name", "names", "expected"),
    [
        ("alcie", ["bob", "alice"], "alice"),
        ("nmae", ["name", "sink"], "name"),
        ("Bob", ["bob"], "bob"),
        ("seed-file", ["seed_file", "key_store"], "seed_file"),
        ("permission", ["perm", "permissions"], "permissions"),
        ("zz", ["alice", "bob"], None),
        ("alice", [], None),
        ("", ["alice", ""], None),
        ("ward3", ["ward4"], None),  # not a misspelling: another ward
    ],
)
def test_the_nearest_name_is_suggested(name: str, names: list[str], expected: str | None) -> None:
    said = did_you_mean(name, names)
    assert said == ("" if expected is None else f"; did you mean {expected!r}?")


def test_a_secret_gets_no_suggestion_and_is_never_one() -> None:
    seed = PAIR.seed()
    for secret in (seed, seed[:30], seed.lower(), seed[:-1], str(PAIR.public)):
        for other in (seed, secret[:-1] + "A", secret + "7", seed[:29]):
            assert did_you_mean(secret, [other]) == ""
            assert did_you_mean(other, [secret]) == ""


def test_a_suggestion_is_short_and_a_long_list_is_not_read() -> None:
    long = "long name " * 1000
    assert len(did_you_mean(long + "x", [long])) < MOST_NAME + 30

    def endless() -> object:
        while True:
            yield "some name"

    assert did_you_mean("alice", endless()) == ""  # type: ignore[arg-type]


def test_an_unknown_peer_error_names_the_nearest_peer_or_permission_only() -> None:
    peers = Peers.parse(f'[peers.alice]\nxkey = "{PAIR.public}"\npermissions = ["audit"]')
    for name, said in (
        ("alcie", "no peer is called 'alcie'; did you mean 'alice'?"),
        ("perm:audits", "no peer holds 'audits'; did you mean 'perm:audit'?"),
        ("carol", "no peer is called 'carol'"),
        (PAIR.seed(), "expected the name of a peer, not a secret seed"),
        (PAIR.seed()[:-1], "no peer is called a text of 57 characters"),
    ):
        with pytest.raises(UnknownKeyError) as caught:
            peers.resolve(name)
        assert str(caught.value) == said
