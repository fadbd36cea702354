"""`xkeymsg seal` and `xkeymsg open`, for files and pipes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import click
from click.core import ParameterSource

from xkeymsg.cli.documents import is_utf8_terminal, read_document, to_json
from xkeymsg.cli.inspect import read_sealed
from xkeymsg.cli.output import OUTPUT, PRIVATE, write
from xkeymsg.cli.recipients import (
    PEERS,
    NamedSenders,
    holders_of,
    is_anyone,
    recipients_of,
    senders_of,
    to_option,
)
from xkeymsg.daemons.common.flags import key_flags, load_pair, required_pair, seed_flag
from xkeymsg.daemons.common.parameters import SUBJECT, SUBJECT_PATTERN
from xkeymsg.daemons.common.terminal import failing, say
from xkeymsg.envelope.admission import ANYONE
from xkeymsg.envelope.inspect import sender_of
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ContentTypeError, SenderNotAdmittedError, SubjectMismatchError
from xkeymsg.fields.files import load_readers
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Keyring, Recipient, XKey
from xkeymsg.limits import AtRest
from xkeymsg.opener import Opener, View
from xkeymsg.sealer import Sealer
from xkeymsg.text_armour import armour
from xkeymsg.trust.peers import Peers
from xkeymsg.xkv1 import open as open_xkv1
from xkeymsg.xkv1 import seal as seal_xkv1

__all__ = ("open_", "seal")

_INPUT = click.argument("source", metavar="[FILE]", default="-", type=click.File("rb"))
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Seal FILE, or stdin.")
@to_option()
@click.option(
    "-R",
    "--recipients-file",
    "files",
    type=_FILE,
    metavar="FILE",
    multiple=True,
    help="A file with one recipient per line, and comments that begin with #; repeatable.",
)
@PEERS
@click.option(
    "--policy",
    type=_FILE,
    metavar="TOML",
    help="FILE is a JSON document; the policy says who may read which fields.",
)
@click.option(
    "--readers",
    type=_FILE,
    metavar="TOML",
    help="With --policy: the holders of each permission, instead of --peers.",
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
@click.option(
    "-a", "--armour", "as_text", is_flag=True, help="Write text, for mail and for terminals."
)
@seed_flag
@OUTPUT
@_INPUT
@failing()
def seal(
    *,
    recipients: tuple[str, ...],
    files: tuple[Path, ...],
    peers_file: Path | None,
    policy: Path | None,
    readers: Path | None,
    exact: bool,
    subject: str,
    xkv1: bool,
    as_text: bool,
    seed_file: Path | None,
    output: Path | None,
    source: BinaryIO,
) -> None:
    """Seal FILE, or stdin, as xkm1: to recipients, or a JSON document according to a policy.

    \b
    xkeymsg seal --peers peers.toml --to bob --to perm:audit -o report.sealed report.pdf
    xkeymsg seal -R team.txt --seed alice.seed < report.pdf > report.sealed

    Names are resolved with the peers file, whose always_to is added to the recipients.

    With --policy each reader sees only the fields that the policy grants; --readers or --peers says
    who holds which permission. A field without a matching rule is an error. Numbers with a fraction
    or an exponent become floats; a warning reports changed digits, and --exact keeps them.
    """  # noqa: D301 - click reads the character
    if xkv1 and as_text:
        raise click.UsageError("--armour is for xkm1: leave out --xkv1")
    if output is None and not as_text and sys.stdout.isatty():
        raise click.UsageError("sealed messages are binary: use -o or --armour, or redirect stdout")
    _check_recipients(bool(recipients or files), policy, readers, xkv1=xkv1)
    if exact and policy is None:
        raise click.UsageError("--exact requires --policy: only documents have numbers")
    peers = None if peers_file is None else Peers.load(peers_file)
    always = () if peers is None else peers.always_to()
    if policy is not None:
        rules, holders = _rules(policy, readers, peers)
        document = read_document(source, exact=exact, on_loss=_warn_of_losses)
        sealer = Sealer(load_pair("xkeymsg", seed_file), always_to=always)
        sealed = sealer.seal_document(document, policy=rules, readers=holders, subject=subject)
    else:
        to = recipients_of(recipients, files, peers)
        if xkv1 and len({each.key for each in (*to, *always)}) != 1:
            raise click.UsageError("xkv1 allows one recipient only, including always_to")
        pair = load_pair("xkeymsg", seed_file)
        data = source.read()
        sealed = (
            seal_xkv1(data, key=pair, to=to[0].key)
            if xkv1
            else Sealer(pair, always_to=always).seal(data, to=to, subject=subject)
        )
    write(output, armour(sealed).encode() if as_text else sealed, mode=0o666)


def _rules(
    policy: Path, readers: Path | None, peers: Peers | None
) -> tuple[Policy, Mapping[str, Sequence[Recipient]]]:
    """Return a policy, and the holders of its permissions."""
    if readers is not None:
        return Policy.load(policy), load_readers(readers)
    if peers is not None:
        rules = Policy.load(policy)
        return rules, holders_of(rules, peers)
    raise click.UsageError("--policy requires --readers or --peers")


def _warn_of_losses(count: int, first: Callable[[], str]) -> None:
    text = f"warning: digits of {count} number(s) change, first at {first()}; --exact keeps them"
    say("xkeymsg", text)


def _check_recipients(
    given: bool, policy: Path | None, readers: Path | None, *, xkv1: bool
) -> None:
    """Check that the recipients are given in exactly one way."""
    if policy is None and readers is not None:
        raise click.UsageError("--readers requires --policy")
    if policy is not None and (given or xkv1):
        raise click.UsageError("--policy cannot be combined with --to, -R or --xkv1")
    if policy is None and not given:
        raise click.UsageError("no recipients: give --to, -R, or --policy")


@click.command("open", short_help="Open FILE, or stdin, sealed to you.")
@click.option(
    "--from",
    "senders",
    metavar="KEY|NAME",
    required=True,
    multiple=True,
    help='The key of an allowed sender, or with --peers a name; repeatable; or "anyone".',
)
@PEERS
@click.option(
    "--subject",
    type=SUBJECT_PATTERN,
    default="file",
    show_default=True,
    help="The subject that it must be sealed for; > for any subject. Omit it for xkv1.",
)
@key_flags()
@click.option("--user", metavar="U…", help="Your user nkey, if the message is sealed to your user.")
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
    senders: tuple[str, ...],
    peers_file: Path | None,
    subject: str,
    seed_file: Path | None,
    user: str | None,
    pretty: bool,
    show_withheld: bool,
    output: Path | None,
    source: BinaryIO,
) -> None:
    """Open FILE, or stdin, sealed to you. Nothing is written unless the message authenticates.

    \b
    xkeymsg open --seed bob.seed --peers peers.toml --from alice -o report.pdf report.sealed

    With --peers, messages must name the sender's user, and be signed if the file says always_signs.
    The file's `subjects` are ignored: --from and --subject decide.

    The text of `seal --armour` is recognized. A document is printed as JSON with the fields that
    you may see. Decimals are numbers with all digits; times, UUIDs and bytes (in base64) are
    strings.
    """  # noqa: D301 - click reads the character
    peers = None if peers_file is None else Peers.load(peers_file)
    allowed = _allowed(senders, peers)
    pair, sealed = required_pair(seed_file), read_sealed(source)
    if sealed[:4] == b"xkv1":
        sender = _xkv1_sender(allowed)
        # An explicit --subject demands xkm1: xkv1 has no subject.
        if context.get_parameter_source("subject") is not ParameterSource.DEFAULT:
            raise click.UsageError("xkv1 has no subject: leave out --subject")
        data = open_xkv1(sealed, key=pair, sender=sender)
    else:
        keys = Keyring(pair, user=user)
        opened = _open_xkm1(keys, sealed, allowed, subject)
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
            data = opened.data
        if opened.resealed is not None:
            say("xkeymsg", str(opened.resealed))
    write(output, data, mode=PRIVATE)


def _allowed(senders: tuple[str, ...], peers: Peers | None) -> NamedSenders | None:
    """Return the allowed senders, or None for anyone."""
    if is_anyone(senders, peers):
        return None
    return NamedSenders(senders_of(senders, peers), peers)


def _xkv1_sender(allowed: NamedSenders | None) -> XKey:
    if allowed is None or len(allowed.keys) != 1:
        raise click.UsageError("xkv1 does not name its sender: give one key with --from")
    [sender] = allowed.keys
    verdict = allowed.admit(sender, "", 0)
    if verdict is None or verdict.users:
        raise SenderNotAdmittedError("this peer has a user, which xkv1 cannot name")
    return sender


def _open_xkm1(keys: Keyring, sealed: bytes, allowed: NamedSenders | None, subject: str) -> Message:
    """Return a payload, or the view of a document."""
    opener = Opener(keys, ANYONE if allowed is None else allowed, replay=AtRest())
    try:
        try:
            return opener.open(sealed, subject=subject)
        except ContentTypeError:
            return opener.open_document(sealed, subject=subject)
    except SenderNotAdmittedError:
        if allowed is not None and XKey(sender_of(sealed)) in allowed.keys:
            raise  # the key is right, but the user is not
        text = "sealed by a key other than --from; `xkeymsg inspect` shows it"
        raise SenderNotAdmittedError(text) from None
    except SubjectMismatchError:
        text = "sealed for a subject other than --subject; `xkeymsg inspect` shows it"
        raise SubjectMismatchError(text) from None
