"""`make` on machines that lack something, and a demonstration that is interrupted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

from tests.running import DEADLINE

ROOT = Path(__file__).parent.parent
LOWEST = ROOT / "tests" / "lowest.txt"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


PYTHON = r"""#!/bin/sh
case "$*" in
  --version) echo Python 3.12.1 ;;
  "-m venv .venv")
    mkdir -p .venv/bin
    cp "$0.pip" .venv/bin/pip ;;
esac
"""
PIP = r"""#!/bin/sh
case "$*" in
  *"--no-build-isolation --require-hashes -r requirements/"*)
    echo "Collecting click==8.5.1 (from -r somewhere)"
    echo "  Downloading click-8.5.1-py3-none-any.whl (100 kB)"
    echo "Collecting cffi==2.1.1 ; python_version < '4'"
    case "$*" in *$FAIL*) echo "hashes do not match" >&2; exit 1; esac
    echo "Installing collected packages: cffi, click" ;;
  *"--no-deps -e ."*) ;;
  *) echo "unexpected: $*"; exit 1 ;;
esac
"""


def copy_makefile(folder: Path) -> None:
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    (folder / "requirements").mkdir()
    for path in (ROOT / "requirements").iterdir():
        (folder / "requirements" / path.name).touch()


@needs_make
def test_an_installation_names_each_package_and_ends_at_a_failure(tmp_path: Path) -> None:
    copy_makefile(tmp_path)
    for name, text in (("python3", PYTHON), ("python3.pip", PIP)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)

    def make(target: str, fail: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-s", target, f"PYTHON={tmp_path / 'python3'}"],
            cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False,
            env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | {"FAIL": fail},
        )  # fmt: skip

    packages = ["  click==8.5.1", "  cffi==2.1.1"]
    lines = {
        name: [f"Installing the packages of requirements/{name}.txt into .venv:", *packages]
        for name in ("build", "demo", "dev")
    }
    unpacking, own = "  unpacking", "Installing xkeymsg into .venv"
    created = "Creating .venv with Python 3.12.1"
    done = make(".venv/.demo", "demo.txt")
    assert done.returncode != 0
    assert done.stdout.splitlines() == [created, *lines["build"], unpacking, *lines["demo"]]
    assert "hashes do not match" in done.stderr
    assert not (tmp_path / ".venv" / ".demo").exists()
    done = make(".venv/.demo", "nothing")
    assert (done.returncode, done.stderr) == (0, "")
    both = [*lines["build"], unpacking, *lines["demo"], unpacking, own]
    assert done.stdout.splitlines() == both
    done = make(".venv/.ready", "nothing")
    assert (done.returncode, done.stdout.splitlines()) == (0, [*lines["dev"], unpacking, own])
    done = make(".venv/.ready", "nothing")
    assert (done.returncode, done.stdout) == (0, ""), "installed already"


@needs_make
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('[ "$1" = --version ] && echo Python 3.10.13 && exit; exit 1', "Python 3.10.13"),
        ("exit 127", "missing"),
        ("echo one >&2; echo two >&2; exit 1", "missing"),
        (None, "missing"),
    ],
)
def test_a_python_that_will_not_do_is_said_in_one_line(
    tmp_path: Path, script: str | None, said: str
) -> None:
    copy_makefile(tmp_path)
    python = tmp_path / "python3"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o700)
    for target in ("demo", "test"):
        done = subprocess.run(
            ["make", "-s", target, f"PYTHON={python}"],
            cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False,
            env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
        )  # fmt: skip
        assert done.returncode != 0
        first, *rest = done.stderr.splitlines()
        assert "needs Python 3.11 or newer with venv" in first
        assert said in first
        assert all(line.startswith("make") for line in rest), "nothing else but make's own word"
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_help_lists_the_targets() -> None:
    done = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    every = {
        "demo",
        "demo-hsm",
        "hello",
        "soak",
        "scale",
        "test",
        "lint",
        "format",
        "types",
        "bench",
        "server",
        "vectors",
        "fuzz",
        "dist",
        "lock",
    }
    assert every <= listed


def children(pid: int) -> set[int]:
    """Every process that descends from `pid`."""
    found: set[int] = set()
    for entry in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            found |= {int(each) for each in entry.read_text().split()}
    return found.union(*map(children, found))


def alive(pid: int) -> bool:
    try:
        return "(zombie)" not in (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("program", "processes"),
    [
        (["examples/hello.py"], 3),  # a server and two receivers
        (["-m", "examples.hospital.demo"], 5),
    ],
    ids=["hello", "demo"],
)
def test_an_interrupted_demo_leaves_no_process_behind(
    program: list[str], processes: int, number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        [sys.executable, *program],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + DEADLINE
        started: set[int] = set()
        while len(started) < processes and time.monotonic() < deadline:
            started = children(demo.pid)
            time.sleep(0.01)
        assert len(started) >= processes
        demo.send_signal(number)
        assert demo.wait(DEADLINE) == 128 + number
    finally:
        demo.kill()
        demo.communicate()
    assert [pid for pid in started if alive(pid)] == []


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    """`make lowest` tests what the metadata promises."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    promised = [*project["dependencies"], *extras["programs"], *extras["pkcs11"]]
    promised += [each for each in extras["console"] if "[" not in each]
    promised += [each for each in extras["dev"] if each.startswith("msgspec")]
    bounds = dict(each.split(">=") for each in promised)
    lines = [line for line in LOWEST.read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert {name: Version(text) for name, text in pinned.items()} == {
        name: Version(text) for name, text in bounds.items()
    }
