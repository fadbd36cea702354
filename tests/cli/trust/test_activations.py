"""Activation tokens of a removed signing key, in the imports of other accounts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.cli.trust.admin import Admin
from tests.cli.trust.test_changes import account, rows, signing_key
from tests.trust.chains.world import b64
from xkeymsg.nkey import Prefix, SigningKey
from xkeymsg.testing import NATSServer
from xkeymsg.trust.jwt import Kind, decode, issue


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    return admin


def write(admin: Admin, name: str, **nats: Any) -> None:
    """Issue an account again, with other members."""
    claims = account(admin, name).claims
    [path] = (admin.keys / "O").rglob(f"{claims.issuer}.nk")
    text = issue(
        Kind.ACCOUNT, SigningKey(path.read_text(), Prefix.OPERATOR), claims.subject,
        {**claims.nats, **nats}, issued=claims.issued, name=name,
    )  # fmt: skip
    (admin.folder / f"accounts/{name}/{name}.jwt").write_text(text)


def imports_of(admin: Admin, *tokens: object) -> list[dict[str, object]]:
    """Let the account INSURER import with these tokens; return the imports."""
    imports = [{"subject": f"ehr.{n}", "token": token} for n, token in enumerate(tokens)]
    write(admin, "INSURER", imports=imports)
    return imports


def activation(admin: Admin, issuer: str, to: str, **more: int) -> str:
    exporter = account(admin).claims
    [path] = (admin.keys / "A").rglob(f"{issuer}.nk")
    nats = {"subject": "ehr.0", "kind": "stream", "issuer_account": exporter.subject}
    return issue(
        Kind.ACTIVATION, SigningKey(path.read_text(), Prefix.ACCOUNT), to, nats,
        issued=exporter.issued, name="bills", **more,
    )  # fmt: skip


def test_activation_tokens_of_the_key_are_listed(admin: Admin) -> None:
    leaked = signing_key(admin)
    token = f"x.{b64(json.dumps({'iss': leaked}).encode())}.x"
    admin.run("add-account", "INSURER")
    imports = imports_of(admin, token, 7, "x", "a.b.c")
    listed = admin.done("remove-signing-key", leaked, "--dry-run").stdout.decode()
    assert rows(listed) == [["activation token", "INSURER", "ehr.0", "becomes invalid"]]
    # A later edit keeps what it does not know.
    admin.run("add-signing-key", "INSURER")
    assert account(admin, "INSURER").claims.nats["imports"] == imports


def test_activation_tokens_are_issued_again_in_the_importing_account(admin: Admin) -> None:
    leaked = signing_key(admin)
    other = admin.run("add-signing-key", "CLINIC")
    admin.run("add-account", "INSURER")
    importer = account(admin, "INSURER").claims.subject
    stranger = account(admin).claims.subject
    good, ended = (
        activation(admin, leaked, importer),
        activation(admin, leaked, importer, expires=1),
    )
    forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    tokens = [good, ended, forged, activation(admin, leaked, stranger), good]
    imports_of(admin, *tokens)
    done = admin.done("remove-signing-key", leaked, "--reissue")
    assert done.returncode == 1
    ends = [row[3] for row in rows(done.stdout.decode())]
    assert [each.split(" by ")[0] for each in (ends[0], ends[4])] == ["issued again"] * 2
    assert all(each.startswith("becomes invalid, not issued again") for each in ends[1:4])
    found = [each["token"] for each in account(admin, "INSURER").claims.nats["imports"]]
    assert found[1:4] == tokens[1:4]
    new, old = decode(found[0], Kind.ACTIVATION), decode(good, Kind.ACTIVATION)
    assert (new.issuer, new.subject, new.name, new.nats) == (other, importer, "bills", old.nats)
    assert new.issued > old.issued


def test_a_revoked_activation_token_is_not_issued_again(admin: Admin) -> None:
    leaked = signing_key(admin)
    admin.run("add-signing-key", "CLINIC")
    admin.run("add-account", "INSURER")
    importer = account(admin, "INSURER").claims.subject
    imports_of(admin, activation(admin, leaked, importer))
    issued = account(admin).claims.issued
    write(admin, "CLINIC", exports=[{"subject": "ehr.0", "revocations": {importer: issued}}, "x"])
    done = admin.done("remove-signing-key", leaked, "--reissue")
    assert "the export has revoked it" in done.stdout.decode()


async def arrives(admin: Admin) -> bool:
    """Whether a message that is published in CLINIC reaches a subscriber in INSURER."""
    with NATSServer(admin.run("export")) as server:
        takes, sends = [
            await nats.connect(server.url, user_credentials=str(admin.creds(name, of)))
            for of, name in (("INSURER", "taker"), ("CLINIC", "sender"))
        ]
        try:
            messages = await takes.subscribe("ehr.>")
            await takes.flush()
            for _ in range(100):  # the server uses an import shortly after it loads the accounts
                await sends.publish("ehr.0", b"x")
                await sends.flush()  # the server has delivered it by now
                await takes.flush()
                if messages.pending_msgs:
                    return True
                await asyncio.sleep(0.02)
            return False
        finally:
            await takes.close()
            await sends.close()


async def test_a_server_accepts_the_token_that_was_issued_again(admin: Admin) -> None:
    leaked = signing_key(admin)
    admin.run("add-user", "CLINIC", "sender")
    admin.run("add-account", "INSURER")
    admin.run("add-signing-key", "INSURER")
    admin.run("add-user", "INSURER", "taker")
    importer, exporter = (account(admin, name).claims.subject for name in ("INSURER", "CLINIC"))
    kind = {"name": "bills", "subject": "ehr.0", "type": "stream"}
    write(admin, "CLINIC", exports=[{**kind, "token_req": True}])
    token = activation(admin, leaked, importer)
    write(admin, "INSURER", imports=[{**kind, "account": exporter, "token": token}])
    assert await arrives(admin)
    admin.run("add-signing-key", "CLINIC")
    admin.run("remove-signing-key", leaked, "--reissue")
    assert await arrives(admin)
    write(admin, "INSURER", imports=[{**kind, "account": exporter, "token": token}])
    assert not await arrives(admin)
