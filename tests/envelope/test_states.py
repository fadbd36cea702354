"""Opening has one path: each state is made in one place, and only `release` makes messages."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB, MALLORY, NOW, SUBJECT, Clock, reader
from tests.envelope.forge import MESSAGE, Rogue
from tests.envelope.inside import admitted_in
from xkeymsg import (
    Admission,
    AtRest,
    Limits,
    Opener,
    Policy,
    Sealer,
    SenderNotAdmittedError,
    XKey,
    XKeyMsgError,
)
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayMemory
from xkeymsg.opener import View

PACKAGE: Final = Path(__file__).parent.parent.parent / "xkeymsg"
MAKERS: Final = {
    "Located": {"envelope.unlock.locate"},
    "Admitted": {"envelope.unlock.admit"},
    "Unlocked": {"envelope.unlock.Unlocker.unlock"},
    "Read": {"envelope.open.read", "native.NativeUnlocker.unlock"},
    # The forms of a call: `_release` makes these after all checks.
    "Message": {"opener", "client.scope.OpeningScope._open_box"},  # xkv1 has no envelope
    "View": {"opener"},
}


TYPES_ONLY: Final = {"annotation", "returns", "bases", "slice"}
"""Fields of a syntax tree that name types; `slice` belongs to `list[Message]`."""


def values(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the child nodes that are values, not only types."""
    for field, children in ast.iter_fields(tree):
        for node in children if isinstance(children, list) else [children]:
            match node:
                case ast.Call(func=ast.Name(id="TypeVar")):
                    pass
                case ast.Call(func=ast.Name(id="isinstance"), args=[tested, _]):
                    yield tested
                case ast.AST() if field not in TYPES_ONLY:
                    yield node


def used(tree: ast.AST, scope: str) -> Iterator[tuple[str, str]]:
    """Yield every name and attribute used as a value, with the enclosing function."""
    if isinstance(tree, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        scope = f"{scope}.{tree.name}"
    if isinstance(tree, ast.Name):
        yield tree.id, scope
    if isinstance(tree, ast.Attribute):
        yield tree.attr, scope
    for node in values(tree):
        yield from used(node, scope)


def makers() -> dict[str, set[str]]:
    """Return where each state may be constructed: wherever its class is used at all."""
    found: dict[str, set[str]] = {name: set() for name in MAKERS}
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for name, scope in used(ast.parse(file.read_text()), module):
            if name in found:
                found[name].add(scope)
            changed = name in ("_replace", "_make") and module.startswith(("opener", "envelope."))
            assert not changed, f"{scope} makes a state from another one"
    return found


def test_each_state_is_made_in_one_place() -> None:
    assert makers() == MAKERS


@for_each(
    "line",
    [
        "def f(): return Message(head)",
        "def f(): return message.Message(head)",
        "def f(): return tuple.__new__(Message, parts)",
        "def f(): other = Message",
        "def f(): return partial(Message, head)",
        "class Other(Base):\n    def f(self): return self.make(Message)",
    ],
)
def test_every_use_of_a_class_is_seen(line: str) -> None:
    assert "Message" in {name for name, _ in used(ast.parse(line), "module")}


@for_each(
    "line",
    [
        "def f(m: Message) -> Message: return isinstance(m, Message)",
        "Handler = Callable[[Message], None]",
        "M = TypeVar('M', bound=Message)",
        "class Other(Message): kept: list[Message]",
    ],
)
def test_an_annotation_is_not_a_use_of_its_class(line: str) -> None:
    assert "Message" not in {name for name, _ in used(ast.parse(line), "module")}


def callers(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_qualname
        frame = frame.f_back


@pytest.mark.parametrize("document", [False, True])
def test_release_makes_the_message(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, *, document: bool
) -> None:
    made: list[list[str]] = []
    init = Message.__init__

    def noted(self: Message, *arguments: Any) -> None:
        made.append(list(callers(inspect.currentframe()))[1:])
        init(self, *arguments)

    monkeypatch.setattr(Message, "__init__", noted)
    opener = Opener(BOB, {ALICE.public})
    if document:
        envelope = Sealer(ALICE).seal_document(
            {"a": 1}, policy=Policy([("/a", ["x"])]), readers={"x": [BOB.public]}, subject=SUBJECT
        )
        assert isinstance(opener.open_document(envelope, subject=SUBJECT), View)
    else:
        envelope = Sealer(ALICE).seal(b"x", to=[BOB.public], subject=SUBJECT)
        opener.open(envelope, subject=SUBJECT)
    [stack] = made
    assert "Opener._release" in stack[: 2 if document else 1]


class Asked:
    """Trust that records each call and can change its verdict."""

    def __init__(self) -> None:
        self.questions: list[tuple[XKey, str, int]] = []
        self.verdict: Admission | None = Admission()

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        self.questions.append((sender, subject, at))
        return self.verdict


def test_trust_is_asked_for_every_message_with_its_time_of_sealing() -> None:
    trust = Asked()
    opener = Opener(BOB, trust, replay=AtRest())
    times = [NOW, NOW - 10**9, NOW + 10**9, NOW]
    for counter, created_ms in enumerate(times, 1):
        opener.open(Rogue(counter=counter, created_ms=created_ms).envelope(), subject=">")
    assert trust.questions == [(ALICE.public, SUBJECT, created_ms) for created_ms in times]


def test_no_admission_is_kept_with_the_keys_of_a_session() -> None:
    trust = Asked()
    opener = Opener(BOB, trust, replay=AtRest())
    opener.open(Rogue(counter=1).envelope(), subject=">")
    trust.verdict = None
    with pytest.raises(SenderNotAdmittedError):
        opener.open(Rogue(counter=2).envelope(), subject=">")
    trust.verdict = Admission(always_signs=True)
    with pytest.raises(XKeyMsgError, match="not signed"):
        opener.open(Rogue(counter=3).envelope(), subject=">")
    trust.verdict = Admission()
    assert opener.open(Rogue(counter=4).envelope(b"x"), subject=">").data == b"x"


def test_the_sender_of_another_reader_is_asked_about_as_well() -> None:
    with pytest.raises(SenderNotAdmittedError):
        reader(BOB, {MALLORY.public}).open(Rogue().envelope(), subject=">")


def test_a_refusal_holds_no_plaintext_as_its_context() -> None:
    # Python's own error about invalid UTF-8 holds the text as an attribute.
    content = b"\x92\xa8SECRET\xff\xfe\x90data"
    envelope = Rogue().envelope(parts=[Rogue().part(0, content, MESSAGE)])
    with pytest.raises(XKeyMsgError) as caught:
        reader().open(envelope, subject=">")
    assert caught.value.code == "malformed"
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_strangers_over_their_budget_do_not_visit_admitted_senders() -> None:
    limits = Limits(replay_bytes_unadmitted=4000)
    memory = ReplayMemory(limits, NOW - 1000)

    def head(sender: int, ephemeral: int) -> Head:
        keys = sender.to_bytes(32, "big"), ephemeral.to_bytes(32, "big")
        return Head(
            *keys, bytes(3) + b"\x01" + bytes(8), NOW + ephemeral, SUBJECT, None, None, None
        )

    memory.mark(head(1, 1), None, admitted=True, now_ms=NOW)
    [admitted] = admitted_in(memory).values()
    pages = admitted.pages
    for number in range(100):
        memory.mark(head(2, number), None, admitted=False, now_ms=NOW)
    assert memory.state(NOW).dropped > 50
    assert admitted.pages is pages
