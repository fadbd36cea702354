"""Findings of the doctor, as pure functions of observations.

Responses of a server are untrusted: JSON values of an unexpected type are ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from xkeymsg.directory.settings import bucket_faults
from xkeymsg.display import listed
from xkeymsg.limits import Limits
from xkeymsg.transport.subjects import covers, overlap

__all__ = (
    "SOON",
    "CheckResult",
    "Grant",
    "Level",
    "granted",
    "judge_account",
    "judge_clock",
    "judge_directory",
    "judge_durable",
    "judge_metrics",
    "judge_payload",
    "judge_readiness",
    "judge_stream",
    "shown_time",
    "table_of",
)

Level = Literal["ok", "warn", "fail", "skip"]

SOON: Final = 30 * 86_400.0
"""Seconds before the expiry of a certificate from which a warning is given."""
_NOTICED: Final = 5.0
"""Clock difference in seconds from which a warning is given."""
_FULL: Final = 0.9
_SMALL: Final = 64 * 1024
_UNLIMITED: Final = " (no limit)"
_SERIES: Final = re.compile(
    r'^xkeymsg_([a-z_]{1,64})\{route="([A-Za-z0-9_-]{1,64})"\} ([0-9.eE+InfNa-]{1,32})$',
    re.MULTILINE,
)
_CONDITION: Final = re.compile(r"^(ok|NO) ([a-z -]{1,32})$", re.MULTILINE)


class CheckResult(NamedTuple):
    """One result line of the doctor."""

    check: str
    level: Level
    text: str
    """The observation."""
    remedy: str = ""
    """What to do, if anything."""


class Grant(NamedTuple):
    """The rights of a user on a subject or pattern."""

    extent: Literal["all", "part", "none"]
    queue: str = ""
    """The only queue group in which the user may subscribe, if restricted."""


def table_of(value: object, key: str) -> Mapping[str, Any]:
    """Return a nested JSON object, or an empty mapping."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _number(table: Mapping[str, Any], key: str) -> int:
    value = table.get(key)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else 0


def judge_clock(samples: Iterable[tuple[float, float, float]]) -> CheckResult:
    """Compare our clock with the server's.

    Args:
        samples: Our time before a request, the server's time in the response, and our time after
            it, in seconds. The server's time lies in between: the error is at most half of the
            round trip.
    """
    measured = [((after - before) / 2, (before + after) / 2 - at) for before, at, after in samples]
    if not measured:
        return CheckResult(
            "clock",
            "warn",
            "not compared: no response of the server had a time",
            "follow the hint of login, and synchronize both clocks (NTP)",
        )
    bound, ahead = min(measured, key=lambda each: abs(each[0]))
    side = "ahead of" if ahead > 0 else "behind"
    said = f"{_seconds(ahead)} {side} the server's, ± {_seconds(bound)}"
    skew = Limits().skew
    if abs(ahead) - abs(bound) > skew:
        remedy = f"correct it: beyond {skew:.0f} s messages are refused as future or old"
        return CheckResult("clock", "fail", said, remedy)
    if abs(ahead) - abs(bound) > _NOTICED:
        return CheckResult("clock", "warn", said, "synchronize both clocks (NTP)")
    return CheckResult("clock", "ok", said)


def judge_payload(limit: int) -> CheckResult:
    """Judge the server's `max_payload`."""
    said = f"{_size(limit)} per message"
    if limit < _SMALL:
        return CheckResult(
            "max_payload",
            "warn",
            said,
            "raise max_payload: an envelope adds a few hundred bytes, and 64 per recipient",
        )
    most = Limits().envelope
    if limit > most:
        remedy = f"lower it: receivers refuse more than {_size(most)} by default"
        return CheckResult("max_payload", "warn", said, remedy)
    return CheckResult("max_payload", "ok", said)


def judge_readiness(page: str) -> CheckResult:
    """Judge the conditions on the daemon's page of readiness."""
    conditions = _CONDITION.findall(page)
    unmet = [name for state, name in conditions if state == "NO"]
    if not conditions:
        return CheckResult("readiness", "fail", "the page shows no conditions", "check the address")
    if not unmet:
        return CheckResult("readiness", "ok", f"{len(conditions)} conditions hold")
    remedy = "the daemon's log says why"
    if "secrets" in unmet:
        remedy += "; secrets: its user has certified a key that it lacks: give it the key"
    return CheckResult("readiness", "fail", f"not ready: {listed(unmet[:8], len(unmet))}", remedy)


def judge_metrics(page: str) -> list[CheckResult]:
    """Judge the replay memory of each route by the daemon's metrics page."""
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
        max_age = values.get("max_age_seconds", Limits().max_age)
        dropped, pending = (
            f"{values.get(name, 0):.0f}"
            for name in ("replay_pages_dropped_total", "replay_pending")
        )
        said = f"{route}: every mark is kept, {pending} pending"
        if covers == math.inf:
            findings.append(CheckResult("replay", "ok", said))
            continue
        said = (
            f"{route}: covers {covers:.0f} s, max_age is {max_age:.0f} s, {dropped} pages dropped"
        )
        if covers >= max_age:
            findings.append(CheckResult("replay", "ok", said))
        else:
            remedy = "older messages are refused as stale: raise the route's replay_bytes"
            findings.append(CheckResult("replay", "warn", said, remedy))
    return findings or [CheckResult("replay", "skip", "no route of this daemon opens messages")]


def judge_account(answer: Mapping[str, Any], *, demanded: bool) -> CheckResult:
    """Judge the answer to `$JS.API.INFO`."""
    error = table_of(answer, "error")
    if error:
        return CheckResult(
            "jetstream",
            "fail" if demanded else "warn",
            str(error.get("description")),
            "enable JetStream for this account, or use neither streams nor quarantine",
        )
    limits, found, full = table_of(answer, "limits"), [], []
    for what, used, most in (
        ("storage", _number(answer, "storage"), _number(limits, "max_storage")),
        ("memory", _number(answer, "memory"), _number(limits, "max_memory")),
    ):
        found.append(f"{what} {_size(used)}{f' of {_size(most)}' if most >= 0 else _UNLIMITED}")
        full += [what] if 0 <= most * _FULL <= used else []
    streams, most = _number(answer, "streams"), _number(limits, "max_streams")
    found.append(f"streams {streams}{f' of {most}' if most > 0 else _UNLIMITED}")
    full += ["streams"] if 0 < most <= streams else []
    said = ", ".join(found)
    if full:
        return CheckResult("jetstream", "warn", said, f"make room: {' and '.join(full)}")
    return CheckResult("jetstream", "ok", said)


def judge_stream(
    name: str, answer: Mapping[str, Any], *, proven: bool, demanded: bool
) -> list[CheckResult]:
    """Judge a quarantine stream by the answer to `$JS.API.STREAM.INFO`.

    Authenticated messages must not be lost, so their stream never discards. Unauthenticated ones,
    which anyone can send, must not fill the disk, so their stream discards the oldest.
    """
    error = table_of(answer, "error")
    if error:
        return [
            CheckResult(
                name,
                "fail" if demanded else "warn",
                str(error.get("description")),
                "run xkeymsg quarantine init, or name yours with --unproven and --proven",
            )
        ]
    config, state = table_of(answer, "config"), table_of(answer, "state")
    faults = list(_faults_of_proven(config) if proven else _faults_of_unproven(config))
    if config.get("storage") == "memory":
        faults.append(("warn", "is stored in memory", "a restart of the server empties it"))
    size, most = _number(state, "bytes"), _number(config, "max_bytes")
    count, many = _number(state, "messages"), _number(config, "max_msgs")
    if proven and (0 < most * _FULL <= size or 0 < many * _FULL <= count):
        faults.append(
            ("warn", "is nearly full", "review its messages: when it is full, consumers stop")
        )
    said = f"{count} messages{f' of {many}' if many > 0 else ''}, {_size(size)}"
    said += f" of {_size(most)}" if most > 0 else _UNLIMITED
    return [
        CheckResult(name, level, f"{what}; {said}", remedy) for level, what, remedy in faults
    ] or [CheckResult(name, "ok", said)]


def judge_directory(answer: Mapping[str, Any]) -> list[CheckResult]:
    """Judge the bucket of the directory by the answer to `$JS.API.STREAM.INFO`; none is fine."""
    config = table_of(answer, "config")
    if not config:
        return []
    remedy = "delete the bucket, run xkeymsg directory init, and publish the entries again"
    faults = [CheckResult("directory", "fail", each, remedy) for each in bucket_faults(config)]
    count = _number(table_of(answer, "state"), "messages")
    return faults or [CheckResult("directory", "ok", f"the bucket XKEYS has {count} entries")]


def judge_durable(name: str, answer: Mapping[str, Any]) -> CheckResult:
    """Judge a shared durable by the answer to `$JS.API.CONSUMER.INFO`."""
    error, config = table_of(answer, "error"), table_of(answer, "config")
    if error:
        said = f"{name}: {error.get('description')}"
        return CheckResult(
            "durable",
            "fail",
            said,
            "create it (nats consumer add), or name yours: STREAM/DURABLE",
        )
    limit, pending = _number(config, "max_deliver"), _number(config, "max_ack_pending")
    said = (
        f"{name}: {_number(answer, 'num_ack_pending')} of"
        f" {pending if pending > 0 else 'any'} unacknowledged"
    )
    said += f", {_number(answer, 'num_pending')} undelivered"
    if config.get("deliver_subject"):
        return CheckResult("durable", "fail", f"{said}; push consumer", "create a pull consumer")
    if config.get("ack_policy") != "explicit":
        remedy = "create it with --ack=explicit: otherwise nothing is redelivered"
        return CheckResult("durable", "fail", f"{said}; no explicit acknowledgement", remedy)
    if config.get("headers_only") or config.get("priority_groups"):
        said += "; uses headers_only or priority_groups"
        return CheckResult("durable", "fail", said, "create one without them")
    remedies, shown = [], name.replace("/", " ", 1)
    if answer.get("paused") is True:
        said += "; is paused, and delivers nothing"
        remedies.append(f"nats consumer resume {shown}")
    if limit > 0:
        said += f"; drops a message after {limit} deliveries"
        remedies.append(
            f"nats consumer edit {shown} --max-deliver=-1: a crash at the last loses it"
        )
    return CheckResult("durable", "warn" if remedies else "ok", said, "; ".join(remedies))


_Fault = tuple[Level, str, str]


def _faults_of_proven(config: Mapping[str, Any]) -> Iterable[_Fault]:
    if config.get("discard") != "new":
        yield "fail", "discards old messages", "nats stream edit NAME --discard=new"
    if config.get("retention") != "limits":
        yield "fail", "deletes consumed messages", "create it with --retention=limits"
    if _number(config, "max_age") > 0:
        yield "fail", "deletes old messages", "nats stream edit NAME --max-age=-1"
    # One message per subject (the record's name) is right if the first is kept, not the last.
    if _number(config, "max_msgs_per_subject") > 0 and not config.get("discard_new_per_subject"):
        yield "fail", "keeps the last per subject", "nats stream edit NAME --discard-per-subject"


def _faults_of_unproven(config: Mapping[str, Any]) -> Iterable[_Fault]:
    if _number(config, "max_bytes") <= 0:
        yield (
            "fail",
            "has no limit, and anyone can fill it",
            "nats stream edit NAME --max-bytes=64MB",
        )
    if config.get("discard") != "old":
        yield "warn", "accepts nothing when full", "nats stream edit NAME --discard=old"


def granted(permissions: Mapping[str, Any], kind: str, subject: str) -> Grant:
    """Return the rights that permissions grant on a subject or pattern.

    Trying it on the server would not show that: a user with `a.*` may subscribe to `a.>`.

    Args:
        permissions: As reported by the server.
        kind: `"publish"` or `"subscribe"`.
        subject: The subject or pattern.
    """
    rules = table_of(permissions, kind)
    # "a.> workers" applies to the queue group only.
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


def shown_time(seconds: float) -> str:
    """Return a duration in hours or days."""
    hours = seconds / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
