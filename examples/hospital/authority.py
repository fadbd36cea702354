"""The hospital as a NATS operator: who may connect, send and read is in signed JWTs.

`xkeymsg` makes everything here: an operator with a signing key, the accounts SYS and CLINIC, a user
for each program, and the bucket of the directory. Its folder has no key that messages are sealed
to: each program makes its own, and publishes it in the directory.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

from examples.hospital.roles import ROLES
from xkeymsg import Trust, XKeyPair, read_seed
from xkeymsg.cli.command import command
from xkeymsg.daemons.common.terminal import run
from xkeymsg.trust.claims import User
from xkeymsg.trust.creds import parse_creds

__all__ = ("STAFF", "Authority", "Machine")

SENDER, BOSS, SYSTEM = "ward", "boss", "admin"
STAFF = "staff"
"""The permission of all receivers."""


class Machine:
    """What one program is given: a copy of the operator's folder, the anchor, its credentials.

    The copy has no users: their JWTs and keys come from the directory.
    """

    def __init__(self, folder: Path, anchor: str, creds: Path) -> None:
        self.folder, self.anchor, self.creds = folder, anchor, creds
        self.user = User.decode(parse_creds(creds.read_text())[0].text).claims.subject
        """The user key of the program."""

    @property
    def claims(self) -> Path:
        """The copy of the operator's folder."""
        return self.folder / "HOSPITAL"

    def trust(self) -> Trust:
        """Return what a program on this machine trusts."""
        return Trust.load(self.claims, anchor=self.anchor, creds=self.creds)


class Authority:
    """An operator's folder, with the secrets beside it.

    Args:
        folder: The folder for both.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "HOSPITAL"
        self._creds = folder / "keys" / "creds" / "HOSPITAL"
        self.anchor = self._trust("init")
        self._trust("add-signing-key")
        self._trust("add-account", "SYS", "--system")
        self._trust("add-signing-key", "SYS")
        self._trust("add-user", "SYS", SYSTEM, "--expires", "1d")
        self._trust("add-account", "CLINIC", "--jetstream")
        self._trust("add-signing-key", "CLINIC")
        self._trust("share-directory", "CLINIC")
        self._trust("add-user", "CLINIC", BOSS, "--expires", "1d")
        self._trust("add-user", "CLINIC", SENDER, "--deny-sub", "ehr.>")
        for role in ROLES:
            permissions = ("--permission", role, "--permission", STAFF)
            self._trust("add-user", "CLINIC", role, *permissions, "--deny-pub", "ehr.>")

    @property
    def config(self) -> str:
        """The server's configuration; it has no secret."""
        return self._trust("export", "--resolver", "full", "--dir", "{dir}/jwt")

    @property
    def boss(self) -> Path:
        """The credentials of a user of CLINIC who may do everything."""
        return self._creds / "CLINIC" / f"{BOSS}.creds"

    def add_user(self, user: str, *rights: str) -> None:
        """Add a user of CLINIC, with flags of `xkeymsg trust add-user`."""
        self._trust("add-user", "CLINIC", user, "--expires", "1d", *rights)

    def machine(self, user: str) -> Machine:
        """Return the machine of a user of CLINIC."""
        folder = self._folder / user
        without = shutil.ignore_patterns("users")
        shutil.copytree(self._path, folder / "HOSPITAL", ignore=without)
        return Machine(folder, self.anchor, self._creds / "CLINIC" / f"{user}.creds")

    def open_directory(self, url: str) -> None:
        """Create the bucket."""
        self._run("directory", "init", "--creds", str(self.boss), *_at(url))

    def new_key(self, machine: Machine, url: str) -> XKeyPair:
        """Make and publish a key of a program that is not a daemon."""
        path = machine.folder / "own.seed"
        words = ["--anchor", machine.anchor, "--creds", str(machine.creds), *_at(url)]
        self._run("rotate", str(machine.claims), *words, "--out", str(path))
        return read_seed(path)

    def revoke(self, user: str, url: str) -> None:
        """Revoke a user, and tell the server and the directory."""
        self._trust("revoke", "CLINIC", user)
        creds = self._creds / "SYS" / f"{SYSTEM}.creds"
        self._trust("push", "CLINIC", "--creds", str(creds), *_at(url))

    def _trust(self, verb: str, *arguments: str) -> str:
        return self._run("trust", verb, str(self._path), *arguments)

    def _run(self, *words: str) -> str:
        """Run `xkeymsg …`; return its output."""
        output, said = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(said):
            code = run(command, "xkeymsg", list(words))
        if code:
            raise SystemExit(f"xkeymsg {' '.join(words)}: exit code {code}\n{said.getvalue()}")
        return output.getvalue().strip()


def _at(url: str) -> tuple[str, ...]:
    """Return the flags for a server on a machine that may be busy."""
    return "--server", url, "--timeout", "60s"
