"""The hospital as a NATS operator: who may send and read is in signed JWTs, not in a peers file.

`xkeymsg trust` makes everything here: an operator with a signing key, the accounts SYS and CLINIC,
and a user for each role with the permission of its name. Each user certifies its xkey.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from examples.hospital.roles import ROLES
from xkeymsg import Trust, XKeyPair
from xkeymsg.cli.command import command
from xkeymsg.daemons.common.terminal import run

__all__ = ("Authority",)

SENDER, ADMIN = "ward", "admin"


class Authority:
    """An operator's folder, with the secrets beside it.

    Args:
        folder: The folder for both.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "HOSPITAL"
        self._creds = folder / "keys" / "creds" / "HOSPITAL" / "CLINIC"
        self.anchor = self._run("init")
        self._run("add-signing-key")
        self._run("add-account", "SYS", "--system")
        self._run("add-account", "CLINIC", "--jetstream")
        self._run("add-signing-key", "CLINIC")
        self._run("add-user", "CLINIC", ADMIN, "--expires", "1d")
        self._run("add-user", "CLINIC", SENDER, "--allow-pub", "ehr.>", "--allow-sub", "_INBOX.>")
        for role in ROLES:
            self._run("add-user", "CLINIC", role, "--permission", role, "--deny-pub", "ehr.>")

    @property
    def config(self) -> str:
        """The server's configuration; it has no secret."""
        return self._run("export")

    def creds(self, user: str) -> Path:
        """Return the credentials of a user."""
        return self._creds / f"{user}.creds"

    def certify(self, user: str, pair: XKeyPair) -> None:
        """Certify the xkey of a user."""
        self._run("certify", "CLINIC", user, str(pair.public))

    def trust(self) -> Trust:
        """Return what the sender trusts."""
        return Trust.load(self.path, anchor=self.anchor, creds=self.creds(SENDER))

    def _run(self, verb: str, *arguments: str) -> str:
        """Run `xkeymsg trust VERB FOLDER …`; return its output."""
        output, said = io.StringIO(), io.StringIO()
        words = ["trust", verb, str(self.path), *arguments]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(said):
            code = run(command, "xkeymsg", words)
        if code:
            raise SystemExit(f"xkeymsg {' '.join(words)}: exit code {code}\n{said.getvalue()}")
        return output.getvalue().strip()
