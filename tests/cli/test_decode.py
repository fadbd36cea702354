"""`xkeymsg decode`: envelopes in, JSON out, for the programs that the user has chosen alone."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import DEADLINE, ROOT, Program, run_here
from xkeymsg import (
    ANYONE,
    AtRest,
    Opener,
    PeersFile,
    Policy,
    UserKey,
    XKeyPair,
    armour,
    xkv1,
)
from xkeymsg.cli import decoder as decoding
from xkeymsg.cli.decoder import MOST_BODY, Decoder
from xkeymsg.cli.web.guard import local_hosts
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.sealer import Sealer
from xkeymsg.trust.stores.file import write_seed

ALICE, BOB, EVE = (XKeyPair.generate() for _ in range(3))
TOKEN = "the-token"
UI = "http://localhost:31311"
BEARER = {"authorization": f"Bearer {TOKEN}"}
BINARY = BEARER | {"content-type": "application/octet-stream"}
SECRET = "Ada Lovelace"


@pytest.fixture
def peers(tmp_path: Path) -> PeersFile:
    path = tmp_path / "peers.toml"
    path.write_text(f'peers.alice = {{ xkey = "{ALICE.public}", subjects = ["orders.>"] }}\n')
    return PeersFile(path)


@pytest.fixture
def decoder(peers: PeersFile) -> Decoder:
    opener = Opener(BOB, peers, replay=AtRest())
    return Decoder(opener, subject=">", token=TOKEN, peers=peers, origins=[UI])


def client_of(decoder: Decoder) -> httpx.AsyncClient:
    app: Any = decoder.guarded(local_hosts("127.0.0.1:8481"))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8481", timeout=DEADLINE
    )


@pytest.fixture
async def client(decoder: Decoder) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(decoder) as client:
        yield client


def sealed(data: bytes = SECRET.encode(), subject: str = "orders.new", **more: Any) -> bytes:
    return Sealer(ALICE).seal(data, to=[BOB.public], subject=subject, **more)


async def test_a_message_in_each_form(client: httpx.AsyncClient) -> None:
    envelope = sealed(headers={"A": "1"}, content_type="text/plain")
    data = base64.b64encode(envelope).decode()
    stored = {"subject": "orders.new", "seq": 1, "data": data, "hdrs": "", "time": ""}
    forms: list[tuple[dict[str, str], str, bytes | str]] = [
        (BINARY, "", envelope),
        (BINARY, "?subject=orders.new", envelope),
        (BINARY, "", armour(envelope)),
    ]
    messages: list[dict[str, Any]] = [
        {"data": data},
        {"data": data, "subject": "orders.new", "headers": {"sender": "x"}},
        {"Subject": "orders.new", "Reply": "", "Header": {}, "Data": data},
        {"type": "io.nats.jetstream.api.v1.stream_msg_get_response", "message": stored},
    ]
    as_json = BEARER | {"content-type": "application/json"}
    forms += [(as_json, "", json.dumps(each)) for each in messages]
    for headers, query, body in forms * 2:  # again: looking at a message is no delivery
        answer = await client.post(f"/decode{query}", headers=headers, content=body)
        assert answer.status_code == 200
        found = answer.json()
        assert (found["opened"], found["authenticated"], found["signed"]) == (True, True, False)
        assert found["peer"] == "alice"
        message = found["message"]
        assert (message["data"], message["subject"], message["headers"]) == (
            SECRET,
            "orders.new",
            [["A", "1"]],
        )
        assert found["envelope"]["sender"] == message["sender"] == str(ALICE.public)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers


async def test_a_document_has_the_fields_of_the_reader(client: httpx.AsyncClient) -> None:
    policy = Policy([("/name", ["bob"]), ("/**", ["eve"])])
    readers = {"bob": [BOB.public], "eve": [EVE.public]}
    document = {"name": SECRET, "weight": 1.5, "notes": ["a", "b"]}
    envelope = Sealer(ALICE).seal_document(
        document, policy=policy, readers=readers, subject="orders.new"
    )
    found = (await client.post("/decode", headers=BINARY, content=envelope)).json()
    assert found["message"]["document"] == {"name": SECRET}
    assert found["message"]["withheld"] == 1
    assert len(found["envelope"]["parts in each view"]) == 2


async def test_the_page_of_the_documentation_shows_what_is_answered(
    client: httpx.AsyncClient,
) -> None:
    page = (ROOT / "docs" / "decode.md").read_text()
    opened, refused = map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    policy = Policy([("/item", ["bob"]), ("/**", ["eve"])])
    readers = {"bob": [BOB.public], "eve": [EVE.public]}
    envelope = Sealer(ALICE).seal_document(
        {"item": "lamp", "price": 1}, policy=policy, readers=readers, subject="orders.new"
    )
    for query, shown in (("", opened), ("?subject=orders.old", refused)):
        answer = await client.post(f"/decode{query}", headers=BINARY, content=envelope)
        found = answer.json()
        assert found.keys() == shown.keys()
        for name, value in shown.items():
            if isinstance(value, dict):
                assert value.keys() <= found[name].keys()
            elif value != "…":
                assert found[name] == value
    assert found["envelope"]["recipients"] == opened["envelope"]["recipients"]
    assert f"{MOST_BODY >> 20} MiB" in page


async def test_a_signature_is_told(tmp_path: Path) -> None:
    user = UserKey(encode_seed(Prefix.USER, bytes(range(32))))
    path = tmp_path / "peers.toml"
    path.write_text(
        f'[peers.alice]\nxkey = "{ALICE.public}"\nuser = "{user.public_key.decode()}"\n'
        'subjects = [">"]\n'
    )
    peers = PeersFile(path)
    opener = Opener(BOB, peers, replay=AtRest())
    envelope = Sealer(ALICE, signer=user).seal(b"x", to=[BOB.public], subject="orders.new")
    async with client_of(Decoder(opener, subject=">", token=TOKEN, peers=peers)) as client:
        found = (await client.post("/decode", headers=BINARY, content=envelope)).json()
    assert found["signed"]
    assert found["message"]["signer"] == user.public_key.decode()


async def test_a_refusal_says_its_code(client: httpx.AsyncClient, peers: PeersFile) -> None:
    envelope = sealed()
    tampered = envelope[:-1] + bytes([envelope[-1] ^ 1])
    of_eve = Sealer(EVE).seal(b"x", to=[BOB.public], subject="orders.new")
    to_eve = Sealer(ALICE).seal(b"x", to=[EVE.public], subject="orders.new")
    for query, body, code, public in (
        ("", b"plaintext", "malformed", "undecryptable"),
        ("", b"", "malformed", "undecryptable"),
        ("", of_eve, "sender_not_admitted", "undecryptable"),
        ("", to_eve, "not_a_recipient", "undecryptable"),
        ("", tampered, "authentication", "undecryptable"),
        ("?subject=orders.old", envelope, "subject_mismatch", "refused"),
        ("?subject=%ff", envelope, "subject_mismatch", "refused"),
        ("", sealed(subject="other.new"), "sender_not_admitted", "undecryptable"),
        ("", xkv1.seal(b"x", key=ALICE, to=BOB.public), "unsupported_version", "undecryptable"),
        ("", b"-----BEGIN XKEYMSG ENVELOPE-----\nx", "malformed", "undecryptable"),
    ):
        answer = await client.post(f"/decode{query}", headers=BINARY, content=body)
        found = answer.json()
        assert (answer.status_code, found["opened"]) == (422, False)
        assert (found["code"], found["public_code"]) == (code, public), body[:20]
        assert found["explanation"]
        assert "message" not in found
        assert SECRET not in answer.text
    peers.path.write_text(f'peers.eve = {{ xkey = "{EVE.public}" }}\n')  # without alice
    answer = await client.post("/decode", headers=BINARY, content=envelope)
    assert answer.json()["code"] == "sender_not_admitted"


async def test_anyone_is_not_authenticated() -> None:
    opener = Opener(BOB, ANYONE, replay=AtRest())
    async with client_of(Decoder(opener, subject=">", token=TOKEN)) as client:
        found = (await client.post("/decode", headers=BINARY, content=sealed())).json()
    assert (found["opened"], found["authenticated"], found["peer"]) == (True, False, None)


async def test_peers_that_cannot_be_used_change_nothing(
    client: httpx.AsyncClient, peers: PeersFile, capsys: pytest.CaptureFixture[str]
) -> None:
    peers.path.write_text("peers = 1")
    for _ in range(3):
        answer = await client.post("/decode", headers=BINARY, content=sealed())
        assert answer.status_code == 200
    assert capsys.readouterr().err.count("the previous peers stay in use") == 1


# --- who may ask ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        [], ["Bearer "], ["Bearer the-toke"], ["Bearer the-token2"], ["bearer the-token"],
        ["the-token"], ["Basic dGhlLXRva2Vu"], ["Bearer the-token"] * 2, ["Bearer \xff"],
    ],
)  # fmt: skip
async def test_the_token_is_demanded(client: httpx.AsyncClient, given: list[str]) -> None:
    headers = [(b"authorization", each.encode("latin-1")) for each in given]
    headers.append((b"content-type", b"application/octet-stream"))
    for method, path in (("POST", "/decode"), ("POST", "/"), ("GET", "/"), ("GET", "/decode")):
        answer = await client.request(method, path, headers=headers, content=sealed())
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert SECRET not in answer.text
        assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:31312", "https://localhost:31311", "",
     "http://localhost", "http://LOCALHOST:31311", "http://localhost:31311.evil.example",
     "http://127.0.0.1:8481", "http://localhost:8481", "file://", "http://localhost:31311/"],
)  # fmt: skip
async def test_pages_of_other_origins_get_nothing(client: httpx.AsyncClient, origin: str) -> None:
    headers = BINARY | {"origin": origin, "sec-fetch-site": "cross-site"}
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
        "access-control-request-private-network": "true",
    }
    for method in ("POST", "OPTIONS", "GET"):
        answer = await client.request(method, "/decode", headers=headers | asked, content=sealed())
        assert answer.status_code == 403
        assert not [each for each in answer.headers if each.startswith("access-control-")]
        assert SECRET not in answer.text


async def test_a_page_without_origin_gets_nothing(client: httpx.AsyncClient) -> None:
    for site in ("cross-site", "same-site"):
        answer = await client.post("/decode", headers=BINARY | {"sec-fetch-site": site})
        assert answer.status_code == 403
    assert (await client.options("/decode")).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8481", "127.0.0.1", "0.0.0.0:8481"])
async def test_another_name_of_this_address_gets_nothing(
    client: httpx.AsyncClient, host: str
) -> None:
    for origin in ({}, {"origin": UI}, {"origin": f"http://{host}"}):
        answer = await client.post("/decode", headers=BINARY | {"host": host} | origin)
        assert answer.status_code == 421
        assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_a_permitted_origin_asks(client: httpx.AsyncClient) -> None:
    asked = {"origin": UI, "access-control-request-method": "POST"}
    answer = await client.options("/decode", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-private-network" not in answer.headers
    asked["access-control-request-private-network"] = "true"
    answer = await client.options("/decode", headers=asked)
    assert answer.headers["access-control-allow-private-network"] == "true"

    answer = await client.post("/decode", headers=BINARY | {"origin": UI}, content=sealed())
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == UI
    answer = await client.post("/decode", headers={"origin": UI}, content=sealed())
    assert answer.status_code == 401


# --- what is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "query", "body", "status"),
    [
        ("text/plain", "", b"{}", 415),
        ("application/x-www-form-urlencoded", "", b"a=b", 415),
        ("", "", b"{}", 415),
        ("application/json", "", b"", 400),
        ("application/json", "", b"[]", 400),
        ("application/json", "", b"\xff", 400),
        ("application/json", "", b"[" * 100_000, 400),
        ("application/json", "", b'{"data": 1}', 400),
        ("application/json", "", b'{"data": "!"}', 400),
        ("application/json", "", b'{"data": "\\ud800"}', 400),
        ("application/json", "", b'{"data": "", "subject": []}', 400),
        ("application/json", "", b'{"data": "", "subject": "%b"}' % (b"x" * 70_000), 400),
        ("application/json", "", b"1" * 10_000, 400),
        ("application/octet-stream", "?subject=a&subject=b", b"", 400),
        ("application/octet-stream", "?token=a", b"", 400),
    ],
)
async def test_an_invalid_request_is_refused(
    client: httpx.AsyncClient, kind: str, query: str, body: bytes, status: int
) -> None:
    headers = BEARER | ({"content-type": kind} if kind else {})
    answer = await client.post(f"/decode{query}", headers=headers, content=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert len(answer.content) < 200


async def test_other_methods_and_paths_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/decode", headers=BINARY)).status_code == 405
    assert (await client.put("/decode", headers=BINARY)).status_code == 405
    assert (await client.post("/", headers=BINARY)).status_code == 404
    assert (await client.post("/decode/", headers=BINARY)).status_code == 404


async def test_bodies_are_bounded(client: httpx.AsyncClient) -> None:
    answer = await client.post("/decode", headers=BINARY, content=bytes(MOST_BODY + 1))
    assert answer.status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MOST_BODY // (1 << 20)):
            yield bytes(1 << 20)
        yield b"x"

    answer = await client.post("/decode", headers=BINARY, content=chunks())
    assert answer.status_code == 413


async def test_a_slow_body_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(DEADLINE)

    opener = Opener(BOB, ANYONE, replay=AtRest())
    async with client_of(Decoder(opener, subject=">", token=TOKEN, patience=0.05)) as client:
        answer = await client.post("/decode", headers=BINARY, content=slow())
    assert answer.status_code == 408


async def test_few_are_read_at_a_time(client: httpx.AsyncClient) -> None:
    running = most = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        yield sealed()

    asked = [client.post("/decode", headers=BINARY, content=body()) for _ in range(20)]
    answers = await asyncio.gather(*asked)
    assert {each.status_code for each in answers} == {200}
    assert most <= 4


async def test_an_unexpected_error_shows_nothing(
    decoder: Decoder,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(decoding, "record_of", fails)
    answer = await client.post("/decode", headers=BINARY, content=sealed())
    assert (answer.status_code, answer.json()) == (500, {"error": "unexpected error"})
    assert capsys.readouterr().err == "xkeymsg: unexpected error: ValueError\n"


# --- the program ----------------------------------------------------------------------------------


@pytest.fixture
def arguments(tmp_path: Path, peers: PeersFile) -> list[str]:
    write_seed(tmp_path / "bob.seed", BOB)
    return ["--seed", str(tmp_path / "bob.seed"), "--peers", str(peers.path)]


def test_it_listens_on_this_machine_only(arguments: list[str]) -> None:
    for address in ("0.0.0.0:0", "[::]:0", "localhost:0", "192.0.2.1:80", ":0", "127.0.0.1", "80",
                    "unix:relative", "[::ffff:127.0.0.1]:0", "127.0.0.1:65536"):  # fmt: skip
        done = run_here("decode", "--listen", address, *arguments)
        assert done.returncode == 2, address
        assert b"expected 127.0.0.1:PORT" in done.stderr
    for origin in (
        "*",
        "null",
        "http://ui/",
        "ui",
        "http://u@ui",
        "HTTP://UI",
        "http://ui:1234567",
    ):
        done = run_here("decode", "--listen", "127.0.0.1:0", "--origin", origin, *arguments)
        assert done.returncode == 2, origin
    done = run_here("decode", "--listen", "127.0.0.1:0", *arguments[:2])
    assert done.returncode == 2
    assert b"nobody may send" in done.stderr
    senders = "--from", "anyone", "--from", str(ALICE.public)
    done = run_here("decode", "--listen", "127.0.0.1:0", *senders, *arguments)
    assert done.returncode == 2
    assert b"cannot be combined" in done.stderr


def ask(url: str, headers: dict[str, str]) -> httpx.Response:
    with httpx.Client(verify=False, trust_env=False, timeout=DEADLINE) as client:
        return client.post(url, headers=headers, content=sealed())


def test_it_serves_until_it_is_stopped(tmp_path: Path, arguments: list[str]) -> None:
    with Program("xkeymsg", "decode", "--listen", "127.0.0.1:0", *arguments) as program:
        url = program.wait_for("http://127.0.0.1:")
        name, token = program.wait_for("Authorization").split(": ")
        assert len(token) > 40
        answer = ask(url, {name: token, "content-type": "application/octet-stream"})
        assert answer.json()["message"]["data"] == SECRET
        assert ask(url, {}).status_code == 401
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 0
        assert program.output("err") == []
    path = tmp_path / "s"
    with Program(
        "xkeymsg", "decode", "--listen", f"unix:{path}", "--from", "alice", *arguments
    ) as program:
        program.wait_for("Authorization")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"POST /decode HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 401 ")
        program.process.send_signal(signal.SIGINT)
        assert program.wait() == 0
    assert not path.exists()
