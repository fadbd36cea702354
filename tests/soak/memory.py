"""What a receiver's memory does under load: `python -m tests.soak --memory 600`.

A receiver daemon opens what comes on a subject and writes it to /dev/null. At first it is frozen
for seconds, so that everything that may wait in it has waited once: what is resident afterwards, a
pause of the machine cannot explain. Its resident memory is read once a second. What comes after
warming up is judged twice: by the slope of a straight line through all of it, which a busy machine
moves, and by its floor, which only what is never given back can raise.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.running import DEADLINE, until
from tests.soak.pages import read_metrics
from xkeymsg import Sealer, XKey, XKeyPair
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import read_seed, write_seed

LARGEST: Final = 80 << 20
"""Bytes that a receiver at work may have resident."""
STEEPEST: Final = 1 << 20
"""Bytes a minute that the slope may be: messages that wait while the machine pauses, at the end."""
RISING: Final = 1 << 18
"""Bytes a minute by which the floor may rise, which is less than a byte a message. Marks against
replay are 75 KB a minute until those of the first session are forgotten, after nine minutes."""
_BURST: Final = 0.01
_FREEZE: Final = 5.0
"""Seconds for which the receiver is frozen: more messages than it has room for."""
_WARM: Final = 0.1
"""The part of a run that is not judged."""

CONFIG = """\
[key]
seed_file = "bob.seed"
[trust]
peers = "peers.toml"
[nats]
servers = ["{url}"]
[[route]]
name = "orders"
subject = "orders.>"
max_in_flight = 1024
sink = "out"
[sinks.out]
kind = "stdout"
[observe]
listen = "unix:{folder}/metrics"
"""


class Growth(NamedTuple):
    """What was measured."""

    seconds: float
    received: int
    delivered: int
    dropped: int
    ready: int
    """Bytes resident before the first message."""
    peak: int
    """Bytes resident, at most."""
    slope: float
    """Bytes a minute, once it was warm."""
    rise: float
    """The same of its floor."""
    samples: list[int]

    @property
    def rate(self) -> float:
        """Messages a second that were delivered."""
        return self.delivered / self.seconds

    def errors(self) -> list[str]:
        """Return what is not as it has to be."""
        wrong = []
        if self.peak >= LARGEST:
            wrong.append(f"{self.peak / 2**20:.1f} MB are resident, and {LARGEST >> 20} may be")
        if self.slope >= STEEPEST or self.rise >= RISING:
            wrong.append("it grows")
        return wrong

    def lines(self) -> list[str]:
        """Return it for people."""
        shown = self.samples[:: max(1, len(self.samples) // 12)]
        return [
            f"memory of a receiver, {self.seconds:.0f} s",
            f"  delivered      {self.delivered:>12,}  ({self.rate:,.0f} a second)",
            f"  dropped        {self.dropped:>12,}",
            f"  resident       {self.ready / 2**20:>12.1f} MB when it is ready",
            f"                 {self.peak / 2**20:>12.1f} MB at the peak",
            f"                 {self.samples[-1] / 2**20:>12.1f} MB at the end",
            f"  slope, warm    {self.slope / 2**10:>+12.1f} KB a minute",
            f"  floor, warm    {self.rise / 2**10:>+12.1f} KB a minute",
            f"  over time      {' '.join(f'{each / 2**20:.1f}' for each in shown)} MB",
            *(f"  WRONG: {each}" for each in self.errors() or ()),
        ]


async def feed(url: str, folder: str, to: str, rate: float) -> None:
    """Publish so many a second, until ended."""
    sealer, recipients = Sealer(read_seed(Path(folder) / "alice.seed")), [XKey.parse(to)]
    headers = encode_block({"sender": str(sealer.public)})
    async with open_link(ConnectOptions(servers=(url,), timeout=DEADLINE)) as link:
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        while True:
            for _ in range(max(1, int(rate * _BURST))):
                data = b'{"n": %d, "pad": "%s"}' % (number, b"x" * 250)
                envelope = sealer.seal(data, to=recipients, subject="orders.new")
                await link.publish("orders.new", envelope, headers=headers)
                number += 1
            due = max(due + max(1, int(rate * _BURST)) / rate, loop.time() - 1)
            await asyncio.sleep(max(0, due - loop.time()))


def resident(pid: int, what: str = "VmRSS") -> int:
    """Return a process's resident memory in bytes."""
    for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    return 0


def slope(samples: list[int]) -> float:
    """Return how steep a straight line through samples of every second is, a minute."""
    count = len(samples)
    middle, mean = (count - 1) / 2, sum(samples) / count
    across = sum((at - middle) ** 2 for at in range(count)) or 1.0
    return 60 * sum((at - middle) * (each - mean) for at, each in enumerate(samples)) / across


def rise(samples: list[int]) -> float:
    """Return by how much the least of the last third is above that of the first, a minute."""
    third = max(1, len(samples) // 3)
    return 60 * (min(samples[-third:]) - min(samples[:third])) / max(1, len(samples) - third)


async def memory(seconds: float, rate: float = 5_000) -> Growth:
    """Measure a receiver for so long; it is frozen for a tenth of that, at most."""
    with NATSServer() as server, tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        alice, bob = XKeyPair.generate(), XKeyPair.generate()
        write_seed(folder / "alice.seed", alice)
        write_seed(folder / "bob.seed", bob)
        peers = f'[peers.alice]\nxkey = "{alice.public}"\nsubjects = ["orders.>"]\n'
        (folder / "peers.toml").write_text(peers)
        path = folder / "receiver.toml"
        path.write_text(CONFIG.format(url=server.url, folder=folder))
        python, quiet = sys.executable, asyncio.subprocess.DEVNULL
        receiver = await asyncio.create_subprocess_exec(
            python, "-m", "receiver", "--config", str(path),
            stdout=quiet, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert receiver.stderr is not None
        feeder = None
        try:
            async with asyncio.timeout(DEADLINE):
                while b" ready " not in await receiver.stderr.readline():
                    pass
            ready = resident(receiver.pid)
            settings = [server.url, str(folder), str(bob.public), str(rate)]
            feeder = await asyncio.create_subprocess_exec(
                python, "-m", "tests.soak.memory", *settings, stderr=quiet
            )
            # It begins with the first message, however long those who start take.
            await until(lambda: asyncio.to_thread(_has_delivered, folder / "metrics"))
            freezing = asyncio.create_task(_freeze(receiver, min(_FREEZE, seconds / 10)))
            samples, begun = [], time.monotonic()
            while (took := time.monotonic() - begun) < seconds:
                await asyncio.sleep(1)
                samples.append(resident(receiver.pid))
            counts = await asyncio.to_thread(_counts, folder / "metrics")
            peak = resident(receiver.pid, "VmHWM")
            took = time.monotonic() - begun
            await freezing
        finally:
            for process in (feeder, receiver):
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.wait()
    warm = samples[int(len(samples) * _WARM) :]
    return Growth(took, *counts, ready, peak, slope(warm), rise(warm), samples)


async def _freeze(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Let messages flow, and then wait for a process that does not run."""
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def _has_delivered(path: Path) -> bool:
    return _counts(path)[1] > 0


def _counts(path: Path) -> tuple[int, int, int]:
    """Ask the receiver what it has counted."""
    found = read_metrics(path)
    names = ("received", "delivered", "dropped")
    received, delivered, dropped = (
        int(found[f'xkeymsg_{name}_total{{route="orders"}}']) for name in names
    )
    return received, delivered, dropped


if __name__ == "__main__":
    asyncio.run(feed(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
