"""`xkeymsg docs`: pages for those who have only the wheel, which help texts and errors name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import click
import pytest

from tests.cli.test_help import PROGRAMS
from tests.cli.test_help import verbs as verbs_of
from tests.running import ROOT, run_here
from xkeymsg.daemons.receiver.command import command as receiver
from xkeymsg.daemons.sender.command import command as sender

PAGES = run_here("docs").stdout.decode().splitlines()
NAMES = {line.split()[0] for line in PAGES}
SOURCES = sorted(
    path
    for top in ("xkeymsg", "sender", "receiver", "deploy")
    for path in (ROOT / top).rglob("*")
    if path.suffix in (".py", ".toml")
)


def helps(command: click.Command, *path: str) -> Iterator[tuple[str, str]]:
    """Yield each command with what its `--help` prints."""
    context = click.Context(command, info_name=path[-1])
    yield " ".join(path), command.get_help(context)
    if isinstance(command, click.Group):
        for name, each in verbs_of(command):
            yield from helps(each, *path, name)


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module that a user can see: all but docstrings."""
    statements = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # a text alone is a docstring
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in statements:
            yield str(node.value)


def test_each_page_is_listed_with_its_title_and_shown_whole() -> None:
    files = {
        str(path.relative_to(ROOT / "docs").with_suffix("")): path
        for path in (ROOT / "docs").rglob("*.md")
    }
    own = {name: path for name, path in files.items() if not name.startswith(("adr", "reference"))}
    assert own.keys() == NAMES
    assert {"receiver", "guides/rotation", "spec/envelope"} <= NAMES
    for line in PAGES:
        name, _, title = line.partition("  ")
        assert title.strip() == own[name].read_text().splitlines()[0].removeprefix("# ")
    assert run_here("docs", "guides/rotation").stdout == own["guides/rotation"].read_bytes()


@pytest.mark.parametrize("page", ["nothing", "../README", "/etc/passwd", "adr/0003-click", "", "."])
def test_only_pages_are_shown(page: str) -> None:
    done = run_here("docs", page)
    assert (done.returncode, done.stdout) == (2, b"")


def test_each_page_that_a_program_names_is_there() -> None:
    named = {
        name
        for path in SOURCES
        for name in re.findall(r"xkeymsg docs ([a-z][\w/-]*)", path.read_text())
    }
    assert named >= {"receiver", "sender", "stores", "kv"}
    assert named <= NAMES


def test_no_program_names_a_file_that_only_the_repository_has() -> None:
    file = re.compile(r"\bdocs/[\w/-]+\.md")
    for program, command in PROGRAMS.items():
        for name, text in helps(command, program):
            assert not file.search(text), name
    for path in SOURCES:
        shown = texts(ast.parse(path.read_text())) if path.suffix == ".py" else [path.read_text()]
        assert not [each for each in shown if file.search(each)], path


@pytest.mark.parametrize(
    "command",
    [PROGRAMS["xkeymsg"], receiver, sender],
    ids=["xkeymsg", "receiver", "sender"],
)
def test_each_program_says_how_a_shell_completes_it(command: click.Command) -> None:
    [(_, text), *_] = helps(command, "program")
    assert "xkeymsg completion --help" in text
