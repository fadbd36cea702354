"""Checks of a NATS server, with the rights of an ordinary client; nothing is changed on it.

Any error in a check becomes its finding. Each check has a time limit, and the others still run.
Messages are published on request only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from nats import errors

from xkeymsg.ambient import now_ns
from xkeymsg.cli.doctor.findings import (
    SOON,
    CheckResult,
    Grant,
    Level,
    granted,
    judge_account,
    judge_clock,
    judge_directory,
    judge_durable,
    judge_payload,
    judge_stream,
    shown_time,
    table_of,
)
from xkeymsg.cli.doctor.probe import Probe, open_probe
from xkeymsg.directory.settings import STREAM
from xkeymsg.errors import ConnectionFailedError, DeliveryError, XKeyMsgError
from xkeymsg.transport.options import ConnectOptions

__all__ = ("check_server",)

_WEEK: Final = 7 * 86_400.0
"""The same for a login."""
_WHO: Final = "$SYS.REQ.USER.INFO"
_SETTINGS: Final = "correct the connection settings: --server, --context, --creds"

_Check = Callable[[], Awaitable[list[CheckResult]]]


async def check_server(
    options: ConnectOptions,
    *,
    publish: tuple[str, ...] = (),
    subscribe: tuple[str, ...] = (),
    streams: Mapping[str, bool] | None = None,
    durables: tuple[tuple[str, str], ...] = (),
    jetstream: bool = False,
    probe: bool = False,
    user: str | None = None,
    now: Callable[[], int] = now_ns,
) -> list[CheckResult]:
    """Check the connection, the login's permissions, and JetStream. Errors become findings.

    Args:
        options: The server and login; every wait is limited by `options.timeout`.
        publish: Subjects or patterns that must be allowed for publishing.
        subscribe: The same for subscribing.
        streams: Quarantine streams, and whether they are for authenticated messages.
        durables: Shared durables, as pairs of stream and durable.
        jetstream: Whether JetStream and these streams are required.
        probe: Whether to test publishing with an empty message.
        user: Our user `U…` in the peers file.
        now: Our time, in nanoseconds since 1970.
    """
    try:
        async with open_probe(options, now) as opened:
            server = _Server(opened, options)
            checks: list[tuple[str, _Check]] = [
                ("connection", server.connection),
                ("tls", server.tls),
                ("inbox", server.inbox),
                ("login", partial(server.login, user)),
                *(("publish", partial(server.publish, each, probe=probe)) for each in publish),
                *(("subscribe", partial(server.subscribe, each)) for each in subscribe),
                ("max_payload", server.max_payload),
                ("jetstream", partial(server.account, demanded=jetstream)),
                *(
                    (name, partial(server.stream, name, proven=proven, demanded=jetstream))
                    for name, proven in (streams or {}).items()
                ),
                ("directory", server.directory),
                *(("durable", partial(server.durable, *each)) for each in durables),
                ("clock", server.clock),
            ]
            return [found for check in checks for found in await server.make(*check)]
    except XKeyMsgError as error:
        said, remedy = str(error), _SETTINGS
        if isinstance(error, ConnectionFailedError) and error.check:
            said, remedy = error.reason, error.check
        return [
            CheckResult("connection", "fail", said, remedy),
            CheckResult("server", "skip", "not checked without a connection"),
        ]


class _Server:
    """The checks of a connected server."""

    def __init__(self, probe: Probe, options: ConnectOptions) -> None:
        self._probe = probe
        self._client = probe.client
        self._options = options
        self._known: Mapping[str, Any] | None = None
        """The server's information about our login, if it gives any."""
        self._has_streams = True

    async def make(self, name: str, check: _Check) -> list[CheckResult]:
        """Run a check within its time limit; any error becomes its finding."""
        if not self._client.is_connected:
            return [CheckResult(name, "skip", "the connection was lost")]
        try:
            async with asyncio.timeout(self._options.timeout * 2):  # no check waits more than twice
                return await check()
        except (TimeoutError, errors.TimeoutError):
            said = f"no response within {self._options.timeout:g} s"
        except (XKeyMsgError, OSError, errors.Error) as error:
            said = str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 - caused by a bad response; go on
            said = f"invalid response of the server ({type(error).__name__})"
        return [CheckResult(name, "fail", said, "check the connection, and the server's log")]

    async def connection(self) -> list[CheckResult]:
        before = self._probe.now()
        await self._probe.flush()
        took = (self._probe.now() - before) / 1e6
        version = self._client.connected_server_version
        number = f"{version.major}.{version.minor}.{version.patch}"
        said = f"{self._options.addresses}, nats-server {number}, round trip {took:.1f} ms"
        return [CheckResult("connection", "ok", said)]

    async def tls(self) -> list[CheckResult]:
        tls = self._client.ssl_object
        if tls is None:
            if self._client.offers_tls:
                said = "not in use, although the server offers it"
                return [CheckResult("tls", "warn", said, "use tls://, and --tlsca if necessary")]
            if self._probe.is_local():
                return [CheckResult("tls", "ok", "not in use, on this machine")]
            said = "not in use: subjects, senders, receivers and passwords are visible to others"
            return [CheckResult("tls", "warn", said, "use tls://, and a tls section in the server")]
        ends = (tls.getpeercert() or {}).get("notAfter")
        left = ssl.cert_time_to_seconds(str(ends)) - self._probe.now() / 1e9
        said = f"{tls.version()}, the server's certificate expires {ends}"
        if left < SOON:
            return [CheckResult("tls", "warn", said, f"renew it: {shown_time(left)} left")]
        return [CheckResult("tls", "ok", said)]

    async def inbox(self) -> list[CheckResult]:
        shown = f"{self._options.inbox_prefix}.>"
        # As every request does.
        refusal = await self._probe.try_subscribing(f"{self._client.new_inbox()}.*")
        if refusal is None:
            return [CheckResult("inbox", "ok", shown)]
        self._probe.hears = False
        remedy = f"allow subscribing to {shown}: requests get no response without it"
        return [CheckResult("inbox", "fail", refusal, remedy)]

    async def login(self, user: str | None) -> list[CheckResult]:
        how = _login(self._options)
        try:
            answer = await self._probe.ask(_WHO)
        except DeliveryError as error:
            remedy = f"allow publishing on {_WHO}, and configure a system account"
            said = f"{how}; permissions unknown: {error}"
            return [CheckResult("login", "warn", said, remedy)]
        self._known = known = table_of(answer, "data")
        name, account = str(known.get("user") or ""), known.get("account")
        said = f"{how}, as {name} in account {account}"
        if not name:
            said = f"{'anonymous' if how == 'no login' else how}, account {account}"
        findings = [_lasting(said, known)]
        if user is not None and name.startswith("U") and name != user:
            said = f"peers know you as {user}, and you log in as {name}"
            findings.append(
                CheckResult(
                    "login",
                    "warn",
                    said,
                    "log in as that user, or correct `user` in the peers file",
                )
            )
        if how == "no login" and not self._probe.is_local():
            said = "the server requires no login"
            findings.append(
                CheckResult("login", "warn", said, "configure authentication in the server")
            )
        return findings

    async def subscribe(self, subject: str) -> list[CheckResult]:
        grant, refusal = self._grant("subscribe", subject), None
        if grant.extent == "all" and grant.queue:
            return [CheckResult("subscribe", "ok", f"{subject}, only in queue group {grant.queue}")]
        if grant.extent == "all":
            refusal = await self._probe.try_subscribing(subject)
        return [_verdict("subscribe", subject, grant, refusal)]

    async def publish(self, subject: str, *, probe: bool) -> list[CheckResult]:
        plain = not {"*", ">"} & set(subject.split("."))
        grant, refusal = self._grant("publish", subject), None
        if probe and plain:
            refusal = await self._probe.try_publishing(subject)
        elif self._known is None:
            said = f"{subject}: unknown, the server does not report our permissions"
            remedy = "--probe publishes an empty message" if plain else f"allow {_WHO}"
            return [CheckResult("publish", "warn", said, remedy)]
        return [_verdict("publish", subject, grant, refusal)]

    def _grant(self, kind: str, subject: str) -> Grant:
        """Return our rights as reported by the server; all if it does not report them."""
        if self._known is None:
            return Grant("all")
        return granted(table_of(self._known, "permissions"), kind, subject)

    async def max_payload(self) -> list[CheckResult]:
        return [judge_payload(self._client.max_payload)]

    async def clock(self) -> list[CheckResult]:
        return [judge_clock(self._probe.times)]

    async def account(self, *, demanded: bool) -> list[CheckResult]:
        try:
            answer = await self._probe.ask(f"{self._options.jetstream_api}.INFO")
        except DeliveryError as error:
            self._has_streams = False
            level: Level = "fail" if demanded else "warn"
            remedy = "enable JetStream and allow $JS.API.>, or use neither streams nor quarantine"
            return [CheckResult("jetstream", level, f"not available: {error}", remedy)]
        self._has_streams = not table_of(answer, "error")
        return [judge_account(answer, demanded=demanded)]

    async def stream(self, name: str, *, proven: bool, demanded: bool) -> list[CheckResult]:
        if not self._has_streams:
            remedy = "see jetstream" if demanded else ""
            return [CheckResult(name, "fail" if demanded else "skip", "no JetStream", remedy)]
        try:
            answer = await self._probe.ask(f"{self._options.jetstream_api}.STREAM.INFO.{name}")
        except DeliveryError as error:
            level: Level = "fail" if demanded else "warn"
            return [CheckResult(name, level, f"cannot be inspected: {error}", "allow $JS.API.>")]
        return judge_stream(name, answer, proven=proven, demanded=demanded)

    async def directory(self) -> list[CheckResult]:
        if not self._has_streams:
            return []
        try:
            answer = await self._probe.ask(f"{self._options.jetstream_api}.STREAM.INFO.{STREAM}")
        except DeliveryError:
            return []  # not permitted: nothing says that there is one
        return judge_directory(answer)

    async def durable(self, stream: str, name: str) -> list[CheckResult]:
        shown = f"{stream}/{name}"
        try:
            answer = await self._probe.ask(
                f"{self._options.jetstream_api}.CONSUMER.INFO.{stream}.{name}"
            )
        except DeliveryError as error:
            said = f"{shown}: cannot be inspected: {error}"
            return [CheckResult("durable", "fail", said, "allow $JS.API.>")]
        return [judge_durable(shown, answer)]


def _lasting(said: str, known: Mapping[str, Any]) -> CheckResult:
    """Judge the remaining time of a login, which the server reports in nanoseconds."""
    left = known.get("expires")
    if not isinstance(left, int) or left <= 0:
        return CheckResult("login", "ok", said)
    said += f", {shown_time(left / 1e9)} left"
    if left / 1e9 < _WEEK:
        return CheckResult("login", "warn", said, "renew it: the server disconnects expired logins")
    return CheckResult("login", "ok", said)


def _verdict(check: str, subject: str, grant: Grant, refusal: str | None) -> CheckResult:
    if refusal is None and grant.extent == "all":
        return CheckResult(check, "ok", subject)
    said = "not all of it is allowed" if grant.extent == "part" else "not allowed"
    remedy = f"add it to the {check} permissions of this login (server configuration or JWT)"
    return CheckResult(check, "fail", f"{subject}: {refusal or said}", remedy)


def _login(options: ConnectOptions) -> str:
    """Describe the login method without revealing credentials."""
    for name in ("creds", "nkey", "nkey_store", "user", "token"):
        if getattr(options, name) is not None:
            return {"user": "user and password", "nkey_store": "nkey"}.get(name, name)
    if any("@" in server for server in options.servers):
        return "user and password, or token"
    return "certificate" if options.tls_cert or options.cert_store else "no login"
