"""What was read: each role's view of a message, and an outsider's."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

from examples.hospital.problems import Problems
from examples.hospital.receivers import Receiver
from examples.hospital.roles import ROLES, document_of, fields
from examples.hospital.screen import Rows, table
from xkeymsg import ANYONE, NotARecipientError, Opener, XKeyPair
from xkeymsg.transport.raw import RawSubscription

__all__ = ("ABSENT", "SHOWN", "Outsider", "check_views", "show_one", "show_outsider")

PATIENT = "018f428e-34f6-4707-8009-5ad742f901e7"
OBSERVATION = "f13d3b8d-0097-4b35-8d6e-31c73ac2601c"
CARE, STUDY = ("clinic", "audit"), ("clinic", "research", "audit")
PERSON = ("clinic", "billing", "audit")
SHOWN = {
    PATIENT: {
        "/name/0/family": ("family name", PERSON),
        "/birthDate": ("birth date", PERSON),
        "/address/0/line/0": ("street", PERSON),
        "/telecom/0/value": ("telephone", PERSON),
        "/maritalStatus/text": ("marital status", CARE),
        "/address/0/extension/0/extension/0/valueDecimal": ("home latitude", CARE),
    },
    OBSERVATION: {
        "/code/coding/0/display": ("finding", STUDY),
        "/component/1/valueQuantity/value": ("value", STUDY),
        "/effectiveDateTime": ("time", CARE),
        "/subject/reference": ("patient", CARE),
    },
}
"""Fields of two resources, with the roles that may read them."""
VISIBLE = ("format", "bytes", "message id", "sender", "created", "subject", "recipients")
WITHHELD, ABSENT = "WITHHELD", "-"


class Outsider:
    """A subscriber that may read the whole stream but holds no recipient key."""

    def __init__(self) -> None:
        self.key = XKeyPair.generate()
        self.messages: list[bytes] = []

    async def listen(self, subscription: RawSubscription) -> None:
        """Collect every message."""
        async for raw in subscription:
            self.messages.append(raw.data)


def check_views(
    records: list[dict[str, Any]], receivers: list[Receiver], problems: Problems
) -> None:
    """Compare the received documents with those sent."""
    for each in receivers:
        count = f"{each.role} received {len(each.seen)} of {each.expected} messages"
        problems.check(len(each.seen) == each.expected, count)
        problems.check(not each.repeated, f"{each.role} received {each.repeated} messages twice")
    audit = next(each for each in receivers if each.role == "audit")
    got = sorted(json.dumps(record["document"], sort_keys=True) for record in audit.seen.values())
    sent = sorted(json.dumps(document_of(resource), sort_keys=True) for resource in records)
    problems.check(got == sent, "the documents that audit received differ from those sent")


def show_one(resource: dict[str, Any], receivers: list[Receiver], problems: Problems) -> None:
    """Show what each role saw of the same message."""
    kind, everything = resource["resourceType"], dict(fields(resource))
    audit = next(each for each in receivers if each.role == "audit")
    message = next(
        (name for name, each in audit.seen.items() if each["document"] == document_of(resource)), ""
    )
    problems.check(message, f"audit did not receive {kind} {resource['id']}")
    views = [_view(each, message, kind) for each in receivers]
    print(f"\nWhat each role sees of the same message, {kind} {resource['id'][:8]}…:\n")
    rows: Rows = [("", *ROLES)]
    for path, (title, readers) in SHOWN[resource["id"]].items():
        cells = []
        for role, view in zip(ROLES, views, strict=True):
            got = None if view is None else view.get(path)
            verb = "does not read" if got is None else "reads"
            problems.check((got is not None) == (role in readers), f"{role} {verb} {path}")
            problems.check(got in (None, everything[path]), f"{path}: the received value differs")
            cells.append(ABSENT if view is None else WITHHELD if got is None else short(got))
        rows.append((title, *cells))
    for line in table(rows):
        print(f"  {line}")


def _view(receiver: Receiver, message: str, kind: str) -> dict[str, Any] | None:
    """Return what a role saw of a message; None if it did not receive it."""
    record = receiver.seen.get(message)
    return None if record is None else dict(fields(record["document"][kind]))


def short(value: object) -> str:
    """Return a value cut to the width of a column."""
    text = str(value)
    return text if len(text) <= 14 else f"{text[:13]}…"


def show_outsider(outsider: Outsider, problems: Problems) -> None:
    """Show what a subscriber without a recipient key sees."""
    sealed = outsider.messages[-1]
    print("\nWhat an outsider sees, reading the whole stream without a recipient key:\n")
    done = subprocess.run(
        [sys.executable, "-m", "xkeymsg.cli", "inspect"],
        input=sealed, capture_output=True, check=True,
    )  # fmt: skip
    for line in done.stdout.decode().splitlines():
        if line.startswith(VISIBLE):
            print(f"  {line}")
    print(f"  {'contents':18}  {base64.b64encode(sealed[-48:]).decode()}")
    try:
        Opener(outsider.key, senders=ANYONE).open_document(sealed, subject="ehr.>")
    except NotARecipientError as error:
        print(f"  {'opened':18}  no: {error}")
    else:
        problems.check(False, "an outsider opened a message")
