"""The published vectors: what the reference has made is opened, or refused with its code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.objects.vectors import JSON, as_json, objects
from xkeymsg import ObjectTruncatedError, XKey, XKeyMsgError, XKeyPair
from xkeymsg.client.core import Core
from xkeymsg.objects.chunks import DataOpener
from xkeymsg.objects.entry_opener import EntryOpener
from xkeymsg.objects.feed import Arrival
from xkeymsg.objects.names import metadata_subject

VECTORS = json.loads(JSON.read_text())


def read(vector: dict[str, Any]) -> bytes:
    """Open an object as `ObjectReader` does."""
    trust = {XKey.parse(vector["sender"])}
    core = Core(XKeyPair.from_seed(vector["identity"]), trust, {})
    opener = EntryOpener(core, vector["bucket"])
    subject = metadata_subject(vector["bucket"], vector["object"])
    if before := vector.get("opened_before"):
        opener.open(Arrival(subject, 1, before.encode()))
    info, manifest = opener.open(Arrival(subject, 2, vector["entry"].encode()))
    if manifest is None:
        raise opener.absent(subject, info)
    data, found = DataOpener(manifest), b""
    chunks, listed = (iter(map(bytes.fromhex, vector[name])) for name in ("chunks", "list"))
    try:
        while data.left:
            if data.needs_list:
                data.open_list(next(listed))
            found += data.open(next(chunks))
    except StopIteration:
        raise ObjectTruncatedError("missing") from None
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xkeymsg.objects.entry_opener.now_ns", lambda: vector["now"] * 10**6)
    code, found = "success", None
    try:
        found = read(vector)
    except XKeyMsgError as error:
        code = error.code
    assert code == vector["expect"]
    if code == "success":
        assert found == bytes.fromhex(vector["data"])


def test_the_vectors_are_those_that_are_published() -> None:
    assert JSON.read_text() == as_json()
    assert len({each["name"] for each in objects()}) == len(VECTORS) > 50
