"""`python -m release FOLDER`: builds the files of a release from the last commit.

Changes that are not committed, and files that git does not know, are left out. The time of the
commit is the time of all files, so that anyone can build the same bytes from the same commit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from release.build import SUMS, build

ROOT = Path(__file__).parents[1]


def git(*arguments: str) -> bytes:
    """Return what a git command prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def main(target: Path) -> int:
    """Build into a folder, whose earlier content is removed; return the exit code."""
    epoch = int(git("log", "-1", "--format=%ct"))
    if git("status", "--porcelain", "--untracked-files=no"):
        print("note: changes that are not committed are left out", file=sys.stderr)
    if target.exists() and not (target / SUMS).exists():
        print(f"{target} exists, and is not a folder of an earlier build", file=sys.stderr)
        return 1
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(git("archive", "HEAD"))) as archive:
            archive.extractall(folder, filter="data")
        build(Path(folder), target.absolute(), epoch)
    print((target / SUMS).read_text(), end="")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
