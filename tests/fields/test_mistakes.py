"""Mistakes that a tired author of a policy makes: none opens a field without a word.

`SECRET` is meant for hr alone, and the last rule gives the rest to everybody. Each mistake has to
be an error, to stop the sealing, to be found by `policy lint` with the document, or to do what was
meant. Notes of lint, which every such policy has, do not count: only its errors do.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cases import for_each
from tests.envelope.cast import pair
from tests.fields.people import opener, seal, seen
from xkeymsg import Policy, XKeyMsgError
from xkeymsg.cli.lint import findings

SECRET = "S3CRET"
HR, EVERYONE = pair(500), pair(501)
READERS = {"hr": [HR.public], "everyone": [EVERYONE.public]}
Rules = list[tuple[Any, list[str]]]


def becomes(rules: Rules, document: Any) -> str:
    try:
        policy = Policy(rules)
    except XKeyMsgError:
        return "error"
    errors = [each.text for each in findings(policy, {"d": document}) if each.is_error]
    if any("rule 1" in each or "cannot be sealed" in each for each in errors):
        return "finding"
    readers = {name: READERS[name] for name in policy.permissions}
    try:
        envelope = seal(document, policy, readers)
    except XKeyMsgError:
        return "stopped"
    view = seen(opener(EVERYONE), envelope)
    return "open" if view is not None and SECRET in str(view.document) else "closed"


PERSON = {"name": "Ada", "private": {"ssn": SECRET, "x": 1}}
PHONES = {"phones": [{"kind": "home", "number": SECRET}, {"kind": "work", "number": "1"}]}
KEYED = {"attributes": [{"key": "user.email", "value": {"s": SECRET}}, {"key": "b", "value": {}}]}
MISTAKES: dict[str, tuple[Any, Any, str]] = {
    # A container, and what a field becomes one day.
    "container": ("/private", PERSON, "closed"),
    "container with a star": ("/private/*", {"private": {"a": {"b": SECRET}}}, "closed"),
    "scalar becomes a list": ("/ssn", {"ssn": [SECRET]}, "closed"),
    "scalar becomes a list of lists": ("/ssn", {"ssn": [[{"a": SECRET}]]}, "closed"),
    "map becomes a list": ("/private/ssn", {"private": [{"ssn": SECRET}]}, "finding"),
    "one more level": ("/private/ssn", {"person": {"private": {"ssn": SECRET}}}, "finding"),
    # Slashes and blanks.
    "slash at the end": ("/private/", PERSON, "error"),
    "no slash first": ("private/ssn", PERSON, "error"),
    "two slashes": ("//private/ssn", PERSON, "error"),
    "dot first": ("./private/ssn", PERSON, "error"),
    "blank at the end": ("/private/ssn ", PERSON, "error"),
    "tab at the end": ("/private\t/ssn", PERSON, "error"),
    "line feed at the end": ("/private/ssn\n", PERSON, "error"),
    "backslashes": ("\\private\\ssn", PERSON, "error"),
    "backslash within": ("/private\\/ssn", PERSON, "finding"),
    # Other languages.
    "JSONPath": ("$.private.ssn", PERSON, "error"),
    "JSONPath at any depth": ("$..ssn", PERSON, "error"),
    "jq": (".private.ssn", PERSON, "error"),
    "dots": ("private.ssn", PERSON, "error"),
    "fragment": ("#/private/ssn", PERSON, "error"),
    "glob": ("/private/s*", PERSON, "error"),
    "question mark": ("/private/ss?", PERSON, "finding"),
    "braces": ("/private/{ssn,x}", PERSON, "error"),
    "alternatives": ("/private/ssn|x", PERSON, "finding"),
    "comma": ("/private/ssn,/private/x", PERSON, "finding"),
    "regular expression": ("/private/.*", PERSON, "error"),
    "regular expression with anchors": ("^/private/ssn$", PERSON, "error"),
    "negation": ("!/private/ssn", PERSON, "error"),
    "percent escape": ("/private%2Fssn", PERSON, "error"),
    "escaped quotes": ("/'private'/'ssn'", PERSON, "finding"),
    "quotes": ('/"private"/"ssn"', PERSON, "closed"),
    "pattern as a list in a text": ('["/private/ssn"]', PERSON, "error"),
    "XPath": ("//ssn", PERSON, "error"),
    "any depth": ("/**/ssn", PERSON, "closed"),
    "any depth below": ("/private/**", PERSON, "closed"),
    "any depth on both sides": ("/**/private/**", PERSON, "error"),
    # Lists.
    "item by index": ("/phones/0/number", PHONES, "finding"),
    "index in brackets": ("/phones[0]/number", PHONES, "error"),
    "all in brackets": ("/phones[*]/number", PHONES, "error"),
    "minus": ("/phones/-/number", PHONES, "error"),
    "variable": ("/phones/:id/number", PHONES, "error"),
    "template": ("/phones/{id}/number", PHONES, "error"),
    "angle brackets": ("/phones/<id>/number", PHONES, "finding"),
    "index with zeros": ("/phones/00/number", PHONES, "finding"),
    "index from 1": ("/phones/2/number", PHONES, "finding"),
    "negative index": ("/phones/-1/number", PHONES, "finding"),
    "fullwidth index": ("/phones/\uff10/number", PHONES, "finding"),
    "no index": ("/phones/number", PHONES, "finding"),
    "star": ("/phones/*/number", PHONES, "closed"),
    "items at any depth": ("/**/number", PHONES, "closed"),
    # Names.
    "case": ("/Private/ssn", PERSON, "finding"),
    "case at any depth": ("/**/SSN", PERSON, "finding"),
    "camel case": ("/private_data", {"privateData": SECRET}, "finding"),
    "composed": ("/pr\u00e9nom", {"pre\u0301nom": SECRET}, "finding"),
    "no accent": ("/prenom", {"pr\u00e9nom": SECRET}, "finding"),
    "zero width": ("/private/\u200bssn", PERSON, "finding"),
    "soft hyphen": ("/pri\u00advate/ssn", PERSON, "finding"),
    "no-break space": ("/private\u00a0/ssn", PERSON, "error"),
    "bidirectional mark": ("/private/ssn\u200f", PERSON, "finding"),
    "homoglyph": ("/priv\u0430te/ssn", PERSON, "finding"),
    "ligature": ("/o\ufb03ce", {"office": SECRET}, "finding"),
    "plural": ("/privates", PERSON, "finding"),
    "name with a dot": ("/a.b", {"a.b": SECRET}, "error"),
    "name with a slash": ("/a/b", {"a/b": SECRET}, "finding"),
    "name with a star": ("/a*", {"a*": SECRET}, "error"),
    "name with a tilde": ("/a~b", {"a~b": SECRET}, "error"),
    "escape twice": ("/a~01b", {"a/b": SECRET}, "finding"),
    "name of two words": ("/first name", {"first name": SECRET}, "closed"),
    "empty name": ("/", {"": SECRET}, "error"),
    # Filters.
    "filter on the list": ('/attributes[key="user.email"]/value', KEYED, "finding"),
    "filter": ('/attributes/*[key="user.email"]/value', KEYED, "closed"),
    "filter as a segment": ('/attributes/[key="user.email"]/value', KEYED, "error"),
    "filter without quotes": ("/attributes/*[key=user.email]/value", KEYED, "error"),
    "filter in JSONPath": ("/attributes[?(@.key=='user.email')]", KEYED, "error"),
    "filter with two equals": ('/attributes/*[key=="user.email"]', KEYED, "error"),
    "filter with not": ('/attributes/*[key!="b"]', KEYED, "error"),
    "filter by name alone": ("/attributes/*[key]", KEYED, "error"),
    "filter of two values": ('/attributes/*[key="user.email"|"b"]', KEYED, "error"),
    "filter in another case": ('/attributes/*[key="User.Email"]', KEYED, "finding"),
    "filter by member in another case": ('/attributes/*[Key="user.email"]', KEYED, "finding"),
    "filter with a blank": ('/attributes/*[key="user.email "]', KEYED, "finding"),
    "filter of another kind": ("/l/*[id=1]", {"l": [{"id": "1", "s": SECRET}]}, "finding"),
    "filter with a float": ("/l/*[id=1]", {"l": [{"id": 1.0, "s": SECRET}]}, "finding"),
    "filter with a capital true": ("/l/*[id=True]", {"l": [{"id": True, "s": SECRET}]}, "error"),
    "filter of a deeper member": ('/l/*[a.b="x"]', {"l": [{"a": {"b": SECRET}}]}, "error"),
}  # fmt: skip


@for_each("mistake", MISTAKES)
def test_a_mistake_in_a_pattern_opens_nothing_without_a_word(mistake: str) -> None:
    pattern, document, expected = MISTAKES[mistake]
    assert becomes([(pattern, ["hr"]), ("/**", ["everyone", "hr"])], document) == expected


@for_each(
    ("rules", "expected"),
    [
        ([("/**", ["everyone", "hr"]), ("/private", ["hr"])], "error"),
        ([("/*", ["everyone", "hr"]), ("/private/ssn", ["hr"])], "error"),
        ([("/**/ssn", ["everyone", "hr"]), ("/private/ssn", ["hr"])], "error"),
        ([("/private", ["hr"]), ("/private/ssn", ["everyone"]), ("", ["everyone"])], "error"),
        ([(["/private", "/private/ssn"], ["hr"]), ("", ["everyone"])], "error"),
        ([("/private", []), ("", ["everyone"])], "error"),
        ([("/private", "hr"), ("", ["everyone"])], "error"),
        ([("/private", ["HR"]), ("", ["everyone"])], "error"),
        ([([], ["hr"]), ("", ["everyone"])], "error"),
        ([("/private", ["hr"])], "finding"),
        ([(["/privat", "/private"], ["hr"]), ("", ["everyone", "hr"])], "finding"),
        ([(["/private", "/name"], ["hr"]), ("", ["everyone", "hr"])], "closed"),
    ],
)
def test_a_mistake_in_the_rules_opens_nothing_without_a_word(rules: Rules, expected: str) -> None:
    assert becomes(rules, PERSON) == expected


def test_an_error_of_a_look_alike_shows_the_difference() -> None:
    policy = Policy([("/pr\u00e9nom", ["hr"]), ("", ["everyone"])])
    with pytest.raises(XKeyMsgError) as caught:
        seal({"pre\u0301nom": SECRET}, policy, READERS)
    assert json.dumps("pre\u0301nom") in str(caught.value)
    assert json.dumps("pr\u00e9nom") in str(caught.value)
    assert "rule 1 " in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_error_of_a_filter_shows_no_value() -> None:
    policy = Policy([(f'/l/*[id="{SECRET.lower()}"]', ["hr"]), ("", ["everyone"])])
    with pytest.raises(XKeyMsgError) as caught:
        seal({"l": [{"id": SECRET}]}, policy, READERS)
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith("/l/0: ")
