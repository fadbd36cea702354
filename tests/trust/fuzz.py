"""Mutates valid claims: only our errors come back, and nothing altered is admitted.

`python -m tests.trust.fuzz --count 1000000` (`make fuzz`); some thousands run with the tests.

Two kinds of mutation. A change of the *text* must be refused, whatever it is: what is admitted has
the bytes that its issuer signed. A change of the *claims*, signed again by a key that may issue
them, is a hostile issuer: it may be admitted, and then the whole verdict has to work.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import Any, Final

from tests.trust.chains.verdicts import judge
from tests.trust.chains.world import DOMAIN, HEADER, XKEY_HEADER, Chain, Key, Scene, token
from xkeymsg.errors import TrustError

__all__ = ("main", "run")

NOW: Final = 1_800_000_000
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/\n \0é\ud800"
TAMPERED: Final = "a text that nobody signed was admitted"


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the chain, with its honest claims and who signs them."""

    name: str
    claims: dict[str, Any]
    key: Key
    header: dict[str, str]
    domain: bytes

    def sign(self, claims: bytes) -> str:
        return token(claims, self.key, self.header, self.domain)


def places(scene: Scene) -> tuple[Place, ...]:
    account = scene.account_claims(
        scene.key,
        scene.scope(pub={"allow": ["e.{{subject()}}"], "deny": ["x"]}),
        revocations={scene.stranger.public: 5, "*": 1},
        tags=["grant:reader:billing"],
        default_permissions={"pub": {"deny": ["no.>"]}, "sub": {}},
    )
    user = scene.user_claims(scene.scoped, tags=["perm:billing", "perm:audit"])
    return (
        Place("operator", scene.operator_claims(), scene.operator, HEADER, b""),
        Place("account", account, scene.operator_key, HEADER, b""),
        Place("user", user, scene.scoped, HEADER, b""),
        Place("certificate", scene.certificate_claims(), scene.user, XKEY_HEADER, DOMAIN),
    )


def assemble(scene: Scene, texts: dict[str, str]) -> Chain:
    return scene.chain(
        operator=texts["operator"],
        account=texts["account"],
        user=texts["user"],
        certificate=texts["certificate"],
    )


def mutated_text(dice: Random, text: str, others: list[str]) -> str:
    changed = _mutated_text(dice, text, others)
    return changed or "."  # an empty text is not a certificate


def _mutated_text(dice: Random, text: str, others: list[str]) -> str:
    at, to = sorted((dice.randrange(len(text)), dice.randrange(len(text))))
    match dice.randrange(8):
        case 0 | 1:
            return text[:at] + dice.choice(ALPHABET) + text[at + 1 :]
        case 2:
            return text[:at] + dice.choice(ALPHABET) + text[at:]
        case 3:
            return text[:at] + text[to:]
        case 4:
            return text[:at] + text[at:to] * 2 + text[to:]
        case 5:
            other = dice.choice(others)
            return text[:at] + other[dice.randrange(len(other)) :]
        case 6:  # a part of another claim instead of this one's
            parts, theirs = text.split("."), dice.choice(others).split(".")
            index = dice.randrange(3)
            parts[index] = theirs[index]
            return ".".join(parts)
        case _:  # a flipped bit of a part
            parts = text.split(".")
            index = dice.randrange(3)
            raw = bytearray(base64.urlsafe_b64decode(parts[index] + "=="))
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            parts[index] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
            return ".".join(parts)


WEIRD: Final[tuple[Callable[[Random], Any], ...]] = (
    lambda _: None,
    lambda _: True,
    lambda _: -1,
    lambda _: 0,
    lambda _: 2**63,
    lambda _: 2**63 - 1,
    lambda _: NOW * 2,
    lambda _: 1.5,
    lambda _: float("nan"),
    lambda _: "",
    lambda _: ">",
    lambda _: "{{name()}}",
    lambda _: "perm:*",
    lambda _: "\x00\u202e\U0001f600",
    lambda _: "A" * 56,
    lambda _: [],
    lambda _: [[]],
    lambda _: {},
    lambda _: {"allow": [""], "deny": ["a..b"]},
    lambda _: {"kind": "user_scope"},
    lambda dice: "x" * dice.randrange(3000),
    lambda dice: [dice.randrange(9)] * dice.randrange(40),
)


def mutated_claims(dice: Random, claims: dict[str, Any]) -> bytes:
    claims = json.loads(json.dumps(claims))
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        change(dice, claims)
    raw = json.dumps(claims, ensure_ascii=dice.random() < 0.5).encode(errors="surrogatepass")
    if dice.random() < 0.1:
        at = dice.randrange(len(raw) + 1)
        junk = dice.choice((b"\xff", b"\\ud800", b"[" * 40, b" ", b'"', b"1e5"))
        raw = raw[:at] + junk + raw[at:]
    return raw


def change(dice: Random, claims: dict[str, Any]) -> None:
    """Change one value, name or item, anywhere."""
    holder, key = somewhere(dice, claims)
    inner = holder[key]
    match dice.randrange(6):
        case 0 if isinstance(holder, dict) and len(holder) > 1:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[dice.choice((key.upper(), key + "x", "type", "Sub", ""))] = inner
        case 2 if isinstance(holder, list):
            holder.append(inner)
        case 3 if isinstance(inner, str) and inner:
            at = dice.randrange(len(inner))
            holder[key] = inner[:at] + dice.choice("A2>*. {}é") + inner[at + 1 :]
        case 4 if isinstance(inner, int):
            holder[key] = inner + dice.choice((-1, 1, 1000, 10**7))
        case _:
            holder[key] = dice.choice(WEIRD)(dice)


def somewhere(dice: Random, holder: Any) -> tuple[Any, Any]:
    """A container within, and a name or index of it."""
    key = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if isinstance(holder[key], dict | list) and holder[key] and dice.random() < 0.7:
        return somewhere(dice, holder[key])
    return holder, key


def run(count: int, seed: int) -> Counter[str]:
    """Try so many mutations; return how often each verdict came.

    Raises:
        AssertionError: If a text that nobody signed was admitted.
        Exception: Whatever else is not one of our errors.
    """
    dice = Random(seed)
    scene = Scene("fuzz", NOW)
    there = places(scene)
    honest = {place.name: place.sign(json.dumps(place.claims).encode()) for place in there}
    chain = assemble(scene, honest)
    judge(chain, NOW)
    said: Counter[str] = Counter()
    for _ in range(count):
        place = dice.choice(there)
        forged = dice.random() < 0.5
        if forged:
            text = mutated_text(dice, honest[place.name], list(honest.values()))
        else:
            text = place.sign(mutated_claims(dice, place.claims))
        try:
            identity = judge(with_text(chain, place.name, text), NOW)
        except TrustError as error:
            said[error.code if len(str(error)) < 300 else "too long"] += 1
        else:
            assert not forged or text == honest[place.name], TAMPERED
            identity.may_send("a.b")
            said["admitted"] += 1
    return said


def with_text(chain: Chain, place: str, text: str) -> Chain:
    match place:
        case "operator":
            return replace(chain, operator=text)
        case "account":
            return replace(chain, accounts=(text,))
        case "user":
            return replace(chain, users=(text,))
        case _:
            return replace(chain, certificates=(text,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    said = run(options.count, options.seed)
    for code, times in said.most_common():
        print(f"{times:10,} {code}")
    print(f"{options.count:,} mutations in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
