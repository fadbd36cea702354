"""The wheel: its programs run in an empty environment, beside packages of a user with any name."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.test_layers import ROOT

PROGRAMS = ("xkeymsg", "xkeymsg-receiver", "xkeymsg-sender")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    done = run(sys.executable, "-m", "pip", "wheel", *options, ROOT, cwd=folder)
    assert done.returncode == 0, done.stderr
    [made] = folder.glob("*.whl")
    return made


def test_programs_run_beside_packages_of_the_same_name(wheel: Path, tmp_path: Path) -> None:
    """PyPI has a `sender`, and a folder `receiver` is a natural name for a user's own."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    done = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps",
               "--no-index", wheel, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for folder in (site, tmp_path):
        for name in ("sender", "receiver"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text("raise ImportError('not ours')\n")
    for program in PROGRAMS:
        done = run(python.with_name(program), "--version", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "version" in done.stdout
    for program in PROGRAMS[1:]:
        done = run(python.with_name(program), "--config", "missing.toml", "--check", cwd=tmp_path)
        assert done.returncode == 1
        assert "cannot read missing.toml: No such file" in done.stderr
        daemon = program.removeprefix("xkeymsg-")
        done = run(python.with_name("xkeymsg"), "config", "init", daemon, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        done = run(python.with_name(program), "--config", f"{daemon}.toml", "--check", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = run(python, "-c", "import xkeymsg; print(xkeymsg.__file__)", cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(site)
