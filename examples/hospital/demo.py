"""The hospital over NATS: a server that cannot read, four receivers that each read their part.

    python -m examples.hospital.demo

Starts a nats-server in operator mode and four receiver daemons, which make their own keys and find
each other in the directory; publishes all 1,066 FHIR resources as sealed documents; shows what each
receiver read, what an outsider sees, and what is on the server's disk. Meanwhile one receiver
changes its key; in the end another one is revoked. Exits with 1 if a check fails; removes
everything that it created.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import xkeymsg
from examples.hospital.authority import SENDER, Authority
from examples.hospital.problems import Problems
from examples.hospital.receivers import Receiver
from examples.hospital.revocation import NOTICES, REVOKED, Revocation
from examples.hospital.roles import HERE, ROLES, document_of, resources
from examples.hospital.rotation import ROTATING, TIMES, SeenKeys, short_key, show_rotation
from examples.hospital.screen import Rows, Screen, table
from examples.hospital.search import search, texts
from examples.hospital.views import (
    ABSENT,
    SHOWN,
    Outsider,
    check_views,
    show_one,
    show_outsider,
)
from examples.hospital.waiting import becomes
from xkeymsg import Directory, Policy, Trust, XKeyPair
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions, create_durable
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

STREAM, PLAIN = "EHR", "PLAIN"
BILLS = {"Claim", "ExplanationOfBenefit"}
PEOPLE = {"Patient", "Organization", "Practitioner"}
STUDIED = {"Observation", "Condition"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IN_FLIGHT = 64
PATIENCE = 60.0
"""Seconds to wait for another message."""
FLUSH = 60.0
"""Seconds to wait until the server has written its messages to disk."""


def is_for(role: str, kind: str) -> bool:
    """Return whether a role may read anything in resources of a type, and so subscribes to it."""
    match role:
        case "audit":
            return True
        case "clinic":
            return kind not in BILLS
        case "billing":
            return kind in BILLS | PEOPLE
        case _:
            return kind in STUDIED


# --- set-up ---------------------------------------------------------------------------------------


async def set_up(api: API, kinds: set[str]) -> None:
    """Create the stream, and for each role a durable with the types that it may read from."""
    await api.request(
        f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": ["ehr.>", NOTICES]}
    )  # fmt: skip
    for role in ROLES:
        wanted = sorted(f"ehr.{kind}" for kind in kinds if is_for(role, kind))
        options = DurableOptions(filter_subjects=() if role == "audit" else [*wanted, NOTICES])
        await create_durable(api, STREAM, role, options.config(role))


def make_receivers(authority: Authority, kinds: list[str], times: str) -> list[Receiver]:
    """Return a receiver for each role; each gets credentials, and no key."""
    return [
        Receiver(
            role, authority.machine(role), sum(is_for(role, kind) for kind in kinds),
            times if role == ROTATING else "",
        )
        for role in ROLES
    ]  # fmt: skip


class OpenHospital(NamedTuple):
    """The sender, and the receivers whose keys it has found in the directory."""

    key: XKeyPair
    client: Client
    trust: Trust
    api: API
    receivers: list[Receiver]
    seen: SeenKeys


@contextlib.asynccontextmanager
async def opened(
    authority: Authority, server: NATSServer, kinds: list[str], times: str
) -> AsyncIterator[OpenHospital]:
    """Run the receivers and connect the sender during a block.

    Args:
        authority: Gives all of them their credentials.
        server: The server.
        kinds: The type of each resource that will be sent.
        times: The rotating receiver's settings.
    """
    await asyncio.to_thread(authority.open_directory, server.url)
    machine = authority.machine(SENDER)
    key = await asyncio.to_thread(authority.new_key, machine, server.url)
    receivers = make_receivers(authority, kinds, times)
    async with contextlib.AsyncExitStack() as stack:
        options = ConnectOptions(servers=(server.url,), creds=authority.boss, timeout=PATIENCE)
        api = API(await stack.enter_async_context(open_link(options)))
        await set_up(api, set(kinds))
        await asyncio.gather(
            *(stack.enter_async_context(e.running(server.url, STREAM)) for e in receivers)
        )
        trust = machine.trust()
        client = await stack.enter_async_context(
            xkeymsg.connect(
                server.url,
                key=key,
                trust=trust,
                directory=Directory(trust),
                creds=machine.creds,
                timeout=PATIENCE,
            )
        )
        seen = SeenKeys(trust)
        if not await becomes(lambda: all(map(seen.current, ROLES))):
            raise SystemExit("the receivers have not published their keys")
        yield OpenHospital(key, client, trust, api, receivers, seen)


def count_copies(folder: Path, receivers: list[Receiver], problems: Problems) -> int:
    """Return how many copies of the receivers' secret keys are in a folder."""
    seeds = [seed for each in receivers for seed in each.seeds()]
    found = search(folder, seeds).texts
    copies = sum(found.values()) - len(seeds)
    problems.check(set(found) == set(seeds), "the search does not find the secret keys")
    problems.check(not copies, f"{copies} copies of secret keys")
    return copies


# --- while it runs --------------------------------------------------------------------------------


async def send(client: Client, records: list[dict[str, Any]]) -> None:
    """Seal every resource once for all roles, and publish it to the stream."""
    policy, room = Policy.load(HERE / "policy.toml"), asyncio.Semaphore(IN_FLIGHT)

    async def publish(resource: dict[str, Any]) -> None:
        async with room:
            subject = f"ehr.{resource['resourceType']}"
            await client.js.publish_document(subject, document_of(resource), policy=policy)

    async with asyncio.TaskGroup() as group:
        for resource in records:
            group.create_task(publish(resource))


async def send_all(client: Client, records: list[dict[str, Any]], seen: SeenKeys) -> None:
    """Publish every resource: half of them before a receiver changes its key, half afterwards."""
    half, before = len(records) // 2, seen.current(ROTATING)
    await send(client, records[:half])
    await becomes(lambda: seen.current(ROTATING) not in (None, before))
    await send(client, records[half:])


class Watch:
    """The table of received messages, drawn while they arrive.

    Args:
        receivers: The receivers.
        outsider: The outsider.
        seen: The receivers' keys.
        total: The number of messages.
    """

    def __init__(
        self, receivers: list[Receiver], outsider: Outsider, seen: SeenKeys, total: int
    ) -> None:
        self._receivers, self._outsider = receivers, outsider
        self._seen, self._total = seen, total

    async def draw(self, sending: asyncio.Task[None]) -> None:
        """Draw the table until every message has arrived, or none has for `PATIENCE` seconds."""
        screen, rows, since = Screen(), self._rows(), time.monotonic()
        while not self._is_complete() and not (sending.done() and sending.exception()):
            screen.draw(rows)
            for each in self._receivers:
                each.keyrings()  # retired keys are deleted before long
            await asyncio.sleep(0.1)
            before, rows = rows, self._rows()
            if rows != before or not sending.done():
                since = time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                break
        screen.draw(self._rows(), last=True)

    def _is_complete(self) -> bool:
        return (
            all(e.is_done for e in self._receivers) and len(self._outsider.messages) >= self._total
        )

    def _rows(self) -> Rows:
        rows: Rows = [("", "messages", "of", "fields read", "sealed to")]
        for each in self._receivers:
            counts = len(each.seen), each.expected, each.fields
            key = short_key(self._seen.current(each.role))
            rows.append((each.role, *(f"{count:,}" for count in counts), key))
        heard = len(self._outsider.messages)
        return [*rows, ("outsider", f"{heard:,}", f"{self._total:,}", "0", short_key(None))]


# --- afterwards -----------------------------------------------------------------------------------


async def search_disk(
    server: NATSServer, api: API, sender: str, records: list[dict[str, Any]], problems: Problems
) -> None:
    """Search the server's store for every text of every resource, and check the search itself."""
    wanted = {text for resource in records for text in texts(resource)}
    deadline = time.monotonic() + FLUSH
    while True:  # the server writes messages to disk with a delay
        found = search(server.directory, [*wanted, sender])
        if found.texts.get(sender, 0) >= len(records) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    # Control: the same search, of a stream with one resource in plaintext.
    planted = json.dumps(records[0], ensure_ascii=False).encode()
    await api.request(f"STREAM.CREATE.{PLAIN}", {"name": PLAIN, "subjects": ["plain"]})
    await api.link.request("plain", planted, timeout=PATIENCE)
    [plain] = server.directory.rglob(f"streams/{PLAIN}")
    control = search(plain, wanted)
    keys = found.texts.pop(sender, 0)
    print(
        f"\nThe server's disk: {found.size:,} bytes, searched for {len(wanted):,} names,"
        f" addresses,\nidentifiers and other texts of the resources:\n"
    )
    rows: Rows = [
        ("", "found"),
        ("texts of the resources", f"{len(found.texts):,}"),
        ("the sender's public key, which every message carries", f"{keys:,}"),
        ("control: texts of one resource, sent in plaintext afterwards", f"{len(control.texts):,}"),
    ]
    for line in table(rows):
        print(f"  {line}")
    problems.check(not found.texts, f"plaintext on the disk: {len(found.texts)} texts")
    problems.check(keys == len(records), f"{keys} of {len(records)} messages are on the disk")
    least = set(texts(records[0]))
    problems.check(set(control.texts) >= least, "the search does not find the plaintext control")


async def run(problems: Problems) -> None:
    """Run the demonstration, and collect its problems."""
    print("Starting a nats-server and four receivers.", flush=True)
    began, records = time.monotonic(), resources()
    kinds = [resource["resourceType"] for resource in records]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        authority = Authority(Path(name))
        server = running.enter_context(NATSServer(authority.config, jetstream=True))
        async with opened(authority, server, kinds, TIMES) as hospital:
            key, client, trust, api, receivers, seen = hospital
            copies = count_copies(Path(name), receivers, problems)
            print(
                "\nA nats-server in operator mode, and four receiver daemons. Each has made its own"
                " key pair, and\npublished the public key in the directory; copies of secret keys:"
                f" {copies}.\n\n{len(records):,} FHIR resources are sealed, each once for all"
                " receivers:\n"
            )
            outsider = Outsider()
            listening = asyncio.create_task(outsider.listen(await api.link.subscribe("ehr.>")))
            await api.link.confirm()
            [rotating] = [each for each in receivers if each.role == ROTATING]
            sending = asyncio.create_task(send_all(client, records, seen))
            await Watch(receivers, outsider, seen, len(records)).draw(sending)
            await sending
            listening.cancel()
            check_views(records, receivers, problems)
            show_rotation(rotating, outsider.messages, problems)
            for resource in records:
                if resource["id"] in SHOWN:
                    show_one(resource, receivers, problems)
            print(f"\n  ({ABSENT}: the role reads nothing of this type and does not request it)")
            show_outsider(outsider, problems)
            await search_disk(server, api, str(key.public), records, problems)
            info = await api.request("STREAM.INFO.XKM_UNPROVEN")
            kept = info["state"]["messages"]
            problems.check(not kept, f"{kept} messages are in quarantine")
            revocation = Revocation(receivers, client, trust, api, problems)
            await revocation.show(partial(authority.revoke, REVOKED, server.url))
            print("\nStopping the receivers and the server.", flush=True)
    took = time.monotonic() - began
    if not problems.found:
        print(f"\nThere is no plaintext on the server. {took:.0f} seconds.")


async def interruptible(story: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine; the first signal cancels it, so that every started process is ended.

    An exception raised by a signal handler could stop the event loop while it ends a process.
    """
    loop, task = asyncio.get_running_loop(), asyncio.create_task(story)
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        if len(received) == 1:
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, interrupt, number)
    await asyncio.wait({task})
    if received:
        raise SystemExit(128 + received[0])
    task.result()


def main() -> int:
    """Run the demonstration; return 0 if every check passed."""
    problems = Problems()
    asyncio.run(interruptible(run(problems)))
    for each in problems.found:
        print(f"error: {each}", file=sys.stderr)
    return 1 if problems.found else 0


def interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """Exit: no process has been started yet."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for number in SIGNALS:
        signal.signal(number, interrupted)
    try:
        sys.exit(main())
    except BrokenPipeError:  # stdout is closed; every started process has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
