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

from tests.daemons.sender.conftest import ALICE, BOB, CAROL, POLICY, SECRET, Stage
from tests.fields.strategies import ALIKE, DOCUMENTS, FILTERED_RULES, PATIENT, TOTAL_RULES
from tests.test_layers import FILES
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
from xkeymsg.keys import XKeyPair
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
    return RouteSealer(route(**more), peers, Author(ALICE))


async def test_an_output_takes_nothing_else(stage: Stage) -> None:
    async with stage.witness() as witness, stage.link() as link:
        core, stream = CoreOutput(link), StreamOutput(link, in_flight=1, timeout=1)
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
        Sealed(object(), "out", SECRET, b"", "name")
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
        if name in ("xkeymsg.daemons.sender.sources.stream", "xkeymsg.daemons.common.windows"):
            touches -= {"request"}  # questions of the configuration's to JetStream, at the start
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


@pytest.mark.parametrize(
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


async def test_headers_are_sealed_and_those_of_nats_stay(tmp_path: Path) -> None:
    opener = Opener(BOB, {ALICE.public})
    own = {"stdin": None, "subject": "in.*", "to": "out.{1}", "headers": {"Origin": "ward 3"}}
    given = [("Trace", "1"), ("trace", "2"), ("Nats-Msg-Id", "order-43"), ("xkm-reply-to", "x")]
    sealed = await sealing(**own).seal(SECRET, "in.a", given)
    message = opener.open(sealed.envelope, subject="out.a")
    assert list(message.headers.pairs) == [("Origin", "ward 3"), ("Trace", "1"), ("trace", "2")]
    assert sealed.block == f"NATS/1.0\r\nsender: {ALICE.public}\r\n\r\n".encode()
    sealed = await sealing(**own, take_headers=["nats-msg-id"]).seal(SECRET, "in.a", given)
    message = opener.open(sealed.envelope, subject="out.a")
    assert list(message.headers.pairs) == [("Origin", "ward 3"), ("Nats-Msg-Id", "order-43")]


async def test_a_header_that_is_no_text_is_refused_with_its_message() -> None:
    with pytest.raises(XKeyMsgError) as caught:
        await sealing(stdin=None, subject="in").seal(SECRET, "in", [("A", "\udcff")])
    assert not is_of_setup(caught.value)


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
    with pytest.raises(UnknownKeyError):
        each.reload()
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


@settings(PATIENT, max_examples=100)
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
    with pytest.raises(ConfigurationError, match="no recipients"):
        sealing(**own, readers={"clinic": ["bob"]})
    swapped = sealing(**own, readers={"clinic": ["carol"], "billing": ["bob", "perm:clinic"]})
    sealed = await swapped.seal(b'{"name": "x", "bill": {"a": 1}, "notes": 2}')
    view = Opener(CAROL, {ALICE.public}).open_document(sealed.envelope, subject="out")
    assert view.document == {"name": "x", "notes": 2}


@pytest.mark.parametrize("form", ["xkm1", "xkv1"])
async def test_what_is_too_large_is_refused_before_it_is_sealed(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed: list[object] = []
    for kind, name in ((XKeyPair, "seal"), (Session, "next_nonce")):
        monkeypatch.setattr(kind, name, lambda *_, **__: sealed.append(1))
    made = RouteSealer(route(format=form), PEERS, Author(ALICE), max_payload=lambda: 1000)
    with pytest.raises(PayloadTooLargeError):
        await made.seal(bytes(1000))
    assert not sealed


async def test_xkv1_is_what_every_nkeys_library_opens() -> None:
    sealed = await sealing(format="xkv1").seal(SECRET)
    assert BOB.open(sealed.envelope, ALICE.public) == SECRET
