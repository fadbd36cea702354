"""The worked examples: their secrets and every value on the way to their bytes."""

from __future__ import annotations

from typing import Final

from tests.reference import crypto
from tests.vectors import cases_success
from tests.vectors.builder import Case, Forged, Scene
from tests.vectors.forge import Plan
from tests.vectors.people import ALICE, To
from tests.vectors.vector import Vector

EXAMPLES: Final[dict[str, Case]] = {
    case.__name__: case
    for case in (
        cases_success.smallest,
        cases_success.two_views_signed,
        cases_success.padded_message,
    )
}
Table = dict[str, list[bytes]]


def forged(name: str) -> Forged:
    scene = Scene(name, "")
    EXAMPLES[name](scene)
    assert scene.forged is not None
    return scene.forged


def example(vector: Vector) -> dict[str, dict[str, str]]:
    """`secrets` and `values` in vectors/xkm1.json; recipients in the order of the tags."""
    plan = forged(vector.name).plan
    recipients = sorted(plan.recipients, key=lambda one: plan.row(plan.head, one).tag)
    return {
        "secrets": named(secrets(plan, recipients)),
        "values": named(values(plan, recipients, vector.envelope)),
    }


def named(table: Table) -> dict[str, str]:
    """In hexadecimal, by name; with positions where there are several."""
    texts = {}
    for name, group in table.items():
        for position, value in enumerate(group):
            texts[f"{name}_{position}" if len(group) > 1 else name] = value.hex()
    return texts


def secrets(plan: Plan, recipients: list[To]) -> Table:
    return {
        "s": [ALICE.secret],
        "e": [plan.e],
        "r": [one.person.secret for one in recipients],
        "U": [one.user for one in recipients],
        "a": [plan.signing_seed] if plan.signing_seed else [],
        "CK": list(plan.content_keys),
        "VK": list(plan.view_keys),
    }


def values(plan: Plan, recipients: list[To], envelope: bytes) -> Table:
    """From s and e, as a sealer computes them."""
    head = plan.head
    dh_s = [crypto.x25519(ALICE.secret, one.person.xkey) for one in recipients]
    pairs = [
        crypto.pair_keys(dh, head.S, one.person.xkey, one.user)
        for dh, one in zip(dh_s, recipients, strict=True)
    ]
    dh_e = [crypto.x25519(plan.e, one.person.xkey) for one in recipients]
    parts = [crypto.part_keys(ck, head.E, head.nonce, j) for j, ck in enumerate(plan.content_keys)]
    views = [crypto.view_keys(vk, head.E, head.nonce, v) for v, vk in enumerate(plan.view_keys)]
    c = len(envelope) - 49 * len(recipients)
    d = c - 2 - (66 if plan.signing_seed else 2)  # few recipients: headers of two bytes
    return {
        "dh_s": dh_s,
        "tag_key": [tag_key for tag_key, _ in pairs],
        "auth_key": [auth_key for _, auth_key in pairs],
        "tag": [crypto.tag_of(tag_key, head.E) for tag_key, _ in pairs],
        "dh_e": dh_e,
        "K": [
            crypto.wrap_key(auth_key, dh, head.E, one.person.xkey)
            for (_, auth_key), dh, one in zip(pairs, dh_e, recipients, strict=True)
        ],
        "enc_key": [enc_key for enc_key, _ in parts],
        "commit": [commit for _, commit in parts],
        "view_key": [view_key for view_key, _ in views],
        "view_commit": [commit for _, commit in views],
        "D": [crypto.sha256(envelope[:d])],
        "T": [crypto.sha256(envelope[:c])],
    }
