"""The hospital at work: a server that cannot read, and four receivers that each read their part.

    python -m examples.hospital.demo

Starts a nats-server with JetStream and four receiver daemons, each with a key of its own; streams
all 1,066 FHIR resources as sealed documents; shows what came, what an outsider sees, and what is
on the server's disk. Exits with 1 if anything is not as it should be; leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import xkeymsg
from examples.hospital.receivers import Receiver
from examples.hospital.roles import HERE, ROLES, document_of, fields, resources
from examples.hospital.screen import Rows, Screen, table
from examples.hospital.search import search, texts
from xkeymsg import ANYONE, NotARecipientError, Opener, Peers, Policy, XKeyPair
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions, create_durable
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.raw import RawSubscription

STREAM, PLAIN = "EHR", "PLAIN"
BILLS = {"Claim", "ExplanationOfBenefit"}
PEOPLE = {"Patient", "Organization", "Practitioner"}
STUDIED = {"Observation", "Condition"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IN_FLIGHT = 64
PATIENCE = 60.0
"""Seconds without another message after which no more is waited for."""
FLUSH = 60.0
"""Seconds in which the server has written what it has taken."""

PATIENT = "018f428e-34f6-4707-8009-5ad742f901e7"
OBSERVATION = "f13d3b8d-0097-4b35-8d6e-31c73ac2601c"
SHOWN = {
    PATIENT: {
        "/name/0/family": "family name",
        "/birthDate": "born",
        "/address/0/line/0": "street",
        "/telecom/0/value": "telephone",
        "/maritalStatus/text": "marital status",
        "/address/0/extension/0/extension/0/valueDecimal": "latitude of home",
    },
    OBSERVATION: {
        "/code/coding/0/display": "what was found",
        "/component/1/valueQuantity/value": "how much",
        "/effectiveDateTime": "when",
        "/subject/reference": "whose it is",
    },
}
VISIBLE = ("format", "bytes", "message id", "sender", "created", "subject", "recipients")
WITHHELD, ABSENT = "WITHHELD", "-"


def is_for(role: str, kind: str) -> bool:
    """Tell whether anything in a resource of that type is for a role: else it does not ask."""
    match role:
        case "audit":
            return True
        case "clinic":
            return kind not in BILLS
        case "billing":
            return kind in BILLS | PEOPLE
        case _:
            return kind in STUDIED


class Problems:
    """What is not as it should be."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, holds: object, otherwise: str) -> None:
        """Take note of what does not hold."""
        if not holds:
            self.found.append(otherwise)


# --- before ---------------------------------------------------------------------------------------


async def set_up(api: API, kinds: set[str]) -> None:
    """Make the stream, and a durable for each role: of the types of which it may read anything."""
    await api.request(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": ["ehr.>"]})
    for role in ROLES:
        wanted = sorted(f"ehr.{kind}" for kind in kinds if is_for(role, kind))
        options = DurableOptions(filter_subjects=() if role == "audit" else wanted)
        await create_durable(api, STREAM, role, options.config(role))


def write_peers(path: Path, sender: XKeyPair, receivers: Iterable[Receiver]) -> Peers:
    """Write who may send, for the receivers; return who reads what, for the sender."""
    path.write_text(f'[peers.ward]\nxkey = "{sender.public}"\nsubjects = ["ehr.>"]\n')
    return Peers.parse(
        "".join(
            f'[peers.{each.role}]\nxkey = "{each.key.public}"\npermissions = ["{each.role}"]\n'
            for each in receivers
        )
    )


# --- while it runs --------------------------------------------------------------------------------


async def send(client: Client, records: list[dict[str, Any]]) -> None:
    """Seal every resource, each once for all roles, and have the stream keep it."""
    policy, room = Policy.load(HERE / "policy.toml"), asyncio.Semaphore(IN_FLIGHT)

    async def publish(resource: dict[str, Any]) -> None:
        async with room:
            subject = f"ehr.{resource['resourceType']}"
            await client.js.publish_document(subject, document_of(resource), policy=policy)

    async with asyncio.TaskGroup() as group:
        for resource in records:
            group.create_task(publish(resource))


class Outsider:
    """Somebody who may read all of the stream, and has no key that counts."""

    def __init__(self) -> None:
        self.key = XKeyPair.generate()
        self.messages: list[bytes] = []

    async def listen(self, subscription: RawSubscription) -> None:
        """Take what comes."""
        async for raw in subscription:
            self.messages.append(raw.data)


async def watch(screen: Screen, receivers: list[Receiver], outsider: Outsider, total: int) -> None:
    """Draw the table until everything has come, or nothing more does."""
    rows, since = counted(receivers, outsider, total), time.monotonic()
    while not all(each.is_done for each in receivers) or len(outsider.messages) < total:
        screen.draw(rows)
        await asyncio.sleep(0.1)
        before, rows = rows, counted(receivers, outsider, total)
        if rows != before:
            since = time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            break
    screen.draw(counted(receivers, outsider, total), last=True)


def counted(receivers: list[Receiver], outsider: Outsider, total: int) -> Rows:
    """Return the table of who received what."""
    rows = [("", "messages", "of", "fields read")]
    rows += [
        (each.role, f"{len(each.seen):,}", f"{each.expected:,}", f"{each.fields:,}")
        for each in receivers
    ]
    return [*rows, ("outsider", f"{len(outsider.messages):,}", f"{total:,}", "0")]


# --- afterwards -----------------------------------------------------------------------------------


def show_one(resource: dict[str, Any], receivers: list[Receiver], problems: Problems) -> None:
    """Show what each role saw of one and the same message."""
    kind, everything = resource["resourceType"], dict(fields(resource))
    audit = next(each for each in receivers if each.role == "audit")
    message = next(
        (name for name, each in audit.seen.items() if each["document"] == document_of(resource)), ""
    )
    problems.check(message, f"{kind} {resource['id']} did not come to audit")
    views = [_view(each, message, kind) for each in receivers]
    print(f"\nWhat each sees of one and the same message, {kind} {resource['id'][:8]}…:\n")
    rows: Rows = [("", *ROLES)]
    for path, title in SHOWN[resource["id"]].items():
        cells = []
        for view in views:
            got = None if view is None else view.get(path)
            problems.check(got in (None, everything[path]), f"another value came at {path}")
            cells.append(ABSENT if view is None else WITHHELD if got is None else short(got))
        rows.append((title, *cells))
    for line in table(rows):
        print(f"  {line}")


def _view(receiver: Receiver, message: str, kind: str) -> dict[str, Any] | None:
    """Return what a role saw of a message; None if it did not come to it."""
    record = receiver.seen.get(message)
    return None if record is None else dict(fields(record["document"][kind]))


def short(value: object) -> str:
    """Return a value so that it fits a column."""
    text = str(value)
    return text if len(text) <= 14 else f"{text[:13]}…"


def show_outsider(outsider: Outsider, problems: Problems) -> None:
    """Show what somebody sees who may read all of the stream, and has no key that counts."""
    sealed = outsider.messages[-1]
    print("\nWhat an outsider sees, who reads all of the stream and has no key that counts:\n")
    done = subprocess.run(
        [sys.executable, "-m", "xkeymsg.cli", "inspect"],
        input=sealed, capture_output=True, check=True,
    )  # fmt: skip
    for line in done.stdout.decode().splitlines():
        if line.startswith(VISIBLE):
            print(f"  {line}")
    print(f"  {'contents':18}  {base64.b64encode(sealed[-48:]).decode()}")
    try:
        Opener(outsider.key, senders=ANYONE).open_document(sealed, subject="ehr.>")
    except NotARecipientError as error:
        print(f"  {'opened':18}  no: {error}")
    else:
        problems.check(False, "an outsider opened a message")


async def search_disk(
    server: NATSServer, api: API, sender: str, records: list[dict[str, Any]], problems: Problems
) -> None:
    """Search the server's store for every text of every resource, and show that it would find."""
    wanted = {text for resource in records for text in texts(resource)}
    deadline = time.monotonic() + FLUSH
    while True:  # what the server has in mind, it writes in a moment
        found = search(server.directory, [*wanted, sender])
        if found.texts.get(sender, 0) >= len(records) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    # The same search, of a stream into which one resource goes as it is.
    planted = json.dumps(records[0], ensure_ascii=False).encode()
    await api.request(f"STREAM.CREATE.{PLAIN}", {"name": PLAIN, "subjects": ["plain"]})
    await api.link.request("plain", planted, timeout=PATIENCE)
    [plain] = server.directory.rglob(f"streams/{PLAIN}")
    control = search(plain, wanted)
    keys = found.texts.pop(sender, 0)
    print(
        f"\nWhat is on the server's disk: {found.size:,} bytes, searched for {len(wanted):,} names,"
        f" addresses,\nidentifiers and other texts of the resources:\n"
    )
    rows: Rows = [
        ("", "found"),
        ("texts of the resources", f"{len(found.texts):,}"),
        ("the sender's public key, which every message carries", f"{keys:,}"),
        ("texts of one resource, when it was sent as it is afterwards", f"{len(control.texts):,}"),
    ]
    for line in table(rows):
        print(f"  {line}")
    problems.check(not found.texts, f"plaintext is on the disk: {len(found.texts)} texts")
    problems.check(keys == len(records), f"{keys} of {len(records)} messages are on the disk")
    least = set(texts(records[0]))
    problems.check(set(control.texts) >= least, "the search does not find what was planted")


def check_views(
    records: list[dict[str, Any]], receivers: list[Receiver], problems: Problems
) -> None:
    """Compare what was received with what was sent."""
    for each in receivers:
        count = f"{len(each.seen)} of {each.expected} messages came to {each.role}"
        problems.check(len(each.seen) == each.expected, count)
        problems.check(not each.repeated, f"{each.repeated} came twice to {each.role}")
    audit = next(each for each in receivers if each.role == "audit")
    got = sorted(json.dumps(record["document"], sort_keys=True) for record in audit.seen.values())
    sent = sorted(json.dumps(document_of(resource), sort_keys=True) for resource in records)
    problems.check(got == sent, "what audit received is not what was sent")


async def run(problems: Problems) -> None:
    """Run the whole story."""
    began = time.monotonic()
    records, sender = resources(), XKeyPair.generate()
    kinds = [resource["resourceType"] for resource in records]
    with NATSServer(jetstream=True) as server, tempfile.TemporaryDirectory() as name:
        receivers = [
            Receiver(role, Path(name), sum(is_for(role, kind) for kind in kinds)) for role in ROLES
        ]
        trust = write_peers(Path(name) / "peers.toml", sender, receivers)
        async with contextlib.AsyncExitStack() as stack:
            options = ConnectOptions(servers=(server.url,))
            link = await stack.enter_async_context(open_link(options))
            api = API(link)
            await set_up(api, set(kinds))
            await asyncio.gather(
                *(stack.enter_async_context(each.running(server.url, STREAM)) for each in receivers)
            )
            client = await stack.enter_async_context(
                xkeymsg.connect(server.url, key=sender, trust=trust)
            )
            print(
                f"A nats-server with JetStream, and four receivers, each a daemon with a key of its"
                f" own.\n{len(records):,} FHIR resources are sealed, each once for all of them:\n"
            )
            outsider = Outsider()
            listening = asyncio.create_task(outsider.listen(await link.subscribe("ehr.>")))
            await link.confirm()
            watching = asyncio.create_task(watch(Screen(), receivers, outsider, len(records)))
            await send(client, records)
            await watching
            listening.cancel()
            check_views(records, receivers, problems)
            for resource in records:
                if resource["id"] in SHOWN:
                    show_one(resource, receivers, problems)
            print(f"\n  ({ABSENT}: nothing in messages of that type is for it, and it takes none)")
            show_outsider(outsider, problems)
            await search_disk(server, api, str(sender.public), records, problems)
            info = await api.request("STREAM.INFO.XKM_UNPROVEN")
            kept = info["state"]["messages"]
            problems.check(not kept, f"{kept} messages are in quarantine")
    took = time.monotonic() - began
    if not problems.found:
        print(f"\nThere is no plaintext on the server. {took:.0f} seconds.")


async def interruptible(story: Coroutine[Any, Any, None]) -> None:
    """Run the story; the first signal cancels it, and everything that was started is ended.

    An exception that a handler raised could stop the event loop in the middle of ending a process.
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
    """Run the story; return 0 if everything was as it should be."""
    problems = Problems()
    asyncio.run(interruptible(run(problems)))
    for each in problems.found:
        print(f"This is not how it should be: {each}", file=sys.stderr)
    return 1 if problems.found else 0


def interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """End: nothing has been started yet."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for number in SIGNALS:
        signal.signal(number, interrupted)
    try:
        sys.exit(main())
    except BrokenPipeError:  # nobody reads on; everything that was started has been ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
