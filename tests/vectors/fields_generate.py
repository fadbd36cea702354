"""Makes the vectors of docs/spec/fields.md; `python -m tests.vectors.generate` calls it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.vectors.fields_builder import Case, make
from tests.vectors.fields_vector import Vector

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parent.parent / "vectors" / "fields"
JSON: Final = FOLDER.with_suffix(".json")


def cases_in(module: ModuleType) -> Iterator[Case]:
    """Public functions without arguments that a module defines, and the lists of `each`."""
    for name, value in vars(module).items():
        if isinstance(value, list) and value and all(hasattr(one, "__name__") for one in value):
            yield from value
        elif getattr(value, "__module__", "") == module.__name__:
            hints = getattr(value, "__annotations__", {})
            if hints == {"return": "Vector"} and not name.startswith("_"):
                yield value


@cache
def everything() -> tuple[Vector, ...]:
    modules = [f"tests.vectors.{path.stem}" for path in sorted(HERE.glob("fields_cases_*.py"))]
    made = [make(case) for module in modules for case in cases_in(import_module(module))]
    vectors = {vector.name: vector for vector in made}
    assert len(vectors) == len(made), "two vectors have one name"
    return tuple(vectors[name] for name in sorted(vectors))


def as_json() -> str:
    """vectors/fields.json."""
    objects = [vector.json() for vector in everything()]
    return json.dumps(objects, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    wanted = {FOLDER / vector.name: vector.text() for vector in everything()}
    for path in FOLDER.glob("*/*"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    JSON.write_text(as_json())
    print(f"{len(wanted)} vectors, {sum(map(len, wanted.values())):,} bytes")
