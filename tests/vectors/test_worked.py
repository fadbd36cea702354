"""The worked examples follow from their secrets."""

from __future__ import annotations

import json

from tests.cases import for_each
from tests.reference import Inputs, Recipient, crypto, seal_envelope
from tests.vectors import generate, worked
from tests.vectors.runner import in_files

EXAMPLES = {one["name"]: one for one in json.loads(generate.JSON.read_text()) if "secrets" in one}


def test_there_are_three() -> None:
    assert list(worked.EXAMPLES) == ["smallest", "two_views_signed", "padded_message"]
    assert EXAMPLES.keys() == worked.EXAMPLES.keys()


def several(table: dict[str, str], name: str) -> list[bytes]:
    keys = [name, *(f"{name}_{position}" for position in range(64))]
    return [bytes.fromhex(table[key]) for key in keys if key in table]


@for_each("name", worked.EXAMPLES)
def test_the_reference_seals_the_same_bytes_from_the_secrets(name: str) -> None:
    plan, secrets = worked.forged(name).plan, EXAMPLES[name]["secrets"]
    keys = zip(several(secrets, "r"), several(secrets, "U"), strict=True)
    grants = {(one.person.secret, one.user): one.grants for one in plan.recipients}
    recipients = [Recipient(R=crypto.pub(r), U=u, grants=grants[r, u]) for r, u in keys]
    recipients.sort(key=lambda one: plan.grants.index(one.grants) if plan.grants else 0)
    seed = several(secrets, "a")
    [s], [e] = several(secrets, "s"), several(secrets, "e")
    head = plan.head
    made = seal_envelope(
        Inputs(
            s=s,
            e=e,
            nonce=head.nonce,
            created_ms=head.created_ms,
            subject=head.subject,
            recipients=tuple(recipients),
            parts=tuple(plan.parts),
            content_keys=tuple(several(secrets, "CK")),
            view_keys=tuple(several(secrets, "VK")),
            revision=head.revision,
            identity=head.identity,
            expires_ms=head.expires_ms,
            signing_seed=seed[0] if seed else None,
        )
    )
    assert made.hex() == EXAMPLES[name]["envelope"]


@for_each("name", worked.EXAMPLES)
def test_the_values_are_those_of_the_readers(name: str) -> None:
    plan, values = worked.forged(name).plan, EXAMPLES[name]["values"]
    secrets = several(EXAMPLES[name]["secrets"], "r")
    assert several(values, "dh_s") == [crypto.x25519(r, plan.head.S) for r in secrets]
    assert several(values, "dh_e") == [crypto.x25519(r, plan.head.E) for r in secrets]
    rows = sorted((plan.row(plan.head, one) for one in plan.recipients), key=lambda row: row.tag)
    assert several(values, "tag") == [row.tag for row in rows]
    assert several(values, "K") == [row.K for row in rows]
    envelope = bytes.fromhex(EXAMPLES[name]["envelope"])
    for commit in (*several(values, "commit"), *several(values, "view_commit")):
        assert commit in envelope
    [t] = several(values, "T")
    for place, row in enumerate(rows):
        start = len(envelope) - 49 * (len(rows) - place)
        wrap = envelope[start : start + 49]
        assert crypto.unseal(row.K, plan.head.nonce, wrap, t) == bytes([row.index]) + row.key


def test_the_examples_are_vectors() -> None:
    assert EXAMPLES.keys() <= {vector.name for vector in in_files()}
