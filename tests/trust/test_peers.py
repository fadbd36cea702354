"""A file of peers: who may send, whom a name stands for, and what is wrong with it."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    DAVE,
    EVE,
    MALLORY,
    MALLORY_USER,
    NOW,
    code_of,
    raw_user,
)
from xkeymsg import (
    Admission,
    AtRest,
    ConfigurationError,
    Opener,
    Peers,
    Recipient,
    Resolver,
    Sealer,
    UnknownKeyError,
    XKeyPair,
)
from xkeymsg.cli.doctor.files import peer_warnings

GOOD = f"""\
always_to = ["escrow", "perm:audit"]

[peers.alice]
xkey = "{ALICE.public}"
user = "{ALICE_USER.public}"
subjects = ["ehr.>", "lab.*.new"]
always_signs = true

[peers.bob]
xkeys = ["{BOB.public}", "{CAROL.public}"]
permissions = ["clinic", "audit"]
subjects = ["ehr.notes"]

[peers.escrow]
xkey = "{DAVE.public}"
permissions = ["audit"]
"""


def peer(name: str, pair: XKeyPair, *settings: str) -> str:
    return "\n".join([f"[peers.{name}]", f'xkey = "{pair.public}"', *settings, ""])


def sends(subject: str, user: str | None = None, *, signs: bool = False) -> tuple[str, ...]:
    said = [f'subjects = ["{subject}"]']
    said += [f'user = "{user}"'] if user else []
    return (*said, "always_signs = true") if signs else tuple(said)


def test_names_and_permissions_stand_for_keys_with_their_users() -> None:
    peers = Peers.parse(GOOD)
    bob = (Recipient(BOB.public), Recipient(CAROL.public))
    assert isinstance(peers, Resolver)
    assert peers.resolve("alice") == (Recipient(ALICE.public, ALICE_USER.public),)
    assert peers.resolve("bob") == peers.resolve("perm:clinic") == bob
    assert peers.resolve("perm:audit") == (*bob, Recipient(DAVE.public))
    assert peers.always_to() == (Recipient(DAVE.public), *bob)
    assert list(peers.peers) == ["alice", "bob", "escrow"]
    assert (peers.revision, peer_warnings(peers)) == (None, ())


@for_each(
    "name",
    ["carol", "perm:billing", "perm:", "", "Bob", "perm:Audit", "perm:bob", "clinic", ALICE.seed()],
)
def test_who_is_not_there_is_an_error_and_never_nobody(name: str) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        Peers.parse(GOOD).resolve(name)
    assert ALICE.seed() not in str(caught.value)


def test_a_key_sends_on_its_subjects_and_on_no_other() -> None:
    peers = Peers.parse(GOOD)
    alice = Admission(frozenset({raw_user(ALICE_USER)}), always_signs=True)
    for subject, verdict in (
        ("ehr.notes", alice),
        ("ehr.a.b", alice),
        ("lab.1.new", alice),
        ("ehr", None),
        ("lab.1.2.new", None),
        ("orders", None),
        ("_XKM.REPLY.x", None),
    ):
        assert peers.admit(ALICE.public, subject, NOW) == verdict
    for key in (BOB.public, CAROL.public):
        assert peers.admit(key, "ehr.notes", NOW) == Admission()
        assert peers.admit(key, "ehr.other", NOW) is None
    assert peers.admit(DAVE.public, "ehr.notes", NOW) is None, "no subjects: it may not send"
    assert peers.admit(EVE.public, "ehr.notes", NOW) is None


def test_a_pattern_for_everything_is_not_one_for_replies() -> None:
    peers = Peers.parse(peer("alice", ALICE, 'subjects = [">", "*.*.*"]'))
    assert peers.admit(ALICE.public, "a.b.c", NOW) is not None
    assert peers.admit(ALICE.public, "_XKM.REPLY.c", NOW) is None
    assert not peers.admits_xkv1(ALICE.public, "_XKM.REPLY.c")


def test_xkv1_counts_for_a_bare_key_on_its_subjects_alone() -> None:
    peers = Peers.parse(GOOD)
    assert peers.admits_xkv1(BOB.public, "ehr.notes")
    assert not peers.admits_xkv1(BOB.public, "ehr.other")
    assert not peers.admits_xkv1(EVE.public, "ehr.notes")
    assert not peers.admits_xkv1(ALICE.public, "ehr.notes"), "it names no user, and is not signed"


def test_an_opener_takes_peers_for_senders() -> None:
    opener = Opener(DAVE, senders=Peers.parse(GOOD), replay=AtRest())

    def sealed(pair: XKeyPair, subject: str, user: object = None, signer: object = None) -> bytes:
        sealer = Sealer(pair, identity=user, signer=signer)  # type: ignore[arg-type]
        return sealer.seal(b"x", to=[DAVE.public], subject=subject)

    message = opener.open(sealed(ALICE, "ehr.a", signer=ALICE_USER), subject=">")
    assert (message.admitted, message.signer) == (True, ALICE_USER.public)
    assert opener.open(sealed(CAROL, "ehr.notes"), subject=">").sender == CAROL.public
    for envelope, code in (
        (sealed(ALICE, "ehr.a", ALICE_USER.public), "signature_missing"),
        (sealed(ALICE, "ehr.a"), "sender_not_admitted"),
        (sealed(ALICE, "ehr.a", signer=BOB_USER), "sender_not_admitted"),
        (sealed(ALICE, "orders", signer=ALICE_USER), "sender_not_admitted"),
        (sealed(EVE, "ehr.a"), "sender_not_admitted"),
    ):
        assert code_of(opener, envelope) == code


# One key, several peers: whoever adds a peer can write anybody's public key.


def test_a_claim_without_a_user_does_not_weaken_one_with_a_user() -> None:
    """Mallory lists Alice's key as her own, in whatever order: Alice's messages stay Alice's."""
    alice = peer("alice", ALICE, *sends("ehr.>", ALICE_USER.public, signs=True))
    bare = peer("mallory", ALICE, *sends("ehr.>"))
    for text in (alice + bare, bare + alice):
        peers = Peers.parse(text)
        only = Admission(frozenset({raw_user(ALICE_USER)}), always_signs=True)
        assert peers.admit(ALICE.public, "ehr.x", NOW) == only
        assert not peers.admits_xkv1(ALICE.public, "ehr.x")
        [warning] = peer_warnings(peers)
        assert "alice" in warning
        assert "mallory" in warning
        assert str(ALICE.public) in warning
        assert "those without a user may not" in warning
        opener = Opener(BOB, senders=peers, replay=AtRest())
        unnamed = Sealer(ALICE).seal(b"x", to=[BOB.public], subject="ehr.x")
        assert code_of(opener, unnamed) == "sender_not_admitted"


def test_two_users_of_a_key_are_both_admitted_and_the_stricter_one_counts() -> None:
    """Silencing Alice by claiming her key does not work; sending unsigned in her name neither."""
    peers = Peers.parse(
        peer("alice", ALICE, *sends("ehr.>", ALICE_USER.public, signs=True))
        + peer("mallory", ALICE, *sends(">", MALLORY_USER.public))
    )
    users = frozenset({raw_user(ALICE_USER), raw_user(MALLORY_USER)})
    assert peers.admit(ALICE.public, "ehr.x", NOW) == Admission(users, always_signs=True)
    assert peers.admit(ALICE.public, "other", NOW) == Admission(frozenset({raw_user(MALLORY_USER)}))
    assert len(peer_warnings(peers)) == 1


def test_claims_for_other_subjects_do_not_mix() -> None:
    peers = Peers.parse(
        peer("alice", ALICE, *sends("ehr.>", ALICE_USER.public)) + peer("a2", ALICE, *sends("lab"))
    )
    assert peers.admit(ALICE.public, "ehr.x", NOW) == Admission(frozenset({raw_user(ALICE_USER)}))
    assert peers.admit(ALICE.public, "lab", NOW) == Admission()
    assert peers.admits_xkv1(ALICE.public, "lab")
    assert peers.admit(ALICE.public, "x", NOW) is None


def test_a_shared_key_is_one_recipient_for_each_of_its_users() -> None:
    shared = 'permissions = ["p"]'
    text = (
        peer("a", ALICE, shared)
        + peer("b", ALICE, shared)
        + peer("c", ALICE, shared, f'user = "{ALICE_USER.public}"')
    )
    peers = Peers.parse(text)
    assert peers.resolve("perm:p") == (
        Recipient(ALICE.public),
        Recipient(ALICE.public, ALICE_USER.public),
    )
    assert peer_warnings(peers)[0].startswith("a, b and c have the same key")


def test_names_that_differ_in_case_alone_are_told() -> None:
    peers = Peers.parse(peer("bob", BOB) + peer("Bob", CAROL))
    assert peer_warnings(peers) == ("bob and Bob differ only in case",)


# What is wrong with a file.


@for_each(
    ("text", "said"),
    [
        ("", ": expected at least one table [peers.NAME]"),
        ('always_to = ["a"]', ": expected at least one table [peers.NAME]"),
        ("peers = 1", ": expected at least one table [peers.NAME]"),
        ("[peers]", ": expected at least one table [peers.NAME]"),
        ("[peers", ", line 1: not TOML: "),
        (GOOD + "[peers.bob]", ", line 17: not TOML: "),
        ("x = " + "1" * 5000, ", line 1: not TOML: "),
        ("x = " + "[" * 5000, ", line 1: nested"),
        ("always-to = []\n" + GOOD, ": unknown setting 'always-to'; did you mean 'always_to'?"),
        (GOOD + "[peer.carol]", ": unknown setting 'peer'"),
        (GOOD.replace('"escrow"', '"escroww"'), ": always_to: no peer is called 'escroww'"),
        (GOOD.replace("perm:audit", "perm:audits"), ": always_to: no peer holds 'audits'"),
        (GOOD.replace('["escrow", "perm:audit"]', '"escrow"'), ": always_to must be an array"),
        (GOOD.replace('"escrow", ', "7, "), ": always_to must be an array of strings"),
        ("[peers]\nbob = 1", ": [peers.bob]: expected a table"),
        ('[peers."b o b"]', ": [peers]: invalid peer name 'b o b'"),
        ('[peers."perm:x"]', ": [peers]: invalid peer name 'perm:x'"),
        ('[peers."a/b"]', ": [peers]: invalid peer name 'a/b'"),
        ('[peers.""]', ": [peers]: invalid peer name ''"),
        (f"[peers.{'a' * 65}]", ": [peers]: invalid peer name a text of 65 characters"),
        (f"[peers.{ALICE.public}]", ": [peers]: invalid peer name a text of 56 characters"),
        (
            GOOD.replace("permissions", "permission", 1),
            ": [peers.bob]: unknown setting 'permission'; did you mean 'permissions'?",
        ),
        (
            GOOD.replace("always_signs", "always_sign"),
            ": [peers.alice]: unknown setting 'always_sign'",
        ),
        (GOOD.replace("= true", "= 1"), ": [peers.alice]: always_signs must be true or"),
        (re.sub("user.*", "", GOOD), ": [peers.alice]: always_signs requires user"),
        (peer("a", ALICE, "xkeys = []"), ": [peers.a]: expected exactly one of xkey and xkeys"),
        ("[peers.a]", ": [peers.a]: expected exactly one of xkey and xkeys"),
        ("[peers.a]\nxkeys = []", ": [peers.a]: xkeys must be an array of public keys"),
        ("[peers.a]\nxkeys = 'X'", ": [peers.a]: xkeys must be an array"),
        ("[peers.a]\nxkey = 7", ": [peers.a]: xkey must be a public key X…"),
        (GOOD.replace(str(CAROL.public), str(BOB.public)), ": [peers.bob]: xkeys lists a key"),
        ("[peers.a]\nxkey = 'X'", ": [peers.a]: xkey: a public key X… has 56 characters, not 1"),
        (
            GOOD.replace(str(CAROL.public), str(CAROL.public)[:-2] + "AA"),
            ": [peers.bob]: xkeys: the checksum of a public key X… is wrong",
        ),
        (
            f'[peers.a]\nxkey = "{ALICE_USER.public}"',
            ": [peers.a]: xkey: a public key X… must begin with X",
        ),
        (
            '[peers.a]\nxkey = "XAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA3JP"',
            ": [peers.a]: xkey: ",
        ),
        (peer("a", ALICE, f'user = "{ALICE.public}"'), ": [peers.a]: user: a public key U… must"),
        (peer("a", ALICE, "user = 1"), ": [peers.a]: user must be a public key U…"),
        (
            peer("a", ALICE, "permissions = ['A']"),
            ": [peers.a]: invalid permission name 'A' (allowed: a-z 0-9",
        ),
        (peer("a", ALICE, "permissions = ['']"), ": [peers.a]: invalid permission name ''"),
        (peer("a", ALICE, "permissions = 'a'"), ": [peers.a]: permissions must be an array"),
        (peer("a", ALICE, "subjects = 'a'"), ": [peers.a]: subjects must be an array"),
        (peer("a", ALICE, "subjects = ['a..b']"), ": [peers.a]: subjects: 'a..b' is not a valid"),
        (peer("a", ALICE, "subjects = ['a>']"), ": [peers.a]: subjects: 'a>' is not a valid"),
        (peer("a", ALICE, "subjects = ['']"), ": [peers.a]: subjects: '' is not a valid"),
        (peer("a", ALICE, "subjects = ['_XKM.>']"), ": [peers.a]: subjects: _XKM is reserved"),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_the_expectation(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Peers.parse(text, source="peers.toml")
    assert str(caught.value).startswith("peers.toml" + said)


@for_each(
    "text",
    [
        peer("a", ALICE).replace(str(ALICE.public), MALLORY.seed()),
        GOOD.replace(str(CAROL.public), MALLORY.seed()),
        peer("a", ALICE, f'user = "{MALLORY.seed()}"'),
        peer("a", ALICE, f'permissions = ["{MALLORY.seed()}"]'),
        peer("a", ALICE, f'subjects = ["a.{MALLORY.seed()}"]'),
        peer("a", ALICE, f'{MALLORY.seed()} = "x"'),
        peer("a", ALICE, f"# {MALLORY.seed()}"),
        peer("a", ALICE, f"{MALLORY.seed()}"),
        peer(MALLORY.seed(), ALICE),
        peer(MALLORY.seed(), ALICE) * 2,
        f'always_to = ["{MALLORY.seed()}"]\n' + peer("a", ALICE),
        f'{MALLORY.seed()} = "x"\n' + peer("a", ALICE),
    ],
)
def test_a_seed_is_refused_wherever_it_is_and_never_shown(text: str) -> None:
    # Whole; cut off, so that it is no seed any more; and begun with an escape.
    for secret in (MALLORY.seed(), MALLORY.seed()[:40], MALLORY.seed()[1:]):
        changed = text.replace(MALLORY.seed(), secret)
        escaped = changed.replace(f'"{secret}"', f'"\\u{ord(secret[0]):04x}{secret[1:]}"')
        for each in (changed, escaped):
            if secret != MALLORY.seed() and ("# " in each or "subjects" in each):
                continue  # a comment, or a token of a subject, may be anything but a seed
            with pytest.raises(ConfigurationError) as caught:
                Peers.parse(each, source="peers.toml")
            assert secret[2:] not in repr(caught.value)
            assert secret[:20] not in repr(caught.value)


def test_peers_are_read_from_text() -> None:
    with pytest.raises(TypeError):
        Peers.parse(GOOD.encode())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Peers.parse(GOOD).resolve(b"bob")  # type: ignore[arg-type]
    assert repr(Peers.parse(GOOD)) == "<Peers: 3>"


@given(st.text() | st.from_regex(r'(\[peers(\.[a-z"]+)?\]|[a-z_]+ ?= ?(".*"|\[.*\])|\n|#.*)*'))
def test_nothing_in_a_file_raises_anything_else(text: str) -> None:
    with suppress(ConfigurationError):
        Peers.parse(text)


def test_a_key_in_the_place_of_a_name_is_told_to_be_one() -> None:
    with pytest.raises(UnknownKeyError, match=r"this is a key, not a name; .*use XKey\.parse"):
        Peers.parse(GOOD).resolve(str(ALICE.public))
