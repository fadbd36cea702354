"""`repr` of an object whose `__init__` raised: error reporters show it among local variables."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import pytest

import xkeymsg
from tests.cases import for_each
from xkeymsg import Limits, Opener, Recipient, Sealer, UserKey, XKey, XKeyPair

from .cases import check_each
from .test_layers import FILES


def classes() -> Iterator[type]:
    """Every class of the package, the ones of its facade among them."""
    for name in sorted(FILES):
        if name.endswith("__main__") or name == "xkeymsg.testing.pytest_plugin":
            continue
        module = import_module(name)
        for each in vars(module).values():
            if inspect.isclass(each) and each.__module__ == name and _is_shown_by_us(each):
                yield each


def _is_shown_by_us(cls: type) -> bool:
    """Whether it is not another library that shows objects of a class."""
    [owner] = [each for each in cls.__mro__ if "__repr__" in vars(each)][:1]
    return owner.__module__.partition(".")[0] != "click"


def made(cls: Any) -> Any:
    """An object of a class before `__init__`, or None if that is impossible."""
    try:
        return cls.__new__(cls)
    except TypeError:  # abstract, or a tuple that is complete when it exists
        return None


@cache  # kept: the `__del__` of a class may need attributes
def empty_objects() -> list[object]:
    return [each for cls in classes() if (each := made(cls)) is not None]


def test_all_public_classes_are_among_them() -> None:
    public = {each for name in xkeymsg.__all__ if inspect.isclass(each := getattr(xkeymsg, name))}
    tuples = {each for each in public if issubclass(each, tuple)}
    protocols = {each for each in public if getattr(each, "_is_protocol", False)}
    assert public - tuples - protocols <= set(map(type, empty_objects()))


def test_an_object_without_attributes_has_a_repr() -> None:
    def has_repr(empty: object) -> None:
        assert repr(empty)

    check_each(empty_objects(), has_repr, lambda each: type(each).__qualname__)


@for_each(
    "call",
    [
        lambda: UserKey("SUX"),
        lambda: XKeyPair(b"short"),
        lambda: XKey(b""),
        lambda: Opener(XKeyPair.generate(), "XABC"),  # type: ignore[arg-type]
        lambda: Sealer("alice"),  # type: ignore[arg-type]
        lambda: Recipient("x"),  # type: ignore[arg-type]
        xkeymsg.Readers,
        lambda: Limits(depth=0),
        lambda: xkeymsg.ConnectOptions(servers=()),
    ],
)
def test_an_error_of_a_constructor_can_be_reported_with_its_variables(call: Any) -> None:
    with pytest.raises((xkeymsg.XKeyMsgError, TypeError)) as caught:
        call()
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert list(told.format())
