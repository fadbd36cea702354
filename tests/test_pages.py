"""What the pages show is run by a test, or exists."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest
import yaml
from _ext import programs

import xkeymsg
from tests.cases import check_each, for_each
from xkeymsg.daemons.receiver.config import load as load_receiver
from xkeymsg.daemons.sender.config import load as load_sender
from xkeymsg.trust.stores.file import write_seed

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/*.md", "benchmarks/*.md", "js/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMANDS = "commands"
"""Indented blocks with a command. In guides, one that begins with `# NAME` is a file."""
INDENTED = re.compile(r"(?:^|(?<=\n\n))(?! *[-*\d])(?:    .*\n)+", re.MULTILINE)
CALL = re.compile(r"^    (?:make|pip|python|nsc|docker|npm|node|go|xkeymsg[a-z-]*) ", re.MULTILINE)
LOAD: Final[dict[str, Callable[[Path, dict[str, str]], object]]] = {
    "receiver": load_receiver,
    "sender": load_sender,
}

RUN = {
    "README.md": {
        "console": "tests/test_documents.py",
        "python": "tests/test_documents.py",
        "py": "tests/client/test_guide.py",
    },
    "docs/api.md": {"python": "tests/client/test_api_page.py"},
    "docs/client.md": {"python": "tests/client/test_guide.py"},
    "docs/console.md": {"console": "tests/cli/console/test_document.py"},
    "docs/decode.md": {"console": "tests/cli/test_decode.py", "json": "tests/cli/test_decode.py"},
    "docs/directory.md": {"python": "tests/directory/test_directory.py"},
    "docs/doctor.md": {"console": "tests/test_documents.py"},
    "docs/documents.md": {"python": "tests/test_documents.py"},
    "docs/guides/containers.md": {"yaml": "tests/test_pages.py"},
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
    "docs/telemetry.md": {"python": "tests/client/test_telemetry.py"},
    "docs/trust.md": {"python": "tests/client/test_chains.py"},
    "docs/xkm1.md": {"python": "tests/test_documents.py"},
}
"""The test that runs the blocks of a page, by their language; guides have a test for all."""

NOT_RUN = {
    "CONTRIBUTING.md": {COMMANDS: "runs the tests"},
    "README.md": {COMMANDS: "tests/test_documents.py runs what both targets run"},
    "RELEASING.md": {COMMANDS: "needs a release, Docker and gh; tests/release builds its files"},
    "benchmarks/README.md": {COMMANDS: "takes minutes; tests/test_benchmarks.py has short runs"},
    "docs/benchmarks.md": {COMMANDS: "takes minutes; tests/test_benchmarks.py has short runs"},
    "docs/directory.md": {
        COMMANDS: "needs nsc; tests/cli/trust/test_share_directory.py compares what it makes",
        "toml": "the guide to the directory runs daemons with these settings",
    },
    "docs/documents-cli.md": {
        COMMANDS: "a synopsis",
        "toml": "the keys are left out; tests/fields/test_files.py has files",
    },
    "docs/documents.md": {"toml": "the same policy is in the Python session above it"},
    "docs/guides/containers.md": {"sh": "needs Docker, or root and systemd"},
    "docs/guides/directory.md": {COMMANDS: "needs nsc; a variant of what the guide runs"},
    "docs/guides/hello.md": {COMMANDS: "installs packages; tests/test_wheel.py does so"},
    "docs/guides/hsm.md": {"sh": "installs Debian packages"},
    "docs/jetstream.md": {"sh": "the guides run these verbs; the handler is the reader's"},
    "docs/native.md": {COMMANDS: "installs what `make native` builds; tests/native runs it"},
    "docs/peers.md": {"toml": "the keys are left out; tests/trust/test_peers.py has files"},
    "docs/receiver.md": {COMMANDS: "tests/daemons/receiver runs the program"},
    "docs/scale.md": {COMMANDS: "takes minutes; tests/scale has short runs"},
    "docs/sender.md": {COMMANDS: "tests/daemons/sender runs the program"},
    "docs/soak.md": {COMMANDS: "takes minutes; tests/soak has short runs"},
    "docs/stores.md": {"yaml": "a part of a manifest; the guide to containers has a whole one"},
    "docs/telemetry.md": {COMMANDS: "installs packages"},
    "examples/hospital/README.md": {COMMANDS: "tests/test_documents.py runs the demo"},
    "js/README.md": {"js": "tests/js runs the package, and compares its messages"},
}
"""Why blocks are not run. The commands in them are checked like all others, below."""


def blocks(path: Path) -> Iterator[str]:
    """Yield the kind of each block of a page: its language, or that it is indented commands."""
    text = path.read_text()
    yield from (language for language, _ in FENCE.findall(text))
    for block in INDENTED.findall(FENCE.sub("", text)):
        if CALL.search(block) and not re.match(r"    # [\w.-]+\.\w+\n", block):
            yield COMMANDS


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@for_each("path", PAGES, ids=name_of)
def test_a_block_is_run_by_a_test_or_has_a_reason(path: Path) -> None:
    name = name_of(path)
    for kind in set(blocks(path)) - {"{toctree}"} - NOT_RUN.get(name, {}).keys():
        if kind == "console" and path.parent.name == "guides":
            continue
        test = RUN.get(name, {}).get(kind)
        assert test, f"no test runs the {kind or 'plain'} blocks of {name}"
        assert path.name in (ROOT / test).read_text(), f"{test} does not name {name}"


def test_reasons_are_for_blocks_that_exist() -> None:
    shown = {(name_of(path), kind) for path in PAGES for kind in blocks(path)}
    for told in (RUN, NOT_RUN):
        assert {(name, kind) for name, kinds in told.items() for kind in kinds} <= shown


@pytest.mark.parametrize("daemon", LOAD)
def test_the_minimal_configuration_of_a_page_is_valid(daemon: str, tmp_path: Path) -> None:
    text = (DOCS / f"{daemon}.md").read_text()
    [block] = [each for each in INDENTED.findall(text) if each.startswith("    [key]")]
    (tmp_path / f"{daemon}.toml").write_text(textwrap.dedent(block))
    write_seed(tmp_path / f"{daemon}.seed", pair := xkeymsg.XKeyPair.generate())
    peer = {"receiver": "alice", "sender": "bob"}[daemon]
    (tmp_path / "peers.toml").write_text(f'[peers.{peer}]\nxkey = "{pair.public}"\n')
    assert LOAD[daemon](tmp_path / f"{daemon}.toml", {})


def command_lines(text: str) -> Iterator[str]:
    """Yield everything in code that calls one of the programs, whole lines joined."""
    text = re.sub(r"^.*\bdocker run\b.*$", "", text.replace("\\\n", " "), flags=re.MULTILINE)
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


@for_each("path", CURRENT, ids=name_of)
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


@for_each("path", PAGES, ids=name_of)
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
    loaded = load_receiver(tmp_path / "receiver.toml", environ)
    assert loaded.nats.servers == ("nats://nats:4222",)
    assert str(loaded.observe.listen) in str(container["readinessProbe"])
