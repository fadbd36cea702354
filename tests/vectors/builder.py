"""A scene: seals one message for a vector and says what a reader has to make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypedDict, TypeVar, Unpack

from tests.reference import Part, crypto
from tests.reference.content import MessageArray, pad, recommended_z
from tests.reference.encoding import array, binary, string
from tests.reference.head import Head
from tests.reference.seal import seal_part
from tests.vectors.forge import Edits, Plan, forge
from tests.vectors.people import ALICE, BOB, Draw, Person, To, to
from tests.vectors.report import reported
from tests.vectors.vector import ENVELOPE_LIMIT, NOW, Policy, Vector

HELLO: Final = b"hello"


class Options(Edits, total=False):
    """What is sealed, and the edits."""

    sender: Person
    to: Sequence[To]
    subject: str
    counter: int
    session: str  # label of e; a new one in each vector
    created: int
    revision: int
    identity: bytes
    expires: int
    signer: Person  # sets identity too


class Asked(TypedDict, total=False):
    """The reader, as in the header of a vector; Bob, who admits Alice's xkey."""

    identity: Sequence[Person]
    user: str
    zero_user: bool
    sender: Sequence[str]
    subject: Sequence[str]
    wire: str
    kind: Literal["payload", "document"]
    require_signature: bool
    now: int
    policy: str
    after: Sequence[Case]
    limit_envelope: int


@dataclass(frozen=True)
class Forged:
    """An envelope, the plan it was made from, and what its payload is."""

    envelope: bytes
    plan: Plan
    payload: bytes = b""


class Scene:
    """What a case gets: it seals, then states the outcome."""

    def __init__(self, name: str, comment: str) -> None:
        self.name = name
        self.comment = comment
        self.forged: Forged | None = None
        self._draw = Draw(name)

    def keep(self, forged: Forged) -> Forged:
        self.forged = forged
        return forged

    def take(self, k: int) -> bytes:
        return self._draw.take(k)

    def plan(self, parts: Sequence[Part], options: Options) -> Plan:
        sender = options.get("sender", ALICE)
        session = options.get("session")
        e = self.take(32) if session is None else Draw(f"session/{session}").take(32)
        signer = options.get("signer")
        nonce = options.get("counter", 1).to_bytes(4, "big") + self.take(8)
        head = Head(
            S=sender.xkey,
            E=crypto.pub(e),
            nonce=nonce,
            created_ms=options.get("created", NOW),
            subject=options.get("subject", "orders"),
            revision=options.get("revision"),
            identity=options.get("identity", None if signer is None else signer.user),
            expires_ms=options.get("expires"),
        )
        recipients = options.get("to", [to(BOB)])
        views = len({one.grants for one in recipients}) if len(parts) > 1 else 0
        return Plan(
            e=e,
            head=head,
            recipients=recipients,
            parts=parts,
            content_keys=[self.take(32) for _ in parts],
            view_keys=[self.take(32) for _ in range(views)],
            signing_seed=None if signer is None else signer.signing_seed,
        )

    def sealed(self, *contents: Part, **options: Unpack[Options]) -> Forged:
        """Any parts, with the plaintexts given."""
        plan = self.plan(contents, options)
        return self.keep(Forged(forge(plan, options), plan))

    def part(self, plan: Plan, j: int) -> bytes:
        """A part of another message."""
        return seal_part(plan.parts[j], plan.content_keys[j], plan.head, j)

    def payload(self, payload: bytes = HELLO, **options: Unpack[Options]) -> Forged:
        """A message of type 0."""
        made = self.sealed(Part(0, payload), **options)
        return self.keep(replace(made, payload=payload))

    def message(
        self, encoded_array: bytes, payload: bytes = HELLO, **options: Unpack[Options]
    ) -> Forged:
        """A message of type 2."""
        made = self.sealed(Part(2, encoded_array + payload), **options)
        return self.keep(replace(made, payload=payload))

    def raw(self, envelope: bytes) -> Forged:
        """Bytes that nobody sealed."""
        return Forged(envelope, self.plan((), {}))

    def same_as(self, case: Case) -> Forged:
        """The envelope of another vector, byte for byte."""
        other = Scene(case.__name__, self.comment)
        case(other)
        assert other.forged is not None
        return other.forged

    def success(
        self, forged: Forged, *spec: str, content: bytes | None = None, **asked: Unpack[Asked]
    ) -> Vector:
        head = forged.plan.head
        return self.vector(
            "success",
            forged,
            spec,
            asked,
            content=forged.payload if content is None else content,
            message_id=crypto.message_id(head.S, head.E, head.nonce),
        )

    def undecryptable(
        self, code: str, forged: Forged, *spec: str, **asked: Unpack[Asked]
    ) -> Vector:
        """No wrap has verified."""
        return self.vector(code, forged, spec, asked, outside="undecryptable")

    def refused(self, code: str, forged: Forged, *spec: str, **asked: Unpack[Asked]) -> Vector:
        """Refused behind the wrap."""
        return self.vector(code, forged, spec, asked, outside="refused")

    def vector(
        self,
        expect: str,
        forged: Forged,
        spec: tuple[str, ...],
        asked: Asked,
        *,
        outside: str | None = None,
        content: bytes | None = None,
        message_id: bytes | None = None,
    ) -> Vector:
        return Vector(
            name=self.name,
            envelope=forged.envelope,
            expect=expect,
            outside=outside,
            spec=spec,
            comment=self.comment,
            identity=tuple(who.seed_text for who in asked.get("identity", [BOB])),
            user=asked.get("user"),
            zero_user=asked.get("zero_user", True),
            sender=tuple(asked.get("sender", [ALICE.xkey_text])),
            subject=tuple(asked.get("subject", [">"])),
            wire=asked.get("wire"),
            kind=asked.get("kind", "payload"),
            require_signature=asked.get("require_signature", False),
            now=asked.get("now", NOW),
            policy=Policy.parse(asked.get("policy", "file")),
            after=tuple(case.__name__ for case in asked.get("after", ())),
            limit_envelope=asked.get("limit_envelope", ENVELOPE_LIMIT),
            content=content,
            message_id=message_id,
        )


Case = Callable[[Scene], Vector]
Item = TypeVar("Item")


def comment_of(function: Callable[..., Vector]) -> str:
    assert function.__doc__, f"{function.__name__} says not what is wrong"
    return " ".join(function.__doc__.split())


def make(case: Case) -> Vector:
    """The vector of a case, which is named after its function."""
    return reported(case(Scene(case.__name__, comment_of(case))))


def each(
    **variants: Item,
) -> Callable[[Callable[[Scene, Item], Vector]], list[Case]]:
    """Several vectors of one kind: the name of each is that of the function and of the variant."""

    def expand(function: Callable[[Scene, Item], Vector]) -> list[Case]:
        def bind(name: str, item: Item) -> Case:
            def case(scene: Scene) -> Vector:
                return function(scene, item)

            case.__name__ = f"{function.__name__}_{name}"
            case.__doc__ = function.__doc__
            return case

        return [bind(name, item) for name, item in variants.items()]

    return expand


def replaced(at: int, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """An edit: another item in one place."""

    def edit(items: list[bytes]) -> list[bytes]:
        changed = list(items)
        changed[at] = new
        return changed

    return edit


def flipped(data: bytes, at: int = -1) -> bytes:
    """One bit of one byte changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def padded(kind: int, content: bytes, z: int | None = None) -> Part:
    """A padded part, by the recommended amount unless z says another."""
    return Part(16 + kind, pad(content, recommended_z(len(content)) if z is None else z))


def fields(letter: str, value: str) -> bytes:
    """The content of a part of type 1: one pair of a path of one step and a text."""
    return array([array([array([string(letter)]), binary(value.encode())])])


EMPTY_ARRAY: Final = MessageArray().encode()

NOT_UTF_8: Final = {
    "overlong_of_two": b"\xc1\x81",
    "overlong_of_three": b"\xe0\x80\xaf",
    "overlong_of_three_at_the_end": b"\xe0\x9f\xbf",
    "overlong_of_four": b"\xf0\x80\x80\xaf",
    "overlong_of_four_at_the_end": b"\xf0\x8f\xbf\xbf",
    "first_surrogate": b"\xed\xa0\x80",
    "last_surrogate": b"\xed\xbf\xbf",
    "pair_of_surrogates": b"\xed\xa0\xbd\xed\xb4\x92",
    "above_10ffff": b"\xf4\x90\x80\x80",
    "of_five_bytes": b"\xf8\x88\x80\x80\x80",
    "ff": b"\xff",
    "lone_continuation": b"\x80",
    "cut_after_two": b"\xe2\x82",
    "cut_after_three": b"\xf0\x9f\x94",
    "cut_before_ascii": b"\xe2\x82a",
}
"""Ill-formed texts by what is wrong with them."""
