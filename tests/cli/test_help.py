"""What --help says is whole, and says how a program ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec

import click
import pytest
from click.testing import CliRunner

import receiver.command
import sender.command
import xkeymsg
import xkeymsg.cli.command
import xkeymsg.daemons.receiver.command as receiver_daemon
import xkeymsg.daemons.sender.command as sender_daemon
from tests.cases import for_each
from tests.running import run as start
from xkeymsg.daemons.common.command import core_in_use
from xkeymsg.daemons.common.terminal import COMPLETION, EXIT_CODES, EXIT_CODES_UNOPENED, run

PROGRAMS = {
    "xkeymsg": xkeymsg.cli.command.command,
    "receiver": receiver.command.command,
    "sender": sender.command.command,
}


def groups(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        yield path
        for name, each in verbs(command):
            yield from groups(each, *path, name)


def verbs(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        each = group.get_command(context, name)
        assert each is not None
        yield name, each


@for_each("path", [*groups(PROGRAMS["xkeymsg"])], ids=" ".join)
def test_a_list_of_verbs_is_not_cut_off(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(PROGRAMS["xkeymsg"], [*path, "--help"]).output
    verbs = shown.partition("Commands:\n")[2]
    assert verbs
    assert "..." not in verbs


@pytest.mark.slow
@pytest.mark.parametrize("verb", [name for name, _ in verbs(xkeymsg.cli.command.command)])
def test_a_verb_imports_what_it_uses(verb: str) -> None:
    done = start("xkeymsg.cli", verb, "--help", fresh=True)
    assert (done.returncode, done.stderr) == (0, b"")


@for_each("program", PROGRAMS)
def test_every_program_says_its_exit_codes_and_its_version(program: str) -> None:
    codes = EXIT_CODES_UNOPENED if program == "sender" else EXIT_CODES
    assert f"  {codes}\n" in CliRunner().invoke(PROGRAMS[program], ["--help"]).output
    shown = CliRunner().invoke(PROGRAMS[program], ["--version"]).output
    assert shown.endswith(f"version {xkeymsg.__version__} ({core_in_use()})\n")


def test_every_installed_program_says_how_a_shell_completes_it() -> None:
    installed = (PROGRAMS["xkeymsg"], receiver_daemon.command, sender_daemon.command)
    for command in installed:
        shown = CliRunner().invoke(command, ["--help"]).output
        assert shown.endswith(f"\n\n  {COMPLETION}\n")
    assert CliRunner().invoke(PROGRAMS["xkeymsg"], ["completion", "--help"]).exit_code == 0


@pytest.mark.parametrize("program", ["receiver", "sender"])
def test_a_look_at_no_file_says_what_is_missing(program: str) -> None:
    done = CliRunner().invoke(PROGRAMS[program], ["--check"])
    assert done.exit_code == 2
    assert "--check requires --config FILE" in done.output


def test_a_pattern_where_a_subject_belongs_is_called_one() -> None:
    done = CliRunner().invoke(PROGRAMS["receiver"], ["--queue", "a.*"])
    assert done.exit_code == 2
    assert "wildcards are not allowed here" in done.output


@pytest.mark.parametrize(
    ("module", "shown"),
    [
        (None, "xkeymsg-receiver"),  # an installed script
        ("receiver", "python -m receiver"),
        ("xkeymsg.daemons.receiver", "python -m xkeymsg.daemons.receiver"),
    ],
)
def test_usage_shows_the_command_that_was_typed(
    module: str | None,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = None if module is None else ModuleSpec(f"{module}.__main__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    assert run(PROGRAMS["receiver"], "receiver", ["--no-such-flag"]) == 2
    assert f"Try '{shown} --help' for help." in capsys.readouterr().err
