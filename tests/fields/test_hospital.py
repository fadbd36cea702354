"""The hospital of examples/hospital: nobody can decrypt what it may not read, by searching it all.

What each role may read is worked out here once more: from the policy file by a slow filter, and
from what the roles are for, in so many words.
"""

from __future__ import annotations

import re
import struct
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import pytest

from examples.hospital import roles
from tests.cases import for_each
from tests.envelope.cast import pair
from tests.fields.model import MISSING, Path, exact, leaves, readers, view
from tests.fields.people import SEALER, SUBJECT, opener, plaintexts, seen
from xkeymsg import FieldDeniedError, Policy
from xkeymsg.cli.cases import failures, load_cases
from xkeymsg.cli.lint import findings

ROLES: Final = roles.ROLES
FILE: Final = roles.HERE / "policy.toml"
POLICY: Final = Policy.load(FILE)
FILE_RULES: Final = tomllib.loads(FILE.read_text())["rule"]
RULES: Final = [
    (pattern, rule["readers"])
    for rule in FILE_RULES
    for pattern in ([rule["pattern"]] if isinstance(rule["pattern"], str) else rule["pattern"])
]
KEYS: Final = {role: pair(300 + number) for number, role in enumerate(ROLES)}
READERS: Final = {role: [own.public] for role, own in KEYS.items()}

BILLS: Final = {"Claim", "ExplanationOfBenefit"}
DIRECTORY: Final = {"Organization", "Practitioner"}
STUDIED: Final = {"Observation", "Condition"}
CODED: Final = r"(system|code|display)"
RESEARCH: Final = re.compile(
    r"/(Observation|Condition)/resourceType"
    r"|/Observation/status"
    rf"|/Observation/category/\d+/coding/\d+/{CODED}"
    rf"|/Observation(/component/\d+)?/(code/coding/\d+/{CODED}|valueQuantity/(value|unit|system|code))"
    rf"|/Observation/valueCodeableConcept/coding/\d+/{CODED}"
    rf"|/Condition/(clinicalStatus|verificationStatus|code)/coding/\d+/{CODED}"
)  # fmt: skip
IDENTITY: Final = re.compile(
    r"(Patient|Practitioner|Organization)/(name|name/\d+/(family|given/\d+)"
    r"|address/\d+/(line/\d+|city|postalCode)|(telecom|identifier)/\d+/value|birthDate"
    r"|extension/\d+/(valueString|valueAddress/city))"
)
BILLED: Final = re.compile(
    r"/Patient/(resourceType|id|gender|birthDate|(identifier|name|telecom)/.*"
    r"|address/\d+/(line/\d+|city|state|postalCode|country))"
)


class Message(NamedTuple):
    document: dict[str, Any]
    kind: str
    views: dict[str, Any]
    """By role; `MISSING` for who sees nothing."""
    contents: dict[str, list[bytes]]
    """By role: all plaintexts that it can decrypt."""


@cache
def messages() -> list[Message]:
    """All resources, sealed for the four roles and opened by them."""
    openers = {role: opener(own) for role, own in KEYS.items()}
    made = []
    for resource in roles.resources():
        document = roles.document_of(resource)
        envelope = SEALER.seal_document(document, policy=POLICY, readers=READERS, subject=SUBJECT)
        found = {role: seen(openers[role], envelope) for role in ROLES}
        views = {role: MISSING if one is None else one.document for role, one in found.items()}
        contents = {role: [*plaintexts(openers[role], envelope).values()] for role in ROLES}
        made.append(Message(document, resource["resourceType"], views, contents))
    return made


@cache
def rule_of(path: Path) -> frozenset[str]:
    return readers(RULES, path)


def text(path: Path) -> str:
    return "".join(f"/{segment}" for segment in path)


def forms(value: Any) -> Iterator[bytes]:
    """How a value would stand in a plaintext: as text, and a float also as it is encoded."""
    if isinstance(value, str):
        yield value.encode()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value).encode()
        if isinstance(value, float):
            yield struct.pack(">d", value)


@cache
def searched(role: str) -> list[tuple[set[bytes], bytes]]:
    """By message: what a role must not find, names of fields included, and what it may read."""
    return [searched_in(message.document, role) for message in messages()]


def searched_in(document: dict[str, Any], role: str) -> tuple[set[bytes], bytes]:
    forbidden, allowed = set[bytes](), set[bytes]()
    for path, value in leaves(document):
        found = {*forms(value), *(str(segment).encode() for segment in path)}
        (allowed if role in rule_of(path) else forbidden).update(found)
    readable = b"\n".join(sorted(allowed))
    return {form for form in forbidden if len(form) >= 4 and form not in readable}, readable


def test_all_resources_go_through() -> None:
    assert len(messages()) == 1066
    kinds = Counter(message.kind for message in messages())
    assert len(kinds) == 16
    assert kinds["Observation"] == 450


def test_audit_sees_everything_as_it_is() -> None:
    for message in messages():
        assert exact(message.views["audit"]) == exact(message.document)


@for_each("role", ROLES)
def test_a_view_is_exactly_what_the_rules_say(role: str) -> None:
    for message in messages():
        expected = view(message.document, lambda path: role in rule_of(path))
        if expected is MISSING:
            assert message.views[role] is MISSING
            assert message.contents[role] == []
        else:
            assert exact(message.views[role]) == exact(expected)


@for_each(("role", "least"), [("clinic", 18_000), ("billing", 27_000),
                                             ("research", 36_000), ("audit", 0)])  # fmt: skip
def test_no_role_can_decrypt_anything_that_it_may_not_read(role: str, least: int) -> None:
    """In the plaintexts of all its parts, and not in the view alone."""
    count = 0
    for message, (forbidden, _) in zip(messages(), searched(role), strict=True):
        content = b"\n".join(message.contents[role])
        assert [form for form in forbidden if form in content] == []
        count += len(forbidden)
    assert count >= least


def test_the_search_finds_what_is_there() -> None:
    """Audit can decrypt everything that is forbidden to others, in the very forms searched for."""
    for number, message in enumerate(messages()):
        content = b"\n".join(message.contents["audit"])
        for role in ROLES:
            forbidden, readable = searched(role)[number]
            missed = {form for form in forbidden if form not in content}
            # Integers are not written out; some are names of nothing else.
            assert all(
                form.isdigit() or re.fullmatch(rb"-?\d+\.\d+(e-\d+)?", form) for form in missed
            )
            own = b"\n".join(message.contents[role])
            assert all(line in own for line in readable.splitlines() if line.isalpha())


def identities() -> Iterator[str]:
    """Everything by which a person of the whole set could be found."""
    for message in messages():
        [resource] = message.document.values()
        yield resource["id"]
        for path, value in leaves(resource):
            if path[-1] == "reference" or IDENTITY.fullmatch(f"{message.kind}{text(path)}"):
                yield value
            elif isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
                yield value[:10]


def test_research_finds_nobody_in_the_whole_set() -> None:
    wanted = {value.encode() for value in identities() if len(value) >= 4}
    content = b"\n".join(part for message in messages() for part in message.contents["research"])
    everything = b"\n".join(part for message in messages() for part in message.contents["audit"])
    assert len(wanted) > 2_000
    assert len(content) > 200_000
    assert {one for one in wanted if one not in everything} == set()
    assert {one for one in wanted if one in content} == set()
    for pattern in (rb"urn:uuid", rb"[0-9a-f]{8}-[0-9a-f]{4}", rb"\d{4}-\d\d-\d\d", rb"T\d\d:\d\d"):
        assert re.search(pattern, everything)
        assert not re.search(pattern, content)


def test_each_role_gets_what_it_is_for_and_nothing_else() -> None:
    """Without a look at the policy."""
    for message in messages():
        kind, views = message.kind, message.views
        assert (views["clinic"] is MISSING) == (kind in BILLS)
        assert (views["billing"] is MISSING) == (kind not in BILLS | DIRECTORY | {"Patient"})
        assert (views["research"] is MISSING) == (kind not in STUDIED)
        fields = {
            role: [] if views[role] is MISSING else [text(path) for path, _ in leaves(views[role])]
            for role in ROLES
        }
        assert kind in BILLS or sorted(fields["clinic"]) == sorted(fields["audit"])
        assert all(map(RESEARCH.fullmatch, fields["research"]))
        expected = filter(BILLED.fullmatch, fields["audit"]) if kind == "Patient" else (
            fields["audit"] if kind in BILLS | DIRECTORY else [])  # fmt: skip
        assert sorted(fields["billing"]) == sorted(expected)
        expected = filter(RESEARCH.fullmatch, fields["audit"])
        assert sorted(fields["research"]) == sorted(expected)


def test_the_policy_has_no_rule_too_many_and_audit_in_each() -> None:
    documents = {str(number): message.document for number, message in enumerate(messages())}
    first, second = findings(POLICY, documents, READERS)  # extensions of addresses, on purpose
    assert str(first).startswith("note: rule 9 ('/Patient/address') gives every other field below")
    assert ": rule 9 decides /Patient/address/" in str(second)
    assert all("audit" in permissions for _, permissions in POLICY.rules)
    assert POLICY.permissions == set(ROLES)
    used = {one.rule for message in messages() for one in POLICY.explain(message.document)}
    assert used == set(range(1, len(FILE_RULES) + 1))


def test_a_resource_of_another_type_does_not_leave() -> None:
    with pytest.raises(FieldDeniedError) as caught:
        SEALER.seal_document(
            roles.document_of({"resourceType": "Device", "id": "1", "note": [{"text": "x"}]}),
            policy=POLICY,
            readers=READERS,
            subject=SUBJECT,
        )
    assert caught.value.pointers == ("/Device/resourceType", "/Device/id", "/Device/note/0/text")


@for_each(
    "pointer",
    ["/Observation/note/0/text", "/Observation/text/div", "/Observation/valueString",
     "/Observation/component/0/valueString", "/Observation/valueQuantity/extension/0/valueString",
     "/Observation/valueQuantity/_value/extension/0/url", "/Observation/_status/extension/0/url",
     "/Observation/code/coding/0/extension/0/url", "/Observation/code/coding/0/_display/id",
     "/Observation/code/extension/0/valueString", "/Observation/modifierExtension/0/url",
     "/Observation/code/coding/0/userSelected", "/Condition/note/0/text",
     "/Condition/identifier/0/value", "/Condition/recorder/display", "/Condition/onsetString",
     "/Condition/code/coding/0/extension/0/valueAddress/city"],
)  # fmt: skip
def test_what_is_added_to_a_resource_does_not_reach_research(pointer: str) -> None:
    assert POLICY.readers_of(pointer) == ("clinic", "audit")


def with_extensions(value: Any) -> Any:
    """Give every map of FHIR an extension, and every scalar in one a sibling with extensions."""
    if isinstance(value, list):
        return [with_extensions(item) for item in value]
    if not isinstance(value, dict):
        return value
    extension = [{"url": "http://example.org/secret", "valueString": "EXTENSION-SECRET"}]
    members = {name: with_extensions(item) for name, item in value.items()}
    siblings = {
        f"_{name}": {"id": "EXTENSION-SECRET", "extension": extension}
        for name, item in value.items()
        if not isinstance(item, dict | list)
    }
    return {**members, **siblings, "extension": extension, "modifierExtension": extension}


def test_research_sees_no_extension_of_anything() -> None:
    """FHIR allows extensions in every element, and who writes them decides what they hold."""
    research = opener(KEYS["research"])
    seen_before = 0
    for message in [one for one in messages() if one.kind in STUDIED][::10]:
        [(kind, resource)] = message.document.items()
        envelope = SEALER.seal_document(
            {kind: with_extensions(resource)}, policy=POLICY, readers=READERS, subject=SUBJECT
        )
        found = seen(research, envelope)
        assert found is not None
        assert exact(found.document) == exact(message.views["research"])
        assert b"EXTENSION" not in b"".join(plaintexts(research, envelope).values())
        seen_before += 1
    assert seen_before > 40


def test_the_cases_of_the_policy_pass() -> None:
    for case in load_cases(roles.HERE / "cases.toml"):
        assert failures(POLICY, case) == []


def test_the_demo_prints_what_each_role_saw(capsys: pytest.CaptureFixture[str]) -> None:
    roles.main([])
    printed = capsys.readouterr().out
    assert "1,066 resources sealed" in printed
    assert re.search(r"^Claim +121 +0 +[\d,]+ +0 +[\d,]+$", printed, re.MULTILINE)
    assert re.search(r"^/Observation/code/text .*✓ +· +· +✓$", printed, re.MULTILINE)
    assert re.search(r"^/Observation/status .*✓ +· +✓ +✓$", printed, re.MULTILINE)
    with pytest.raises(SystemExit, match="no resource has the id"):
        roles.main(["none"])
