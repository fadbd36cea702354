"""The guides: every command in them runs and prints what is shown."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.key_stores.test_pkcs11 import MISSING
from tests.running import DEADLINE, LONG, run, unused_port
from xkeymsg import KeyStoreError, Sealer, XKeyPair
from xkeymsg.client.jetstream.api import API
from xkeymsg.key_stores.openssl import provider_path
from xkeymsg.testing import NATSServer
from xkeymsg.testing.server import binary
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PROGRAMS = {"xkeymsg": "xkeymsg.cli", "xkeymsg-receiver": "receiver", "xkeymsg-sender": "sender"}
OWN_PORT = "4333"
"""Of a server that a guide starts itself."""
OTHER_PORT = "9465"
"""Of a daemon's health page."""
TOOLS = {"hsm": ("certtool", "p11tool", "openssl"), "server-tls": ("openssl",)}
PROVIDED = "<!-- the rest requires pkcs11-provider -->"


def write_files(text: str, folder: Path) -> list[str]:
    """Write the files of a guide: indented blocks that begin with `# NAME`."""
    names = []
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE):
        body = re.sub(r"^    ", "", block.lstrip("\n"), flags=re.MULTILINE)
        if name := re.match(r"# ([\w.-]+\.\w+)\n", body):
            (folder / name[1]).write_text(body)
            names.append(name[1])
    return names


def programs(folder: Path) -> None:
    """Put the programs of this project where a shell finds them."""
    folder.mkdir()
    forked.write_commands(folder, PROGRAMS)
    for name, path in (("python", sys.executable), ("nats-server", binary())):
        (folder / name).write_text(f'#!/bin/sh\nexec "{path}" "$@"\n')
        (folder / name).chmod(0o700)


def own_port(text: str) -> str:
    """Give the programs that a guide starts itself free ports."""
    for port in (OWN_PORT, OTHER_PORT):
        if port in text:
            text = text.replace(port, str(unused_port()))
    return text


async def make_stream(url: str) -> None:
    """Make what every guide begins with: a stream of orders."""
    async with open_link(ConnectOptions(servers=(url,), timeout=DEADLINE)) as link:
        await API(link).request(
            "STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"]}
        )


def possible(path: Path) -> str:
    """Return the part of a guide that can be run here; skip the test if no part can."""
    text = path.read_text()
    if path.stem in TOOLS:
        lacking = [each for each in TOOLS[path.stem] if shutil.which(each) is None]
        if lacking or (path.stem == "hsm" and MISSING):
            pytest.skip(f"not installed: {', '.join([*lacking, *MISSING])}")
    if PROVIDED not in text:
        return text
    chosen = os.environ.get("XKEYMSG_PKCS11_PROVIDER")
    if chosen:
        return text.replace("token=tls?", f"token=tls?provider-path={chosen}&")
    try:
        provider_path()
    except KeyStoreError:
        return text.partition(PROVIDED)[0]
    return text


def ends(*paths: Path) -> str:
    """Return the ends of files."""
    return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in paths)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
async def test_a_guide_does_what_it_says(
    path: Path, tmp_path: Path, jetstream_server: NATSServer
) -> None:
    text = possible(path)
    own = OWN_PORT in text
    text = own_port(text)
    session = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines()
    commands = [line[2:] for line in session if line.startswith(("$ ", "> "))]
    if not commands:
        pytest.skip("a guide without commands")
    folder, binaries = tmp_path / "guide", tmp_path / "bin"
    folder.mkdir()
    write_files(text, folder)
    programs(binaries)
    url = jetstream_server.url
    await make_stream(url)
    environ = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XKEYMSG_RECEIVER__NATS__TIMEOUT": f"{DEADLINE:g}",
        "XKEYMSG_SENDER__NATS__TIMEOUT": f"{DEADLINE:g}",
    }
    if not own:
        environ |= {
            "NATS_URL": url,
            "XKEYMSG_RECEIVER__NATS__SERVERS": f'["{url}"]',
            "XKEYMSG_SENDER__NATS__SERVERS": f'["{url}"]',
            "XKEYMSG_SENDER__SOURCE__SERVERS": f'["{url}"]',
        }
    trace = tmp_path / "trace"
    script = f"exec 9> {shlex.quote(str(trace))}; BASH_XTRACEFD=9; set -x; umask 022\n"
    script += "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + "\n".join(commands)
    command = ["bash", "-euo", "pipefail", "-c", script]
    try:
        done = await asyncio.to_thread(forked.run_script, command, folder, environ, LONG)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the guide does not end: {ends(trace, *folder.glob('*.log'))}")
    assert done.returncode == 0, done.stdout + done.stderr + ends(trace)
    shown = [line for line in session if not line.startswith(("$ ", "> "))]
    printed = done.stdout.splitlines()
    assert len(printed) == len(shown), done.stdout
    for line, want in zip(printed, shown, strict=True):
        pattern = r"\s+".join(re.escape(word).replace("…", ".+") for word in want.split())
        assert re.fullmatch(pattern, line.strip()), f"{line!r} is shown as {want!r}"


def test_commands_that_the_errors_name_exist() -> None:
    text = (ROOT / "docs" / "guides" / "errors.md").read_text()
    named = set(re.findall(r"`xkeymsg ([a-z]+(?: [a-z][a-z-]*)?)", text))
    assert named >= {"peers add", "quarantine replay", "policy lint", "doctor"}
    for words in named:
        assert run("xkeymsg.cli", *words.split(), "--help").returncode == 0, words


def test_what_a_recipient_costs() -> None:
    sealer, keys = Sealer(XKeyPair.generate()), [XKeyPair.generate().public for _ in range(3)]
    one, two = (len(sealer.seal(b"x", to=keys[:count], subject="a")) for count in (1, 2))
    assert f"Each recipient costs {two - one} bytes" in (
        ROOT / "docs" / "guides" / "errors.md"
    ).read_text().replace("\n", " ")
