"""The policy matrix: rules of a policy, or fields of a document, against readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xkeymsg.cli.lint import findings
from xkeymsg.cli.table import aligned, place
from xkeymsg.fields.policy import Decision, Policy
from xkeymsg.keys import Recipient
from xkeymsg.nkey import Prefix, encode_public

__all__ = ("Column", "Matrix", "Row", "as_text", "make_matrix", "reader_texts")


class Column(NamedTuple):
    """Readers with the same access."""

    label: str
    """A permission, or the name of a group of readers."""
    permissions: tuple[str, ...]
    """The permissions that they hold."""
    readers: tuple[Recipient, ...]
    """The readers; empty in a matrix of permissions."""


class Row(NamedTuple):
    """A rule, or a field of a document."""

    place: str
    """The pattern, or the pointer."""
    rule: int
    """The rule that decides, counted from 1; 0 if no rule does."""
    permissions: tuple[str, ...]
    """The permissions that may read it."""

    def seen_by(self, column: Column) -> bool:
        """Return whether the readers of a column see it."""
        return not set(self.permissions).isdisjoint(column.permissions)


class Matrix(NamedTuple):
    """Rows and columns, with the findings of `lint`."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    of_document: bool
    of_readers: bool
    findings: tuple[str, ...]
    """The findings of `lint` in the policy and its readers."""

    @property
    def denied(self) -> list[Row]:
        """The fields that no rule matches; with any, the document cannot be sealed."""
        return [row for row in self.rows if not row.rule]


def make_matrix(
    policy: Policy,
    decisions: Sequence[Decision] | None = None,
    readers: Mapping[str, Sequence[Recipient]] | None = None,
) -> Matrix:
    """Make the matrix of a policy.

    Args:
        policy: The policy.
        decisions: Its decision on each field of a document; if None, the rows are the rules.
        readers: The holders of each permission; if None, the columns are the permissions.
    """
    if decisions is None:
        rows = [
            Row(pattern, number, permissions)
            for number, (patterns, permissions) in enumerate(policy.rules, 1)
            for pattern in patterns
        ]
    else:
        rows = [Row(each.pointer, each.rule, each.permissions) for each in decisions]
    if readers is None:
        columns = [Column(name, (name,), ()) for name in sorted(policy.permissions)]
    else:
        columns = _groups(policy, readers)
    found = tuple(map(str, findings(policy, readers=readers)))
    return Matrix(tuple(columns), tuple(rows), decisions is not None, readers is not None, found)


def _groups(policy: Policy, readers: Mapping[str, Sequence[Recipient]]) -> list[Column]:
    """Group readers by the permissions of the policy that they hold."""
    held: dict[Recipient, set[str]] = {}
    for permission, recipients in readers.items():
        for recipient in recipients if permission in policy.permissions else ():
            held.setdefault(recipient, set()).add(permission)
    groups: dict[tuple[str, ...], list[Recipient]] = {}
    for recipient, permissions in held.items():
        groups.setdefault(tuple(sorted(permissions)), []).append(recipient)
    return [
        Column(f"R{number}", permissions, tuple(recipients))
        for number, (permissions, recipients) in enumerate(groups.items(), 1)
    ]


def as_text(matrix: Matrix) -> list[str]:
    """Return a matrix as the lines of a table, followed by the readers of each column."""
    head = ["FIELD", "RULE"] if matrix.of_document else ["RULE", "PATTERN"]
    table = [[*head, *(column.label for column in matrix.columns)]]
    for row in matrix.rows:
        rule = str(row.rule or "none")
        table.append(
            [place(row.place), rule] if matrix.of_document else [rule, place(row.place)],
        )
        table[-1] += ["yes" if row.seen_by(column) else "-" for column in matrix.columns]
    lines = aligned(table)
    who = [
        [
            column.label if not number else "",
            ", ".join(column.permissions) if not number else "",
            *reader_texts(reader),
        ]
        for column in matrix.columns
        for number, reader in enumerate(column.readers)
    ]
    return [*lines, "", *aligned(who)] if who else lines


def reader_texts(reader: Recipient) -> tuple[str, str]:
    """Return a reader's key and user; the user may be empty."""
    user = encode_public(Prefix.USER, reader.user) if any(reader.user) else ""
    return str(reader.key), user
