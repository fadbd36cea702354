"""The dependency rule, as a test: imports only ever point down the list.

The pure layers have no I/O, so that everything an auditor has to read can be tested by bytes: no
async, no clock, no environment, no files, not even through a builtin or a method.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.cases import Lazily, check_each, for_each

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"xkeymsg.display", "xkeymsg.text"},
    {"xkeymsg.errors"},
    {"xkeymsg.arguments"},
    {
        "xkeymsg.limits",
        "xkeymsg.refusals",
        "xkeymsg.spelling",
        "xkeymsg.suggestions",
        "xkeymsg.text_armour",
    },
    {"xkeymsg.primitives", "xkeymsg.nkey", "xkeymsg.wire", "xkeymsg.ambient"},
    {"xkeymsg.keys", "xkeymsg.files", "xkeymsg.misuse"},
    {"xkeymsg.origins", "xkeymsg.protected_seed", "xkeymsg.xkv1"},
    {"xkeymsg.envelope"},
    {"xkeymsg.fields.pattern", "xkeymsg.fields.values"},
    {"xkeymsg.places"},
    {"xkeymsg.models"},
    {"xkeymsg.faults"},
    {"xkeymsg.fields"},
    {"xkeymsg.native"},
    {"xkeymsg.sealer", "xkeymsg.opener"},
    {"xkeymsg.trust"},
    {"xkeymsg.key_stores"},
    {"xkeymsg.transport"},
    {"xkeymsg.client"},
    {"xkeymsg.objects"},
    {"xkeymsg.kv"},
    {"xkeymsg.client.client"},  # it offers what is below
    {"xkeymsg.client.connect"},
    {"xkeymsg.directory", "xkeymsg.reseal"},
    {"xkeymsg.daemons.common"},
    {"xkeymsg.daemons.receiver", "xkeymsg.daemons.sender"},
    {"xkeymsg.cli", "xkeymsg.testing", "sender", "receiver"},
    {"xkeymsg.__main__"},
]
PURE_BELOW = 16  # up to and with trust
IMPURE_BY_DUTY = (
    "xkeymsg.trust.stores.",
    "xkeymsg.ambient.",
    "xkeymsg.files.",
    "xkeymsg.native.",  # asks the environment, once
)
PURE_MODULES = {
    "__future__", "array", "base64", "binascii", "bisect", "collections", "dataclasses", "decimal",
    "difflib", "enum", "functools", "hashlib", "heapq", "hmac", "itertools", "json", "math",
    "operator", "re", "struct", "typing", "unicodedata", "uuid",
}  # fmt: skip
ALLOWED_FROM = {
    "contextlib": {"suppress"},
    # The types; the clock is below.
    "datetime": {"date", "datetime", "time", "timedelta", "timezone", "UTC"},
    "gc": {"get_referents"},  # whether a frame has ended
    "inspect": {"signature"},
    "io": {"BytesIO"},  # memory
    # What an application has imported, without importing it; whether an object is immortal.
    "sys": {"modules", "getrefcount"},
    "threading": {"Lock"},
    "pathlib": {"Path", "PurePath"},  # names; `files` reads
    "warnings": {"warn"},
    "tomllib": {"TOMLDecodeError", "loads"},
    "types": {"FrameType", "MappingProxyType"},
}
IMPURE_CALLS = {"breakpoint", "eval", "exec", "input", "open", "print", "__import__"}
CLOCK_CALLS = {"now", "utcnow", "today", "monotonic", "perf_counter", "time_ns"}
FILE_CALLS = {"read_bytes", "read_text", "write_bytes", "write_text", "unlink", "mkdir", "urandom"}
OWNERS = {
    "nacl": "xkeymsg.primitives",
    "cryptography": "xkeymsg.primitives",
    "nkeys": "xkeymsg.nkey",
    "xkeymsg_native": "xkeymsg.native",
    "msgpack": "xkeymsg.fields.plaintext",
    "opentelemetry": "xkeymsg.client.telemetry",
}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    dotted(file): file
    for top in ("xkeymsg", "sender", "receiver")
    for file in sorted((ROOT / top).rglob("*.py"))
}
FILES = Lazily(SOURCES, lambda name: ast.parse(SOURCES[name].read_text()))
PACKAGES = {name for name, file in SOURCES.items() if file.name == "__init__.py"}


def member_of(name: str) -> tuple[int, str] | None:
    """The layer of a module, and the member of it that says so: the longest one."""
    found = [
        (len(member), depth, member)
        for depth, members in enumerate(LAYERS)
        for member in members
        if (name + ".").startswith(member + ".")
    ]
    return max(found)[1:] if found else None


def layer(name: str) -> int | None:
    found = member_of(name)
    return None if found is None else found[0]


def imports(name: str) -> Iterator[str]:
    """Every name that a module imports, absolute, with the name taken from it."""
    package = name.split(".") if name in PACKAGES else name.split(".")[:-1]
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def impurities(tree: ast.AST) -> Iterator[str]:
    """What a syntax tree does that a pure module must not do, imports aside."""
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef(name=name):
                yield f"async def {name}"
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield f"{name}()"
            case ast.Attribute(attr=name) if name in CLOCK_CALLS | FILE_CALLS:
                yield f".{name}"


def is_pure(name: str) -> bool:
    depth = layer(name)
    return depth is not None and depth < PURE_BELOW and not (name + ".").startswith(IMPURE_BY_DUTY)


def test_there_is_something_to_look_at() -> None:
    assert {"xkeymsg", "xkeymsg.keys", "sender.__main__", "receiver.__main__"} <= FILES.keys()
    assert is_pure("xkeymsg.keys")


def test_imports_point_down() -> None:
    check_each(FILES, points_down)


def points_down(name: str) -> None:
    found = member_of(name)
    if found is None:
        assert name in ("xkeymsg", "xkeymsg.daemons"), f"{name} belongs to no layer"
        return
    me, _ = found
    for imported in imports(name):
        theirs = layer(imported)
        if theirs is None:
            facade = imported.split(".")[0] == "xkeymsg" and not name.startswith("xkeymsg.cli.")
            assert not facade, f"{imported}: import the module, not the facade"
            continue
        same = member_of(imported) == found
        assert theirs < me or same, f"{name} imports {imported}"


def test_a_dependency_has_one_owner() -> None:
    check_each(FILES, is_owner)


def is_owner(name: str) -> None:
    for imported in imports(name):
        owner = OWNERS.get(imported.split(".")[0], name)
        if name == "xkeymsg.key_stores.certificates" and owner == OWNERS["cryptography"]:
            continue  # certificates are no primitive
        assert owner == name, f"only {owner} may import {imported}"


def test_pure_layers_stay_pure() -> None:
    check_each(filter(is_pure, FILES), stays_pure)


def stays_pure(name: str) -> None:
    for imported in imports(name):
        module, _, member = imported.partition(".")
        known = module in PURE_MODULES | OWNERS.keys() | {"xkeymsg"}
        allowed = member in ALLOWED_FROM.get(module, ())
        assert known or allowed, f"{name} imports {imported}"
    assert list(impurities(FILES[name])) == []


@for_each(
    "line",
    [
        "open('f')",
        "datetime.now(UTC)",
        "date.today()",
        "time.monotonic()",
        "Path('f').read_text()",
        "print('x')",
        "eval('1')",
        "async def f(): pass",
        "clock = datetime.now",
        "os.urandom(8)",
    ],
)
def test_the_rule_sees_what_it_is_there_to_see(line: str) -> None:
    assert list(impurities(ast.parse(line)))


def test_the_page_lists_modules_that_exist_in_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = dict(re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL))
    assert len(packages) > 20
    elsewhere = {"js": ROOT, "native": ROOT / "native" / "src"}
    for package, section in packages.items():
        folder = elsewhere.get(package, ROOT / "xkeymsg" / package.replace(".", "/"))
        cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        rows = [re.findall("`(.+?)`", cell) for cell in cells]
        assert rows == sorted(rows), package
        for name in (name for row in rows for name in row):
            assert (folder / name).is_dir() or list(folder.glob(f"{name}.*")), (package, name)
