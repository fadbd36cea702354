"""An administrator at the command line: `xkeymsg trust` on one operator's folder."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.running import run, run_here
from xkeymsg import Keyring, Trust, XKeyPair, write_seed

__all__ = ("Admin", "Member")

CLI = "xkeymsg.cli"
SEED = re.compile(rb"S[OAUX][A-Z2-7]{56}")


class Member:
    """A user with its credentials and its xkey."""

    def __init__(self, user: str, creds: Path, pair: XKeyPair) -> None:
        self.user = user
        self.creds = creds
        self.pair = pair

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.pair, user=self.user)


class Admin:
    """Runs verbs; each takes the operator's folder as its first argument.

    Only `forked` starts a process for each verb.
    """

    def __init__(self, root: Path, name: str = "HOSPITAL", *, forked: bool = False) -> None:
        self.root = root
        self.folder = root / name
        self.keys = root / "keys"
        self._forked = forked

    def done(self, verb: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        words = ("trust", verb, str(self.folder), *map(str, arguments))
        done = run(CLI, *words) if self._forked or verb == "push" else run_here(*words)
        assert not SEED.search(done.stdout + done.stderr), "a secret was printed"
        return done

    def run(self, verb: str, *arguments: object) -> str:
        """Run a verb that has to succeed; return its output."""
        done = self.done(verb, *arguments)
        assert done.returncode == 0, (verb, arguments, done.stderr.decode())
        return done.stdout.decode().strip()

    def refused(self, verb: str, *arguments: object) -> str:
        """Run a verb that has to fail, and to leave everything as it was; return the error."""
        before = self.state()
        done = self.done(verb, *arguments)
        assert done.returncode == 1, (verb, arguments, done.stdout.decode())
        assert self.state() == before
        return done.stderr.decode()

    def state(self) -> dict[str, bytes]:
        """Every file, and its content."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    def begin(self, *accounts: str) -> str:
        """Make an operator with a signing key, and accounts with one each; return the anchor."""
        anchor = self.run("init")
        self.run("add-signing-key")
        for account in accounts:
            self.run("add-account", account)
            self.run("add-signing-key", account)
        return anchor

    def creds(self, name: str, account: str = "CLINIC") -> Path:
        return self.keys / "creds" / self.folder.name / account / f"{name}.creds"

    def join(self, name: str, *more: object, account: str = "CLINIC") -> Member:
        """Add a user with a certified xkey."""
        user = self.run("add-user", account, name, *more)
        pair = XKeyPair.generate()
        write_seed(self.root / f"{name}.seed", pair)
        self.run("certify", account, user, pair.public)
        return Member(user, self.creds(name, account), pair)

    def load(self, anchor: str, account: str = "CLINIC", **more: Any) -> Trust:
        key = next(a["key"] for a in self.described()["accounts"] if a["name"] == account)
        return Trust.load(self.folder, anchor=anchor, account=key, **more)

    def described(self, *more: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("describe", "--json", *more))
        return found

    def status(self, *more: object) -> dict[str, str]:
        """The status of each user."""
        return {user["name"]: user["status"] for user in self.described(*more)["users"]}
