"""Makes any envelope, right or wrong: sealing as in the reference, with every stage open to edits.

An edit gets what a stage has made and returns what shall stand there instead. Everything behind a
stage follows from the edited value: D is signed, T hashed and each wrap made over the bytes as they
are by then, so that a fault lies where it is put and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from tests.reference import Part, crypto
from tests.reference.encoding import array, bh, binary
from tests.reference.head import ARRAY_OF_6, MAGIC, Head
from tests.reference.seal import Row, seal_part, seal_view, sign, view_list
from tests.vectors.people import To

Bytes = Callable[[bytes], bytes]
Items = Callable[[list[bytes]], list[bytes]]


class Edits(TypedDict, total=False):
    """The stages, in the order in which they come."""

    model: Callable[[Head], Head]  # the head as values; all keys follow from it
    head_fields: Items  # its six encodings
    head: Bytes
    head_element: Bytes  # with the header of the bin
    rows: Callable[[list[Row]], list[Row]]  # recipients, sorted by tag
    tags: Bytes
    tags_element: Bytes
    lists: Items  # the plaintexts of the views
    views: Items
    views_element: Bytes
    parts: Items
    parts_element: Bytes
    sign: Bytes  # from the message that is signed to a signature
    signature: Bytes
    signature_element: Bytes
    wraps_header: Bytes
    aad: Bytes  # T
    wraps: Items
    envelope: Bytes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is sealed, before edits."""

    e: bytes
    head: Head
    recipients: Sequence[To]
    parts: Sequence[Part]
    content_keys: Sequence[bytes]
    view_keys: Sequence[bytes]
    signing_seed: bytes | None

    @property
    def grants(self) -> list[frozenset[int]]:
        """One per view."""
        if len(self.parts) == 1:
            return []
        return list(dict.fromkeys(one.grants for one in self.recipients))

    def row(self, head: Head, one: To) -> Row:
        """From the recipient's side, which has no need of s and e: any S and E will do."""
        who = one.person
        dh_s, dh_e = crypto.x25519(who.secret, head.S), crypto.x25519(who.secret, head.E)
        tag_key, auth_key = crypto.pair_keys(dh_s, head.S, who.xkey, one.user)
        index = self.grants.index(one.grants) if self.grants else 0
        key = self.view_keys[index] if self.grants else self.content_keys[0]
        k = crypto.wrap_key(auth_key, dh_e, head.E, who.xkey)
        k = bytes(32) if one.spoiled else k
        return Row(crypto.tag_of(tag_key, head.E), k, index, key)


def same(value: bytes) -> bytes:
    return value


def same_head(head: Head) -> Head:
    return head


def same_rows(rows: list[Row]) -> list[Row]:
    return rows


def same_items(items: list[bytes]) -> list[bytes]:
    return items


def forge(plan: Plan, edits: Edits) -> bytes:
    head = edits.get("model", same_head)(plan.head)
    rows = sorted((plan.row(head, one) for one in plan.recipients), key=lambda row: row.tag)
    rows = edits.get("rows", same_rows)(rows)
    envelope = MAGIC + ARRAY_OF_6 + head_element(head, edits)
    tags = edits.get("tags", same)(b"".join(row.tag for row in rows))
    envelope += edits.get("tags_element", same)(binary(tags))
    envelope += views_element(plan, head, edits) + parts_element(plan, head, edits)
    envelope += signature_element(plan, envelope, edits)
    wraps_header = binary(bytes(49 * len(rows)))[: bh(49 * len(rows))]
    envelope += edits.get("wraps_header", same)(wraps_header)
    t = edits.get("aad", same)(crypto.sha256(envelope))
    wraps = [row.wrap(head.nonce, t) for row in rows]
    envelope += b"".join(edits.get("wraps", same_items)(wraps))
    return edits.get("envelope", same)(envelope)


def head_element(head: Head, edits: Edits) -> bytes:
    fields = edits.get("head_fields", same_items)(head.fields())
    encoded = edits.get("head", same)(array(fields))
    return edits.get("head_element", same)(binary(encoded))


def views_element(plan: Plan, head: Head, edits: Edits) -> bytes:
    lists = [view_list(grants, tuple(plan.content_keys)) for grants in plan.grants]
    lists = edits.get("lists", same_items)(lists)
    views = [seal_view(entries, plan.view_keys[v], head, v) for v, entries in enumerate(lists)]
    views = edits.get("views", same_items)(views)
    return edits.get("views_element", same)(array(map(binary, views)))


def parts_element(plan: Plan, head: Head, edits: Edits) -> bytes:
    parts = [seal_part(part, plan.content_keys[j], head, j) for j, part in enumerate(plan.parts)]
    parts = edits.get("parts", same_items)(parts)
    return edits.get("parts_element", same)(array(map(binary, parts)))


def signature_element(plan: Plan, before: bytes, edits: Edits) -> bytes:
    message = crypto.signed_message(crypto.sha256(before))
    signature = b""
    if "sign" in edits:
        signature = edits["sign"](message)
    elif plan.signing_seed is not None:
        signature = sign(plan.signing_seed, message)
    signature = edits.get("signature", same)(signature)
    return edits.get("signature_element", same)(binary(signature))
