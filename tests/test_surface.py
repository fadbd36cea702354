"""The public surface: complete, documented with its errors, and known to type checkers."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import re
import shutil
import subprocess
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import fields
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

import xkeymsg
from tests.cases import check_each
from tests.running import DEADLINE, ROOT
from xkeymsg import ConnectOptions, errors, xkv1
from xkeymsg.client.connect import ConnectionArguments
from xkeymsg.testing import MemoryNATS, NATSServer

PUBLIC = {name: getattr(xkeymsg, name) for name in xkeymsg.__all__}
MADE_BY_OTHERS = {
    "Client", "Consumer", "JetStream", "KVBucket", "KVCodec", "KVEntry", "KVWatch", "Message",
    "ObjectInfo", "ObjectReader", "ObjectResult", "ObjectStore", "ObjectStoreStatus",
    "ObjectWatch", "PreparedRoute", "Service", "Subscription", "View",
}  # fmt: skip
"""Classes that an application does not construct."""
PRIVATE_TYPES = {
    "ClientOptions", "ConnectionArguments",  # dicts of keyword arguments
    "Decision", "Segment",  # for `xkeymsg policy`
    "Head", "RollbackMark", "Room", "Sealing", "StoredEntry",  # between the parts of a `KVBucket`
    "MemoryBucket", "NATSServer", "State",  # of `xkeymsg.testing`
    "Prefix",
    "AudienceChange", "Judge", "Members", "TrustReport", "ValidSigner",  # of `Trust`
    "Link", "Lookup", "Published",  # between `Trust` and `Directory`
}  # fmt: skip
"""Types in public signatures that an application does not need to name."""


def classes() -> dict[str, type[Any]]:
    found = {name: each for name, each in PUBLIC.items() if inspect.isclass(each)}
    return found | {"MemoryNATS": MemoryNATS, "NATSServer": NATSServer}


def plain(member: object) -> Any:
    """The function of a member of a class, or None."""
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    if isinstance(member, property):
        member = member.fget
    if isinstance(member, functools.cached_property):
        member = member.func
    return member if inspect.isfunction(member) else None


CONSTRUCTORS = ("__init__", "__post_init__")


def functions() -> Iterator[tuple[str, str, Any]]:
    """Every public function, with the text that documents its errors."""
    for home, names, prefix in ((xkeymsg, xkeymsg.__all__, ""), (xkv1, xkv1.__all__, "xkv1.")):
        for name in names:
            if inspect.isfunction(each := getattr(home, name)):
                yield f"{prefix}{name}", each.__doc__ or "", each
    for name, cls in classes().items():
        for member, function in members(cls):
            made = member in CONSTRUCTORS
            if not (made and (name in MADE_BY_OTHERS or issubclass(cls, Exception))):
                text = f"{function.__doc__ or ''}\n{cls.__doc__ if made else ''}"
                yield f"{name}.{member}", text, function


def members(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """The functions of a class that the package wrote and an application may call."""
    for base in cls.__mro__:
        for member, value in vars(base).items():
            function = plain(value)
            shown = not member.startswith("_") or member in (*CONSTRUCTORS, "__aenter__")
            if function is None or not shown or not base.__module__.startswith("xkeymsg"):
                continue
            if function.__code__.co_filename != "<string>" and function.__module__ != "typing":
                yield member, function


FUNCTIONS = sorted({name: (doc, each) for name, doc, each in functions()}.items())


def raised_by(function: Any, module: ast.Module, seen: set[str]) -> Iterator[str]:
    """The classes that a function raises by name, itself or in private helpers of its module."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    defined = {
        node.name: node
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_")
    }
    left: list[ast.AST] = [tree]
    while left:
        for node in ast.walk(left.pop()):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) | ast.Name(id=name)):
                    yield name
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                    if name in defined and name not in seen and not name.startswith("__"):
                        seen.add(name)
                        left.append(defined[name])


def documented(text: str) -> set[str]:
    section = text.partition("Raises:")[2]
    return set(re.findall(r"^ +(\w+(?:Error|Exception)):", section, re.MULTILINE))


# --- complete and minimal -------------------------------------------------------------------------


def test_dir_shows_everything_public_and_no_private_module() -> None:
    code = "import xkeymsg, sys; print(*dir(xkeymsg)); print('nats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, loaded = done.stdout.splitlines()
    assert {name for name in shown.split() if not name.startswith("__")} == set(xkeymsg.__all__)
    assert loaded == "False"


def test_a_star_import_has_every_name() -> None:
    names: dict[str, Any] = {}
    exec("from xkeymsg import *", names)
    assert set(xkeymsg.__all__) <= names.keys()


def test_errors_of_claims_are_in_errors_only() -> None:
    left = {name for name in errors.__all__ if name not in xkeymsg.__all__}
    assert left
    assert all(issubclass(getattr(errors, name), errors.TrustError) for name in left)


def named(hint: Any) -> Iterator[type]:
    """The classes in an annotation."""
    if inspect.isclass(hint) and not isinstance(hint, types.GenericAlias):
        yield hint
    for each in typing.get_args(hint):
        for inner in each if isinstance(each, list) else [each]:
            yield from named(inner)
    origin = typing.get_origin(hint)
    if inspect.isclass(origin):
        yield origin


def test_every_type_in_a_public_signature_is_public() -> None:
    missing = set()
    public = {each for each in PUBLIC.values() if inspect.isclass(each)}
    for name, (_, function) in FUNCTIONS:
        module = sys.modules[function.__module__]
        scope = PUBLIC | vars(module)
        hints = typing.get_type_hints(inspect.unwrap(function), scope, include_extras=False)
        for hint in hints.values():
            for each in named(hint):
                ours = each.__module__.startswith("xkeymsg.") and not each.__name__.startswith("_")
                if ours and each not in public and each.__name__ not in PRIVATE_TYPES:
                    missing.add((name, each.__name__))
    assert missing == set()


# --- documented -----------------------------------------------------------------------------------


def test_a_public_name_has_a_docstring() -> None:
    def has_docstring(name: str) -> None:
        text = inspect.getdoc(PUBLIC[name])
        assert text
        assert not text.startswith(f"{name}("), "the text that a dataclass or tuple makes by itself"

    check_each(sorted(set(xkeymsg.__all__) - {"ANYONE"}), has_docstring)


def test_a_public_function_has_a_docstring_with_its_errors() -> None:
    check_each(FUNCTIONS, documents_its_errors, itemgetter(0))


def documents_its_errors(named: tuple[str, tuple[str, Any]]) -> None:
    text, function = named[1]
    assert text.strip(), "no docstring"
    source = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").read_text()
    scope = vars(sys.modules[function.__module__])
    told = documented(text)
    bases = tuple(each for word in told if inspect.isclass(each := _error(word, scope)))
    for raised in sorted(set(raised_by(function, ast.parse(source), set()))):
        each = _error(raised, scope)
        if inspect.isclass(each) and issubclass(each, Exception):
            assert issubclass(each, bases), f"{raised} is not documented"


def _error(name: str, scope: dict[str, Any]) -> Any:
    return scope.get(name) or getattr(errors, name, None) or getattr(builtins, name, None)


# --- type checkers --------------------------------------------------------------------------------

SAMPLE = """
from xkeymsg import *
from xkeymsg import AtRest, Client, Keyring, Limits, Live, Message, Opener, Sealer, Stream
from xkeymsg import XKeyPair, connect, xkv1

key = XKeyPair.generate()

def answer(message: Message) -> bytes:
    return b""

async def handle(message: Message) -> None:
    ...

async def right(client: Client) -> None:
    await client.publish("a", bytearray(b""), to="bob", expires=1.5)
    await client.route("a", "bob").publish(memoryview(b""))
    await client.js.publish("a", b"", to="bob", expires=1, headers={"a": "b"})
    await client.js.add_stream("A", "a.>", max_age=3600)
    client.subscribe("a", replay=Live(max_age=5))
    await client.objects("b", to="bob").put("a", b"", headers={"a": "b"})
    client.js.consume("A", "d", handle, replay=Stream(5))
    connect("nats://h", key=key, trust={key.public}, creds="f.creds", timeout=1)
    Opener(key, {key.public}, replay=AtRest())
    xkv1.open(b"", key=key, sender=key.public)

async def wrong(client: Client) -> None:
    await client.publish("a", b"", to="bob", expire=1)  # E
    await client.publish("a", "text", to="bob")  # E
    await client.publish("a", b"", to="bob", expires="1h")  # E
    await client.js.publish("a", b"", to="bob", content="text/plain")  # E
    await client.js.publish_document("a", {}, polcy=None)  # E
    await client.js.add_stream("A", "a.>", retention="work")  # E
    client.route("a", "bob", heders={})  # E
    client.subscribe("a", require_signatures=True)  # E
    client.subscribe("a", replay="live")  # E
    client.subscribe("a", replay=Stream())  # E
    client.serve("a", answer)  # E
    await client.objects("b").put("a", "text")  # E
    client.objects("b", too="bob")  # E
    client.js.consume("A", "d", handle, worker=2)  # E
    client.js.consume("A", "d", answer)  # E
    connect("nats://h", key=key, trust={key.public}, credentials="f")  # E
    connect("nats://h", key=key, trust={key.public}, timeout="1")  # E
    connect("nats://h", key=key, trust={key.public}, padded=True)  # E
    Opener(key, {key.public}, max_age=5)  # E
    Opener(key, {key.public}, replay="file")  # E
    Sealer(key, escrow=[])  # E
    Keyring(key, without_user=False)  # E
    Limits(replay=5)  # E
    xkv1.seal(b"", key=key, recipient=key.public)  # E
    xkv1.seal(b"", key.public, key=key)  # E
"""
EXPECTED = {n for n, line in enumerate(SAMPLE.splitlines(), 1) if line.endswith("# E")}


def found(command: list[str], path: Path, pattern: str) -> set[int]:
    """The lines in which a type checker reports an error."""
    path.write_text(SAMPLE)
    done = subprocess.run(
        [*command, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    lines = {int(n) for n in re.findall(pattern, done.stdout, re.MULTILINE)}
    assert lines, done.stdout + done.stderr
    return lines


@pytest.mark.slow
def test_mypy_finds_misspelt_options(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path}",
    ]
    assert found(command, tmp_path / "sample.py", r"sample\.py:(\d+): error") == EXPECTED


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="pyright runs on Node.js")
def test_pyright_finds_misspelt_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    assert found(command, tmp_path / "sample.py", r"sample\.py:(\d+):\d+ - error") == EXPECTED


def test_type_checkers_know_every_option_of_a_connection() -> None:
    options = {field.name for field in fields(ConnectOptions)} - {"servers"}
    assert options == ConnectionArguments.__optional_keys__
