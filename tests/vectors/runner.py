"""Runs vectors through an implementation.

An implementation is plugged in by one function, `open_with`. It gets the vectors to open, in
order: those that `after` names, then the one under test. It opens each with the reader that *its
own* header describes, all of them in one new memory (scope), and returns one `Outcome` each:

    def open_with(vectors: Sequence[Vector]) -> Sequence[Outcome]:
        memory = Memory.for_policy(vectors[-1].policy)     # one scope for all of them
        outcomes = []
        for vector in vectors:
            opener = Opener(vector.identity, vector.user, vector.sender, ...)
            try:
                opened = opener.open(vector.envelope, now=vector.now, memory=memory)
            except EnvelopeError as refused:
                outcomes.append(Outcome(code=refused.code, outside=refused.outside))
            else:
                outcomes.append(
                    Outcome(content=opened.content, message_id=opened.id, report={...})
                )
        return outcomes

    @pytest.mark.parametrize("file", FILES)
    def test_vectors(file):
        check_each(FILES[file], lambda vector: run(vector, open_with))

`FILES` is all vectors by the file of their cases.

`everything()` is all vectors: those in files, and the few that are too big for one. Only the
refusal that an implementation documents may be caught: any other exception has to reach the test.
`tests.vectors.reference_opener.open_with` is the adapter of the reference, and an example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.cases import Lazily
from tests.vectors import generate, scenario
from tests.vectors.by_file import by_file
from tests.vectors.scenario import Scenario
from tests.vectors.vector import Report, Vector, parse

PUBLISHED: Final = Path(__file__).parent.parent.parent / "vectors"
FOLDER: Final = PUBLISHED / "xkm1"
SCENARIOS: Final = PUBLISHED / "replay"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one envelope: content, message id and reported values, or two codes."""

    code: str = "success"
    outside: str | None = None
    content: bytes | None = None
    message_id: bytes | None = None
    report: Report | None = None


OpenWith = Callable[[Sequence[Vector]], Sequence[Outcome]]


@cache
def in_files() -> tuple[Vector, ...]:
    """The vectors in the folder, which must not be empty."""
    vectors = tuple(parse(path.name, path.read_text()) for path in sorted(FOLDER.iterdir()))
    assert vectors, f"no vectors in {FOLDER}"
    return vectors


@cache
def everything() -> tuple[Vector, ...]:
    return (*in_files(), *generate.large())


@cache
def _by_file() -> dict[str, list[Vector]]:
    return by_file(everything(), generate.files().__getitem__)


FILES: Final = Lazily(sorted(set(generate.files().values())), lambda file: _by_file()[file])


@cache
def every_scenario() -> tuple[Scenario, ...]:
    """The scenarios in the folder, which must not be empty."""
    paths = sorted(SCENARIOS.iterdir())
    scenarios = tuple(scenario.parse(path.name, path.read_text()) for path in paths)
    assert scenarios, f"no scenarios in {SCENARIOS}"
    return scenarios


def chain(vector: Vector) -> list[Vector]:
    """What has to be opened: the vectors that `after` names, then the vector."""
    known = {one.name: one for one in everything()}
    return [*(known[name] for name in vector.after), vector]


def expected(vector: Vector) -> Outcome:
    return Outcome(
        code=vector.expect,
        outside=vector.outside,
        content=vector.content,
        message_id=vector.message_id,
        report=vector.report,
    )


def run(vector: Vector, open_with: OpenWith) -> None:
    """Open a vector, and assert both codes, or content, message id and reported values.

    Those that are opened before have to give what their own files say, too.
    """
    vectors = chain(vector)
    outcomes = open_with(vectors)
    assert len(outcomes) == len(vectors)
    for one, outcome in zip(vectors, outcomes, strict=True):
        assert outcome == expected(one), f"{one.name}: {one.comment}"
