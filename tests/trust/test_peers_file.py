"""A file of peers that changes while it is used: the last good one stays."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.envelope.cast import ALICE, BOB, CAROL, NOW
from xkeymsg import Admission, ConfigurationError, Opener, Peers, Resolver, Sealer, XKeyPair
from xkeymsg.files import MAX_FILE
from xkeymsg.trust.stores.peers_file import PeersFile

ON = 'subjects = ["a"]\n'


def listed(**pairs: XKeyPair) -> str:
    return "".join(f'[peers.{name}]\nxkey = "{pair.public}"\n{ON}' for name, pair in pairs.items())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "peers.toml"
    path.write_text(listed(alice=ALICE))
    return path


def test_a_file_answers_as_its_peers(path: Path) -> None:
    trust = PeersFile(path)
    peers = Peers.load(path)
    assert peers == Peers.parse(path.read_text())
    assert isinstance(trust, PeersFile)
    assert isinstance(trust, Resolver)
    assert isinstance(trust.current, Peers)
    assert trust.admit(ALICE.public, "a", NOW) == peers.admit(ALICE.public, "a", NOW) == Admission()
    assert trust.admits_xkv1(ALICE.public, "a")
    assert not trust.admits_xkv1(BOB.public, "a")
    assert trust.resolve("alice") == peers.resolve("alice")
    assert (trust.always_to(), trust.revision, trust.error) == ((), None, None)
    assert repr(trust) == f"<PeersFile '{path}': 1>"


def test_what_changes_in_the_file_counts_from_the_next_reload_on(path: Path) -> None:
    trust = PeersFile(str(path))
    opener = Opener(CAROL, senders=trust)
    assert not trust.reload()
    path.write_text(listed(bob=BOB))
    assert trust.admit(BOB.public, "a", NOW) is None
    assert trust.reload()
    assert not trust.reload()
    assert trust.admit(ALICE.public, "a", NOW) is None
    sealed = Sealer(BOB).seal(b"x", to=[CAROL.public], subject="a")
    assert opener.open(sealed, subject="a").data == b"x"


def test_a_change_of_equal_length_within_a_tick_of_the_clock_is_seen(path: Path) -> None:
    trust = PeersFile(path)
    before = path.stat()
    path.write_text(listed(carol=ALICE))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_size == before.st_size
    assert trust.reload()


@pytest.mark.parametrize("bad", ["", "[peers", "[peers.alice]\n", listed(alice=ALICE) + "x = 1\n"])
def test_a_bad_file_is_told_once_and_the_last_good_one_stays(path: Path, bad: str) -> None:
    good = path.read_text()
    trust = PeersFile(path)
    path.write_text(bad)
    with pytest.raises(ConfigurationError, match=r"peers\.toml"):
        trust.reload()
    assert not trust.reload(), "it is told once"
    assert isinstance(trust.error, ConfigurationError)
    assert trust.admit(ALICE.public, "a", NOW) == Admission()
    path.write_text(bad + "\n[")
    with pytest.raises(ConfigurationError):
        trust.reload()
    path.write_text(good)
    assert not trust.reload(), "the same peers as before"
    assert trust.error is None
    path.write_text(listed(bob=BOB))
    assert trust.reload()


def test_a_file_that_is_gone_is_told_once_and_found_again(path: Path) -> None:
    trust = PeersFile(path)
    path.rename(path.with_suffix(".old"))
    with pytest.raises(ConfigurationError, match="cannot read"):
        trust.reload()
    assert not trust.reload()
    assert trust.resolve("alice")
    path.with_suffix(".old").rename(path)
    assert not trust.reload()
    assert trust.error is None


def test_readers_see_one_version_or_the_other(path: Path) -> None:
    """Two peers change keys at once, again and again: none is ever seen with the other's."""
    texts = [listed(a=ALICE, b=BOB), listed(a=BOB, b=ALICE)]
    path.write_text(texts[0])
    trust = PeersFile(path)
    done, torn = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            current = trust.current
            if current.resolve("a") == current.resolve("b"):
                torn.append(current)

    def reload() -> None:
        while not done.is_set():
            trust.reload()

    new = path.with_suffix(".new")
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(job) for job in (look, look, reload, reload)]
        for number in range(20):
            new.write_text(texts[number % 2])
            new.replace(path)
            trust.reload()
        done.set()
    assert [job.result() for job in jobs] == [None] * 4
    assert torn == []
    assert (trust.error, trust.resolve("a")) == (None, Peers.parse(texts[1]).resolve("a"))


def test_what_is_no_file_of_peers_is_refused_and_nothing_waits(tmp_path: Path, path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (MAX_FILE + 1))
    latin = tmp_path / "latin"
    latin.write_bytes(b"\n# \xe9")
    for bad, said in (
        (tmp_path, "cannot read .*: Is a directory"),
        (pipe, "not a regular file"),
        (tmp_path / "none", "cannot read .*: No such file"),
        (large, f"larger than {MAX_FILE} bytes"),
        (latin, "latin, line 2: not UTF-8"),
        (tmp_path / "nul\0", "cannot read"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            PeersFile(bad)
    with pytest.raises(ConfigurationError) as caught:
        PeersFile(ALICE.seed())
    assert ALICE.seed() not in str(caught.value)
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"world-writable \(mode 0666\); run chmod o-w"):
        PeersFile(path)
