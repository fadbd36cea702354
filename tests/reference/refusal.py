"""Refusals of the reference: one exception with the code, the step and the rule that failed."""

from __future__ import annotations

from typing import Final, Literal

Outside = Literal["undecryptable", "refused"]

CODES: Final = (
    "unsupported_version",
    "malformed",
    "limit_exceeded",
    "bad_key",
    "sender_not_admitted",
    "not_a_recipient",
    "authentication",
    "commitment",
    "subject_mismatch",
    "content_type",
    "expired",
    "stale",
    "signature_missing",
    "signature_invalid",
    "replay",
    "session_cloned",
)


class RefusalError(Exception):
    """A refusal of an envelope (spec, Opening order and Error codes).

    `rule` is the id of the requirement. A vector can thus be checked for its exact reason, not only
    for a code that many rules share.
    """

    def __init__(self, code: str, step: int, rule: str, *, pending: bool | None = None) -> None:
        assert code in CODES, code
        super().__init__(f"{code} in step {step} ({rule})")
        self.code = code
        self.step = step
        self.rule = rule
        self.pending = pending  # of a replay under *stream*: the first is not yet final (E-83)

    @property
    def outside(self) -> Outside:
        """The public code (E-90)."""
        return "undecryptable" if self.step <= 7 else "refused"
