"""No page says that all is well while data are missing or old, and each says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from tests.cli.console.hospital import rows_of
from tests.running import DEADLINE, until
from tests.trust.store import Store
from xkeymsg import Sealer, XKeyPair
from xkeymsg.cli.console.access import Accesses
from xkeymsg.cli.console.app import make_app
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.config import SubjectSection
from xkeymsg.cli.console.connection import ConnectionProblems
from xkeymsg.cli.console.fleet import Daemon, Fleet, FleetRoute, RefusedSender
from xkeymsg.cli.console.pages import Pages
from xkeymsg.cli.console.people import KeyState, People, Person
from xkeymsg.cli.console.refused import Quarantines, RefusedMessage
from xkeymsg.cli.console.seen import SeenSenders
from xkeymsg.cli.console.streams import ConsumerState, Sample, SampledStream, Streams
from xkeymsg.cli.console.terminated import ADVISORY, Terminations
from xkeymsg.cli.console.untrusted import minutes_ahead
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.common.sections import NatsSection, SourcesSection
from xkeymsg.envelope.inspect import inspect
from xkeymsg.errors import DeliveryError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Event, open_link
from xkeymsg.transport.options import ConnectOptions

NOW = datetime.now(UTC)
HOST = "127.0.0.1:1"
NONE = cast(Any, None)
REFUSAL = DeliveryError('permissions violation for publish to "$SRV.STATS"')


ROUTE = FleetRoute("in", "a", "S", "c", 3, 1, "replay", {"replay": 1}, False, None, None, {})
DAEMON = Daemon("ward", "1", "xkeymsg-receiver", "1", "", None, True, 0, (ROUTE,), 0.0, NOW, 0)


class Office:
    """The pages, with collectors that have not collected anything."""

    def __init__(self) -> None:
        changes = Changes()
        self.people = People(None, NatsSection(), changes)
        self.fleet = Fleet(NONE, changes)
        self.seen = SeenSenders(lambda _: True)
        self.streams = Streams(NONE, ("S",), lambda _: True, self.seen, changes)
        self.quarantines = Quarantines(NONE, "U", "P", self.seen, changes)
        self.connection = ConnectionProblems(changes)
        self.accesses = Accesses((), self.people, changes)
        terminations = Terminations(NONE, ("S",), changes)
        self.pages = Pages(
            self.accesses, self.people, self.fleet, self.quarantines, terminations, self.streams,
            self.seen, connection=self.connection, retain=60.0, websocket="",
        )  # fmt: skip
        self._app = make_app(
            self.pages.all(), changes, hosts=frozenset({HOST}), notices=self.pages.notices
        )

    async def show(self, path: str) -> str:
        """Return the texts of a page."""
        return "\n".join(rows_of(await self.show_raw(path)))

    async def show_raw(self, path: str) -> str:
        """Return a page."""
        body = b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            nonlocal body
            assert message.get("status", 200) == 200
            body += message.get("body", b"")

        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": b"", "root_path": "",
            "headers": [(b"host", HOST.encode())],
        }  # fmt: skip
        await self._app(scope, receive, send)
        return body.decode()

    def answer(self, **more: Any) -> None:
        """Let a daemon have answered."""
        at = "ward", more.get("id", "1")
        daemon = DAEMON._replace(**{"answered": monotonic()} | more)
        self.fleet._daemons[at] = daemon  # noqa: SLF001 - no server
        self.fleet._history[at] = [DAEMON._replace(routes=())]  # noqa: SLF001 - as above
        self.fleet.has_asked = True

    def know(self, key: KeyState) -> None:
        """Let a ward have a key."""
        self.people._all = [Person("ward", "", (), (key,))]  # noqa: SLF001 - no source of trust

    def sample(self, **more: Any) -> None:
        """Let the stream have been read."""
        sample = Sample(1, "a", NOW, "xkm1", True)
        state = SampledStream("S")._replace(
            messages=1, first=1, last=1, oldest=NOW, samples=(sample,), made=NOW
        )
        self.streams.states["S"] = state._replace(**more)
        self.streams.has_asked = True


@pytest.fixture
def office() -> Office:
    """The pages."""
    return Office()


async def test_nothing_is_said_to_be_well_before_anything_is_known(office: Office) -> None:
    for path in ("/", "/fleet", "/refused", "/rotation", "/streams"):
        assert "✓" not in await office.show(path)
    refused = await office.show("/refused")
    assert "the first answers are awaited" in refused
    assert refused.count("not read") == 2
    for fine in ("No daemon reports", "No message is in quarantine", "None."):
        assert fine not in refused
    assert "The configuration has no" not in await office.show("/")
    streams = await office.show("/streams")
    assert "not read yet" in streams
    assert "None was found" not in streams


async def test_a_fleet_is_well_only_if_all_is_known(office: Office) -> None:
    office.answer()
    assert "✓ all 1 daemons that answer are ready" in await office.show("/fleet")
    for name, value in (("problem", "no connection"), ("is_cut", True)):
        before = getattr(office.fleet, name)
        setattr(office.fleet, name, value)
        assert "✓" not in await office.show("/fleet")
        setattr(office.fleet, name, before)
    for ready in (None, False):
        office.answer(ready=ready)
        assert "✓" not in await office.show("/fleet")
        assert "ready" in office.fleet.daemons[0].troubles[0]


async def test_no_answer_is_a_problem(office: Office) -> None:
    office.fleet.has_asked = True
    assert "! no daemon has answered" in await office.show("/fleet")
    refused = await office.show("/refused")
    assert "! no daemon has answered" in refused
    assert "No daemon reports" not in refused


async def test_counts_of_a_silent_daemon_are_old(office: Office) -> None:
    office.answer()
    assert "| in | c | 1 | 1 |" in await office.show("/refused")
    office.answer(answered=-1e9)
    shown = await office.show("/refused")
    assert "ward does not answer: its counts are old" in shown
    assert "| in | c | unknown | 1 |" in shown


async def test_a_route_on_which_all_fails_is_said(office: Office) -> None:
    """Its key may be wrong; the daemon cannot tell that from a flood of strangers."""
    office.answer(routes=(ROUTE._replace(requests=1_200, errors=1_200),))
    shown = await office.show("/fleet")
    assert "ward: route in: all 1,200 messages failed" in shown
    assert "✓" not in shown


async def test_refused_messages_are_shown_by_sender(office: Office) -> None:
    pair = XKeyPair.generate()
    office.people._names = {pair.public: "ward"}  # noqa: SLF001 - no source of trust
    known, odd = str(pair.public), f"X{'A' * 55}"
    senders = {
        ("replay", RefusedSender(known, True)): 1,
        ("stale", RefusedSender(known, False)): 2,
        ("stale", RefusedSender(odd, False)): 3_000,
        ("malformed", RefusedSender("", False)): 4,
    }
    office.answer(routes=(ROUTE._replace(senders=senders),))
    shown = (await office.show("/refused")).splitlines()
    start = next(at for at, row in enumerate(shown) if row.startswith("Sender | Code"))
    assert shown[start + 1 : start + 5] == [
        f"ward {known} authenticated | replay | ward | in | c | 1 | 1 |",
        f"unknown {odd} not verified | stale | ward | in | c | 3,000 | 3,000 |",
        f"ward {known} not verified | stale | ward | in | c | 2 | 2 |",
        "others, or none stated | malformed | ward | in | c | 4 | 4 |",
    ]


async def test_only_the_most_frequent_refusals_are_shown(office: Office) -> None:
    senders = {("stale", RefusedSender(f"X{n:055}", False)): n for n in range(1, 251)}
    routes = tuple(ROUTE._replace(name=f"r{n}", refused={"stale": n}) for n in range(1, 250))
    office.answer(routes=(ROUTE._replace(senders=senders), *routes))
    shown = await office.show("/refused")
    assert f"X{250:055}" in shown
    assert f"X{50:055}" not in shown
    assert "| r249 |" in shown
    assert "| r49 |" not in shown
    assert shown.count("50 more rows with fewer messages") == 2


def answer(fleet: Fleet, **more: Any) -> None:
    """Let a fleet take an answer, whose daemon is not silent."""
    fleet._add(DAEMON._replace(**{"answered": monotonic()} | more))  # noqa: SLF001 - no server


async def test_a_rate_falls_although_nothing_is_refused(office: Office) -> None:
    fleet, begun, rates, pages = office.fleet, monotonic(), [], set[str]()
    for seconds, count in ((0, 1), (10, 5), (40, 5), (65, 5), (75, 5)):
        route = ROUTE._replace(refused={"replay": count})
        answer(fleet, answered=begun + seconds, routes=(route,))
        rates.append(fleet.refusals[0].minute)
        pages.add(repr(fleet._shown()))  # noqa: SLF001 - whether pages are rendered again
    assert rates == [0, 4, 4, 4, 0]
    assert len(pages) == 3


async def test_long_answers_fill_bounded_memory(office: Office) -> None:
    fleet, size = office.fleet, 1 << 18
    for number in range(16):
        answer(fleet, id=str(number), size=size)
    assert not fleet.is_cut
    answer(fleet, id="new", size=1)
    assert fleet.is_cut
    assert len(fleet.daemons) == 16
    answer(fleet, id="0", size=size, answered=monotonic() - 9)
    answer(fleet, id="new", size=1)
    assert {each.id for each in fleet.daemons} == {"new", *map(str, range(1, 16))}
    for second in range(1_000):
        answer(fleet, id="1", size=size, answered=monotonic() + second)
    assert len(fleet._history["ward", "1"]) < 20  # noqa: SLF001 - its memory


async def test_a_stream_is_well_only_if_it_can_be_read(office: Office) -> None:
    office.sample()
    shown = await office.show("/streams")
    assert "✓ S: all 1 sampled" in shown
    assert "None was found." in shown
    office.sample(problem="no answer within 5 s", read=NOW)
    shown = await office.show("/streams")
    assert "✓" not in shown
    assert f"no answer within 5 s; last read {NOW:%Y-%m-%d %H:%M:%S}" in shown
    office.sample(samples=(Sample(1, "a", NOW, "xkm1", False),))
    shown = await office.show("/streams")
    assert "✓" not in shown
    assert "no sampled message is on a subject of [[subject]]" in shown


async def test_a_lost_connection_is_said_on_every_page(office: Office) -> None:
    office.answer()
    office.sample()
    office.connection.note(Event("disconnected"))
    office.connection.note(Event("error", DeliveryError("user authentication expired" + "x" * 999)))
    for path in ("/", "/fleet", "/refused", "/rotation", "/streams"):
        shown = await office.show(path)
        assert "! not connected to a NATS server" in shown
        assert "authentication expired" in shown
        assert "✓" not in shown
    assert len(str(office.connection.problems)) < 500
    office.connection.note(Event("connected"))
    assert office.connection.problems == []
    assert "✓" in await office.show("/fleet")
    assert "lost 1 times" in await office.show("/refused")


async def test_a_missing_permission_is_named(office: Office) -> None:
    for number in range(100):
        error = DeliveryError(f'permissions violation for publish to "{number}"')
        office.connection.note(Event("error", error))
    assert len(office.connection.problems) == 16
    office.connection.note(Event("connected"))
    for _ in range(9):
        office.connection.note(Event("error", REFUSAL))
    [problem] = office.connection.problems
    assert "does not permit publishing on $SRV.STATS" in problem
    assert "xkeymsg permissions --console" in problem
    assert "$SRV.STATS" in await office.show("/refused")


async def test_lost_advisories_and_failed_collectors_are_said(office: Office) -> None:
    office.connection.note(Event("slow", subject="_INBOX.x", dropped=9))
    assert office.connection.problems == []
    office.connection.note(Event("slow", subject=f"{ADVISORY}.S.*", dropped=7))
    office.connection.fail("the fleet")
    shown = await office.show("/refused")
    assert "7 advisories" in shown
    assert "the fleet cannot be read" in shown


async def test_a_wrong_clock_is_said(office: Office) -> None:
    assert minutes_ahead({}) == minutes_ahead({"ts": "x"}) == 0
    for minutes in (-600, 0, 600):
        at = datetime.now(UTC) + timedelta(minutes=minutes, seconds=1)
        assert abs(minutes_ahead({"ts": at.isoformat()}) - minutes) <= 1
    office.sample(minutes_ahead=-3)
    assert "the clock of the NATS server is 3 min behind" in await office.show("/fleet")


async def test_no_key_is_safe_to_erase_while_a_stream_is_unread(office: Office) -> None:
    pair = XKeyPair.generate()
    key = KeyState(pair.public, "retired", NOW, NOW, NOW)
    office.know(key)
    office.sample(oldest=NOW + timedelta(days=1))
    made = [each._replace(made=NOW) for each in office.quarantines.states]
    office.quarantines.states[:] = made
    assert "could not be read" not in await office.show("/rotation")
    for state in ({"problem": "x"}, {"made": None}, {"oldest": None}):
        office.sample(**{"oldest": NOW + timedelta(days=1)} | state)
        assert "S could not be read: it may hold" in await office.show("/rotation")
    office.sample(oldest=NOW)
    assert "S holds messages of its time" in await office.show("/rotation")
    missing = made[0]._replace(problem="there is no such stream", made=None)
    office.quarantines.states[0] = missing
    assert "P could not be read" in await office.show("/rotation")
    office.quarantines.states[0] = missing._replace(is_missing=True)
    assert "could not be read" not in await office.show("/rotation")
    office.streams.states.clear()
    assert "the configuration has no streams" in await office.show("/rotation")


async def test_what_a_message_names_is_no_accusation(office: Office) -> None:
    """Anyone can publish a message that names a retired key."""
    pair = XKeyPair.generate()
    at = NOW - timedelta(days=1)
    office.know(KeyState(pair.public, "retired", at, at, at))
    office.seen.note(inspect(Sealer(pair).seal(b"", to=[pair.public], subject="a")), "S")
    shown = await office.show("/rotation")
    assert "messages name a retired key of ward as their sender" in shown
    assert "still seals" not in shown.replace("it still seals with it, or someone else", "")


async def test_policies_are_read_again_after_an_error(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, office: Office
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[[rule]]\npattern = '/**'\nreaders = ['a']\n")
    sections = (SubjectSection(subject="a", policy=cast(Any, str(policy))),)
    accesses = Accesses(sections, office.people, Changes())
    with monkeypatch.context() as patched:
        patched.setattr(office.people, "resolve", {}.pop)
        with pytest.raises(KeyError):
            await accesses.run()
    task = asyncio.create_task(accesses.run())
    await until(lambda: accesses.has_read)
    task.cancel()
    assert [each.subject for each in accesses.all] == ["a"]


async def test_a_directory_that_does_not_exist_is_said(
    jetstream_server: NATSServer, tmp_path: Path
) -> None:
    store = Store(tmp_path / "HOSPITAL")
    store.add("ward")
    options = ConnectOptions(servers=(jetstream_server.url,))
    given = {"folder": str(store.folder), "anchor": store.operator.public, "directory": True}
    section = SourcesSection.model_validate(given)
    people = People(section, NatsSection(), Changes())
    async with open_link(options) as link, people.following(link):
        await until(lambda: "xkeymsg directory init" in people.problem)
        assert people.problem.startswith("the directory is not read yet: ")


@asynccontextmanager
async def sampling(server: NATSServer) -> AsyncIterator[tuple[API, Streams]]:
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        api = API(link)
        yield api, Streams(api, ("S",), lambda _: True, SeenSenders(lambda _: True), Changes())


async def test_a_stream_that_was_made_again_is_sampled_again(jetstream_server: NATSServer) -> None:
    async with sampling(jetstream_server) as (api, streams):
        envelope = Sealer(XKeyPair.generate()).seal(
            b"", to=[XKeyPair.generate().public], subject="s"
        )
        for data in (envelope, b"plain"):
            await api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
            for _ in range(3):
                await api.link.request("s", data, timeout=DEADLINE)
            before = streams.states["S"]
            streams.states["S"] = state = await streams._look(before)  # noqa: SLF001 - one round
            assert state.share == (data == b"plain")
            assert state.is_known
            assert state.minutes_ahead == 0
            await api.request("STREAM.DELETE.S")


@pytest.mark.parametrize("part", ["a", '"a b"', "'='", r'"\""', "-", '""'])
@pytest.mark.parametrize("dot", [".", " .\t"])
async def test_a_policy_that_takes_too_long_to_parse_is_refused(
    tmp_path: Path, office: Office, part: str, dot: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[[rule]]\npattern = '/**'\nreaders = ['a']\n")
    section = SubjectSection(subject="a", policy=cast(Any, str(policy)))
    accesses = Accesses((section,), office.people, Changes())
    count = 100_000 // len(part + dot)
    for text in (dot.join([part] * count) + "=1", f"[{dot.join([part] * count)}]", " " * 140_000):
        assert "expected at most" in str(await accesses.compare_text("a", text))
    for text in (policy.read_text(), "#" + "word " * 9_000, "#" + '"' * 9_000, "x" * 90_000):
        assert "expected at most" not in str(await accesses.compare_text("a", text))


HOSTILE = "</script>\"'><img src=x onerror=alert(1)>\u202e\u2066\x00\x1b[2J\ud800{{7*7}}"


async def test_hostile_text_is_text_everywhere(office: Office) -> None:
    office.answer(name=HOSTILE, id=HOSTILE, version=HOSTILE, ready=False)
    route = FleetRoute(
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        2**53,
        2**53,
        HOSTILE,
        {"error": 2**53},
        True,
        0.0,
        2.0**53,
        {("error", RefusedSender("<img src=x>", True)): 2**53},
    )
    office.answer(name=HOSTILE, routes=(route,), key_age=2.0**53)
    for ready in (True, None):
        office.answer(name=HOSTILE, routes=(route,), ready=ready, answered=-1e9)
    samples = (Sample(2**53, HOSTILE, datetime.max.replace(tzinfo=UTC), "", True),)
    consumers = (ConsumerState(HOSTILE, 2**53, 1, 1),)
    office.sample(samples=samples, exposed=samples, consumers=consumers, problem=HOSTILE)
    pair = XKeyPair.generate()
    early = datetime.min.replace(tzinfo=UTC)
    record = RefusedMessage(
        1, early, "refused", HOSTILE, HOSTILE, 1, HOSTILE, "1 of 2", 1, "xkm1", pair.public, early
    )
    states = office.quarantines.states
    states[:] = [each._replace(newest=(record,), problem=HOSTILE) for each in states]
    office.people._all = [  # noqa: SLF001 - no source of trust
        Person(
            HOSTILE,
            HOSTILE,
            (HOSTILE,),
            (KeyState(pair.public, "retired", early, early, early),),
            HOSTILE,
        )
    ]
    office.seen.note(inspect(Sealer(pair).seal(b"", to=[pair.public], subject="a")), HOSTILE)
    office.connection.note(Event("disconnected", DeliveryError(HOSTILE)))
    for path in ("/", "/fleet", "/refused", "/rotation", "/streams"):
        page = await office.show_raw(path)
        assert "<img" not in page
        assert '</script>"' not in page
        assert not {"\u202e", "\u2066", "\x00", "\x1b"} & set(page)


@pytest.mark.parametrize("collector", ["quarantines", "streams"])
async def test_each_page_that_shows_senders_follows_the_messages(collector: str) -> None:
    class Refusing:
        async def request(self, _: str) -> None:
            raise REFUSAL

    api, changes = cast(Any, Refusing()), Changes()
    seen = SeenSenders(lambda _: True)
    collectors: dict[str, Quarantines | Streams] = {
        "quarantines": Quarantines(api, "U", "P", seen, changes),
        "streams": Streams(api, ("S",), lambda _: True, seen, changes),
    }
    for path in ("/fleet", "/rotation"):
        events = cast(AsyncGenerator[bytes, None], changes.events(path))
        assert b"retry" in await anext(events)
        task = asyncio.create_task(collectors[collector].run())
        try:
            async with asyncio.timeout(DEADLINE):
                assert b"changed" in await anext(events)
        finally:
            task.cancel()
            await events.aclose()
        collectors[collector].has_asked = False
