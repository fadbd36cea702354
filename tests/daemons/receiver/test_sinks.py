"""Each sink: what it takes it has, what it does not take it says, and neither shows a message."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import ssl
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.daemons.inside import forget_lines, undead
from tests.daemons.receiver.conftest import make_stream
from tests.running import DEADLINE, until
from tests.transport.authority import CertificateAuthority
from tests.transport.raw import Session, broker
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.processes import Program
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.receiver.config import CommandSink, HTTPSink, NATSSink
from xkeymsg.daemons.receiver.sinks import command as command_module
from xkeymsg.daemons.receiver.sinks.command import Command
from xkeymsg.daemons.receiver.sinks.files import Files
from xkeymsg.daemons.receiver.sinks.http import HTTP
from xkeymsg.daemons.receiver.sinks.nats import open_nats
from xkeymsg.daemons.receiver.sinks.sink import RefusedError, SinkGoneError, UnavailableError
from xkeymsg.daemons.receiver.sinks.stdout import Stdout
from xkeymsg.errors import ConnectionFailedError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

CANARY = "c4n4ry"


def record(number: int = 1, text: str = CANARY, subject: str = "orders.new") -> Record:
    return Record(bytes(15) + bytes([number]), subject, json.dumps({"data": text}).encode() + b"\n")


def section(kind: type[Section], folder: Path = Path("/"), **settings: Any) -> Any:
    [name] = get_args(kind.model_fields["kind"].annotation)
    return kind.model_validate({"kind": name, **settings}, context={"folder": folder})


# --- files ----------------------------------------------------------------------------------------


async def test_a_file_is_whole_private_and_comes_once(tmp_path: Path) -> None:
    sink = Files(tmp_path)
    await sink.deliver([record(1), record(2, "two")])
    await sink.deliver([record(1)])
    files = sorted(tmp_path.iterdir())
    assert [each.name for each in files] == [f"{'00' * 15}{n:02x}.json" for n in (1, 2)]
    assert files[1].read_text() == '{"data": "two"}\n'
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


async def test_two_messages_of_one_id_are_two_files(tmp_path: Path) -> None:
    sink = Files(tmp_path)
    for text in ("one", "two", "one", "two"):
        await sink.deliver([record(1, text)])
    assert sorted(each.read_text() for each in tmp_path.iterdir()) == [
        '{"data": "one"}\n',
        '{"data": "two"}\n',
    ]


async def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    folder, precious = tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("data")
    (folder / f"{'00' * 15}01.json").symlink_to(precious)
    await Files(folder).deliver([record(1)])
    assert precious.read_text() == "data"
    assert len(list(folder.glob("*.json"))) == 2


def _fill(folder: str) -> None:
    """Deliver, in a process that may write so much and no more, and again when it may."""
    sink = Files(Path(folder))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        asyncio.run(sink.deliver([record(1, "small"), record(2, "x" * 5000)]))
        os._exit(10)
    except UnavailableError as error:
        if "x" * 10 in str(error):
            os._exit(11)
    if any("02.json" in each.name or "part" in each.name for each in Path(folder).iterdir()):
        os._exit(12)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    asyncio.run(sink.deliver([record(1, "small"), record(2, "x" * 5000)]))
    os._exit(0)


def test_a_full_disk_leaves_no_half_file_and_is_no_acknowledgement(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(str(tmp_path),))
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == 0
    assert sorted(len(each.read_bytes()) for each in tmp_path.iterdir()) == [18, 5013]


async def test_a_folder_that_is_gone_is_said_and_what_was_left_half_written_removed(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / ".aa.1.part", tmp_path / ".aa.2.part"
    for each in (old, new):
        each.write_text("half")
    os.utime(old, (0, 0))
    sink = Files(tmp_path)
    assert list(tmp_path.iterdir()) == [new]
    new.unlink()
    tmp_path.rmdir()
    with pytest.raises(UnavailableError, match="No such file"):
        await sink.deliver([record()])


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_was_logged_before(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_lines(monkeypatch)


def command(*argv: str, **settings: Any) -> Command:
    return Command(section(CommandSink, command=list(argv), **settings), Log("receiver"))


async def test_a_command_gets_the_lines_of_a_batch_and_its_exit_counts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await command("/bin/sh", "-c", f"cat > {out}").deliver([record(1, "a"), record(2, "b")])
    assert [json.loads(line)["data"] for line in out.read_text().splitlines()] == ["a", "b"]
    for code, kind in ((1, RefusedError), (65, RefusedError), (75, UnavailableError)):
        with pytest.raises(kind, match=f"exited with {code}"):
            await command("/bin/sh", "-c", f"exit {code}").deliver([record()])


async def test_a_command_that_reads_nothing_of_much_is_no_hang(tmp_path: Path) -> None:
    much = [record(1, "x" * 1_000_000)]
    await command("/bin/true").deliver(much)
    with pytest.raises(RefusedError):
        await command("/bin/false").deliver(much)


@pytest.mark.parametrize("session", ["", "setsid "])
async def test_a_command_that_takes_too_long_is_killed_with_what_it_started(
    tmp_path: Path, session: str
) -> None:
    if session and not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    pids = tmp_path / "pids"
    script = f"{session}sleep 600 & echo $! >{pids}; wait"
    seconds = 0.25
    while not (pids.exists() and pids.read_text()):  # it has to come so far
        seconds *= 2
        with pytest.raises(UnavailableError, match=f"more than {seconds:g} s"):
            await command("/bin/sh", "-c", script, timeout=seconds).deliver([record()])
    child = int(pids.read_text())
    await until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


LEFT_BEHIND = "setsid sleep 600 & echo $! > {pids}; "
"""A process in a session of its own, which holds stdin and stderr of the command open."""


async def left_behind(pids: Path) -> int:
    await until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    return int(pids.read_text())


@pytest.mark.parametrize("stderr", ["discard", "log"])
@pytest.mark.parametrize("code", [0, 1, 75])
async def test_the_exit_of_a_command_counts_whatever_it_leaves_behind(
    tmp_path: Path, stderr: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "receiver")
    pids = tmp_path / "pids"
    # With much on stdin that nobody reads: its other end stays open too.
    script = LEFT_BEHIND.format(pids=pids) + f"echo said >&2; exit {code}"
    sink = command("/bin/sh", "-c", script, stderr=stderr, timeout=DEADLINE)
    try:
        async with asyncio.timeout(DEADLINE / 2):
            with contextlib.suppress(RefusedError, UnavailableError):
                await sink.deliver([record(1, "x" * 1_000_000)])
                assert code == 0
    finally:
        os.kill(await left_behind(pids), signal.SIGKILL)
    said = [vars(line)["fields"]["stderr"] for line in caplog.records]
    assert said == (["said\n"] if stderr == "log" else [])


async def test_a_process_left_behind_that_writes_for_ever_is_no_hang(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"setsid sh -c 'while :; do echo x; done' >&2 & echo $! > {pids}"
    try:
        async with asyncio.timeout(DEADLINE):
            await command("/bin/sh", "-c", script, stderr="log").deliver([record()])
        # It ends of itself: nobody reads any more.
        await until(lambda: not is_running(int(pids.read_text())))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(await left_behind(pids), signal.SIGKILL)


async def test_a_command_that_no_signal_ends_holds_up_its_sink_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = command("/bin/sh", "-c", "sleep 600", timeout=0.1)
    monkeypatch.setattr(Program, "kill", lambda _: None)
    monkeypatch.setattr(command_module, "KILLED", 0.1)
    with pytest.raises(UnavailableError, match="still runs, although it was killed"):
        await sink.deliver([record()])
    with pytest.raises(UnavailableError, match="an earlier command still runs"):
        await sink.deliver([record()])
    monkeypatch.undo()
    [program] = undead(sink)
    program.kill()
    await program.exited(DEADLINE)
    with pytest.raises(UnavailableError, match=r"more than 0\.1 s"):
        await sink.deliver([record()])


async def test_stderr_that_is_discarded_is_the_null_device(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await command("/bin/sh", "-c", f"ls -l /proc/self/fd/2 > {out}").deliver([record()])
    assert out.read_text().rstrip().endswith("-> /dev/null")


async def test_a_command_needs_no_thread_and_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for script in ("cat >&2", "exit 0", "exit 75", "sleep 600"):
        sink = command("/bin/sh", "-c", script, stderr="log", timeout=0.5)
        with contextlib.suppress(UnavailableError):
            await sink.deliver([record(1, "x" * 1_000_000)])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_a_command_has_no_shell_and_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("XKEYMSG_RECEIVER__NATS__PASSWORD", CANARY)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    script = f'env > {out}; echo "$1" >> {out}'
    argv = ("/bin/sh", "-c", script, "sh", "$(id) ; `id`")
    await command(*argv, environment={"MINE": "yes"}).deliver([record()])
    text = out.read_text()
    assert "MINE=yes" in text
    assert "$(id) ; `id`" in text
    assert CANARY not in text
    assert "NOTIFY_SOCKET" not in text


async def test_what_a_command_says_is_in_the_log_only_if_that_is_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "receiver")
    await command("/bin/sh", "-c", "cat >&2").deliver([record()])
    assert caplog.records == []
    loud = command("/bin/sh", "-c", "yes | head -c 1000000 >&2", stderr="log")
    await loud.deliver([record()])
    [line] = caplog.records
    assert len(vars(line)["fields"]["stderr"]) <= 4096


async def test_a_command_that_is_not_there_any_more_is_said(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    sink = command(str(program))
    with pytest.raises(UnavailableError, match="cannot start the command"):
        await sink.deliver([record()])


# --- HTTP -----------------------------------------------------------------------------------------


@dataclass
class Endpoint:
    """An HTTP server that answers what a test says, and keeps what it was sent."""

    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append((headers | {"": head[0]}, body))
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        await self.serve(reader, writer)


@asynccontextmanager
async def endpoint(
    tls: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncIterator[Endpoint]:
    made = Endpoint()
    if path is None:
        server: asyncio.Server = await asyncio.start_server(
            made.handle, "127.0.0.1", 0, ssl=tls, ssl_handshake_timeout=DEADLINE if tls else None
        )
        made.port = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(made.handle, path)
    async with server:
        yield made
        if made.tasks:
            await asyncio.wait(made.tasks, timeout=DEADLINE)


@asynccontextmanager
async def http(url: str, folder: Path = Path("/"), **settings: Any) -> AsyncIterator[HTTP]:
    sink = HTTP(section(HTTPSink, folder, url=url, **settings))
    try:
        yield sink
    finally:
        await sink.close()


async def test_a_batch_is_posted_with_a_name_that_is_the_same_when_it_comes_again(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    async with endpoint() as server:
        url = f"http://127.0.0.1:{server.port}/in?x=1"
        async with http(url, tmp_path, bearer_file="token") as sink:
            await sink.deliver([record(1)])
            await sink.deliver([record(1), record(2)])
            await sink.deliver([record(1), record(2)])
    (one, body), (two, lines), (again, _) = server.requests
    assert body == record(1).line
    assert lines == record(1).line + record(2).line
    assert one["idempotency-key"] == record(1).id.hex()
    assert two["idempotency-key"] == again["idempotency-key"] != one["idempotency-key"]
    assert one["authorization"] == "bearer s3cret"
    assert one[""] == "POST /in?x=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad", RefusedError),
        ("422 No", RefusedError),
        ("408 Late", UnavailableError),
        ("429 Slow", UnavailableError),
        ("500 Oops", UnavailableError),
        ("503 Away", UnavailableError),
        ("301 Moved", RefusedError),
        ("304 Same", RefusedError),
        ("199 What", UnavailableError),
    ],
)
async def test_only_2xx_takes_it_and_the_answer_is_not_repeated(
    status: str, kind: type[Exception]
) -> None:
    async with endpoint() as server:
        server.answer = (
            f"HTTP/1.1 {status}\r\nContent-Length: 6\r\nRetry-After: 7\r\n\r\n{CANARY}".encode()
        )
        async with http(f"http://127.0.0.1:{server.port}/") as sink:
            with pytest.raises(kind) as caught:
                await sink.deliver([record()])
    assert CANARY not in str(caught.value)
    if status[:3] in ("429", "503"):
        assert isinstance(caught.value, UnavailableError)
        assert caught.value.retry_after == 7


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirection_is_not_followed(code: int) -> None:
    async with endpoint() as elsewhere, endpoint() as server:
        server.answer = (
            f"HTTP/1.1 {code} Go\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()
        async with http(f"http://127.0.0.1:{server.port}/") as sink:
            with pytest.raises(RefusedError):
                await sink.deliver([record()])
    assert elsewhere.requests == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint() as proxy, endpoint() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with http(f"http://127.0.0.1:{server.port}/") as sink:
            await sink.deliver([record()])
    assert (len(proxy.requests), len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx", b"\xff" * 100],
)
async def test_what_is_no_answer_is_no_acknowledgement(answer: bytes) -> None:
    async with endpoint() as server:
        server.answer = answer
        async with http(f"http://127.0.0.1:{server.port}/") as sink:
            with pytest.raises(UnavailableError, match="no response"):
                await sink.deliver([record()])


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    async with endpoint() as server:
        port = server.port
    async with http(f"http://127.0.0.1:{port}/") as sink:
        with pytest.raises(UnavailableError):
            await sink.deliver([record()])

    async with endpoint() as slow:

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()

        slow.serve = hold  # type: ignore[method-assign]
        async with http(f"http://127.0.0.1:{slow.port}/", timeout=0.2) as sink:
            with pytest.raises(UnavailableError, match="Timeout"):
                await sink.deliver([record()])


async def test_a_server_that_answers_a_byte_at_a_time_is_not_waited_for() -> None:
    async with endpoint() as slow:

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0.05)
            writer.close()

        slow.serve = drip  # type: ignore[method-assign]
        async with http(f"http://127.0.0.1:{slow.port}/", timeout=0.3) as sink:
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(UnavailableError, match="Timeout"):
                    await sink.deliver([record()])


async def test_a_unix_socket_is_this_machine(tmp_path: Path) -> None:
    async with (
        endpoint(path=tmp_path / "in.sock") as server,
        http("http://127.0.0.1/in", tmp_path, socket="in.sock") as sink,
    ):
        await sink.deliver([record()])
    assert len(server.requests) == 1


async def test_tls_verifies_who_is_there(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    issued = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # of failed handshakes
    async with endpoint(context) as server:
        url, ca = f"https://127.0.0.1:{server.port}/", str(authority.path)
        async with http(url, tls_ca=ca) as sink:
            await sink.deliver([record()])
        assert len(server.requests) == 1
        # An authority that is not the one believed in; and another name than the certificate's.
        other = CertificateAuthority(tmp_path, "other")
        for where, believed in (
            (url, None),
            (url, str(other.path)),
            (url.replace("127.0.0.1", "localhost"), ca),
        ):
            settings: dict[str, Any] = {} if believed is None else {"tls_ca": believed}
            async with http(where, **settings) as sink:
                with pytest.raises(UnavailableError):
                    await sink.deliver([record()])
        assert len(server.requests) == 1


# --- NATS -----------------------------------------------------------------------------------------


async def test_a_subject_of_a_local_server_gets_the_lines(server: NATSServer) -> None:
    settings = section(NATSSink, servers=[server.url], subject="open.{subject}")
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        heard = await link.subscribe("open.>")
        await link.confirm()
        async with open_nats(settings, "receiver") as sink:
            await sink.deliver([record(1), record(2, "two", "orders.a.b")])
            await sink.close()
        one, two = await heard.next(DEADLINE), await heard.next(DEADLINE)
    assert (one.subject, one.data) == (b"open.orders.new", record(1).line)
    assert two.subject == b"open.orders.a.b"


async def test_a_stream_keeps_a_message_once_and_two_of_one_id_twice(
    jetstream_server: NATSServer,
) -> None:
    server = jetstream_server
    settings = section(NATSSink, servers=[server.url], subject="open", jetstream=True)
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        api = await make_stream(link, "OPEN", "open")
        for _ in range(2):  # the second is one that was killed before it could acknowledge
            async with open_nats(settings, "receiver") as sink:
                await sink.deliver([record(1, "one"), record(1, "two"), record(2, "three")])
                await sink.close()
        state = (await api.request("STREAM.INFO.OPEN"))["state"]
    assert state["messages"] == 3


async def test_a_stream_that_is_not_there_is_said(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(StreamPublisher, no_stream=0.1)
    monkeypatch.setattr("xkeymsg.daemons.receiver.sinks.nats.StreamPublisher", quick)
    settings = section(NATSSink, servers=[jetstream_server.url], subject="open", jetstream=True)
    async with open_nats(settings, "receiver") as sink:
        with pytest.raises(UnavailableError):
            await sink.deliver([record()])
        await sink.close()


async def test_a_line_beyond_what_the_server_takes_is_refused(server: NATSServer) -> None:
    settings = section(NATSSink, servers=[server.url], subject="open")
    async with open_nats(settings, "receiver") as sink:
        with pytest.raises(RefusedError, match="max_payload"):
            await sink.deliver([record(1, "x" * 1_100_000)])
        await sink.close()


async def test_a_line_beyond_what_the_stream_takes_is_refused_and_the_others_stored(
    jetstream_server: NATSServer,
) -> None:
    server = jetstream_server
    settings = section(NATSSink, servers=[server.url], subject="open", jetstream=True)
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        api = API(link)
        config = {"name": "OPEN", "subjects": ["open"], "max_msg_size": 1000}
        await api.request("STREAM.CREATE.OPEN", config)
        async with open_nats(settings, "receiver") as sink:
            with pytest.raises(RefusedError, match="max_msg_size"):
                await sink.deliver([record(1, "x" * 2000), record(2), record(3, "x" * 2000)])
            await sink.close()
        assert (await api.request("STREAM.INFO.OPEN"))["state"]["messages"] == 1


async def test_a_server_elsewhere_gets_them_through_tls_that_verifies_who_is_there(
    tmp_path: Path,
) -> None:
    authority, other = CertificateAuthority(tmp_path), CertificateAuthority(tmp_path, "other")
    own = authority.issue("server")
    with NATSServer(f"tls {{ cert_file: '{own.cert}', key_file: '{own.key}' }}") as server:
        url = f"tls://127.0.0.1:{server.port}"
        trusting: dict[str, Any] = {"subject": "open", "tls_ca": str(authority.path)}
        options = ConnectOptions(servers=(url,), tls_ca=authority.path)
        async with open_link(options) as link:
            heard = await link.subscribe(">")
            await link.confirm()
            async with open_nats(section(NATSSink, servers=[url], **trusting), "receiver") as sink:
                await sink.deliver([record()])
                await sink.close()
            assert (await heard.next(DEADLINE)).data == record().line
            for settings in (
                {**trusting, "servers": [url], "tls_ca": str(other.path)},
                {"servers": [url], "subject": "open"},  # the system's authorities
                {**trusting, "servers": [url.replace("127.0.0.1", "localhost")]},
            ):
                with pytest.raises(ConnectionFailedError, match="certificate"):
                    async with open_nats(section(NATSSink, **settings), "receiver"):
                        pytest.fail("it is believed")
    with NATSServer() as server:
        settings = {**trusting, "servers": [f"tls://127.0.0.1:{server.port}"]}
        with pytest.raises(ConnectionFailedError, match="offers no TLS"):
            async with open_nats(section(NATSSink, **settings), "receiver"):
                pytest.fail("it is believed")


async def test_without_tls_a_local_server_cannot_send_plaintext_to_another() -> None:
    async def listen(session: Session) -> None:
        await session.welcome()
        await session.listen()

    async with broker(listen) as elsewhere:
        urls = [f"localhost:{elsewhere.port}"]  # a name: another host, for all that we know

        async def name_another_and_go(session: Session) -> None:
            await session.welcome(connect_urls=urls)
            await session.info(connect_urls=urls)

        async with broker(name_another_and_go) as local:
            settings = section(NATSSink, servers=[local.url], subject="open", timeout=1.0)
            async with open_nats(settings, "receiver") as sink:
                await local.session(1)
                with pytest.raises(UnavailableError):
                    await sink.deliver([record()])
                await sink.close()
        assert elsewhere.sessions == []


# --- stdout ---------------------------------------------------------------------------------------


async def test_a_pipe_gets_whole_lines_and_its_end_is_for_ever() -> None:
    reading, writing = os.pipe()
    sink = Stdout(writing)
    much = [record(number, "x" * 10_000) for number in range(50)]
    read = asyncio.to_thread(_read, reading, sum(len(each.line) for each in much))
    _, data = await asyncio.gather(sink.deliver(much), read)
    assert data == b"".join(each.line for each in much)
    os.close(reading)
    for _ in range(2):
        with pytest.raises(SinkGoneError):
            await sink.deliver([record()])
    os.close(writing)


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(descriptor, 65536)
    return data
