"""Documents split by permission: the hospital's FHIR resources, for 20 readers in 4 roles.

- *xkeymsg* seals one message for all readers; each opens what it may see.
- *xkv1 boxes*: what one does without it. The document is filtered and dumped once for each role,
  and sealed to each reader of the role in a box of its own, with warm keys.
- *joserfc*: one JWE for each role, with its readers as recipients. ECDH-ES authenticates no sender;
  ECDH-1PU, the only one of joserfc's that does, costs each reader an X25519 more.
- *json.dumps* and *json.loads* of the whole documents, without any cryptography.

One operation is the whole set, or its resources of 2.5 to 3.5 KB. Filtering uses the compiled
policy, so that all contenders match alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Contender, repeated
from benchmarks.promises import Figure, Table
from benchmarks.report import AnyPromise, Promise, Report
from benchmarks.schemes.jose import JOSERFC, JOSERFC_1PU
from xkeymsg import AtRest, Opener, Policy, Recipient, Sealer, XKeyPair, primitives, xkv1
from xkeymsg.envelope.plan import Sharing
from xkeymsg.envelope.seal import Plan, assemble
from xkeymsg.envelope.session import Session
from xkeymsg.fields.matching import NO_PATTERN, State
from xkeymsg.fields.plaintext import pack
from xkeymsg.fields.readers import KnownHolders
from xkeymsg.fields.split import Part, _Splitter, split
from xkeymsg.limits import Limits

__all__ = ("PROMISES", "suite")

_HOSPITAL = Path(__file__).parent.parent / "examples" / "hospital"
_ROLES = ("clinic", "billing", "research", "audit")
_EACH = 5
_SUBJECT = "ehr.resources"
_WITHHELD = object()

_OURS, _BOXES, _PLAIN = "xkeymsg", "xkv1 boxes", "json.dumps"
_JWES = (JOSERFC, JOSERFC_1PU)
_BOUND = "4 times json.loads and bare decrypts"
_STRICT = "4 times json.loads, and bare decrypts once"
_BYTES = "bytes for 20 readers"

Document = dict[str, Any]

PROMISES: tuple[AnyPromise, ...] = (
    Promise(title="seal the set", of=_BOXES, against=_OURS, target="≥ 1.3"),
    Promise(title="seal 2.5 to 3.5 KB", of=_BOXES, against=_OURS, target="≥ 1.3"),
    *(
        Promise(title="seal a sample", of=scheme.name, against=_OURS, target="≥ 15")
        for scheme in _JWES
    ),
    *(
        Promise(title=f"open the set as {role}", of=_OURS, against=bound, target="≤ 1")
        for bound in (_BOUND, _STRICT)
        for role in _ROLES
    ),
    Figure(title=_BYTES, of="times as many in boxes", column="the set", target="≥ 5"),
    Figure(title=_BYTES, of="times as many in boxes", column="2.5 to 3.5 KB", target="≥ 5"),
)


class _World:
    """Keys, policy and documents."""

    def __init__(self) -> None:
        lines = (_HOSPITAL / "patients.ndjson").read_text().splitlines()
        self.texts = {
            "the set": lines,
            "2.5 to 3.5 KB": [line for line in lines if 2500 <= len(line) <= 3500],
        }
        self.documents = {
            name: [_document(line) for line in texts] for name, texts in self.texts.items()
        }
        self.policy = Policy.load(_HOSPITAL / "policy.toml")
        self.sender = XKeyPair.generate()
        self.pairs = {role: [XKeyPair.generate() for _ in range(_EACH)] for role in _ROLES}
        self.readers = {role: [pair.public for pair in pairs] for role, pairs in self.pairs.items()}
        self.sealer = Sealer(self.sender)

    def seal(self, document: Document) -> bytes:
        return self.sealer.seal_document(
            document, policy=self.policy, readers=self.readers, subject=_SUBJECT
        )

    def plan(self, document: Document) -> tuple[list[Part], dict[Recipient, set[int]]]:
        """Return the parts of a document, and who may open which."""
        parts, sets, _ = split(document, self.policy, Limits())
        return parts, KnownHolders().of(self.policy, self.readers).grants(sets)

    def boxes(self, document: Document) -> list[bytes]:
        return [
            xkv1.seal(data, key=self.sender, to=reader)
            for role in _ROLES
            if (data := self.dumped(document, role))
            for reader in self.readers[role]
        ]

    def dumped(self, document: Document, role: str) -> bytes:
        """Return what a role may see as JSON, or nothing."""
        held = [role in rule.permissions for rule in self.policy.rules for _ in rule.patterns]
        seen = _filtered(document, self.policy.start, held)
        return b"" if seen is _WITHHELD else json.dumps(seen).encode()


def _document(line: str) -> Document:
    resource = json.loads(line)
    return {resource["resourceType"]: resource}


def _filtered(value: Any, state: State, held: list[bool]) -> Any:
    """Return what those rules show of a value, as a program without documents would."""
    if not value or type(value) not in (dict, list) or state.below_set is not None:
        return value if state.rule != NO_PATTERN and held[state.rule] else _WITHHELD
    if type(value) is dict:
        names = tuple(value)
        states = state.members.get(names) or state.learn(names, careful=True)
        members = zip(value.items(), states, strict=True)
        seen: Any = {
            name: shown
            for (name, each), child in members
            if (shown := _filtered(each, child, held)) is not _WITHHELD
        }
    else:
        items = zip(value, state.items(len(value), careful=True), strict=True)
        seen = [
            shown
            for each, child in items
            if (shown := _filtered(each, child, held)) is not _WITHHELD
        ]
    return seen or _WITHHELD


def suite(report: Report) -> None:
    """Measure sealing, opening by role, the stages of sealing, and bytes."""
    world = _World()
    for name in world.texts:
        report.measure(_title(name), list(_sealing(world, name)), baseline=_OURS)
    if JOSERFC.is_installed:
        report.measure("seal a sample", list(_sample(world)), baseline=_OURS)
    else:
        report.leave_out(JOSERFC.needs, "it is not installed (extra `bench`)")
    for role in _ROLES:
        report.measure(f"open the set as {role}", list(_opening(world, role)), baseline=_BOUND)
    report.measure("stages of sealing the set", list(_stages(world)), baseline="all")
    report.add_table(_BYTES, _bytes(world))


def _title(name: str) -> str:
    return f"seal {name}"


def _each(operation: Callable[[Any], object], things: list[Any]) -> Callable[[], None]:
    def run() -> None:
        for thing in things:
            operation(thing)

    return run


def _sealing(world: _World, name: str) -> Iterator[Contender]:
    documents = world.documents[name]
    for label, operation in ((_OURS, world.seal), (_BOXES, world.boxes), (_PLAIN, json.dumps)):
        yield Contender(name=label, batch=repeated(_each(operation, documents)), warm_up=1)


def _sample(world: _World) -> Iterator[Contender]:
    """Take every fiftieth document: a JWE takes milliseconds."""
    documents = world.documents["the set"][::50]
    yield Contender(name=_OURS, batch=repeated(_each(world.seal, documents)), warm_up=1)
    for scheme in _JWES:
        jobs = [
            scheme.prepare(_EACH, data).seal
            for document in documents
            for role in _ROLES
            if (data := world.dumped(document, role))
        ]
        batch = repeated(_each(lambda seal: seal(), jobs))
        yield Contender(name=scheme.name, batch=batch, warm_up=0)


def _opening(world: _World, role: str) -> Iterator[Contender]:
    opener = Opener(world.pairs[role][0], senders={world.sender.public}, replay=AtRest())
    open_ = partial(opener.open_document, subject=_SUBJECT)
    texts, envelopes, contents = [], [], []
    for text, document in zip(world.texts["the set"], world.documents["the set"], strict=True):
        parts, grants = world.plan(document)
        granted = [numbers for one, numbers in grants.items() if one.key == opener_key(world, role)]
        if granted:
            texts.append(text)
            envelopes.append(world.seal(document))
            view = [bytes(33 * len(granted[0]))] if len(parts) > 1 else []
            contents.append(view + [parts[number].plaintext for number in granted[0]])
    yield Contender(name=_OURS, batch=repeated(_each(open_, envelopes)), warm_up=1)
    yield from _bounds(texts, contents)


def _bounds(texts: list[str], contents: list[list[bytes]]) -> Iterator[Contender]:
    """Read the whole resources, and decrypt what xkm1 has of them: wrap, view and parts.

    View and parts are each under a key of their own. That of the wrap is kept for a session.
    """
    nonce, key, transcript = bytes(12), bytes(32), bytes(32)
    wrap = primitives.AEAD(key)
    wrapped = wrap.encrypt(nonce, bytes(33), transcript)
    sealed = [[wrap.encrypt(nonce, each, None) for each in several] for several in contents]

    def decrypt(ciphertexts: list[bytes]) -> None:
        wrap.decrypt(nonce, wrapped, transcript)
        for each in ciphertexts:
            primitives.AEAD(key).decrypt(nonce, each, None)

    read, decrypted = _each(json.loads, texts), _each(decrypt, sealed)

    def bound(decrypts: int) -> None:
        for _ in range(4):
            read()
        for _ in range(decrypts):
            decrypted()

    yield Contender(name=_BOUND, batch=repeated(partial(bound, 4)), warm_up=1)
    yield Contender(name=_STRICT, batch=repeated(partial(bound, 1)), warm_up=1)
    yield Contender(name="json.loads", batch=repeated(read), warm_up=1)
    yield Contender(name="bare decrypts", batch=repeated(decrypted), warm_up=1)


def opener_key(world: _World, role: str) -> object:
    """Return the key of a role's first reader."""
    return world.readers[role][0]


class _Job(NamedTuple):
    """A document that is split, ready to be encrypted."""

    contents: list[tuple[int, bytes]]
    plan: Plan
    keys: list[bytes]


def _jobs(world: _World, session: Session) -> Iterator[_Job]:
    for document in world.documents["the set"]:
        parts, grants = world.plan(document)
        sets = {one: frozenset(numbers) for one, numbers in grants.items()}
        sharing = Sharing(sets, len(parts))
        keys = session.draw_keys(len(parts) + len(sharing.views), 0)
        plan = session.plan(sharing, _SUBJECT, b"")
        yield _Job([(1, part.plaintext) for part in parts], plan, keys)


def _stages(world: _World) -> Iterator[Contender]:
    """Time the stages alone; what is between them is in none."""
    documents = world.documents["the set"]
    session = Session(world.sender, world.sealer._pairs)
    jobs = list(_jobs(world, session))
    nonce, key, transcript = session.next_nonce(0)[0], bytes(32), bytes(32)

    def visit(document: Document) -> object:
        return _Splitter(Limits(), careful=True).visit(document, world.policy.start)

    def encrypt(job: _Job) -> object:
        return assemble(job.plan, nonce, 2**40, job.contents, job.keys, None)

    def wrap(job: _Job) -> None:
        for each in job.plan.audience.wraps:
            each(nonce, b"\0" + key, transcript)

    pairs = [part.pairs for document in documents for part in world.plan(document)[0]]
    stages: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "all": (world.seal, documents),
        "match and split": (visit, documents),
        "pack": (pack, pairs),
        "encrypt": (encrypt, jobs),
        "of that, wrap": (wrap, jobs),
    }
    for name, (operation, things) in stages.items():
        yield Contender(name=name, batch=repeated(_each(operation, things)), warm_up=1)


def _bytes(world: _World) -> Table:
    rows: dict[str, dict[str, float | None]] = {}
    for name, documents in world.documents.items():
        ours = sum(len(world.seal(document)) for document in documents)
        boxes = sum(len(box) for document in documents for box in world.boxes(document))
        plain = sum(map(len, world.texts[name]))
        for row, figure in (
            (_OURS, ours),
            (_BOXES, boxes),
            ("plain JSON, once", plain),
            ("times as many in boxes", boxes / ours),
        ):
            rows.setdefault(row, {})[name] = figure
    return rows
