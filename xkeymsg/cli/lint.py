"""Findings of `policy lint` about a policy, with or without typical documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from xkeymsg.cli.compare import Comparison
from xkeymsg.cli.coverage import PatternOf, contains, listed_readers, patterns_of
from xkeymsg.cli.findings import Finding
from xkeymsg.display import cut, listed
from xkeymsg.fields.matching import NO_PATTERN
from xkeymsg.fields.pattern import Segment, fold
from xkeymsg.fields.policy import Policy
from xkeymsg.spelling import quoted
from xkeymsg.suggestions import did_you_mean, misspelt

__all__ = ("findings",)

_OTHER: Final = (
    re.compile(r"""[,;|\\?!#<>'`&]|\A\$|%[0-9A-Fa-f]{2}|\(.*\)"""),
    re.compile(r"-\d+|0\d+|\+"),
)
"""Syntax of other languages, within a name and as a whole name."""
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_MOST_RULES: Final = 8


def findings(
    policy: Policy,
    documents: Mapping[str, Any] | None = None,
    readers: Mapping[str, object] | None = None,
) -> list[Finding]:
    """Return findings about a policy.

    Args:
        policy: The policy.
        documents: Typical documents, by the names to use in findings.
        readers: The holders of each permission.
    """
    patterns = patterns_of(policy)
    compared = Comparison(policy, patterns, documents or {})
    return [
        *_odd_names(patterns, compared.names),
        *_permissions(policy, readers),
        *compared.findings(),
        *_filters(policy, patterns),
        *_sums(patterns),
        *_rest(patterns, dict(_wide(patterns)), compared),
    ]


def _permissions(policy: Policy, readers: Mapping[str, object] | None) -> Iterator[Finding]:
    """Find permissions without holders, or that look misspelt."""
    names = sorted(policy.permissions)
    if readers is not None:
        held = {name for name, keys in readers.items() if keys}
        for name in sorted(policy.permissions - held - policy.allow_unread):
            hint = did_you_mean(name, held)
            yield Finding(f"permission {cut(name)!r} has no readers{hint}", is_error=True)
        return
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            if misspelt(name, other):
                yield Finding(f"permission {cut(name)!r} is spelt almost like {cut(other)!r}")


def _odd_names(patterns: Sequence[PatternOf], known: frozenset[str]) -> Iterator[Finding]:
    """Find names without quotes that look like syntax; quotes, or a document, show the intent."""
    spelt: dict[tuple[tuple[Segment, ...], str], tuple[str, PatternOf]] = {}
    for each in patterns:
        bare = _QUOTED.sub('""', each.text)
        names = [segment.name for segment in each.segments if segment.name is not None]
        for part in bare.split("/"):
            odd = _OTHER[0].search(part) or _OTHER[1].fullmatch(part)
            if odd and part not in known:
                yield Finding(
                    f"{each}: {cut(odd[0])!r} has no special meaning in a name: if it is intended,"
                    " put the name in quotes",
                    is_error=True,
                )
                break
        if any(character != " " and not fold(character) for character in bare):
            yield Finding(
                f"rule {each.rule} ({cut(ascii(each.text), 200)}) contains invisible or"
                ' non-normalized characters: if they are intended, write the name as "…" with'
                " \\u escapes",
                is_error=True,
            )
        for at, name in zip(
            [at for at, one in enumerate(each.segments) if one.name is not None], names, strict=True
        ):
            place = each.segments[:at], fold(name)
            first, pattern = spelt.setdefault(place, (name, each))
            if name != first:
                yield Finding(
                    f"{each} and {pattern} spell the same name differently", is_error=True
                )


def _filters(policy: Policy, patterns: Sequence[PatternOf]) -> Iterator[Finding]:
    """Find members that filters reveal, and readers of places whose filter does not match."""
    for each in patterns:
        for at, segment in enumerate(each.segments, 1):
            for test in sorted(segment.filters, key=str):
                member = *each.segments[:at], Segment(test.name)
                hidden = each.readers - _decided(policy, member)[1]
                if hidden:
                    yield Finding(
                        f"{each}: the filter reveals the member {cut(test.name)!r} to"
                        f" {listed_readers(hidden)}, which may not read it"
                    )
        if any(segment.filters for segment in each.segments):
            plain = [segment._replace(filters=frozenset()) for segment in each.segments]
            rule, readers = _decided(policy, plain)
            if readers - each.readers:
                yield Finding(
                    f"{each}: if the filter does not match, rule {rule} decides and"
                    f" {listed_readers(readers - each.readers)} may read: the author of the"
                    " document chooses"
                )


def _decided(policy: Policy, segments: Sequence[Segment]) -> tuple[int, frozenset[str]]:
    """Return the rule and readers of a place that a pattern matches, and no narrower one."""
    for state in policy.reach(segments):
        if state.rule != NO_PATTERN:
            decision = policy.decide((), state.rule)
            return decision.rule, frozenset(decision.permissions)
    return 0, frozenset()


def _wide(patterns: Sequence[PatternOf]) -> Iterator[tuple[int, PatternOf]]:
    """Find patterns that cover more than an earlier one, for more readers.

    Yields the number of the pattern, and the earlier pattern with the fewest readers.
    """
    for number, each in enumerate(patterns):
        narrower = [
            one
            for one in patterns[:number]
            if each.readers - one.readers
            and not one.is_position
            and not any(segment.filters for segment in one.segments)
            and contains(each, one)
        ]
        if narrower:
            inside = [one for one in narrower if one.readers < each.readers]
            yield number, min(inside or narrower, key=lambda one: len(one.readers))


def _rest(
    patterns: Sequence[PatternOf], wide: Mapping[int, PatternOf], compared: Comparison
) -> Iterator[Finding]:
    """Find rules that give away fields that no rule names, and list those fields."""
    for number, keeper in wide.items():
        each = patterns[number]
        below = "" if each.is_whole else f" below {each.text}"
        yield Finding(
            f"{each} gives every other field{below} to {listed_readers(each.readers)}, although"
            f" rule {keeper.rule} gives {quoted(keeper.text)} to {listed_readers(keeper.readers)}"
            " only: forgotten and new fields are open"
        )
        for name, shapes in compared.decided(number).items():
            yield Finding(f"{name}: rule {each.rule} decides {listed(shapes)}")


def _sums(patterns: Sequence[PatternOf]) -> Iterator[Finding]:
    """Find a last rule whose readers might expect to read fields of earlier rules, too."""
    last = patterns[-1]
    apart = [
        each for each in patterns if each.readers - last.readers and last.readers - each.readers
    ] if last.is_whole else []  # fmt: skip
    if apart:
        lost = last.readers - frozenset.intersection(*(each.readers for each in apart))
        rules = [str(each) for each in dict.fromkeys(each.rule for each in apart)]
        more = f" and {len(rules) - _MOST_RULES} more" if len(rules) > _MOST_RULES else ""
        what = f"rules {', '.join(rules[:_MOST_RULES])}{more} decide"
        if len(rules) == 1:
            what = f"rule {rules[0]} decides"
        yield Finding(
            f"only the first matching rule applies: {listed_readers(lost)} cannot read all fields"
            f" that {what}, although {last} gives every other field"
        )
