"""What a check-up finds, and how it is judged: functions of what was seen, which need no server.

What a server says is from outside: of its JSON only what has the expected kind is looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from xkeymsg.limits import Limits
from xkeymsg.transport.subjects import covers, overlap

__all__ = (
    "Finding",
    "Grant",
    "Level",
    "granted",
    "judge_account",
    "judge_clock",
    "judge_durable",
    "judge_metrics",
    "judge_payload",
    "judge_stream",
    "parse_time",
    "table_of",
)

Level = Literal["ok", "warn", "fail", "skip"]

_NOTICED: Final = 5.0
"""Seconds between two clocks that are worth a word."""
_FULL: Final = 0.9
_SMALL: Final = 64 * 1024
_SERIES: Final = re.compile(
    r'^xkeymsg_([a-z_]{1,64})\{route="([A-Za-z0-9_-]{1,64})"\} ([0-9.eE+InfNa-]{1,32})$',
    re.MULTILINE,
)


class Finding(NamedTuple):
    """One line of a check-up."""

    check: str
    level: Level
    text: str
    """What was seen."""
    remedy: str = ""
    """What to do, where there is something to do."""


class Grant(NamedTuple):
    """What permissions let a user do on a subject or pattern."""

    extent: Literal["all", "part", "none"]
    queue: str = ""
    """The queue group in which alone it may subscribe, if so."""


def table_of(value: object, key: str) -> Mapping[str, Any]:
    """Return a table in a table of JSON; an empty one where there is none."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _number(table: Mapping[str, Any], key: str) -> int:
    value = table.get(key)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else 0


def parse_time(text: object) -> float | None:
    """Return a time of the server's (RFC 3339) in seconds since 1970, or None if it is none."""
    try:
        when = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return None if when is None or when.tzinfo is None else when.timestamp()


def judge_clock(samples: Iterable[tuple[float, float, float]]) -> Finding:
    """Judge our clock by the server's.

    Args:
        samples: Our time before a request, the server's time in the response, and ours after it,
            in seconds. The server's was taken in between: half of the round trip is the bound.
    """
    measured = [((after - before) / 2, (before + after) / 2 - at) for before, at, after in samples]
    if not measured:
        return Finding(
            "clock",
            "warn",
            "not compared: no answer of the server told its time",
            "see login; and see that the time is kept (NTP)",
        )
    bound, ahead = min(measured, key=lambda each: abs(each[0]))
    side = "ahead of" if ahead > 0 else "behind"
    said = f"{_seconds(ahead)} {side} the server's, ± {_seconds(bound)}"
    skew = Limits().skew.total_seconds()
    if abs(ahead) - abs(bound) > skew:
        remedy = f"set one of them: above {skew:.0f} s messages count as from the future, or old"
        return Finding("clock", "fail", said, remedy)
    if abs(ahead) - abs(bound) > _NOTICED:
        return Finding("clock", "warn", said, "keep the time on both machines (NTP)")
    return Finding("clock", "ok", said)


def judge_payload(limit: int) -> Finding:
    """Judge the server's `max_payload`."""
    said = f"{_size(limit)} a message"
    if limit < _SMALL:
        return Finding(
            "max_payload", "warn", said, "an envelope adds some hundred bytes, and 64 a reader"
        )
    most = Limits().envelope
    if limit > most:
        remedy = f"receivers refuse more than {_size(most)} unless their limits say otherwise"
        return Finding("max_payload", "warn", said, remedy)
    return Finding("max_payload", "ok", said)


def judge_metrics(page: str) -> list[Finding]:
    """Judge the replay memories of a daemon's routes by its page of metrics."""
    series: dict[str, dict[str, float]] = {}
    for name, route, number in _SERIES.findall(page):
        try:
            series.setdefault(route, {})[name] = float(number)
        except ValueError:
            continue
    findings = []
    for route, values in series.items():
        if (covers := values.get("replay_covers_seconds")) is None:
            continue
        max_age = values.get("max_age_seconds", Limits().max_age.total_seconds())
        dropped, pending = (
            f"{values.get(name, 0):.0f}"
            for name in ("replay_pages_dropped_total", "replay_pending")
        )
        said = f"{route}: every mark is kept, {pending} pending"
        if covers == math.inf:
            findings.append(Finding("replay", "ok", said))
            continue
        said = (
            f"{route}: covers {covers:.0f} s, max_age is {max_age:.0f} s, {dropped} pages dropped"
        )
        if covers >= max_age:
            findings.append(Finding("replay", "ok", said))
        else:
            remedy = "older messages are refused as stale: raise replay_bytes of the route"
            findings.append(Finding("replay", "warn", said, remedy))
    return findings or [Finding("replay", "skip", "no route of this daemon opens messages")]


def judge_account(answer: Mapping[str, Any], *, demanded: bool) -> Finding:
    """Judge the answer to `$JS.API.INFO`."""
    error = table_of(answer, "error")
    if error:
        return Finding(
            "jetstream",
            "fail" if demanded else "warn",
            str(error.get("description")),
            "enable JetStream for this account, or do without streams and quarantine",
        )
    limits, found, full = table_of(answer, "limits"), [], []
    for what, used, most in (
        ("storage", _number(answer, "storage"), _number(limits, "max_storage")),
        ("memory", _number(answer, "memory"), _number(limits, "max_memory")),
    ):
        found.append(f"{what} {_size(used)} of {_size(most) if most >= 0 else 'any'}")
        full += [what] if 0 <= most * _FULL <= used else []
    streams, most = _number(answer, "streams"), _number(limits, "max_streams")
    found.append(f"streams {streams} of {most if most > 0 else 'any'}")
    full += ["streams"] if 0 < most <= streams else []
    said = ", ".join(found)
    if full:
        return Finding("jetstream", "warn", said, f"make room: {' and '.join(full)}")
    return Finding("jetstream", "ok", said)


def judge_stream(
    name: str, answer: Mapping[str, Any], *, proven: bool, demanded: bool
) -> list[Finding]:
    """Judge a stream of quarantine by the answer to `$JS.API.STREAM.INFO`.

    What came from a proven sender must not be lost, what anybody can have sent must not fill a
    disk: the one never discards, the other always can.
    """
    error = table_of(answer, "error")
    if error:
        return [
            Finding(
                name,
                "fail" if demanded else "warn",
                str(error.get("description")),
                "xkeymsg quarantine init makes it, for what cannot be opened; or name yours",
            )
        ]
    config, state = table_of(answer, "config"), table_of(answer, "state")
    faults = list(_faults_of_proven(config) if proven else _faults_of_unproven(config))
    if config.get("storage") == "memory":
        faults.append(("warn", "is kept in memory", "a restart of the server empties it"))
    size, most = _number(state, "bytes"), _number(config, "max_bytes")
    count, many = _number(state, "messages"), _number(config, "max_msgs")
    if proven and (0 < most * _FULL <= size or 0 < many * _FULL <= count):
        faults.append(("warn", "is nearly full", "look at what is in it: when full, reading stops"))
    said = f"{count} messages{f' of {many}' if many > 0 else ''}, {_size(size)}"
    said += f" of {_size(most) if most > 0 else 'any'}"
    return [Finding(name, level, f"{what}; {said}", remedy) for level, what, remedy in faults] or [
        Finding(name, "ok", said)
    ]


def judge_durable(name: str, answer: Mapping[str, Any]) -> Finding:
    """Judge a durable that receivers share by the answer to `$JS.API.CONSUMER.INFO`."""
    error, config = table_of(answer, "error"), table_of(answer, "config")
    if error:
        said = f"{name}: {error.get('description')}"
        return Finding("durable", "fail", said, "make it, or name yours: STREAM/DURABLE")
    limit, pending = _number(config, "max_deliver"), _number(config, "max_ack_pending")
    said = (
        f"{name}: {_number(answer, 'num_ack_pending')} of {pending if pending > 0 else 'any'} out"
    )
    said += f", {_number(answer, 'num_pending')} to come"
    if config.get("deliver_subject"):
        return Finding("durable", "fail", f"{said}; it pushes", "make one to pull from")
    if config.get("ack_policy") != "explicit":
        remedy = "make it with --ack=explicit: without, nothing comes again"
        return Finding("durable", "fail", f"{said}; nothing is acknowledged in it", remedy)
    if config.get("headers_only") or config.get("priority_groups"):
        said += "; delivers headers alone, or to groups"
        return Finding("durable", "fail", said, "make one without headers_only and priority_groups")
    if limit > 0:
        said += f"; gives a message up after {limit} deliveries"
        remedy = "nats consumer edit --max-deliver=-1: a process that dies at the last one loses it"
        return Finding("durable", "warn", said, remedy)
    return Finding("durable", "ok", said)


_Fault = tuple[Level, str, str]


def _faults_of_proven(config: Mapping[str, Any]) -> Iterable[_Fault]:
    if config.get("discard") != "new":
        yield "fail", "discards what is old", "nats stream edit --discard=new"
    if config.get("retention") != "limits":
        yield "fail", "deletes what was looked at", "make it with --retention=limits"
    if _number(config, "max_age") > 0:
        yield "fail", "deletes what is old", "nats stream edit --max-age=-1"
    # One for each record's name is as it should be, where the first stays and not the last.
    if _number(config, "max_msgs_per_subject") > 0 and not config.get("discard_new_per_subject"):
        yield "fail", "keeps the last of a subject", "nats stream edit --discard-per-subject"


def _faults_of_unproven(config: Mapping[str, Any]) -> Iterable[_Fault]:
    if _number(config, "max_bytes") <= 0:
        yield "fail", "has no bound, and anybody can fill it", "nats stream edit --max-bytes=64MB"
    if config.get("discard") != "old":
        yield "warn", "takes nothing when full", "nats stream edit --discard=old"


def granted(permissions: Mapping[str, Any], kind: str, subject: str) -> Grant:
    """Tell what of a subject, or pattern, these permissions let a user do.

    The server itself would not tell all of it: who may subscribe to `a.*` alone may try `a.>`.

    Args:
        permissions: As the server tells them.
        kind: `"publish"` or `"subscribe"`.
        subject: What is to be done.
    """
    rules = table_of(permissions, kind)
    # "a.> workers" is for the queue group alone.
    allowed = [each.partition(" ") for each in _patterns(rules, "allow")]
    denied = [each for each in _patterns(rules, "deny") if " " not in each]
    if any(covers(pattern, subject) for pattern in denied):
        return Grant("none")
    parted = any(overlap(pattern, subject) for pattern in denied)
    if not allowed:
        return Grant("part" if parted else "all")
    groups = [queue for pattern, _, queue in allowed if covers(pattern, subject)]
    if groups:
        return Grant("part" if parted else "all", "" if "" in groups else groups[0])
    parted = any(overlap(pattern, subject) for pattern, _, _ in allowed)
    return Grant("part" if parted else "none")


def _patterns(rules: Mapping[str, Any], key: str) -> list[str]:
    value = rules.get(key)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _seconds(seconds: float) -> str:
    seconds = abs(seconds)
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
