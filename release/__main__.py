"""`python -m release FOLDER`: builds the files of a release from the last commit.

The time of the commit is the time of all files, so that anyone can build the same bytes from the
same commit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from release.build import SUMS, build, export

ROOT = Path(__file__).parents[1]


def main(target: Path) -> int:
    """Build into a folder, which an earlier build may have created; return the exit code.

    Raises:
        OSError: If a file cannot be read or written.
        CalledProcessError: If git fails.
        RuntimeError: If the build fails.
        ValueError: If the lock file is invalid.
    """
    if target.exists() and not (target / SUMS).exists():
        print(f"{target} exists, and no earlier build created it", file=sys.stderr)
        return 1
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        epoch = export(ROOT, Path(folder))
        build(Path(folder), target.absolute(), epoch)
    print((target / SUMS).read_text(), end="")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
