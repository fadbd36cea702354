"""The reference for fields, plugged into the runner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tests.reference import fields_join, fields_policy, fields_split
from tests.reference.fields_model import WITHHELD, FieldLimits, FieldsRefusalError, Marker
from tests.vectors.fields_runner import Joined, Order, PolicyFile, RefusedError, Split


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except FieldsRefusalError as refused:
        raise RefusedError(
            refused.code, pointers=refused.pointers, line=refused.line, number=refused.number
        ) from refused


class Reference:
    withheld: Final[Marker] = WITHHELD

    def join(self, parts: Sequence[bytes], total: int, limits: FieldLimits) -> Joined:
        with refusals():
            joined = fields_join.join(parts, total, limits)
        return Joined(joined.document, joined.withheld)

    def split(self, order: Order) -> Split:
        rules = tuple(fields_policy.Rule(held, pattern) for held, pattern in order.rules)
        policy = fields_policy.Policy(rules, order.allow_unread)
        with refusals():
            made = fields_split.split(
                order.document, policy, order.readers, order.limits, metadata=order.metadata
            )
        return Split([(part.permissions, part.plaintext) for part in made.parts], made.grants)

    def read_policy(self, file: bytes) -> PolicyFile:
        with refusals():
            policy = fields_policy.read_policy(file)
        return PolicyFile(
            [(rule.permissions, rule.pattern) for rule in policy.rules], policy.allow_unread
        )

    def read_readers(self, file: bytes) -> object:
        with refusals():
            return fields_policy.read_readers(file)
