"""What a sender has sealed, and what of it a stream has acknowledged, in two files of lines."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path


class Journal:
    """Two files to which each line is written at once: a process that is killed leaves them so.

    A line that a kill has cut off counts for nothing; the next one begins on a line of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = folder / "sent", folder / "acked"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._files = [os.open(path, flags, 0o600) for path in self._paths]

    def note_sent(self, number: int, envelope: bytes) -> None:
        """Write down what is about to be sent."""
        os.write(self._files[0], b"\n%d %b." % (number, base64.b64encode(envelope)))

    def note_acked(self, number: int, sequence: int) -> None:
        """Write down that the stream has it."""
        os.write(self._files[1], b"\n%d %d." % (number, sequence))

    def sent(self) -> dict[int, bytes]:
        """Return every envelope by its number."""
        return {n: base64.b64decode(text) for n, text in self._lines(0)}

    def last_sent(self) -> bytes | None:
        """Return one of the last envelopes; None if there is none yet."""
        with self._paths[0].open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
            *_, line = [b"", *(each for each in file.read().split(b"\n")[1:] if each[-1:] == b".")]
        return base64.b64decode(line[:-1].partition(b" ")[2]) if line else None

    def size(self) -> int:
        """Return how long the file of what is acknowledged is."""
        return os.fstat(self._files[1]).st_size

    def acked(self) -> dict[int, int]:
        """Return the stream's sequence of every number that it has acknowledged."""
        return {n: int(text) for n, text in self._lines(1)}

    def _lines(self, which: int) -> Iterator[tuple[int, bytes]]:
        for line in self._paths[which].read_bytes().split(b"\n"):
            if line.endswith(b"."):
                number, _, text = line[:-1].partition(b" ")
                yield int(number), text
