"""The vectors are what their cases make, say what the reference does, and cover the document."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import pytest

from tests.cases import check_each, for_each
from tests.reference import CODES, Limits
from tests.reference.body import read_body
from tests.reference.encoding import array, binary
from tests.reference.head import read_head
from tests.reference.open import read_tags
from tests.vectors import coverage, generate, scenario
from tests.vectors.reference_opener import ReferenceScope, memory_of, open_with, refusal
from tests.vectors.runner import FILES, Outcome, chain, every_scenario, everything, in_files, run
from tests.vectors.scenario import Scenario
from tests.vectors.vector import Vector, parse

SCENARIOS = every_scenario()
each_file = pytest.mark.parametrize("file", FILES)


@cache
def refused_ones() -> list[Vector]:
    return [vector for vector in everything() if not vector.is_success]


def encode_again(envelope: bytes) -> bytes:
    """From the values of an envelope back to its bytes."""
    limits = Limits()
    head, at = read_head(envelope, limits)
    wraps = read_tags(envelope, at, limits)
    body = read_body(envelope, wraps.p, wraps.q, head, limits)
    return (
        b"xkm1\x96"
        + binary(head.encode())
        + binary(b"".join(wraps.tags))
        + array(map(binary, body.views))
        + array(map(binary, body.parts))
        + binary(body.signature)
        + binary(envelope[wraps.c :])
    )


@each_file
def test_the_reference_does_what_a_vector_says(file: str) -> None:
    check_each(FILES[file], lambda vector: run(vector, open_with))


@for_each("one", SCENARIOS, ids=lambda one: one.name)
def test_the_reference_does_what_a_scenario_says(one: Scenario) -> None:
    scenario.run(one, ReferenceScope(one))


@each_file
def test_a_vector_is_refused_for_the_reason_it_names(file: str) -> None:
    check_each((one for one in FILES[file] if not one.is_success), is_refused_for_its_reason)


def is_refused_for_its_reason(vector: Vector) -> None:
    memory = memory_of(vector)
    for before in chain(vector)[:-1]:
        refusal(before, memory)
    refused = refusal(vector, memory)
    assert refused is not None
    assert refused.rule in vector.spec


@each_file
def test_what_opens_encodes_again_to_the_same_bytes(file: str) -> None:
    for vector in FILES[file]:
        if vector.is_success:
            assert encode_again(vector.envelope) == vector.envelope, vector.name


def test_the_files_are_what_the_cases_make() -> None:
    on_disk = {path.name: path.read_bytes() for path in generate.FOLDER.iterdir()}
    assert on_disk == {vector.name: vector.text().encode() for vector in generate.small()}
    scenarios = {path.name: path.read_bytes() for path in generate.SCENARIOS.iterdir()}
    assert scenarios == {one.name: one.text().encode() for one in generate.scenarios()}


def test_the_json_holds_the_same_vectors() -> None:
    text = generate.JSON.read_text()
    assert text == generate.as_json()
    listed = json.loads(text)
    both: tuple[Vector | Scenario, ...] = (*in_files(), *every_scenario())
    assert [one["name"] for one in listed] == [vector.name for vector in both]
    for one, vector in zip(listed, both, strict=True):
        assert {**one, **vector.json()} == one


def test_the_large_vectors_are_those_that_can_be_published() -> None:
    text = generate.LARGE_JSON.read_text()
    assert text == generate.large_as_json()
    assert len(text) < 3_000_000
    left_out = {one.name for one in generate.large()} - {one["name"] for one in json.loads(text)}
    assert left_out == {
        "large_envelope_the_default_limit_at",
        "large_envelope_the_default_limit_above",
    }


def test_making_the_vectors_twice_gives_the_same() -> None:
    names = [path.stem for path in generate.HERE.glob("cases_t*.py")]
    assert generate.collect(*names) == generate.collect(*names)


def test_each_vector_is_of_a_file_of_cases() -> None:
    assert sorted(FILES) == sorted(path.stem for path in generate.HERE.glob("cases_*.py"))
    assert sum(map(len, FILES.values())) == len(everything())


def test_a_check_of_each_fails_with_the_names_of_those_that_do_not_hold() -> None:
    def check(vector: Vector) -> None:
        if vector.is_success:
            raise ValueError("no")

    right = [vector for vector in everything() if vector.is_success]
    with pytest.raises(AssertionError) as caught:
        check_each(everything(), check)
    assert str(caught.value).startswith("\n".join(f"{one.name}: ValueError('no')" for one in right))
    check_each(refused_ones(), check)


def test_names_are_unique_and_files_are_small() -> None:
    names = [*(one.name for one in everything()), *(one.name for one in SCENARIOS)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", name) for name in names)
    paths = (*generate.FOLDER.iterdir(), *generate.SCENARIOS.iterdir())
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) < 100_000
    assert sum(sizes) < 3_000_000


@each_file
def test_a_vector_makes_sense(file: str) -> None:
    check_each(FILES[file], makes_sense)


def makes_sense(vector: Vector) -> None:
    assert vector.is_success or vector.expect in CODES
    for before in chain(vector)[:-1]:
        assert not before.after, "one list, which is complete"
        assert before.policy.kind == vector.policy.kind, "one memory"
        assert before.policy.started == vector.policy.started, "one memory"


def test_every_code_has_a_vector() -> None:
    assert coverage.codes() == list(CODES)
    assert {vector.expect for vector in refused_ones()} == set(CODES)


def test_the_runner_notices_what_is_wrong() -> None:
    known = {vector.name: vector for vector in everything()}
    right = open_with([known["smallest"]])[0]
    assert right.message_id is not None
    wrong = [
        replace(right, content=b"x"),
        replace(right, message_id=bytes(16)),
        replace(right, report={**(right.report or {}), "signed": True}),
        Outcome(code="malformed", outside="refused"),
    ]
    for name, outcome in [*(("smallest", one) for one in wrong), ("part_type_n_4", right)]:
        with pytest.raises(AssertionError, match=name):
            run(known[name], partial(always, outcome))


def always(outcome: Outcome, vectors: Sequence[Vector]) -> list[Outcome]:
    return [outcome for _ in vectors]


GOOD = in_files()[0].text()


@for_each(
    "edit",
    [
        lambda text: "colour: blue\n" + text,
        lambda text: "comment: again\n" + text,
        lambda text: text.replace("comment: ", "comment:"),
        lambda text: text.replace("comment: ", "Comment: "),
        lambda text: re.sub("spec: .*\n", "", text),
        lambda text: re.sub("expect: .*\n", "expect: success\n", text),
        lambda text: "content: 00\n" + text,
        lambda text: "report: {}\n" + text,
        lambda text: "open: both\n" + text,
        lambda text: "zero-user: maybe\n" + text,
        lambda text: "policy: live\n" + text,
        lambda text: "policy: live 05\n" + text,
        lambda text: "policy: stream ORDERS 5\n" + text,
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text + "zz\n",
        lambda text: text.rstrip("\n"),
    ],
)
def test_parsing_is_strict(edit: object) -> None:
    assert callable(edit)
    assert not in_files()[0].is_success
    parse("good", GOOD)
    with pytest.raises(ValueError):  # noqa: PT011 - int and hex have texts of their own
        parse("bad", edit(GOOD))


LINES = generate.scenarios()[0].text()


@for_each(
    "edit",
    [
        lambda text: "colour: blue\n" + text,
        lambda text: text + "comment: again\n",
        lambda text: text + "\n",
        lambda text: re.sub("identity: .*\n", "", text),
        lambda text: text + "step: open nothing admitted live success\n",
        lambda text: text + "step: settle nothing handled\n",
        lambda text: text + "step: now\n",
        lambda text: text + "step: now soon\n",
        lambda text: text + "step: undo\n",
        lambda text: text.replace(" handled\n", " well\n"),
        lambda text: text.replace(" stale\n", " limit_exceeded\n"),
        lambda text: text.replace(" admitted ", " known "),
        lambda text: text.replace("message: first ", "message: first zz"),
    ],
)
def test_parsing_of_scenarios_is_strict(edit: object) -> None:
    assert callable(edit)
    changed = edit(LINES)
    assert changed != LINES
    with pytest.raises(ValueError):  # noqa: PT011 - each message is another
        scenario.parse("made", changed)


def test_a_scenario_has_no_empty_step_and_reads_back() -> None:
    for one in SCENARIOS:
        assert scenario.parse(one.name, one.text()) == one
        assert scenario.STEP.fullmatch(one.steps[-1])


def test_the_checksums_are_those_of_the_files() -> None:
    assert (generate.PUBLISHED / generate.CHECKSUMS).read_text() == generate.checksums()


def test_the_readme_names_all_that_is_published() -> None:
    readme = (generate.PUBLISHED / "README.md").read_text()
    for path in generate.PUBLISHED.iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"`{name}`" in readme or path.name == "README.md"
    assert (generate.PUBLISHED / "VERSION").read_text() == "2\n"
