"""What is installed without the extra `programs` says so: a line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import DEADLINE
from xkeymsg import XKeyPair
from xkeymsg.trust.stores.file import write_seed

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = {
    "xkeymsg": "xkeymsg",
    "xkeymsg.cli": "xkeymsg",
    "receiver": "receiver",
    "sender": "sender",
}
HTTP = """
key.seed_file = "own.seed"
trust.anyone = true
route = [{ name = "orders", subject = "orders.>", sink = "api" }]
sinks.api = { kind = "http", url = "https://orders.example.com/" }
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_without(tmp_path: Path) -> Run:
    """Run a program where all is installed that is here, but not some packages."""

    def run(missing: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if entry.name not in missing:
                (site / entry.name).symlink_to(entry)
        return subprocess.run(
            [sys.executable, "-S", "-m", *arguments],
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"},
            cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_program_without_its_extra_says_what_brings_it(module: str, run_without: Run) -> None:
    missing = {"click", "httpx", "prometheus_client", "pydantic", "pydantic_core"}
    done = run_without(missing, module, "--help")
    assert (done.returncode, done.stdout) == (1, "")
    program = PROGRAMS[module]
    assert done.stderr == f"{program}: click is not installed: pip install 'xkeymsg[programs]'\n"


@pytest.mark.parametrize("package", ["pydantic", "prometheus_client"])
@pytest.mark.parametrize("program", ["receiver", "sender"])
def test_a_daemon_that_lacks_a_part_of_it_says_so_too(
    package: str, program: str, run_without: Run
) -> None:
    done = run_without({package}, program, "--config", "any.toml", "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == f"{program}: {package} is not installed: pip install 'xkeymsg[programs]'\n"
    )


def test_what_is_too_old_is_said_as_well(run_without: Run, tmp_path: Path) -> None:
    """It came with something else, and nobody asked for the extra."""
    older = tmp_path / "site" / "click"
    info = tmp_path / "site" / "click-8.1.7.dist-info"
    missing = {entry.name for entry in Path(sysconfig.get_path("purelib")).glob("click*")}
    for folder in (older, info):
        folder.mkdir(parents=True)
    (older / "__init__.py").write_text("class ParamType:\n    pass\n")
    (older / "core.py").write_text("ParameterSource = None\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: click\nVersion: 8.1.7\n")
    done = run_without(missing, "receiver", "--help")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "receiver: click 8.1.7 is installed, but 8.4 is required: pip install 'xkeymsg[programs]'\n"
    )


def test_a_sink_that_lacks_its_part_is_an_error_of_the_file(
    run_without: Run, tmp_path: Path
) -> None:
    write_seed(tmp_path / "own.seed", XKeyPair.generate())
    (tmp_path / "any.toml").write_text(HTTP)
    done = run_without({"httpx"}, "receiver", "--config", "any.toml", "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'receiver: configuration: any.toml: sinks.api.kind = "http": '
        "httpx is not installed: pip install 'xkeymsg[programs]'\n"
    )


def test_what_else_is_missing_is_a_fault_and_looks_like_one(run_without: Run) -> None:
    done = run_without({"anyio"}, "receiver", "--help")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'anyio'" in done.stderr


def test_the_library_needs_none_of_it(run_without: Run, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "import xkeymsg, xkeymsg.testing, asyncio\n"
        "me = xkeymsg.XKeyPair.generate()\n"
        "async def main():\n"
        "    async with xkeymsg.testing.MemoryNATS().connect(key=me, trust={me.public}) as one:\n"
        "        async with one.subscribe('a') as messages:\n"
        "            await one.publish('a', b'x', to=me.public)\n"
        "            print((await anext(messages)).data)\n"
        "asyncio.run(main())\n"
    )
    missing = {"click", "httpx", "prometheus_client", "pydantic", "pydantic_core"}
    done = run_without(missing, "use")
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'x'\n", "")
