"""What each code of a refusal means, and what to do: the rows of docs/guides/errors.md."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ("EXPLANATIONS", "Explanation")


class Explanation(NamedTuple):
    """A code and its explanation, plain text."""

    code: str
    means: str
    do: str


EXPLANATIONS: Final = (
    Explanation(
        "malformed",
        "The bytes are not a sealed message.",
        "Usually a publisher of plaintext on a sealed subject: find out who publishes there. "
        "A few are noise.",
    ),
    Explanation(
        "unsupported_version",
        "A format or feature that this release does not support or a route does not accept.",
        "Update the receiver; for xkv1, decide whether the route's formats should include it.",
    ),
    Explanation(
        "limit_exceeded",
        "Something exceeds a limit: recipients, headers, parts, the message.",
        "Send less at once; or raise Limits on both sides, if the size is intended.",
    ),
    Explanation(
        "bad_key",
        "A public key in the message is unsafe: of small order, or not canonical.",
        "Nothing: an attack, or a broken program. It did no harm.",
    ),
    Explanation(
        "not_a_recipient",
        "Sealed to others, or no part of it is for you.",
        "Do senders have your current key (xkeymsg pub)? After a key rotation, keep the old "
        "one in key.retired. Subscribe only to subjects with messages for you.",
    ),
    Explanation(
        "authentication",
        "The message was altered, or was not sealed by this sender for this key.",
        "A few: noise or an attack. All of one sender: it has an old key of yours, or you "
        "have an old key of the sender.",
    ),
    Explanation(
        "commitment",
        "An admitted sender gave readers different contents in one message.",
        "Ask the sender; until it can explain, remove it from the peers file.",
    ),
    Explanation(
        "sender_not_admitted",
        "The sender's key may not send on this subject, or not yet.",
        "If it should: xkeymsg peers add, after comparing fingerprints. Messages of a stream are "
        "retried for a while; after that, run xkeymsg quarantine replay.",
    ),
    Explanation(
        "sender_revoked",
        "The sender's key or user is revoked, or the signing key that issued the user is removed.",
        "Nothing, if that was intended. Messages sealed before the revocation are refused "
        "too: nobody knows when the theft was.",
    ),
    Explanation(
        "subject_mismatch",
        "Sealed for a subject that is not accepted, or moved on the way.",
        "If a route's subjects is wrong, correct it and replay. Otherwise the broker, or "
        "someone with access to it, moves messages.",
    ),
    Explanation(
        "content_type",
        "A document where a payload was expected, or the reverse.",
        "Set the route's documents, or call open_document; then replay.",
    ),
    Explanation(
        "expired",
        "The sender's expiry time has passed.",
        "Are receivers behind? Scale (scaling), or ask the sender for a later expiry. Drop.",
    ),
    Explanation(
        "stale",
        "The error names one of three causes: outside the freshness window, the time limit of"
        " the replay window (older than max_age, or from the future); sealed before this "
        "receiver began; older than the replay memory covers.",
        "Window: compare clocks (chronyc tracking) on both sides; seal later, or raise "
        "max_age. Receiver began: send again, or use a stream. Replay memory: raise "
        "Limits.replay_bytes, and look for a sender that makes a session for each message.",
    ),
    Explanation(
        "replay",
        "Already handled here.",
        "Nothing: it was delivered once. After a lost connection, acknowledgements were lost "
        "with it. Otherwise, many mean that someone publishes captured messages.",
    ),
    Explanation(
        "session_cloned",
        "Two different messages carry one counter: the sender's state was copied.",
        "The sender's machine was cloned, or restored from a snapshot, while the sender ran. "
        "Restart the sender on each copy: a new process begins a new session. A fork is not the "
        "cause: a forked process begins its own.",
    ),
    Explanation(
        "signature_missing",
        "A signature is required, but the message is unsigned.",
        "Configure the sender's signer, or stop requiring signatures (require_signature).",
    ),
    Explanation(
        "signature_invalid",
        "The signature is not by the user known for this key.",
        "Is the user in your peers file right? If so: an attack, or a broken signer.",
    ),
    Explanation(
        "key_format",
        "Not a valid key, or a key of another kind (U… instead of X…).",
        "Copy it again, completely.",
    ),
    Explanation(
        "key_store",
        "A secret key cannot be read: missing, or readable by others; or its key store fails.",
        "chmod 600 the file, and make the user that runs the program its owner. Stream "
        "messages are held until the store works again.",
    ),
    Explanation(
        "policy_invalid",
        "A policy, or the readers given with it, is invalid; the error names file, line and rule.",
        "xkeymsg policy lint.",
    ),
)
