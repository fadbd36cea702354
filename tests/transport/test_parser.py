"""The protocol's parser: any bytes, cut anywhere, are the same messages or a protocol error."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError

from tests.cases import for_each
from xkeymsg.transport import parser
from xkeymsg.transport.parser import StrictParser


class Recorder:
    """In the place of the client: keeps what the parser calls it for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def _process_msg(self, *arguments: object) -> None:
        self.calls.append(("message", *arguments))

    async def _process_ping(self) -> None:
        self.calls.append(("ping",))

    async def _process_pong(self) -> None:
        self.calls.append(("pong",))

    async def _process_err(self, text: str) -> None:
        self.calls.append(("error", text))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.calls.append(("info", repr(info)))


def _run(awaitable: Awaitable[None]) -> None:
    """Run a coroutine that waits for nothing."""
    assert list(awaitable.__await__()) == []


def parse(chunks: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """Feed a parser and return its calls, the last one being the error if there was one."""
    recorder = Recorder()
    strict = StrictParser(recorder)
    try:
        for chunk in chunks:
            _run(strict.parse(chunk))
    except ProtocolError as error:
        recorder.calls.append(("refused", str(error)))
    return recorder.calls


def message(
    subject: bytes,
    sid: int = 1,
    reply: bytes = b"",
    payload: bytes = b"",
    headers: bytes | None = None,
) -> tuple[Any, ...]:
    return ("message", sid, subject, reply, payload, headers)


# --- what the server writes ---------------------------------------------------------------------


@for_each(
    ("line", "calls"),
    [
        (b"PING\r\n", [("ping",)]),
        (b"PONG\r\n", [("pong",)]),
        (b"+OK\r\n", []),
        (b"-ERR 'Authorization Violation'\r\n", [("error", "'authorization violation'")]),
        (b"-ERR\r\n", [("error", "")]),
        (b"-ERR \xff\r\n", [("error", "\ufffd")]),
        (b"-ERR \x1b]0;x\x07\n2026 error forged\r\n", [("error", "?]0;x??2026 error forged")]),
        (b"-ERR " + b"x" * 100_000 + b"\r\n", [("error", "x" * 4096)]),
        (b'INFO {"a":1}\r\n', [("info", "{'a': 1}")]),
        (b'INFO {"a":1} \r\n', [("info", "{'a': 1}")]),
        (b"MSG a 1 0\r\n\r\n", [message(b"a")]),
        (b"MSG a 1 2\r\nhi\r\n", [message(b"a", payload=b"hi")]),
        (b"MSG a 7 r 2\r\nhi\r\n", [message(b"a", 7, b"r", b"hi")]),
        (b"HMSG a 1 2 4\r\nhhpp\r\n", [message(b"a", payload=b"pp", headers=b"hh")]),
        (b"HMSG a 1 r 2 2\r\nhh\r\n", [message(b"a", reply=b"r", headers=b"hh")]),
        (b"HMSG a 1 0 2\r\npp\r\n", [message(b"a", payload=b"pp")]),
        (b"MSG a 1 6\r\nPING\r\n\r\n", [message(b"a", payload=b"PING\r\n")]),
        (b"MSG a\x0b2 1 0\r\n\r\n", [message(b"a\x0b2")]),
        (b"MSG a\x0c2\x0bx 1 \xff 0\r\n\r\n", [message(b"a\x0c2\x0bx", reply=b"\xff")]),
        (b"MSG a\x00 1 0\r\n\r\nPING\r\n", [message(b"a\x00"), ("ping",)]),
    ],
)
def test_the_server_says(line: bytes, calls: list[tuple[Any, ...]]) -> None:
    assert parse([line]) == calls


def test_headers_do_not_carry_over_to_the_next_message() -> None:
    assert parse([b"HMSG a 1 2 4\r\nhhpp\r\nMSG b 1 4\r\npppp\r\n"]) == [
        message(b"a", payload=b"pp", headers=b"hh"),
        message(b"b", payload=b"pppp"),
    ]


@for_each(
    "line",
    [
        b"",
        b" ",
        b"HELLO",
        b"ping",
        b" PING",
        b"MSG",
        b"MSG ",
        b"MSG a",
        b"MSG a 1",
        b"MSG a 1 b c 0",
        b"MSG a  1 0",
        b"MSG a 1 0 ",
        b"MSG a x 0",
        b"MSG a 1 x",
        b"MSG a 1 -1",
        b"MSG a -1 0",
        b"MSG a +1 0",
        b"MSG a 1 +0",
        b"MSG a 1_0 0",
        b"MSG a 1 1_0",
        b"MSG a 1 \t0",
        b"MSG a 1 0\x0b",
        b"MSG a 1 " + b"9" * 5_000,
        b"MSG\ta\t1\t0",
        b"HMSG a 1 0",
        b"HMSG a 1 3 2",
        b"HMSG a 1 -1 0",
        b"HMSG a 1 1 x",
        b"HMSG a 1 r s 0 0",
        b"INFO",
        b"INFO {",
        b"INFO []",
        b"INFO 1",
        b"INFO null",
        b"INFO \xff",
        b"INFO " + b"[" * 100_000,
        b'INFO {"a":' + b"1" * 5_000 + b"}",
        b"PUB a 0",
    ],
)
def test_what_the_server_does_not_say_is_a_protocol_error(line: bytes) -> None:
    [call] = parse([line + b"\r\n"])

    assert call[0] == "refused"


# --- any bytes, cut anywhere --------------------------------------------------------------------

SUBJECTS = st.binary(min_size=1, max_size=12).map(
    lambda data: bytes(byte for byte in data if byte not in b" \t\r\n") or b"a"
)
PAYLOADS = st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", b"PING\r\n", b"MSG a 1 9"]))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """What a real server may write, whoever published it."""
    kind = draw(st.sampled_from(["MSG", "HMSG", "PING", "PONG", "+OK", "-ERR", "INFO"]))
    if kind not in ("MSG", "HMSG"):
        more = {"-ERR": b" 'text'", "INFO": b' {"max_payload":1}'}.get(kind, b"")
        return kind.encode() + more + b"\r\n"
    reply = draw(st.one_of(st.just(b""), SUBJECTS.map(lambda text: text + b" ")))
    headers = draw(PAYLOADS) if kind == "HMSG" else b""
    payload = draw(PAYLOADS)
    sizes = f"{len(headers)} " if kind == "HMSG" else ""
    line = f" {draw(st.integers(1, 99))} ".encode() + reply
    line += f"{sizes}{len(headers) + len(payload)}\r\n".encode()
    return kind.encode() + b" " + draw(SUBJECTS) + line + headers + payload + b"\r\n"


NOISE = st.one_of(
    st.binary(max_size=30),
    st.lists(
        st.sampled_from(
            [b"MSG", b"HMSG", b"INFO", b"-ERR", b"PING", b" ", b"a", b"1", b"\r\n", b"\r", b"{}"]
        ),
        max_size=12,
    ).map(b"".join),
)
STREAMS = st.lists(st.one_of(frames(), NOISE), max_size=6).map(b"".join)


@st.composite
def cut(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> list[bytes]:
    """A stream in pieces, some of them empty."""
    stream = draw(streams)
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *places, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@settings(deadline=None)
@given(chunks=cut(STREAMS))
def test_any_bytes_in_any_pieces_raise_only_a_protocol_error(chunks: list[bytes]) -> None:
    parse(chunks)  # which lets anything else through


@settings(deadline=None)
@given(chunks=cut(STREAMS))
def test_a_stream_is_the_same_however_it_is_cut(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    whole = parse([stream])

    assert parse(chunks) == whole
    assert parse(bytes([byte]) for byte in stream) == whole


@settings(deadline=None)
@given(sent=st.lists(frames(), max_size=6))
def test_what_a_server_may_write_is_never_refused(sent: list[bytes]) -> None:
    calls = parse([b"".join(sent)])

    assert len(calls) == sum(not frame.startswith(b"+OK") for frame in sent)
    assert all(call[0] != "refused" for call in calls)


@settings(deadline=None)
@given(chunks=cut(st.lists(st.integers(20, 44).map(lambda n: b"+OK" + b" " * n)).map(b"\r\n".join)))
@example(chunks=[b"+OK" + b" " * 29 + b"\r", b"\n"])  # just not too long
def test_a_line_that_is_too_long_is_refused_however_it_is_cut(chunks: list[bytes]) -> None:
    limit = parser.MAX_LINE
    parser.MAX_LINE = 32  # type: ignore[misc]
    try:
        assert parse(chunks) == parse([b"".join(chunks)])
    finally:
        parser.MAX_LINE = limit  # type: ignore[misc]


def pieces(total: int, size: int) -> Iterator[bytes]:
    for _ in range(total // size):
        yield b"x" * size


def test_a_line_that_does_not_end_is_not_kept_for_ever() -> None:
    taken = 0

    def stream() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces(1 << 22, 1 << 15):
            taken += len(piece)
            yield piece

    [call] = parse(stream())
    assert call[0] == "refused"
    assert taken < 1 << 21


def test_a_large_payload_is_taken_in_pieces() -> None:
    payload = b"x" * (1 << 20)
    calls = parse([b"MSG a 1 %d\r\n" % len(payload), *pieces(1 << 20, 1 << 15), b"\r\n"])

    assert calls == [message(b"a", payload=payload)]


# --- messages for a sink ------------------------------------------------------------------------


class _Sinks:
    """Takes the messages of some subscriptions, and gives those of the others to the client."""

    def __init__(self, *sids: bytes) -> None:
        self.client = Recorder()
        self.parser = StrictParser(self.client)
        self.calls = self.client.calls
        self.waits: list[tuple[Any, ...]] = []
        for sid in sids:
            self.parser.sinks[sid] = partial(self._take, int(sid))

    def _take(
        self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> Awaitable[None] | None:
        self.calls.append(("message", sid, subject, reply, data, headers or None))
        return self._wait(sid) if sid % 2 else None

    async def _wait(self, sid: int) -> None:
        self.waits.append((sid, len(self.calls)))


@settings(deadline=None)
@given(chunks=cut(st.lists(frames(), max_size=6).map(b"".join)))
def test_a_sink_gets_what_a_subscription_of_the_client_would(chunks: list[bytes]) -> None:
    sinks = _Sinks(*(b"%d" % number for number in range(0, 100, 3)))
    for chunk in chunks:
        _run(sinks.parser.parse(chunk))

    assert sinks.calls == parse(chunks)


def test_what_a_sink_returns_is_awaited_before_the_next_message() -> None:
    sinks = _Sinks(b"1", b"2")
    _run(sinks.parser.parse(b"MSG a 1 0\r\n\r\nMSG a 2 0\r\n\r\nMSG a 1 0\r\n\r\nPING\r\n"))

    assert sinks.waits == [(1, 1), (1, 3)]
    assert len(sinks.calls) == 4


def test_nothing_is_taken_of_a_connection_that_was_given_up_meanwhile() -> None:
    sinks = _Sinks(b"2")

    async def give_up() -> None:
        sinks.parser.reset()

    sinks.parser.sinks[b"1"] = lambda *_: give_up()
    _run(sinks.parser.parse(b"MSG a 1 0\r\n\r\nMSG a 2 0\r\n\r\nMSG a 2 5\r\nhe"))
    assert sinks.calls == []
    _run(sinks.parser.parse(b"PING\r\n"))
    assert sinks.calls == [("ping",)]
