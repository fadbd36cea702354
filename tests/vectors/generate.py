"""Makes all vectors again, in every specification: `python -m tests.vectors.generate`.

All randomness comes from the names of the vectors, so that making them again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.kv import vectors as kv_generate
from tests.objects import vectors as objects_generate
from tests.trust.chains import generate as trust_generate
from tests.vectors import fields_generate, keys, scenarios_replay, sealing, text_forms
from tests.vectors.builder import Case, make
from tests.vectors.scenario import Scenario
from tests.vectors.vector import Vector
from tests.vectors.worked import EXAMPLES, example

HERE: Final = Path(__file__).parent
PUBLISHED: Final = HERE.parent.parent / "vectors"
CHECKSUMS: Final = "SHA256SUMS"
FOLDER: Final = PUBLISHED / "xkm1"
SCENARIOS: Final = PUBLISHED / "replay"
JSON: Final = PUBLISHED / "xkm1.json"
LARGE_JSON: Final = PUBLISHED / "xkm1-large.json"
KEYS_JSON: Final = PUBLISHED / "keys.json"
SEAL_JSON: Final = PUBLISHED / "seal.json"
LARGEST: Final = 2**20
"""Bytes of the largest envelope that is published."""
LARGE: Final = "cases_large"


def cases_in(module: ModuleType) -> Iterator[Case]:
    """Public functions defined in a module that take a scene, and the lists that `each` made."""
    for name, value in vars(module).items():
        if isinstance(value, list) and all(hasattr(case, "__name__") for case in value):
            yield from value
        elif callable(value) and getattr(value, "__module__", "") == module.__name__:
            hints = getattr(value, "__annotations__", {})
            if hints == {"scene": "Scene", "return": "Vector"} and not name.startswith("_"):
                yield value


def collect(*names: str) -> tuple[Vector, ...]:
    cases = [case for name in names for case in cases_in(import_module(f"tests.vectors.{name}"))]
    vectors = {case.__name__: make(case) for case in cases}
    assert len(vectors) == len(cases), "two vectors have one name"
    return tuple(vectors[name] for name in sorted(vectors))


@cache
def files() -> dict[str, str]:
    """The file of cases that each vector is of."""
    names = [path.stem for path in sorted(HERE.glob("cases_*.py"))]
    return {
        case.__name__: name
        for name in names
        for case in cases_in(import_module(f"tests.vectors.{name}"))
    }


@cache
def small() -> tuple[Vector, ...]:
    """The vectors that have files."""
    return collect(*(path.stem for path in sorted(HERE.glob("cases_*.py")) if path.stem != LARGE))


@cache
def large() -> tuple[Vector, ...]:
    """Those too big for one."""
    return collect(LARGE)


@cache
def scenarios() -> tuple[Scenario, ...]:
    """Those of the replay memory."""
    made = [
        value()
        for value in vars(scenarios_replay).values()
        if getattr(value, "__annotations__", {}).get("return") == "Scenario"
    ]
    return tuple(sorted(made, key=lambda scenario: scenario.name))


def as_json() -> str:
    """vectors/xkm1.json, with the secrets of the worked examples."""
    objects = [
        vector.json() | (example(vector) if vector.name in EXAMPLES else {}) for vector in small()
    ]
    objects += [scenario.json() for scenario in scenarios()]
    return json.dumps(objects, indent=1, ensure_ascii=False) + "\n"


def large_as_json() -> str:
    """vectors/xkm1-large.json."""
    objects = [vector.json() for vector in large() if len(vector.envelope) <= LARGEST]
    return json.dumps(objects, indent=1, ensure_ascii=False) + "\n"


def checksums() -> str:
    """The SHA-256 of every published file, as `sha256sum` writes them."""
    paths = sorted(path for path in PUBLISHED.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(PUBLISHED)}\n"
        for path in paths
        if path.name != CHECKSUMS
    )


def write(folder: Path, wanted: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)
    print(f"{len(wanted)} in {folder.name}, {sum(map(len, wanted.values())):,} bytes")


def main() -> None:
    write(FOLDER, {vector.name: vector.text() for vector in small()})
    write(SCENARIOS, {scenario.name: scenario.text() for scenario in scenarios()})
    JSON.write_text(as_json())
    LARGE_JSON.write_text(large_as_json())
    KEYS_JSON.write_text(keys.as_json())
    SEAL_JSON.write_text(sealing.as_json())
    fields_generate.main()
    trust_generate.main()
    objects_generate.main()
    kv_generate.main()
    text_forms.main()
    (PUBLISHED / CHECKSUMS).write_text(checksums())


if __name__ == "__main__":
    main()
