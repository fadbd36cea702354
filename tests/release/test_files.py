"""The files of a release: the same bytes from the same sources, and nothing else in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

import xkeymsg
from release.build import SUMS, build, export
from release.lock import locked_packages
from tests.test_layers import ROOT

EPOCH = 1_700_000_000
PROGRAMS = ROOT / "requirements" / "programs.txt"


def git(*arguments: str, folder: Path = ROOT) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [each for each in names if each and os.path.lexists(ROOT / each)]


def copy(names: list[str], folder: Path, umask: int, seconds: float) -> Path:
    """Copy the sources as somebody with another umask would have them, at another time."""
    before = os.umask(umask)
    try:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o777 if os.access(ROOT / name, os.X_OK) else 0o666
            if (ROOT / name).is_symlink():
                path.symlink_to((ROOT / name).readlink())
                continue
            shutil.copyfile(ROOT / name, path)
            path.chmod(mode & ~umask)
            os.utime(path, (seconds, seconds))
    finally:
        os.umask(before)
    return folder


@pytest.mark.slow
def test_two_builds_give_the_same_bytes_and_only_the_sources(tmp_path: Path) -> None:
    names = tracked()
    one = copy(names, tmp_path / "one", 0o022, time.time())
    two = copy(sorted(names, reverse=True), tmp_path / "else" / "two", 0o077, EPOCH // 2)
    files = build(one, tmp_path / "a", EPOCH)
    before = os.umask(0o077)
    try:
        build(two, tmp_path / "b", EPOCH)
    finally:
        os.umask(before)
    for each in files:
        assert each.read_bytes() == (tmp_path / "b" / each.name).read_bytes(), each.name
    sdist, wheel, bill = (
        next(each for each in files if each.name.endswith(end))
        for end in (".tar.gz", ".whl", ".cdx.json")
    )
    check_sdist(sdist, names)
    check_wheel(wheel)
    check_bill(bill, wheel)
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / "a" / SUMS).read_text().splitlines())
    assert sums == {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in (sdist, wheel, bill)
    }


def check_sdist(path: Path, names: list[str]) -> None:
    """The repository, and what the format adds; nobody's name, and one time."""
    with tarfile.open(path) as file:
        members = file.getmembers()
    files = {each.name.partition("/")[2] for each in members if not each.isdir()}
    assert files == {*names, "PKG-INFO"}
    assert {(each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, "", "")}
    assert {each.mtime for each in members} == {EPOCH}


def check_wheel(path: Path) -> None:
    """The package with its templates and pages; no test and no tool of this repository."""
    with zipfile.ZipFile(path) as file:
        names = [each for each in file.namelist() if ".dist-info/" not in each]
    assert {each.partition("/")[0] for each in names} == {"xkeymsg"}
    pages = {"css", "html", "js", "svg", "txt"}
    assert {each.rpartition(".")[2] for each in names} == {"py", "toml", "typed"} | pages
    assert {"xkeymsg/cli/templates/receiver.toml", "xkeymsg/py.typed"} <= {*names}


def check_bill(path: Path, wheel: Path) -> None:
    """Each locked package with its hashes, who needs it, and the wheel itself."""
    bom = Bom.from_json(json.loads(path.read_text()))  # type: ignore[attr-defined] # untyped
    locked = locked_packages(PROGRAMS)
    assert {each.name: each.version for each in bom.components} == {
        each.name: each.version for each in locked.values()
    }
    for each in bom.components:
        [files] = each.external_references
        assert {one.content for one in files.hashes} == {*locked[each.name].hashes}
    optional = {each.name for each in bom.components if each.scope.value == "optional"}
    assert {"click", "httpx", "pydantic", "pydantic-core", "prometheus-client"} <= optional
    assert not {"cryptography", "pynacl", "cffi", "nats-py", "anyio", "idna"} & optional
    root = bom.metadata.component
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert [one.content for one in root.hashes] == [digest]
    assert wheel.name.startswith(f"xkeymsg-{root.version}-")
    graph = {
        each.ref.value: {one.ref.value for one in each.dependencies} for each in bom.dependencies
    }
    assert {"anyio", "click", "cryptography", "msgpack", "nats-py", "nkeys"} <= graph["xkeymsg"]
    assert graph["httpx"] >= {"anyio", "certifi", "httpcore", "idna"}


def test_only_what_is_committed_is_published(tmp_path: Path) -> None:
    repository, target = tmp_path / "repository", tmp_path / "target"
    repository.mkdir()
    git("init", "-q", folder=repository)
    (repository / "a.txt").write_text("committed")
    git("add", ".", folder=repository)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    date = ("--date", f"{EPOCH} +0000")
    git(*author, "commit", "-q", "-m", "one", *date, folder=repository)
    (repository / "a.txt").write_text("changed")
    (repository / "own.seed").write_text("SX…")
    epoch = export(repository, target)
    assert [(each.name, each.read_text()) for each in target.iterdir()] == [("a.txt", "committed")]
    assert epoch == int(git("log", "-1", "--format=%ct", folder=repository))


def test_the_version_is_the_same_everywhere() -> None:
    package = json.loads((ROOT / "js" / "package.json").read_text())
    lock = json.loads((ROOT / "js" / "package-lock.json").read_text())
    assert package["version"] == lock["version"] == xkeymsg.__version__
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", xkeymsg.__version__]


def test_a_failed_build_is_reported_with_its_output(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pyproject.toml").write_text("[")
    with pytest.raises(RuntimeError, match=r"(?s)the build failed:.+pyproject\.toml"):
        build(tmp_path / "source", tmp_path / "target", EPOCH)
    with pytest.raises(FileExistsError):
        build(tmp_path / "source", tmp_path / "target", EPOCH)
