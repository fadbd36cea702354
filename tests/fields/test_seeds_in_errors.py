"""A seed pasted into the wrong place of a policy or of a file of readers is in no error."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cases import for_each
from tests.envelope.cast import pair
from xkeymsg import FieldAmbiguousError, Policy, PolicyError, XKeyMsgError
from xkeymsg.fields.files import load_readers, parse_readers

SEED: Final = pair(1).seed()
LOWER: Final = SEED.lower()
RULE: Final = "[[rule]]\npattern = '/a'\nreaders = ['x']\n"


def rule(pattern: str) -> str:
    return f"[[rule]]\npattern = {pattern}\nreaders = ['x']\n"


POLICIES: Final = {
    "readers": "[[rule]]\npattern = '/a'\nreaders = ['{}']\n",
    "allow_unread": "allow_unread = ['{}']\n" + RULE,
    "setting": "{} = 1\n" + RULE,
    "quoted setting": "'x {}' = 1\n" + RULE,
    "setting of a rule": RULE + "{} = 1\n",
    "table": "[{}]\n" + RULE,
    "pattern": rule("'{}'"),
    "pattern with a slash at its end": rule("'/a/{}/'"),
    "filter without quotes": rule("'/a[k={}]'"),
    "filter with an error behind it": rule("""'/a[k="{}"]/'"""),
    "name of a filter": rule("'/a[{}=]'"),
    "two double stars": rule("'/**/{}/**'"),
    "dead rule": rule("['/a/{0}', '/a/{0}']"),
    "dead rule below": rule("['/a/{0}', '/a/{0}/b']"),
    "long pattern": rule("'/a/{}" + "/b" * 300 + "'"),
    "after many characters": rule("'/" + "b" * 190 + "{}*'"),
    "joined to other letters": rule("'/aaa{}aaa/'"),
}
READERS: Final = {
    "permission": "[readers]\n{} = []\n",
    "permission of another type": "[readers]\n{} = 1\n",
    "table": "[{}]\n",
    "recipient": "[readers]\na = ['{}']\n",
    "recipient and user": "[readers]\na = ['X {}']\n",
    "key": "{} = 1\n",
}


def check(function: Callable[[], Any]) -> None:
    with pytest.raises(XKeyMsgError) as caught:
        function()
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for at in range(len(SEED) - 11):
        assert SEED[at : at + 12].lower() not in text.lower()


@for_each("seed", [SEED, LOWER])
@for_each("where", POLICIES)
def test_a_seed_in_a_policy_is_not_shown(where: str, seed: str) -> None:
    check(lambda: Policy.parse(POLICIES[where].format(seed)))


@for_each("seed", [SEED, LOWER])
@for_each("where", READERS)
def test_a_seed_in_a_file_of_readers_is_not_shown(where: str, seed: str) -> None:
    check(lambda: parse_readers(READERS[where].format(seed)))


@pytest.mark.parametrize("load", [Policy.load, load_readers])
@pytest.mark.parametrize("name", [SEED, f"{SEED}.toml", f"keys/{SEED}", f"{SEED}/x", LOWER])
@pytest.mark.parametrize("content", [None, b"", b"\xff", b"rule = 1", b"a" * ((1 << 20) + 1)])
def test_a_seed_in_the_name_of_a_file_is_not_shown(
    load: Callable[[Path], Any], name: str, content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    check(lambda: load(path))


@pytest.mark.parametrize("seed", [SEED, LOWER])
def test_a_seed_in_arguments_is_not_shown(seed: str) -> None:
    policy = Policy([("/a", ["x"])])
    check(lambda: Policy([("/a", [seed])]))
    check(lambda: Policy([("/a", ["x"])], allow_unread=[seed]))
    check(lambda: policy.readers_of(seed))
    check(lambda: policy.readers_of(f"/{seed}/*"))


def test_a_seed_as_a_name_that_looks_like_another_is_not_shown_with_the_rule() -> None:
    policy = Policy([(f"/{LOWER}", ["x"]), ("", ["y"])])
    with pytest.raises(FieldAmbiguousError) as caught:
        policy.explain({SEED: 1})
    assert caught.value.args
    assert LOWER not in str(caught.value)


def test_a_seed_in_lower_case_is_no_permission() -> None:
    """F-34"""
    with pytest.raises(PolicyError, match="invalid permission name"):
        Policy([("/a", [LOWER])])
    with pytest.raises(PolicyError, match="invalid permission name"):
        parse_readers(f"[readers]\n{LOWER} = []")
    assert Policy([("/a", ["0" * 58, "a" * 64])]).permissions == {"0" * 58, "a" * 64}


def test_a_long_name_that_is_no_secret_is_shown() -> None:
    with pytest.raises(PolicyError, match=re.escape("'/customer_of_the_year/billing-address/'")):
        Policy([("/customer_of_the_year/billing-address/", ["x"])])
