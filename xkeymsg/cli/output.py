"""Where results go: stdout, or a file that appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

__all__ = ("OUTPUT", "PRIVATE", "replace", "write")

PRIVATE: Final = 0o600
"""The mode of a file with what only its owner may read."""

OUTPUT: Final = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; else stdout."
)


def write(output: Path | None, data: bytes, *, mode: int) -> None:
    """Write the result, all of it or nothing; a file with opened data is its owner's alone."""
    if output is None:
        click.echo(data, nl=False)
    elif output.exists() and not output.is_file():  # a pipe or a device: nothing to replace
        output.write_bytes(data)
    else:
        replace(output, data, mode)


def replace(output: Path, data: bytes, mode: int, *, exact: bool = False) -> None:
    """Write a new file beside the old one and put it in its place.

    Args:
        output: The file.
        data: What it is to hold.
        mode: Its mode, less the umask.
        exact: Whether the mode is that of a file which is replaced: not less anything.
    """
    new = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, mode), "wb") as file:
            if exact:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(output)
    except OSError as error:
        new.unlink(missing_ok=True)
        error.filename, error.filename2 = str(output), None  # that which the person has named
        raise
