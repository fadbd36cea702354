"""Writing a peer into a file leaves the rest of it as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, pair
from xkeymsg import ConfigurationError, Peer, Peers
from xkeymsg.cli.peers_text import with_peer, without_peer

FILE = f"""\
# Who is who.
always_to = ["bob"]   # by policy

[peers.alice]  # the ward
# read out by phone
xkey = "{ALICE.public}"   # on Monday
subjects = [
  "a.>",  # all
]

# Here begins Bob.
[peers . 'bob']
xkey="{BOB.public}"
# the end
"""
CAROL_PEER = Peer(name="carol", xkeys=(CAROL.public,), subjects=("c",))


def test_a_new_peer_stands_at_the_end() -> None:
    entry = f'[peers.carol]\nxkey = "{CAROL.public}"\nsubjects = ["c"]\n'
    assert with_peer(FILE, CAROL_PEER, "f") == f"{FILE}\n{entry}"
    assert with_peer(FILE.rstrip("\n"), CAROL_PEER, "f") == f"{FILE}\n{entry}"
    assert with_peer("", CAROL_PEER, "f") == entry
    assert with_peer("# who\n\n", CAROL_PEER, "f") == f"# who\n\n\n{entry}"


def test_lines_end_as_the_others_do() -> None:
    changed = with_peer(FILE.replace("\n", "\r\n"), CAROL_PEER, "f")
    assert changed.count("\n") == changed.count("\r\n")


def test_what_is_replaced_stays_in_its_place_without_what_was_said_of_the_old_key() -> None:
    new = Peer(name="alice", xkeys=(CAROL.public,), permissions=("p",))
    changed = with_peer(FILE, new, "f", replace=True)
    start, end = FILE.index("# read out"), FILE.index("\n# Here begins")
    settings = f'xkey = "{CAROL.public}"\npermissions = ["p"]\n'
    assert changed == FILE[:start] + settings + FILE[end:]
    bob = with_peer(FILE, Peer(name="bob", xkeys=(CAROL.public,)), "f", replace=True)
    assert bob == FILE.replace(f'xkey="{BOB.public}"', f'xkey = "{CAROL.public}"')


def test_what_is_taken_out_goes_with_its_table_and_nothing_else() -> None:
    text = with_peer(FILE, CAROL_PEER, "f")
    assert without_peer(text, "carol", "f") == FILE + "\n"
    start, end = FILE.index("[peers.alice]"), FILE.index("# Here begins")
    assert without_peer(FILE, "alice", "f") == FILE[:start] + FILE[end:]
    windows = without_peer(FILE.replace("\n", "\r\n"), "alice", "f")
    assert windows == without_peer(FILE, "alice", "f").replace("\n", "\r\n")


def test_what_would_leave_a_file_that_says_something_else_is_not_taken_out() -> None:
    with pytest.raises(ConfigurationError, match=r"f: .*bob"):  # always_to
        without_peer(FILE, "bob", "f")
    alone = f'[peers.alice]\nxkey = "{ALICE.public}"\n'
    with pytest.raises(ConfigurationError, match="f would have no peers"):
        without_peer(alone, "alice", "f")
    inline = alone + f'[peers]\nbob = {{ xkey = "{BOB.public}" }}\n'
    for text in (inline, f'peers.bob.xkey = "{BOB.public}"\n' + alone):
        with pytest.raises(ConfigurationError, match=r"edit it by hand|declare"):
            without_peer(text, "bob", "f")


def test_a_name_that_is_taken_is_replaced_only_on_request() -> None:
    with pytest.raises(ConfigurationError, match="f already has bob"):
        with_peer(FILE, Peer(name="bob", xkeys=(CAROL.public,)), "f")
    assert Peers.parse(with_peer(FILE, CAROL_PEER, "f", replace=True)).resolve("carol")


@for_each(
    "text",
    [
        f'peers = {{alice = {{xkey = "{ALICE.public}"}}}}',
        f'[peers]\nalice.xkey = "{ALICE.public}"',
        f'peers.alice.xkey = "{ALICE.public}"',
        f'["\\u0070eers".alice]\nxkey = "{ALICE.public}"',
        f'[peers.alice]\nxkey = """\\\n  {ALICE.public}"""\nsubjects = ["""a\\\n[peers.alice]"""]',
    ],
)
def test_what_is_written_in_another_way_is_edited_right_or_not_at_all(text: str) -> None:
    alice = Peer(name="alice", xkeys=(BOB.public,))
    for new in (CAROL_PEER, alice):
        try:
            changed = with_peer(text, new, "f", replace=True)
        except ConfigurationError as error:
            assert str(error).startswith("f")  # noqa: PT017 - either is right
        else:
            assert Peers.parse(changed).peers[new.name] == new
    with pytest.raises(ConfigurationError):
        with_peer(text + '\nx = "', CAROL_PEER, "f")


def test_nobody_is_left_for_whom_everything_is_sealed_besides() -> None:
    text = FILE.replace('["bob"]', '["perm:audit"]') + 'permissions = ["audit"]\n'
    with pytest.raises(ConfigurationError, match="f: always_to: no peer holds 'audit'"):
        with_peer(text, Peer(name="bob", xkeys=(BOB.public,)), "f", replace=True)


def test_what_is_not_right_is_not_written() -> None:
    for bad in (
        Peer(name="a b", xkeys=(CAROL.public,)),
        Peer(name="c", xkeys=(CAROL.public,), always_signs=True),
        Peer(name="c", xkeys=(CAROL.public,), user="U"),
        Peer(name="c", xkeys=(CAROL.public,), permissions=("A",)),
        Peer(name="c", xkeys=(CAROL.public,), subjects=("a..b",)),
        Peer(name="c", xkeys=()),
    ):
        with pytest.raises(ConfigurationError):
            with_peer(FILE, bad, "f")


NAMES = st.from_regex(r"[a-bY-Z09][a-bY-Z09._-]{0,9}", fullmatch=True)
PERMISSIONS = st.text("abz09._-", min_size=1, max_size=9)
SUBJECTS = st.text(min_size=1, max_size=20).filter(
    lambda s: (
        all(c > " " and c not in ".*>\x7f" and not "\ud800" <= c <= "\udfff" for c in s)
        and s != "_XKM"
    )
)


@st.composite
def peers(draw: st.DrawFn) -> Peer:
    user = draw(st.none() | st.just(ALICE_USER.public))
    numbers = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True))
    return Peer(
        name=draw(NAMES),
        xkeys=tuple(pair(number).public for number in numbers),
        user=user,
        permissions=tuple(draw(st.lists(PERMISSIONS, unique=True, max_size=3))),
        subjects=tuple(draw(st.lists(SUBJECTS, unique=True, max_size=3))),
        always_signs=user is not None and draw(st.booleans()),
    )


@given(st.lists(peers(), max_size=4), st.sampled_from(["\n", "\r\n"]), st.text())
def test_what_is_written_is_what_was_meant(several: list[Peer], end: str, comment: str) -> None:
    """Whatever a comment holds: line separators of Unicode, brackets, quotes."""
    comment = "".join(c for c in comment if c.isprintable() or c in "\u2028\x85")
    text = f'# {comment}{end}[peers.alice]{end}xkey = "{ALICE.public}" # {comment}{end}'
    want = dict(Peers.parse(text).peers)
    for one in several:
        text = with_peer(text, one, "f", replace=True)
        want[one.name] = one
        assert dict(Peers.parse(text).peers) == want
        assert text.startswith(f"# {comment}")
