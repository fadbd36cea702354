"""Vectors of docs/spec/text.md and reseal.md; `python -m tests.vectors.generate` calls it.

The protected seeds are made here, without the code of the package.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings

from tests.vectors.builder import make
from tests.vectors.cases_success import padded_message, smallest, two_views_signed
from xkeymsg import XKeyPair
from xkeymsg.nkey import Prefix, SigningKey, encode_seed

__all__ = ("FILES", "main")

PUBLISHED: Final = Path(__file__).parent.parent.parent / "vectors"
BEGIN: Final = "-----BEGIN XKM1 ENVELOPE-----\n"
END: Final = "-----END XKM1 ENVELOPE-----\n"
Change = Callable[[str], str]


def armoured(envelope: bytes, columns: int = 64) -> str:
    return in_lines(base64.b64encode(envelope).decode(), columns)


def in_lines(text: str, columns: int = 64) -> str:
    lines = [text[at : at + columns] + "\n" for at in range(0, len(text), columns)]
    return BEGIN + "".join(lines) + END


ARMOUR: Final[dict[str, Change]] = {
    "empty": lambda text: "",
    "no last line feed": lambda text: text[:-1],
    "blank line behind": lambda text: text + "\n",
    "blank line in front": lambda text: "\n" + text,
    "byte order mark": lambda text: "\ufeff" + text,
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "no begin": lambda text: text.removeprefix(BEGIN),
    "no end": lambda text: text.removesuffix(END),
    "another label": lambda text: text.replace("XKM1", "XKM2"),
    "header": lambda text: text.replace(BEGIN, f"{BEGIN}Version: 1\n\n"),
    "blank line inside": lambda text: text.replace(BEGIN, f"{BEGIN}\n"),
    "short line": lambda text: text[:50] + "\n" + text[50:],
    "trailing space": lambda text: text.replace("\n", " \n", 2),
    "other character": lambda text: text[:50] + "!" + text[51:],
    "alphabet of URLs": lambda text: text[:50] + "-" + text[51:],
    "padding inside": lambda text: text[:50] + "=" + text[51:],
    "truncated": lambda text: text[:100] + "\n" + END,
    "twice": lambda text: text + text,
}


def armour_vectors() -> Iterator[dict[str, Any]]:
    for case in (smallest, two_views_signed, padded_message):
        envelope = make(case).envelope
        yield {
            "name": case.__name__.replace("_", " "),
            "spec": ["X-1"],
            "expect": "success",
            "text": armoured(envelope),
            "envelope": envelope.hex(),
        }
    envelope = make(smallest).envelope
    text = armoured(envelope)
    for name, change in ARMOUR.items():
        yield refused_armour(name, "X-2", change(text))
    for columns in (60, 76, 4096):
        yield refused_armour(f"lines of {columns}", "X-2", armoured(envelope, columns))
    odd = base64.b64encode(envelope + bytes(-(len(envelope) + 2) % 3)).decode()
    bits = odd[: odd.index("=") - 1] + chr(ord(odd[odd.index("=") - 1]) + 1) + "=="
    yield refused_armour("unused bits", "X-2", in_lines(bits))
    yield refused_armour("no padding", "X-2", text.replace("=", ""))
    for name, content in (("xkv1", b"xkv1" + bytes(80)), ("nothing inside", b"")):
        yield refused_armour(name, "X-4", armoured(content))
    limit = len(envelope) - 3
    yield refused_armour("longer than the limit", "X-3", text) | {
        "expect": "limit_exceeded",
        "limit": limit,
    }


def refused_armour(name: str, rule: str, text: str) -> dict[str, Any]:
    return {"name": name, "spec": [rule], "expect": "malformed", "text": text}


def url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def key_of(kind: Prefix, name: str) -> tuple[str, str]:
    """A seed and its public key."""
    raw = hashlib.sha256(f"vector {name}".encode()).digest()
    seed = encode_seed(kind, raw)
    public = XKeyPair(raw).public if kind is Prefix.CURVE else SigningKey(seed, kind).public
    return seed, str(public)


def protected(
    seed: str, public: str, passphrase: str, *, passes: int = 1, kib: int = 8192, salt: str = "s"
) -> str:
    raw_salt = hashlib.sha256(salt.encode()).digest()[:16]
    front = f"xks1.{passes}.{kib}.{public}.{url64(raw_salt)}."
    secret = unicodedata.normalize("NFC", passphrase).encode()
    key = bindings.crypto_pwhash_alg(
        32, secret, raw_salt, passes, kib * 1024, bindings.crypto_pwhash_ALG_ARGON2ID13
    )
    sealed = ChaCha20Poly1305(key).encrypt(bytes(12), seed.encode(), front.encode())
    return front + url64(sealed)


PHRASE: Final = "correct horse battery staple"


def seed_vectors() -> Iterator[dict[str, Any]]:
    for kind in (Prefix.CURVE, Prefix.USER, Prefix.ACCOUNT, Prefix.OPERATOR):
        seed, public = key_of(kind, kind.name)
        line = protected(seed, public, PHRASE)
        yield seed_vector(f"seed of a {kind.name.lower()} key", ["X-6"], line, seed=seed)
    seed, public = key_of(Prefix.CURVE, "CURVE")
    recommended = protected(seed, public, PHRASE, passes=3, kib=65_536)
    yield seed_vector("recommended cost", ["X-8"], recommended, seed=seed)
    for name, phrase in (
        ("composed letters", "Z\u00fcrich \u00e9"),
        ("decomposed letters", "Zu\u0308rich e\u0301"),
        ("letters of more bytes", "\u65e5\u672c \U0001f511"),
        ("longest passphrase", "x" * 1024),
        ("spaces", "  two  "),
    ):
        line = protected(seed, public, phrase)
        yield seed_vector(name, ["X-5"], line, passphrase=phrase, seed=seed)
    line = protected(seed, public, PHRASE)
    for name, phrase in (
        ("empty passphrase", ""),
        ("passphrase too long", "x" * 1025),
        ("passphrase with a line feed", f"{PHRASE}\n"),
    ):
        yield seed_vector(name, ["X-5"], line, passphrase=phrase)
    for name, phrase in (("wrong passphrase", "x"), ("other case", PHRASE.upper())):
        yield seed_vector(name, ["X-9"], line, passphrase=phrase)
    yield from changed_seeds(line)
    other_seed, other = key_of(Prefix.CURVE, "other")
    yield seed_vector("public key of another seed", ["X-9"], line.replace(public, other))
    yield seed_vector("seed of another public key", ["X-10"], protected(other_seed, public, PHRASE))
    damaged = seed[:-1] + ("A" if seed[-1] != "A" else "B")
    yield seed_vector("seed without a valid checksum", ["X-10"], protected(damaged, public, PHRASE))


def changed_seeds(line: str) -> Iterator[dict[str, Any]]:
    version, passes, kib, public, salt, sealed = line.split(".")
    for name, rule, fields in (
        ("later version", "X-7", ("xks2", passes, kib, public, salt, sealed)),
        ("no version", "X-7", ("xks", passes, kib, public, salt, sealed)),
        ("leading zero of passes", "X-7", (version, "01", kib, public, salt, sealed)),
        ("leading zero of kib", "X-7", (version, passes, "08192", public, salt, sealed)),
        ("sign", "X-7", (version, "+1", kib, public, salt, sealed)),
        ("no passes", "X-7", (version, "0", kib, public, salt, sealed)),
        ("too many passes", "X-8", (version, "17", kib, public, salt, sealed)),
        ("too little memory", "X-8", (version, passes, "8191", public, salt, sealed)),
        ("too much memory", "X-8", (version, passes, "262145", public, salt, sealed)),
        ("too much work", "X-8", (version, "5", "262144", public, salt, sealed)),
        ("hostile memory", "X-7", (version, passes, "4294967295", public, salt, sealed)),
        ("public key in lower case", "X-7", (version, passes, kib, public.lower(), salt, sealed)),
        ("invalid public key", "X-7", (version, passes, kib, public[:-1] + "7", salt, sealed)),
        ("seed as the public key", "X-7", (version, passes, kib, "S" + public[:-1], salt, sealed)),
        ("short salt", "X-7", (version, passes, kib, public, salt[:-1], sealed)),
        ("unused bits of the salt", "X-7", (version, passes, kib, public, salt[:-1] + "B", sealed)),
        ("padded salt", "X-7", (version, passes, kib, public, salt + "==", sealed)),
        ("short ciphertext", "X-7", (version, passes, kib, public, salt, sealed[:-1])),
        ("padded ciphertext", "X-7", (version, passes, kib, public, salt, sealed + "=")),
        ("alphabet of base64", "X-7", (version, passes, kib, public, salt, "/" + sealed[1:])),
        ("one field more", "X-7", (version, passes, kib, public, salt, sealed, "")),
        ("one field less", "X-7", (version, passes, kib, public, sealed)),
        ("more passes than it was made with", "X-9", (version, "2", kib, public, salt, sealed)),
        ("other salt", "X-9", (version, passes, kib, public, "A" * 22, sealed)),
        ("other ciphertext", "X-9", (version, passes, kib, public, salt, "A" * 98 + "A")),
    ):
        yield seed_vector(name, [rule], ".".join(fields))


def seed_vector(
    name: str, spec: list[str], text: str, *, passphrase: str = PHRASE, seed: str | None = None
) -> dict[str, Any]:
    made = {
        "name": name,
        "spec": spec,
        "expect": "key_store" if seed is None else "success",
        "text": text,
        "passphrase": passphrase,
    }
    return made if seed is None else made | {"seed": seed}


def reseal_vectors() -> Iterator[dict[str, Any]]:
    keys = [key_of(Prefix.CURVE, f"origin {number}")[1] for number in range(3)]
    ids = [hashlib.sha256(b"%d" % number).digest()[:16] for number in range(3)]
    values = [
        f"{key} {url64(name)} {1_767_225_600_000 + number} {number}"
        for number, (key, name) in enumerate(zip(keys, ids, strict=True))
    ]
    origins = [
        {"sender": key, "id": name.hex(), "created_ms": 1_767_225_600_000 + n, "withheld": n}
        for n, (key, name) in enumerate(zip(keys, ids, strict=True))
    ]

    def vector(name: str, rule: str, claims: list[str], found: Any) -> dict[str, Any]:
        headers = [["xkm-resealed", claim] for claim in claims]
        return {"name": name, "spec": [rule], "headers": headers, "origins": found}

    yield vector("not resealed", "R-6", [], None)
    yield vector("resealed", "R-2", values[:1], origins[:1])
    yield vector("resealed three times", "R-2", values, origins)
    yield vector("resealed eight times", "R-7", values[:1] * 8, origins[:1] * 8)
    yield vector("nine headers", "R-7", values[:1] * 9, [])
    yield vector("one of two is invalid", "R-7", [values[0], "x"], [])
    key, name, created, withheld = values[0].split(" ")
    bits = name[:-1] + chr(ord(name[-1]) + 1)
    for what, value in (
        ("empty", ""),
        ("a field less", f"{key} {name} {created}"),
        ("a field more", f"{values[0]} 0"),
        ("two spaces", values[0].replace(" ", "  ", 1)),
        ("line feed", f"{values[0]}\n"),
        ("key of a user", f"{key_of(Prefix.USER, 'USER')[1]} {name} {created} {withheld}"),
        ("invalid key", f"{key[:-1]}7 {name} {created} {withheld}"),
        ("short id", f"{key} {name[:-1]} {created} {withheld}"),
        ("unused bits of the id", f"{key} {bits} {created} {withheld}"),
        ("leading zero", f"{key} {name} 0{created} {withheld}"),
        ("time too early", f"{key} {name} 4294967295 {withheld}"),
        ("time too late", f"{key} {name} 9007199254740992 {withheld}"),
        ("too many parts withheld", f"{key} {name} {created} 100"),
        ("other digits", f"{key} {name} {created} \u0660"),
    ):
        yield vector(what, "R-7", [value], [])


FILES: Final[dict[str, Callable[[], Iterator[dict[str, Any]]]]] = {
    "armour.json": armour_vectors,
    "seeds.json": seed_vectors,
    "reseal.json": reseal_vectors,
}


def as_json(name: str) -> str:
    """The content of a file of vectors."""
    return json.dumps([*FILES[name]()], indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    for name in FILES:
        (PUBLISHED / name).write_text(as_json(name))
