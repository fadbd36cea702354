"""Rotation under load and kills: a sender and a receiver that rotate their keys lose nothing."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.daemons.common.hospital import STREAM_ROUTE, Hospital
from tests.running import DEADLINE, Program, until
from tests.scale.outcome import Outcome
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions, create_durable
from xkeymsg.transport.link import Link

KEYS = 'rotation = "self"\ninterval = "{0}s"\nlead = "2s"\nretain = "{1}s"\n'
ACK_WAIT = 4.0
"""Seconds after which what a killed daemon had is delivered again."""
RECEIVER = f'{STREAM_ROUTE}kind = "stdout"\n'
SENDER = """
[source]
servers = ["{url}"]
creds = "{creds}"
[[route]]
name = "out"
stream = "PLAIN"
durable = "alice"
create_durable = true
subject = "plain.>"
to = "mail.{{>}}"
output = "jetstream"
on_refused = "terminate"
recipients = ["ward"]
"""


class Flow:
    """Both daemons, which are killed and started again, and what has arrived."""

    def __init__(self, hospital: Hospital, stack: ExitStack, interval: int) -> None:
        alice, ward = hospital.person("alice"), hospital.person("ward")
        keys = KEYS.format(interval, 24 * interval)
        text = SENDER.format(url=hospital.server.url, creds=hospital.login(alice))
        self._paths = {
            "receiver": hospital.config(ward, RECEIVER, rotation=keys),
            "sender": hospital.config(alice, text, rotation=keys),
        }
        self._stack = stack
        self._programs = {name: self._start(name) for name in self._paths}
        self._ended: list[Program] = []

    def _start(self, name: str) -> Program:
        return self._stack.enter_context(Program(name, "--config", str(self._paths[name])))

    def kill(self) -> None:
        """Kill one of them with SIGKILL, and start it again."""
        name = secrets.choice([*self._programs])
        program = self._programs[name]
        program.process.send_signal(signal.SIGKILL)
        program.wait()
        self._ended.append(program)
        self._programs[name] = self._start(name)

    def arrived(self) -> set[int]:
        """The numbers of the messages that the receiver has written."""
        found = set()
        for program in (*self._ended, self._programs["receiver"]):
            for line in list(program.output("out")):
                try:
                    found.add(int(json.loads(line)["data"]))
                except ValueError:
                    continue  # cut off by a kill; the message is delivered again
        return found


async def rotation(kills: int = 100, per_second: int = 1000, interval: int = 10) -> Outcome:
    """Kill daemons at random times while messages flow and keys rotate, at least twice."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="xkeymsg-rotation-") as folder, ExitStack() as stack:
        hospital = Hospital(Path(folder) / "HOSPITAL")
        async with hospital.running(), hospital.admin() as link:
            api = API(link, timeout=DEADLINE)
            for name, durable in (("PLAIN", "alice"), ("MAIL", "ward")):
                subject = f"{name.lower()}.>"
                await api.request(f"STREAM.CREATE.{name}", {"name": name, "subjects": [subject]})
                options = DurableOptions(filter_subjects=(subject,), ack_wait=ACK_WAIT)
                await create_durable(api, name, durable, options.config(durable))
            flow = Flow(hospital, stack, interval)
            ended = asyncio.Event()
            feeding = asyncio.create_task(_feed(link, per_second, ended))
            for _ in range(kills):
                await asyncio.sleep(secrets.randbelow(2500) / 1000 + 0.5)
                await asyncio.to_thread(flow.kill)
            people = ("alice", "ward")
            await until(lambda: all(len(hospital.secrets(each)) >= 3 for each in people))
            ended.set()
            sent = await feeding
            lost = await _lost(flow, sent)
            outcome.note(f"messages: {sent:,}; kills: {kills}")
            outcome.expect("lost", 0, lost)
            for name in people:
                keys = hospital.secrets(name)
                outcome.note(f"keys of {name}: {len(keys)}")
                if len(keys - hospital.certified(name)) > 1:  # a step may have just made one
                    outcome.errors.append(f"keys of {name} have no certificate")
            for name in ("XKM_UNPROVEN", "XKM_PROVEN"):
                state = (await api.request(f"STREAM.INFO.{name}"))["state"]
                outcome.expect(f"records in {name}", 0, state["messages"])
    return outcome


async def _feed(link: Link, per_second: int, ended: asyncio.Event) -> int:
    """Store numbered messages until the end; return how many."""
    number, begun = 0, time.monotonic()
    while not ended.is_set():
        due = int((time.monotonic() - begun) * per_second)
        for each in range(number, due):
            await link.publish("plain.new", str(each).encode())
        number = max(number, due)
        await link.confirm()
        await asyncio.sleep(0.02)
    return number


async def _lost(flow: Flow, sent: int) -> int:
    """Return how many messages do not arrive while others still do."""
    last, at = -1, time.monotonic()
    while (found := len(flow.arrived())) < sent and time.monotonic() < at + DEADLINE:
        if found != last:
            last, at = found, time.monotonic()
        await asyncio.sleep(1)
    return sent - found
