"""From one subject to another."""

from __future__ import annotations

import pytest

from tests.cases import for_each
from xkeymsg.daemons.sender.subject_map import SubjectMap
from xkeymsg.errors import ConfigurationError, MalformedError


@for_each(
    ("pattern", "to", "subject", "result"),
    [
        ("ehr.*", "sealed.ehr.{1}", "ehr.new", "sealed.ehr.new"),
        ("*.ehr.*", "s.{2}.{1}.{2}", "a.ehr.b", "s.b.a.b"),
        ("*.ehr.>", "s.{1}-x.{>}", "a.ehr.b.c", "s.a-x.b.c"),
        ("ehr.>", "{subject}", "ehr.a.b", "ehr.a.b"),
        ("ehr.>", "out", "ehr.a.b", "out"),
        (">", "s.{subject}", "a.b", "s.a.b"),
        ("a.b", "s.{subject}", "a.b", "s.a.b"),
        (None, "s.x", "", "s.x"),
    ],
)
def test_tokens_go_where_they_are_referred_to(
    pattern: str | None, to: str, subject: str, result: str
) -> None:
    assert SubjectMap(pattern, to)(subject) == result


@for_each(
    ("pattern", "to", "why"),
    [
        ("ehr.*", "s.{2}", "unknown reference {2}"),
        ("ehr.*", "s.{0}", "unknown reference {0}"),
        ("ehr.*", "s.{>}", "unknown reference {>}"),
        ("ehr.*", "s.{name}", "unknown reference {name}"),
        (None, "s.{subject}", "available: none"),
        ("ehr.*", "s..{1}", "expected a subject"),
        ("ehr.*", "s.*", "expected a subject"),
        ("ehr.*", "s. {1}", "expected a subject"),
        ("ehr.*", "", "expected a subject"),
        ("ehr.*", "{1}.s", "the source must not choose it"),
        ("ehr.*", "x{1}.s", "the source must not choose it"),
        ("*.x", "{subject}", "the source must not choose it"),
        (">", "{>}", "the source must not choose it"),
        ("$JS.>", "{subject}", "for servers and replies"),
        ("ehr.*", "_XKM.{1}", "for servers and replies"),
        ("ehr.*", "$JS.API.{1}", "for servers and replies"),
        ("ehr..x", "s", "expected a subject, or a pattern"),
    ],
)
def test_an_invalid_map_is_refused_at_the_start(pattern: str | None, to: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=".*" + why.replace("{", r"\{")):
        SubjectMap(pattern, to)


@for_each("subject", ["ehr", "ehr.a.b", "x.a", "", "EHR.a", "ehr."])
def test_another_subject_goes_nowhere(subject: str) -> None:
    with pytest.raises(MalformedError):
        SubjectMap("ehr.*", "s.{1}")(subject)
