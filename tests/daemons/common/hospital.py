"""Daemons of two accounts that find each other in the directory and rotate their keys."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.daemons.receiver.conftest import OBSERVE, page
from tests.directory.realm import Realm
from tests.running import Program
from tests.trust.store import Person
from xkeymsg import XKey
from xkeymsg.key_stores.opening import list_certificates, list_keys

__all__ = ("STREAM_ROUTE", "Hospital", "lines", "ok", "opened", "route", "send")

STREAM_ROUTE = """
[[route]]
name = "in"
sink = "out"
stream = "MAIL"
durable = "ward"
create_durable = true
subjects = ["mail.>"]
[quarantine]
create = true
[sinks.out]
"""


class Hospital(Realm):
    """Writes configurations of daemons; each has a store of its own, empty at first."""

    def keys(self, name: str) -> Path:
        """The key store of a daemon."""
        path = self.folder.parent / f"{name}.keys"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def secrets(self, name: str) -> set[XKey]:
        """The keys in the store of a daemon."""
        return {XKey.parse(each.public()) for each in list_keys(f"file:{self.keys(name)}")}

    def certified(self, name: str) -> set[XKey]:
        """The keys in the store of a daemon that have a certificate."""
        return {XKey.parse(each) for each in list_certificates(f"file:{self.keys(name)}")}

    def config(
        self,
        person: Person,
        text: str,
        *,
        permissions: Iterable[str] = (),
        rotation: str = 'rotation = "self"\ninterval = "1h"\nretain = "20h"\n',
        store: str = "",
        trust: str = "",
        name: str = "",
        **jwt: Any,
    ) -> Path:
        """Write a configuration."""
        creds = self.login(person, *permissions, **jwt)
        folder = self.folder.parent
        insurer, clinic = self.insurer.public, self.account.public
        other = f'insurer = "{insurer}"' if self.of(person) is self.account else ""
        other = other or f'clinic = "{clinic}"'
        path = folder / f"{name or person.name}.toml"
        path.write_text(
            f'[key]\nkey_store = "{store or f"file:{self.keys(person.name)}"}"\n{rotation}'
            f'[nats]\nservers = ["{self.server.url}"]\ncreds = "{creds}"\n'
            f'[trust]\nfolder = "{self.folder}"\nanchor = "{self.operator.public}"\n'
            f"accounts = {{ {other} }}\ndirectory = true\n"
            f'marks = "{name or person.name}.marks"\n{trust}{OBSERVE}{text}'
        )
        path.chmod(0o600)
        return path


def send(sender: Program, *data: str) -> None:
    """Write lines to a sender."""
    assert sender.process.stdin is not None
    sender.process.stdin.write("".join(f"{each}\n" for each in data).encode())
    sender.process.stdin.flush()


def receiver(path: Path) -> Program:
    """Start a receiver."""
    return Program("receiver", "--config", str(path))


def sender(path: Path) -> Program:
    """Start a sender that reads lines."""
    return Program("sender", "--config", str(path), stdin=subprocess.PIPE)


def route(subject: str) -> str:
    return (
        f'[[route]]\nname = "in"\nsubject = "{subject}"\nsink = "out"\n'
        '[sinks.out]\nkind = "stdout"\n'
    )


def lines(to: str, *recipients: str) -> str:
    return (
        f'[[route]]\nname = "lines"\nstdin = true\nto = "{to}"\noutput = "core"\n'
        f"recipients = {json.dumps(recipients)}\n"
    )


def ok(where: str) -> Callable[[], bool]:
    """A condition: a daemon is ready."""
    return lambda: "NO" not in page(where, "/readyz")


def opened(folder: Path) -> set[str]:
    """The messages in the folder of a sink."""
    return {json.loads(each.read_text())["data"] for each in folder.glob("*.json")}
