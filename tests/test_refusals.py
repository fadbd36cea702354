"""Refusals carry no secret: not in their text, and not in the variables of any frame behind them.

Error reporters collect the local variables of every frame of a traceback, of the errors before it
too. Only the frames of the caller may hold what the caller has given.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pydantic
import pytest

from tests.running import DEADLINE
from tests.spans import Spans, recording
from xkeymsg import (
    AtRest,
    Keyring,
    Limits,
    Message,
    Opener,
    Peers,
    Policy,
    Recipient,
    Reply,
    Sealer,
    ServiceError,
    UserKey,
    XKey,
    XKeyMsgError,
    XKeyPair,
    document_of,
    read_seed,
    write_seed,
    xkv1,
)
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.refusals import refusing as client_refusing
from xkeymsg.client.stats import Where
from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.documents import parse_document
from xkeymsg.daemons.common.records import record_of
from xkeymsg.daemons.sender.config import SenderConfig
from xkeymsg.daemons.sender.route_sealer import Author
from xkeymsg.envelope import derive
from xkeymsg.fields.files import parse_readers
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.refusals import bare, redact, refusing
from xkeymsg.testing import MemoryNATS
from xkeymsg.testing.memory import MemoryLink
from xkeymsg.transport.contexts import load_context
from xkeymsg.transport.credentials import login, read_user_key
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.creds import parse_creds

CANARY = "canary-of-a-plaintext"
ALICE, BOB, EVE = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
USER = encode_seed(Prefix.USER, bytes(range(32)))
ALL = Policy([("/**", ["p"])])
READERS = {"p": [BOB.public]}
PEERS = Peers.parse(
    f'peers.bob = {{ xkey = "{BOB.public}", subjects = [">"] }}\n'
    f'peers.alice = {{ xkey = "{ALICE.public}", subjects = [">"] }}'
)
KEYS: list[bytes] = []
"""Content keys, view keys and keys of pairs, as far as they were derived."""


def forms(seed: str) -> tuple[str, bytes]:
    return seed, base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34]


SECRETS: list[str | bytes] = [
    CANARY, CANARY.encode(), USER, *forms(ALICE.seed()), *forms(BOB.seed())
]  # fmt: skip


@pytest.fixture(autouse=True)
def note_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note every key that the envelope derives others from."""
    KEYS.clear()
    for name in ("part_keys", "view_keys"):
        original = getattr(derive, name)

        def noting(key: bytes, *rest: Any, _original: Any = original) -> bytes:
            made: bytes = _original(key, *rest)
            KEYS.extend((key, made[:32]))
            return made

        monkeypatch.setattr(derive, name, noting)


def errors_behind(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that can be reached from it, whether a traceback would show them or not."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            left += [each.__context__, each.__cause__]


def frames_of(error: BaseException) -> Iterator[tuple[str, Any]]:
    """The local variables of the frames of an error that have ended."""
    entry = error.__traceback__ and error.__traceback__.tb_next
    while entry is not None:
        yield from entry.tb_frame.f_locals.items()
        entry = entry.tb_next


def variables(error: BaseException) -> Iterator[tuple[str, Any]]:
    """The local variables of all frames, those of the tests aside."""
    for each in errors_behind(error):
        entry = each.__traceback__
        while entry is not None:
            code = entry.tb_frame.f_code
            if code.co_filename != __file__:
                for name, value in entry.tb_frame.f_locals.items():
                    yield f"{code.co_name}({name})", value
            entry = entry.tb_next


def holds(value: Any, secret: str | bytes, depth: int = 6) -> bool:
    if isinstance(value, str | bytes) and type(value) is type(secret):
        return secret in value  # type: ignore[operator]
    if isinstance(value, memoryview | bytearray):
        return holds(bytes(value), secret)
    if depth and isinstance(value, dict):
        return any(holds(each, secret, depth - 1) for pair in value.items() for each in pair)
    if depth and isinstance(value, list | tuple | set | frozenset):
        return any(holds(each, secret, depth - 1) for each in value)
    return isinstance(secret, str) and secret in repr(value)


def leaks(error: BaseException, secrets: list[str | bytes]) -> set[str]:
    texts = [(f"text of {type(each).__name__}", each.args) for each in errors_behind(error)]
    return {
        where
        for where, value in (*variables(error), *texts)
        for secret in secrets
        if holds(value, secret)
    }


def refusal(call: Callable[[], object]) -> XKeyMsgError:
    with pytest.raises(XKeyMsgError) as caught:
        call()
    return caught.value


def typo(seed: str) -> str:
    return seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]


def sealed(subject: str = "a", **more: Any) -> bytes:
    return Sealer(ALICE).seal(CANARY.encode(), to=[BOB.public], subject=subject, **more)


def sealed_document(document: Any) -> bytes:
    return Sealer(ALICE).seal_document(document, policy=ALL, readers=READERS, subject="a")


def opener(**more: Any) -> Opener:
    return Opener(BOB, {ALICE.public}, **more)


def altered(envelope: bytes) -> bytes:
    return envelope[:-1] + bytes((envelope[-1] ^ 1,))


def replayed() -> object:
    reader, message = opener(), sealed()
    reader.open(message, subject="a")
    return reader.open(message, subject="a")


def two_parts() -> bytes:
    return Sealer(ALICE).seal_document(
        {"a": CANARY, "b": [CANARY]},
        policy=Policy([("/a", ["p", "q"]), ("/b/**", ["q"])]),
        readers={"p": [BOB.public], "q": [EVE.public]},
        subject="a",
    )


def view() -> Any:
    return opener().open_document(sealed_document({"a": CANARY}), subject="a")


@dataclass
class Plain:
    a: int


class Strict(pydantic.BaseModel):
    a: int


@dataclass
class Dated:
    a: str
    b: date


def seal(data: bytes = CANARY.encode(), **more: Any) -> bytes:
    given: dict[str, Any] = {"to": [BOB.public], "subject": "a"} | more
    return Sealer(ALICE, limits=Limits(envelope=1000)).seal(data, **given)


def seal_document(document: Any, policy: Policy = ALL, **more: Any) -> bytes:
    given: dict[str, Any] = {"policy": policy, "readers": READERS, "subject": "a"} | more
    return Sealer(ALICE, limits=Limits(envelope=1000)).seal_document(document, **given)


TYPO, LINE_FEED = typo(BOB.seed()), BOB.seed() + "\n"
SEEDS: list[str | bytes] = [TYPO, TYPO[21:]]

CALLS: dict[str, Callable[[], object]] = {
    # sealing
    "seal for a bad subject": lambda: seal(subject="a b"),
    "seal for nobody": lambda: seal(to=[]),
    "seal too much": lambda: seal(CANARY.encode() * 100),
    "seal with a reserved header": lambda: seal(headers={"xkm-a": CANARY}),
    "seal with too many headers": lambda: seal(headers=[("a", CANARY)] * 2000),
    "seal with a header of no text": lambda: seal(headers={"a": CANARY, "b": "\ud800"}),
    "seal what has expired": lambda: seal(expires=0),
    "seal with padding": lambda: Sealer(ALICE, padding=True).seal(
        CANARY.encode(), to=[BOB.public], subject=""
    ),
    "seal a document with a date": lambda: seal_document({"a": CANARY, "b": date(2026, 1, 1)}),
    "seal a document with a surrogate": lambda: seal_document({"a": CANARY, "b": "\ud800"}),
    "seal a denied document": lambda: seal_document({"a": CANARY}, Policy([("/b", ["p"])])),
    "seal a document too large": lambda: seal_document({"a": CANARY * 100}),
    "seal a document for nobody": lambda: seal_document({"a": CANARY}, readers={}),
    "explain a policy": lambda: ALL.explain({"a": [[[CANARY]]]}, Limits(depth=1)),
    "document of a model": lambda: document_of(Dated(CANARY, CANARY)),  # type: ignore[arg-type]
    # opening
    "open for another subject": lambda: opener().open(sealed(), subject="b"),
    "open of another sender": lambda: Opener(BOB, {EVE.public}).open(sealed(), subject="a"),
    "open of another recipient": lambda: Opener(EVE, {ALICE.public}).open(sealed(), subject="a"),
    "open what was altered": lambda: opener().open(altered(sealed()), subject="a"),
    "open what was cut short": lambda: opener().open(sealed()[:-30], subject="a"),
    "open a document as a payload": lambda: opener().open(
        sealed_document({"a": CANARY}), subject="a"
    ),
    "open a payload as a document": lambda: opener().open_document(sealed(), subject="a"),
    "open again": replayed,
    "open on another wire subject": lambda: opener().open(sealed(), subject="a", wire_subject="b"),
    "open without a signature": lambda: opener_of_users().open(sealed(), subject="a"),
    "open too many headers": lambda: opener(limits=Limits(headers=1)).open(
        sealed(headers=[("a", CANARY)] * 2), subject="a"
    ),
    "open a document beyond the limits": lambda: opener(limits=Limits(nodes=1)).open_document(
        sealed_document({"a": CANARY}), subject="a"
    ),
    "open a document too deep": lambda: opener(limits=Limits(depth=1)).open_document(
        sealed_document({"a": {"b": CANARY}}), subject="a"
    ),
    "open parts for another subject": lambda: opener().open_document(two_parts(), subject="b"),
    "a view in a dataclass": lambda: view().into(Plain),
    "a view in a model of pydantic": lambda: view().into(Strict),
    # xkv1
    "open xkv1 of another": lambda: xkv1.open(
        xkv1.seal(CANARY.encode(), key=ALICE, to=EVE.public), key=BOB, sender=ALICE.public
    ),
    "open xkv1 cut short": lambda: xkv1.open(b"xkv1", key=BOB, sender=ALICE.public),
    "open no xkv1": lambda: xkv1.open(sealed(), key=BOB, sender=ALICE.public),
    # JSON
    "a document that is not JSON": lambda: parse_document(f'{{"a": "{CANARY}"'.encode()),
    "a document with a name twice": lambda: parse_document(
        f'{{"a": "{CANARY}", "b": {{"c": 1, "c": 2}}}}'.encode()
    ),
    "a document with a number too large": lambda: parse_document(
        f'{{"a": "{CANARY}", "b": 1e999}}'.encode()
    ),
    "a document not in UTF-8": lambda: parse_document(f'{{"a": "{CANARY}'.encode() + b"\xff"),
    "a record of what JSON cannot hold": lambda: record_of(surrogate()),
    # keys
    "a seed with a wrong letter": lambda: XKeyPair.from_seed(TYPO),
    "a seed with a line feed": lambda: XKeyPair.from_seed(LINE_FEED),
    "a seed of a user with a wrong letter": lambda: UserKey(typo(USER)),
    "a raw key that is too long": lambda: XKeyPair(CANARY.encode() * 2),
    "a seed as a public key": lambda: XKey.parse(BOB.seed()),
    "a seed as a recipient's user": lambda: Recipient(BOB.public, BOB.seed()),
    "a seed as a reader's user": lambda: Keyring(BOB, user=BOB.seed()),
    "a seed as a sender's user": lambda: Opener(BOB, {ALICE.public: BOB.seed()}),
    "a seed as an identity": lambda: Sealer(ALICE, identity=BOB.seed()),
    "a seed as a name": lambda: PEERS.resolve(BOB.seed()),
    "credentials with a wrong letter": lambda: parse_creds(creds(typo(USER))),
    "credentials of another user": lambda: parse_creds(creds(USER)),
    "peers with a seed": lambda: Peers.parse(f'[peers.bob]\nxkey = "{BOB.seed()}"'),
    "readers with a seed": lambda: parse_readers(f'[readers]\na = ["{BOB.seed()}"]'),
    "a policy with a seed": lambda: Policy.parse(f'[[rule]]\npattern = "{BOB.seed()}"\nreaders=1'),
}


def opener_of_users() -> Opener:
    return Opener(BOB, {ALICE.public: UserKey(USER).public}, require_signature=True)


def creds(seed: str) -> str:
    jwt = "-----BEGIN NATS USER JWT-----\na.b.c\n"
    return f"{jwt}-----BEGIN USER NKEY SEED-----\n{seed}\n"


def surrogate() -> Message:
    reader = Opener(BOB, {ALICE.public}, replay=AtRest())
    message = reader.open_document(sealed_document({"a": CANARY}), subject="a")
    message.document = {"a": CANARY, "b": float("nan")}
    return message


MISUSE: dict[str, Callable[[], object]] = {
    "seal text": lambda: Sealer(ALICE).seal(CANARY, to=[BOB.public], subject="a"),  # type: ignore[arg-type]
    "seal for no collection": lambda: seal(to=7),
    "seal with headers that are not text": lambda: seal(headers=[(1, CANARY)]),
    "seal with an expiry in words": lambda: seal(expires="5m"),
    "seal without a policy": lambda: seal_document({"a": CANARY}, None),  # type: ignore[arg-type]
    "seal for readers in an iterator": lambda: seal_document(
        {"a": CANARY}, readers={"p": iter([BOB.public])}
    ),
    "seal, but the length does not suit": lambda: seal(check_size=unsuitable),
    "open text": lambda: opener().open(CANARY, subject="a"),  # type: ignore[arg-type]
    "open at no position": lambda: opener().open(sealed(), subject="a", position=7),  # type: ignore[arg-type]
    "open for senders that are none": lambda: opener().open(
        sealed(), subject="a", senders={ALICE.public: BOB.seed()}
    ),
    "a view in no model": lambda: view().into(int),
    "seal text as xkv1": lambda: xkv1.seal(CANARY, key=ALICE, to=BOB.public),  # type: ignore[arg-type]
    "open xkv1 of nobody": lambda: xkv1.open(
        xkv1.seal(CANARY.encode(), key=ALICE, to=BOB.public),
        key=BOB,
        sender="X",  # type: ignore[arg-type]
    ),
    "a raw key in text": lambda: XKeyPair(BOB.seed()),  # type: ignore[arg-type]
    "a seed in bytes": lambda: XKeyPair.from_seed(BOB.seed().encode()),  # type: ignore[arg-type]
    "a seed that is a user of something else": lambda: Recipient(BOB.seed(), None),  # type: ignore[arg-type]
    "an opener for a seed": lambda: Opener(BOB.seed(), {ALICE.public}),  # type: ignore[arg-type]
    "a sealer for a seed": lambda: Sealer(BOB.seed()),  # type: ignore[arg-type]
}


def unsuitable(_: int) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("call", MISUSE.values(), ids=MISUSE)
def test_an_error_of_a_wrong_call_has_no_secret_in_any_frame(call: Callable[[], object]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        call()
    assert leaks(caught.value, [*SECRETS, *KEYS]) == set()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_refusal_has_no_secret_in_any_frame(call: Callable[[], object]) -> None:
    error = refusal(call)
    typed: list[str | bytes] = [*SEEDS, LINE_FEED, typo(USER)]
    assert leaks(error, [*SECRETS, *KEYS, *typed]) == set()


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a seed file": (TYPO, read_seed),
    "a seed file with two lines": (f"{BOB.seed()}\n{BOB.seed()}", read_seed),
    "a file of peers": (f'[peers.bob]\nxkey = "{BOB.seed()}"', Peers.load),
    "a policy": (f'rule = "{BOB.seed()}"', Policy.load),
    "a user's seed": (typo(USER), read_user_key),
    "credentials": (
        f"-----BEGIN USER NKEY SEED-----\n{typo(USER)}\n",
        lambda path: login(ConnectOptions(creds=path)),
    ),
    "an nkey to log in with": (typo(USER), lambda path: login(ConnectOptions(nkey=path))),
    "a configuration": (
        f'[key]\nseed_file = "{BOB.seed()}"',
        lambda path: load_config(SenderConfig, path, prefix="X", environ={}),
    ),
}


@pytest.mark.parametrize(("text", "load"), FILES.values(), ids=FILES)
def test_a_refused_file_leaves_nothing_of_it(
    tmp_path: Path, text: str, load: Callable[[Path], object]
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    path.chmod(0o600)
    assert leaks(refusal(lambda: load(path)), [*SECRETS, *SEEDS, typo(USER)]) == set()


def test_a_refused_context_leaves_no_password(tmp_path: Path) -> None:
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"password": CANARY, "nsc": "x"}))
    error = refusal(lambda: load_context("a", {"XDG_CONFIG_HOME": str(tmp_path)}))
    assert leaks(error, SECRETS) == set()


def test_writing_a_seed_over_a_file_leaves_no_seed(tmp_path: Path) -> None:
    (tmp_path / "seed").touch()
    assert leaks(refusal(lambda: write_seed(tmp_path / "seed", BOB)), SECRETS) == set()


# --- the client -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["publish", "request", "request_many"])
async def test_a_client_refuses_without_the_data(name: str) -> None:
    async with MemoryNATS().connect(key=ALICE, trust=PEERS) as client:
        with pytest.raises(XKeyMsgError) as caught:
            await getattr(client, name)("a", CANARY.encode(), to="nobody")
        assert leaks(caught.value, SECRETS) == set()
        with pytest.raises(XKeyMsgError) as caught:
            await getattr(client, name)("a", CANARY.encode(), to="bob", headers={"xkm-a": CANARY})
        assert leaks(caught.value, SECRETS) == set()


async def test_a_client_refuses_a_document_without_it() -> None:
    async with MemoryNATS().connect(key=ALICE, trust=PEERS) as client:
        with pytest.raises(XKeyMsgError) as caught:
            await client.publish_document(
                "a", {"a": CANARY, "b": {1}}, policy=ALL, readers={"p": "bob"}
            )
        assert leaks(caught.value, SECRETS) == set()


def stream() -> JetStream:
    link: Any = MemoryLink(MemoryNATS())
    link.jetstream_api, link.reconnects, link.timeout = "$JS.API", 0, DEADLINE
    return JetStream(link, Core(ALICE, PEERS, {}))


WRONG: dict[str, Callable[[Any], Any]] = {
    "publish text": lambda client: client.publish("a", CANARY, to="bob"),
    "publish text along a route": lambda client: client.route("a", "bob").publish(CANARY),
    "publish with headers of no text": lambda client: client.publish(
        "a", CANARY.encode(), to="bob", headers=[(CANARY, 1)]
    ),
    "publish a document without a policy": lambda client: client.publish_document(
        "a", {"a": CANARY}, policy=None
    ),
    "request with text": lambda client: client.request("a", CANARY, to="bob"),
    "request with headers of no text": lambda client: client.request(
        "a", CANARY.encode(), to="bob", headers=[(CANARY, 1)]
    ),
    "request of many with text": lambda client: client.request_many("a", CANARY, to="bob"),
    "publish text into a stream": lambda _: stream().publish("a", CANARY, to="bob"),  # type: ignore[arg-type]
    "publish text into a stream later": lambda _: stream().publish_async("a", CANARY, to="bob"),  # type: ignore[arg-type]
    "publish a document into a stream": lambda _: stream().publish_document(
        "a",
        {"a": CANARY},
        policy=None,  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
async def test_a_wrong_call_of_a_client_has_no_secret_in_any_frame(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[Any], Any], traced: bool
) -> None:
    if traced:
        recording(monkeypatch, Spans())
    async with MemoryNATS().connect(key=ALICE, trust=PEERS) as client:
        with pytest.raises(TypeError) as caught:
            await call(client)
        assert caught.value.__traceback__ is not None
        assert leaks(caught.value, SECRETS) == set()


async def test_what_a_client_is_told_of_has_no_plaintext() -> None:
    """Messages that are refused, handlers whose answer cannot be sealed."""
    told: list[Exception] = []
    wrong: list[Exception] = []

    def note(error: Exception, _: Where) -> None:
        told.append(error)

    async def respond(message: Message) -> None:
        try:
            await bob.respond(message, CANARY)  # type: ignore[arg-type]
        except TypeError as error:
            wrong.append(error)

    async def answer(_: Message) -> Any:
        return Reply(CANARY.encode(), headers={"xkm-a": CANARY})

    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS, on_error=note) as bob,
    ):
        async with bob.serve("ask", answer, subjects="ask"):
            with pytest.raises(ServiceError):
                await alice.request("ask", CANARY.encode(), to="bob")
        async with bob.serve("respond", respond, subjects="respond"):
            await alice.request("respond", CANARY.encode(), to="bob")
        async with bob.subscribe("a", subjects="other"):
            await alice.publish("a", CANARY.encode(), to="bob")
    assert told
    assert wrong
    for error in told + wrong:
        assert leaks(error, SECRETS) == set()


# --- the mechanism --------------------------------------------------------------------------------


def test_what_is_bare_has_nothing_behind_it() -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise XKeyMsgError("why") from error
    except XKeyMsgError as error:
        found = bare(error)
    assert (found.__cause__, found.__context__, found.__traceback__) == (None, None, None)


def test_an_error_that_is_not_ours_keeps_its_traceback() -> None:
    @refusing
    def call() -> None:
        raise KeyError("a bug, whose place has to be found")

    with pytest.raises(KeyError) as caught:
        call()
    assert caught.traceback[-1].name == "call"


def test_an_error_that_is_not_ours_loses_the_variables_of_its_frames() -> None:
    def fail(secret: str) -> None:
        try:
            int(secret)
        except ValueError as error:
            raise KeyError("a bug") from error

    with pytest.raises(KeyError) as caught:
        refusing(fail)(CANARY)
    assert [each.name for each in caught.traceback][1:] == ["fail"]
    frames = [each for error in errors_behind(caught.value) for each in frames_of(error)]
    assert {name: value for name, value in frames if value == CANARY} == {}


@pytest.mark.parametrize("kind", [KeyError, XKeyMsgError])
def test_the_frame_that_caught_an_error_is_in_no_traceback_behind_it(kind: type) -> None:
    """It still runs, so that its variables cannot be cleared."""

    def call(secret: str) -> None:
        try:
            try:
                int(secret)
            except ValueError as error:
                raise kind("a bug") from error
        except Exception as error:
            redact(error)
            raise

    with pytest.raises(kind) as caught:
        call(CANARY)
    frames = [each for error in errors_behind(caught.value) for each in frames_of(error)]
    assert {name: value for name, value in frames if value == CANARY} == {}
    assert [each.name for each in caught.traceback][1:] == []


async def test_a_suspended_task_that_told_of_an_error_goes_on() -> None:
    """Its frame is behind the error that it has handed over; clearing it would end the task."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    release = asyncio.Event()

    async def work() -> str:
        try:
            dict[str, str]()[""]
        except KeyError as error:
            told.set_exception(error)
        await release.wait()
        return "done"

    @client_refusing
    async def wait(secret: str) -> None:
        await told
        raise AssertionError(secret)

    task = asyncio.ensure_future(work())
    with pytest.raises(KeyError) as caught:
        await wait(CANARY)
    assert not any(holds(value, CANARY) for _, value in frames_of(caught.value))
    release.set()
    assert await task == "done"


def test_a_keyring_in_a_frame_shows_no_secret() -> None:
    assert not any(holds(Keyring(BOB), each) for each in SECRETS)
    assert Author(BOB).pair is BOB
