"""Armoured envelopes, protected seeds and resealed messages do what their vectors say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cases import check_each, for_each
from tests.vectors import text_forms
from xkeymsg import KeyStoreError, XKey, XKeyMsgError, armour, dearmour
from xkeymsg.nkey import Prefix
from xkeymsg.origins import Origin, resealed_by
from xkeymsg.protected_seed import ProtectedSeed

KEY = bytes(XKey.parse(text_forms.key_of(Prefix.CURVE, "x")[1]))


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((text_forms.PUBLISHED / name).read_text())
    assert len({each["name"] for each in found}) == len(found)
    return found


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@for_each("name", text_forms.FILES)
def test_the_published_vectors_are_what_is_made(name: str) -> None:
    assert (text_forms.PUBLISHED / name).read_text() == text_forms.as_json(name)


def test_armour() -> None:
    check_each(vectors("armour.json"), armour_holds, named)


def armour_holds(vector: dict[str, Any]) -> None:
    limit = vector.get("limit", 8 << 20)
    if vector["expect"] != "success":
        with pytest.raises(XKeyMsgError) as caught:
            dearmour(vector["text"], limit=limit)
        assert caught.value.code == vector["expect"]
        return
    envelope = bytes.fromhex(vector["envelope"])
    assert dearmour(vector["text"], limit=limit) == envelope
    assert armour(envelope) == vector["text"]


def test_protected_seeds() -> None:
    check_each(vectors("seeds.json"), seed_holds, named)


def seed_holds(vector: dict[str, Any]) -> None:
    if vector["expect"] == "success":
        assert ProtectedSeed.parse(vector["text"]).release(vector["passphrase"]) == vector["seed"]
        return
    with pytest.raises(KeyStoreError) as caught:
        ProtectedSeed.parse(vector["text"]).release(vector["passphrase"])
    assert vector["passphrase"] in ("", "x") or vector["passphrase"] not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_resealed_messages() -> None:
    check_each(vectors("reseal.json"), reseal_holds, named)


def reseal_holds(vector: dict[str, Any]) -> None:
    found = resealed_by(KEY, [(name, value) for name, value in vector["headers"]])
    if vector["origins"] is None:
        assert found is None
        return
    assert found is not None
    assert bytes(found.by) == KEY
    assert [as_dict(each) for each in found.origins] == vector["origins"]
    headers = [list(each.header()) for each in found.origins]
    assert not found.origins or headers == vector["headers"]


def as_dict(origin: Origin) -> dict[str, Any]:
    return {
        "sender": str(origin.sender),
        "id": origin.message_id.hex(),
        "created_ms": origin.created_ms,
        "withheld": origin.withheld,
    }
