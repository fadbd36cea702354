"""A scenario, and its text (spec, Scenarios): steps in one replay memory. Parsing is strict."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.vectors.vector import Header

KEYS: Final = (
    "spec",
    "comment",
    "identity",
    "limit-replay",
    "limit-replay-unadmitted",
    "limit-pending",
    "started",
    "message",
    "step",
)
REPEATED: Final = ("spec", "message", "step")
NUMBERS: Final = ("limit-replay", "limit-replay-unadmitted", "limit-pending", "started")
OUTCOMES: Final = ("success", "stale", "session_cloned", "replay-final", "replay-pending")
STEP: Final = re.compile(
    r"now [0-9]+|wait [0-9]+|scope \w+|settle \w+ (handled|otherwise)|release \w+"
    rf"|open \w+ (admitted|stranger) (live|[A-Z]+ [0-9]+ [0-9]+) ({'|'.join(OUTCOMES)})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    spec: tuple[str, ...]
    comment: str
    identity: str
    numbers: dict[str, int] = field(default_factory=dict)
    """The limits and `started`, where they differ from their defaults."""
    messages: dict[str, bytes]
    steps: tuple[str, ...]

    def header(self) -> Header:
        messages = [f"{name} {envelope.hex()}" for name, envelope in self.messages.items()]
        numbers = {key: [str(value)] for key, value in self.numbers.items()}
        values = {
            "spec": list(self.spec),
            "comment": [self.comment],
            "identity": [self.identity],
            **numbers,
            "message": messages,
            "step": list(self.steps),
        }
        return {key: values[key] for key in KEYS if key in values}

    def text(self) -> str:
        return "".join(f"{key}: {one}\n" for key, group in self.header().items() for one in group)

    def json(self) -> dict[str, object]:
        """The object in vectors/xkm1.json."""
        header = self.header().items()
        return {"name": self.name} | {
            key: group if key in REPEATED else group[0] for key, group in header
        }


def parse(name: str, text: str) -> Scenario:
    """The scenario in a file.

    Raises:
        ValueError: A key is unknown, missing or repeated, or a value has no meaning.
    """
    header: Header = {}
    for line in text.removesuffix("\n").split("\n"):
        match = re.fullmatch(r"([a-z-]+): (\S.*)", line)
        if match is None or match[1] not in KEYS:
            raise ValueError(f"{name}: not a line: {line}")
        header.setdefault(match[1], []).append(match[2])
    if any(len(group) > 1 for key, group in header.items() if key not in REPEATED):
        raise ValueError(f"{name}: a key is repeated")
    if missing := set(KEYS) - set(NUMBERS) - header.keys():
        raise ValueError(f"{name}: {missing} missing")
    messages = dict[str, bytes]()
    for line in header["message"]:
        key, _, envelope = line.partition(" ")
        messages[key] = bytes.fromhex(envelope)
    for step in header["step"]:
        words = step.split(" ")
        named = words[0] in ("open", "settle", "release")
        if STEP.fullmatch(step) is None or (named and words[1] not in messages):
            raise ValueError(f"{name}: not a step: {step}")
    return Scenario(
        name=name,
        spec=tuple(header["spec"]),
        comment=header["comment"][0],
        identity=header["identity"][0],
        numbers={key: int(header[key][0]) for key in NUMBERS if key in header},
        messages=messages,
        steps=tuple(header["step"]),
    )


class Scope(Protocol):
    """An implementation: a reader of one key, with a replay memory for each scope."""

    def enter(self, scope: str) -> None:
        """Use the replay memory of this scope; a new one at the first use of the name."""

    def now(self, ms: int) -> None:
        """Set the clock."""

    def wait(self, seconds: int) -> None:
        """Let the monotonic clock advance."""

    def open(
        self, name: str, envelope: bytes, *, admitted: bool, position: tuple[str, int, int] | None
    ) -> str:
        """Open a message; return the outcome, and check what it released."""

    def settle(self, name: str, *, handled: bool) -> None:
        """End the handling of the message of this name that opened last."""

    def release(self, name: str) -> None:
        """Let it wait for a redelivery."""


def run(scenario: Scenario, scope: Scope) -> None:
    """Take all steps, and assert the outcome of each.

    A step that settles or releases a message that was never opened is left out.
    """
    opened = set[str]()
    for number, step in enumerate(scenario.steps, 1):
        match step.split(" "):
            case ["now", ms]:
                scope.now(int(ms))
            case ["wait", seconds]:
                scope.wait(int(seconds))
            case ["scope", name]:
                scope.enter(name)
                opened.clear()
            case ["settle", name, how] if name in opened:
                scope.settle(name, handled=how == "handled")
            case ["release", name] if name in opened:
                scope.release(name)
            case ["open", name, admission, *where, outcome]:
                position = (where[0], int(where[1]), int(where[2])) if where[1:] else None
                got = scope.open(
                    name,
                    scenario.messages[name],
                    admitted=admission == "admitted",
                    position=position,
                )
                assert got == outcome, f"{scenario.name}, step {number}: {step}: {got}"
                opened |= {name} if got == "success" else set()
            case _:
                raise AssertionError(f"{scenario.name}, step {number}: {step}")
