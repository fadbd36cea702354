"""A receiver is revoked: nothing more is sealed to it, and what it seals is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from examples.hospital.authority import STAFF
from examples.hospital.problems import Problems
from examples.hospital.receivers import Receiver
from examples.hospital.rotation import opened_by
from examples.hospital.screen import Rows, table
from examples.hospital.waiting import PATIENCE, becomes
from xkeymsg import Policy, Sealer, Trust
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.envelope.inspect import inspect

__all__ = ("NOTICES", "REVOKED", "Revocation")

REVOKED = "billing"
NOTICES = "staff.notice"
PAUSE = 0.02
"""Seconds between two messages of the thief."""
CODE = "sender_revoked"
NOTICE = {"notice": "The ward is closed on Sunday."}
POLICY = Policy.parse(f'[[rule]]\npattern = "/notice"\nreaders = ["{STAFF}"]\n')


class Notice(NamedTuple):
    """A message to all receivers, in the stream."""

    envelope: bytes

    def readers(self, receivers: list[Receiver]) -> int:
        """Return how many receivers have read it."""
        name = inspect(self.envelope).message_id
        return sum(name in each.seen for each in receivers)


class Times(NamedTuple):
    """Seconds since the command was entered."""

    excluded: float
    """Until the sender no longer sealed to the revoked receiver."""
    refused: float
    """Until all other receivers refused what it sent."""


class Revocation:
    """The revocation of one receiver, whose secret keys a thief has.

    Args:
        receivers: All receivers.
        client: The sender.
        trust: What the sender trusts.
        api: A connection that may publish everything: the thief has found a way into the server.
        problems: Gets what is wrong.
    """

    def __init__(
        self,
        receivers: list[Receiver],
        client: Client,
        trust: Trust,
        api: API,
        problems: Problems,
    ) -> None:
        self._client, self._trust, self._api = client, trust, api
        self._problems = problems
        self._everyone = receivers
        [self._revoked] = [each for each in receivers if each.role == REVOKED]
        self._others = [each for each in receivers if each is not self._revoked]
        self._thief = Sealer(self._revoked.keyrings()[0].active, identity=self._revoked.user)

    async def show(self, revoke: Callable[[], None]) -> None:
        """Revoke the receiver, and show who reads what before and after.

        Args:
            revoke: Revokes it, and pushes that to server and directory.
        """
        forged, notice = await self._forge(), await self._send()
        await becomes(lambda: notice.readers(self._everyone) == len(self._everyone))
        taken = forged.readers(self._others)
        times = await self._revoke(revoke)
        # A receiver that has read the second of these has judged the first.
        refused, later = await self._forge(), await self._send()
        await becomes(lambda: later.readers(self._others) == len(self._others))
        self._print([notice, later], [taken, refused.readers(self._others)], times)

    async def _revoke(self, revoke: Callable[[], None]) -> Times:
        began = time.monotonic()

        async def since(condition: Callable[[], object]) -> float:
            self._problems.check(await becomes(condition), f"{REVOKED} is not revoked everywhere")
            return time.monotonic() - began

        async def keep_forging() -> None:
            while True:
                await self._forge()
                await asyncio.sleep(PAUSE)

        forging = asyncio.create_task(keep_forging())
        _, *times = await asyncio.gather(
            asyncio.to_thread(revoke),
            since(lambda: len(self._trust.resolve(f"perm:{STAFF}")) == len(self._others)),
            since(lambda: all(CODE in each.refusals for each in self._others)),
        )
        forging.cancel()
        await asyncio.wait([forging])
        return Times(*times)

    async def _send(self) -> Notice:
        """Publish a notice of the sender."""
        taken = await self._client.js.publish_document(NOTICES, NOTICE, policy=POLICY)
        stored = await self._api.next_message(taken.stream, taken.sequence, NOTICES)
        assert stored is not None
        return Notice(stored.data)

    async def _forge(self) -> Notice:
        """Publish a notice that is sealed with the stolen key."""
        readers = {STAFF: self._trust.resolve(f"perm:{STAFF}")}
        sealed = self._thief.seal_document(NOTICE, policy=POLICY, readers=readers, subject=NOTICES)
        await self._api.link.request(NOTICES, sealed, timeout=PATIENCE)
        return Notice(sealed)

    def _print(self, notices: list[Notice], forged: list[int], times: Times) -> None:
        sealed = [len(inspect(each.envelope).tags) for each in notices]
        read = [each.readers(self._everyone) for each in notices]
        opened = [self._opens(each) for each in notices]
        print(f"\n{REVOKED} is revoked, and a thief has its keys:\n")
        rows: Rows = [
            ("", "before", "after"),
            ("receivers that a notice to all is sealed to", *map(str, sealed)),
            ("receivers that read it", *map(str, read)),
            (f"receivers that read what {REVOKED} seals", *map(str, forged)),
            (f"a key of {REVOKED} opens the notice", *opened),
        ]
        for line in table(rows):
            print(f"  {line}")
        print(
            f"\n  {times.excluded:.2f} s after the operator's command, nothing more is sealed to"
            f" {REVOKED}; {times.refused:.2f} s after it,"
            f"\n  every other receiver refuses its messages."
        )
        check, every = self._problems.check, len(self._everyone)
        check(sealed == read == [every, every - 1], f"notices: {sealed} sealed, {read} read")
        check(forged == [every - 1, 0], f"{forged} receivers read what {REVOKED} sealed")
        check(opened == ["yes", "no"], f"{REVOKED} opens notices: {opened}")

    def _opens(self, notice: Notice) -> str:
        keys = self._revoked.keyrings()
        return "yes" if any(opened_by(each, [notice.envelope], NOTICES) for each in keys) else "no"
