"""The hospital over NATS: a server that cannot read, four receivers that each read their part.

    python -m examples.hospital.demo [--trust]

Starts a nats-server with JetStream and four receiver daemons, each with its own key; publishes all
1,066 FHIR resources as sealed documents; shows what each receiver read, what an outsider sees, and
what is on the server's disk. Exits with 1 if a check fails; removes everything that it created.

With --trust, the server runs in operator mode: JWTs say who may connect, send and read, and there
is no peers file.
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
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import xkeymsg
from examples.hospital.authority import ADMIN, SENDER, Authority
from examples.hospital.receivers import Receiver
from examples.hospital.roles import HERE, ROLES, document_of, fields, resources
from examples.hospital.screen import Rows, Screen, table
from examples.hospital.search import search, texts
from xkeymsg import ANYONE, NotARecipientError, Opener, Peers, Policy, Trust, XKeyPair
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
"""Seconds to wait for another message."""
FLUSH = 60.0
"""Seconds to wait until the server has written its messages to disk."""

PATIENT = "018f428e-34f6-4707-8009-5ad742f901e7"
OBSERVATION = "f13d3b8d-0097-4b35-8d6e-31c73ac2601c"
SHOWN = {
    PATIENT: {
        "/name/0/family": "family name",
        "/birthDate": "birth date",
        "/address/0/line/0": "street",
        "/telecom/0/value": "telephone",
        "/maritalStatus/text": "marital status",
        "/address/0/extension/0/extension/0/valueDecimal": "home latitude",
    },
    OBSERVATION: {
        "/code/coding/0/display": "finding",
        "/component/1/valueQuantity/value": "value",
        "/effectiveDateTime": "time",
        "/subject/reference": "patient",
    },
}
VISIBLE = ("format", "bytes", "message id", "sender", "created", "subject", "recipients")
WITHHELD, ABSENT = "WITHHELD", "-"


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


class Problems:
    """The checks that failed."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, holds: object, otherwise: str) -> None:
        """Record a failure if a condition does not hold."""
        if not holds:
            self.found.append(otherwise)


# --- set-up ---------------------------------------------------------------------------------------


async def set_up(api: API, kinds: set[str]) -> None:
    """Create the stream, and for each role a durable with the types that it may read from."""
    await api.request(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": ["ehr.>"]})
    for role in ROLES:
        wanted = sorted(f"ehr.{kind}" for kind in kinds if is_for(role, kind))
        options = DurableOptions(filter_subjects=() if role == "audit" else wanted)
        await create_durable(api, STREAM, role, options.config(role))


def write_peers(path: Path, sender: XKeyPair, receivers: Iterable[Receiver]) -> Peers:
    """Write the receivers' peers file; return the sender's peers."""
    path.write_text(f'[peers.ward]\nxkey = "{sender.public}"\nsubjects = ["ehr.>"]\n')
    return Peers.parse(
        "".join(
            f'[peers.{each.role}]\nxkey = "{each.key.public}"\npermissions = ["{each.role}"]\n'
            for each in receivers
        )
    )


def arrange(
    folder: Path, sender: XKeyPair, receivers: list[Receiver], authority: Authority | None
) -> tuple[str, Peers | Trust, Path | None, Path | None]:
    """Return the server's configuration, the sender's trust, and two credentials.

    The first are the sender's, the second those of a user who may do everything.
    """
    if authority is None:
        return "", write_peers(folder / "peers.toml", sender, receivers), None, None
    authority.certify(SENDER, sender)
    for each in receivers:
        authority.certify(each.role, each.key)
    return (
        authority.config,
        authority.trust(),
        authority.creds(SENDER),
        authority.creds(ADMIN),
    )


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


class Outsider:
    """A subscriber that may read the whole stream but holds no recipient key."""

    def __init__(self) -> None:
        self.key = XKeyPair.generate()
        self.messages: list[bytes] = []

    async def listen(self, subscription: RawSubscription) -> None:
        """Collect every message."""
        async for raw in subscription:
            self.messages.append(raw.data)


async def watch(screen: Screen, receivers: list[Receiver], outsider: Outsider, total: int) -> None:
    """Draw the table until every message has arrived, or none has for `PATIENCE` seconds."""
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
    """Return the table of received messages."""
    rows = [("", "messages", "of", "fields read")]
    rows += [
        (each.role, f"{len(each.seen):,}", f"{each.expected:,}", f"{each.fields:,}")
        for each in receivers
    ]
    return [*rows, ("outsider", f"{len(outsider.messages):,}", f"{total:,}", "0")]


# --- afterwards -----------------------------------------------------------------------------------


def show_one(resource: dict[str, Any], receivers: list[Receiver], problems: Problems) -> None:
    """Show what each role saw of the same message."""
    kind, everything = resource["resourceType"], dict(fields(resource))
    audit = next(each for each in receivers if each.role == "audit")
    message = next(
        (name for name, each in audit.seen.items() if each["document"] == document_of(resource)), ""
    )
    problems.check(message, f"audit did not receive {kind} {resource['id']}")
    views = [_view(each, message, kind) for each in receivers]
    print(f"\nWhat each role sees of the same message, {kind} {resource['id'][:8]}…:\n")
    rows: Rows = [("", *ROLES)]
    for path, title in SHOWN[resource["id"]].items():
        cells = []
        for view in views:
            got = None if view is None else view.get(path)
            problems.check(got in (None, everything[path]), f"{path}: the received value differs")
            cells.append(ABSENT if view is None else WITHHELD if got is None else short(got))
        rows.append((title, *cells))
    for line in table(rows):
        print(f"  {line}")


def _view(receiver: Receiver, message: str, kind: str) -> dict[str, Any] | None:
    """Return what a role saw of a message; None if it did not receive it."""
    record = receiver.seen.get(message)
    return None if record is None else dict(fields(record["document"][kind]))


def short(value: object) -> str:
    """Return a value cut to the width of a column."""
    text = str(value)
    return text if len(text) <= 14 else f"{text[:13]}…"


def show_outsider(outsider: Outsider, problems: Problems) -> None:
    """Show what a subscriber without a recipient key sees."""
    sealed = outsider.messages[-1]
    print("\nWhat an outsider sees, who reads the whole stream but holds no recipient key:\n")
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


def check_views(
    records: list[dict[str, Any]], receivers: list[Receiver], problems: Problems
) -> None:
    """Compare the received documents with those sent."""
    for each in receivers:
        count = f"{each.role} received {len(each.seen)} of {each.expected} messages"
        problems.check(len(each.seen) == each.expected, count)
        problems.check(not each.repeated, f"{each.role} received {each.repeated} messages twice")
    audit = next(each for each in receivers if each.role == "audit")
    got = sorted(json.dumps(record["document"], sort_keys=True) for record in audit.seen.values())
    sent = sorted(json.dumps(document_of(resource), sort_keys=True) for resource in records)
    problems.check(got == sent, "the documents that audit received differ from those sent")


async def run(problems: Problems, *, in_operator_mode: bool) -> None:
    """Run the demonstration, and collect its problems."""
    began = time.monotonic()
    records, sender = resources(), XKeyPair.generate()
    kinds = [resource["resourceType"] for resource in records]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        receivers = [
            Receiver(role, Path(name), sum(is_for(role, kind) for kind in kinds)) for role in ROLES
        ]
        authority = Authority(Path(name)) if in_operator_mode else None
        config, trust, creds, admin = arrange(Path(name), sender, receivers, authority)
        server = running.enter_context(NATSServer(config, jetstream=True))
        async with contextlib.AsyncExitStack() as stack:
            options = ConnectOptions(servers=(server.url,), creds=admin)
            link = await stack.enter_async_context(open_link(options))
            api = API(link)
            await set_up(api, set(kinds))
            await asyncio.gather(
                *(
                    stack.enter_async_context(each.running(server.url, STREAM, authority))
                    for each in receivers
                )
            )
            client = await stack.enter_async_context(
                xkeymsg.connect(server.url, key=sender, trust=trust, creds=creds)
            )
            print(
                "A nats-server with JetStream, and four receiver daemons, each with its own key."
                f"\n{len(records):,} FHIR resources are sealed, each once for all receivers:\n"
            )
            if authority is not None:
                print(
                    "In operator mode: each receiver's permission is a tag of its JWT; there is no"
                    " peers file.\n"
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
            print(f"\n  ({ABSENT}: the role reads nothing of this type and does not request it)")
            show_outsider(outsider, problems)
            await search_disk(server, api, str(sender.public), records, problems)
            info = await api.request("STREAM.INFO.XKM_UNPROVEN")
            kept = info["state"]["messages"]
            problems.check(not kept, f"{kept} messages are in quarantine")
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


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demonstration; return 0 if every check passed."""
    if unknown := [each for each in arguments if each != "--trust"]:
        print(f"error: unknown argument {unknown[0]!r}; only --trust is known", file=sys.stderr)
        return 2
    problems = Problems()
    in_operator_mode = "--trust" in arguments
    asyncio.run(interruptible(run(problems, in_operator_mode=in_operator_mode)))
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
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # stdout is closed; every started process has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
