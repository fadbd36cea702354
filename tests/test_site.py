"""The documentation site: what is generated from the code is complete.

`make docs` builds it, and fails for broken links, missing names, and pages that no page leads to.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from _ext import codes, counters, generated, names, programs, settings
from click.testing import CliRunner

import xkeymsg
from tests.test_pages import PAGES, commands_of, name_of
from xkeymsg import errors
from xkeymsg.cli.settings import CONFIGS
from xkeymsg.key_stores.providers import OWN

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_every_public_name_is_on_one_page() -> None:
    text = "".join(path.read_text() for path in (DOCS / "reference" / "python").glob("*.md"))
    shown = []
    for words in generated.MARK.findall(text):
        _, module, *chosen = words.split()
        home = __import__(module, fromlist=["_"])
        shown += [f"{module}.{name}" for name in chosen or home.__all__]
    public = {name for name in xkeymsg.__all__ if name not in errors.__all__}
    modules = {name for name in public if isinstance(getattr(xkeymsg, name), types.ModuleType)}
    expected = {f"xkeymsg.{name}" for name in public - modules}
    for module in ("errors", "testing", "xkv1"):
        home = __import__(f"xkeymsg.{module}", fromlist=["_"])
        expected |= {f"xkeymsg.{module}.{name}" for name in home.__all__}
    assert sorted(shown) == sorted(expected)
    assert "autoexception:: xkeymsg.errors.StaleError" in names.names("xkeymsg.errors")


def test_every_error_code_is_explained() -> None:
    text = (DOCS / "guides" / "errors.md").read_text()
    made = codes.explain(text)
    assert len(codes.CODES) == made.count(":::{error-code}")
    for row in codes.ROW.finditer(text):
        assert min(len(row[2]), len(row[3])) > 8
    with pytest.raises(ValueError, match="stale"):
        codes.explain(text.replace("| `stale` |", "| `other` |"))


@pytest.mark.parametrize("program", CONFIGS)
def test_every_setting_has_a_type_a_default_and_a_meaning(program: str) -> None:
    made = settings.settings(program)
    entries = re.findall(
        r"^:::\{confval\} (\S+)\n:type: (.+)\n(?::default: .+\n)?\n(.+)$", made, re.MULTILINE
    )
    assert made.count(":::{confval}") == len(entries) == len({name for name, *_ in entries}) > 40
    for name, field in CONFIGS[program].model_fields.items():
        assert field.annotation is not None
        assert any(f"{each[0]}.".startswith(f"{program}.{name}.") for each in entries)
    if program == "receiver":
        assert (
            ":::{confval} receiver.route.replay_bytes\n:type: integer, at least 65,536\n"
            ":default: `67108864`\n" in made
        )


def test_programs_name_only_what_an_installed_program_has() -> None:
    helps = [each.get_help() for name in programs.PROGRAMS for each in programs.contexts(name)]
    literals = [
        text
        for path in sorted((ROOT / "xkeymsg").rglob("*.py"))
        for text in literals_of(ast.parse(path.read_text()))
    ]
    examples = [
        (ROOT / "deploy" / f"{daemon}.toml").read_text() for daemon in ("receiver", "sender")
    ]
    assert len(helps) > 50
    assert len(literals) > 1000
    for text in (*helps, *literals, *examples):
        assert not re.search(r"docs/|\w\.md\b|README", text), text
        for line in re.findall(r"see `?(xkeymsg [a-z -]+)", text):
            assert [wrong for _, wrong in commands_of(line)] == [""], line


def literals_of(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module that are not docstrings or comments."""
    told = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
            yield node.value


def test_the_help_on_key_stores_lists_all_providers() -> None:
    [text] = [
        each.get_help()
        for each in programs.contexts("xkeymsg")
        if each.command_path == "xkeymsg key"
    ]
    assert {*re.findall(r"^  ([a-z0-9]+):", text, re.MULTILINE)} == {*OWN}


def test_every_command_is_shown_with_its_help() -> None:
    paths = {each.command_path for name in programs.PROGRAMS for each in programs.contexts(name)}
    assert paths >= {"xkeymsg", "xkeymsg peers add", "xkeymsg-receiver", "xkeymsg-sender"}
    for name, program in programs.PROGRAMS.items():
        for each in programs.contexts(name):
            words = [*each.command_path.split()[1:], "--help"]
            done = CliRunner().invoke(
                program, words, prog_name=name, terminal_width=programs.WIDTH, max_content_width=80
            )
            assert done.output.rstrip() == each.get_help()
    made = programs.commands("xkeymsg")
    assert "\n### xkeymsg quarantine replay\n" in made.replace("#### ", "### ")
    assert (
        made.count("```text\n") == len([path for path in paths if path.startswith("xkeymsg ")]) + 1
    )


def test_metrics_that_pages_and_programs_name_exist() -> None:
    known = set()
    for group in ("all", "rules", "trust", "directory", "rotation"):
        assert counters.metrics(group).count(":::{metric}") > 0
        for each in counters.families(group):
            known |= {each.name, each.name.removesuffix("_total")}
    for path in [*PAGES, *sorted((ROOT / "deploy").iterdir())]:
        for found in re.findall(r"\bxkeymsg_[a-z_]+[a-z]\b(?!…)", path.read_text()):
            name = re.sub(r"_(bucket|sum|count)$", "", found)
            assert name in known, f"{name_of(path)} names {found}"
