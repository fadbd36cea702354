"""Every vector of the fields specification, through the package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.cases import check_each, for_each
from tests.reference.fields_model import FieldLimits
from tests.vectors.fields_runner import (
    FILES,
    Joined,
    Order,
    PolicyFile,
    RefusedError,
    Split,
    run,
)
from xkeymsg import WITHHELD, FieldDeniedError, Limits, Sealer, XKeyMsgError, XKeyPair
from xkeymsg.fields.files import parse_readers
from xkeymsg.fields.join import join
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.readers import KnownHolders
from xkeymsg.fields.split import split

KEYS = [XKeyPair(bytes(10) + number.to_bytes(22, "little")).public for number in range(1, 600)]


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except XKeyMsgError as error:
        text = str(error)
        line, number = re.search(r"line (\d+)", text), re.search(r"rule (\d+)", text)
        raise RefusedError(
            error.code,
            pointers=error.pointers if isinstance(error, FieldDeniedError) else (),
            line=int(line[1]) if line else None,
            number=int(number[1]) if number else None,
        ) from error


def limits_of(limits: FieldLimits) -> Limits:
    return Limits(depth=limits.depth, nodes=limits.nodes, fields=limits.fields, holes=limits.holes)


class Package:
    withheld = WITHHELD

    def join(self, parts: Sequence[bytes], total: int, limits: FieldLimits) -> Joined:
        with refusals():
            return Joined(join(parts, limits_of(limits)), total - len(parts))

    def split(self, order: Order) -> Split:
        keys = dict(zip(order.readers, KEYS, strict=False))
        with refusals():
            policy = Policy(
                [(pattern, sorted(held)) for held, pattern in order.rules],
                allow_unread=order.allow_unread,
            )
            readers = {
                permission: [
                    keys[name] for name, held in order.readers.items() if permission in held
                ]
                for permission in policy.permissions
            }
            limits = limits_of(order.limits)
            sealer = Sealer(XKeyPair.generate(), limits=limits)
            headers = {"A": "b"} if order.metadata else {}
            sealer.seal_document(
                order.document, policy=policy, readers=readers, subject="a", headers=headers
            )
            parts, sets, _ = split(order.document, policy, limits)
            grants = KnownHolders().of(policy, readers).grants(sets)
        names = {bytes(key): name for name, key in keys.items()}
        granted = {names[bytes(one.key)]: positions for one, positions in grants.items()}
        return Split([(part.permissions, part.plaintext) for part in parts], granted)

    def read_policy(self, file: bytes) -> PolicyFile:
        with refusals():
            policy = Policy.parse(file.decode(), source="policy.toml")
        rules = [
            (frozenset(held), patterns[0] if len(patterns) == 1 else patterns)
            for patterns, held in policy.rules
        ]
        return PolicyFile(rules, policy.allow_unread)

    def read_readers(self, file: bytes) -> object:
        with refusals():
            return parse_readers(file.decode())


@for_each("file", FILES)
def test_vectors(file: str) -> None:
    check_each(FILES[file], lambda vector: run(vector, Package()))
