"""Opening scopes: what one subscription or durable accepts, with its replay window."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Literal

from xkeymsg import primitives, xkv1
from xkeymsg.ambient import now_ns
from xkeymsg.client.outgoing import REPLIES
from xkeymsg.client.telemetry import NOWHERE, Destination, Tracing
from xkeymsg.client.threads import guarded
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.inspect import inspect
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.envelope.subject import encode_subject, matcher
from xkeymsg.errors import (
    ConfigurationError,
    MalformedError,
    NotLoadedError,
    SenderNotAdmittedError,
    SubjectMismatchError,
    UnsupportedVersionError,
    XKeyMsgError,
)
from xkeymsg.keys import Keyring, XKey
from xkeymsg.limits import Limits, Live, Replay
from xkeymsg.opener import DOCUMENT, PAYLOAD, Opener
from xkeymsg.refusals import redact
from xkeymsg.text import is_unicode
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.raw import Raw

__all__ = (
    "LARGE",
    "LARGE_DOCUMENT",
    "Format",
    "OpeningScope",
    "Request",
    "check_reply",
    "part_own",
)

Format = Literal["xkm1", "xkv1"]

_OWN: Final = "xkm-"
"""Prefix of the names of our own sealed headers."""

LARGE: Final = 128 * 1024
LARGE_DOCUMENT: Final = 16 * 1024
"""Bytes from which a message is opened in a thread, because opening blocks the event loop.
Measured: a thread costs 0.05 ms, opening a payload of 128 KiB 0.11 ms, a document of 16 KiB 1 ms.
"""

_IMPORT: Final = b"_R_."
_GATEWAY: Final = re.compile(rb"\A_GR_\.[^.]+\.[^.]+\.")

_FORMATS: Final = ("xkm1", "xkv1")
_XKV1: Final = b"xkv1"
_ANONYMOUS: Final = primitives.label(b"xkm1/xkv1-name")


class Request:
    """The reply key and reply subjects of a message, and whether it was answered."""

    __slots__ = ("answered", "key", "own", "reply_to", "target")

    def __init__(self, own: Headers, reply: str) -> None:
        self.own = own
        """The sealed headers with reserved names."""
        self.key = own.get("xkm-reply-key")
        self.reply_to = own.get("xkm-reply-to")
        """The sealed inbox."""
        self.target = reply or self.reply_to or ""
        """The subject to publish the answer to: the inbox, or the server's subject for it."""
        self.answered = False


class OpeningScope:
    """Opens the messages of one subscription or durable, with its own replay window.

    Args:
        keyring: The receiver's keys.
        client_trust: Admits the senders.
        subjects: The accepted sealed subjects: subjects or NATS patterns.
        documents: Whether the messages are documents.
        match_wire: Whether the subject on the wire must equal the sealed one.
        formats: The accepted formats; xkv1 never with documents.
        replay: The replay policy.
        require_signature: Whether to refuse messages not signed by the sender's user.
        limits: Limits for accepted messages.
        tracing: Makes a span for each message; None without telemetry.
        place: Where the messages come from, for the spans.

    Raises:
        ConfigurationError: If a value is invalid.
        TypeError: If a subject is not a str.
    """

    def __init__(
        self,
        keyring: Keyring,
        client_trust: ClientTrust,
        *,
        subjects: str | Iterable[str],
        documents: bool = False,
        match_wire: bool = False,
        formats: Iterable[Format] = ("xkm1",),
        replay: Replay = Live(),
        require_signature: bool = False,
        limits: Limits | None = None,
        tracing: Tracing | None = None,
        place: Destination = NOWHERE,
    ) -> None:
        accepted = (subjects,) if isinstance(subjects, str) else tuple(subjects)
        if not accepted:
            raise ConfigurationError("subjects is empty: give at least one")
        self._expected = matcher(accepted)
        if any(f"{subject}.".startswith(REPLIES) for subject in accepted):
            raise ConfigurationError(f"subjects below {REPLIES[:-1]} are reserved for replies")
        self._formats = frozenset((formats,) if isinstance(formats, str) else formats)
        if not self._formats or not self._formats <= set(_FORMATS):
            raise ConfigurationError("formats must be 'xkm1', 'xkv1', or both")
        if _XKV1.decode() in self._formats and (documents or match_wire or require_signature):
            raise ConfigurationError(
                "xkv1 excludes documents, match_wire and require_signature: it has none of these"
            )
        self._keyring = keyring
        self._client_trust = client_trust
        self._subjects = accepted[0] if len(accepted) == 1 else accepted
        self._match_wire = match_wire
        self._opener = Opener(
            keyring,
            client_trust.senders,
            replay=replay,
            require_signature=require_signature,
            limits=limits,
        )
        self._limits = limits or Limits()
        self._tracing, self._place = tracing, place
        self._form: Any = DOCUMENT if documents else PAYLOAD
        # `open` has no place for the check of a reply subject, before the message is marked.
        self._open: Any = self._opener._open  # noqa: SLF001 - private to the package
        self.large = LARGE_DOCUMENT if documents else LARGE
        """Bytes from which messages should be opened in a thread."""

    def open(self, raw: Raw, position: StreamPosition | None = None) -> Any:
        """Open a message.

        Args:
            raw: The message as received.
            position: Its position in a stream, if any.

        Returns:
            A `Message`; with `documents`, a `View`.

        Raises:
            XKeyMsgError: If the message is refused.
            Exception: If trust raises it, which also refuses the message; RuntimeError if trust
                raises another BaseException, or StopIteration.
        """
        if self._tracing is None:
            return guarded(self._opened, raw, position)
        return self._tracing.opening(
            partial(guarded, self._opened, raw, position),
            len(raw.data),
            self._place,
            lambda message: position is None and isinstance(message._origin, Request),  # noqa: SLF001 - set below
        )

    def _opened(self, raw: Raw, position: StreamPosition | None) -> Any:
        wire = raw.subject_text
        if raw.data.startswith(_XKV1):
            if "xkv1" not in self._formats:
                raise UnsupportedVersionError("xkv1 is not accepted here")
            message = self._open_box(raw, wire)
        elif "xkm1" in self._formats:
            message = self._open_envelope(raw, wire, position)
        else:
            raise UnsupportedVersionError("only xkv1 is accepted here")
        message.wire_subject = wire
        if message.headers.pairs and (own := part_own(message)).pairs:
            reply = raw.reply_text if position is None else ""
            message._origin = Request(own, reply)  # noqa: SLF001 - read by `Replies`
        return message

    def _open_envelope(self, raw: Raw, wire: str, position: StreamPosition | None) -> Any:
        expected = wire if self._match_wire else None
        form = self._form
        if raw.reply and position is None:  # of a stream, it is for acknowledgements

            def checked(message: Any, limits: Limits) -> Any:
                parsed = self._form.parse(message, limits)
                check_reply(raw.reply, parsed[2].get("xkm-reply-to"))
                return parsed

            form = form._replace(parse=checked)
        now_ms = now_ns() // 1_000_000
        try:
            message = self._open(now_ms, raw.data, form, self._subjects, None, expected, position)
        except Exception as error:
            redact(error)
            if isinstance(error, NotLoadedError):
                self._client_trust.want(inspect(raw.data, self._limits).identity)
            raise
        if message.revision is not None:
            self._client_trust.compare(message)
        return message

    def rekey(self, keyring: Keyring) -> None:
        """Replace the receiver's keys, and keep the replay window."""
        self._opener.rekey(keyring)
        self._keyring = keyring

    def settle(self, message: Message, *, handled: bool = True) -> None:
        """Mark a pending message of a stream as handled, or forget it; see `Opener.settle`."""
        self._opener.settle(message, handled=handled)

    def release(self, message: Message) -> None:
        """Keep a stream message pending for its redelivery; see `Opener.release`."""
        self._opener.release(message)

    def replay_state(self) -> ReplayState:
        """Return the state of the replay window, for metrics."""
        return self._opener.replay_state()

    def _open_box(self, raw: Raw, wire: str) -> Message:
        """Open an xkv1 message; its subject and time are unauthenticated."""
        if len(raw.data) > self._limits.envelope:
            raise MalformedError("xkv1: longer than the limit for envelopes")
        encode_subject(wire)  # from the broker; no sealer has checked it
        if not self._expected(wire):
            raise SubjectMismatchError("xkv1: unexpected subject")
        sender = _hint(raw.headers)
        admission = self._client_trust.admits_xkv1(sender, wire)
        if admission is None:
            raise SenderNotAdmittedError("this key may not send xkv1 on this subject")
        data = self._unbox(raw.data, sender)
        name = primitives.digest(_ANONYMOUS, raw.data, size=32)
        head = Head(
            bytes(sender), name, bytes(12), now_ns() // 1_000_000, wire, None, None, None
        )  # fmt: skip
        return Message(
            head,
            data,
            admitted=admission.admitted,
            signer=None,
            content_type=None,
            headers=Headers(),
        )

    def _unbox(self, sealed: bytes, sender: XKey) -> bytes:
        failure: XKeyMsgError | None = None
        keyring = self._keyring  # read once: another thread may replace it
        for pair in (keyring.active, *keyring.retired):
            try:
                return xkv1.open(sealed, key=pair, sender=sender)
            except XKeyMsgError as error:
                failure = failure or error
        assert failure is not None  # noqa: S101 - a keyring has a key
        raise failure


def check_reply(reply: bytes, inbox: str | None) -> None:
    """Check the reply subject of a request on the wire, which anyone can replace who resends it.

    It must be the sealed inbox, or the server's subject for it: across a service import the server
    writes `_R_.…`, and across a gateway it puts `_GR_.…` in front. It refuses clients that publish
    with such reply subjects. With any other one, whoever resends a captured request could have the
    service publish its answer to a subject such as `$JS.API.…`.

    Raises:
        SubjectMismatchError: If the message is a request, and its reply subject is another one.
    """
    if inbox is not None:
        subject = _GATEWAY.sub(b"", reply, count=1)
        is_inbox = subject == inbox.encode("utf-8", "surrogateescape")
        if not (is_unicode(reply) and (is_inbox or subject.startswith(_IMPORT))):
            raise SubjectMismatchError("the reply subject is not the inbox sealed in the request")


def _hint(block: bytes) -> XKey:
    """Return the sender's key from a header: the box opens only if it is the right one."""
    for name, value in parse_block(block):
        if name == "sender":
            return XKey.parse(value)
    raise MalformedError("xkv1: the header 'sender' with the sender's key is missing")


def part_own(message: Message) -> Headers:
    """Remove our own headers from a message, and return them.

    The application can publish the remaining headers again: they have no reserved names.
    """
    own: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for pair in message.headers.pairs:
        (own if pair[0].lower().startswith(_OWN) else others).append(pair)
    if own:
        message.headers = Headers(others)
    return Headers(own)
