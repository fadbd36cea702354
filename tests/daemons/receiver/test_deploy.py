"""What is in `deploy/` works, as far as it can be tried here, and has every key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.daemons.common.example import DEPLOY, ROOT, uncommented
from tests.daemons.receiver.conftest import BOB, page, ready
from tests.running import Program, run
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.common.sections import (
    DrainSection,
    NatsSection,
    ObserveSection,
    TrustSection,
)
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.receiver.config import (
    CommandSink,
    FilesSink,
    HTTPSink,
    NATSSink,
    QuarantineSection,
    ReceiverConfig,
    ReceiverRoute,
    StdoutSink,
    load,
)
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

PINNED: Final = re.compile(r"[\w/-]+:[\w.-]+@sha256:[0-9a-f]{64}")
"""An image with the version for people, and the digest that decides."""
UNITS = ("xkeymsg-receiver.service", "xkeymsg-sender.service")

SECTIONS: dict[str, type[Section]] = {
    "[key]": KeySection,
    "[trust]": TrustSection,
    "[nats]": NatsSection,
    "[[route]]": ReceiverRoute,
    '[sinks.NAME] with kind = "stdout"': StdoutSink,
    '[sinks.NAME] with kind = "files"': FilesSink,
    '[sinks.NAME] with kind = "command"': CommandSink,
    '[sinks.NAME] with kind = "http"': HTTPSink,
    '[sinks.NAME] with kind = "nats"': NATSSink,
    "[quarantine]": QuarantineSection,
    "[observe]": ObserveSection,
    "[drain]": DrainSection,
}
SINKS: dict[str, type[Section]] = {
    "files": FilesSink,
    "stdout": StdoutSink,
    "command": CommandSink,
    "http": HTTPSink,
    "nats": NATSSink,
}


def fields(section: type[Section]) -> set[str]:
    """The keys of a section; those of [nats] once."""
    own = set(section.model_fields)
    return own - set(NatsSection.model_fields) | {"servers"} if section is NATSSink else own


def example() -> list[tuple[str, str]]:
    """Every table of the example with its text, comments taken off where they are settings."""
    text = uncommented((DEPLOY / "receiver.toml").read_text())
    parts = re.split(r"^(\[\[?[a-z.]+\]\]?)$", text, flags=re.MULTILINE)
    return list(zip(["", *parts[1::2]], parts[::2], strict=True))


def test_every_key_is_in_the_example() -> None:
    seen: dict[type[Section], set[str]] = {each: set() for each in SECTIONS.values()}
    for header, text in example():
        keys = set(re.findall(r"^([a-z_]+) = ", text, re.MULTILINE))
        kind = re.search(r'^kind = "([a-z]+)"', text, re.MULTILINE)
        name = f"[{header.strip('[]')}]" if header != "[[route]]" else header
        if kind is not None:
            section = SINKS[kind[1]]
        elif not header:
            assert keys == {"name"}
            continue
        else:
            section = SECTIONS[name]
        seen[section] |= keys
    assert seen == {section: fields(section) for section in seen}


def test_what_is_commented_out_in_the_example_would_be_right_too() -> None:
    for header, text in example():
        body = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
        values = tomllib.loads(body)
        defaults = SECTIONS.get(header)
        if defaults not in (
            NatsSection,
            ReceiverRoute,
            ObserveSection,
            DrainSection,
            QuarantineSection,
        ):
            continue
        for key, field in defaults.model_fields.items():
            if key in values and not field.is_required() and field.default not in (None, ()):
                value = tuple(values[key]) if isinstance(values[key], list) else values[key]
                assert value == field.default or key in ("queue", "create_durable")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The example as it would be installed."""
    for name in ("receiver.toml", "peers.toml"):
        shutil.copy(DEPLOY / name, tmp_path)
    write_seed(tmp_path / "xkey", BOB)
    (tmp_path / "out").mkdir()
    return tmp_path


def test_the_example_passes_the_check(installed: Path) -> None:
    env = os.environ | {
        "CREDENTIALS_DIRECTORY": str(installed),
        "XKEYMSG_RECEIVER__SINKS__ARCHIVE__FOLDER": str(installed / "out"),
    }
    path = str(installed / "receiver.toml")
    done = run("receiver", "--config", path, "--check", env=env)
    assert done.returncode == 0, done.stderr


def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def compose_environment(installed: Path) -> dict[str, str]:
    """Return the settings of the compose service, with a folder that exists here."""
    environ = {
        name: value
        for name, value in compose()["services"]["receiver"]["environment"].items()
        if name.startswith("XKEYMSG_")
    }
    assert environ
    return environ | {"XKEYMSG_RECEIVER__SINKS__ARCHIVE__FOLDER": str(installed / "out")}


def test_the_file_of_the_compose_service_passes_too(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(installed))
    config = load(installed / "receiver.toml", compose_environment(installed))
    assert isinstance(config, ReceiverConfig)
    assert config.nats.servers == ("nats://nats:4222",)


def test_prometheus_scrapes_the_receiver_of_the_compose_file(
    installed: Path, server: NATSServer
) -> None:
    """The metrics are on loopback, which Prometheus shares; the target is what it scrapes."""
    services = compose()["services"]
    assert services["prometheus"]["network_mode"] == "service:receiver"
    assert "./prometheus.yml:/etc/prometheus/prometheus.yml:ro" in services["prometheus"]["volumes"]
    [job] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    [target] = job["static_configs"]
    assert f'listen = "{target["targets"][0]}"' in (DEPLOY / "receiver.toml").read_text()
    environ = compose_environment(installed) | {
        "CREDENTIALS_DIRECTORY": str(installed),
        "XKEYMSG_RECEIVER__NATS__SERVERS": f'["{server.url}"]',
        "XKEYMSG_RECEIVER__OBSERVE__LISTEN": "127.0.0.1:0",  # another test may use the port
    }
    path = str(installed / "receiver.toml")
    with Program("receiver", "--config", path, env=os.environ | environ) as receiver:
        scraped = page(ready(receiver), job.get("metrics_path", "/metrics"))
    families = {each.name: each for each in text_string_to_metric_families(scraped)}
    assert {each.labels["route"] for each in families["xkeymsg_opened"].samples} == {"orders"}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault_in_a_unit_and_little_exposed(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / name
    text = (DEPLOY / name).read_text()
    unit.write_text(re.sub(r"ExecStart=/opt/\S+", "ExecStart=/bin/true", text))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_gives_the_program_time_to_finish_and_hides_its_key(name: str) -> None:
    text = (DEPLOY / name).read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert int(settings["TimeoutStopSec"]) >= DrainSection().seconds + 5
    assert settings["Type"] == "notify"
    assert settings["DynamicUser"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert "LoadCredential=xkey:" in text
    assert int(settings["WatchdogSec"]) >= 10


def test_the_image_runs_as_nobody_and_its_health_is_where_the_example_has_it() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BASE}", "${BASE}"]
    [base] = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert PINNED.fullmatch(base)
    assert "\nUSER 65532:65532\n" in dockerfile
    assert "http://127.0.0.1:9464/readyz" in dockerfile
    assert 'listen = "127.0.0.1:9464"' in (DEPLOY / "receiver.toml").read_text()
    assert (
        "pip wheel --no-build-isolation --require-hashes -r requirements/programs.txt" in dockerfile
    )
    assert "pip --python /opt/xkeymsg/bin/python install --no-deps --no-index" in dockerfile
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    assert copied
    sources = [each for line in copied for each in line.split()]
    assert all((ROOT / each).exists() for each in sources)
    context = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert context[1] == "*", "nothing else is sent to the builder"
    sent = {line[1:] for line in context if line.startswith("!")}
    assert all(each in sent or each.startswith("requirements/") for each in sources)


def test_every_image_of_the_compose_file_is_pinned_by_digest() -> None:
    images = [each["image"] for each in compose()["services"].values() if "image" in each]
    assert len(images) == 2
    assert all(PINNED.fullmatch(each) for each in images), images
    published = [port for each in compose()["services"].values() for port in each.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_a_container_can_write_where_its_volume_is_and_sees_a_file_that_is_replaced() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    volumes = dict(each.split(":", 1) for each in compose()["services"]["receiver"]["volumes"])
    folder = volumes["opened"]
    assert f'folder = "{folder}"' in (DEPLOY / "receiver.toml").read_text()
    made = re.search(r"^RUN install -d -m 0700 -o 65532 -g 65532 (.+)$", dockerfile, re.MULTILINE)
    assert made is not None, "a new volume would be root's"
    assert folder in made[1].split()
    [mounted] = [source for source, at in volumes.items() if at == "/etc/xkeymsg:ro"]
    assert (DEPLOY / mounted).is_dir()
