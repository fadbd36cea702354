"""The vectors for fields are what their cases make, say what the reference does, and cover all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache

import pytest

from tests.cases import check_each, for_each
from tests.reference import fields_join, fields_policy
from tests.reference.fields_model import CODES, FieldLimits, FieldsRefusalError
from tests.reference.fields_text import dumps, loads
from tests.reference.fields_write import plaintext
from tests.vectors import fields_generate
from tests.vectors.fields_reference import Reference
from tests.vectors.fields_runner import (
    FILES,
    FOLDER,
    Joined,
    Order,
    PolicyFile,
    RefusedError,
    Split,
    attempt,
    everything,
    run,
)
from tests.vectors.fields_vector import KEYS, Vector, parse

each_file = pytest.mark.parametrize("file", FILES)


@cache
def refused_ones() -> list[Vector]:
    return [vector for vector in everything() if not vector.is_success]


@cache
def known_ones() -> dict[str, Vector]:
    return {vector.name: vector for vector in everything()}


@each_file
def test_the_reference_does_what_a_vector_says(file: str) -> None:
    check_each(FILES[file], lambda vector: run(vector, Reference()))


@each_file
def test_a_vector_is_refused_for_the_reason_it_names(file: str) -> None:
    check_each((one for one in FILES[file] if not one.is_success), is_refused_for_its_reason)


def is_refused_for_its_reason(vector: Vector) -> None:
    with pytest.raises(RefusedError) as caught:
        attempt(vector, Reference())
    cause = caught.value.__cause__
    assert isinstance(cause, FieldsRefusalError)
    assert cause.rule in vector.spec


def test_the_files_are_what_the_cases_make() -> None:
    on_disk = {path: path.read_bytes() for path in FOLDER.glob("*/*")}
    made = {FOLDER / one.name: one.text().encode() for one in fields_generate.everything()}
    assert on_disk == made
    assert {path.name for path in FOLDER.iterdir()} == set(KEYS)


def test_the_json_holds_the_same_vectors() -> None:
    text = fields_generate.JSON.read_text()
    assert text == fields_generate.as_json()
    assert json.loads(text) == [vector.json() for vector in everything()]


def test_making_the_vectors_twice_gives_the_same() -> None:
    first = fields_generate.everything()
    fields_generate.everything.cache_clear()
    assert fields_generate.everything() == first


def test_names_are_in_order_and_files_are_small() -> None:
    assert list(known_ones()) == sorted(known_ones())
    assert all(re.fullmatch(r"[a-z]+/[a-z][a-z0-9_]+", name) for name in known_ones())
    sizes = [path.stat().st_size for path in FOLDER.glob("*/*")]
    assert max(sizes) < 150_000
    assert sum(sizes) < 1_000_000


def test_every_code_has_a_vector() -> None:
    assert {vector.expect for vector in refused_ones()} == set(CODES)


# --- the runner


class Wrong(Reference):
    """Makes one mistake each."""

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake

    def join(self, parts: Sequence[bytes], total: int, limits: FieldLimits) -> Joined:
        joined = super().join(parts, total, limits)
        if self.mistake == "withheld":
            return Joined(joined.document, joined.withheld + 1)
        if self.mistake == "kind":
            return Joined(loads(dumps(joined.document).replace("1.0", "1")), joined.withheld)
        items = dict(reversed(joined.document.items()))
        return Joined(items, joined.withheld) if self.mistake == "order" else joined

    def split(self, order: Order) -> Split:
        if self.mistake == "pointers":
            raise RefusedError("field_denied", pointers=["/z"])
        made = super().split(order)
        parts, grants = list(made.parts), {k: sorted(v) for k, v in made.grants.items()}
        if self.mistake == "parts":
            parts.reverse()
        if self.mistake == "permissions":
            parts[0] = ({"clinic"}, parts[0][1])
        if self.mistake == "grants":
            grants["clinic"] = [0, 1, 2]
        if self.mistake == "pairs":
            parts[1] = (parts[1][0], plaintext([(("patient", "phone"), "555")]))
        return Split(parts, grants)

    def read_policy(self, file: bytes) -> PolicyFile:
        try:
            made = super().read_policy(file)
        except RefusedError as refused:
            raise RefusedError(refused.code, line=1, number=1) from None
        return PolicyFile(list(reversed(made.rules)), made.allow_unread)

    def read_readers(self, file: bytes) -> object:
        return None


@for_each(
    ("name", "mistake"),
    [
        ("join/overview_all", "withheld"),
        ("join/overview_all", "order"),
        ("join/kinds_that_look_alike", "kind"),
        *(("split/overview", one) for one in ("parts", "permissions", "grants", "pairs")),
        ("split/no_rule_matches", "pointers"),
        ("policy/policy_of_the_specification", "order"),
        ("policy/rule_with_nothing", "line"),
        ("readers/recipient_name", "accepts"),
    ],
)
def test_the_runner_notices_what_is_wrong(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError, match=name):
        run(known_ones()[name], Wrong(mistake))


def test_the_runner_passes_on_what_is_no_refusal() -> None:
    class Broken(Reference):
        def join(self, parts: Sequence[bytes], total: int, limits: FieldLimits) -> Joined:
            raise RecursionError

    with pytest.raises(RecursionError):
        run(known_ones()["join/too_deep_value_of_10000_maps"], Broken())


# --- the files


def edits(name: str, *changes: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [(name, old, new) for old, new in changes]


@for_each(
    ("name", "old", "new"),
    [
        *edits(
            "join/overview_billing",
            ("do: join", "do: joins"),
            ("do: join", "do: split"),
            ("expect: success", "expect: fine"),
            ("expect: success", "expect: malformed"),
            ("do: ", "colour: blue\ndo: "),
            ("comment: ", "comment: twice\ncomment: "),
            ("comment: ", "comment:"),
            ("comment: ", "Comment: "),
            ("parts: 3", "parts: 1"),
            ("parts: 3", "parts: 03"),
            ("withheld: 1", "withheld: 2"),
            ("withheld: 1\n", ""),
            ("withheld: 1", "withheld: 1\nrule: x"),
            ("WITHHELD", "withheld"),
            ('"Ada"', '"Ada",'),
            ("\n\n", "\n"),
            ("\n\n", "\n\n\n\n"),
            ("\n\n92", "\n\nzz"),
        ),
        *edits(
            "split/overview",
            ("rule: billing,clinic", "rule: billing, clinic"),
            ("reader: both billing,clinic", "reader: both billing,clinic\nreader: both billing"),
            ("view: clinic", "view: clinics"),
            ("part: ", 'pointer: ""\npart: '),
            ("part: ", "metadata: maybe\npart: "),
            ("part: ", "limit-depth: x\npart: "),
            ("\n\n", "\n\n]"),
        ),
        *edits("policy/rule_with_nothing", ("line: ", "withheld: "), ("line: ", "line: x")),
    ],
)
def test_parsing_is_strict(name: str, old: str, new: str) -> None:
    text = known_ones()[name].text()
    assert parse(name, text) == known_ones()[name]
    assert old in text
    with pytest.raises(ValueError):  # noqa: PT011 - int and hex have texts of their own
        parse(name, text.replace(old, new, 1))


@for_each(
    "text",
    [
        *(
            "",
            "1 2",
            "01",
            "1.",
            ".5",
            "+1",
            "1e999",
            "nul",
            "nulls",
            "Nan",
            "-NaN",
            "[1,]",
            "[1 2]",
        ),
        *("[,1]", "{1: 2}", '{"a" 1}', '{"a": 1, "a": 2}', '{"a": 1,}', "'a'", '"\t"', '"\\x"'),
        *('h"0"', 'h"0A"', 'h"0 0"', 'd"1"', 'd"01E0"', 'd"1E-0"', 'd"1e0"', 'd"NaN"', 'x"00"'),
        *('t"2026-01-01T00:00:00"', 't"2026-01-01T00:00:00Z"', 't"2026-01-01 00:00:00+00:00"'),
        *('t"2026-01-01T00:00:00.5+00:00"', 't"2026-02-30T00:00:00+00:00"', 'u"0"'),
        'u"018F428E-34f6-4707-8009-5ad742f901e7"',
    ],
)
def test_the_notation_is_strict(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several libraries
        loads(text)


@pytest.mark.parametrize("file", [b"\xff", b'[[rule]]\npattern = "/\xe9"\nreaders = ["x"]\n'])
def test_files_that_no_vector_can_hold(file: bytes) -> None:
    """F-37 and F-38: not UTF-8, as the text of a vector is."""
    with pytest.raises(FieldsRefusalError, match=r"policy_invalid .*F-37"):
        fields_policy.read_policy(file)
    with pytest.raises(FieldsRefusalError, match=r"policy_invalid .*F-38"):
        fields_policy.read_readers(file)


def test_a_join_needs_no_stack() -> None:
    """F-28: the reference itself, on what is a hundred times too deep."""
    deep = b"\x91\x92\x90" + b"\x91" * 10**6
    with pytest.raises(FieldsRefusalError, match="limit_exceeded"):
        fields_join.join([deep], 1, FieldLimits())
