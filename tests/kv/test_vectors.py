"""vectors/kv.json: what is published, is what the generator makes, and what the package does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cases import for_each
from tests.kv import vectors
from xkeymsg import RollbackMemory, XKey, XKeyMsgError, XKeyPair
from xkeymsg.client.core import Core
from xkeymsg.client.memory import Sealing, mark_name
from xkeymsg.kv.codec import KVCodec, KVOptions, ReaderOptions
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.kv.names import BlindNames
from xkeymsg.transport.headers import encode_block

VECTORS = json.loads(vectors.JSON.read_text())


def of_kind(member: str) -> list[Any]:
    found = [pytest.param(each, id=each["name"]) for each in VECTORS if member in each]
    assert found
    return found


def test_the_published_file_is_the_one_that_the_generator_makes() -> None:
    assert vectors.JSON.read_text() == vectors.as_json()


@pytest.mark.parametrize("vector", of_kind("names"))
def test_k19_names(vector: dict[str, Any]) -> None:
    """K-19."""
    names = BlindNames(bytes.fromhex(vector["secret"]))
    assert {key: names.blind(key) for key in vector["names"]} == vector["names"]


@pytest.mark.parametrize("vector", of_kind("entry"))
def test_an_entry(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xkeymsg.kv.codec.now_ns", lambda: vector["now"] * 1_000_000)
    core = Core(XKeyPair.from_seed(vector["identity"]), {XKey.parse(vector["sender"])}, {})
    reader = ReaderOptions(vector["documents"], require_signature=False, max_age=None)
    codec = KVCodec(core, "mine", vector["origin"], KVOptions(None, None, None), reader)
    if vector["secret"] is not None:
        codec.names = BlindNames(bytes.fromhex(vector["secret"]))
    block = encode_block(vector["headers"])
    stored = StoredEntry(vector["key"], 1, block, bytes.fromhex(vector["entry"]))
    if "opened" not in vector:
        with pytest.raises(XKeyMsgError) as caught:
            codec.opened(stored)
        assert caught.value.code == vector["expect"]
        return
    entry = codec.opened(stored)
    assert entry.message is not None
    assert (entry.operation, entry.key) == (vector["expect"], vector["opened"])
    assert (entry.message.data.hex(), entry.replaces) == (vector["value"], vector["replaces"])


@for_each("vector", of_kind("steps"))
def test_rollback(vector: dict[str, Any]) -> None:
    memory, name = RollbackMemory(skew=vector["skew"] / 1000), mark_name("$KV.config.k")
    for step in vector["steps"]:
        sealing = Sealing(bytes.fromhex(step["session"]), step["counter"], step["created"], 0)
        outcome = "success"
        try:
            memory.accept(name, sealing, step["revision"], live=True)
        except XKeyMsgError as error:
            outcome = error.code
        assert outcome == step["expect"], step


def test_k1_k2_the_vectors_name_requirements() -> None:
    """K-1, K-2: every stored entry has the name of its bucket and key in the sealed subject."""
    assert {rule for each in VECTORS for rule in each["spec"]} >= {"K-2", "K-5", "K-10", "K-22"}
