"""`-K` in all its forms; a forbidden issuer is refused before anything is written."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.cli.trust.admin import Admin
from tests.running import run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Admin, dict[str, str]]:
    """An operator with an account that has an unscoped and a scoped key."""
    admin = Admin(tmp_path_factory.mktemp("trust"))
    keys = {"identity": admin.run("init"), "operator": admin.run("add-signing-key")}
    keys["account"] = admin.run("add-account", "CLINIC")
    keys["signing"] = admin.run("add-signing-key", "CLINIC")
    keys["scoped"] = admin.run(
        "add-signing-key", "CLINIC", "--role", "reader", "--grant", "billing",
        "--allow-sub", "ehr.billing.>", "--allow-pub", "own.{{account-subject()}}.{{subject()}}",
    )  # fmt: skip
    return admin, keys


def place(admin: Admin, key: str) -> Path:
    return admin.keys / key[0] / key[1:3] / f"{key}.nk"


def test_a_file_stdin_a_public_key_and_a_role_name_the_issuer(
    made: tuple[Admin, dict[str, str]],
) -> None:
    admin, keys = made
    file = place(admin, keys["signing"])
    admin.run("add-user", "CLINIC", "by-file", "-K", file)
    admin.run("add-user", "CLINIC", "by-key", "-K", keys["signing"])
    admin.run("add-user", "CLINIC", "by-default")
    admin.run("add-user", "CLINIC", "by-role", "-K", "reader", "--permission", "billing")
    command = ("xkeymsg.cli", "trust", "add-user", str(admin.folder), "CLINIC", "by-stdin")
    assert run(*command, "-K", "-", data=file.read_bytes()).returncode == 0
    for name in ("by-file", "by-key", "by-default", "by-stdin"):
        assert f"| Issuer ID      | {keys['signing']}" in admin.run("describe", name)
    shown = admin.run("describe", "by-role")
    assert f"| Issuer ID      | {keys['scoped']}" in shown
    assert "| Known As       | reader:by-role" in shown


def test_a_key_that_stdin_has_not_yet_sent_stops_no_other_edit(
    made: tuple[Admin, dict[str, str]],
) -> None:
    admin, keys = made
    seed = place(admin, keys["signing"]).read_bytes()
    command = [sys.executable, "-m", "xkeymsg.cli", "trust", "add-user", str(admin.folder)]
    with subprocess.Popen([*command, "CLINIC", "slow", "-K", "-"], stdin=subprocess.PIPE) as slow:
        assert slow.stdin is not None
        os.write(slow.stdin.fileno(), seed[:10])
        while fcntl.ioctl(slow.stdin, termios.FIONREAD, bytes(4)) != bytes(4):
            assert slow.poll() is None
            time.sleep(0.01)
        admin.run("add-user", "CLINIC", "quick")
        slow.communicate(seed[10:], timeout=60)
    assert slow.returncode == 0
    assert {"slow", "quick"} <= admin.status().keys()


@pytest.mark.parametrize("form", ["file", "key"])
def test_the_operators_identity_issues_no_account(
    made: tuple[Admin, dict[str, str]], form: str
) -> None:
    admin, keys = made
    key = keys["identity"] if form == "key" else place(admin, keys["identity"])
    error = admin.refused("add-account", "OTHER", "-K", key)
    assert error.startswith("xkeymsg: identity_issuer: the operator's identity may not issue")
    assert f"use -K {keys['operator']} (in the key folder)" in error


def test_only_the_identity_issues_the_operator(made: tuple[Admin, dict[str, str]]) -> None:
    admin, keys = made
    error = admin.refused("add-signing-key", "-K", keys["operator"])
    assert f"use -K {keys['identity']}" in error


def test_the_accounts_identity_issues_no_user_of_a_strict_operator(
    made: tuple[Admin, dict[str, str]],
) -> None:
    admin, keys = made
    error = admin.refused("add-user", "CLINIC", "no", "-K", keys["account"])
    assert "identity_issuer: the account's identity may not issue users of CLINIC" in error
    assert keys["signing"] in error


def test_a_stranger_and_a_key_of_another_kind_issue_nothing(
    made: tuple[Admin, dict[str, str]], tmp_path: Path
) -> None:
    admin, keys = made
    for kind in ("account", "user", "operator"):
        run("xkeymsg.cli", "keygen", "--type", kind, "--out", str(tmp_path / kind))
        for verb in (("add-user", "CLINIC", "no"), ("add-account", "NO"), ("add-signing-key",)):
            assert "wrong_issuer" in admin.refused(*verb, "-K", tmp_path / kind)
    run("xkeymsg.cli", "keygen", "--out", str(tmp_path / "curve"))
    assert "key_store" in admin.refused("add-account", "NO", "-K", tmp_path / "curve")
    assert "wrong_issuer" in admin.refused("add-account", "NO", "-K", keys["signing"])


def test_a_seed_as_an_argument_is_refused_and_not_repeated(
    made: tuple[Admin, dict[str, str]],
) -> None:
    admin, keys = made
    seed = place(admin, keys["operator"]).read_text()
    error = admin.refused("add-account", "NO", "-K", seed)
    assert "is a secret seed" in error
    assert seed not in error


def test_keys_that_others_can_read_are_refused(
    made: tuple[Admin, dict[str, str]], tmp_path: Path
) -> None:
    admin, keys = made
    path = tmp_path / "open.nk"
    path.write_bytes(place(admin, keys["operator"]).read_bytes())
    path.chmod(0o644)
    assert "chmod 600" in admin.refused("add-account", "NO", "-K", path)


def test_a_role_and_a_key_without_a_seed_are_named(made: tuple[Admin, dict[str, str]]) -> None:
    admin, keys = made
    file = place(admin, keys["scoped"])
    hidden = file.rename(file.with_suffix(".away"))
    try:
        assert "no seed of a key of the role" in admin.refused(
            "add-user", "CLINIC", "no", "-K", "reader"
        )
        assert f"no seed of {keys['scoped']}" in admin.refused(
            "add-user", "CLINIC", "no", "-K", keys["scoped"]
        )
    finally:
        hidden.rename(file)
    assert "cannot read" in admin.refused("add-user", "CLINIC", "no", "-K", "writer")


def test_a_scoped_key_gives_no_more_than_its_role(made: tuple[Admin, dict[str, str]]) -> None:
    admin, _ = made
    add = ("add-user", "CLINIC", "no", "-K", "reader")
    assert "excessive_claim" in admin.refused(*add, "--permission", "audit")
    assert "excessive_claim" in admin.refused(*add, "--allow-pub", "ehr.>")


@pytest.mark.parametrize(
    "subject", ["ehr.{{tag(perm)}}.>", "who.{{name()}}", "{{subject()}", "a..b", "a b", "ehr.{{x}}"]
)
def test_templates_have_safe_expressions_only(
    made: tuple[Admin, dict[str, str]], subject: str
) -> None:
    admin, _ = made
    admin.refused("add-signing-key", "CLINIC", "--role", "writer", "--allow-pub", subject)


@pytest.mark.parametrize("role", ["", "Reader", "a:b", "a b"])
def test_a_role_that_could_grant_nothing_is_refused(
    made: tuple[Admin, dict[str, str]], role: str
) -> None:
    admin, _ = made
    admin.refused("add-signing-key", "CLINIC", "--role", role)


@pytest.mark.parametrize(
    "name", ["taken", "TAKEN", "a/b", "a:b", "a*", ">", "..", ".hidden", "a b", "", "x" * 65]
)
def test_names_that_route_wrongly_are_refused(
    made: tuple[Admin, dict[str, str]], name: str
) -> None:
    admin, _ = made
    if name.casefold() == "taken" and not admin.creds("taken").exists():
        admin.run("add-user", "CLINIC", "taken")
    admin.refused("add-user", "CLINIC", name)


def test_several_keys_require_a_choice(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    second = admin.run("add-signing-key", "CLINIC")
    assert f"{second}" in admin.refused("add-user", "CLINIC", "ward-a")
    admin.run("add-user", "CLINIC", "ward-a", "-K", second)


def test_without_strict_signing_keys_an_accounts_identity_issues(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.run("init", "--allow-identities")
    admin.run("add-signing-key")
    account = admin.run("add-account", "CLINIC")
    admin.run("add-user", "CLINIC", "ward-a")
    assert f"| Issuer ID      | {account}" in admin.run("describe", "ward-a")
    assert admin.described()["accounts"][0]["valid_signers"] == [account]


def test_a_forged_account_is_not_issued_again(tmp_path: Path) -> None:
    honest, thief = Admin(tmp_path / "a"), Admin(tmp_path / "b")
    for each in (honest, thief):
        each.root.mkdir()
        each.begin("CLINIC")
    forged = (thief.folder / "accounts/CLINIC/CLINIC.jwt").read_text()
    (honest.folder / "accounts/CLINIC/CLINIC.jwt").write_text(forged)
    assert "wrong_issuer" in honest.refused("add-signing-key", "CLINIC")
    assert "wrong_issuer" in honest.refused("revoke", "CLINIC", "*")
    assert "wrong_issuer" in honest.refused("add-user", "CLINIC", "ward-a")
    assert honest.done("export").returncode == 1
    assert honest.done("verify").returncode == 1
