"""A stage: seals the messages of a scenario, and writes its steps down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.vectors.builder import Scene
from tests.vectors.people import ALICE, BOB, Person
from tests.vectors.scenario import Scenario
from tests.vectors.vector import NOW

ONE: Final = 320 + 440 + 5
"""What a session with one mark is charged."""
SENDER: Final = 600


@dataclass(frozen=True)
class Sealed:
    """A message of a scenario: its name, and what others can be made from it."""

    name: str
    nonce: bytes
    created: int


class Stage:
    """What a case of a scenario gets. A method that opens has the expected outcome last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = dict[str, int]()
        self._messages = dict[str, bytes]()
        self._steps = list[str]()

    def limit(self, **numbers: int) -> None:
        self._numbers |= {key.replace("_", "-"): value for key, value in numbers.items()}

    def seal(
        self,
        name: str,
        counter: int = 1,
        *,
        session: str = "one",
        sender: Person = ALICE,
        created: int = NOW,
        tail: bytes | None = None,
    ) -> Sealed:
        scene = Scene(f"{self._name}/{name}", "")
        made = scene.payload(
            name.encode(),
            sender=sender,
            session=f"replay/{session}",
            counter=counter,
            created=created,
            model=lambda head: replace(head, nonce=head.nonce[:4] + (tail or head.nonce[4:])),
        )
        assert name not in self._messages, f"two messages are named {name}"
        self._messages[name] = made.envelope
        nonce = made.plan.head.nonce[:4] + (tail or made.plan.head.nonce[4:])
        return Sealed(name, nonce, created)

    def scope(self, name: str) -> None:
        self._steps.append(f"scope {name}")

    def now(self, ms: int) -> None:
        self._steps.append(f"now {ms}")

    def wait(self, seconds: int) -> None:
        self._steps.append(f"wait {seconds}")

    def live(self, one: Sealed, outcome: str = "success", *, admitted: bool = True) -> None:
        self._open(one, "live", outcome, admitted=admitted)

    def deliver(
        self,
        one: Sealed,
        sequence: int,
        outcome: str = "success",
        *,
        stream: str = "ORDERS",
        admitted: bool = True,
        stored: int | None = None,
    ) -> None:
        where = f"{stream} {sequence} {one.created if stored is None else stored}"
        self._open(one, where, outcome, admitted=admitted)

    def settle(self, one: Sealed) -> None:
        self._steps.append(f"settle {one.name} handled")

    def forget(self, one: Sealed) -> None:
        self._steps.append(f"settle {one.name} otherwise")

    def release(self, one: Sealed) -> None:
        self._steps.append(f"release {one.name}")

    def handle(self, one: Sealed, sequence: int, *, admitted: bool = True) -> None:
        """Deliver a message, and settle it."""
        self.deliver(one, sequence, admitted=admitted)
        self.settle(one)

    def flood(
        self, number: int, *, sender: Person, created: int = NOW, admitted: bool = True
    ) -> list[Sealed]:
        """Handle so many messages, each of a session of its own."""
        made = []
        for n in range(number):
            name = f"flood_{len(self._messages)}"
            made.append(self.seal(name, session=name, sender=sender, created=created + n))
            self.handle(made[-1], 1000 + len(self._messages), admitted=admitted)
        return made

    def scenario(self, spec: tuple[str, ...], comment: str) -> Scenario:
        return Scenario(
            name=self._name,
            spec=spec,
            comment=comment,
            identity=BOB.seed_text,
            numbers=self._numbers,
            messages=self._messages,
            steps=tuple(self._steps),
        )

    def _open(self, one: Sealed, where: str, outcome: str, *, admitted: bool) -> None:
        admission = "admitted" if admitted else "stranger"
        self._steps.append(f"open {one.name} {admission} {where} {outcome}")


Play = Callable[[Stage], None]


def requires(*spec: str) -> Callable[[Play], Callable[[], Scenario]]:
    """Turn a function that plays on a stage into one that makes a scenario, named after it."""

    def decorate(play: Play) -> Callable[[], Scenario]:
        def make() -> Scenario:
            stage = Stage(play.__name__)
            play(stage)
            assert play.__doc__, f"{play.__name__} does not say what it shows"
            return stage.scenario(spec, " ".join(play.__doc__.split()))

        make.__name__ = play.__name__
        return make

    return decorate
