"""The commands `xkeymsg policy explain | lint | matrix | test`, which inspect a policy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from xkeymsg.cli.cases import failures, load_cases
from xkeymsg.cli.documents import is_utf8_terminal, read_document, to_json
from xkeymsg.cli.findings import Finding, lines
from xkeymsg.cli.lint import findings
from xkeymsg.cli.matrix import as_text, make_matrix
from xkeymsg.cli.output import PRIVATE, write
from xkeymsg.cli.page import Source, page
from xkeymsg.cli.table import aligned, place
from xkeymsg.daemons.common.terminal import EXIT_FAILED, describe, failing, say
from xkeymsg.errors import EnvelopeError, PolicyError
from xkeymsg.fields.files import load_readers, parse_readers
from xkeymsg.fields.policy import Policy
from xkeymsg.files import decode_file, read_file

__all__ = ("explain", "lint", "matrix", "policy", "read_source", "test")

_FILE = click.Path(path_type=Path, dir_okay=False)
_POLICY = click.argument("policy_file", metavar="POLICY", type=_FILE)
_READERS = click.option(
    "--readers", "readers_file", type=_FILE, metavar="TOML", help="The holders of each permission."
)


@click.group(short_help="Inspect and test a policy.")
def policy() -> None:
    """Inspect and test a policy: show deciding rules and readers, and find mistakes."""


@policy.command(short_help="Show who may read each field of FILE.")
@_POLICY
@click.argument("document", metavar="[FILE]", default="-", type=click.File("rb"))
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array with one object per field."
)
@failing()
def explain(policy_file: Path, document: BinaryIO, *, as_json: bool) -> int:
    """Show the deciding rule and the readers of each field of FILE, a document in JSON.

    Exit 1 if no rule matches a field, so that the document could not be sealed.
    """
    decisions = Policy.load(policy_file).explain(read_document(document))
    if as_json:
        shown = [
            {
                "field": each.pointer,
                "rule": each.rule or None,
                "pattern": each.pattern if each.rule else None,
                "readers": list(each.permissions),
            }
            for each in decisions
        ]
        click.echo(to_json(shown, pretty=True, ascii_only=not is_utf8_terminal()), nl=False)
    else:
        rows = [
            [
                place(each.pointer),
                str(each.rule or "none"),
                place(each.pattern) if each.rule else "-",
                ", ".join(each.permissions) or "nobody",
            ]
            for each in decisions
        ]
        _echo(aligned([["FIELD", "RULE", "PATTERN", "READERS"], *rows]))
    return _denied(sum(not each.rule for each in decisions))


@policy.command(short_help="Find mistakes in a policy.")
@_POLICY
@click.argument("documents", metavar="[DOCUMENT]...", nargs=-1, type=click.File("rb"))
@_READERS
@click.option("--strict", is_flag=True, help="Exit 1 on notes, too.")
@click.option("--all", "whole", is_flag=True, help="Show all findings, not only the first 20.")
@failing()
def lint(
    policy_file: Path,
    documents: tuple[BinaryIO, ...],
    readers_file: Path | None,
    *,
    strict: bool,
    whole: bool,
) -> int:
    """Find mistakes in a policy, one per line. Pass typical documents in JSON.

    An error is a mistake: a rule that matches nothing in the documents, a document that cannot be
    sealed, a name that looks like another syntax, a permission without readers (with --readers).

    A note may be intended: a field that no rule names and many may read; a name that one rule
    restricts but others may read elsewhere or in a similar spelling; a list position; a member that
    a filter reveals, and readers of places that it does not match.

    No value of a document is shown. Exit 1 if there is an error; with --strict also for a note.
    """
    readers = None if readers_file is None else load_readers(readers_file)
    rules = Policy.load(policy_file)
    found, read = [], {}
    for each in documents:
        try:
            read[each.name] = read_document(each)
        except EnvelopeError as error:
            found.append(Finding(f"{each.name}: {describe(error)}", is_error=True))
    found += findings(rules, read, readers)
    _echo(lines(found, whole=whole))
    return EXIT_FAILED if any(each.is_error or strict for each in found) else 0


@policy.command(short_help="Run test cases: what readers see of documents.")
@_POLICY
@click.argument("cases_file", metavar="CASES", type=_FILE)
def test(policy_file: Path, cases_file: Path) -> int:
    """Run the test cases of a TOML file: which fields of a document a reader must see or not.

    \b
    [[case]]
    name = "research sees values, but no subjects"
    document = "observation.json"
    reader = "research"
    visible = ["/Observation/valueQuantity/value"]
    hidden = ["/Observation/subject", "/**/extension"]

    Instead of a file, `json` can hold the document. Each pattern must match at least one field, and
    all fields that it matches must be visible, or hidden. To expect that sealing fails, give the
    error code and no reader: `refused = "field_denied"`.

    Exit 1 if a case fails.
    """  # noqa: D301 - click reads the character
    rules = Policy.load(policy_file)
    failed = 0
    cases = load_cases(cases_file)
    for case in cases:
        found = failures(rules, case)
        failed += bool(found)
        _echo([f"{'FAIL' if found else 'ok  '} {case.name}", *(f"     {each}" for each in found)])
    _echo([f"{len(cases) - failed} of {len(cases)} cases passed"])
    return EXIT_FAILED if failed else 0


@policy.command()
@_POLICY
@click.argument("document", metavar="[FILE]", required=False, type=click.File("rb"))
@_READERS
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="OUT",
    help="Write an HTML page instead of the table; - is stdout.",
)
@failing()
def matrix(
    policy_file: Path, document: BinaryIO | None, readers_file: Path | None, html: Path | None
) -> int:
    """Show who sees what: rules against permissions.

    With FILE, a document in JSON, there is one row per field; with --readers, one column per group
    of readers with the same permissions. No value of the document is shown. Exit 1 if no rule
    matches a field.
    """
    text, digest = read_source(policy_file)
    rules = Policy.parse(text, source=str(policy_file))
    sources = [Source("Policy", str(policy_file), digest)]
    readers = None
    if readers_file is not None:
        text, digest = read_source(readers_file)
        readers = parse_readers(text, source=str(readers_file))
        sources.append(Source("Readers", str(readers_file), digest))
    decisions = None
    if document is not None:
        decisions = rules.explain(read_document(document))
        # No hash: values that are easy to guess could be confirmed with it.
        sources.append(Source("Document", document.name, None))
    made = make_matrix(rules, decisions, readers)
    if html is None:
        _echo(as_text(made))
        for finding in made.findings:
            say("xkeymsg", finding)
    else:
        data = page(made, rules, sources, datetime.now(UTC)).encode()
        write(None if str(html) == "-" else html, data, mode=PRIVATE)
    return _denied(len(made.denied))


def _denied(fields: int) -> int:
    """Report that a document could not be sealed, if so, and return the exit code."""
    if not fields:
        return 0
    say(
        "xkeymsg",
        f"field_denied: no rule for {fields} of the fields: the document cannot be sealed",
    )
    return EXIT_FAILED


def _echo(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo("".join(each if each.isprintable() else repr(each)[1:-1] for each in line))


def read_source(path: Path) -> tuple[str, str]:
    """Return the text and the SHA-256 of a file, from one read, so that they match."""
    content, _ = read_file(path, PolicyError)
    return decode_file(content, str(path), PolicyError), hashlib.sha256(content).hexdigest()
