"""Tests of `tests.cases`: each case that fails is named, and none hides another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import for_each

combined: list[tuple[int, str]] = []


@for_each("number", [1, 2])
@for_each(("letter",), ["a", "b"])
def test_cases_can_be_combined_and_have_fixtures(number: int, letter: str, tmp_path: Path) -> None:
    assert tmp_path.is_dir()
    combined.append((number, letter))
    assert combined == [(1, "a"), (1, "b"), (2, "a"), (2, "b")][: len(combined)]


def test_each_case_that_fails_is_named() -> None:
    tried = []

    @for_each("number", [1, pytest.param(2, id="second"), 3, 4])
    def check(number: int) -> None:
        tried.append(number)
        assert number % 2

    with pytest.raises(AssertionError, match=r"second: [^\0]*\n4: ") as caught:
        check()
    assert tried == [1, 2, 3, 4]
    assert "3: " not in str(caught.value)


def test_a_coroutine_function_is_refused() -> None:
    async def check(_: int) -> None: ...

    with pytest.raises(AssertionError, match="await"):
        for_each("number", [1])(check)  # type: ignore[arg-type]
