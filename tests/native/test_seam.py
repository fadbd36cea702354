"""The seam: the native core is used only if it is there, wanted, and the right one."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.running import DEADLINE
from xkeymsg import native

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("XKEYMSG_NATIVE", raising=False)
    return monkeypatch


def found(patch: pytest.MonkeyPatch, module: Any) -> None:
    patch.setattr(native, "import_module", lambda _name: module)


def missing(error: Exception) -> Any:
    def fail(_name: str) -> Any:
        raise error

    return fail


def test_the_core_with_the_expected_interface_is_used(wanted: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(INTERFACE=native.INTERFACE)
    found(wanted, module)
    assert native.load() is module


@pytest.mark.parametrize("interface", ["xkm1 1", "xkm1 3", "xkm2 1", "", None, 1])
def test_a_core_of_another_version_is_not_used_and_a_warning_says_so(
    wanted: pytest.MonkeyPatch, interface: object
) -> None:
    found(wanted, SimpleNamespace(INTERFACE=interface))
    with pytest.warns(RuntimeWarning, match="another version"):
        assert native.load() is None


def test_a_module_without_an_interface_is_not_used(wanted: pytest.MonkeyPatch) -> None:
    found(wanted, SimpleNamespace())
    with pytest.warns(RuntimeWarning, match="not used"):
        assert native.load() is None


@pytest.mark.parametrize(
    "error",
    [
        ImportError("GLIBC_9.9 not found"),
        ModuleNotFoundError("half installed", name="xkeymsg_native.xkeymsg_native"),
        SyntaxError("source code cannot contain null bytes"),
        OSError("input/output error"),
    ],
)
def test_a_core_that_cannot_be_loaded_is_not_used_and_a_warning_says_so(
    wanted: pytest.MonkeyPatch, error: Exception
) -> None:
    wanted.setattr(native, "import_module", missing(error))
    with pytest.warns(RuntimeWarning, match="cannot be loaded"):
        assert native.load() is None


def test_without_a_core_python_works_and_nothing_is_said(wanted: pytest.MonkeyPatch) -> None:
    wanted.setattr(native, "import_module", missing(ModuleNotFoundError(name="xkeymsg_native")))
    assert native.load() is None


@pytest.mark.parametrize("value", ["0", "false", "off", "no", "00", " 0"])
def test_every_value_but_1_switches_it_off_without_loading_it(
    wanted: pytest.MonkeyPatch, value: str
) -> None:
    # Whoever writes "false" must not get it.
    wanted.setenv("XKEYMSG_NATIVE", value)
    wanted.setattr(native, "import_module", missing(AssertionError("loaded")))
    assert native.load() is None


@pytest.mark.parametrize("value", ["1", ""])
def test_1_and_an_empty_value_leave_it_on(wanted: pytest.MonkeyPatch, value: str) -> None:
    module = SimpleNamespace(INTERFACE=native.INTERFACE)
    wanted.setenv("XKEYMSG_NATIVE", value)
    found(wanted, module)
    assert native.load() is module


PROGRAM = """
import sys
from xkeymsg import Opener, Sealer, XKeyPair, native
alice, bob = XKeyPair.generate(), XKeyPair.generate()
envelope = Sealer(alice).seal(b"x", to=[bob.public], subject="a")
assert Opener(bob, {alice.public}).open(envelope, subject="a").data == b"x"
print(native.core is None, "xkeymsg_native" in sys.modules)
"""


def test_a_program_with_the_core_switched_off_seals_and_opens_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"XKEYMSG_NATIVE": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True False\n", "")


@pytest.mark.skipif(native.core is None, reason="the native core is not in use")
def test_the_distribution_and_the_module_have_one_version() -> None:
    assert native.core.__version__ == importlib.metadata.version("xkeymsg-native")
