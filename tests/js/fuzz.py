"""Compares the npm package with this one: the same verdict, and the same code, for each message.

Messages are sealed by either side, altered on the way, or forged by a malicious sender so that the
wraps verify and later checks are reached. Run it with `python -m tests.js.fuzz --count 100000`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random  # noqa: TID251 - the same cases for a seed
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, pair, raw_user, user
from tests.envelope.forge import (
    CONTENT_KEYS,
    FIELDS,
    MESSAGE,
    METADATA,
    PADDED,
    PAYLOAD,
    VIEW_KEYS,
    Pieces,
    Rogue,
    grant_list,
)
from tests.js.documents import Documents
from tests.js.package import built
from tests.js.peer import EPOCH, Peer, shown
from tests.reference.encoding import Cursor, array
from xkeymsg import (
    ANYONE,
    AtRest,
    ConfigurationError,
    Keyring,
    Opener,
    Peers,
    Policy,
    PolicyError,
    Recipient,
    Sealer,
    UserKey,
    XKey,
    XKeyMsgError,
    XKeyPair,
    nkey,
)
from xkeymsg.fields.files import parse_readers

BATCH: Final = 200
READERS: Final = (BOB, CAROL, pair(7))
CAROL_USER: Final = user(9)
USER_SEED: Final = nkey.encode_seed(nkey.Prefix.USER, hashlib.sha256(b"user 0").digest())
"""Of ALICE_USER."""


class Case(NamedTuple):
    """A request to the other side, and what this side answers."""

    request: dict[str, Any]
    ours: Callable[[], dict[str, Any]]
    label: str


def outcome(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return make()
    except XKeyMsgError as error:
        pointers = getattr(error, "pointers", None)
        return {
            "code": error.code,
            "public": error.public_code,
            "pointers": list(pointers) if pointers is not None else None,
            "count": getattr(error, "count", None),
        }


OPENERS: Final[dict[str, Opener]] = {}


def opening(
    envelope: bytes,
    label: str,
    *,
    reader: XKeyPair = BOB,
    own: str | None = None,
    senders: Mapping[str, str | None] | None = None,
    document: bool = False,
    require: bool = False,
) -> Case:
    """Let both sides open an envelope."""
    lines = [f"{key} {name}" if name else key for key, name in (senders or {}).items()]
    request = {
        "op": "open",
        "seed": reader.seed(),
        "user": own,
        "senders": lines,
        "document": document,
        "require": require,
        "envelope": envelope.hex(),
    }

    def ours() -> dict[str, Any]:
        key = json.dumps([str(reader.public), own, lines, require])
        if key not in OPENERS:
            admitted: Any = ANYONE
            if senders:
                users = {XKey.parse(key): name for key, name in senders.items()}
                admitted = users if any(users.values()) else set(users)
            OPENERS[key] = Opener(
                Keyring(reader, user=own), admitted, replay=AtRest(), require_signature=require
            )
        opener = OPENERS[key]
        message = (opener.open_document if document else opener.open)(envelope, subject=">")
        return {
            "content": shown(message.document) if document else message.data.hex(),  # type: ignore[attr-defined]
            "withheld": message.withheld if document else 0,  # type: ignore[attr-defined]
            "about": [
                message.subject,
                str(message.sender),
                message.signer,
                message.admitted,
                message.message_id.hex(),
            ],
            "metadata": [message.content_type, [list(each) for each in message.headers.pairs]],
            "times": [(message.created - EPOCH) // timedelta(milliseconds=1), message.revision],
        }

    return Case(request, lambda: outcome(ours), label)


class Fuzzer:
    """Makes cases from one seed."""

    def __init__(self, seed: int, peer: Peer) -> None:
        self.random = random.Random(seed)
        self.documents = Documents(self.random)
        self.peer = peer
        self.outcomes: Counter[str] = Counter()

    def run(self, count: int) -> None:
        """Compare `count` messages.

        Raises:
            AssertionError: If the two sides differ.
        """
        cases = self._cases()
        for start in range(0, count, BATCH):
            batch = [next(cases) for _ in range(min(BATCH, count - start))]
            for case, theirs in zip(
                batch, self.peer.ask([each.request for each in batch]), strict=True
            ):
                ours = case.ours()
                assert "crash" not in theirs, (case.label, case.request, theirs)
                assert theirs == ours, (case.label, case.request, theirs, ours)
                self.outcomes[f"{case.label}: {ours.get('code', 'opened')}"] += 1

    def _cases(self) -> Iterator[Case]:
        kinds = (
            self._genuine,
            self._theirs,
            self._body,
            self._head,
            self._parts,
            self._arrays,
            self._fields,
            self._policies,
            self._files,
        )
        while True:
            yield from self.random.choice(kinds)()

    def _altered(self, data: bytes) -> bytes:
        """Replace, insert or remove bytes at one to three places."""
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randint(0, len(data))
            other = self.random.choice(
                [
                    self.random.randbytes(self.random.randint(0, 4)),
                    bytes([self.random.choice(SPECIAL)]),
                ]
            )
            data = data[:at] + other + data[at + self.random.randint(0, 4) :]
        if self.random.random() < 0.1:
            data = data[: self.random.randint(0, len(data))]
        return data

    def _options(self) -> dict[str, Any]:
        chance = self.random.random
        return {
            "subject": self.random.choice(["orders.new", "a", "ä.ö", "x" * 255, "_XKM.REPLY.x"]),
            "headers": [[self.documents.text(), self.documents.text()] for _ in range(3)]
            if chance() < 0.3
            else [],
            "content_type": self.documents.text() if chance() < 0.3 else None,
            "revision": self.random.choice([None, 0, 1, 2**53 - 1]),
        }

    def _recipients(self) -> list[Recipient]:
        chosen = [BOB, *self.random.sample(READERS, self.random.randint(1, 3))]
        return [
            Recipient(one.public, self.random.choice([None, CAROL_USER.public])) for one in chosen
        ]

    def _openings(self, envelope: bytes, label: str, document: bool) -> Iterator[Case]:
        for data in (envelope, self._altered(envelope), self._altered(envelope)):
            senders = self.random.choice(SENDERS)
            mapped = bool(senders and senders.get(str(ALICE.public)))
            yield opening(
                data,
                f"{label} {'as it is' if data == envelope else 'altered'}",
                reader=self.random.choice(READERS),
                own=self.random.choice([None, CAROL_USER.public]),
                senders=senders,
                document=document if self.random.random() < 0.9 else not document,
                require=mapped and self.random.random() < 0.5,
            )

    def _sealer(self) -> tuple[XKeyPair, UserKey | None, bool]:
        signer = self.random.choice([None, ALICE_USER])
        return ALICE, signer, self.random.random() < 0.3

    def _genuine(self) -> Iterator[Case]:
        own, signer, padding = self._sealer()
        sealer = SEALERS.setdefault((signer, padding), Sealer(own, signer=signer, padding=padding))
        options = self._options()
        if self.random.random() < 0.5:
            data = self.random.randbytes(self.random.choice([0, 1, 100, 3000]))
            envelope = sealer.seal(data, to=self._recipients(), **options)
            yield from self._openings(envelope, "payload", document=False)
            return
        try:
            envelope = sealer.seal_document(
                self.documents.document(), policy=TOTAL, readers=self._readers(), **options
            )
        except XKeyMsgError:
            return
        yield from self._openings(envelope, "document", document=True)

    def _readers(self) -> dict[str, list[Recipient]]:
        return {name: self._recipients() for name in ("p", "q", "r")}

    def _theirs(self) -> Iterator[Case]:
        own, signer, padding = self._sealer()
        options = self._options()
        request: dict[str, Any] = {
            "op": "seal",
            "seed": own.seed(),
            "signer": USER_SEED if signer else None,
            "padding": padding,
            "subject": options["subject"],
            "contentType": options["content_type"],
            "headers": options["headers"],
            "revision": options["revision"],
        }
        document = self.random.random() < 0.5
        if document:
            request |= {"document": self.documents.typed(self.documents.document())}
            request |= {"rules": TOTAL_RULES, "allowUnread": [], "readers": texts(self._readers())}
        else:
            request |= {"data": self.random.randbytes(self.random.choice([0, 1, 100, 3000])).hex()}
            request |= {"to": list(map(text_of, self._recipients()))}
        (answer,) = self.peer.ask([request])
        assert "crash" not in answer, (request, answer)
        assert answer.get("code") in (None, "field_ambiguous"), (request, answer)
        if "envelope" in answer:
            yield from self._openings(bytes.fromhex(answer["envelope"]), "theirs", document)

    def _forged(self, envelope: bytes, label: str) -> Iterator[Case]:
        for document in (False, True):
            yield opening(envelope, label, senders={str(ALICE.public): None}, document=document)

    def _body(self) -> Iterator[Case]:
        """Bytes between tags and wraps that a malicious sender altered."""
        seed = self.random.choice([GENUINE, DOCUMENT, SIGNED])
        data = self._altered(body_of(seed))
        rogue = Rogue(identity=raw_user(ALICE_USER))
        first = self.random.choice([bytes([0]) + CONTENT_KEYS[0], bytes([0]) + VIEW_KEYS[0]])
        yield from self._forged(rogue.envelope(body=data, grants=[first]), "forged body")

    def _head(self) -> Iterator[Case]:
        rogue = Rogue(
            revision=self.random.choice([None, 300]),
            identity=self.random.choice([None, raw_user(ALICE_USER)]),
            expires_ms=self.random.choice([None, 2**50]),
        )
        head = self._altered(array(rogue.fields()))
        yield from self._forged(rogue.envelope(head=head), "forged head")

    def _parts(self) -> Iterator[Case]:
        rogue = Rogue()
        kinds = self.random.choices(
            [FIELDS, FIELDS, METADATA, PAYLOAD, MESSAGE, 17, 19, 4], k=self.random.randint(0, 5)
        )
        parts = [rogue.part(j, self.random.choice(CONTENTS), kind) for j, kind in enumerate(kinds)]
        granted = [self.random.randint(0, 5) for _ in range(self.random.randint(0, 5))]
        if self.random.random() < 0.7:
            granted = sorted(set(granted))
        views = [rogue.view(v, grant_list(granted)) for v in range(self.random.randint(0, 3))]
        index = self.random.randint(0, 3)
        key = self.random.choice([VIEW_KEYS[index], CONTENT_KEYS[0]])
        envelope = rogue.envelope(parts=parts, views=views, grants=[bytes([index]) + key])
        yield from self._forged(envelope, "forged parts")

    def _arrays(self) -> Iterator[Case]:
        """Message arrays, with and without padding."""
        rogue = Rogue()
        content = b"".join(self.random.choices(ITEMS, k=self.random.randint(0, 8)))
        if self.random.random() < 0.7:
            content = b"\x92\xc0" + content
        kind = self.random.choice([MESSAGE, MESSAGE + PADDED, METADATA, METADATA + PADDED])
        if kind >= PADDED:
            content += self.random.choice([b"\x80", b"\x80\0\0", b"\0", b""])
        if kind % PADDED == MESSAGE:
            envelope = rogue.envelope(parts=[rogue.part(0, content, kind)])
        else:
            parts = [rogue.part(0, b"\x91\x92\x90\xc0", FIELDS), rogue.part(1, content, kind)]
            views = [rogue.view(0, grant_list([0, 1]))]
            envelope = rogue.envelope(parts=parts, views=views)
        yield from self._forged(envelope, "forged array")

    def _fields(self) -> Iterator[Case]:
        """Plaintexts of fields that are almost right."""
        contents = self.documents.plaintexts()
        if self.random.random() < 0.3:
            contents = [self._altered(each) for each in contents]
        rogue = Rogue()
        if len(contents) > 1:
            envelope = rogue.document(contents, [range(len(contents))])
        else:
            envelope = rogue.envelope(parts=[rogue.part(0, contents[0], FIELDS)])
        yield opening(envelope, "forged fields", document=True)

    def _files(self) -> Iterator[Case]:
        """Policies, readers and peers in TOML."""
        kind = self.random.choice(["policy", "readers", "peers"])
        text = self.documents.toml(kind)

        def ours() -> dict[str, Any]:
            if kind == "readers":
                found = parse_readers(text)
                return {
                    "readers": [[name, list(map(text_of, held))] for name, held in found.items()]
                }
            if kind == "peers":
                return {"verdicts": verdicts(text)}
            policy = Policy.parse(text)
            sets = [sorted(set(rule.permissions)) for rule in policy.rules for _ in rule.patterns]
            return {"sets": sets, "unread": sorted(policy.allow_unread)}

        mine = outcome(ours)
        mine |= {"public": None, "pointers": None, "count": None} if "code" in mine else {}
        senders = [str(each.public) for each in (ALICE, BOB)]
        request = {"op": "toml", "kind": kind, "text": text, "senders": senders}
        yield Case(request, lambda: mine, f"file of {kind}")

    def _policies(self) -> Iterator[Case]:
        """Policies with filters and names that look alike, and documents for them."""
        rules = self.documents.rules()
        document = self.documents.structure()
        readers = {name: [READERS[i].public] for i, name in enumerate("pqr")}
        request = {
            "op": "seal",
            "seed": ALICE.seed(),
            "document": self.documents.typed(document),
            "rules": rules,
            "allowUnread": [],
            "readers": texts(readers),
            "subject": "a",
        }
        sealed: list[bytes] = []

        def ours() -> dict[str, Any]:
            policy = Policy([(pattern, held) for pattern, held in rules])
            envelope = SEALER.seal_document(document, policy=policy, readers=readers, subject="a")
            sealed.append(envelope)
            return {"envelope": envelope.hex()}

        (theirs,) = self.peer.ask([request])
        mine = outcome(ours)
        assert "crash" not in theirs, (request, theirs)
        assert theirs.get("code") == mine.get("code"), (request, theirs, mine)
        if mine.get("code") == "field_denied":
            assert theirs["count"] == mine["count"], (request, theirs, mine)
        assert pointers(theirs) == pointers(mine), (request, theirs, mine)
        self.outcomes[f"policy: {mine.get('code', 'sealed')}"] += 1
        if not sealed:
            return
        for envelope in (sealed[0], bytes.fromhex(theirs["envelope"])):
            for reader in READERS:
                yield opening(envelope, "split by a policy", reader=reader, document=True)
        views = [
            outcome(opening(each, "", reader=reader, document=True).ours).get("content")
            for each in (sealed[0], bytes.fromhex(theirs["envelope"]))
            for reader in READERS
        ]
        assert views[:3] == views[3:], (request, views)


def pointers(answer: dict[str, Any]) -> list[str]:
    """Return pointers without the escapes that F-33 leaves to each program."""
    found = answer.get("pointers") or []
    plain = [
        re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), each) for each in found
    ]
    return [each.encode("utf-16", "surrogatepass").decode("utf-16") for each in plain]


def text_of(recipient: Recipient | XKey) -> str:
    if isinstance(recipient, XKey):
        return str(recipient)
    if not any(recipient.user):
        return str(recipient.key)
    return f"{recipient.key} {nkey.encode_public(nkey.Prefix.USER, recipient.user)}"


def verdicts(text: str) -> list[list[Any] | None]:
    """Return what peers say about each sender on each subject."""
    try:
        peers = Peers.parse(text)
    except ConfigurationError as error:
        raise PolicyError(str(error)) from None  # as the npm package calls it
    found = [peers.admit(pair.public, each, 0) for pair in (ALICE, BOB) for each in SUBJECTS]
    return [
        each
        and [
            sorted({nkey.encode_public(nkey.Prefix.USER, user) for user in each.users}),
            each.always_signs,
        ]
        for each in found
    ]


SUBJECTS: Final = ("a", "a.b", "a.b.c", "b", "_XKM.a")


def texts(readers: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: list(map(text_of, held)) for name, held in readers.items()}


def body_of(envelope: bytes) -> bytes:
    """Return the bytes between tags and wraps."""
    pieces = Pieces.of(envelope)
    cursor = Cursor(envelope, 0, at=5)
    cursor.binary()
    cursor.binary()
    return envelope[cursor.at : -len(pieces.wraps) - 2]


SPECIAL: Final = (
    0,
    1,
    0x7F,
    0x80,
    0x90,
    0x91,
    0xC0,
    0xC1,
    0xC4,
    0xC6,
    0xD9,
    0xDC,
    0xDD,
    0xDE,
    0xDF,
    0xFF,
)
SENDERS: Final[tuple[dict[str, str | None] | None, ...]] = (
    None,
    {str(ALICE.public): None},
    {str(ALICE.public): ALICE_USER.public},
    {str(CAROL.public): None},
)
SEALERS: Final[dict[tuple[UserKey | None, bool], Sealer]] = {}
SEALER: Final = Sealer(ALICE)
TOTAL_RULES: Final = [["/a", ["p"]], ["/*/b", ["p", "q"]], ["/1", ["q"]], ["/**", ["r"]]]
TOTAL: Final = Policy([(pattern, held) for pattern, held in TOTAL_RULES])
GENUINE: Final = Rogue(identity=raw_user(ALICE_USER)).envelope(b"pay 10")
SIGNED: Final = Rogue(identity=raw_user(ALICE_USER)).envelope(b"pay 10", signature=bytes(64))
DOCUMENT: Final = Rogue().document(
    [b"\x91\x92\x91\xa1a\x01", b"\x91\x92\x91\xa1b\x02", b"x"], [[0, 1]]
)
CONTENTS: Final = (
    b"\x91\x92\x91\xa1a\x01",
    b"\x91\x92\x91\xa1b\x02",
    b"\x92\xc0\x90",
    b"x\x80",
    b"\x92\xc0\x90\x80",
    b"",
)
ITEMS: Final = (
    b"\x92", b"\x91", b"\x90", b"\x93", b"\xc0", b"\xa0", b"\xa1A", b"\xa1\xff", b"\xd9\x05value",
    b"\xd9\x20" + b"v" * 32, b"\xda\x01\x00" + b"v" * 256, b"\xdb\xff\xff\xff\xff", b"\xdc\x00\x10",
    b"\xdc\x03\xe9", b"\x80", b"\xc4\x01A", b"\xda\xff\xf0" + b"v" * 65_520,
    b"\xa3\xe0\x80\x80", b"\xa4\xf4\x90\x80\x80", b"\xa3\xed\xa0\x80", b"\xa3\xef\xbb\xbf",
)  # fmt: skip


def main() -> None:
    """Compare, and print how often each verdict came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        package = built(Path(folder))
        with Peer(package.node, package.folder / "test" / "peer.mjs") as peer:
            fuzzer = Fuzzer(arguments.seed, peer)
            fuzzer.run(arguments.count)
    for label, times in sorted(fuzzer.outcomes.items()):
        print(f"{times:8} {label}")


if __name__ == "__main__":
    main()
