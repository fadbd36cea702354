"""`push` to a server with the full resolver: verified first, read back, tried with a login."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.trust.admin import Admin, Member
from tests.cli.trust.test_walk_through import logs_in
from xkeymsg.nkey import Prefix, SigningKey
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.claims import Account
from xkeymsg.trust.jwt import Kind, issue


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    admin.run("add-account", "SYS", "--system")
    admin.run("add-signing-key", "SYS")
    admin.run("add-user", "SYS", "admin")
    return admin


@pytest.fixture
def server(admin: Admin) -> Iterator[NATSServer]:
    config = admin.run("export", "--resolver", "full", "--dir", "{dir}/jwt")
    with NATSServer(config) as running:
        yield running


def login(admin: Admin, server: NATSServer) -> tuple[object, ...]:
    return ("--server", server.url, "--creds", admin.creds("admin", "SYS"))


def jwt(admin: Admin) -> Path:
    return admin.folder / "accounts/CLINIC/CLINIC.jwt"


async def ask(admin: Admin, server: NATSServer, subject: str, data: bytes = b"") -> bytes:
    options = ConnectOptions(servers=(server.url,), creds=admin.creds("admin", "SYS"))
    async with open_link(options) as link:
        return (await link.request(subject, data, timeout=60)).data


async def looked_up(admin: Admin, server: NATSServer) -> str:
    key = Account.decode(jwt(admin).read_text()).claims.subject
    return (await ask(admin, server, f"$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP")).decode()


async def test_a_removed_key_ends_at_the_push(admin: Admin, server: NATSServer) -> None:
    leaked = admin.run("add-signing-key", "CLINIC")
    admin.run("push", *login(admin, server), "CLINIC", "-K", leaked)
    a = admin.join("a", "-K", leaked)
    assert await logs_in(server, a)
    assert admin.done("remove-signing-key", leaked).returncode == 1
    output = admin.run("push", *login(admin, server), "CLINIC")
    assert output.endswith("pushed; a user has logged in")
    assert not await logs_in(server, a)
    assert await looked_up(admin, server) == jwt(admin).read_text()
    again = admin.run("push", *login(admin, server), "CLINIC")
    assert again.endswith("is there already; a user has logged in")
    server.restart()
    assert admin.run("push", *login(admin, server), "CLINIC") == again


async def test_a_foreign_jwt_is_refused_before_it_is_sent(
    admin: Admin, server: NATSServer, tmp_path: Path
) -> None:
    honest = jwt(admin).read_text()
    claims = Account.decode(honest).claims
    stranger = Admin(tmp_path / "other")
    stranger.root.mkdir()
    stranger.begin("CLINIC")
    [path] = (stranger.keys / "O").rglob(
        f"{Account.decode(jwt(stranger).read_text()).claims.issuer}.nk"
    )
    forged = issue(
        Kind.ACCOUNT, SigningKey(path.read_text(), Prefix.OPERATOR), claims.subject,
        claims.nats, issued=claims.issued + 1,
    )  # fmt: skip
    jwt(admin).write_text(forged)
    assert "wrong_issuer" in admin.refused("push", *login(admin, server), "CLINIC")
    assert await looked_up(admin, server) == honest
    # Pushed by another tool, it would lock everybody out after a restart: ours replaces it.
    answer = await ask(admin, server, "$SYS.REQ.CLAIMS.UPDATE", forged.encode())
    assert json.loads(answer)["data"]["code"] == 200
    assert await looked_up(admin, server) == forged
    jwt(admin).write_text(honest)
    admin.run("push", *login(admin, server), "CLINIC")
    assert await looked_up(admin, server) == honest


async def test_a_whole_folder_of_another_operator_is_refused(
    admin: Admin, server: NATSServer, tmp_path: Path
) -> None:
    honest = jwt(admin).read_text()
    other = Admin(tmp_path / "other")
    other.root.mkdir()
    other.run("init")
    other.run("add-signing-key")
    key = Account.decode(honest).claims.subject
    other.run("add-account", "CLINIC", "--public-key", key)
    other.run("add-signing-key", "CLINIC")
    assert "wrong_issuer" in other.refused("push", *login(admin, server), "CLINIC")
    assert await looked_up(admin, server) == honest


async def test_a_signing_key_that_the_server_does_not_know_yet_is_refused(
    admin: Admin, server: NATSServer
) -> None:
    issuer = Account.decode(jwt(admin).read_text()).claims.issuer
    admin.run("add-signing-key")
    admin.run("remove-signing-key", issuer, "--reissue")
    assert "restart the server" in admin.refused("push", *login(admin, server))
    server.config = admin.run("export", "--resolver", "full", "--dir", "{dir}/jwt")
    server.restart()
    admin.run("push", *login(admin, server))


async def test_a_push_from_an_old_copy_of_the_folder_is_refused(
    admin: Admin, server: NATSServer, tmp_path: Path
) -> None:
    # Another administrator changes the operator's key, and revokes; this copy knows nothing of it.
    copy = Admin(tmp_path / "copy")
    shutil.copytree(admin.folder, copy.folder)
    shutil.copytree(admin.keys, copy.keys)
    issuer = Account.decode(jwt(admin).read_text()).claims.issuer
    new = admin.run("add-signing-key")
    admin.done("remove-signing-key", issuer, "--reissue")
    admin.run("revoke", "CLINIC", "*", "-K", new)
    config = admin.run("export", "--resolver", "full", "--dir", "{dir}/jwt")
    newest = jwt(admin).read_text()
    operator = admin.folder / "HOSPITAL.jwt"
    keeps = operator.read_text()
    server.config = config
    server.restart()
    admin.run("push", *login(admin, server))
    assert "old copy" in copy.refused("push", *login(copy, server), "CLINIC")
    assert await looked_up(admin, server) == newest
    assert operator.read_text() == keeps


async def test_an_older_jwt_and_one_of_the_same_second_are_refused(
    admin: Admin, server: NATSServer
) -> None:
    old = jwt(admin).read_text()
    admin.run("revoke", "CLINIC", "*")
    admin.run("push", *login(admin, server), "CLINIC")
    new = Account.decode(jwt(admin).read_text()).claims
    jwt(admin).write_text(old)
    assert "rollback" in admin.refused("push", *login(admin, server), "CLINIC")
    [path] = (admin.keys / "O").rglob(f"{new.issuer}.nk")
    equal = issue(
        Kind.ACCOUNT, SigningKey(path.read_text(), Prefix.OPERATOR), new.subject,
        Account.decode(old).claims.nats, issued=new.issued,
    )  # fmt: skip
    jwt(admin).write_text(equal)
    assert "conflict" in admin.refused("push", *login(admin, server), "CLINIC")
    assert await looked_up(admin, server) == new.text


async def test_a_login_is_tried_with_given_credentials(admin: Admin, server: NATSServer) -> None:
    a = admin.join("a")
    for seed in (admin.keys / "A").rglob("*.nk"):
        seed.rename(seed.with_suffix(".away"))
    assert "--login" in admin.refused("push", *login(admin, server), "CLINIC")
    admin.run("push", *login(admin, server), "CLINIC", "--login", a.creds)
    assert admin.run("push", *login(admin, server), "CLINIC", "--no-login").endswith("already")
    other = admin.creds("admin", "SYS")
    assert "wrong_account" in admin.refused(
        "push", *login(admin, server), "CLINIC", "--login", other
    )


async def test_a_login_that_fails_is_an_error(admin: Admin, server: NATSServer) -> None:
    a = admin.join("a")
    admin.run("revoke", "CLINIC", "a")
    done = admin.done("push", *login(admin, server), "CLINIC", "--login", a.creds)
    assert done.returncode == 1
    assert "pushed, but a login fails" in done.stderr.decode()


def test_a_server_without_a_full_resolver_is_named(admin: Admin) -> None:
    member: Member = admin.join("a")
    admin.run("revoke", "CLINIC", member.user)
    with NATSServer(admin.run("export")) as server:
        done = admin.done("push", *login(admin, server), "CLINIC")
    assert done.returncode == 1
    assert "full resolver" in done.stderr.decode()


def test_a_full_resolver_requires_a_system_account(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    assert "--system" in admin.refused("export", "--resolver", "full")
