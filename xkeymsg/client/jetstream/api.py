"""JetStream's API: JSON requests, and strict parsing of untrusted replies.

Anyone who may publish to the inbox, or runs the broker, can send any reply. A reply is limited in
size and must be an object of the expected form; anything else is a `DeliveryError`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from xkeymsg.errors import ConfigurationError, DeliveryError
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw

__all__ = (
    "API",
    "CONSUMER_NOT_FOUND",
    "EXPECTED_LAST",
    "MESSAGE_NOT_FOUND",
    "STREAM_NOT_FOUND",
    "WRONG_LAST",
    "PubAck",
    "Stored",
    "check_name",
    "int64",
    "is_subject_full",
    "nanoseconds",
    "parse_answer",
    "parse_puback",
)

CONSUMER_NOT_FOUND: Final = 10014
MESSAGE_NOT_FOUND: Final = 10037
STREAM_NOT_FOUND: Final = 10059
WRONG_LAST: Final = (10071, 10164)
"""JetStream's error numbers: the subject has another last message than the request expects."""
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
"""The header with the sequence of the last message that a request expects."""
_NOT_STORED: Final = 10077
_SUBJECT_IS_FULL: Final = "per subject"
"""JetStream's error number for a message that could not be stored, and its text if only the subject
is full."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PUBACK: Final = re.compile(
    rb'\{"stream":"(%b)", ?"seq":([1-9][0-9]{0,17})\}' % _NAME.pattern.encode()
)
_MAX: Final = 2**63
_LONGEST: Final = 64 << 20
_SECONDS: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def check_name(kind: str, name: str) -> str:
    """Return the name of a stream or consumer, if it is safe as a token of a subject.

    Raises:
        ConfigurationError: If it is not a single token.
        TypeError: If it is not a str.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} name: expected str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"invalid {kind} name (allowed: letters, digits, '-' and '_')")
    return name


class PubAck(NamedTuple):
    """A stream's acknowledgement that it has stored a message."""

    stream: str
    sequence: int
    duplicate: bool
    """Whether it already had a message with this id, which is then at `sequence`."""


class Stored(NamedTuple):
    """A message stored in a stream."""

    subject: str
    sequence: int
    headers: list[tuple[str, str]]
    data: bytes
    stored_ms: int
    """When the stream stored it, in milliseconds since 1970."""


def parse_answer(data: bytes) -> dict[str, Any]:
    """Parse a reply of the API, or a publish acknowledgement.

    Raises:
        DeliveryError: If it reports an error (`err_code` is JetStream's error number), or if it is
            not a valid reply.
    """
    try:
        answer = json.loads(data) if len(data) <= _LONGEST else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise DeliveryError("JetStream's reply is not a JSON object")
    error = answer.get("error")
    if error is None:
        return answer
    if not isinstance(error, dict):
        raise DeliveryError("JetStream refused: invalid error")
    number, text = error.get("err_code"), error.get("description")
    number = number if type(number) is int and 0 <= number < _MAX else None
    text = text[:200] if isinstance(text, str) else "no reason"
    text = "".join(each if each.isprintable() else "?" for each in text)  # it may be printed
    raise DeliveryError(f"JetStream refused: {text} ({number})", err_code=number)


def is_subject_full(error: DeliveryError) -> bool:
    """Return whether the stream refused a message only because its subject is full."""
    return error.err_code == _NOT_STORED and _SUBJECT_IS_FULL in str(error)


def int64(value: object) -> int:
    """Return a number from the server if it fits an int64, else 0: it may send any."""
    return value if type(value) is int and abs(value) < _MAX else 0


def parse_puback(data: bytes) -> PubAck:
    """Parse a publish acknowledgement.

    Raises:
        DeliveryError: As `parse_answer`.
    """
    common = _PUBACK.fullmatch(data)
    if common is not None:  # as nats-server writes most of them; JSON would take longer
        return PubAck(common[1].decode(), int(common[2]), duplicate=False)
    answer = parse_answer(data)
    match answer:
        case {"stream": str(stream), "seq": sequence} if _is_sequence(sequence):
            return PubAck(stream, sequence, answer.get("duplicate") is True)
    raise DeliveryError("JetStream's reply is not a valid acknowledgement")


def _is_sequence(value: object) -> bool:
    return type(value) is int and 0 < value < _MAX  # True is an int too


def _parse_stored(message: object) -> Stored:
    match message:
        case {"subject": str(subject), "seq": int(sequence), "time": str(time), **rest}:
            try:
                block = base64.b64decode(str(rest.get("hdrs", "")), validate=True)
                content = base64.b64decode(str(rest.get("data", "")), validate=True)
                stored_ms = nanoseconds(time) // 10**6
            except (binascii.Error, ValueError):
                pass
            else:
                if _is_sequence(sequence):
                    return Stored(subject, sequence, parse_block(block), content, stored_ms)
    raise DeliveryError("JetStream's reply is not a valid stored message")


def nanoseconds(time: str) -> int:
    """Return the nanoseconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: If it is not one.
    """
    match = _SECONDS.fullmatch(time)
    if match is None:
        raise ValueError
    seconds = datetime.fromisoformat(match[1] + match[3]).timestamp()
    return int(seconds) * 10**9 + int((match[2] or "0").ljust(9, "0"))


class API:
    """Client of JetStream's API.

    Args:
        link: The connection.
        timeout: Timeout of a reply, in seconds; by default that of the connection.
    """

    def __init__(self, link: Link, *, timeout: float | None = None) -> None:
        self.link = link
        self.timeout = link.timeout if timeout is None else timeout
        self.prefix = link.jetstream_api

    async def request(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, and return the parsed reply.

        Raises:
            DeliveryError: If it is refused (`err_code` says why), or there is no valid reply.
        """
        raw = await self.ask(what, body)
        return parse_answer(raw.data)

    async def ask(self, what: str, body: Mapping[str, Any] | None = None) -> Raw:
        """Send a request, and return the raw reply."""
        data = b"" if body is None else json.dumps(body).encode()
        return await self.link.request(f"{self.prefix}.{what}", data, timeout=self.timeout)

    async def has_stream(self, stream: str) -> bool:
        """Return whether a stream exists.

        Raises:
            DeliveryError: If the server refuses or does not reply.
        """
        try:
            await self.request(f"STREAM.INFO.{stream}")
        except DeliveryError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return False
        return True

    async def explained(self, error: DeliveryError, stream: str, missing: str) -> DeliveryError:
        """Return an error with the text `missing` if there is no such stream, otherwise `error`."""
        if error.err_code is None:  # nobody may have listened
            try:
                if await self.has_stream(stream):
                    return error
            except DeliveryError:
                return error
        elif error.err_code != STREAM_NOT_FOUND:
            return error
        return DeliveryError(missing, STREAM_NOT_FOUND)

    async def stream_config(self, stream: str) -> dict[str, Any]:
        """Return the configuration of a stream; empty if the reply has none.

        Raises:
            DeliveryError: If the stream does not exist, or the server refuses or does not reply.
        """
        config = (await self.request(f"STREAM.INFO.{stream}")).get("config")
        return config if isinstance(config, dict) else {}

    async def message(self, stream: str, sequence: int) -> Stored:
        """Fetch one message of a stream.

        Raises:
            DeliveryError: If it does not exist (`MESSAGE_NOT_FOUND`), or may not be read.
        """
        check_name("stream", stream)
        answer = await self.request(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        stored = _parse_stored(answer.get("message"))
        if stored.sequence != sequence:
            raise DeliveryError("JetStream answered with another message")
        return stored

    async def next_message(self, stream: str, sequence: int, subject: str) -> Stored | None:
        """Fetch the first message with a subject, starting at a sequence; None if not found.

        Raises:
            DeliveryError: If the stream does not exist, or may not be read.
        """
        check_name("stream", stream)
        body = {"seq": sequence, "next_by_subj": subject}
        try:
            answer = await self.request(f"STREAM.MSG.GET.{stream}", body)
        except DeliveryError as error:
            if error.err_code == MESSAGE_NOT_FOUND:
                return None
            raise
        stored = _parse_stored(answer.get("message"))
        if stored.sequence < sequence:
            raise DeliveryError("JetStream answered with another message")
        return stored

    async def last_message(self, stream: str, subject: str) -> Stored | None:
        """Fetch the last message with a subject; None if not found.

        Raises:
            DeliveryError: If the stream does not exist, or may not be read.
        """
        check_name("stream", stream)
        try:
            answer = await self.request(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except DeliveryError as error:
            if error.err_code == MESSAGE_NOT_FOUND:
                return None
            raise
        return _parse_stored(answer.get("message"))

    async def delete_message(self, stream: str, sequence: int) -> None:
        """Delete one message of a stream.

        Raises:
            DeliveryError: If it does not exist, or may not be deleted.
        """
        check_name("stream", stream)
        await self.request(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
