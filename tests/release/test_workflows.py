"""The workflows: each action is pinned by commit, each job has only the rights that it needs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from tests.test_layers import ROOT

WORKFLOWS = {
    path.name: path.read_text() for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
RIGHTS = {
    "ci.yml test": {"contents": "read"},
    "ci.yml crates": {"contents": "read"},
    "ci.yml image": {"contents": "read"},
    "native.yml test": {"contents": "read"},
    "native.yml build": {"contents": "read"},
    "native.yml attest": {"attestations": "write", "id-token": "write"},
    "native.yml publish": {"id-token": "write"},
    "release.yml test": {"contents": "read"},
    "release.yml build": {"contents": "read"},
    "release.yml reproduce": {"contents": "read"},
    "release.yml attest": {"attestations": "write", "id-token": "write"},
    "release.yml publish": {"id-token": "write"},
    "release.yml announce": {"contents": "write"},
}
"""The permissions of each job; a workflow has none itself."""


@cache
def workflow(name: str) -> dict[Any, Any]:
    loaded = yaml.safe_load(WORKFLOWS[name])
    assert isinstance(loaded, dict)
    return loaded


def jobs() -> dict[str, dict[str, Any]]:
    return {
        f"{name} {job}": value
        for name in WORKFLOWS
        for job, value in workflow(name)["jobs"].items()
    }


def steps() -> list[dict[str, Any]]:
    return [step for job in jobs().values() for step in job.get("steps", ())]


def test_each_job_has_only_the_rights_that_it_needs() -> None:
    assert {name: job["permissions"] for name, job in jobs().items()} == RIGHTS
    assert all(workflow(name)["permissions"] == {} for name in WORKFLOWS)
    triggers = {event for name in WORKFLOWS for event in workflow(name)[True]}  # YAML's `on`
    assert triggers == {"push", "pull_request", "workflow_call"}
    assert not any("secrets" in text for text in WORKFLOWS.values())


def test_each_action_is_pinned_by_commit_and_says_its_version() -> None:
    used = [
        line
        for text in WORKFLOWS.values()
        for line in text.splitlines()
        if re.match(r"\s*(?:- )?uses:", line) and "uses: ./" not in line
    ]
    assert len(used) == len([each for each in steps() if "uses" in each]) > 5
    pinned = [re.search(r"uses: (\S+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+$", line) for line in used]
    assert all(pinned), used
    commits: dict[str, set[str]] = {}
    for each in pinned:
        assert each is not None
        commits.setdefault(each[1], set()).add(each[2])
    assert all(len(each) == 1 for each in commits.values()), "one version of an action"


def test_no_step_keeps_credentials_or_runs_text_from_outside() -> None:
    for step in steps():
        assert "${{" not in step.get("run", ""), "a value in a script can end it"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", [name for name in jobs() if "uses" not in jobs()[name]])
def test_a_job_ends_on_a_known_image(name: str) -> None:
    job = jobs()[name]
    assert job["timeout-minutes"] <= 90
    images = [job["runs-on"]]
    if "strategy" in job:
        assert images == ["${{ matrix.runner }}"]
        images = job["strategy"]["matrix"]["runner"]
    assert all(re.fullmatch(r"ubuntu-\d\d\.\d\d(-arm)?", image) for image in images)


def test_every_command_of_a_workflow_is_one_of_the_repository() -> None:
    """The workflows of a release run only then: what they call is looked up here."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    scripts = [str(step["run"]) for step in steps() if "run" in step]
    scripts.append((ROOT / ".ci" / "run").read_text())
    made, modules = set[str](), set[str]()
    for line in "\n".join(scripts).splitlines():
        modules |= set(re.findall(r"python -m (\S+)", line))
        for command in re.findall(r"(?:^|then )\s*make ([^&;]+)", line):
            for word in shlex.split(command):
                name, _, value = word.partition("=")
                if name == "T":
                    assert all((ROOT / path).exists() for path in value.split()), line
                elif name == word:
                    made.add(word)
    assert made <= targets
    assert made >= {"crates", "dist", "image", "native", "test", "wheels"}
    assert "tests.native.cases" in modules
    assert all(find_spec(module) for module in modules)
    for name, prefix in (("release.yml", "v"), ("native.yml", "native-v")):
        assert workflow(name)[True]["push"]["tags"] == [f"{prefix}*"]
        assert f"${{GITHUB_REF_NAME#{prefix}}}.tar.gz" in WORKFLOWS[name]


def test_no_two_jobs_upload_files_of_one_name() -> None:
    """Wheels carry their platform, the source distribution does not."""
    uploads = [
        step
        for step in workflow("native.yml")["jobs"]["build"]["steps"]
        if step.get("uses", "").startswith("actions/upload-artifact@")
    ]
    assert [(each.get("if"), each["with"]["path"]) for each in uploads] == [
        (None, "native/dist/*.whl"),
        ("matrix.runner == 'ubuntu-24.04'", "native/dist/*.tar.gz"),
    ]
    assert "ubuntu-24.04" in jobs()["native.yml build"]["strategy"]["matrix"]["runner"]


def needs_of(name: str) -> dict[str, Any]:
    """Which jobs each job of a workflow waits for."""
    return {job: value.get("needs", []) for job, value in workflow(name)["jobs"].items()}


def test_what_is_published_was_tested() -> None:
    needs = needs_of("release.yml")
    assert needs["announce"] == "publish"
    assert needs["attest"] == ["test", "reproduce"]
    assert needs["reproduce"] == "build"
    assert needs_of("native.yml")["attest"] == ["test", "build"]
    for name in ("release.yml", "native.yml"):
        assert needs_of(name)["publish"] == "attest"
        assert jobs()[f"{name} test"]["uses"] == "./.github/workflows/ci.yml"
        assert jobs()[f"{name} publish"]["environment"] == "pypi"
    scripts = [step.get("run") for step in jobs()["ci.yml test"]["steps"]]
    assert "bash .ci/run" in scripts


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_hooks_before_a_commit_run_what_make_runs() -> None:
    loaded = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [local] = loaded["repos"]
    assert local["repo"] == "local", "a second list of versions"
    entries = {each["id"]: shlex.split(each["entry"]) for each in local["hooks"]}
    assert entries.keys() == {"lint", "types", "vectors"}
    for each in ("lint", "types"):
        [*command, target] = entries[each]
        done = subprocess.run([*command, "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert subprocess.run(entries["vectors"], cwd=ROOT, check=False).returncode == 0
