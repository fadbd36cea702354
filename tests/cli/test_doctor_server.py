"""The check-up of a server, with real ones that are not as they should be."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.envelope.cast import ALICE_USER
from tests.running import DEADLINE
from tests.transport.authority import CertificateAuthority, Nkey, Operator
from xkeymsg.cli.doctor.findings import CheckResult
from xkeymsg.cli.doctor.probe import open_probe
from xkeymsg.cli.doctor.server import check_server
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

STREAMS = {"XKM_UNPROVEN": False, "XKM_PROVEN": True}
USER = """
authorization {{ users = [{{ user: ada, password: hunter2, permissions: {{
    publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }}
}} }}] }}
"""
ASK = '"$SYS.REQ.USER.INFO", "$JS.API.>"'


def user(publish: str, subscribe: str) -> str:
    return USER.format(publish=publish, subscribe=subscribe)


def local(server: NATSServer, **settings: Any) -> ConnectOptions:
    return ConnectOptions(servers=(server.url,), **({"timeout": DEADLINE} | settings))


def ada(server: NATSServer, **settings: Any) -> ConnectOptions:
    return local(server, user="ada", password="hunter2", **settings)


def levels(findings: list[CheckResult]) -> dict[str, str]:
    """The worst of each check."""
    order = ("skip", "ok", "warn", "fail")
    worst: dict[str, str] = {}
    for each in findings:
        worst[each.check] = max(worst.get(each.check, "skip"), each.level, key=order.index)
    return worst


def of(findings: list[CheckResult], check: str) -> CheckResult:
    [found] = [each for each in findings if each.check == check]
    return found


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


async def test_a_good_server_is_ok(jetstream_server: NATSServer) -> None:
    client = await nats.connect(jetstream_server.url)
    js = client.jetstream()
    await js.add_stream(name="XKM_UNPROVEN", subjects=["u"], max_bytes=1 << 20)
    await js.add_stream(name="XKM_PROVEN", subjects=["p"], discard="new")
    await client.close()
    findings = await check_server(
        local(jetstream_server), publish=("a.b",), subscribe=("a.>",), streams=STREAMS,
        jetstream=True, probe=True,
    )  # fmt: skip
    assert set(levels(findings).values()) == {"ok"}, findings
    assert [each.check for each in findings] == [
        "connection", "tls", "inbox", "login", "publish", "subscribe", "max_payload", "jetstream",
        "XKM_UNPROVEN", "XKM_PROVEN", "clock",
    ]  # fmt: skip


async def test_nothing_is_published_unless_that_is_asked_for(server: NATSServer) -> None:
    client = await nats.connect(server.url)
    seen = await client.subscribe(">")
    await client.flush()
    for probe in (False, True):
        # Whoever listens to everything has JetStream's requests wait for an answer.
        options = local(server, timeout=1.0)
        assert of(await check_server(options, publish=("a.b",), probe=probe), "publish")
        await client.flush()
        subjects = []
        while seen.pending_msgs:
            subjects.append((await seen.next_msg()).subject)
        own = [each for each in subjects if not each.startswith(("_INBOX.", "$"))]
        assert own == (["a.b"] if probe else [])
    await client.close()


async def test_streams_that_are_missing_or_wrong_are_told(jetstream_server: NATSServer) -> None:
    options = local(jetstream_server)
    findings = await check_server(options, streams=STREAMS)
    assert (levels(findings)["XKM_PROVEN"], of(findings, "XKM_PROVEN").text) == (
        "warn",
        "stream not found",
    )
    findings = await check_server(options, streams=STREAMS, jetstream=True)
    assert levels(findings)["XKM_UNPROVEN"] == "fail"
    client = await nats.connect(jetstream_server.url)
    for name in STREAMS:
        await client.jetstream().add_stream(name=name, subjects=[name], max_age=60)
    await client.close()
    findings = await check_server(options, streams=STREAMS)
    texts = [each.text for each in findings if each.check == "XKM_PROVEN"]
    assert len(texts) == 2, "it discards, and deletes, what is old"
    assert levels(findings)["XKM_PROVEN"] == levels(findings)["XKM_UNPROVEN"] == "fail"


async def test_the_quarantine_that_we_make_is_as_it_should_be(
    jetstream_server: NATSServer,
) -> None:
    options = local(jetstream_server)
    async with open_link(options) as link:
        await create_quarantine(API(link))
    got = levels(await check_server(options, streams=STREAMS, jetstream=True))
    assert got["XKM_PROVEN"] == got["XKM_UNPROVEN"] == "ok"


@pytest.mark.parametrize(
    ("config", "level", "said"),
    [
        ({}, "ok", "S/d: 0 of 1000 unacknowledged, 0 undelivered"),
        ({"max_deliver": 5}, "warn", "drops a message after 5 deliveries"),
        ({"ack_policy": "none"}, "fail", "no explicit acknowledgement"),
        ({"headers_only": True}, "fail", "uses headers_only"),
        ({"deliver_subject": "x"}, "fail", "push consumer"),
        (None, "fail", "S/d: consumer not found"),
    ],
)
async def test_a_durable_is_as_receivers_need_it(
    jetstream_server: NATSServer, config: dict[str, Any] | None, level: str, said: str
) -> None:
    options = local(jetstream_server)
    async with open_link(options) as link:
        api = API(link)
        await api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        if config is not None:
            whole = {"name": "d", "durable_name": "d", "ack_policy": "explicit", **config}
            verb = "CREATE" if "deliver_subject" not in config else "DURABLE.CREATE"
            await api.request(f"CONSUMER.{verb}.S.d", {"stream_name": "S", "config": whole})
    found = of(await check_server(options, durables=(("S", "d"),)), "durable")
    assert found.level == level
    assert said in found.text
    assert bool(found.remedy) == (level != "ok")


async def test_no_jetstream_hides_nothing_else(server: NATSServer) -> None:
    findings = await check_server(local(server), streams=STREAMS, subscribe=("a",))
    got = levels(findings)
    assert (got["jetstream"], got["XKM_PROVEN"]) == ("warn", "skip")
    assert {got[name] for name in ("connection", "login", "subscribe", "clock")} == {"ok"}
    got = levels(await check_server(local(server), streams=STREAMS, jetstream=True))
    assert (got["jetstream"], got["XKM_PROVEN"], got["clock"]) == ("fail", "fail", "ok")


async def test_an_account_without_jetstream_is_told() -> None:
    accounts = "accounts { A: {users: [{user: ada, password: hunter2}]}, B: {jetstream: enabled} }"
    with NATSServer(accounts, jetstream=True) as server:
        findings = await check_server(ada(server), streams=STREAMS)
    assert of(findings, "jetstream").text == "JetStream not enabled for account"
    assert of(findings, "login").text == "user and password, as ada in account A"


async def test_permissions_are_told_without_publishing() -> None:
    config = user(f'{ASK}, "x.>", "y.*"', '"_INBOX.>", "z.*", "q.> workers"')
    with NATSServer(config) as server:
        findings = await check_server(
            ada(server),
            publish=("x.a.b", "y.>", "other"),
            subscribe=("z.a", "z.>", "q.a", "other"),
        )
    shown = [(each.level, each.text) for each in findings if each.check in ("publish", "subscribe")]
    assert shown == [
        ("ok", "x.a.b"),
        ("fail", "y.>: not all of it is allowed"),
        ("fail", "other: not allowed"),
        ("ok", "z.a"),
        ("fail", "z.>: not all of it is allowed"),
        ("ok", "q.a, only in queue group workers"),
        ("fail", "other: not allowed"),
    ]
    assert all(each.remedy for each in findings if each.level == "fail")


async def test_where_permissions_are_not_told_the_server_refuses() -> None:
    """What the login may not ask costs no waiting, and --probe finds out by trying."""
    with NATSServer(user('"x.>"', '"_INBOX.>", "z.>"'), jetstream=True) as server:
        asked: dict[str, Any] = {"publish": ("x.a", "other", "x.>"), "subscribe": ("z.>", "other")}
        async with asyncio.timeout(DEADLINE):  # which is how long an answer would be waited for
            findings = await check_server(ada(server), streams=STREAMS, **asked)
            probed = await check_server(ada(server), probe=True, **asked)
    assert [each.level for each in findings if each.check == "publish"] == ["warn"] * 3
    assert [each.level for each in probed if each.check == "publish"] == ["ok", "fail", "warn"]
    for found in (findings, probed):
        assert [each.level for each in found if each.check == "subscribe"] == ["ok", "fail"]
        refused = of([each for each in found if each.level == "fail"], "subscribe")
        assert 'permissions violation for subscription to "other"' in refused.text
    got = levels(findings)
    assert {got[name] for name in ("login", "jetstream", "clock")} == {"warn"}
    assert "permissions violation for publish" in of(findings, "login").text


async def test_without_an_inbox_nothing_is_asked_and_nothing_waits() -> None:
    with NATSServer(user(">", '"_ADA.>"')) as server:
        async with asyncio.timeout(DEADLINE):  # which is how long an answer would be waited for
            findings = await check_server(ada(server), subscribe=("_ADA.x",), publish=("a",))
            fine = await check_server(ada(server, inbox_prefix="_ADA"))
    assert levels(findings)["inbox"] == "fail"
    assert "_INBOX.>" in of(findings, "inbox").remedy
    assert "without an inbox" in of(findings, "login").text
    assert levels(findings)["subscribe"] == "ok"
    assert (levels(fine)["inbox"], levels(fine)["login"]) == ("ok", "ok")


@pytest.mark.parametrize(
    ("ahead", "level"), [(0, "ok"), (12, "warn"), (-12, "warn"), (45, "fail"), (-3600, "fail")]
)
async def test_a_clock_that_is_wrong_is_told(server: NATSServer, ahead: int, level: str) -> None:
    findings = await check_server(local(server), now=lambda: time.time_ns() + ahead * 1_000_000_000)
    found = of(findings, "clock")
    assert found.level == level
    if ahead:
        assert f"{'ahead of' if ahead > 0 else 'behind'} the server's, ±" in found.text
        assert f"{abs(ahead)}.0 s" in found.text


async def test_a_stream_tells_the_time_where_the_server_does_not() -> None:
    config = user('"$JS.API.>"', '"_INBOX.>"')
    with NATSServer(config, jetstream=True) as server:
        client = await nats.connect(server.url, user="ada", password="hunter2")
        await client.jetstream().add_stream(name="XKM_PROVEN", subjects=["p"], discard="new")
        await client.close()
        findings = await check_server(ada(server), streams=STREAMS)
    assert (levels(findings)["login"], levels(findings)["clock"]) == ("warn", "ok")


async def test_tls_and_the_end_of_a_certificate_are_told(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    certificate = authority.issue("server")
    config = f'tls {{ cert_file: "{certificate.cert}", key_file: "{certificate.key}" }}'
    with NATSServer(config) as server:
        settings = {"servers": (f"tls://127.0.0.1:{server.port}",), "timeout": DEADLINE}
        options = ConnectOptions(tls_ca=authority.path, **settings)  # type: ignore[arg-type]
        findings = await check_server(options)
        found = of(findings, "tls")
        assert found.level == "warn"
        assert found.text.startswith("TLSv1.3, the server's certificate expires ")
        assert found.remedy == "renew it: 1 hours left"
        early = time.time_ns() - 90 * 86_400 * 10**9
        findings = await check_server(options, now=lambda: early)
        assert of(findings, "tls").level == "ok"
        stranger = CertificateAuthority(tmp_path, "stranger")
        wrong = ConnectOptions(tls_ca=stranger.path, **settings)  # type: ignore[arg-type]
        connection, rest = await check_server(wrong)
        assert (connection.level, rest.level) == ("fail", "skip")
        assert "certificate verify failed" in connection.text
        assert "--tlsca" in connection.remedy


async def test_plaintext_to_another_machine_is_told(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xkeymsg.cli.doctor.probe.Probe.is_local", lambda _: False)
    got = levels(await check_server(local(server)))
    assert (got["tls"], got["login"]) == ("warn", "warn")


async def test_no_connection_is_one_failure_with_what_to_check(server: NATSServer) -> None:
    closed = local(server, timeout=0.3)
    server.stop()
    connection, rest = await check_server(closed, streams=STREAMS, publish=("a",))
    assert (connection.check, connection.level) == ("connection", "fail")
    assert "connection refused" in connection.text
    assert connection.remedy == "is the address right, and the server up?"
    assert rest.level == "skip"


async def test_a_login_that_is_refused_shows_no_password() -> None:
    with NATSServer(user(">", ">")) as server:
        findings = await check_server(local(server, user="ada", password="secret7"))
    assert findings[0].text.endswith("the server refused the login")
    assert "secret7" not in repr(findings)


async def test_a_file_that_is_not_there_is_a_finding(server: NATSServer, tmp_path: Path) -> None:
    found = (await check_server(local(server, creds=tmp_path / "none")))[0]
    assert (found.check, found.level) == ("connection", "fail")
    assert "none" in found.text
    assert found.remedy


async def test_a_login_that_ends_soon_and_one_of_another_user_are_told(tmp_path: Path) -> None:
    operator, key = Operator(), Nkey()
    creds = tmp_path / "creds"
    creds.write_text(operator.creds(key, exp=int(time.time()) + 3600))
    with NATSServer(f"{operator.config}system_account: {operator.account.public}\n") as server:
        options = local(server, creds=creds)
        findings = await check_server(options, user=ALICE_USER.public)
        same = await check_server(options, user=key.public)
    first, second = (each for each in findings if each.check == "login")
    assert first.text.startswith(f"creds, as {key.public} in account A")
    assert (first.level, first.text.endswith("1 hours left")) == ("warn", True)
    assert (second.level, ALICE_USER.public in second.text) == ("warn", True)
    assert len([each for each in same if each.check == "login"]) == 1


async def test_what_was_refused_before_is_not_held_against_the_next(server: NATSServer) -> None:
    async with open_probe(local(server), time.time_ns) as probe:
        for attempt in (probe.try_subscribing, probe.try_publishing):
            probe.refusals.put_nowait("of something else")
            assert await attempt("a") is None
        probe.refusals.put_nowait("of something else")
        assert "server" in await probe.ask("$SYS.REQ.USER.INFO")


@asynccontextmanager
async def answering(server: NATSServer, answer: bytes | None) -> AsyncIterator[None]:
    """Somebody who answers in the place of JetStream, which this server has not."""
    client = await nats.connect(server.url)

    async def respond(message: Any) -> None:
        if answer is not None:
            await message.respond(answer)

    await client.subscribe("$JS.API.>", cb=respond)
    await client.flush()
    yield
    await client.close()


HUGE = {"max_storage": 10**400, "max_memory": 10**400, "max_streams": 10**400}


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[", b"[]", b"null", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"error": 7}',
        json.dumps({"limits": HUGE, "storage": 10**400, "ts": "x", "server": {"time": 7}}).encode(),
        json.dumps({"config": {"max_bytes": HUGE}, "state": [], "limits": "\x1b[2J"}).encode(),
        json.dumps({"state": {"bytes": 10**400, "messages": -1}, "config": 1}).encode(),
        json.dumps({"error": {"description": "\x1b[2J\n" * 9}}).encode(),
    ],
)  # fmt: skip
async def test_answers_that_are_none_are_findings(server: NATSServer, answer: bytes) -> None:
    async with answering(server, answer):
        findings = await check_server(local(server), streams=STREAMS, jetstream=True)
    got = levels(findings)
    assert {"jetstream", "clock", "max_payload", "connection"} <= got.keys()
    assert got["clock"] == "ok"
    assert len(findings) >= 9


async def test_an_answer_that_does_not_come_ends_in_its_time(server: NATSServer) -> None:
    async with answering(server, None):
        findings = await check_server(local(server, timeout=1.0), streams=STREAMS)
    assert of(findings, "jetstream").text == "not available: no response within 1 s"
    assert levels(findings)["clock"] == "ok"


def killing(server: NATSServer, call: int) -> Callable[[], int]:
    """A clock that kills the server when it is looked at for the n-th time."""
    calls = 0

    def now() -> int:
        nonlocal calls
        calls += 1
        if calls == call:
            server.kill()
        return time.time_ns()

    return now


@pytest.mark.parametrize("call", [1, 2, 3, 5])
async def test_a_server_that_goes_away_in_between_is_told_and_nothing_hangs(
    jetstream_server: NATSServer, call: int
) -> None:
    findings = await check_server(
        local(jetstream_server, timeout=1.0), streams=STREAMS, publish=("a",), subscribe=("a",),
        now=killing(jetstream_server, call),
    )  # fmt: skip
    assert {"fail", "skip"} & {each.level for each in findings}
    assert findings[-1] == CheckResult("clock", "skip", "the connection was lost")
