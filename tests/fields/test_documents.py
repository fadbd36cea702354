"""Documents sealed and opened: who gets what."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - of our own
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB, BOB_USER, CAROL, DAVE
from tests.fields.people import SEALER, SUBJECT, opener, seal, seen, view
from xkeymsg import (
    WITHHELD,
    ContentTypeError,
    FieldDeniedError,
    Keyring,
    LimitExceededError,
    MalformedError,
    NotARecipientError,
    Policy,
    PolicyError,
    Recipient,
    Sealer,
)

POLICY = Policy([
    ("/patient/name", ["billing", "clinic"]),
    ("/notes/1", ["billing", "clinic"]),
    ("/claim/**", ["billing"]),
    ("/**", ["clinic"]),
])  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "patient": {"name": "Ada", "phone": "555"},
    "claim": {"total": Decimal("12.50"), "items": []},
    "notes": ["ok", "call"],
}
READERS: dict[str, Any] = {"clinic": [BOB.public], "billing": [CAROL.public]}


def test_the_example_of_the_specification() -> None:
    envelope = seal(DOCUMENT, POLICY, READERS)
    bob, carol = (seen(opener(own), envelope) for own in (BOB, CAROL))
    assert bob is not None
    assert carol is not None
    assert bob.document == {"patient": DOCUMENT["patient"], "notes": ["ok", "call"]}
    assert carol.document == {
        "patient": {"name": "Ada"},
        "notes": [WITHHELD, "call"],
        "claim": {"total": Decimal("12.50"), "items": []},
    }
    assert (bob.withheld, carol.withheld) == (1, 1)
    assert "Ada" not in repr(bob)


def test_a_field_without_a_rule_stops_the_sealing_and_all_are_named() -> None:
    """F-32, F-33"""
    with pytest.raises(FieldDeniedError) as caught:
        seal({"a": 1, "b": {"c/d": [1, {}]}, "*": "~", "": None}, Policy([("/a", ["all"])]))
    assert caught.value.pointers == ("/b/c~1d/0", "/b/c~1d/1", "/~2", '/""')
    assert caught.value.code == "field_denied"
    assert "~'" not in str(caught.value)


def test_a_key_under_several_permissions_gets_the_union() -> None:
    """F-45: as one recipient, with one wrap."""
    readers = {"clinic": [BOB.public], "billing": [BOB.public, Recipient(BOB.public), CAROL.public]}
    envelope = seal(DOCUMENT, POLICY, readers)
    found = seen(opener(BOB), envelope)
    assert found is not None
    assert (found.document, found.withheld) == (DOCUMENT, 0)
    assert len(envelope) < len(seal(DOCUMENT, POLICY, {**readers, "clinic": [DAVE.public]}))


def test_a_recipient_with_a_user_is_another_than_the_key_alone() -> None:
    """F-45"""
    known = Recipient(BOB.public, BOB_USER.public)
    envelope = seal(DOCUMENT, POLICY, {"clinic": [known], "billing": [BOB.public]})
    assert view(Keyring(BOB, user=BOB_USER.public), envelope)["notes"] == ["ok", "call"]
    assert view(BOB, envelope)["notes"] == [WITHHELD, "call"]


def test_a_reader_without_a_field_is_no_recipient() -> None:
    """F-46"""
    envelope = seal({"claim": {"total": 1}}, POLICY, READERS)
    with pytest.raises(NotARecipientError):
        opener(BOB).open_document(envelope, subject=SUBJECT)
    assert view(CAROL, envelope) == {"claim": {"total": 1}}


def test_a_document_for_nobody_is_refused() -> None:
    """F-47"""
    policy = Policy([("/a", ["x"]), ("/b", ["y"])], allow_unread=["x"])
    with pytest.raises(MalformedError, match="no recipients"):
        seal({"a": 1}, policy, {"y": [BOB.public]})


def test_a_permission_without_readers_is_refused_before_anything_else() -> None:
    """F-35: used by this document or not."""
    for readers in ({"clinic": [BOB.public]}, {"clinic": [BOB.public], "billing": []}, {}):
        with pytest.raises(PolicyError, match="no readers for permission billing") as caught:
            seal({"notes": {1}}, POLICY, readers)
        assert caught.value.code == "policy_invalid"


def test_allow_unread_seals_what_nobody_reads_and_tells_that_it_is_there() -> None:
    """F-48"""
    policy = Policy([("/a", ["x"]), ("/**", ["y"])], allow_unread=["x"])
    found = seen(opener(BOB), seal({"a": 1, "b": 2}, policy, {"y": [BOB.public], "z": []}))
    assert found is not None
    assert (found.document, found.withheld) == ({"b": 2}, 1)


def test_always_to_reads_everything_and_is_no_holder() -> None:
    """F-35: who always reads does not stand for the holders of a permission."""
    escrow = Sealer(ALICE, always_to=[DAVE.public])
    found = seen(opener(DAVE), seal(DOCUMENT, POLICY, READERS, escrow))
    assert found is not None
    assert (found.document, found.withheld) == (DOCUMENT, 0)
    with pytest.raises(PolicyError):
        seal(DOCUMENT, POLICY, {"clinic": [BOB.public]}, escrow)
    unread = Policy([("/**", ["x"])], allow_unread=["x"])
    assert view(DAVE, seal(7, unread, {}, escrow)) == 7


def test_a_document_is_opened_as_one_and_a_payload_as_one() -> None:
    with pytest.raises(ContentTypeError):
        opener(BOB).open(seal(DOCUMENT), subject=SUBJECT)
    payload = SEALER.seal(b"{}", to=[BOB.public], subject=SUBJECT)
    with pytest.raises(ContentTypeError) as caught:
        opener(BOB).open_document(payload, subject=SUBJECT)
    assert caught.value.public_code == "refused"


@for_each("padding", [False, True])
@for_each("document", [DOCUMENT, {"claim": {}, "b": 1}])
def test_headers_and_content_type_are_for_every_reader(padding: bool, document: Any) -> None:
    """F-44: and are no part of the document."""
    envelope = seal(
        document, POLICY, READERS, Sealer(ALICE, padding=padding),
        headers=[("trace", "1"), ("trace", "2")], content_type="application/fhir+json",
        expires=3600, revision=7,
    )  # fmt: skip
    for own in (BOB, CAROL):
        found = seen(opener(own), envelope)
        assert found is not None
        assert found.headers.pairs == (("trace", "1"), ("trace", "2"))
        assert (found.content_type, found.revision) == ("application/fhir+json", 7)
        assert (found.data, found.withheld, found.sender) == (b"", 1, ALICE.public)


def test_odd_names_and_empty_containers_survive() -> None:
    document = {
        "/": 1, "~": 2, "*": 3, "**": 4, "": {"": []}, "é": "e\u0301", "\0": "\ufeff", "~1": {},
        "a": {"0": 1}, "b": [1], "c": [[], {}, [None]], "0": [{"1": True}], "x" * 300: b"",
    }  # fmt: skip
    assert view(BOB, seal(document)) == document
    one_each = Policy([*((f"/{name}/**", ["all"]) for name in ("~1", "~0", "~2", "~2~2", "a")),
                       ("/*/*", ["other"]), ("/**", ["all", "other"])])  # fmt: skip
    readers = {"all": [BOB.public], "other": [BOB.public, CAROL.public]}
    assert view(BOB, seal(document, one_each, readers)) == document
    carol = view(CAROL, seal(document, one_each, readers))
    assert not carol.keys() & {"/", "~", "*", "**", "a"}
    assert carol["b"] == [1]


def test_a_value_keeps_its_type_and_its_offset() -> None:
    zone = timezone(timedelta(hours=-3, minutes=-30))
    document = [
        True, 1, 1.0, -0.0, "1", b"1", Decimal("1.00"), 2**64, -(2**63), UUID(int=5),
        datetime(2026, 3, 1, 9, 30, 0, 250_000, tzinfo=zone), datetime(1, 1, 1, tzinfo=UTC),
    ]  # fmt: skip
    found = view(BOB, seal(document))
    assert list(map(type, found)) == list(map(type, document))
    assert list(map(repr, found)) == list(map(repr, document))


def test_withheld_is_one_and_like_nothing_else() -> None:
    """F-57"""
    assert repr(WITHHELD) == "WITHHELD"
    assert not WITHHELD
    values: list[Any] = [None, False, 0, "", [], {}, "WITHHELD"]
    assert WITHHELD not in values
    assert pickle.loads(pickle.dumps([WITHHELD]))[0] is WITHHELD
    assert copy.deepcopy([WITHHELD])[0] is WITHHELD


def test_more_parts_and_views_than_the_format_has_are_refused() -> None:
    """F-49"""
    names = [f"p{number}" for number in range(65)]
    policy = Policy([(f"/{name}", [name]) for name in names])
    readers = {name: [BOB.public] for name in names}
    assert view(BOB, seal(dict.fromkeys(names[:64], 1), policy, readers)) is not None
    with pytest.raises(LimitExceededError, match="number of parts"):
        seal(dict.fromkeys(names, 1), policy, readers)
    with pytest.raises(LimitExceededError, match="number of parts"):
        seal(dict.fromkeys(names[:64], 1), policy, readers, content_type="a/b")


def test_who_holds_a_permission_now_counts_and_not_who_did() -> None:
    """What is kept of readers from message to message never outlives a change of theirs."""
    sealer, policy = Sealer(ALICE), Policy([("/a", ["x"]), ("/**", ["x", "y"])])
    holders = {"x": [BOB.public], "y": [CAROL.public]}
    document = {"a": 1, "b": 2}

    def views() -> list[Any]:
        envelope = seal(document, policy, holders, sealer)
        return [view(own, envelope) for own in (BOB, CAROL, DAVE)]

    assert views() == views() == [document, {"b": 2}, None]
    holders["x"].append(DAVE.public)
    assert views() == [document, {"b": 2}, document]
    del holders["x"][0]
    assert views() == [None, {"b": 2}, document]
    holders["x"], holders["y"] = holders["y"], holders["x"]
    assert views() == [None, document, {"b": 2}]
    holders["x"] = iter([CAROL.public])  # type: ignore[assignment]
    assert views() == [None, document, {"b": 2}]
    holders["x"] = []
    with pytest.raises(PolicyError, match="no readers for permission x"):
        views()


def test_documents_of_one_shape_may_have_headers_or_not() -> None:
    sealer, policy = Sealer(ALICE), Policy([("/a", ["x"]), ("/**", ["x", "y"])])
    holders = {"x": [BOB.public], "y": [CAROL.public]}
    for headers in ({}, {"A": "b"}, {}, {"A": "c"}):
        envelope = seal({"a": 1, "b": 2}, policy, holders, sealer, headers=headers)
        found = seen(opener(CAROL), envelope)
        assert found is not None
        assert dict(found.headers) == headers
        assert (found.document, found.withheld) == ({"b": 2}, 1)
