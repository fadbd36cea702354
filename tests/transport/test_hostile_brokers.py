"""What a broker, or somebody between it and us, can make a client do: nothing it should not."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from tests.running import DEADLINE
from tests.transport.authority import CertificateAuthority, Nkey, Operator
from tests.transport.inside import is_encrypted, on_reconnected, replace_pong, task_of
from tests.transport.raw import Script, Session, broker
from xkeymsg.errors import ConnectionFailedError
from xkeymsg.nkey import UserKey
from xkeymsg.testing import NATSServer
from xkeymsg.transport.dial import dialled
from xkeymsg.transport.options import ConnectOptions

SECRET = "hunter2"


pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is spared here by the time between two attempts."""
    monkeypatch.setattr("xkeymsg.transport.dial.RETRY", 0.01)
    monkeypatch.setattr("xkeymsg.transport.client.LINGER", 0.1)


def reconnection(client: Client) -> asyncio.Event:
    """Return what is set when the client has a connection again."""
    event = asyncio.Event()

    async def happened() -> None:
        event.set()

    on_reconnected(client, happened)
    return event


async def refusal(options: ConnectOptions) -> str:
    """Connect where it has to fail, before the time is up, and return what the error says."""
    patient = replace(options, timeout=10 * DEADLINE)
    with pytest.raises(ConnectionFailedError) as caught:
        async with asyncio.timeout(DEADLINE), dialled(patient):
            pass
    return str(caught.value)


# --- TLS that was asked for ---------------------------------------------------------------------


async def plaintext(session: Session) -> None:
    """A server without TLS, or one from which somebody in between took it."""
    await session.info()
    await session.listen()


def over_tls(context: ssl.SSLContext, then: Script, **fields: object) -> Script:
    """A server that asks for TLS, does it, and goes on."""

    async def script(session: Session) -> None:
        await session.info(tls_required=True, **fields)
        await session.writer.start_tls(context)
        while (line := await session.line()) != b"PING\r\n":
            assert line
        await session.say(b"PONG\r\n")
        await then(session)

    return script


async def hang_up(_: Session) -> None:
    """Close the connection."""


@pytest.mark.parametrize("login", ["user", "token", "url"])
@pytest.mark.parametrize("asked", ["scheme", "authority", "certificate"])
async def test_nothing_is_sent_to_a_server_without_the_tls_that_was_asked_for(
    asked: str, login: str, authority: CertificateAuthority
) -> None:
    options = ConnectOptions()
    if login == "user":
        options = replace(options, user="ada", password=SECRET)
    elif login == "token":
        options = replace(options, token=SECRET)
    if asked == "authority":
        options = replace(options, tls_ca=authority.path)
    elif asked == "certificate":
        own = authority.issue("client")
        options = replace(options, tls_cert=own.cert, tls_key=own.key)
    scheme = "tls" if asked == "scheme" else "nats"
    userinfo = f"ada:{SECRET}@" if login == "url" else ""
    async with broker(plaintext) as server:
        url = f"{scheme}://{userinfo}127.0.0.1:{server.port}"
        text = await refusal(replace(options, servers=(url,)))

        assert (await server.session()).received == b""
    assert "the server offers no TLS" in text
    assert SECRET not in text


async def test_only_a_handshake_is_sent_where_tls_comes_first() -> None:
    async with broker(plaintext) as server:
        options = ConnectOptions(servers=(server.url,), token=SECRET, tls_first=True, timeout=2.0)
        with pytest.raises(ConnectionFailedError):
            async with dialled(options):
                pass
        session = await server.session()

    assert session.received.startswith(b"\x16\x03")  # the record of a ClientHello
    assert b"CONNECT" not in session.received
    assert SECRET.encode() not in session.received


async def test_the_stock_client_sends_its_token_without_the_tls_that_was_asked_for() -> None:
    async with broker(Session.welcome) as server:
        client = Client()
        context = ssl.create_default_context()
        await client.connect(server.url.replace("nats", "tls"), token=SECRET, tls=context)
        await client.close()

        assert (await server.session()).connect["auth_token"] == SECRET


async def test_nothing_is_sent_without_tls_on_a_reconnection_and_the_next_with_it_is_used(
    authority: CertificateAuthority, server_tls: ssl.SSLContext
) -> None:
    again = over_tls(server_tls, Session.serve)
    async with broker(over_tls(server_tls, hang_up), plaintext, again) as server:
        options = ConnectOptions(servers=(server.url,), token=SECRET, tls_ca=authority.path)
        async with dialled(options) as client:
            reconnected = reconnection(client)

            assert (await server.session(1)).received == b""
            await asyncio.wait_for(reconnected.wait(), DEADLINE)
        assert (await server.session(2)).connect["auth_token"] == SECRET


async def test_nothing_is_sent_without_tls_to_a_discovered_server(
    authority: CertificateAuthority, server_tls: ssl.SSLContext
) -> None:
    async with broker(plaintext) as discovered:

        async def announce(session: Session) -> None:
            await session.info(tls_required=True, connect_urls=[f"127.0.0.1:{discovered.port}"])

        async with broker(over_tls(server_tls, announce)) as server:
            options = ConnectOptions(servers=(server.url,), token=SECRET, tls_ca=authority.path)
            async with dialled(options):
                assert (await discovered.session()).received == b""


async def test_a_server_that_is_named_before_the_handshake_is_not_believed(
    authority: CertificateAuthority, server_tls: ssl.SSLContext
) -> None:
    # Somebody in between adds a server of his own, with a certificate that is good for its name.
    async with broker(over_tls(server_tls, Session.serve)) as evil:
        urls = [f"localhost:{evil.port}"]
        first = over_tls(server_tls, hang_up, connect_urls=urls)
        async with broker(first, over_tls(server_tls, Session.serve)) as server:
            options = ConnectOptions(servers=(server.url,), token=SECRET, tls_ca=authority.path)
            async with dialled(options) as client:
                await server.connections(2)
                assert client.discovered_servers == []
        assert evil.sessions == []


async def test_what_comes_in_plaintext_before_the_handshake_is_not_taken_for_the_servers(
    authority: CertificateAuthority, server_tls: ssl.SSLContext
) -> None:
    async def script(session: Session) -> None:
        await session.say(b"INFO {\"tls_required\":true}\r\nPONG\r\n-ERR 'injected'\r\n")
        await session.writer.start_tls(server_tls)
        while (line := await session.line()) != b"PING\r\n":
            assert line
        await session.say(b"PONG\r\n")
        await session.serve()

    async with broker(script) as server:
        options = ConnectOptions(servers=(server.url,), tls_ca=authority.path)
        async with dialled(options) as client:
            await client.flush()
            assert client.is_connected
            assert client.last_error is None


# --- the nonce that is to be signed -------------------------------------------------------------

NONCES = {
    "JWT": "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJpc3MiOiJBIn0",
    "header of a JWT": "eyJ0eXAiOiJKV1QifQ.",
    "certificate of an xkey": "xkm1/xkey-certificate\x00" + "A" * 32,
    "spaces": "a nonce",
    "trailing line feed": "A" * 15 + "\n",
    "leading space": " " + "A" * 15,
    "65 characters": "A" * 65,
    "a megabyte": "A" * 30_000,
    "padding": "AAAAAAAAAAA=",
    "empty": "",
    "letters that are not ASCII": "é" * 15,
    "digits that are not ASCII": "٣" * 15,
    "number": 12345,
    "list": ["A" * 15],
    "null": None,
    "true": True,
}


def creds_login(folder: Path) -> tuple[ConnectOptions, Nkey]:
    user, path = Nkey(), folder / "user.creds"
    path.write_text(Operator().creds(user))
    return ConnectOptions(creds=path), user


def nkey_login(folder: Path) -> tuple[ConnectOptions, Nkey]:
    user, path = Nkey(), folder / "user.nk"
    path.write_text(user.seed + "\n")
    return ConnectOptions(nkey=path), user


Login = Callable[[Path], tuple[ConnectOptions, Nkey]]
BOTH_LOGINS = pytest.mark.parametrize("login", [creds_login, nkey_login])


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that a user's key signs."""
    texts: list[bytes] = []
    original = UserKey.sign

    def sign(key: UserKey, data: bytes) -> bytes:
        texts.append(data)
        return original(key, data)

    monkeypatch.setattr(UserKey, "sign", sign)
    return texts


@BOTH_LOGINS
@pytest.mark.parametrize("nonce", NONCES.values(), ids=NONCES)
async def test_a_nonce_that_is_none_is_not_signed_and_nothing_is_sent(
    nonce: object, login: Login, tmp_path: Path, signed: list[bytes]
) -> None:
    async def script(session: Session) -> None:
        await session.info(nonce=nonce, auth_required=True)
        await session.listen()

    options, _ = login(tmp_path)
    async with broker(script) as server:
        text = await refusal(replace(options, servers=(server.url,)))

        assert (await server.session()).received == b""
    assert not signed
    assert "nonce" in text


@BOTH_LOGINS
@pytest.mark.parametrize("nonce", ["A", "aZ09_-", "A" * 64])
async def test_a_nonce_is_signed_by_the_key_of_the_user(
    nonce: str, login: Login, tmp_path: Path
) -> None:
    options, user = login(tmp_path)

    async def script(session: Session) -> None:
        await session.welcome(nonce=nonce, auth_required=True)
        await session.serve()

    async with broker(script) as server:
        async with dialled(replace(options, servers=(server.url,))):
            pass
        said = (await server.session()).connect

    user.verify(nonce.encode(), str(said["sig"]))
    if isinstance(options.creds, Path):
        assert said["jwt"] == options.creds.read_text().splitlines()[1]
        assert "nkey" not in said
    else:
        assert said["nkey"] == user.public
        assert "jwt" not in said


@BOTH_LOGINS
async def test_a_nonce_that_is_none_is_not_signed_on_a_reconnection(
    login: Login, tmp_path: Path, signed: list[bytes]
) -> None:
    async def first(session: Session) -> None:
        await session.welcome(nonce="AAAA", auth_required=True)

    async def second(session: Session) -> None:
        await session.info(nonce=NONCES["JWT"], auth_required=True)
        await session.listen()

    async def third(session: Session) -> None:
        await session.welcome(nonce="BBBB", auth_required=True)
        await session.serve()

    options, _ = login(tmp_path)
    async with broker(first, second, third) as server:
        options = replace(options, servers=(server.url,))
        async with dialled(options) as client:
            reconnected = reconnection(client)

            assert (await server.session(1)).received == b""
            await asyncio.wait_for(reconnected.wait(), DEADLINE)
    assert signed == [b"AAAA", b"BBBB"]


# --- logging in to a real server ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "login"),
    [
        (
            "authorization { user: ada, password: hunter2 }",
            {"user": "ada", "password": SECRET},
        ),
        ("authorization { token: hunter2 }", {"token": SECRET}),
        ("authorization { users: [ { user: ada, password: '' } ] }", {"user": "ada"}),
    ],
    ids=["password", "token", "no password"],
)
async def test_a_login_by_name_works(config: str, login: dict[str, str]) -> None:
    with NATSServer(config) as server:
        options = ConnectOptions(servers=(server.url,)).merged(login)
        async with dialled(options) as client:
            await client.flush()


@pytest.mark.parametrize(
    ("userinfo", "password"),
    [("ada:hunter2", SECRET), ("ada:hunter%402", "hunter@2"), ("ada:%2F%3A%25%3F", "/:%?")],
)
async def test_a_login_in_an_address_works(userinfo: str, password: str) -> None:
    with NATSServer(f'authorization {{ user: ada, password: "{password}" }}') as server:
        address = server.url.replace("nats://", f"nats://{userinfo}@")
        async with dialled(ConnectOptions(servers=(address,))) as client:
            await client.flush()


async def test_a_token_in_an_address_works() -> None:
    with NATSServer("authorization { token: 'hunter@2' }") as server:
        address = server.url.replace("nats://", "nats://hunter%402@")
        async with dialled(ConnectOptions(servers=(address,))) as client:
            await client.flush()


async def test_a_login_by_nkey_works(tmp_path: Path) -> None:
    options, user = nkey_login(tmp_path)
    with NATSServer(f"authorization {{ users: [ {{ nkey: {user.public} }} ] }}") as server:
        async with dialled(replace(options, servers=(server.url,))) as client:
            await client.flush()


async def test_a_login_by_credentials_works(tmp_path: Path) -> None:
    operator, user, path = Operator(), Nkey(), tmp_path / "user.creds"
    path.write_text(operator.creds(user))
    with NATSServer(operator.config) as server:
        async with dialled(ConnectOptions(servers=(server.url,), creds=path)) as client:
            await client.flush()


@pytest.mark.parametrize("kind", ["password", "token", "url", "nkey", "creds"])
async def test_a_refused_login_is_told_at_once_and_without_the_secret(
    kind: str, tmp_path: Path
) -> None:
    operator, user = Operator(), Nkey()
    creds, nkey = tmp_path / "user.creds", tmp_path / "user.nk"
    creds.write_text(Operator().creds(user))  # of another operator
    nkey.write_text(user.seed)
    logins: dict[str, dict[str, Any]] = {
        "password": {"user": "ada", "password": SECRET},
        "token": {"token": SECRET},
        "nkey": {"nkey": nkey},
        "creds": {"creds": creds},
        "url": {},
    }
    with NATSServer(operator.config) as server:
        url = server.url.replace("//", f"//ada:{SECRET}@") if kind == "url" else server.url
        text = await refusal(ConnectOptions(servers=(url,)).merged(logins[kind]))

    assert "the server refused the login" in text
    assert server.url in text
    assert SECRET not in text
    assert user.seed not in text


async def test_a_renewed_credentials_file_is_used_on_the_next_connection(tmp_path: Path) -> None:
    new, path = Nkey(), tmp_path / "user.creds"

    async def first(session: Session) -> None:
        await session.welcome(nonce="AAAA", auth_required=True)
        path.write_text(Operator().creds(new))

    async def second(session: Session) -> None:
        await session.welcome(nonce="BBBB", auth_required=True)
        await session.serve()

    options, _ = creds_login(tmp_path)
    assert options.creds == path
    async with broker(first, second) as server:
        async with dialled(replace(options, servers=(server.url,))) as client:
            await asyncio.wait_for(reconnection(client).wait(), DEADLINE)
        said = (await server.session(1)).connect

    assert said["jwt"] == path.read_text().splitlines()[1]
    new.verify(b"BBBB", str(said["sig"]))


async def test_a_renewed_nkey_is_used_on_the_next_connection(tmp_path: Path) -> None:
    options, old = nkey_login(tmp_path)
    with NATSServer(f"authorization {{ users: [ {{ nkey: {old.public} }} ] }}") as server:
        async with dialled(replace(options, servers=(server.url,))) as client:
            reconnected = reconnection(client)
            _, new = nkey_login(tmp_path)
            server.config = server.config.replace(old.public, new.public)
            await asyncio.to_thread(server.restart)
            await asyncio.wait_for(reconnected.wait(), DEADLINE)
            await client.flush()


@BOTH_LOGINS
async def test_a_login_file_that_is_gone_for_a_while_is_tried_again(
    login: Login, tmp_path: Path
) -> None:
    options, _ = login(tmp_path)
    path = options.creds or options.nkey
    assert isinstance(path, Path)
    elsewhere = tmp_path / "elsewhere"
    told: list[Exception] = []

    async def first(session: Session) -> None:
        await session.welcome(nonce="AAAA", auth_required=True)

    async def second(session: Session) -> None:
        path.rename(elsewhere)
        await session.info(nonce="BBBB", auth_required=True)
        await session.listen()
        elsewhere.rename(path)

    async def third(session: Session) -> None:
        await session.welcome(nonce="CCCC", auth_required=True)
        await session.serve()

    async with broker(first, second, third) as server:
        options = replace(options, servers=(server.url,))
        async with dialled(options, told.append) as client:
            await asyncio.wait_for(reconnection(client).wait(), DEADLINE)

    assert server.sessions[1].received == b""
    assert any(f"cannot read {path}" in str(error) for error in told)


async def test_a_login_that_is_refused_for_a_while_is_tried_again() -> None:
    with NATSServer("authorization { token: hunter2 }") as server:
        options = ConnectOptions(servers=(server.url,), token=SECRET)
        refused = asyncio.Event()

        def on_error(error: Exception) -> None:
            if "authorization violation" in str(error).lower():
                refused.set()

        async with dialled(options, on_error) as client:
            reconnected = reconnection(client)
            server.config = "authorization { token: another }"
            await asyncio.to_thread(server.restart)
            await asyncio.wait_for(refused.wait(), DEADLINE)
            server.config = "authorization { token: hunter2 }"
            await asyncio.to_thread(server.restart)
            await asyncio.wait_for(reconnected.wait(), DEADLINE)


# --- TLS with a real server ---------------------------------------------------------------------


@pytest.fixture
def mutual(authority: CertificateAuthority) -> str:
    """The configuration of a server that demands a certificate of the authority."""
    own = authority.issue("real-server")
    return (
        f"tls {{ cert_file: '{own.cert}', key_file: '{own.key}', "
        f"ca_file: '{authority.path}', verify: true }}"
    )


@pytest.mark.parametrize("scheme", ["nats", "tls"])
@pytest.mark.parametrize("first", [False, True])
async def test_mutual_tls_works(
    scheme: str, first: bool, mutual: str, authority: CertificateAuthority
) -> None:
    own = authority.issue("client")
    config = mutual.replace("verify: true", f"verify: true, handshake_first: {str(first).lower()}")
    with NATSServer(config) as server:
        options = ConnectOptions(
            servers=(server.url.replace("nats", scheme),),
            tls_cert=own.cert,
            tls_key=own.key,
            tls_ca=authority.path,
            tls_first=first,
        )
        async with dialled(options) as client:
            await client.flush()
            assert is_encrypted(client)


async def test_a_server_of_another_authority_is_refused_at_once(
    mutual: str, authority: CertificateAuthority, tmp_path: Path
) -> None:
    stranger, own = CertificateAuthority(tmp_path, "stranger"), authority.issue("client")
    with NATSServer(mutual) as server:
        options = ConnectOptions(
            servers=(server.url,), tls_cert=own.cert, tls_key=own.key, tls_ca=stranger.path
        )
        text = await refusal(options)

    assert "certificate verify failed" in text
    assert "--tlsca" in text


async def test_a_server_whose_certificate_names_another_host_is_refused_at_once(
    mutual: str, authority: CertificateAuthority
) -> None:
    with NATSServer(mutual) as server:
        options = ConnectOptions(servers=(f"tls://localhost:{server.port}",), tls_ca=authority.path)
        text = await refusal(options)

    assert "localhost" in text
    assert "does the certificate name this host" in text


@pytest.mark.parametrize("shown", ["none", "stranger"])
async def test_a_client_without_a_certificate_of_the_authority_is_told_so(
    shown: str, mutual: str, authority: CertificateAuthority, tmp_path: Path
) -> None:
    with NATSServer(mutual) as server:
        options = ConnectOptions(servers=(server.url,), tls_ca=authority.path)
        if shown == "stranger":
            own = CertificateAuthority(tmp_path, "stranger").issue("client")
            options = replace(options, tls_cert=own.cert, tls_key=own.key)
        text = await refusal(options)

    assert "certificate" in text
    assert "--tlscert" in text


# --- what is no NATS ----------------------------------------------------------------------------

GARBAGE = {
    "words": b"HELLO WORLD\r\n",
    "empty line": b"\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "bytes": bytes(range(1, 256)) + b"\r\n",
    "message without fields": b"MSG\r\n",
    "message with too many fields": b"MSG a 1 b c 5\r\n",
    "message with letters for a size": b"MSG a 1 x\r\n",
    "message with a negative size": b"MSG a 1 -1\r\n",
    "message with headers larger than itself": b"HMSG a 1 9 5\r\n",
    "INFO that is not JSON": b"INFO {\r\n",
    "INFO that is not an object": b"INFO []\r\n",
    "INFO that nests without end": b"INFO " + b"[" * 100_000 + b"\r\n",
    "INFO with a number for addresses": b'INFO {"connect_urls":5}\r\n',
    "INFO with an invalid address": b'INFO {"connect_urls":["["]}\r\n',
    "line without an end": b"INFO " + b"x" * (1 << 20),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_from_the_server_leads_to_a_reconnection(garbage: bytes) -> None:
    async def first(session: Session) -> None:
        await session.welcome()
        await session.say(garbage)
        await session.listen()

    async def second(session: Session) -> None:
        await session.welcome()
        await session.serve()

    async with broker(first, second) as server:
        options = ConnectOptions(servers=(server.url,))
        async with dialled(options) as client:
            await asyncio.wait_for(reconnection(client).wait(), DEADLINE)
            await client.flush()


async def test_whatever_else_raises_while_reading_leads_to_a_reconnection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def raise_it(_: Client) -> None:
        raise LookupError("a fault of nats-py's")

    async def first(session: Session) -> None:
        await session.welcome()
        await session.say(b"PING\r\n")
        await session.listen()

    async def second(session: Session) -> None:
        await session.welcome()
        await session.serve()

    replace_pong(monkeypatch, raise_it)
    async with broker(first, second) as server:
        options = ConnectOptions(servers=(server.url,))
        async with dialled(options) as client:
            await asyncio.wait_for(reconnection(client).wait(), DEADLINE)
            await client.flush()


async def test_garbage_from_the_server_silences_the_stock_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(session: Session) -> None:
        await session.welcome()
        await session.say(GARBAGE["INFO that is not JSON"])
        await session.listen()

    async with broker(script) as server:
        client = Client()
        with caplog.at_level(logging.CRITICAL):
            await client.connect(server.url)
            await asyncio.wait_for(task_of(client), DEADLINE)

        assert client.is_connected
        assert not client.is_reconnecting
        await client.close()


GREETINGS = {
    "nothing": b"",
    "words": b"HELLO WORLD\r\n",
    "INFO without anything": b"INFO\r\n",
    "INFO that is not JSON": b"INFO {\r\n",
    "INFO that is not an object": b"INFO []\r\n",
    "INFO that nests without end": b"INFO " + b"[" * 20_000 + b"\r\n",
    "INFO that is not UTF-8": b"INFO \xff\r\n",
    "INFO longer than is read": b"INFO " + b"x" * 40_000 + b"\r\n",
    "INFO with a number for addresses": b'INFO {"connect_urls":5}\r\n',
    "INFO with an invalid address": b'INFO {"connect_urls":["["]}\r\n',
    "INFO with words for a size": b'INFO {"max_payload":"much"}\r\nPONG\r\n',
    "INFO, then no PONG": b"INFO {}\r\n+OK\r\n",
    "INFO, then an error not UTF-8": b"INFO {}\r\n-ERR \xff\r\n",
    "INFO, then an error cut short": b"INFO {}\r\n-ERR\r\n",
}


def greet(greeting: bytes) -> Script:
    async def script(session: Session) -> None:
        if greeting:
            await session.say(greeting)
            await session.listen()

    return script


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
async def test_garbage_in_the_place_of_a_greeting_is_an_error_of_ours(greeting: bytes) -> None:
    async with broker(greet(greeting)) as server:
        options = ConnectOptions(servers=(server.url,), timeout=0.2)
        with pytest.raises(ConnectionFailedError) as caught:
            async with dialled(options):
                pass

    assert server.url in str(caught.value)


async def test_what_is_said_in_the_place_of_a_greeting_cannot_act_on_a_terminal() -> None:
    said = b"INFO {}\r\n-ERR '\x1b]0;x\x07\xe2\x80\xae" + b"x" * 20_000 + b"'\r\n"
    async with broker(greet(said)) as server:
        options = ConnectOptions(servers=(server.url,), timeout=1.0)
        with pytest.raises(ConnectionFailedError, match=r"'\?\]0;x\?\?xxx") as caught:
            async with dialled(options):
                pass

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
async def test_garbage_in_the_place_of_a_greeting_does_not_end_a_reconnection(
    greeting: bytes,
) -> None:
    async def again(session: Session) -> None:
        await session.welcome()
        await session.serve()

    async with broker(Session.welcome, greet(greeting), again) as server:
        async with dialled(ConnectOptions(servers=(server.url,))) as client:
            subscription = await client.subscribe("a")
            await asyncio.wait_for(reconnection(client).wait(), DEADLINE)
            await server.sessions[-1].say(b"MSG a 1 5\r\nhello\r\n")

            assert (await subscription.next_msg()).data == b"hello"
        # No socket of a connection that came to nothing is left open.
        await server.session(1)


async def test_a_broker_that_stops_reading_is_left_for_one_that_does() -> None:
    """The bytes that it does not take must not hold up the connection to another."""

    async def frozen(session: Session) -> None:
        await session.welcome()
        await asyncio.Event().wait()

    async def alive(session: Session) -> None:
        await session.welcome()
        await session.serve()

    async with broker(frozen, alive) as server:
        options = ConnectOptions(servers=(server.url,))
        async with dialled(options) as client:
            reconnected = reconnection(client)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_publish_for_ever(client), 0.2)
            await client.force_reconnect()

            await asyncio.wait_for(reconnected.wait(), DEADLINE)


async def test_a_ping_that_did_not_get_through_is_not_sent_on_the_next_connection() -> None:
    """Its PONG would be taken for that of the next flush, which would return too early."""

    async def frozen(session: Session) -> None:
        await session.welcome()
        await asyncio.Event().wait()

    async def alive(session: Session) -> None:
        await session.welcome()
        del session.received[:]
        await session.serve()

    async with broker(frozen, alive) as server:
        async with dialled(ConnectOptions(servers=(server.url,))) as client:
            reconnected = reconnection(client)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_publish_for_ever(client), 0.2)
            with pytest.raises(nats.errors.FlushTimeoutError):
                await client.flush(timeout=0.05)  # type: ignore[arg-type]
            await client.force_reconnect()
            await asyncio.wait_for(reconnected.wait(), DEADLINE)
        received = (await server.session(1)).received

    assert received.count(b"PING\r\n") == 1  # nats-py's own, at the end of a reconnection


async def _publish_for_ever(client: Client) -> None:
    while True:
        await client.publish("a", bytes(1 << 19))
