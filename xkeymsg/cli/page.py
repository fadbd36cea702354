"""The policy matrix as one self-contained HTML page, for browsers and for printing.

It has no scripts and makes no requests: its content security policy allows only its own style
sheet, by hash. All text from outside is escaped, and unprintable characters are written out.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import xkeymsg
from xkeymsg.cli.matrix import Column, Matrix, Row, reader_texts
from xkeymsg.cli.style import STYLE
from xkeymsg.daemons.common.terminal import quote
from xkeymsg.fields.policy import Policy

__all__ = ("Source", "name_html", "page")


class Source(NamedTuple):
    """An input file of the page."""

    kind: str
    name: str
    digest: str | None
    """Its SHA-256 in hexadecimal, if it may be shown."""


_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_HEAD: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""


def page(matrix: Matrix, policy: Policy, sources: Sequence[Source], now: datetime) -> str:
    """Return the page of a matrix."""
    subject = sources[-1].name if matrix.of_document else sources[0].name
    body = [
        _summary(matrix, policy, sources, now),
        _checks(matrix, policy),
        _table(matrix),
        _readers(matrix.columns) if matrix.of_readers else "",
        _rules(matrix, policy) if matrix.of_document else "",
        _legend(matrix),
    ]
    return (
        f"{_HEAD}<title>Who may read what: {_text(subject)}</title>\n<style>{STYLE}</style>\n"
        f"</head>\n<body>\n<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Escape text from outside, for an element that contains text only."""
    return html.escape("".join(each if each.isprintable() else _code(each) for each in text))


def _code(character: str) -> str:
    return quote(character)[1:-1]


def name_html(text: str) -> str:
    """Format a name from outside, so that it can neither act, nor hide, nor reverse the line."""
    pieces = [
        html.escape(each) if each.isprintable() else f'<span class="code">{_code(each)}</span>'
        for each in text
    ]
    return f"<bdi>{''.join(pieces)}</bdi>" if pieces else ""


def _place(place: str, before: str = "") -> str:
    """Format a pointer or pattern; its common prefix with the previous one is paler."""
    if not place:
        return '<span class="note">the document itself</span>'
    ours, theirs = place.split("/"), before.split("/")
    same = 0
    while same < min(len(ours), len(theirs)) - 1 and ours[same] == theirs[same]:
        same += 1
    common = "/".join(ours[:same]) if same > 1 else ""
    pale = f'<span class="pale">{_path(common)}</span>' if common else ""
    return f"<code>{pale}{_path(place[len(common) :])}</code>"


def _path(place: str) -> str:
    return "/".join(map(name_html, place.split("/")))


def _tags(permissions: Iterable[str]) -> str:
    return " ".join(f'<span class="tag">{_text(each)}</span>' for each in permissions)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _summary(matrix: Matrix, policy: Policy, sources: Sequence[Source], now: datetime) -> str:
    columns = "groups of readers" if matrix.of_readers else "permissions"
    what = "the fields of a document" if matrix.of_document else "the rules of a policy"
    facts = []
    for kind, name, digest in sources:
        hashed = f'<code class="hash">SHA-256 {digest}</code>' if digest else ""
        facts.append(f"<dt>{kind}</dt><dd>{name_html(name)}{hashed}</dd>")
    numbers = [
        (len(matrix.rows), "field") if matrix.of_document else None,
        (len(policy.rules), "rule"),
        (len(policy.permissions), "permission"),
        (sum(len(column.readers) for column in matrix.columns), "reader")
        if matrix.of_readers
        else None,
    ]
    size = ", ".join(_count(*each) for each in numbers if each)
    return f"""<header>
<p class="kind">Policy matrix</p>
<h1>Who may read what</h1>
<p class="lead">{what.capitalize()}, against {columns}. It shows names, but no values.</p>
<dl>{"".join(facts)}<dt>Size</dt><dd>{size}</dd>
<dt>Created</dt><dd>{now:%Y-%m-%d %H:%M} UTC, by xkeymsg {_text(xkeymsg.__version__)}</dd></dl>
</header>
"""


def _checks(matrix: Matrix, policy: Policy) -> str:
    lines = []
    if matrix.denied:
        fields = _count(len(matrix.denied), "field")
        lines.append(("bad", f"No rule matches {fields}: this document cannot be sealed."))
    elif matrix.of_document:
        lines.append(("good", "Every field has a rule: this document can be sealed."))
    if matrix.findings:
        lines += [
            ("bad", _text(finding[:1].upper() + finding[1:]) + ".") for finding in matrix.findings
        ]
    else:
        also = ", and no permission lacks readers by mistake" if matrix.of_readers else ""
        lines.append(("good", f"Every rule can match{also}."))
    held = {each for column in matrix.columns for each in column.permissions}
    unread = sorted(policy.allow_unread - held)
    if unread:
        names = ", ".join(unread)
        lines.append(("plain", f"Nobody holds {names}: the policy allows that."))
    marks = {"plain": "·", "good": "✓", "bad": "!"}
    items = [
        f'<li class="{kind}"><span class="mark" aria-hidden="true">{marks[kind]}</span> {line}</li>'
        for kind, line in lines
    ]
    return f'<ul class="checks">{"".join(items)}</ul>\n'


def _table(matrix: Matrix) -> str:
    heads = "".join(_column_head(column, matrix) for column in matrix.columns)
    first, second = ("Field", "Rule") if matrix.of_document else ("Pattern", "No.")
    rows, before = [], ""
    for row in matrix.rows:
        rows.append(_row(row, before, matrix))
        before = row.place if matrix.of_document else ""
    return f"""<h2>Matrix</h2>
<div class="frame" tabindex="0" role="region" aria-label="Matrix"><table class="matrix">
<thead><tr><th scope="col" class="place">{first}</th><th scope="col">{second}</th>{heads}</tr>
</thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
"""


def _column_head(column: Column, matrix: Matrix) -> str:
    seen = sum(row.seen_by(column) for row in matrix.rows)
    label = _text(column.label)
    if matrix.of_readers:
        label = f'<a href="#{label}">{label}</a>'
        label += f"<small>{'<br>'.join(map(_text, column.permissions))}</small>"
    return f'<th scope="col">{label}<small>{seen:,} of {len(matrix.rows):,}</small></th>'


def _row(row: Row, before: str, matrix: Matrix) -> str:
    number = str(row.rule) if row.rule else "none"
    if matrix.of_document and row.rule:
        number = f'<a href="#rule-{row.rule}">{row.rule}</a>'
    cells = "".join(
        '<td class="yes"><span role="img" aria-label="may read">●</span></td>'
        if row.seen_by(column)
        else '<td class="no"><span role="img" aria-label="may not">·</span></td>'
        for column in matrix.columns
    )
    kind = "" if row.rule else ' class="denied"'
    return (
        f'<tr{kind}><th scope="row" class="place">{_place(row.place, before)}</th>'
        f'<td class="rule">{number}</td>{cells}</tr>\n'
    )


def _readers(columns: Sequence[Column]) -> str:
    rows = []
    for column in columns:
        for number, reader in enumerate(column.readers):
            key, user = reader_texts(reader)
            group = ""
            if not number:
                span = f'rowspan="{len(column.readers)}"'
                group = (
                    f'<th scope="rowgroup" id="{column.label}" {span}>{column.label}</th>'
                    f"<td {span}>{_tags(column.permissions)}</td>"
                )
            user = f'<small class="user"><code>{user}</code></small>' if user else ""
            rows.append(
                f"<tr>{group}<td><code>{key}</code>{user}</td>"
                f"<td><code>{reader.key.fingerprint}</code></td></tr>\n"
            )
    return f"""<h2>Readers</h2>
<p>The readers of a group hold the same permissions and see the same fields.</p>
<div class="frame"><table>
<thead><tr><th scope="col">Group</th><th scope="col">Holds</th><th scope="col">Public key, and \
user</th><th scope="col">Fingerprint</th></tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
"""


def _rules(matrix: Matrix, policy: Policy) -> str:
    decided = [0] * (len(policy.rules) + 1)
    for row in matrix.rows:
        decided[row.rule] += 1
    rows = [
        f'<tr id="rule-{number}"><td class="rule">{number}</td><td>'
        f"{'<br>'.join(map(_place, rule.patterns))}</td>"
        f'<td>{_tags(rule.permissions)}</td><td class="number">{decided[number]:,}</td></tr>\n'
        for number, rule in enumerate(policy.rules, 1)
    ]
    return f"""<h2>Rules, in order</h2>
<div class="frame"><table>
<thead><tr><th scope="col">No.</th><th scope="col">Pattern</th><th scope="col">Who may read</th>\
<th scope="col">Fields here</th></tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
"""


def _legend(matrix: Matrix) -> str:
    part = "" if matrix.of_document else ", unless an earlier rule matches it"
    return f"""<h2>How to read this</h2>
<dl class="legend">
<dt class="yes"><span>●</span></dt><dd>May read it{part}: receives its name and its value.</dd>
<dt class="no"><span>·</span></dt><dd>May not read it: receives neither its value nor its name.</dd>
<dt class="denied"><span>none</span></dt><dd>No rule matches: nothing of the document is sent.</dd>
<dt><code>/a/b</code></dt><dd>The field b in a, and everything below. <code>/a/0</code> is also the
first item of a list. Names with other characters are quoted, or have ~ as <code>~0</code>,
/ as <code>~1</code>, and * as <code>~2</code>.</dd>
<dt><code>/a/*</code></dt><dd>Everything in a; <code>/**/a</code> is every a at any depth;
<code>[b="c"]</code> restricts a place to maps with this member.</dd>
</dl>
<p>Rules are tried in order, and the first that matches a field decides. Fields are encrypted: those
who may not read one, including NATS servers, see only how many parts a message has, their sizes,
and which parts belong together. Unprintable characters are shown as
<span class="code">\\x1b</span>.</p>
"""
