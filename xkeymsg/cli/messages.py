"""`xkeymsg seal` and `xkeymsg open`, for files and pipes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click
from click.core import ParameterSource

from xkeymsg.cli.documents import is_utf8_terminal, read_document, to_json
from xkeymsg.cli.output import OUTPUT, PRIVATE, write
from xkeymsg.daemons.common.flags import load_pair, seed_flag
from xkeymsg.daemons.common.parameters import SENDER, SUBJECT, SUBJECT_PATTERN, XKEY
from xkeymsg.daemons.common.terminal import failing, say
from xkeymsg.envelope.admission import ANYONE
from xkeymsg.errors import ContentTypeError, SenderNotAdmittedError, SubjectMismatchError
from xkeymsg.fields.files import load_readers
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Keyring, XKey
from xkeymsg.opener import Opener, View
from xkeymsg.sealer import Sealer
from xkeymsg.trust.stores.file import read_seed

__all__ = ("open_", "seal")

_INPUT = click.argument("source", metavar="[FILE]", default="-", type=click.File("rb"))
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Seal FILE, or stdin.")
@click.option(
    "--to", "recipients", type=XKEY, multiple=True, help="A recipient's public key; repeatable."
)
@click.option(
    "--policy",
    type=_FILE,
    metavar="TOML",
    help="FILE is a JSON document; the policy says who may read which fields.",
)
@click.option(
    "--readers", type=_FILE, metavar="TOML", help="With --policy: the holders of each permission."
)
@click.option(
    "--exact", is_flag=True, help="With --policy: keep all digits of numbers, as Decimals."
)
@click.option(
    "--subject",
    type=SUBJECT,
    default="file",
    show_default=True,
    help="The subject to seal for.",
)
@click.option(
    "--xkv1", is_flag=True, help="Seal to one recipient, in the format of the nkeys libraries."
)
@seed_flag
@OUTPUT
@_INPUT
@failing()
def seal(
    *,
    recipients: tuple[XKey, ...],
    policy: Path | None,
    readers: Path | None,
    exact: bool,
    subject: str,
    xkv1: bool,
    seed_file: Path | None,
    output: Path | None,
    source: BinaryIO,
) -> None:
    """Seal FILE, or stdin, as xkm1: to public keys, or a JSON document according to a policy.

    With --policy and --readers each reader sees only the fields that the policy grants. A field
    without a matching rule is an error. Numbers with a fraction or an exponent become floats; a
    warning reports changed digits, and --exact keeps them.
    """
    if output is None and sys.stdout.isatty():
        raise click.UsageError("sealed messages are binary: use -o, or redirect stdout")
    _check_recipients(len(recipients), policy, readers, xkv1=xkv1)
    if exact and policy is None:
        raise click.UsageError("--exact requires --policy: only documents have numbers")
    if policy is not None and readers is not None:
        rules, holders = Policy.load(policy), load_readers(readers)
        document = read_document(source, exact=exact, on_loss=_warn_of_losses)
        sealer = Sealer(load_pair("xkeymsg", seed_file))
        sealed = sealer.seal_document(document, policy=rules, readers=holders, subject=subject)
    else:
        pair = load_pair("xkeymsg", seed_file)
        data = source.read()
        sealed = (
            pair.seal(data, recipients[0])
            if xkv1
            else Sealer(pair).seal(data, to=recipients, subject=subject)
        )
    write(output, sealed, mode=0o666)


def _warn_of_losses(count: int, first: Callable[[], str]) -> None:
    text = f"warning: digits of {count} number(s) change, first at {first()}; --exact keeps them"
    say("xkeymsg", text)


def _check_recipients(
    recipients: int, policy: Path | None, readers: Path | None, *, xkv1: bool
) -> None:
    """Check that the recipients are given in exactly one way."""
    if (policy is None) != (readers is None):
        raise click.UsageError("--policy and --readers require each other")
    if policy is not None and (recipients or xkv1):
        raise click.UsageError("--policy cannot be combined with --to or --xkv1")
    if policy is None and not recipients:
        raise click.UsageError("no recipients: give --to, or --policy and --readers")
    if xkv1 and recipients != 1:
        raise click.UsageError("xkv1 allows one recipient only")


@click.command("open", short_help="Open FILE, or stdin, sealed to you.")
@click.option(
    "--from",
    "senders",
    type=SENDER,
    required=True,
    multiple=True,
    help='The key of an allowed sender; repeatable; or "anyone".',
)
@click.option(
    "--subject",
    type=SUBJECT_PATTERN,
    default="file",
    show_default=True,
    help="The subject that it must be sealed for; > for any subject. Omit it for xkv1.",
)
@click.option(
    "--seed",
    "seed_file",
    required=True,
    type=_FILE,
    help="Your seed file (SX…), mode 0600.",
)
@click.option("--user", metavar="U…", help="Your user nkey, if it was sealed to your user.")
@click.option("--pretty", is_flag=True, help="Indent a document.")
@click.option(
    "--show-withheld",
    is_flag=True,
    help='Show withheld list items as {"$withheld": true} instead of null, and report the number '
    "of withheld parts.",
)
@OUTPUT
@_INPUT
@click.pass_context
def open_(
    context: click.Context,
    *,
    senders: tuple[XKey | None, ...],
    subject: str,
    seed_file: Path,
    user: str | None,
    pretty: bool,
    show_withheld: bool,
    output: Path | None,
    source: BinaryIO,
) -> None:
    """Open FILE, or stdin, sealed to you. Nothing is written unless the message authenticates.

    A document is printed as JSON with the fields that you may see. Decimals are numbers with all
    digits; times, UUIDs and bytes (in base64) are strings.
    """
    pair, sealed = read_seed(seed_file), source.read()
    known = [sender for sender in senders if sender is not None]
    anyone = len(known) < len(senders)
    if sealed[:4] == b"xkv1":
        if anyone or len(known) != 1:
            raise click.UsageError("xkv1 does not name its sender: give one key with --from")
        # An explicit --subject demands xkm1: xkv1 has no subject.
        if context.get_parameter_source("subject") is not ParameterSource.DEFAULT:
            raise click.UsageError("xkv1 has no subject: leave out --subject")
        data = pair.open(sealed, known[0])
    else:
        keys = Keyring(pair, user=user)
        opened = _open_xkm1(keys, sealed, None if anyone else set(known), subject)
        if isinstance(opened, View):
            data = to_json(
                opened.document,
                pretty=pretty,
                show_withheld=show_withheld,
                ascii_only=output is None and not is_utf8_terminal(),
            ).encode()
            if show_withheld:
                say("xkeymsg", f"parts of the document withheld: {opened.withheld}")
        else:
            data = opened
    write(output, data, mode=PRIVATE)


def _open_xkm1(
    keys: Keyring, sealed: bytes, senders: set[XKey] | None, subject: str
) -> bytes | View:
    """Return the data of a payload, or the view of a document."""
    opener = Opener(keys, ANYONE if senders is None else senders, replay="file")
    try:
        try:
            return opener.open(sealed, subject=subject).data
        except ContentTypeError:
            return opener.open_document(sealed, subject=subject)
    except SenderNotAdmittedError:
        text = "sealed by a key other than --from; `xkeymsg inspect` shows it"
        raise SenderNotAdmittedError(text) from None
    except SubjectMismatchError:
        text = "sealed for a subject other than --subject; `xkeymsg inspect` shows it"
        raise SubjectMismatchError(text) from None
