"""Builds the files of a release from a source tree, byte for byte the same each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

from release.lock import locked_packages
from release.sbom import sbom

__all__ = ("SUMS", "build", "export")

SUMS = "SHA256SUMS"


def export(repository: Path, target: Path) -> int:
    """Write the files of the last commit to a folder, and return the time of that commit.

    Changes that are not committed, and files that git does not know, are left out.

    Raises:
        CalledProcessError: If git fails.
    """

    def git(*arguments: str) -> bytes:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=repository, check=True, stdout=subprocess.PIPE).stdout

    with tarfile.open(fileobj=BytesIO(git("archive", "HEAD"))) as archive:
        archive.extractall(target, filter="data")
    return int(git("log", "-1", "--format=%ct"))


def build(source: Path, target: Path, epoch: int) -> list[Path]:
    """Build the sdist, from it the wheel, then its SBOM and the checksums, into a new folder.

    The versions of the tools are those of `requirements/dev.txt`: the name of the build tool is in
    the wheel.

    Args:
        source: A clean source tree; every file in it is published.
        target: The folder to create.
        epoch: The time of each file in the archives, in seconds since 1970.

    Raises:
        FileExistsError: If the folder exists.
        RuntimeError: If the build fails; with its output.
        ValueError: If the lock file is invalid; see `locked_packages`.
    """
    target.mkdir(parents=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), "."]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the build failed:\n{done.stdout}{done.stderr}")
    [sdist], [wheel] = target.glob("*.tar.gz"), target.glob("*.whl")
    bill = target / f"{sdist.name.removesuffix('.tar.gz')}.cdx.json"
    locked = locked_packages(source / "requirements" / "programs.txt")
    bill.write_text(sbom(wheel, locked.values(), epoch))
    sums = target / SUMS
    files = sorted([sdist, wheel, bill])
    sums.write_text("".join(f"{_digest(each)}  {each.name}\n" for each in files))
    return [*files, sums]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
