"""Key strings: the reference, and the package, read the texts in vectors/keys.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest

from tests.cases import check_each
from tests.reference import nkeystring
from tests.vectors import generate
from tests.vectors.keys import KeyVector, as_json, everything
from xkeymsg import KeyFormatError, UserKey, XKey, XKeyPair, nkey
from xkeymsg.keys import decode_user

Read = Callable[[str], bytes]


def user_of_a_recipient(text: str) -> bytes:
    key = nkeystring.user(text)
    if not any(key):
        raise ValueError("zeros stand for no user (E-91)")
    return key


def user_seed(text: str) -> bytes:
    UserKey(text)
    return nkey.decode_seed(nkey.Prefix.USER, text)


def seed(text: str) -> bytes:
    XKeyPair.from_seed(text)
    return nkey.decode_seed(nkey.Prefix.CURVE, text)


REFERENCE: Final[dict[str, Read]] = {
    "xkey": nkeystring.xkey,
    "user": user_of_a_recipient,
    "seed": nkeystring.seed,
    "user-seed": nkeystring.user_seed,
}
PACKAGE: Final[dict[str, Read]] = {
    "xkey": lambda text: bytes(XKey.parse(text)),
    "user": decode_user,
    "seed": seed,
    "user-seed": user_seed,
}


@pytest.mark.parametrize(
    ("readers", "error"),
    [(REFERENCE, ValueError), (PACKAGE, KeyFormatError)],
    ids=["reference", "package"],
)
def test_texts_are_read_or_refused(readers: dict[str, Read], error: type[Exception]) -> None:
    def check(vector: KeyVector) -> None:
        if vector.key is None:
            with pytest.raises(error):
                readers[vector.kind](vector.text)
        else:
            assert readers[vector.kind](vector.text) == vector.key

    check_each(everything(), check)


def test_the_file_is_what_the_vectors_say() -> None:
    assert generate.KEYS_JSON.read_text() == as_json()
    names = [one["name"] for one in json.loads(as_json())]
    assert len(set(names)) == len(names)
