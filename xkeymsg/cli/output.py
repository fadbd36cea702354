"""Output of results to stdout, or atomically to a file; locks for edits."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from xkeymsg.trust.stores.file import sync_folder

__all__ = ("OUTPUT", "PRIVATE", "locked", "replace", "replacing", "write")

PRIVATE: Final = 0o600
"""The mode of a file that only its owner may read."""

OUTPUT: Final = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The output file; default: stdout.",
)


def write(output: Path | None, data: bytes, *, mode: int) -> None:
    """Write the result, completely or not at all; use mode PRIVATE for opened data."""
    if output is None:
        click.echo(data, nl=False)
    elif output.exists() and not output.is_file():  # a pipe or a device cannot be replaced
        output.write_bytes(data)
    else:
        replace(output, data, mode)


def replace(output: Path, data: bytes, mode: int, *, exact: bool = False) -> None:
    """Replace a file atomically; see `replacing`."""
    with replacing(output, mode, exact=exact) as file:
        file.write(data)


@contextmanager
def replacing(output: Path, mode: int, *, exact: bool = False) -> Iterator[BinaryIO]:
    """Yield a new file, which atomically replaces another one at the end of the block.

    Args:
        output: The file to replace; it stays if the block raises an exception.
        mode: The mode of the new file, reduced by the umask.
        exact: Whether to ignore the umask, to keep the mode of the replaced file.
    """
    new = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, mode), "wb") as file:
            if exact:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(output)
        sync_folder(output.parent)
    except BaseException as error:
        new.unlink(missing_ok=True)
        if isinstance(error, OSError):  # report the name that the user gave
            error.filename, error.filename2 = str(output), None
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that no edit by a concurrent command is lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
