"""Outcomes of messages: settling, retrying, dropping or quarantining, and the reply.

`failures` decides about messages that fail, `quarantine` stores those that are given up. A message
is settled before its reply is sent, so that a lost reply does not undo it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

from xkeymsg.client.jetstream.acks import ACK, nak, term
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import Durable
from xkeymsg.client.jetstream.events import ConsumerStatus
from xkeymsg.client.jetstream.failures import FailurePolicy, Failures, Reason, Verdict
from xkeymsg.client.jetstream.gate import Gate
from xkeymsg.client.jetstream.holds import Proof, is_shortage, is_temporary
from xkeymsg.client.jetstream.keyed_queue import KeyedQueue
from xkeymsg.client.jetstream.pending import Answers, PendingMessage, PendingMessages
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.client.tasks import Background
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConnectionFailedError, XKeyMsgError

__all__ = ("Outcomes",)

_log = logging.getLogger(__name__)

_M = TypeVar("_M", bound=Message)


class Outcomes(Generic[_M]):
    """Carries out the decisions about the messages of one durable.

    Args:
        api: The JetStream API client.
        stream: The stream.
        durable: The durable.
        policy: The failure policy.
        answers: Sends the replies.
        holding: The messages that are held.
        lanes: The queue of the handlers.
        quarantine: Stores messages that are given up.
        gate: Recognizes an outage.
        proof: Recognizes a wrong key or wrong peers.
        status: Reports events.
        pull: Requests more messages if there is room.
    """

    def __init__(
        self,
        api: API,
        stream: str,
        durable: str,
        policy: FailurePolicy,
        *,
        answers: Answers,
        holding: PendingMessages[_M],
        lanes: KeyedQueue[PendingMessage[_M]],
        quarantine: Quarantine,
        gate: Gate,
        proof: Proof,
        status: ConsumerStatus,
        pull: Callable[[], Awaitable[None]],
    ) -> None:
        self.failures = Failures(policy, max_ack_pending=0, max_deliver=0)
        self._api = api
        self._stream, self._durable = stream, durable
        self._deletes: asyncio.Task[bool] | None = None
        self._policy = policy
        self._answers = answers
        self._holding = holding
        self._lanes = lanes
        self._quarantine = quarantine
        self._gate = gate
        self._proof = proof
        self._status = status
        self._pull = pull
        self._background = Background()
        self._give_back = 0.0

    def learn(self, durable: Durable, prefetch: int) -> None:
        """Use the limits of a durable."""
        self._deletes = None
        limit = durable.max_ack_pending
        self._give_back = self._proof.delay(limit if limit > 0 else 1000, prefetch)
        self.failures = Failures(
            self._policy, max_ack_pending=limit, max_deliver=durable.max_deliver
        )

    def forget(self) -> None:
        """Forget the failures of all messages, at the beginning of a new scope."""
        self.failures = self.failures.again()
        self._gate.forget()

    async def close(self) -> None:
        """Stop moving messages to the quarantine; they are redelivered."""
        if self._deletes is not None:
            self._deletes.cancel()
        await self._background.close()

    # --- messages that cannot be opened -----------------------------------------------------------

    async def refuse(self, item: PendingMessage[_M], error: Exception) -> None:
        """Apply the policy to a message that could not be opened."""
        if is_shortage(error):
            self._status.tell("retry", "error", item.where.sequence, error)
            self._retry(item, error)
            return
        item.code = error.code if isinstance(error, XKeyMsgError) else "error"
        self._status.counts[f"refused.{item.code}"] += 1
        if isinstance(error, XKeyMsgError) and error.public_code == "refused":
            self.opened()
        else:
            self._proof.failed(item.where.sequence, item.code)
        now = asyncio.get_running_loop().time()
        verdict = self.failures.refused(error, item.where.sequence, item.delivered, now)
        # A redelivered message that was handled has lost its acknowledgement: that is normal.
        if verdict.action == "drop" and item.delivered == 1:
            _log.warning("replay in %s at %d", self._stream, item.where.sequence)
        unproven = verdict.action == "quarantine" and not verdict.proven
        if unproven and self._proof.is_full and not self.failures.is_last(item.delivered):
            verdict = Verdict("retry", self._give_back)
        if self._proof.is_suspect:
            self._status.trouble("unproved", self._proof.why())
        await self._carry_out(item, verdict, error)

    def opened(self) -> None:
        """Record that the wrapped key of a message has verified."""
        if not self._proof.is_proved:
            self._proof.opened()
            self._status.recovered("unproved")

    async def _carry_out(
        self, item: PendingMessage[_M], verdict: Verdict, error: Exception | None
    ) -> None:
        sequence = item.where.sequence
        self._gate.ended(sequence)
        if verdict.action == "quarantine":
            if not verdict.proven:
                self._holding.leaving += 1
            self._background.spawn(self.give_up(item, verdict.reason))
            return
        if verdict.action == "retry":
            await self._answers.give(item, nak(verdict.delay))
        else:
            self.failures.settle(sequence)
            item.is_settled = True
            await self._answers.finish(item, ACK)
        item.release()
        self._holding.release(item)
        self._status.tell(verdict.action, item.code, sequence, error)

    # --- handled messages -------------------------------------------------------------------------

    async def handled(self, item: PendingMessage[_M], *, rejected: str | None = None) -> None:
        """Settle and acknowledge a message, or terminate it because its handler rejected it."""
        self._gate.taken(item.where.sequence)
        self._settle(item, handled=True)
        if rejected is None:
            await self._answers.acknowledge(item)
        else:
            await self._answers.finish(item, term(rejected))
        self._holding.release(item)

    async def failed(self, item: PendingMessage[_M], error: BaseException) -> bool:
        """Apply the policy to a message whose handler raised; return whether it leaves its lane."""
        sequence = item.where.sequence
        if item.is_forsaken:  # no reply is sent for it, not even a retry
            self.drop(item)
            return True
        cause = error if isinstance(error, Exception) else None
        if is_temporary(error):
            self._status.tell("retry", "handler", sequence, cause)
            self._retry(item, error)
            return False
        verdict = self.failures.failed(sequence, item.delivered)
        if verdict.action == "retry" and item.lane is not None:
            self._gate.ended(sequence)
            self._status.tell("retry", "handler", sequence, cause)
            self._later(item, verdict.delay)
            return False
        await self._carry_out(item, verdict, cause)
        return True

    def _retry(self, item: PendingMessage[_M], error: BaseException) -> None:
        """Hold a message until its retry, without a reply.

        A negative acknowledgement would use up deliveries, of which the server may have a limit.
        Unless there is an outage, its lane goes on in the end: whether a message is at fault shows
        only in others.
        """
        self._gate.failed(item.where.sequence, error)
        item.tries += 1
        if item.tries >= self._policy.deliveries and not self._gate.is_closed:
            self._lanes.done(item.lane)
            item.lane = None
        self._later(item, 0.0 if self._gate.is_closed else self._policy.pause(item.tries))

    def _later(self, item: PendingMessage[_M], delay: float) -> None:
        asyncio.get_running_loop().call_later(delay, self._lanes.again, item)

    def drop(self, item: PendingMessage[_M]) -> None:
        """Release a message whose delivery is obsolete."""
        self._gate.ended(item.where.sequence)
        item.release()
        self._holding.release(item)

    async def exhaust(self, item: PendingMessage[_M]) -> bool:
        """Give up a message that failed, or was delivered, too often; return whether it did."""
        failed = self._gate.attempts(item.where.sequence) >= self._policy.deliveries
        # Deliveries while it was held here say only that this process is slow.
        if not failed and not self.failures.is_exhausted(item.where.delivered):
            return False
        await self._carry_out(item, Verdict("quarantine", reason="handler"), None)
        return True

    def _settle(self, item: PendingMessage[_M], *, handled: bool) -> None:
        item.settle(handled=handled)
        item.is_settled = True
        if not item.is_forsaken:  # otherwise the counts belong to another delivery
            self.failures.settle(item.where.sequence)
            self._gate.settle(item.where.sequence)

    # --- giving up --------------------------------------------------------------------------------

    async def give_up(self, item: PendingMessage[_M], reason: Reason) -> None:
        """Quarantine a message, settle it, then terminate it; interrupted, it is redelivered."""
        unproven = reason == "undecryptable"
        sequence = item.where.sequence
        record = QuarantineRecord(
            self._stream,
            self._durable,
            sequence,
            item.where.stored_ns // 1_000_000,
            item.raw.subject,
            reason,
            item.raw.headers,
            item.raw.data,
        )
        try:
            if not unproven:
                kept = await self._quarantine.keep_proven(record)
            else:
                kept = await self._quarantine.keep_unproven(record, must=await self._must_record())
                if kept and not self._proof.is_proved:
                    self._proof.recorded(self._quarantine.share(record))
            # Only the proven quarantine discards nothing (docs/spec/envelope.md, E-85).
            self._settle(item, handled=kept and not unproven)
            # Others see only these two reasons (E-90).
            await self._answers.finish(item, term("undecryptable" if unproven else "refused"))
        except ConnectionFailedError:
            return  # `run` ends, and the message is redelivered
        finally:
            self._holding.leaving -= unproven
            item.release()
            self._holding.release(item)
        self._status.tell("quarantined" if kept else "lost", item.code, sequence)
        await self._pull()

    async def _must_record(self) -> bool:
        """Return whether an unproven message is terminated only once it has a record."""
        if self._policy.strangers == "drop":
            return False
        if self._deletes is None:
            self._deletes = asyncio.create_task(self._ask_retention())
        return await asyncio.shield(self._deletes)

    async def _ask_retention(self) -> bool:
        """Return whether termination deletes messages, or might."""
        try:
            config = await self._api.stream_config(self._stream)
        except XKeyMsgError:  # not permitted, or no reply
            return True
        return config.get("retention") != "limits"

    async def leave(self, timeout: float) -> None:
        """Return all messages to other workers, without waiting for `ack_wait`, at a stop.

        Those that are handled wait for the answer about the durable: returned, they would be
        handled again. Those that the server will not redeliver are quarantined, within `timeout`.
        """
        held = list(self._holding)
        for item in held:
            if item.is_settled or item.is_forsaken or self.failures.is_last(item.delivered):
                continue
            if not await self._answers.give(item, nak(0)):
                break  # the server is out of reach; it delivers the rest again after `ack_wait`
        await self._keep(
            [each for each in held if self.failures.is_last(each.delivered)], timeout=timeout
        )

    async def _keep(self, items: Iterable[PendingMessage[Any]], *, timeout: float) -> None:
        keeping = [
            asyncio.create_task(self.give_up(item, "handler"))
            for item in items
            if item.message and not item.is_settled
        ]
        if keeping:
            _, late = await asyncio.wait(keeping, timeout=timeout)
            for task in late:
                task.cancel()
