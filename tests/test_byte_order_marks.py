"""One byte order mark is skipped in front of every file that people write, and nowhere else.

Editors on Windows write one, no editor shows it, and a parser that does not expect it complains of
the first line.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB
from xkeymsg import Peers, Policy, XKeyMsgError, read_seed, xkv1
from xkeymsg.cli.documents import read_document
from xkeymsg.cli.peers_text import with_peer
from xkeymsg.cli.policy import read_source
from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.receiver.sinks.token import read_token
from xkeymsg.daemons.sender.config import SenderConfig
from xkeymsg.daemons.sender.sources.reader import Line, LineReader
from xkeymsg.fields.files import load_readers, parse_readers
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.text import MARK, decode_text, without_mark
from xkeymsg.transport.contexts import load_context, selected_context
from xkeymsg.transport.credentials import login, read_user_key
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.peers_file import PeersFile

USER = encode_seed(Prefix.USER, bytes(range(32)))
CREDS = (
    f"-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n"
    f"-----BEGIN USER NKEY SEED-----\n{USER}\n------END USER NKEY SEED------\n"
)
RULE = '[[rule]]\npattern = "/**"\nreaders = ["all"]\n'
PEERS = f'[peers.bob]\nxkey = "{BOB.public}"\n'
CONFIG = (
    '[key]\nseed_file = "alice.seed"\n[trust]\npeers = "peers.toml"\n'
    '[[route]]\nname = "l"\nstdin = true\nto = "a"\nrecipients = ["bob"]\noutput = "core"\n'
)


def context(path: Path) -> object:
    return load_context("a", {"XDG_CONFIG_HOME": str(path.parents[2])})


READ: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "a policy": ("file", RULE, lambda path: Policy.load(path).rules),
    "a policy of the matrix": ("file", RULE, lambda path: read_source(path)[0]),
    "readers": ("file", f'[readers]\na = ["{BOB.public}"]\n', load_readers),
    "peers": ("file", PEERS, Peers.load),
    "a seed": ("file", f"{BOB.seed()}\n", lambda path: read_seed(path).public),
    "a seed with a comment": ("file", f"# x\n{BOB.seed()}\n", lambda path: read_seed(path).public),
    "a user's seed": ("file", f"{USER}\n", lambda path: read_user_key(path).public),
    "credentials": ("file", CREDS, lambda path: read_user_key(path).public),
    "credentials of a login": (
        "file", CREDS, lambda path: login(ConnectOptions(creds=path))["user_jwt_cb"](),
    ),
    "an nkey of a login": (
        "file", USER, lambda path: login(ConnectOptions(nkey=path))["public_nkey"](),
    ),
    "a configuration": (
        "file", CONFIG,
        lambda path: load_config(SenderConfig, path, prefix="X", environ={}).model_dump(),
    ),
    "a context": ("nats/context/a.json", '{"url": "nats://h", "user": "u"}', context),
    "the chosen context": (
        "nats/context.txt", "a\n",
        lambda path: selected_context({"XDG_CONFIG_HOME": str(path.parents[1])}),
    ),
    "a token": ("file", "secret\n", read_token),
    "a document": ("file", '{"a": 1.5}', lambda path: read_document(BytesIO(path.read_bytes()))),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "alice.seed").touch(0o600)
    (tmp_path / "alice.seed").write_text(ALICE.seed())
    (tmp_path / "peers.toml").write_text(PEERS)
    (tmp_path / "nats" / "context").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(("name", "text", "load"), READ.values(), ids=READ)
def test_a_mark_in_front_is_skipped(
    folder: Path, name: str, text: str, load: Callable[[Path], object]
) -> None:
    path = folder / name
    path.touch(0o600)
    path.write_text(text)
    plain = load(path)
    path.write_text(MARK + text)
    assert load(path) == plain


@for_each(
    ("parse", "text"),
    [
        (Policy.parse, RULE),
        (parse_readers, f'[readers]\na = ["{BOB.public}"]'),
        (Peers.parse, PEERS),
    ],
)
def test_a_text_that_a_program_read_may_begin_with_one_mark(
    parse: Callable[[str], object], text: str
) -> None:
    assert repr(parse(MARK + text)) == repr(parse(text))
    with pytest.raises(XKeyMsgError):
        parse(MARK * 2 + text)


def test_the_line_of_an_error_does_not_depend_on_a_mark() -> None:
    with pytest.raises(XKeyMsgError, match="line 4, rule 2") as plain:
        Policy.parse(RULE + '[[rule]]\npattern = "x"\nreaders = ["a"]')
    with pytest.raises(XKeyMsgError) as marked:
        Policy.parse(MARK + RULE + '[[rule]]\npattern = "x"\nreaders = ["a"]')
    assert str(marked.value) == str(plain.value)


def test_a_peer_can_be_added_to_a_file_with_a_mark(folder: Path) -> None:
    path = folder / "marked.toml"
    path.write_text(MARK + PEERS)
    peers = PeersFile(path)
    text = decode_text(path.read_bytes())
    [alice] = Peers.parse(f'[peers.alice]\nxkey = "{ALICE.public}"').peers.values()
    assert set(Peers.parse(with_peer(text, alice, "x")).peers) == {"alice", "bob"}
    assert peers.reload() is False


async def lines_of(data: bytes, *, offset: int = 0) -> list[Line]:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    try:
        return [line async for line in LineReader(reading, offset=offset)]
    finally:
        os.close(reading)


async def test_lines_begin_behind_a_mark_and_keep_those_inside() -> None:
    mark = MARK.encode()
    lines = await asyncio.wait_for(lines_of(mark + b"one\n" + mark + b"two\n"), 60)
    assert [line.data for line in lines] == [b"one", mark + b"two"]
    assert [(line.start, line.end) for line in lines] == [(0, 7), (7, 14)]


async def test_lines_that_are_read_from_the_middle_keep_a_mark() -> None:
    mark = MARK.encode()
    [line] = await asyncio.wait_for(lines_of(mark + b"one\n", offset=100), 60)
    assert line.data == mark + b"one"


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    mark = MARK.encode()
    assert without_mark(mark + mark) == mark
    assert without_mark(mark[:2]) == mark[:2]
    assert json.loads(decode_text(mark + b"1")) == 1
    box = xkv1.seal(mark + b"x", key=ALICE, to=BOB.public)
    assert xkv1.open(box, key=BOB, sender=ALICE.public) == mark + b"x"
