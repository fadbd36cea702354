"""`xkeymsg key`, and `-K` of the other verbs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import forked
from tests.key_stores.test_pkcs11 import PIN
from tests.key_stores.test_pkcs11 import token as token  # noqa: PLC0414 - a fixture
from tests.running import DEADLINE, ROOT, run_here
from xkeymsg import XKey, XKeyPair, read_seed, write_seed
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.trust.jwt import Kind, issue

PAIR = XKeyPair(bytes(range(100, 132)))


def run(
    *words: str | Path | XKey,
    env: Mapping[str, str] = os.environ,
    data: bytes = b"",
    code: int = 0,
    module: str = "xkeymsg.cli",
) -> str:
    """Run a program, check its exit code, and return its stdout and stderr."""
    done = forked.run([module, *map(str, words)], data, DEADLINE, env)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == code, text
    assert PAIR.seed() not in text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("method", ["lock", "create"])
def test_a_store_that_fails_shows_no_text_of_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(PAIR.seed())

    monkeypatch.setattr(FileProvider, method, fail)
    found = run_here("key", "generate", "--store", f"file:{tmp_path / 'own.seed'}")
    assert found.returncode == 1
    assert found.stderr == b"xkeymsg: key_store: the key store failed: RuntimeError\n"


def test_a_key_in_a_file(tmp_path: Path) -> None:
    store = f"file:{tmp_path / 'own.seed'}"
    public = run("key", "generate", "--store", store).strip()
    assert str(read_seed(tmp_path / "own.seed").public) == public
    assert "already exists" in run("key", "generate", "--store", store, code=1)
    assert run("key", "list", "-K", store).split() == [public]
    shown = run("key", "show", "-K", store)
    assert shown.startswith(f"{public}\nfingerprint ")
    assert "in memory while the program runs" in shown


def test_a_seed_is_imported_from_stdin_or_a_file(tmp_path: Path) -> None:
    write_seed(tmp_path / "seed", PAIR)
    store = f"file:{tmp_path / 'one'}"
    assert run("key", "import", "--store", store, tmp_path / "seed").strip() == str(PAIR.public)
    store = f"file:{tmp_path / 'two'}"
    data = f"{PAIR.seed()}\n".encode()
    assert run("key", "import", "--store", store, "-", data=data).strip() == str(PAIR.public)
    said = run("key", "import", "-K", "systemd:x", tmp_path / "seed", code=1)
    assert "cannot be written" in said


def test_stderr_of_a_command_is_shown_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir(mode=0o755)
    path = tmp_path / "bin" / "fails"
    path.write_text("#!/bin/sh\necho the vault is sealed >&2\nexit 2\n")
    path.chmod(0o755)
    said = run("key", "show", "-K", f"command:{path}", code=1)
    assert "ended with 2" in said
    assert "sealed" not in said
    said = run("key", "show", "-K", f"command:{path}", "--debug-store", code=1)
    assert "the vault is sealed" in said


def test_a_store_is_used_wherever_a_seed_file_is(tmp_path: Path) -> None:
    write_seed(tmp_path / "seed", PAIR)
    store, plain, sealed = f"file:{tmp_path / 'seed'}", tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(b"7 lamps")
    run("seal", "-K", store, "--to", PAIR.public, "-o", sealed, plain)
    run("open", "-K", store, "--from", PAIR.public, "-o", tmp_path / "opened", sealed)
    assert (tmp_path / "opened").read_bytes() == b"7 lamps"
    words = ("open", "--from", PAIR.public, sealed)
    assert "Missing option '--seed' or '--key-store'" in run(*words, code=2)
    both = ("-K", store, "--seed", tmp_path / "seed")
    assert "conflicts with --key-store" in run(*words, *both, code=2)


def test_a_key_is_deleted_by_its_public_key_only(tmp_path: Path) -> None:
    folder, one = tmp_path / "keys", tmp_path / "one.seed"
    folder.mkdir(mode=0o700)
    for path in (folder, one):
        store = f"file:{path}"
        public, other = run("key", "generate", "-K", store).strip(), PAIR.public
        assert "Missing argument 'PUBLIC_KEY'" in run("key", "delete", "-K", store, code=2)
        run("key", "delete", "-K", store, other, code=1)
        assert "expected the public key" in run("key", "delete", "-K", store, PAIR.seed(), code=1)
        assert run("key", "list", "-K", store).split() == [public]
        assert run("key", "delete", "-K", store, public).strip() == f"deleted {public}"
        run("key", "delete", "-K", store, public, code=1)
    assert not one.exists()
    assert run("key", "list", "-K", f"file:{folder}") == ""
    said = run("key", "delete", "-K", "systemd:x", PAIR.public, code=1)
    assert "cannot be written" in said


def test_keys_of_a_folder_that_a_daemon_owns_are_not_changed(tmp_path: Path) -> None:
    folder, seed = tmp_path / "keys", tmp_path / "seed"
    folder.mkdir(mode=0o700)
    store = f"file:{folder}"
    write_seed(seed, PAIR)
    public = run("key", "generate", "-K", store).strip()
    with FileProvider().lock(str(folder)):
        for words in (("generate",), ("import", seed), ("delete", public)):
            said = run("key", words[0], "-K", store, *words[1:], code=1)
            assert "another process changes this key store" in said
    assert run("key", "list", "-K", store).split() == [public]
    assert f"file {folder}/{public}.seed;" in run("key", "show", "-K", store)


def test_doctor_checks_a_folder_with_certificates(tmp_path: Path) -> None:
    """They last 30 days, and a retired key is kept for longer than its certificate lasts."""
    user = SigningKey(encode_seed(Prefix.USER, bytes(range(50, 82))), Prefix.USER)
    folder, provider, now = tmp_path / "keys", FileProvider(), int(time.time())
    folder.mkdir(mode=0o700)
    made = [provider.create(str(folder), Prefix.CURVE).public() for _ in range(4)]
    day = 86_400
    server = ("--server", "nats://127.0.0.1:1", "--timeout", "1s")

    def certify(public: str, begins: int, ends: int) -> str:
        text = issue(
            Kind.XKEY, user, public, {"issuer_account": None}, issued=now - 40 * day,
            not_before=now + begins, expires=now + ends,
        )  # fmt: skip
        provider.put_certificate(str(folder), public, text)
        return text

    certify(made[1], -40 * day, -10 * day)
    text = certify(made[3], 5 * day + 60, 35 * day)
    for age, expected in (
        (1, "ok certificate {}: expires in 29 days"),
        (26, "ok certificate {}: expires in 4 days"),
        (28, "warn certificate {}: expires in 2 days"),
        (33, "fail certificate {}: expired 3 days ago"),
    ):
        certify(made[0], -age * day, (30 - age) * day + (60 if age < 30 else -60))
        said = " ".join(run("doctor", "-K", f"file:{folder}", *server, code=1).split())
        assert expected.format(made[0]) in said
        for other in (
            f"ok certificate {made[1]}: of a retired key",
            f"warn certificate {made[2]} has no certificate yet",
            f"ok certificate {made[3]}: upcoming, valid in 5 days",
            "mode 0600, owner",
        ):
            assert other in said, said
    provider.put_certificate(str(folder), made[0], "garbage")
    provider.put_certificate(str(folder), made[1], text)
    said = " ".join(run("doctor", "-K", f"file:{folder}", *server, code=1).split())
    assert f"fail certificate {made[0]}: " in said
    assert f"fail certificate {made[1]}: certificate of {made[3]}" in said
    which = ("--key-match-by", "PublicKey", "--key-match", made[3])
    said = run("doctor", "-K", f"file:{folder}", *which, *server, code=1)
    assert made[3] in said
    assert made[0] not in said
    folder.chmod(0o770)
    said = run("doctor", "-K", f"file:{folder}", *server, code=1)
    assert "other users can change" in said


def test_a_match_needs_a_store(tmp_path: Path) -> None:
    (tmp_path / "sealed").write_bytes(b"")
    words = ("open", "--key-match", "x", "--from", PAIR.public, tmp_path / "sealed")
    assert "--key-match requires --key-store" in run(*words, code=2)


def test_doctor_checks_a_store() -> None:
    server = ("--server", "nats://127.0.0.1:1", "--timeout", "1s")
    env = os.environ | {"MY_SEED": PAIR.seed()}
    said = run("doctor", "-K", "environment:MY_SEED", *server, env=env, code=1)
    assert f"{PAIR.public}, fingerprint" in said
    assert "/proc/PID/environ" in said
    assert "not set" in run("doctor", "-K", "environment:OTHER", *server, env=env, code=1)


def test_a_token(token: tuple[Path, Mapping[str, str]]) -> None:
    folder, env = token
    pin = f"pin-source=file:{folder / 'pin'}"
    whole, own = f"pkcs11:token=xk?{pin}", f"pkcs11:token=xk;object=own?{pin}"
    public = run("key", "generate", "--store", own, env=env).strip()
    assert "generated on the token" in run("key", "show", "--store", own, env=env)
    old = f"pkcs11:token=xk;object=old?{pin}"
    data = PAIR.seed().encode()
    assert run("key", "import", "-K", old, "-", env=env, data=data).strip() == str(PAIR.public)
    assert "imported" in run("key", "show", "--store", old, env=env)
    listed = run("key", "list", "--store", whole, env=env)
    assert f"{public}  Label=own" in listed
    assert f"{PAIR.public}  Label=old" in listed
    by_label = ("--match-by", "Label", "--match", "own")
    assert run("key", "show", "-K", whole, *by_label, env=env).startswith(public)
    assert "unable to find key" in run(
        "key", "show", "-K", whole, *by_label[:3], "ow", env=env, code=1
    )
    assert "warning: 2 keys match" in run("key", "show", "-K", whole, env=env)
    sealed = folder / "sealed"
    run("seal", "-K", own, "--to", public, "-o", sealed, "README.md", env=env)
    run("open", "-K", own, "--from", public, "-o", folder / "opened", sealed, env=env)
    assert (folder / "opened").read_bytes() == (ROOT / "README.md").read_bytes()


def test_a_wrong_pin_ends_programs_with_78(token: tuple[Path, Mapping[str, str]]) -> None:
    """The unit files do not restart a daemon that ended so: three restarts lock a token."""
    folder, env = token
    store = f"pkcs11:token=xk;object=own?pin-source=file:{folder / 'pin'}"
    run("key", "generate", "--store", store, env=env)
    (folder / "config.toml").write_text(
        f'[key]\nkey_store = "{store}"\n[trust]\nanyone = true\n[sinks.out]\nkind = "stdout"\n'
        '[[route]]\nname = "all"\nsubject = "a.>"\nsink = "out"\n'
    )
    words = ("--config", folder / "config.toml", "--check")
    assert "is valid" in run(*words, module="receiver", env=env)
    (folder / "pin").write_text("0000\n")
    assert "refused the PIN" in run(*words, module="receiver", env=env, code=78)
    (folder / "pin").write_text(f"{PIN}\n")
    for _ in range(3):
        said = run("--config", folder / "config.toml", module="receiver", env=env, code=78)
        assert "xkeymsg key show --store STORE --try-pin" in said
    run("key", "show", "--store", store, env=env, code=78)
    run("key", "show", "--store", store, "--try-pin", env=env)
    assert "is valid" in run(*words, module="receiver", env=env)


@pytest.mark.parametrize("name", ["xkeymsg-receiver.service", "xkeymsg-sender.service"])
def test_units_do_not_restart_after_a_wrong_pin(name: str) -> None:
    assert "\nRestartPreventExitStatus=78\n" in (ROOT / "deploy" / name).read_text()
