"""Reads the entries of the bucket: all of them, those since a sequence, or one.

In the bucket's own account an ephemeral push consumer is fastest. In another account there is only
Direct Get, in pages. Replies are untrusted: entries prove themselves, sequences are hints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple

from xkeymsg.client.jetstream.acks import parse_ack
from xkeymsg.client.jetstream.api import API, int64
from xkeymsg.directory.settings import STREAM, place_of, subject_of
from xkeymsg.errors import DeliveryError
from xkeymsg.transport.headers import parse_block, parse_status
from xkeymsg.transport.raw import Raw, RawSubscription
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("BucketEntry", "BucketReader", "sequence_of")

_ALL: Final = subject_of(Place(">", "")).removesuffix(".account")
_PAGE: Final = 1000
_PAGE_BYTES: Final = 4 << 20
_MESSAGES, _BYTES = 1 << 17, 64 << 20
"""Limits of what has arrived and is not taken yet."""
_NOT_FOUND: Final = 404
_END: Final = 204
_NOBODY: Final = 503
_INACTIVE_NS: Final = 30 * 10**9
_MOST_SEQUENCE: Final = 2**53


class BucketEntry(NamedTuple):
    """An entry as the bucket has it."""

    place: Place
    value: bytes
    """Empty if the entry was deleted."""
    sequence: int


Take = Callable[[BucketEntry], Coroutine[Any, Any, None] | None]
"""Takes an entry; if it returns a coroutine, the next entry waits for that."""


class BucketReader:
    """Reads the bucket over one connection.

    Args:
        api: The JetStream API client.
        accounts: The public keys of the configured accounts; entries of others are not passed on.
    """

    def __init__(self, api: API, accounts: frozenset[str]) -> None:
        self._api = api
        self._accounts = accounts
        self._direct = f"{api.prefix}.DIRECT.GET.{STREAM}"

    async def last(self) -> int:
        """Return the last sequence of the bucket; 0 if it is empty.

        Raises:
            DeliveryError: If there is no answer.
        """
        raw = await self._ask({"last_by_subj": _ALL})
        return 0 if raw is None else sequence_of(raw.headers)

    async def get(self, place: Place) -> BucketEntry | None:
        """Return one entry; None if there never was one.

        Raises:
            DeliveryError: If there is no answer.
        """
        raw = await self._ask({"last_by_subj": subject_of(place)})
        if raw is None:
            return None
        entry = _entry(raw)
        if entry is None or entry.place != place:
            raise DeliveryError("JetStream answered with another entry")
        return entry

    async def _ask(self, body: Mapping[str, Any]) -> Raw | None:
        data = json.dumps(body).encode()
        try:
            raw = await self._api.link.request(self._direct, data, timeout=self._api.timeout)
        except DeliveryError as error:
            raise _silent(error) from None
        status = parse_status(raw.headers)
        if status is None:
            return raw
        if status.code == _NOT_FOUND:
            return None
        raise DeliveryError(f"Direct Get of the directory: status {status.code}")

    async def pages(self, begin: int, take: Take) -> int:
        """Read all entries from a sequence on, and return the last sequence that was read.

        Raises:
            DeliveryError: If an answer does not come, or is incomplete.
        """
        link, last, more = self._api.link, begin - 1, True
        inbox = link.new_inbox()
        replies = await link.subscribe(inbox, max_messages=_MESSAGES, max_bytes=_BYTES)
        try:
            while more:
                body = {"batch": _PAGE, "max_bytes": _PAGE_BYTES, "next_by_subj": _ALL}
                data = json.dumps(body | {"seq": last + 1}).encode()
                await link.publish(self._direct, data, reply=inbox)
                before = last
                last, more = await self._page(replies, last, take)
                if more and last == before:
                    raise DeliveryError("Direct Get of the directory: an empty page")
        finally:
            await replies.unsubscribe()
        return last

    async def _page(self, replies: RawSubscription, last: int, take: Take) -> tuple[int, bool]:
        while True:
            raw = await replies.next(self._api.timeout)
            status = parse_status(raw.headers)
            if status is not None and status.code == _NOT_FOUND:
                return last, False
            if status is not None and status.code == _END:
                return last, _number(raw.headers, "Nats-Num-Pending") > 0
            if status is not None and status.code == _NOBODY:
                raise _silent("no responders")
            if status is not None or (sequence := sequence_of(raw.headers)) <= last:
                raise DeliveryError("Direct Get of the directory: invalid answer")
            last = sequence
            await self._pass(_entry(raw), take)

    async def consume(self, take: Take, has_room: Callable[[], bool]) -> tuple[int, bool]:
        """Read entries with an ephemeral consumer.

        Returns:
            The last sequence that was read, and whether that is everything: if there is no room, or
            a delivery is missing, or the bucket seems empty, `pages` has to go on.

        Raises:
            DeliveryError: If the server refuses; or nothing comes for a time.
        """
        link, last = self._api.link, 0
        inbox = link.new_inbox()
        messages = await link.subscribe(inbox, max_messages=_MESSAGES, max_bytes=_BYTES)
        try:
            config = {
                "deliver_subject": inbox,
                "deliver_policy": "last_per_subject",
                "ack_policy": "none",
                "max_deliver": 1,
                "mem_storage": True,
                "num_replicas": 1,
                "filter_subjects": [subject_of(Place(a, "*")) for a in sorted(self._accounts)],
                "inactive_threshold": _INACTIVE_NS,
            }
            body = {"stream_name": STREAM, "config": config}
            answer = await self._api.request(f"CONSUMER.CREATE.{STREAM}", body)
            left = int64(answer.get("num_pending"))
            for number in range(1, left + 1):
                raw = await messages.next(self._api.timeout)
                delivery = parse_ack(raw.reply)
                if delivery is None or delivery.consumer_sequence != number or not has_room():
                    return last, False
                last = delivery.sequence
                place = place_of(raw.subject_text)
                await self._pass(place and BucketEntry(place, raw.data, last), take)
        finally:
            await messages.unsubscribe()
        return last, left > 0

    async def _pass(self, entry: BucketEntry | None, take: Take) -> None:
        if entry is not None and entry.place.account in self._accounts:
            waiting = take(entry)
            if waiting is not None:
                await waiting


def _silent(why: object) -> DeliveryError:
    return DeliveryError(
        f"the directory does not answer ({why}); run `xkeymsg directory init` if there is no bucket"
        " XKEYS, or `xkeymsg trust share-directory` if another account has it"
    )


def sequence_of(headers: bytes) -> int:
    """Return the sequence of a stored or repeated message; 0 if it has none."""
    return _number(headers, "Nats-Sequence")


def _number(headers: bytes, name: str) -> int:
    text = next((value for key, value in parse_block(headers) if key == name), "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 17 else 0


def _entry(raw: Raw) -> BucketEntry | None:
    headers = dict(reversed(parse_block(raw.headers)))
    place = place_of(headers.get("Nats-Subject", ""))
    sequence = sequence_of(raw.headers)
    return None if place is None or not sequence else BucketEntry(place, raw.data, sequence)
