"""Nothing but what is sealed can be sent: by construction."""

from __future__ import annotations

import ast
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from prometheus_client import CollectorRegistry

from tests.cases import for_each
from tests.daemons.sender.conftest import ALICE, BOB, CAROL, POLICY, SECRET, Stage
from tests.examples import examples
from tests.fields.strategies import ALIKE, DOCUMENTS, FILTERED_RULES, PATIENT, TOTAL_RULES
from tests.test_layers import FILES
from xkeymsg import xkv1
from xkeymsg.daemons.sender.config import SenderRoute
from xkeymsg.daemons.sender.outputs import CoreOutput, StreamOutput
from xkeymsg.daemons.sender.route_sealer import Author, RouteSealer, Sealed, is_of_setup
from xkeymsg.daemons.sender.rules import RuleCounts, deciding_rules
from xkeymsg.envelope.session import Session
from xkeymsg.errors import (
    ConfigurationError,
    FieldAmbiguousError,
    FieldDeniedError,
    MalformedError,
    PayloadTooLargeError,
    PolicyError,
    UnknownKeyError,
    XKeyMsgError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.opener import Opener
from xkeymsg.trust.peers import Peers

PEERS = Peers.parse(
    f'[peers.bob]\nxkey = "{BOB.public}"\npermissions = ["clinic"]\n'
    f'[peers.carol]\nxkey = "{CAROL.public}"\npermissions = ["billing"]\n'
)


def route(**more: Any) -> SenderRoute:
    given = {"name": "r", "stdin": True, "to": "out", "output": "core", "recipients": ["bob"]}
    values = {key: value for key, value in (given | more).items() if value is not None}
    return SenderRoute.model_validate(values)


def sealing(peers: Any = PEERS, **more: Any) -> RouteSealer:
    made = RouteSealer(route(**more), peers, Author(ALICE))
    made.check()
    return made


async def test_an_output_takes_nothing_else(stage: Stage) -> None:
    async with stage.witness() as witness, stage.link() as link:
        core, stream = CoreOutput(link), StreamOutput(link, in_flight=1)
        impostor = type("Sealed", (Sealed,), {"__init__": lambda self: None})()
        impostor.subject, impostor.envelope, impostor.block = "out", SECRET, b""
        impostor.name = "x"
        what: Any
        for what in (SECRET, SECRET.decode(), impostor, None, ("out", SECRET, b"", "n")):
            for output in (core, stream):
                with pytest.raises(TypeError, match="an output takes Sealed, not"):
                    await output.send(what)
        await core.close()
        await stream.close()
        await link.confirm()
        assert witness.raws == []


async def test_only_sealing_makes_what_may_leave() -> None:
    with pytest.raises(TypeError, match="only be made by RouteSealer"):
        Sealed(object(), "out", SECRET, b"", "name", (), None)
    sealed = await sealing().seal(SECRET)
    for call in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="only be made by RouteSealer"):
            call(sealed)
    assert SECRET not in sealed.envelope + sealed.block
    assert SECRET.decode() not in repr(sealed)


def test_one_module_publishes_and_one_makes_what_is_published() -> None:
    ours = [name for name in FILES if name.startswith("xkeymsg.daemons.sender.")]
    assert len(ours) > 10
    for name in ours:
        nodes = list(ast.walk(FILES[name]))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        touches = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        touches &= {"publish", "submit", "request", "respond"}
        assert ("_OURS" in names) == (name == "xkeymsg.daemons.sender.route_sealer")
        if name == "xkeymsg.daemons.common.windows":
            touches -= {"request"}  # it asks JetStream for the target streams, at the start
        publishes = name == "xkeymsg.daemons.sender.outputs"
        assert touches == ({"publish", "submit"} if publishes else set()), name


def test_what_the_source_is_given_to_has_no_way_out() -> None:
    """The link to the outside is in the hands of outputs, and of who answers `$SRV`, alone."""
    for name in ("lines", "subject", "stream", "reader", "progress"):
        imported = {
            node.module
            for node in ast.walk(FILES[f"xkeymsg.daemons.sender.sources.{name}"])
            if isinstance(node, ast.ImportFrom)
        }
        assert "xkeymsg.daemons.sender.outputs" not in imported


@for_each(
    ("more", "code"),
    [
        ({"recipients": ["nobody"]}, "unknown_key"),
        ({"recipients": ["bob", "perm:nothing"]}, "unknown_key"),
        ({"recipients": ["bob", "carol"], "format": "xkv1"}, "configuration"),
        ({"recipients": ["perm:"]}, "unknown_key"),
        ({"recipients": []}, "configuration"),
    ],
)
def test_names_that_stand_for_nobody_are_found_before_anything_comes(
    more: dict[str, Any], code: str
) -> None:
    with pytest.raises(XKeyMsgError) as caught:
        sealing(**more)
    assert caught.value.code == code
    assert is_of_setup(caught.value)


def test_who_every_message_goes_to_is_too_many_for_xkv1() -> None:
    peers = Peers.parse(
        f'always_to = ["carol"]\n[peers.bob]\nxkey = "{BOB.public}"\n'
        f'[peers.carol]\nxkey = "{CAROL.public}"\n'
    )
    with pytest.raises(ConfigurationError, match="xkv1 allows one recipient"):
        sealing(peers, format="xkv1")


async def test_every_message_goes_to_escrow_besides(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(POLICY)
    peers = Peers.parse(
        f'always_to = ["escrow"]\n[peers.bob]\nxkey = "{BOB.public}"\npermissions = ["clinic"]\n'
        f'[peers.carol]\nxkey = "{CAROL.public}"\npermissions = ["billing"]\n'
        f'[peers.escrow]\nxkey = "{ALICE.public}"\n'
    )
    opener = Opener(ALICE, {ALICE.public})
    sealed = await sealing(peers).seal(SECRET)
    assert opener.open(sealed.envelope, subject="out").data == SECRET
    document = sealing(peers, recipients=None, policy=str(tmp_path / "p"))
    sealed = await document.seal(b'{"name": "x", "bill": {"a": 1}, "notes": 2}')
    view = opener.open_document(sealed.envelope, subject="out")
    assert view.document == {"name": "x", "bill": {"a": 1}, "notes": 2}


def block_of(*lines: bytes) -> bytes:
    return b"\r\n".join([b"NATS/1.0", *lines]) + b"\r\n\r\n"


OF_SUBJECT: dict[str, Any] = {"stdin": None, "subject": "in.*", "to": "out.{1}"}


async def sealed_headers(
    block: bytes, **more: Any
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    sealed = await sealing(**OF_SUBJECT | more).seal(SECRET, "in.a", block)
    assert sealed.block == f"NATS/1.0\r\nsender: {ALICE.public}\r\n\r\n".encode()
    message = Opener(BOB, {ALICE.public}).open(sealed.envelope, subject="out.a")
    return message.headers.pairs, sealed.left_out


async def test_headers_are_sealed_and_those_of_nats_stay() -> None:
    own = {"headers": {"Origin": "ward 3"}}
    block = block_of(b"Trace: 1", b"trace: 2", b"Sender: till 7", b"Nats-Msg-Id: order-43", b"A:")
    pairs, left_out = await sealed_headers(block, **own)
    theirs = (("Trace", "1"), ("trace", "2"), ("Sender", "till 7"), ("A", ""))
    assert pairs == (("Origin", "ward 3"), *theirs)
    assert left_out == ()
    pairs, left_out = await sealed_headers(block, **own, take_headers=["nats-msg-id"])
    assert pairs == (("Origin", "ward 3"), ("Nats-Msg-Id", "order-43"))
    assert left_out == ()


async def test_headers_that_cannot_be_sealed_are_named_and_the_others_sealed() -> None:
    lines = (
        b"A: K\xf6ln",
        b"B: x",
        b"Xkm-Reply-To: x",
        b"no colon",
        b"\xff: x",
        b"C: \xed\xa0\x80",
    )
    pairs, left_out = await sealed_headers(block_of(*lines))
    assert pairs == (("B", "x"),)
    assert sorted(left_out) == ["", "", "A", "C", "Xkm-Reply-To"]
    assert await sealed_headers(block_of(*lines), take_headers=[]) == ((), ())
    assert await sealed_headers(b"garbage") == ((), ())


@pytest.mark.parametrize("number", [129, 300, 999, 1000, 1001, 5000])
async def test_as_many_headers_are_sealed_as_an_envelope_takes(number: int) -> None:
    block = block_of(*(b"H%d: v" % each for each in range(number)))
    pairs, left_out = await sealed_headers(block, headers={"Origin": "ward 3"})
    most = min(number, 999)
    assert pairs[1:] == tuple((f"H{each}", "v") for each in range(most))
    assert left_out == tuple(f"H{each}" for each in range(most, number))


@pytest.mark.parametrize("size", [31, 32, 255, 256, 65_490, 65_520, 70_000])
@pytest.mark.parametrize("kind", [None, "text/plain"])
async def test_as_many_bytes_of_headers_are_sealed_as_an_envelope_takes(
    size: int, kind: str | None
) -> None:
    block = block_of(b"A: x", *[b"H: " + b"v" * size] * 100, b"Z: x")
    pairs, left_out = await sealed_headers(block, content_type=kind, headers={"Origin": "w"})
    assert len(pairs) + len(left_out) == 103
    assert ("A", "x") in pairs
    taken = sum(len(name) + len(value) for name, value in pairs)
    assert taken + size > 65_000 or not left_out


async def test_a_format_without_headers_leaves_them_out() -> None:
    route = OF_SUBJECT | {"format": "xkv1"}
    sealed = await sealing(**route).seal(SECRET, "in.a", block_of(b"A: x"))
    assert sealed.left_out == ("A",)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b'{"name": "x", "diagnosis": "plague"}', FieldDeniedError),
        (b'{"name": "x", "name": "y"}', MalformedError),
        (b"Jane Doe has the plague", MalformedError),
        (b"\xff", MalformedError),
        (b"[" * 100_000, MalformedError),
        (b'{"name": ' + b"9" * 5000 + b"}", XKeyMsgError),
    ],
)
async def test_a_document_that_cannot_be_split_is_refused(
    document: bytes, error: type[XKeyMsgError], tmp_path: Path
) -> None:
    (tmp_path / "p").write_text(POLICY)
    each = sealing(recipients=None, policy=str(tmp_path / "p"))
    with pytest.raises(error) as caught:
        await each.seal(document)
    assert not is_of_setup(caught.value)
    assert "plague" not in str(caught.value)


async def test_a_policy_that_nobody_can_read_for_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(POLICY)
    each = sealing(recipients=None, policy=str(tmp_path / "p"))
    (tmp_path / "p").write_text('[[rule]]\npattern = "/**"\nreaders = ["nobody"]\n')
    with pytest.raises(UnknownKeyError, match="list it in the policy's allow_unread") as caught:
        each.reload()
    assert is_of_setup(caught.value)  # messages wait
    (tmp_path / "p").write_text("[[rule]]\n")
    with pytest.raises(PolicyError):
        each.reload()
    sealed = await each.seal(b'{"name": "x"}')
    assert Opener(BOB, {ALICE.public}).open_document(sealed.envelope, subject="out").document
    with pytest.raises(FieldDeniedError):
        await each.seal(b'{"other": "x"}')


def series(registry: CollectorRegistry) -> dict[str, float]:
    """The counts of rules, by the number of the rule."""
    return {
        sample.labels["rule"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "xkeymsg_rule_documents_total" and sample.labels["route"] == "r"
    }


async def test_documents_are_counted_by_the_rules_that_decide(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    rules = [
        (["/a", "/b"], "clinic"),
        ('/c/*[t="x"]', "clinic"),
        ("/c", "billing"),
        ("/d", "clinic"),
    ]
    path.write_text(
        "".join(
            f"[[rule]]\npattern = {json.dumps(pattern)}\nreaders = [{json.dumps(held)}]\n"
            for pattern, held in rules
        )
    )
    registry = CollectorRegistry()
    own = RouteSealer(
        route(recipients=None, policy=str(path)), PEERS, Author(ALICE), rules=RuleCounts(registry)
    )
    assert series(registry) == {"1": 0, "2": 0, "3": 0, "4": 0}
    await own.seal(b'{"a": {"x": 1}, "b": 2}')
    await own.seal(b'{"a": 1, "c": [{"t": "x"}, {"t": "y"}, {}]}')
    with pytest.raises(FieldDeniedError):
        await own.seal(b'{"a": 1, "e": 1}')
    with pytest.raises(FieldAmbiguousError) as caught:
        await own.seal(b'{"a": 1, "c": [{"t": "X"}]}')
    assert not is_of_setup(caught.value)
    assert series(registry) == {"1": 2, "2": 1, "3": 1, "4": 0}
    own.reload()
    assert series(registry) == {"1": 2, "2": 1, "3": 1, "4": 0}
    path.write_text('[[rule]]\npattern = "/a"\nreaders = ["clinic"]\n')
    own.reload()
    assert series(registry) == {"1": 0}


@settings(PATIENT, max_examples=examples(50))
@given(DOCUMENTS | ALIKE, TOTAL_RULES | FILTERED_RULES)
def test_the_rules_that_decide_are_those_that_explain_names(document: Any, rules: Any) -> None:
    policy = Policy(rules)
    try:
        told = policy.explain(document)
    except FieldAmbiguousError:
        return
    assert deciding_rules(policy, document) == {each.rule for each in told}


def test_the_series_of_rules_are_bounded() -> None:
    registry = CollectorRegistry()
    counts = RuleCounts(registry)
    policy = Policy([(f"/{number}", ["p"]) for number in range(300)])
    counts.watch("r", policy)
    counts.count("r", {1, 256, 257, 300})
    assert len(series(registry)) == 256
    assert sum(series(registry).values()) == 2


async def test_readers_are_listed_or_those_who_hold_the_permission(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(POLICY)
    own = {"recipients": None, "policy": str(tmp_path / "p")}
    with pytest.raises(ConfigurationError, match=r"'billing' of the policy; did you mean 'biling'"):
        sealing(**own, readers={"clinic": ["bob"], "biling": ["bob"]})
    swapped = sealing(**own, readers={"clinic": ["carol"], "billing": ["bob", "perm:clinic"]})
    sealed = await swapped.seal(b'{"name": "x", "bill": {"a": 1}, "notes": 2}')
    view = Opener(CAROL, {ALICE.public}).open_document(sealed.envelope, subject="out")
    assert view.document == {"name": "x", "notes": 2}


@pytest.mark.parametrize("form", ["xkm1", "xkv1"])
async def test_what_is_too_large_is_refused_before_it_is_sealed(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed: list[object] = []
    for kind, name in ((xkv1, "seal"), (Session, "plan")):
        monkeypatch.setattr(kind, name, lambda *_, **__: sealed.append(1))
    made = RouteSealer(route(format=form), PEERS, Author(ALICE), max_payload=lambda: 1000)
    with pytest.raises(PayloadTooLargeError):
        await made.seal(bytes(1000))
    assert not sealed


async def test_xkv1_is_what_every_nkeys_library_opens() -> None:
    sealed = await sealing(format="xkv1").seal(SECRET)
    assert xkv1.open(sealed.envelope, key=BOB, sender=ALICE.public) == SECRET
