"""The demonstration detects each failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.hospital import demo, waiting
from examples.hospital.authority import Authority
from examples.hospital.problems import Problems
from examples.hospital.receivers import Receiver
from examples.hospital.roles import HERE, resources
from examples.hospital.screen import table
from examples.hospital.search import search, texts
from tests.running import DEADLINE
from xkeymsg import XKeyPair
from xkeymsg.client.client import Client
from xkeymsg.trust.stores.file import write_seed


@pytest.mark.slow
def test_each_failure_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A lost message, a field for the wrong reader, plaintext on the disk, no rotation, and a
    revocation without effect.
    """
    send = demo.send
    policy = (HERE / "policy.toml").read_text()
    wider = policy.replace(
        '"/Observation/status"', '["/Observation/status", "/Observation/effectiveDateTime"]'
    )
    (tmp_path / "policy.toml").write_text(wider)
    monkeypatch.setattr(demo, "HERE", tmp_path)

    async def leak(client: Client, records: list[dict[str, Any]]) -> None:
        if records[0] != resources()[0]:
            monkeypatch.setattr(waiting, "PATIENCE", 20.0)
            await send(client, records)
            return
        await send(client, records[1:])
        plain = json.dumps(records[0], ensure_ascii=False).encode()
        await client.js.api.request(
            "STREAM.CREATE.LEAK", {"name": "LEAK", "subjects": ["leak"]}
        )  # fmt: skip
        await client.js.api.link.request("leak", plain, timeout=DEADLINE)
        monkeypatch.setattr(waiting, "PATIENCE", 0.5)  # for a rotation that does not come

    monkeypatch.setattr(demo, "send", leak)
    monkeypatch.setattr(demo, "TIMES", "")
    monkeypatch.setattr(demo, "PATIENCE", 20.0)
    monkeypatch.setattr(demo, "FLUSH", 2.0)
    monkeypatch.setattr(Authority, "revoke", lambda *_: None)
    assert demo.main() == 1
    printed, said = capsys.readouterr()
    assert "error: plaintext on the disk" in said
    assert "error: clinic received 847 of 848 messages" in said
    assert "error: research has not changed its key" in said
    assert "error: research reads /effectiveDateTime" in said
    assert "error: billing is not revoked everywhere" in said
    assert "error: notices: [4, 4] sealed" in said  # the last may not have read it yet
    assert "error: [3, 3] receivers read what billing sealed" in said
    assert "error: billing opens notices: ['yes', 'yes']" in said
    assert "There is no plaintext" not in printed


def test_a_search_finds_texts_wherever_they_are(tmp_path: Path) -> None:
    document = {"a": [{"name": "Jane Doe Smith"}, "Grüße aus Köln"], "resourceType": "Observation"}
    wanted = list(texts(document))
    assert wanted == ["Jane Doe Smith", "Grüße aus Köln"]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "1.blk").write_bytes("\x00xxGrüße aus Köln".encode() * 2)
    (tmp_path / "2.blk").write_bytes(b"Jane Doe Smit")
    found = search(tmp_path, wanted)
    assert found.texts == {"Grüße aus Köln": 2}
    assert found.size == 53


def test_a_copy_of_a_secret_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    authority = Authority(tmp_path)
    receiver = Receiver("clinic", authority.machine("clinic"), 0)
    pair = XKeyPair.generate()
    write_seed(tmp_path / "clinic" / "keys" / f"{pair.public}.seed", pair)
    problems = Problems()
    assert demo.count_copies(tmp_path, [receiver], problems) == 0
    assert not problems.found
    write_seed(tmp_path / "copy" / "seed", pair)
    assert demo.count_copies(tmp_path, [receiver], problems) == 1
    assert problems.found == ["1 copies of secret keys"]


def test_numbers_stand_to_the_right() -> None:
    assert table([("", "of"), ("a", "1,066"), ("bb", "9")]) == [
        "       of",
        "a   1,066",
        "bb      9",
    ]
