"""The lock files: what they pin satisfies pyproject.toml, and all that is installed is pinned."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import xkeymsg
from release.image import differences
from release.lock import LockedPackage, locked_packages
from tests.test_layers import ROOT

REQUIREMENTS = ROOT / "requirements"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def required(*extras: str) -> list[str]:
    """Return what the project requires with some extras, and with those that they name."""
    found = list(PYPROJECT["project"]["dependencies"])
    for text in (each for extra in extras for each in EXTRAS[extra]):
        own = Requirement(text)
        found += required(*own.extras) if own.name == "xkeymsg" else [text]
    return found


LOCKS = {
    "build": PYPROJECT["build-system"]["requires"],
    "programs": required("programs"),
    "demo": required("programs", "server"),
    "native": tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["build-system"][
        "requires"
    ],
    "wheels": (ROOT / "requirements" / "wheels.in").read_text().splitlines()[1:],
    "dev": required("dev"),
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_satisfies_the_project(name: str) -> None:
    """If not, a requirement was changed: `make lock` writes new lock files."""
    locked = locked_packages(REQUIREMENTS / f"{name}.txt")
    for text in LOCKS[name]:
        requirement = Requirement(text)
        package = locked.get(canonicalize_name(requirement.name))
        assert package is not None, f"{text} is not locked: run `make lock`"
        assert requirement.specifier.contains(package.version), f"{text}: run `make lock`"


def test_the_lock_files_agree() -> None:
    dev = locked_packages(REQUIREMENTS / "dev.txt")
    demo = locked_packages(REQUIREMENTS / "demo.txt")
    programs = locked_packages(REQUIREMENTS / "programs.txt")
    assert programs.keys() < demo.keys() < dev.keys()
    for each in (programs, demo):
        for name, package in each.items():
            assert (package.version, package.hashes) == (dev[name].version, dev[name].hashes)
    assert locked_packages(REQUIREMENTS / "build.txt")["hatchling"].version == (
        dev["hatchling"].version
    )
    native = locked_packages(REQUIREMENTS / "native.txt")
    assert locked_packages(REQUIREMENTS / "wheels.txt")["maturin"].version == (
        native["maturin"].version
    )


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_lock_names_no_host_and_no_other_source(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert not [line for line in lines if "://" in line or "@" in line]
    assert not [line for line in lines if line.startswith("-")]
    assert path.stem in LOCKS


@pytest.mark.parametrize("path", ["Makefile", "deploy/Dockerfile"])
def test_all_that_is_installed_is_pinned(path: str) -> None:
    """Each `pip` checks hashes, or installs only this project or what was built from the lock."""
    text = (ROOT / path).read_text().replace("\\\n", " ")
    free = {"lowest", "pythons", "servers", "bench"}  # other versions on purpose
    target = ""
    found = 0
    for line in text.splitlines():
        if rule := re.match(r"([a-z-]+):", line):
            target = rule[1]
        elif line.startswith(("define", "$(")):
            target = ""
        for command in re.findall(r"\bpip (?:--python \S+ )?(?:install|wheel)\b[^&|;]*", line):
            found += 1
            assert target in free or "--require-hashes" in command or "--no-deps" in command
            assert (
                target in free
                or "--require-hashes" not in command
                or "--no-build-isolation" in command
                or "build.txt" in command
                or "native.txt" in command
                or "wheels.txt" in command
            )
    assert found >= 2


def test_an_image_with_other_packages_is_seen() -> None:
    """The names are those of the packages' metadata, such as PyNaCl and pydantic_core."""
    locked = locked_packages(REQUIREMENTS / "programs.txt").values()
    lines = [f"{each.name.replace('-', '_').upper()}=={each.version}\n" for each in locked]
    lines.append(f"xkeymsg=={xkeymsg.__version__}\n")
    assert differences(lines) == []
    click = next(each for each in lines if each.startswith("CLICK"))
    changed = [each for each in lines if each != click]
    assert differences([*changed, "click==1.0", "pip==26.0"]) == [
        "+ click==1.0",
        "+ pip==26.0",
        f"- {click.strip().lower()}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a==1",
        "a>=1 --hash=sha256:" + "0" * 64,
        "a==1.* --hash=sha256:" + "0" * 64,
        "a==1 --hash=sha256:" + "0" * 63,
        "a==1 --hash=md5:" + "0" * 64,
        "a @ file:///a --hash=sha256:" + "0" * 64,
        ("a==1 --hash=sha256:" + "0" * 64 + "\n") * 2,
        "--index-url file:///a",
    ],
)
def test_a_line_that_pins_nothing_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lock.txt"
    path.write_text(text + "\n")
    with pytest.raises(ValueError):  # noqa: PT011 - also that of packaging
        locked_packages(path)


def test_a_lock_says_who_requires_a_package(tmp_path: Path) -> None:
    path = tmp_path / "lock.txt"
    path.write_text(
        f"a-b==1 ; os_name == 'nt' \\\n    --hash=sha256:{'0' * 64} \\\n"
        f"    --hash=sha256:{'1' * 64}\n"
        f"    # via c\nc==2 \\\n    --hash=sha256:{'2' * 64}\n"
        "    # via\n    #   -c dev.txt\n    #   xkeymsg (pyproject.toml)\n    #   D.e\n"
    )
    assert locked_packages(path) == {
        "a-b": LockedPackage(
            name="a-b", version="1", hashes=("0" * 64, "1" * 64), required_by=("c",)
        ),
        "c": LockedPackage(
            name="c", version="2", hashes=("2" * 64,), required_by=("xkeymsg", "d-e")
        ),
    }
