"""The ledger of a reseal: how far it is, and what became of each message that was read.

The file is replaced as a whole, so that a killed process leaves the old state or the new one. `run`
finds the copies that were stored since then in the target stream, and counts them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from xkeymsg.display import safe_repr
from xkeymsg.errors import ConfigurationError
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import lock_file, replace_private

__all__ = ("AHEAD", "Job", "Ledger", "LedgerFile", "ResealReport", "opened")

AHEAD: Final = 1 << 16
"""Copies in the target that the ledger has not read yet."""
_FORMAT: Final = "xkeymsg reseal ledger 1"
_MOST_BYTES: Final = 4 << 20
_MOST: Final = 2**63
_LATEST_MS: Final = 2**47
"""Beyond all times that a server can name, and within those that `datetime` has."""
_ID_SIZE: Final = 22
_NUMBERS: Final = ("position", "stored_ms", "target_position", "resealed")


@safe_repr
@dataclass(frozen=True, slots=True)
class Job:
    """What a ledger belongs to: if it changes, the ledger is refused."""

    source: str
    source_created: str
    target: str
    target_created: str
    subject: str
    key: str
    """The resealer's public key."""
    recipients: str
    """A hash of the recipients."""


class ResealReport(NamedTuple):
    """What became of the messages that were read: `read == resealed + skipped + refused`."""

    read: int
    resealed: int
    skipped: Mapping[str, int]
    """By reason; see docs/reseal.md."""
    refused: Mapping[str, int]
    """By error code."""


@safe_repr
@dataclass(slots=True)
class Ledger:
    """The state of a reseal."""

    job: Job
    position: int = 0
    """Every message of the source up to this sequence is counted."""
    stored_ms: int = 0
    """When the message at `position` was stored; before the first one, when reading begins."""
    target_position: int = 0
    """Every copy in the target up to this sequence is counted."""
    resealed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    ahead: dict[str, None] = field(default_factory=dict)
    """The ids of counted copies whose originals are beyond `position`."""

    @property
    def report(self) -> ResealReport:
        """The counts."""
        skipped, refused = sum(self.skipped.values()), sum(self.refused.values())
        read = self.resealed + skipped + refused
        return ResealReport(read, self.resealed, dict(self.skipped), dict(self.refused))

    def dump(self) -> str:
        """Return the text of the file."""
        state = asdict(self) | {"ahead": [*self.ahead], "format": _FORMAT, "read": self.report.read}
        return json.dumps(state, indent=1) + "\n"

    @classmethod
    def parse(cls, content: bytes, job: Job) -> Self:
        """Parse a file that belongs to a job.

        Raises:
            ConfigurationError: If it is not a ledger, or belongs to another job.
        """
        state = _state(content)
        for each in fields(Job):
            if state["job"].get(each.name) != getattr(job, each.name):
                also = "" if job.target == job.source else ", and another target stream"
                raise ConfigurationError(
                    f"the ledger belongs to another reseal: its {each.name} differs; use another"
                    f" ledger{also}"
                )
        ledger = cls(job, skipped=state["skipped"], refused=state["refused"])
        for name in _NUMBERS:
            setattr(ledger, name, state[name])
        ledger.ahead = dict.fromkeys(state["ahead"])
        if ledger.report.read != state.get("read"):
            raise ConfigurationError("the ledger is damaged: its counts do not balance")
        return ledger

    def restart(self, last: int, now_ms: int) -> None:
        """Count from the beginning; the first call records the time and the last sequence."""
        if not self.stored_ms:
            self.stored_ms, self.target_position = now_ms, last
        self.resealed = 0
        self.skipped.clear()
        self.refused.clear()

    def count(self, kind: str, reason: str = "") -> None:
        """Count a message that was read."""
        if kind == "resealed":
            self.resealed += 1
        else:
            counts: dict[str, int] = getattr(self, kind)
            counts[reason] = counts.get(reason, 0) + 1


class LedgerFile:
    """A ledger on the disk; made by `opened`."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._path = path
        self.ledger = ledger

    def save(self) -> None:
        """Replace the file, and wait until the disk has it.

        Raises:
            ConfigurationError: If it cannot be written.
        """
        try:
            replace_private(self._path, self.ledger.dump())
        except OSError as error:
            raise _unusable(self._path, error) from None


@contextmanager
def opened(path: Path, job: Job) -> Iterator[LedgerFile]:
    """Open a ledger, or begin one, as the only process that does.

    Raises:
        ConfigurationError: If another process uses it, it cannot be read, or belongs to another
            job.
    """
    try:
        descriptor = lock_file(path.with_name(f"{path.name}.lock"))
    except BlockingIOError:
        raise ConfigurationError(f"{path_text(path)}: another process uses this ledger") from None
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        yield LedgerFile(path, _read(path, job))
    finally:
        os.close(descriptor)


def _read(path: Path, job: Job) -> Ledger:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return Ledger(job)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        return Ledger.parse(content, job)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path_text(path)}: {error}") from None


def _state(content: bytes) -> dict[str, Any]:
    """Return the members of a ledger, all of the right kind.

    Raises:
        ConfigurationError: If it is not a ledger.
    """
    try:
        state: Any = json.loads(content) if len(content) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        state = None
    match state:
        case {
            "format": str(form),
            "job": dict(),
            "skipped": dict(skipped),
            "refused": dict(refused),
            "ahead": list(ahead),
            **numbers,
        } if form == _FORMAT:
            counts = [*skipped.values(), *refused.values(), *map(numbers.get, _NUMBERS)]
            names = all(isinstance(each, str) and len(each) == _ID_SIZE for each in ahead)
            valid = all(map(_is_count, counts)) and state["stored_ms"] < _LATEST_MS
            if valid and names and len(ahead) <= AHEAD:
                return dict(state)
            raise ConfigurationError("the ledger is damaged")
    raise ConfigurationError("not a ledger of `xkeymsg reseal`")


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot use the ledger {path_text(path)}: {error.strerror}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST
