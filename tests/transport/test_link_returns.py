"""Whatever ends a connection, a link comes back; the stock client is shown not to."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from tests.running import DEADLINE
from tests.transport.authority import CertificateAuthority, Nkey, Operator
from tests.transport.inside import TASKS, client_of, task_of
from tests.transport.links import Events, linked, stock, take, to
from tests.transport.raw import Session, broker, frozen, pub, publisher
from xkeymsg.errors import ConnectionFailedError, DeliveryError, PayloadTooLargeError
from xkeymsg.testing import NATSServer
from xkeymsg.transport import keeper
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is spared here by the time between two attempts."""
    monkeypatch.setattr("xkeymsg.transport.keeper.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("xkeymsg.transport.keeper.LONGEST_PAUSE", 0.1)


async def works(link: Link, subject: str = "a") -> None:
    """A message goes out and comes in."""
    subscription = await link.subscribe(subject)
    await link.publish(subject, b"works")
    await link.confirm()
    assert (await subscription.next(DEADLINE)).data == b"works"
    await subscription.unsubscribe()


# --- the login ends -----------------------------------------------------------------------------


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def guarded(operator: Operator) -> Iterator[NATSServer]:
    with NATSServer(operator.config) as running:
        yield running


def soon() -> int:
    """A moment that is near, in whole seconds as JWTs have it."""
    return int(time.time()) + 3


async def test_an_expired_login_is_renewed_from_its_file(
    tmp_path: Path, operator: Operator, guarded: NATSServer
) -> None:
    creds, user = tmp_path / "user.creds", Nkey()
    creds.write_text(operator.creds(user, exp=soon()))
    async with linked(guarded, creds=creds) as (link, events):
        subscription = await link.subscribe("a")
        lost = await events.wait("disconnected")
        await events.wait("error")  # it is expired, and refused
        assert link.state == "reconnecting"

        creds.write_text(operator.creds(user))
        await events.wait("connected")
        await link.publish("a", b"x")
        assert (await subscription.next(DEADLINE)).data == b"x"
    assert "expired" in str(lost.error)


async def test_the_stock_client_closes_when_its_login_expires(
    tmp_path: Path, operator: Operator, guarded: NATSServer
) -> None:
    creds = tmp_path / "user.creds"
    creds.write_text(operator.creds(Nkey(), exp=soon()))
    async with stock(guarded.url, user_credentials=str(creds)) as it:
        await asyncio.wait_for(it.closed.wait(), DEADLINE)
        assert it.client.is_closed


async def test_a_revoked_user_returns_as_another(tmp_path: Path, operator: Operator) -> None:
    creds, user = tmp_path / "user.creds", Nkey()
    creds.write_text(operator.creds(user))
    with NATSServer(operator.managed) as server:
        async with linked(server, creds=creds) as (link, events):
            await operator.revoke(server, user)
            lost = await events.wait("disconnected")
            await events.wait("error", 2)

            creds.write_text(operator.creds(Nkey()))
            await events.wait("connected")
            await works(link)
    assert "revoked" in str(lost.error)


async def test_the_stock_client_closes_when_its_user_is_revoked(
    tmp_path: Path, operator: Operator
) -> None:
    creds, user = tmp_path / "user.creds", Nkey()
    creds.write_text(operator.creds(user))
    with NATSServer(operator.managed) as server:
        async with stock(server.url, user_credentials=str(creds)) as it:
            await operator.revoke(server, user)
            await asyncio.wait_for(it.closed.wait(), DEADLINE)
            assert it.client.is_closed


def users(*keys: Nkey) -> str:
    return f"authorization {{ users: [{', '.join(f'{{nkey: {key.public}}}' for key in keys)}] }}"


async def test_a_rotated_key_is_read_anew(tmp_path: Path) -> None:
    before, after, seed = Nkey(), Nkey(), tmp_path / "user.nk"
    seed.write_text(before.seed)
    with NATSServer(users(before)) as server:
        async with linked(server, nkey=seed) as (link, events):
            server.reload(users(after))
            await events.wait("disconnected")
            refused = await events.wait("error", 2)

            seed.write_text(after.seed)
            await events.wait("connected")
            await works(link)
    assert "the server refused the login" in str(refused.error)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of each attempt
async def test_the_stock_client_does_not_take_a_rotated_key(tmp_path: Path) -> None:
    before, after, seed = Nkey(), Nkey(), tmp_path / "user.nk"
    seed.write_text(before.seed)
    with NATSServer(users(before)) as server:
        options = {"nkeys_seed": str(seed), "max_reconnect_attempts": 5}
        async with stock(server.url, **options) as it:
            seed.write_text(after.seed)
            server.reload(users(after))
            await asyncio.wait_for(it.closed.wait(), DEADLINE)
            assert it.client.is_closed


async def test_a_login_file_that_is_away_is_tried_again(tmp_path: Path) -> None:
    key, seed = Nkey(), tmp_path / "user.nk"
    seed.write_text(key.seed)
    with NATSServer(users(key)) as server:
        async with linked(server, nkey=seed) as (link, events):
            seed.rename(tmp_path / "away")
            await asyncio.to_thread(server.restart)
            await events.wait("error", 3)

            (tmp_path / "away").rename(seed)
            await events.wait("connected")
            await works(link)


# --- the server ends the connection -------------------------------------------------------------


LARGE = 4000


async def test_a_violation_of_the_payloads_limit_is_survived() -> None:
    with NATSServer(f"max_payload: {LARGE}") as server:
        async with linked(server) as (link, events):
            client_of(link).send(pub(b"a", bytes(LARGE + 1)))
            lost = await events.wait("disconnected")
            await events.wait("connected")
            await works(link)
    assert "maximum payload" in str(lost.error)


async def test_the_stock_client_closes_at_a_violation_of_the_payloads_limit() -> None:
    with NATSServer(f"max_payload: {LARGE}") as server:
        async with stock(server.url) as it:
            await it.client.publish("a", bytes(LARGE), headers={"a": "b"})
            await asyncio.wait_for(it.closed.wait(), DEADLINE)
            assert it.client.is_closed


async def test_a_limit_that_was_lowered_costs_one_connection() -> None:
    with NATSServer("max_payload: 9000") as server:
        async with linked(server) as (link, events):
            server.reload(f"max_payload: {LARGE}")
            while f"max_payload = {LARGE}" not in server.log:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
            await link.publish("a", bytes(LARGE + 1))
            with pytest.raises(DeliveryError, match="maximum payload"):
                await link.confirm()
            await events.wait("connected")
            with pytest.raises(PayloadTooLargeError):
                await link.publish("a", bytes(LARGE + 1))
            await works(link)


async def test_a_limit_that_the_server_tells_counts_at_once() -> None:
    info = b'INFO {"max_payload":10}\r\n'
    async with broker(say(info)) as server, linked(server.url) as (link, _):
        async with asyncio.timeout(DEADLINE):
            while link.max_payload != 10:  # noqa: ASYNC110 - the broker says when
                await asyncio.sleep(0.01)
        with pytest.raises(PayloadTooLargeError):
            await link.publish("a", bytes(11))


@pytest.mark.parametrize("said", [b"1000000000000000000000", b"67108865"])
async def test_a_limit_that_no_server_has_does_not_count(said: bytes) -> None:
    # It bounds buffers, too.
    info = b'INFO {"max_payload":%b}\r\n' % said
    async with broker(say(info)) as server, linked(server.url) as (link, _):
        async with asyncio.timeout(DEADLINE):
            while client_of(link).max_payload != int(said):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert link.max_payload == 64 << 20


async def test_a_killed_server_is_returned_to(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        subscription = await link.subscribe("a.*", queue="q")
        await asyncio.to_thread(server.kill)
        await events.wait("error", 2)
        server.start()
        await events.wait("connected")

        await link.publish("a.b", b"x")
        assert (await subscription.next(DEADLINE)).data == b"x"
        assert (link.state, link.reconnects) == ("connected", 1)


async def test_a_server_that_comes_back_often_is_returned_to_as_often(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        for number in range(1, 4):
            await asyncio.to_thread(server.restart)
            await events.wait("connected", number)
            await works(link)
        assert link.reconnects == 3


async def test_another_server_is_gone_to_when_one_is_away(server: NATSServer) -> None:
    with NATSServer() as other:
        events = Events()
        options = ConnectOptions(servers=(server.url, other.url))
        async with open_link(options, events) as link:
            assert server.process is not None
            connected: Any = client_of(link).connected_url
            first = server if connected.port == server.port else other
            await asyncio.to_thread(first.kill)
            await events.wait("connected")
            await works(link)


async def test_a_server_that_was_named_by_another_is_remembered() -> None:
    """The one of the options is gone for ever."""
    with NATSServer() as other:

        async def name_the_other(session: Session) -> None:
            await session.welcome(connect_urls=[f"127.0.0.1:{other.port}"])

        async with broker(name_the_other) as first, linked(first.url) as (link, events):
            first.scripts = (hang_up,)
            await events.wait("connected")
            await works(link)


async def hang_up(_: Session) -> None:
    """Close the connection."""


async def serve(session: Session) -> None:
    await session.welcome()
    await session.serve()


def say(text: bytes) -> Callable[[Session], Any]:
    async def script(session: Session) -> None:
        await session.welcome()
        await session.say(text)
        await session.listen()

    return script


@pytest.mark.parametrize(
    "text",
    [
        b"-ERR 'User Authentication Expired'\r\n",
        b"-ERR 'Secure Connection - TLS Required'\r\n",
        b"-ERR 'Stale Connection'\r\n",
        b"-ERR 'maximum connections exceeded'\r\n",
        b"-ERR \xff\r\n",
        b"NONSENSE\r\n",
        b"INFO {\r\n",
        b'INFO {"connect_urls":3}\r\n',
        b"MSG a 1 99999999999\r\n",
        b"x" * 3_000_000,
    ],
)
async def test_whatever_a_broker_says_leads_to_another_connection(text: bytes) -> None:
    async with broker(say(text), serve) as server, linked(server.url) as (link, events):
        await events.wait("connected")
        await link.confirm()


@pytest.mark.parametrize(
    "text", [b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n", b"+OK\r\n", b"\r\n" * 0]
)
async def test_what_is_no_end_is_none(text: bytes) -> None:
    async with broker(say(text)) as server, linked(server.url) as (link, events):
        await asyncio.sleep(0.05)
        assert link.state == "connected"
        assert not events.of("disconnected")


async def test_a_refusal_in_the_place_of_a_greeting_is_not_one_of_the_next_connection() -> None:
    inbox = b""

    async def gone(session: Session) -> None:
        nonlocal inbox
        await session.welcome()
        while not (line := await session.line()).startswith(b"SUB "):
            assert line
        inbox = line.split()[1]

    async def refusing(session: Session) -> None:
        await session.info()
        while (line := await session.line()) != b"PING\r\n":
            assert line
        text = b"-ERR 'Permissions Violation for Subscription to \"%b\"'\r\n"
        await session.say(text % inbox)

    async with broker(gone, refusing, serve) as server, linked(server.url) as (link, events):
        await events.wait("connected")
        assert inbox.decode() in str(events.of("error")[0].error)
        with pytest.raises(DeliveryError, match="no answer"):
            await link.request("a", b"", timeout=0.1)


async def test_nothing_is_sent_without_tls_when_a_link_returns(
    authority: CertificateAuthority, server_tls: ssl.SSLContext
) -> None:
    async def over_tls(session: Session) -> None:
        await session.info(tls_required=True)
        await session.writer.start_tls(server_tls)
        while (line := await session.line()) != b"PING\r\n":
            assert line
        await session.say(b"PONG\r\n")

    async def over_tls_again(session: Session) -> None:
        await over_tls(session)
        while await session.line() != b"PING\r\n":
            pass  # the subscriptions
        await session.say(b"PONG\r\n")
        await session.line()

    async def plaintext(session: Session) -> None:
        await session.info()
        await session.listen()

    options = {"tls_ca": authority.path, "token": "hunter2"}
    async with (
        broker(over_tls, plaintext, plaintext, over_tls_again) as server,
        linked(server.url, **options) as (_, events),
    ):
        await events.wait("connected")
        assert [bytes(each.received) for each in server.sessions[1:3]] == [b"", b""]
    assert "no TLS" in str(events.of("error")[0].error)


# --- a connection that is dead and does not say so ----------------------------------------------


async def test_a_frozen_server_is_left_and_returned_to(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "WATCH", 0.05)
    async with linked(server, timeout=1.0) as (link, events):
        subscription = await link.subscribe("a")
        with frozen(server):
            lost = await events.wait("disconnected")
            await events.wait("error")
        await events.wait("connected")
        await link.publish("a", b"x")
        assert (await subscription.next(DEADLINE)).data == b"x"
    assert isinstance(lost.error, nats.errors.StaleConnectionError)


async def test_a_quiet_server_is_not_left(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "WATCH", 1.0)  # a busy machine answers within three of them
    async with linked(server, timeout=DEADLINE) as (link, events):
        await asyncio.sleep(4.5)
        assert not events.all
        await works(link)


@pytest.mark.parametrize("task", TASKS)
async def test_a_loop_that_ended_is_noticed_at_once(server: NATSServer, task: str) -> None:
    async with linked(server) as (link, events):
        task_of(client_of(link), task).cancel()
        await events.wait("connected")
        await works(link)


async def test_the_stock_client_does_not_notice_that_its_read_loop_ended(
    server: NATSServer,
) -> None:
    async with stock(server.url) as it:
        subscription = await it.client.subscribe("a")
        await it.client.flush()
        task_of(it.client).cancel()
        async with publisher(server.url) as sender:
            await sender.send(pub(b"a", b"x"))
        with pytest.raises(nats.errors.TimeoutError):
            await subscription.next_msg(0.3)
        assert it.client.is_connected


async def test_a_late_answer_does_no_harm(server: NATSServer) -> None:
    async with linked(server, timeout=1.0) as (link, events):
        subscription = await link.subscribe("a")
        await link.confirm()
        with frozen(server), pytest.raises(DeliveryError, match=r"no answer .* within 1 s"):
            await link.confirm()
        await link.publish("a", b"x")
        await link.confirm()
        assert [each.data for each in await take(subscription, 1)] == [b"x"]
        assert not events.all


# --- the pauses ---------------------------------------------------------------------------------


def test_pauses_grow_with_jitter_up_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    longest = [max(keeper.pause(tries) for _ in range(200)) for tries in (0, 3, 6, 7, 1_000)]

    assert 0.1 < longest[0] <= 0.25 < longest[1] <= 2 < longest[2] <= 16 < longest[3] <= 30
    assert 16 < longest[4] <= 30


async def test_a_server_that_hangs_up_each_time_is_not_hammered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def pause(tries: int) -> float:
        asked.append(tries)
        return 0.001

    monkeypatch.setattr(keeper, "pause", pause)
    async with broker(Session.welcome) as server, linked(server.url) as (_, events):
        await events.wait("disconnected", 6)
    assert asked[:5] == [0, 1, 2, 3, 4]


async def test_the_first_connection_is_refused_at_once(tmp_path: Path) -> None:
    seed = tmp_path / "user.nk"
    seed.write_text(Nkey().seed)
    with NATSServer(users(Nkey())) as server:
        options = to(server.url, nkey=seed, timeout=10 * DEADLINE)
        with pytest.raises(ConnectionFailedError, match="refused the login"):
            async with asyncio.timeout(DEADLINE), open_link(options):
                pass


async def test_an_event_handler_that_raises_ends_nothing(server: NATSServer) -> None:
    faults: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    back = asyncio.Event()

    def on_event(event: Any) -> None:
        if event.kind == "connected":
            back.set()
        raise LookupError(event.kind)

    async with open_link(to(server.url), on_event) as link:
        await asyncio.to_thread(server.restart)
        await asyncio.wait_for(back.wait(), DEADLINE)
        await works(link)
    assert {type(fault) for fault in faults} == {LookupError}
