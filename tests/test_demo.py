"""The demonstration detects a missing message and plaintext on a disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.hospital import demo
from examples.hospital.screen import table
from examples.hospital.search import search, texts
from tests.running import DEADLINE
from xkeymsg.client.client import Client


def test_a_leak_and_a_loss_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send = demo.send

    async def leak(client: Client, records: list[dict[str, Any]]) -> None:
        await send(client, records[1:])
        plain = json.dumps(records[0], ensure_ascii=False).encode()
        await client.js.api.request(
            "STREAM.CREATE.LEAK", {"name": "LEAK", "subjects": ["leak"]}
        )  # fmt: skip
        await client.js.api.link.request("leak", plain, timeout=DEADLINE)

    monkeypatch.setattr(demo, "send", leak)
    monkeypatch.setattr(demo, "PATIENCE", 5.0)
    monkeypatch.setattr(demo, "FLUSH", 2.0)
    assert demo.main() == 1
    printed, said = capsys.readouterr()
    assert "error: plaintext on the disk" in said
    assert "error: clinic received 847 of 848 messages" in said
    assert "There is no plaintext" not in printed


def test_the_hospital_in_operator_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--trust"]) == 0
    printed, _ = capsys.readouterr()
    assert "there is no peers file" in printed
    assert "There is no plaintext on the server" in printed
    for role, messages in (("clinic", 848), ("billing", 238), ("research", 479), ("audit", 1066)):
        assert [role, f"{messages:,}", f"{messages:,}"] in [
            line.split()[:3] for line in printed.splitlines()
        ]


def test_a_search_finds_texts_wherever_they_are(tmp_path: Path) -> None:
    document = {"a": [{"name": "Jane Doe Smith"}, "Grüße aus Köln"], "resourceType": "Observation"}
    wanted = list(texts(document))
    assert wanted == ["Jane Doe Smith", "Grüße aus Köln"]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "1.blk").write_bytes("\x00xxGrüße aus Köln".encode() * 2)
    (tmp_path / "2.blk").write_bytes(b"Jane Doe Smit")
    found = search(tmp_path, wanted)
    assert found.texts == {"Grüße aus Köln": 2}
    assert found.files == 2


def test_numbers_stand_to_the_right() -> None:
    assert table([("", "of"), ("a", "1,066"), ("bb", "9")]) == [
        "       of",
        "a   1,066",
        "bb      9",
    ]
