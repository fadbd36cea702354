"""`reseal_bucket`: values in place, by compare-and-set."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.reseal.conftest import ALICE, CAROL, DAVE, EVE, RITA, Place, opened
from xkeymsg import ConfigurationError, DeliveryError, NotARecipientError, Sealer, XKeyMsgError
from xkeymsg.client.jetstream.api import Stored
from xkeymsg.client.jetstream.publisher import StreamPublisher


async def current(place: Place, key: str) -> Stored:
    found = [
        each for each in await place.stored("KV_config") if each.subject == f"$KV.config.{key}"
    ]
    return found[-1]


async def test_values_are_replaced_and_bound_to_their_keys(place: Place) -> None:
    await place.add_bucket(history=5)
    for number in range(3):
        await place.put(f"a.{number}", b"%d" % number)
    report = await place.reseal_bucket()
    assert (report.read, report.resealed) == (3, 3)
    for number in range(3):
        value = await current(place, f"a.{number}")
        message = opened(value.data)
        assert (message.data, message.subject) == (b"%d" % number, value.subject)
        assert message.resealed is not None
        assert message.resealed.origins[0].sender == ALICE.public
        with pytest.raises(NotARecipientError):
            opened(value.data, DAVE)


async def test_a_second_call_replaces_nothing_again(place: Place) -> None:
    await place.add_bucket()
    await place.put("a", b"1")
    first = await place.reseal_bucket()
    sequence = (await current(place, "a")).sequence
    assert await place.reseal_bucket() == first
    assert (await current(place, "a")).sequence == sequence
    await place.put("b", b"2")
    report = await place.reseal_bucket()
    assert (report.resealed, report.skipped) == (1, {"newer": 1})


async def test_values_written_after_a_first_call_on_an_empty_bucket_are_newer(
    place: Place,
) -> None:
    await place.add_bucket()
    assert (await place.reseal_bucket()).read == 0
    await place.put("a", b"1")
    report = await place.reseal_bucket()
    assert (report.resealed, report.skipped) == (0, {"newer": 1})
    assert opened((await current(place, "a")).data, RITA, ALICE.public).data == b"1"


@pytest.mark.parametrize("change", ["put", "delete"])
async def test_a_value_that_changes_meanwhile_is_not_replaced(
    place: Place, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.add_bucket(history=5)
    await place.put("a", b"1")
    submit = StreamPublisher.submit

    async def late(publisher: StreamPublisher, *arguments: Any, **more: Any) -> Any:
        if change == "put":
            await place.put("a", b"2")
        else:
            await place.store(b"", "$KV.config.a", headers={"KV-Operation": "DEL"})
        return await submit(publisher, *arguments, **more)

    monkeypatch.setattr(StreamPublisher, "submit", late)
    report = await place.reseal_bucket()
    assert (report.resealed, report.skipped) == (0, {"changed": 1})
    last = await current(place, "a")
    assert last.sequence == 2
    assert last.data == b"" or opened(last.data, RITA, ALICE.public).data == b"2"


@pytest.mark.parametrize("code", [10071, 10164])
async def test_both_numbers_for_a_wrong_revision_are_a_change(
    place: Place, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # 10164: another write of the key is in progress in a cluster
    await place.add_bucket()
    await place.put("a", b"1")

    async def late(*_: Any, **__: Any) -> Any:
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(DeliveryError("wrong last sequence", code))
        return refused

    monkeypatch.setattr(StreamPublisher, "submit", late)
    report = await place.reseal_bucket()
    assert (report.resealed, report.skipped) == (0, {"changed": 1})


async def test_a_lost_acknowledgement_is_not_a_change(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.add_bucket()
    await place.put("a", b"1")
    submit = StreamPublisher.submit

    async def twice(
        publisher: StreamPublisher, subject: str, data: bytes, headers: bytes, **more: Any
    ) -> Any:
        without_id = b"\r\n".join(
            line for line in headers.split(b"\r\n") if not line.startswith(b"Nats-Msg-Id")
        )
        await (await submit(publisher, subject, data, without_id, **more))
        return await submit(publisher, subject, data, headers, **more)

    monkeypatch.setattr(StreamPublisher, "submit", twice)
    report = await place.reseal_bucket()
    assert (report.resealed, report.skipped) == (1, {})


async def test_a_value_moved_to_another_key_is_refused(place: Place) -> None:
    await place.add_bucket()
    await place.store(place.seal(b"1", "$KV.config.a"), "$KV.config.b")
    await place.store(place.seal(b"1", "$KV.other.c"), "$KV.config.c")
    strange = Sealer(EVE).seal(b"1", to=[RITA.public], subject="$KV.config.d")
    await place.store(strange, "$KV.config.d")
    await place.store(b"plain", "$KV.config.e")
    report = await place.reseal_bucket()
    assert report.refused == {"subject_mismatch": 2, "sender_not_admitted": 1, "malformed": 1}
    assert report.read == 4


async def test_a_bucket_that_is_missing_is_named(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="no bucket config"):
        await place.reseal_bucket()


async def test_a_ledger_of_other_recipients_is_refused(place: Place) -> None:
    await place.add_bucket()
    await place.put("a", b"1")
    await place.reseal_bucket()
    with pytest.raises(XKeyMsgError, match=r"recipients differs; use another ledger$"):
        await place.reseal_bucket(to=["rita", "dave"])
    assert opened((await current(place, "a")).data, CAROL).data == b"1"
