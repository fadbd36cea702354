"""Makes vectors/trust.json; `python -m tests.vectors.generate` calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.trust.chains.memory import MEMORY
from tests.trust.chains.rows import REFUSED, ROWS, Row
from tests.trust.chains.verdicts import identity_json, ours, subjects

__all__ = ("JSON", "NOW", "as_json", "main")

JSON: Final = Path(__file__).parent.parent.parent.parent / "vectors/trust.json"
NOW: Final = 1_800_000_000


def vector(row: Row) -> dict[str, Any]:
    chain = row.chain(NOW)
    code, identity = ours(chain, NOW)
    assert code == row.ours, row.name
    made: dict[str, Any] = {
        "name": row.name,
        "rule": row.rule,
        "now": NOW,
        "anchors": sorted(chain.policy.anchors),
        "account": chain.account,
        "user": chain.user,
        "operator_identity_issues": chain.policy.operator_identity_issues,
        "account_identity_issues": chain.policy.account_identity_issues,
        "operator": chain.operator,
        "accounts": chain.accounts,
        "users": chain.users,
        "certificates": [text for text in chain.certificates if text],
        "marks": chain.marks,
        "verdict": code,
    }
    if identity is not None:
        made["identity"] = identity_json(identity)
        made["sends"] = subjects(row, chain, row.sends)
    made["nats_server"] = server(row) if row.server else None
    return made


def server(row: Row) -> dict[str, Any]:
    chain = row.chain(NOW)
    said: dict[str, Any] = {"verdict": row.server, "relation": row.relation}
    if row.server != REFUSED and row.server_sends:
        said["sends"] = subjects(row, chain, row.server_sends)
    if not row.signs:
        said["signs"] = False
    return said


def as_json() -> str:
    vectors = [vector(row) for row in (*ROWS, *MEMORY) if not row.large]
    return json.dumps(vectors, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    text = as_json()
    JSON.write_text(text)
    print(f"{len(json.loads(text))} vectors, {len(text):,} bytes")
