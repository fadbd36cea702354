"""Vectors of sealing (spec, Sealing vectors): vectors/seal.json. The sealer draws all numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.reference import Inputs, Part, Recipient, RefusalError, nkeystring, seal_envelope
from tests.reference.content import MessageArray, read_message_array
from tests.reference.limits import Limits
from tests.vectors.people import ALICE, BOB, CAROL, Draw, crowd
from tests.vectors.vector import NOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A payload to seal, and the outcome."""

    name: str
    spec: tuple[str, ...]
    comment: str
    expect: str = "success"
    to: tuple[str, ...] = (BOB.xkey_text,)
    signer: str | None = None
    subject: str = "orders"
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    payload: bytes = b"hello"
    lifetime: int | None = None
    """Milliseconds from created to expires."""
    recipients: int = 1

    def json(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "name": self.name,
            "expect": self.expect,
            "spec": list(self.spec),
            "comment": self.comment,
            "identity": ALICE.seed_text,
            "signer": self.signer,
            "to": list(self.to),
            "subject": self.subject,
            "content-type": self.content_type,
            "headers": [list(header) for header in self.headers],
            "payload": self.payload.hex(),
            "lifetime": self.lifetime,
        }
        if self.expect != "success":
            return shown
        return {**shown, "recipients": self.recipients, "length": len(sealed(self))}


def sealed(order: Order) -> bytes:
    """Seal with the reference.

    Raises:
        RefusalError: If the sealer has to refuse the order (E-9).
    """
    draw = Draw(f"seal/{order.name}")
    array = MessageArray(order.content_type, order.headers)
    part = Part(0, order.payload)
    if array != MessageArray():
        part = Part(2, array.encode() + order.payload)
        read_message_array(part.plaintext, Limits())
    pairs = [text.split(" ") for text in order.to]
    recipients = tuple(
        Recipient(R=nkeystring.xkey(x), U=nkeystring.user(user[0]) if user else bytes(32))
        for x, *user in pairs
    )
    seed = None if order.signer is None else nkeystring.user_seed(order.signer)
    return seal_envelope(
        Inputs(
            s=ALICE.secret,
            e=draw.take(32),
            nonce=b"\x00\x00\x00\x01" + draw.take(8),
            created_ms=NOW,
            subject=order.subject,
            recipients=recipients,
            parts=(part,),
            content_keys=(draw.take(32),),
            identity=None if seed is None else ALICE.user,
            expires_ms=None if order.lifetime is None else NOW + order.lifetime,
            signing_seed=seed,
        )
    )


def outcome(order: Order) -> str:
    try:
        sealed(order)
    except RefusalError as refused:
        return refused.code
    return "success"


BAD_SUBJECTS: Final = {
    "empty": "",
    "with_a_space": "or ders",
    "with_a_tab": "or\tders",
    "with_nul": "orders\x00",
    "with_delete": "orders\x7f",
    "with_a_star": "orders.*",
    "with_a_greater": "orders.>",
    "with_a_dot_first": ".orders",
    "with_a_dot_last": "orders.",
    "with_two_dots": "orders..eu",
}


@cache
def everything() -> tuple[Order, ...]:
    signer = nkeystring.user_seed_text(ALICE.signing_seed)
    bob, carol = BOB.xkey_text, CAROL.xkey_text
    many = tuple(one.person.xkey_text for one in crowd(1025))
    refused = [
        Order(
            name=f"subject_{name}",
            spec=("E-9", "E-20"),
            comment="A reader would refuse this subject",
            expect="malformed",
            subject=subject,
        )
        for name, subject in BAD_SUBJECTS.items()
    ]
    return (
        Order(name="plain", spec=("E-9",), comment="One recipient"),
        Order(name="signed", spec=("E-9",), comment="A signature sets identity", signer=signer),
        Order(name="empty_payload", spec=("E-9",), comment="No bytes", payload=b""),
        Order(
            name="content_type_and_headers",
            spec=("E-9", "E-59"),
            comment="A part of type 2",
            content_type="text/plain",
            headers=(("A", "b"), ("A", "c")),
        ),
        Order(
            name="empty_content_type",
            spec=("E-59",),
            comment="Empty is not the same as none",
            content_type="",
        ),
        Order(
            name="recipient_twice",
            spec=("E-28",),
            comment="Equal recipients are merged",
            to=(bob, bob),
        ),
        Order(
            name="recipient_as_two_users",
            spec=("E-28",),
            comment="A recipient is a pair of R and U",
            to=(bob, f"{bob} {BOB.user_text}", f"{bob} {CAROL.user_text}"),
            recipients=3,
        ),
        Order(
            name="recipient_as_a_user_twice",
            spec=("E-28",),
            comment="Equal pairs are merged",
            to=(f"{bob} {BOB.user_text}", carol, f"{bob} {BOB.user_text}"),
            recipients=2,
        ),
        Order(
            name="recipient_1025_times",
            spec=("E-28", "E-30"),
            comment="The limit counts different recipients",
            to=(bob,) * 1025,
        ),
        Order(
            name="to_oneself",
            spec=("E-28",),
            comment="A sender may seal to its own key",
            to=(ALICE.xkey_text,),
        ),
        Order(
            name="recipients_1025",
            spec=("E-9", "E-30"),
            comment="One too many",
            expect="limit_exceeded",
            to=many,
        ),
        Order(
            name="recipients_none",
            spec=("E-9", "E-31"),
            comment="An envelope has at least one",
            expect="malformed",
            to=(),
        ),
        Order(
            name="subject_of_255_bytes",
            spec=("E-9", "E-16"),
            comment="The longest subject",
            subject="s" * 255,
        ),
        Order(
            name="subject_of_256_bytes",
            spec=("E-9", "E-16"),
            comment="One byte too many",
            expect="limit_exceeded",
            subject="s" * 256,
        ),
        Order(
            name="subject_of_256_bytes_in_128_letters",
            spec=("E-9", "E-16"),
            comment="Bytes count, not letters",
            expect="limit_exceeded",
            subject="\u00e9" * 128,
        ),
        *refused,
        Order(
            name="lifetime_of_a_millisecond",
            spec=("E-9",),
            comment="It expires after it was created",
            lifetime=1,
        ),
        Order(
            name="lifetime_of_nothing",
            spec=("E-9",),
            comment="It would expire when it is created",
            expect="expired",
            lifetime=0,
        ),
        Order(
            name="lifetime_negative",
            spec=("E-9",),
            comment="It would expire before it is created",
            expect="expired",
            lifetime=-1000,
        ),
        Order(
            name="headers_1000",
            spec=("E-9", "E-60"),
            comment="As many as there can be",
            headers=(("n", "v"),) * 1000,
        ),
        Order(
            name="headers_1001",
            spec=("E-9", "E-60"),
            comment="One too many",
            expect="limit_exceeded",
            headers=(("n", "v"),) * 1001,
        ),
        Order(
            name="content_type_that_fills_the_array",
            spec=("E-9", "E-60"),
            comment="The array has 65,536 bytes",
            content_type="t" * 65_531,
        ),
        Order(
            name="content_type_too_long",
            spec=("E-9", "E-60"),
            comment="The array would have 65,537 bytes",
            expect="limit_exceeded",
            content_type="t" * 65_532,
        ),
    )


def as_json() -> str:
    objects = [order.json() for order in everything()]
    return json.dumps(objects, indent=1, ensure_ascii=True) + "\n"
