"""What the package offers is what it says it offers."""

from __future__ import annotations

import ast
import subprocess
import sys

import xkeymsg
from xkeymsg import errors

from .cases import check_each
from .test_layers import FILES


def tree(docstring: str) -> dict[str, tuple[str, str]]:
    """Read the drawing in `errors.py`: name -> (parent, code)."""
    drawn: dict[str, tuple[str, str]] = {}
    above = {0: "Exception"}
    for line in docstring.splitlines():
        words = line.split()
        if line.startswith("    ") and words and words[0].endswith("Error"):
            depth = (len(line) - len(line.lstrip()) - 4) // 2
            above[depth + 1] = words[0]
            drawn[words[0]] = (above[depth], words[1] if len(words) > 1 else "")
    return drawn


def test_the_drawing_of_the_errors_is_the_hierarchy() -> None:
    assert errors.__doc__ is not None
    actual = {
        name: (getattr(errors, name).__base__.__name__, getattr(errors, name).code)
        for name in errors.__all__
    }
    assert tree(errors.__doc__) == actual


def test_every_code_belongs_to_one_error() -> None:
    codes = [getattr(errors, name).code for name in errors.__all__]
    codes = [code for code in codes if code]
    assert len(codes) == len(set(codes)) == 58


def test_every_error_says_something_and_survives_a_queue() -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "LimitExceededError": ("the head", 2000, 1024),
        "NotARecipientError": (3,),
        "PayloadTooLargeError": (2_000_000, 1_048_576),
        "AuthenticationError": (),
        "FieldDeniedError": (("/a", "/b/0"),),
        "FieldAmbiguousError": ("/a", "looks like /A"),
    }
    for name in errors.__all__:
        error = getattr(errors, name)(*arguments.get(name, ("why",)))
        rebuild, state, *_ = error.__reduce__()
        assert str(error)
        assert str(rebuild(*state)) == str(error)


def test_modules_list_what_they_define() -> None:
    check_each([name for name in FILES if name.count(".") or name == "xkeymsg"], lists_all)


def lists_all(name: str) -> None:
    assert not name.endswith("__init__")
    assert ast.get_docstring(FILES[name]) is not None, "no docstring"
    defined = {
        node.name
        for node in FILES[name].body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    }
    listed = next(
        (
            {e.value for e in node.value.elts if isinstance(e, ast.Constant)}
            for node in FILES[name].body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "__all__"
            and isinstance(node.value, ast.Tuple)
        ),
        None,
    )
    if listed is None:
        assert not defined, f"{name} defines names and lists none"
    else:
        assert defined <= listed


def test_the_facade_resolves_every_name() -> None:
    assert len(set(xkeymsg.__all__)) == len(xkeymsg.__all__)
    assert all(getattr(xkeymsg, name) is not None for name in xkeymsg.__all__)


def test_importing_the_library_does_not_import_what_only_programs_need() -> None:
    code = "import sys, xkeymsg; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"nats", "asyncio", "anyio", "click"} & set(done.stdout.split())


def test_the_command_line_imports_the_nats_client_only_for_verbs_that_connect() -> None:
    code = "import sys, xkeymsg.cli.command; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"nats", "asyncio", "anyio"} & set(done.stdout.split())
