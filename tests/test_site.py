"""The documentation site: what it generates is complete, and what it shows exists.

`make docs` builds it, and fails for broken links, missing names, and pages that no page leads to.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from _ext import codes, counters, generated, names, programs, settings

import xkeymsg
from tests.cases import check_each
from xkeymsg import errors
from xkeymsg.cli.settings import CONFIGS
from xkeymsg.daemons.receiver.config import load
from xkeymsg.key_stores.providers import OWN
from xkeymsg.trust.stores.file import write_seed

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/*.md", "benchmarks/*.md", "js/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

RUN = {
    "README.md": {
        "console": "tests/test_documents.py",
        "python": "tests/test_documents.py",
        "py": "tests/client/test_guide.py",
    },
    "docs/api.md": {"python": "tests/client/test_api_page.py"},
    "docs/client.md": {"python": "tests/client/test_guide.py"},
    "docs/directory.md": {"python": "tests/directory/test_directory.py"},
    "docs/doctor.md": {"console": "tests/test_documents.py"},
    "docs/documents.md": {"python": "tests/test_documents.py"},
    "docs/guides/containers.md": {"yaml": "tests/test_site.py"},
    "docs/kv.md": {"python": "tests/kv/test_guide.py"},
    "docs/objects.md": {
        "console": "tests/test_documents.py",
        "python": "tests/objects/test_guide.py",
    },
    "docs/peers.md": {"console": "tests/test_documents.py", "python": "tests/test_documents.py"},
    "docs/reseal.md": {
        "json": "tests/reseal/test_document.py",
        "python": "tests/reseal/test_document.py",
        "sh": "tests/reseal/test_document.py",
    },
    "docs/stores.md": dict.fromkeys(("python", "sh", "toml"), "tests/key_stores/test_document.py"),
    "docs/trust.md": {"python": "tests/client/test_chains.py"},
    "docs/xkm1.md": {"python": "tests/test_documents.py"},
}
"""The test that runs the blocks of a page, by their language; guides have a test for all."""

NOT_RUN = {
    ("docs/directory.md", "console"): "the guide to the directory runs these commands",
    ("docs/directory.md", "toml"): "the guide to the directory runs daemons with these settings",
    (
        "docs/documents-cli.md",
        "toml",
    ): "the keys are left out; tests/fields/test_files.py has files",
    ("docs/documents.md", "toml"): "the same policy is in the Python session above it",
    ("docs/guides/containers.md", "sh"): "needs Docker, or root and systemd",
    ("docs/guides/hsm.md", "sh"): "installs Debian packages",
    ("docs/jetstream.md", "sh"): "the guides run these verbs; the handler is the reader's",
    ("docs/peers.md", "toml"): "the keys are left out; tests/trust/test_peers.py has files",
    ("docs/stores.md", "yaml"): "a part of a manifest; the guide to containers has a whole one",
    ("js/README.md", "js"): "tests/js runs the package, and compares its messages",
}
"""Why blocks are not run. The commands in them are checked like all others, below."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- generated ------------------------------------------------------------------------------------


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
    assert len(codes.CODES) == made.count(":::{error-code}") == 58
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
    assert made.count(":::{confval}") == len(entries) == len({name for name, *_ in entries}) > 60
    for name, field in CONFIGS[program].model_fields.items():
        if name != "name" and field.annotation is not None:
            assert any(each[0].startswith(f"{program}.{name}.") for each in entries)
    assert f"{program}.route.name" in made
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
    examples = [(ROOT / "deploy" / f"{daemon}.toml").read_text() for daemon in CONFIGS]
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


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_block_is_run_by_a_test_or_has_a_reason(path: Path) -> None:
    name = name_of(path)
    for language, _ in FENCE.findall(path.read_text()):
        if language == "{toctree}" or (language == "console" and path.parent.name == "guides"):
            continue
        if (name, language) in NOT_RUN:
            continue
        test = RUN.get(name, {}).get(language)
        assert test, f"no test runs the {language or 'plain'} blocks of {name}"
        assert path.name in (ROOT / test).read_text(), f"{test} does not name {name}"


def test_reasons_are_for_blocks_that_exist() -> None:
    blocks = {
        (name_of(path), each[0]) for path in PAGES for each in FENCE.findall(path.read_text())
    }
    assert NOT_RUN.keys() <= blocks
    assert {(name, each) for name, found in RUN.items() for each in found} <= blocks


def command_lines(text: str) -> Iterator[str]:
    """Yield everything in code that calls one of the programs, whole lines joined."""
    text = text.replace("\\\n", " ")
    code = [block for _, block in FENCE.findall(text)]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    code += re.findall(r"^    .+$", text, re.MULTILINE)
    for line in code:
        for found in re.findall(
            r"(?:^|(?<!from)[ $(])(xkeymsg(?:-receiver|-sender)?(?: [^`|;&,)\n#]*)?)",
            line,
            re.MULTILINE,
        ):
            yield found.strip()


def commands_of(line: str) -> Iterator[tuple[click.Command, str]]:
    """Yield the command of a line, with the first word that is wrong, if any."""
    words = re.sub(r"\(.*|[\[\]]", " ", line).split()
    command: click.Command = programs.PROGRAMS[words[0]]
    context = click.Context(command, info_name=words[0])
    rest = words[1:]
    while rest and isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        found = command.get_command(context, rest[0])
        if found is None:
            yield command, rest[0]
            return
        command, context = found, click.Context(found, context, info_name=rest[0])
        rest = rest[1:]
    known = {"--help", "-h", "--version"}
    for each in _with_verbs(command, context):
        known |= {option for param in each.params for option in param.opts + param.secondary_opts}
    options = [word.partition("=")[0] for word in rest if re.match(r"-[-A-Za-z]", word)]
    if "--" in rest:
        options = [word for word in options if word in rest[: rest.index("--")]]
    yield command, next((word for word in options if word not in known), "")


def _with_verbs(command: click.Command, context: click.Context) -> Iterator[click.Command]:
    """Yield a command; and, if no verb of a group is named, each of its verbs."""
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (verb := command.get_command(context, name)) is not None:
                yield verb


CURRENT = [path for path in PAGES if path.name != "CHANGELOG.md"]
"""Pages about what is there; the changelog also names what was."""


@pytest.mark.parametrize("path", CURRENT, ids=name_of)
def test_commands_that_are_shown_exist_with_their_options(path: Path) -> None:
    def exists(line: str) -> None:
        for command, wrong in commands_of(line):
            assert not wrong, f"`{command.name}` has no {wrong}"

    check_each(sorted(set(command_lines(path.read_text()))), exists)


def test_a_command_that_does_not_exist_is_seen() -> None:
    for line, wrong in (
        ("xkeymsg peers ad peers.toml", "ad"),
        ("xkeymsg peers add peers.toml alice X… --subjct 'a'", "--subjct"),
        ("xkeymsg-receiver --config FILE --chek", "--chek"),
        ("xkeymsg tls exec --fd 9 -- nats-server -c server.conf", ""),
    ):
        assert [found for _, found in commands_of(line)] == [wrong]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_tests_that_are_named_exist(path: Path) -> None:
    for file, test in re.findall(r"`(tests/[\w./-]+\.py)::(\w+)`", path.read_text()):
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"


def test_the_manifest_starts_a_valid_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [text] = [
        block
        for language, block in FENCE.findall((DOCS / "guides" / "containers.md").read_text())
        if language == "yaml"
    ]
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in pod["volumes"]}
    assert container["args"] == ["--config", f"{mounts['config']}/receiver.toml"]
    assert environ.pop("CREDENTIALS_DIRECTORY") == mounts["key"]
    write_seed(tmp_path / "xkey", xkeymsg.XKeyPair.generate())
    (tmp_path / "xkey").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = (ROOT / "deploy" / "receiver.toml").read_text()
    assert f'folder = "{mounts["state"]}"' in config
    (tmp_path / "receiver.toml").write_text(config.replace(mounts["state"], str(tmp_path)))
    (tmp_path / "peers.toml").write_text((ROOT / "deploy" / "peers.toml").read_text())
    loaded = load(tmp_path / "receiver.toml", environ)
    assert loaded.nats.servers == ("nats://nats:4222",)
    assert str(loaded.observe.listen) in str(container["readinessProbe"])
