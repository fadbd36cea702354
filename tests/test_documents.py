"""What the documents say is what happens."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import xkeymsg
from tests import forked
from tests.cases import for_each
from tests.running import DEADLINE, LONG
from xkeymsg.testing import NATSServer

ROOT = Path(__file__).parent.parent
PROGRAMS = {"xkeymsg": "xkeymsg.cli", "xkeymsg-receiver": "receiver", "xkeymsg-sender": "sender"}
README = (ROOT / "README.md").read_text()
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@for_each("name", ["README.md", "docs/xkm1.md", "docs/documents.md", "docs/peers.md"])
def test_the_python_sessions_run(name: str) -> None:
    session = "".join(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL))
    test = doctest.DocTestParser().get_doctest(session, {}, name, name, 0)
    assert len(test.examples) >= 6
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(test).failed == 0


def test_the_session_in_the_facade_runs() -> None:
    result = doctest.testmod(xkeymsg, optionflags=OPTIONS)
    assert result.attempted >= 5
    assert result.failed == 0


@pytest.mark.slow
def test_the_demo_prints_what_the_readme_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.hospital.demo"],
        cwd=ROOT, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout, "nobody looks: lines, and nothing drawn over them"
    [demo] = [block for block in blocks("console") if block.startswith("$ make demo\n")]
    printed = iter(done.stdout.splitlines())
    for line in demo.removeprefix("$ make demo\n").splitlines():
        # What differs from run to run is left out in the README, and keys are made anew.
        pattern = re.sub(r"(X|y9c)\w+…|…", ".+", re.escape(line))
        assert any(re.fullmatch(pattern, each) for each in printed), f"not, or not there: {line}"


def test_hello_says_who_could_read() -> None:
    done = subprocess.run(
        [sys.executable, "examples/hello.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert 'bob | The sender sent us "Hello Secure World"' in done.stdout
    assert "eve | receiver: could not open a message" in done.stdout


def test_the_shell_session_of_the_readme_runs(tmp_path: Path) -> None:
    [session] = [block for block in blocks("console") if "keygen --out bob.seed" in block]
    expected = [line for line in session.splitlines() if not line.startswith("$ ")]
    printed = run_session(session, tmp_path)
    assert [line[:1] + "…" if len(line) == 56 else line for line in printed] == [
        re.sub("^X.…", "X…", line) for line in expected
    ]


def test_the_quick_start_is_ten_lines_that_work(tmp_path: Path, server: NATSServer) -> None:
    """A stranger takes seconds between two lines; the script waits instead. No clone is needed."""
    [session] = [block for block in blocks("console") if "config init" in block]
    commands = [line[2:] for line in session.splitlines() if line.startswith("$ ")]
    assert len(commands) <= 10
    install, serve, *rest = commands[1:]
    assert install == "pip install '.[programs,server]'"
    assert serve == "nats-server -a 127.0.0.1 &"
    listening, kept = (
        "until grep -q ' ready ' log; do sleep 0.1; done",
        "until [ -s received/*.json ]",
    )
    script = "\n".join(
        re.sub(r"&.*", f"2> log & {listening}", line)
        if line.startswith("xkeymsg-receiver")
        else line.replace("cat ", f"{kept}; do sleep 0.1; done; cat ")
        for line in rest
    )
    (tmp_path / "bin").mkdir()
    forked.write_commands(tmp_path / "bin", PROGRAMS)
    environment = os.environ | {
        "NATS_URL": server.url,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XKEYMSG_RECEIVER__NATS__SERVERS": f'["{server.url}"]',
        "XKEYMSG_RECEIVER__OBSERVE__LISTEN": "127.0.0.1:0",
        "XKEYMSG_SENDER__NATS__SERVERS": f'["{server.url}"]',
    }
    folder = tmp_path / "empty"
    folder.mkdir()
    [settings] = re.findall(r"^    # sender\.toml\n(?:    .*\n)+", README, re.MULTILINE)
    (folder / "sender.toml").write_text(textwrap.dedent(settings))
    command = ["bash", "-euc", f"trap 'kill $(jobs -p)' EXIT\numask 022\n{script}"]
    done = forked.run_script(command, folder, environment, DEADLINE)
    assert done.returncode == 0, done.stderr
    shown = [line for line in session.splitlines() if not line.startswith("$ ")]
    printed = done.stdout.splitlines()
    assert len(printed) == len(shown)
    for line, want in zip(printed, shown, strict=True):
        assert re.fullmatch(re.escape(want).replace("…", ".+"), line), line


@pytest.mark.parametrize("name", ["docs/peers.md", "docs/doctor.md", "docs/objects.md"])
def test_the_shell_sessions_print_what_they_show(
    name: str, tmp_path: Path, jetstream_server: NATSServer
) -> None:
    session = "".join(re.findall(r"```console\n(.*?)```", (ROOT / name).read_text(), re.DOTALL))
    printed = run_session(session, tmp_path, NATS_URL=jetstream_server.url)
    shown = [line for line in session.splitlines() if not line.startswith("$ ")]
    assert len(printed) == len(shown) > 5
    for line, want in zip(printed, shown, strict=True):
        pattern = r"\s+".join(re.escape(word).replace("…", ".+") for word in want.split())
        assert re.fullmatch(pattern, line), f"{line!r} is shown as {want!r}"


def run_session(session: str, folder: Path, **environment: str) -> list[str]:
    """Run the commands of a shell session, and return the lines that they print."""
    script = "\n".join(line[2:] for line in session.splitlines() if line.startswith("$ "))
    forked.write_commands(folder, {"xkeymsg": "xkeymsg.cli"})
    command = ["sh", "-euc", f'umask 022; PATH="{folder}:$PATH"\n{script}']
    done = forked.run_script(command, folder, os.environ | environment, DEADLINE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@for_each("path", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@for_each("path", documents(), ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    for name in re.findall(r"`((?:tests|docs|examples|benchmarks)/[\w./-]+)`", path.read_text()):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_every_make_target_of_the_readme_exists() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for line in re.findall(r"(?:`|\$ )make ([a-z ]+)", README) for word in line.split()
    }
    assert named >= {"demo", "test", "server", "bench", "lint", "types", "help"}
    assert named <= made


def test_the_servers_configuration_is_one() -> None:
    server = Path(sys.executable).parent / "nats-server"
    command = [str(server if server.exists() else "nats-server"), "-t", "-c", "nats-server.conf"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
