"""Resealing a stream while the process is killed at random: each message once, counts balance."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.scale.outcome import Outcome, counted
from xkeymsg import Opener, Sealer, XKeyPair
from xkeymsg.client.jetstream.api import API
from xkeymsg.envelope.inspect import message_id
from xkeymsg.limits import AtRest
from xkeymsg.origins import id_text
from xkeymsg.reseal.reader import Begin, stored_messages
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

__all__ = ("reseal",)

ALICE, RITA, CAROL, EVE = (XKeyPair.generate() for _ in range(4))
_WINDOW = 5
"""Seconds of the target's duplicate window, which have passed before the process starts again: the
ledger and the target alone have to recognize what was copied before a kill."""
_STRANGERS = 50
"""One message in so many is a stranger's, and one in so many is stored again."""


async def reseal(messages: int = 100_000, kills: int = 10, pause: float = _WINDOW + 1) -> Outcome:
    """Reseal messages, of which some are copies and some a stranger's, and kill the process."""
    outcome = Outcome()
    with TemporaryDirectory(prefix="xkeymsg-reseal-") as path, NATSServer(jetstream=True) as server:
        folder = Path(path)
        write_seed(folder / "rita.seed", RITA)
        pairs = {"alice": ALICE, "rita": RITA, "carol": CAROL}
        (folder / "peers.toml").write_text(
            "".join(
                f'[peers.{name}]\nxkey = "{pair.public}"\nsubjects = ["orders.>"]\n'
                for name, pair in pairs.items()
            )
        )
        async with open_link(ConnectOptions(servers=(server.url,), timeout=60)) as link:
            api = API(link, timeout=60)
            for name, subjects in (("ORDERS", ["orders.>"]), ("COPIES", ["reseal.COPIES.>"])):
                config: dict[str, object] = {"name": name, "subjects": subjects}
                if name == "COPIES":
                    config["subject_transform"] = {"src": "reseal.COPIES.>", "dest": ">"}
                    config["duplicate_window"] = _WINDOW * 10**9
                await api.request(f"STREAM.CREATE.{name}", config)
            names, copies, strangers = await _fill(api, messages)
            begun = time.monotonic()
            killed = await _killed(api, folder, server.url, messages, kills, pause)
            outcome.note(f"killed after copies: {killed}")
            said = await _run(folder, server.url)
            outcome.note(f"seconds with {kills} kills: {time.monotonic() - begun:.1f}")
            outcome.expect("exit code", 3, said)  # some were refused
            found = await _copies(api)
            outcome.expect("copies", messages, found.total())
            outcome.expect("messages without exactly one copy", 0, len(set(names) ^ set(found)))
            outcome.expect("most copies of a message", 1, max(found.values()))
            state = json.loads((folder / "ledger").read_text())
            total = messages + copies + strangers
            outcome.expect("read", total, state["read"])
            outcome.expect("resealed", messages, state["resealed"])
            outcome.expect("skipped", counted({"copy": copies}), counted(state["skipped"]))
            refused = counted({"sender_not_admitted": strangers})
            outcome.expect("refused", refused, counted(state["refused"]))
            outcome.expect("ahead", [], state["ahead"])
    return outcome


async def _fill(api: API, messages: int) -> tuple[list[str], int, int]:
    """Store the messages; return their ids, and how many copies and strangers' were added."""
    alice, eve = Sealer(ALICE), Sealer(EVE)
    to, subject = [RITA.public], "orders.new"
    names, copies, strangers = [], 0, 0
    for number in range(messages):
        envelope = alice.seal(b"%d" % number, to=to, subject=subject)
        names.append(id_text(message_id(envelope)))
        await api.link.publish(subject, envelope)
        if not secrets.randbelow(_STRANGERS):
            await api.link.publish(subject, envelope)
            copies += 1
        if not secrets.randbelow(_STRANGERS):
            await api.link.publish(subject, eve.seal(b"x", to=to, subject=subject))
            strangers += 1
    await api.link.confirm()
    total = messages + copies + strangers
    async with asyncio.timeout(300):
        while await _count(api, "ORDERS") < total:  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.05)
    return names, copies, strangers


async def _count(api: API, stream: str) -> int:
    return int((await api.request(f"STREAM.INFO.{stream}"))["state"]["messages"])


def _command(folder: Path, url: str) -> list[str]:
    given = ("--seed", folder / "rita.seed", "--peers", folder / "peers.toml")
    flags = ("--into", "COPIES", "--add", "carol", "--ledger", folder / "ledger", "-s", url)
    return [sys.executable, "-m", "xkeymsg", "reseal", "ORDERS", *map(str, (*flags, *given))]


async def _started(folder: Path, url: str) -> asyncio.subprocess.Process:
    quiet = asyncio.subprocess.DEVNULL
    env = os.environ | {"NATS_CONTEXT": ""}
    return await asyncio.create_subprocess_exec(
        *_command(folder, url), stdout=quiet, stderr=quiet, env=env
    )


async def _run(folder: Path, url: str) -> int:
    return await (await _started(folder, url)).wait()


async def _killed(
    api: API, folder: Path, url: str, messages: int, kills: int, pause: float
) -> list[int]:
    """Start the process and kill it after a random number of copies, so many times."""
    killed = []
    for until in sorted(secrets.randbelow(messages * 9 // 10) for _ in range(kills)):
        process = await _started(folder, url)
        async with asyncio.timeout(300):
            while await _count(api, "COPIES") < until:  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.001)
        await asyncio.sleep(secrets.randbelow(50) / 1000)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        killed.append(await _count(api, "COPIES"))
        await asyncio.sleep(pause)
    return killed


async def _copies(api: API) -> Counter[str]:
    """Return how many copies each original has; every copy is opened."""
    opener, found = Opener(CAROL, {RITA.public}, replay=AtRest()), Counter[str]()
    async for stored in stored_messages(api, "COPIES", Begin()):
        resealed = opener.open(stored.data, subject="orders.new").resealed
        assert resealed is not None
        [origin] = resealed.origins
        assert origin.sender == ALICE.public
        found[id_text(origin.message_id)] += 1
    return found
