"""What the documents say is what happens."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xkeymsg
from tests.running import DEADLINE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", ["README.md", "docs/xkm1.md", "docs/documents.md"])
def test_the_python_sessions_run(name: str) -> None:
    session = "".join(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL))
    test = doctest.DocTestParser().get_doctest(session, {}, name, name, 0)
    assert len(test.examples) >= 6
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(test).failed == 0


def test_the_session_in_the_facade_runs() -> None:
    result = doctest.testmod(xkeymsg, optionflags=OPTIONS)
    assert result.attempted >= 5
    assert result.failed == 0


def test_the_demo_prints_what_the_readme_shows() -> None:
    done = subprocess.run(
        [sys.executable, "examples/hello.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE * 2, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    shown = blocks("console")[0].split("$ make demo\n")[1].splitlines()
    printed = done.stdout
    for line in filter(None, shown):
        pattern = re.escape(line)
        pattern = re.sub(r"X[A-Z2-7]{19,55}(…)?", r"X[A-Z2-7]{55}", pattern)
        pattern = re.sub(r"127\\\.0\\\.0\\\.1:\d+", r"127\\.0\\.0\\.1:\\d+", pattern).replace(
            "…", ".*"
        )
        assert re.search(f"^{pattern}$", printed, re.MULTILINE), f"the demo does not print: {line}"


def test_the_shell_session_of_the_readme_runs(tmp_path: Path) -> None:
    [session] = [block for block in blocks("console") if "keygen" in block]
    script = "\n".join(line[2:] for line in session.splitlines() if line.startswith("$ "))
    expected = [line for line in session.splitlines() if not line.startswith("$ ")]
    shim = tmp_path / "xkeymsg"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xkeymsg.cli "$@"\n')
    shim.chmod(0o700)
    done = subprocess.run(
        ["sh", "-euc", f'PATH="{tmp_path}:$PATH"\n{script}'],
        cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1:] == expected[-1:] == ["hello"]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
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
