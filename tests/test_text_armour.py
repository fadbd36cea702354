"""Armoured envelopes: one form, of which every difference is refused."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg import Sealer, XKeyPair, armour, dearmour
from xkeymsg.errors import LimitExceededError, MalformedError, XKeyMsgError

ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()
BEGIN, END = "-----BEGIN XKM1 ENVELOPE-----", "-----END XKM1 ENVELOPE-----"


def sealed(size: int = 0) -> bytes:
    return Sealer(ALICE).seal(bytes(size), to=[BOB.public], subject="a")


@for_each("size", [0, 1, 2, 3, 18, 19, 20, 1000, 100_000])
def test_an_envelope_returns_from_its_armour(size: int) -> None:
    """X-1, X-2."""
    envelope = sealed(size)
    text = armour(envelope)
    assert dearmour(text) == envelope
    assert text.isascii()
    first, *lines, last, empty = text.split("\n")
    assert (first, last, empty) == (BEGIN, END, "")
    assert {len(line) for line in lines[:-1]} <= {64}
    assert 0 < len(lines[-1]) <= 64
    assert base64.b64decode("".join(lines)) == envelope


CHANGES: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: "",
    "no last line feed": lambda text: text[:-1],
    "a blank line behind": lambda text: text + "\n",
    "a blank line in front": lambda text: "\n" + text,
    "a space in front": lambda text: " " + text,
    "a byte order mark": lambda text: "\ufeff" + text,
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "no begin": lambda text: text.partition("\n")[2],
    "no end": lambda text: text.removesuffix(END + "\n"),
    "another label": lambda text: text.replace("XKM1", "XKM2"),
    "lower case": lambda text: text.replace("ENVELOPE", "envelope"),
    "a header": lambda text: text.replace(f"{BEGIN}\n", f"{BEGIN}\nVersion: 1\n"),
    "a blank line inside": lambda text: text.replace(f"{BEGIN}\n", f"{BEGIN}\n\n"),
    "a short line": lambda text: text[:40] + "\n" + text[40:],
    "one long line": lambda text: f"{BEGIN}\n{''.join(text.splitlines()[1:-1])}\n{END}\n",
    "a space at the end of a line": lambda text: text.replace("\n", " \n", 2),
    "a character that is not base64": lambda text: text[:50] + "!" + text[51:],
    "the alphabet of URLs": lambda text: text[:50] + "_" + text[51:],
    "a letter that is not ASCII": lambda text: text[:50] + "\u00e9" + text[51:],
    "a missing character": lambda text: text[:-30] + text[-29:],
    "twice": lambda text: text + text,
    "truncated": lambda text: text[: len(text) // 2] + f"\n{END}\n",
    "no body": lambda text: f"{BEGIN}\n{END}\n",
    "padding in the middle": lambda text: text[:50] + "=" + text[51:],
    "a surrogate": lambda text: text[:50] + "\udc80" + text[51:],
}


@for_each("change", CHANGES)
def test_every_other_form_is_refused(change: str) -> None:
    """X-2, X-3."""
    text = CHANGES[change](armour(sealed(100)))
    with pytest.raises(MalformedError) as caught:
        dearmour(text)
    assert len(str(caught.value)) < 200


def test_unused_bits_must_be_zero() -> None:
    """X-2."""
    envelope = next(each for size in range(3) if len(each := sealed(size)) % 3 == 1)
    text = armour(envelope)
    at = text.index("==") - 1
    other = chr(ord(text[at]) + 1)
    assert base64.b64decode(f"{text[at - 1]}{other}==") == envelope[-1:]
    with pytest.raises(MalformedError):
        dearmour(text[:at] + other + text[at + 1 :])


@for_each("content", [b"", b"xkv1" + bytes(100), b"xkm1", b"xkm1\x95", b"xkm2\x96"])
def test_only_envelopes_are_armoured(content: bytes) -> None:
    """X-4."""
    with pytest.raises(MalformedError):
        armour(content)
    body = base64.b64encode(content).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    with pytest.raises(MalformedError):
        dearmour("\n".join([BEGIN, *lines, END, ""]))


def test_the_length_is_checked_first() -> None:
    """X-3."""
    envelope = sealed(1000)
    text = armour(envelope)
    assert dearmour(text, limit=len(envelope)) == envelope
    with pytest.raises(LimitExceededError):
        dearmour(text, limit=len(envelope) - 3)
    with pytest.raises(LimitExceededError):
        dearmour("x" * (12 << 20))
    with pytest.raises(TypeError):
        dearmour(text.encode())  # type: ignore[arg-type]


@given(st.integers(0, 500), st.characters())
@example(30, "\n")
def test_no_text_but_one_has_an_envelope(at: int, letter: str) -> None:
    envelope = sealed(50)
    text = armour(envelope)
    changed = text[: at % len(text)] + letter + text[at % len(text) + 1 :]
    try:
        opened = dearmour(changed)
    except XKeyMsgError:
        return
    assert armour(opened) == changed
