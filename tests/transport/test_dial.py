"""The first connection is bounded and its errors say what to do; a block leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from nats import errors

from tests.running import DEADLINE
from tests.transport.authority import CertificateAuthority
from tests.transport.inside import reconnecting, replace_handshake, socket_of
from tests.transport.raw import Session, broker
from xkeymsg.errors import ConnectionFailedError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.client import HardenedClient
from xkeymsg.transport.dial import dialled
from xkeymsg.transport.options import ConnectOptions

SECRET = "hunter2"


pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.fixture
def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def full_port() -> Iterator[int]:
    """A loopback port on which connections are not even accepted."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def local(port: int, **settings: Any) -> ConnectOptions:
    return ConnectOptions(servers=(f"nats://127.0.0.1:{port}",), **settings)


async def refusal(options: ConnectOptions) -> str:
    """Connect where it has to fail, and does not hang, and return what the error says."""
    with pytest.raises(ConnectionFailedError) as caught:
        async with asyncio.timeout(DEADLINE), dialled(options):
            pass
    return str(caught.value)


# --- the first connection -----------------------------------------------------------------------


async def test_a_port_nobody_listens_on_is_given_up_in_time(closed_port: int) -> None:
    text = await refusal(local(closed_port, timeout=0.3))

    assert text == (
        f"cannot connect to nats://127.0.0.1:{closed_port}: connection refused; "
        "is the address right, and the server up?"
    )


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    async with broker(Session.listen) as server:
        text = await refusal(local(server.port, timeout=0.3))

        assert (await server.session()).received == b""
    assert f"cannot connect to {server.url}: no answer within 0.3 s;" in text


async def test_a_port_that_accepts_nothing_is_given_up_in_time(full_port: int) -> None:
    text = await refusal(local(full_port, timeout=0.3))

    assert f"nats://127.0.0.1:{full_port}: no answer within 0.3 s;" in text


async def test_a_server_that_does_not_shake_hands_is_given_up_in_time() -> None:
    async with broker(Session.listen) as server:
        text = await refusal(local(server.port, timeout=0.3, tls_first=True))

    assert "no answer within 0.3 s" in text


async def test_a_server_that_says_nothing_after_its_handshake_is_given_up_in_time(
    authority: CertificateAuthority, server_tls: ssl.SSLContext
) -> None:
    async with broker(Session.listen, tls=server_tls) as server:
        options = local(server.port, timeout=0.3, tls_first=True, tls_ca=authority.path)
        text = await refusal(options)

    assert "no answer within 0.3 s" in text


async def test_a_server_that_hangs_up_is_given_up_in_time() -> None:
    async def hang_up(session: Session) -> None:
        await session.info()

    async with broker(hang_up) as server:
        seconds, sessions = 0.2, 0
        while len(server.sessions) - sessions < 2:  # it is tried again, as often as there is time
            seconds, sessions = 2 * seconds, len(server.sessions)
            await refusal(local(server.port, timeout=seconds))


async def test_an_error_names_every_address_and_no_password(closed_port: int) -> None:
    servers = (f"nats://ada:{SECRET}@127.0.0.1:{closed_port}", f"127.0.0.1:{closed_port}")
    text = await refusal(ConnectOptions(servers=servers, timeout=0.2))

    address = f"nats://127.0.0.1:{closed_port}"
    assert f"cannot connect to {address}, {address}: " in text
    assert SECRET not in text
    assert "ada" not in text


async def test_an_error_is_marked_as_one_that_may_pass(closed_port: int) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        async with dialled(local(closed_port, timeout=0.1)):
            pass

    assert caught.value.code == "connection"
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, Exception)


async def test_a_server_that_comes_up_in_time_is_found() -> None:
    first = broker(Session.info)  # shows that the client has tried before the server is up
    async with first as early:
        port = early.port
        waiting = asyncio.create_task(_connect_and_flush(local(port)))
        await early.session()
    with NATSServer(port=port):
        await asyncio.wait_for(waiting, DEADLINE)


async def _connect_and_flush(options: ConnectOptions) -> None:
    async with dialled(options) as client:
        await client.flush()


async def test_the_next_address_is_tried_when_one_is_down(
    closed_port: int, server: NATSServer
) -> None:
    options = ConnectOptions(servers=(f"nats://127.0.0.1:{closed_port}", server.url))
    await asyncio.wait_for(_connect_and_flush(options), DEADLINE)


@pytest.mark.parametrize("form", ["{0}", "nats://{0}", "NATS://{0}", "Nats://{0}", "nats://{0}/"])
async def test_an_address_may_be_written_as(form: str, server: NATSServer) -> None:
    await _connect_and_flush(ConnectOptions(servers=(form.format(f"127.0.0.1:{server.port}"),)))


async def test_the_server_is_told_the_name_of_the_program() -> None:
    async with broker(Session.welcome) as server:
        async with dialled(local(server.port, name="a program")):
            pass
        assert (await server.session()).connect["name"] == "a program"


async def test_inboxes_have_the_prefix_that_was_asked_for(server: NATSServer) -> None:
    async with dialled(local(server.port, inbox_prefix="_ADA")) as client:
        assert client.new_inbox().startswith("_ADA.")


# --- cancellation -------------------------------------------------------------------------------


async def _say_nothing(session: Session) -> None:
    await session.listen()


async def _say_who(session: Session) -> None:
    await session.info()
    await session.listen()


async def _want_tls(session: Session) -> None:
    await session.info(tls_required=True)
    await session.listen()


@pytest.mark.parametrize("script", [_say_nothing, _say_who, _want_tls])
@pytest.mark.parametrize("wait_for", ["accepted", "line"])
async def test_a_cancelled_connection_closes_its_socket(
    script: Callable[[Session], Any], wait_for: str
) -> None:
    met = asyncio.Event()

    async def meet(session: Session) -> None:
        met.set()
        await script(session)

    async with broker(meet) as server:
        connecting = asyncio.create_task(_connect_and_flush(local(server.port)))
        await asyncio.wait_for(met.wait(), DEADLINE)
        if wait_for == "line":
            for _ in range(5):  # so far that the client has read what the server said
                await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(connecting, DEADLINE)

        await server.session()  # its script ends when the client has hung up


async def test_a_connection_is_cancelled_between_two_attempts(closed_port: int) -> None:
    connecting = asyncio.create_task(_connect_and_flush(local(closed_port)))
    done, _ = await asyncio.wait({connecting}, timeout=0.1)
    assert not done
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


def _coincide(monkeypatch: pytest.MonkeyPatch, *, fail: bool) -> asyncio.Event:
    """Let cancellation arrive together with the result of nats-py's wait, which then drops it.

    Python 3.11's `wait_for` does so, now and then; here it happens always.
    """
    reached = asyncio.Event()

    async def greet() -> None:
        reached.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if fail:
            raise errors.Error("at the same moment")

    replace_handshake(monkeypatch, greet)
    return reached


@pytest.mark.parametrize("fail", [True, False])
async def test_a_deadline_that_coincides_with_an_answer_is_kept(
    fail: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _coincide(monkeypatch, fail=fail)
    async with broker(Session.listen) as server:
        await refusal(local(server.port, timeout=0.1))


@pytest.mark.parametrize("fail", [True, False])
async def test_a_cancellation_that_coincides_with_an_answer_is_kept(
    fail: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = _coincide(monkeypatch, fail=fail)
    async with broker(Session.listen) as server:
        connecting = asyncio.create_task(_connect_and_flush(local(server.port)))
        await asyncio.wait_for(reached.wait(), DEADLINE)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(connecting, DEADLINE)


async def test_a_cancellation_that_coincides_with_a_refusal_is_kept(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    reached = asyncio.Event()

    async def refuse(*_: object, **__: object) -> None:
        reached.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    connecting = asyncio.create_task(_connect_and_flush(local(closed_port)))
    await asyncio.wait_for(reached.wait(), DEADLINE)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(connecting, DEADLINE)


@pytest.mark.parametrize("fail", [True, False])
async def test_closing_ends_a_reconnection_that_coincides_with_an_answer(
    fail: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with broker(Session.welcome) as server:
        async with dialled(local(server.port)) as client:
            reached = _coincide(monkeypatch, fail=fail)
            await asyncio.wait_for(reached.wait(), DEADLINE)
        task = reconnecting(client)
        await asyncio.wait({task}, timeout=DEADLINE)

        assert task.done()
        assert client.is_closed


async def test_a_second_try_in_a_task_that_was_cancelled_before_may_succeed(
    server: NATSServer,
) -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await _connect_and_flush(local(server.port))

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(task, DEADLINE)


# --- the end of the block -----------------------------------------------------------------------


async def test_what_was_published_in_the_block_arrives(server: NATSServer) -> None:
    async with dialled(local(server.port)) as receiver:
        subscription = await receiver.subscribe("a")
        await receiver.flush()
        async with dialled(local(server.port)) as sender:
            for number in range(100):
                await sender.publish("a", b"%d" % number)

        assert [(await subscription.next_msg()).data for _ in range(100)] == [
            b"%d" % number for number in range(100)
        ]


async def test_an_error_of_the_block_is_raised_as_it_is(server: NATSServer) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with dialled(local(server.port)):
            raise LookupError("mine")


async def test_a_block_is_left_in_time_while_there_is_no_connection(server: NATSServer) -> None:
    lost = asyncio.Event()
    async with (
        asyncio.timeout(2 * DEADLINE),
        dialled(local(server.port), lambda _: lost.set()) as client,
    ):
        await asyncio.to_thread(server.kill)
        await asyncio.wait_for(lost.wait(), DEADLINE)
        assert client.is_reconnecting

    assert client.is_closed


async def test_a_block_is_left_in_time_when_the_server_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xkeymsg.transport.dial.CLOSE_TIMEOUT", 0.2)

    async def freeze(session: Session) -> None:
        await session.welcome()
        await asyncio.Event().wait()

    async with broker(freeze) as server:
        async with asyncio.timeout(DEADLINE), dialled(local(server.port)) as client:
            with pytest.raises(TimeoutError):  # as a publisher that is kept waiting can be stopped
                await asyncio.wait_for(_publish_for_ever(client), 0.2)
            own = socket_of(client)

        await asyncio.sleep(0)  # which closes the socket
        assert own.fileno() == -1


async def _publish_for_ever(client: HardenedClient) -> None:
    while True:
        await client.publish("a", bytes(1 << 19))


def test_a_program_that_does_not_close_its_client_ends_quietly(server: NATSServer) -> None:
    program = f"""
import asyncio
from xkeymsg.transport.client import HardenedClient

async def main():
    client = HardenedClient()
    await client.connect("{server.url}")
    await client.flush()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert b"Task" not in ended.stderr


# --- what goes wrong on a connection ------------------------------------------------------------


async def _reset(session: Session) -> None:
    """End the connection as the kernel does for a server that was killed."""
    await session.welcome()
    session.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )


async def _serve(session: Session) -> None:
    await session.welcome()
    await session.serve()


async def _talk_nonsense(session: Session) -> None:
    await session.welcome()
    await session.say(b"NONSENSE\r\n")
    await session.listen()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Session.welcome, errors.UnexpectedEOF),
        (_reset, ConnectionResetError),
        (_talk_nonsense, errors.ProtocolError),
    ],
    ids=["end", "reset", "nonsense"],
)
async def test_why_a_connection_was_lost_is_told(
    script: Callable[[Session], Any], kind: type[Exception]
) -> None:
    told: list[Exception] = []
    lost = asyncio.Event()

    def on_error(error: Exception) -> None:
        told.append(error)
        lost.set()

    async with broker(script, _serve) as server, dialled(local(server.port), on_error):
        await asyncio.wait_for(lost.wait(), DEADLINE)
    assert isinstance(told[0], kind)


async def test_what_has_gone_wrong_before_the_connection_stood_is_not_told() -> None:
    told: list[Exception] = []
    async with (
        broker(Session.info, _serve) as server,
        dialled(local(server.port), told.append) as client,
    ):
        await client.flush()
    assert not told


async def test_options_are_not_changed_by_connecting(server: NATSServer) -> None:
    options = local(server.port)
    copy = replace(options)
    await _connect_and_flush(options)

    assert options == copy
