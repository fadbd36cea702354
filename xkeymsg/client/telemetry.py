"""OpenTelemetry: spans of a client, and the W3C trace context in its messages.

Spans exist only if the application has configured a tracer provider before it connects. The
package `opentelemetry-api` is then used, which the application has imported; it is never imported
first. Otherwise there is no `Tracing`, and the client only tests for None.

| span | kind | of |
|---|---|---|
| `publish` | producer | a message, request or reply, from its call until it is sent, or stored |
| `seal` | internal; producer in the sender | its sealing |
| `open` | consumer | opening a received message, or the refusal |
| `process` | consumer | a handler |

The context of `publish` (in the sender: of `seal`) is sealed as the headers `traceparent` and
`tracestate`. A receiver continues the trace of a request from a sender that is admitted by name,
and links to that of any other message, whose spans begin their own trace: then the sampler decides
as for any other trace, whatever the sender wants.

A span has names from the configuration (a prepared route, a pattern, a stream, a durable), the size
of the envelope, the message id and error codes. It never has contents, headers, texts of errors or
concrete subjects, which may name persons and are too many for most backends.
(Sources: W3C Trace Context, level 1; OpenTelemetry semantic conventions for messaging spans.)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, get_args

from xkeymsg.ambient import now_ns
from xkeymsg.client.error_log import ErrorLog
from xkeymsg.errors import ConfigurationError, XKeyMsgError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, TracerProvider, TraceState

    from xkeymsg.envelope.message import Message

__all__ = (
    "NOWHERE",
    "TRACEPARENT",
    "Carried",
    "Destination",
    "Telemetry",
    "Tracing",
    "processing",
    "publishing",
    "sealing",
    "sending",
    "tracing_of",
)

_M = TypeVar("_M", bound="Message")
_R = TypeVar("_R")

Telemetry = Literal["sealed", "clear", "off"]
"""What telemetry does: `sealed` makes spans, and seals the trace context; `clear` also sends it
unencrypted, for tools on the way; `off` does nothing."""

TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"
_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_MEMBER: Final = re.compile(
    r"[ \t]*([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=([ -+\--<>-~]{0,255}[!-+\--<>-~])[ \t]*"
)
_MEMBERS: Final = 32
_STATE: Final = 512
"""Characters of a `tracestate`; a longer one is left out, on both sides."""
_FLAGS: Final = 0x03
"""The flags that are defined: sampled, and random trace id."""


class Destination(NamedTuple):
    """Where messages come from or go to, as configured."""

    name: str = ""
    """A stream, a subject or a pattern; empty if it is not configured."""
    group: str = ""
    """The durable or the queue group."""

    def attributes(self) -> Iterator[tuple[str, str]]:
        """Yield the attributes of its spans."""
        if self.name:
            is_pattern = "*" in self.name or ">" in self.name or "{" in self.name
            yield f"messaging.destination.{'template' if is_pattern else 'name'}", self.name
        if self.group:
            yield "messaging.consumer.group.name", self.group


NOWHERE: Final = Destination()


class Carried:
    """The trace context of a message that is being published."""

    __slots__ = ("_creating", "_place", "_span", "_tracing", "clear", "sealed")

    def __init__(
        self,
        tracing: Tracing,
        span: Span,
        place: Destination,
        *,
        clear: bool,
        creating: bool = False,
    ) -> None:
        self._tracing, self._place = tracing, place
        self._span, self._creating = span, creating
        context = span.get_span_context()
        self.sealed: tuple[tuple[str, str], ...] = ()
        """The headers to seal."""
        if context.is_valid:
            parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
            self.sealed = ((TRACEPARENT, parent),)
            state = context.trace_state.to_header()
            if 0 < len(state) <= _STATE:
                self.sealed += ((_TRACESTATE, state),)
        self.clear = self.sealed if clear else ()
        """The headers to send unencrypted."""

    def sealing(self) -> AbstractContextManager[Span]:
        """Context: a span for sealing the message."""
        if self._creating:
            return nullcontext(self._span)
        return self._tracing.span("seal", NOWHERE, kind="INTERNAL")

    def sending(self) -> AbstractContextManager[Span]:
        """Context: a span for an attempt to send the message, after it was sealed."""
        return self._tracing.sending(self._place, self._span.get_span_context())


class Tracing:
    """Makes the spans of one client; see `tracing_of`.

    A fault of the application's sampler, processor or exporter is logged, and affects no message.
    """

    def __init__(self, provider: TracerProvider, *, clear: bool) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - an extra

        self._api, self._root = trace, context.Context()
        self._tracer = provider.get_tracer("xkeymsg")
        self._clear = clear
        self._log = ErrorLog()

    @contextmanager
    def publishing(self, place: Destination) -> Iterator[Carried]:
        """Context: a span for publishing a message; yields what the message carries."""
        with self.span("publish", place, kind="PRODUCER", type_="send") as span:
            yield Carried(self, span, place, clear=self._clear)

    @contextmanager
    def sealing(self, place: Destination, headers: Iterable[tuple[str, str]]) -> Iterator[Carried]:
        """Context: a span for sealing a message of a source, whose headers may name a trace."""
        more: dict[str, Any] = {"context": self._root, "links": self._links(self._parse(headers))}
        with self.span("seal", place, kind="PRODUCER", type_="create", **more) as span:
            yield Carried(self, span, place, clear=self._clear, creating=True)

    def sending(self, place: Destination, parent: SpanContext) -> AbstractContextManager[Span]:
        """Context: a span for sending a message that was sealed in another span."""
        context = self._context(parent)
        return self.span("publish", place, kind="CLIENT", type_="send", context=context)

    def opening(
        self,
        call: Callable[[], _M],
        size: int,
        place: Destination,
        is_request: Callable[[_M], bool] = lambda _: False,
    ) -> _M:
        """Open a message, and make its span afterwards, when its trace is known.

        Args:
            call: Opens it.
            size: Bytes of the envelope.
            place: Where it comes from.
            is_request: Whether its sender waits for an answer.

        Raises:
            Exception: As `call`.
        """
        begun = now_ns()
        try:
            message = call()
        except Exception as error:
            self._opened(begun, size, place, error, {})
            raise
        self._opened(begun, size, place, None, self._origin(message, is_request(message)))
        return message

    def _opened(
        self,
        begun: int,
        size: int,
        place: Destination,
        error: Exception | None,
        origin: dict[str, Any],
    ) -> None:
        origin.setdefault("context", self._root)
        span = self._start("open", place, kind="CONSUMER", type_="receive", begun=begun, **origin)
        span.set_attribute("messaging.message.envelope.size", size)
        if error is not None:
            self._fail(span, error)
        self._end(span)

    def processing(
        self, message: Message, place: Destination, *, is_request: bool
    ) -> AbstractContextManager[Span]:
        """Context: a span for handling a message."""
        origin = {"context": self._root, **self._origin(message, is_request)}
        return self.span("process", place, kind="CONSUMER", type_="process", **origin)

    def failed(self, error: BaseException) -> None:
        """Record an error in the current span."""
        self._fail(self._api.get_current_span(), error)

    def handler(
        self, handler: Callable[[Any], Awaitable[_R]], place: Destination
    ) -> Callable[[Any], Coroutine[Any, Any, _R]]:
        """Return a handler of messages that calls another one in a span."""

        @wraps(handler, updated=())
        async def handle(message: Any) -> _R:
            with self.processing(message, place, is_request=False):
                return await handler(message)

        return handle

    @contextmanager
    def span(self, operation: str, place: Destination, **more: Any) -> Iterator[Span]:
        """Context: a span, which is the current one; an exception is recorded by its code."""
        span = self._start(operation, place, **more)
        use = self._api.use_span(span, record_exception=False, set_status_on_exception=False)
        try:
            with use:
                yield span
        except BaseException as error:
            self._fail(span, error)
            raise
        finally:
            self._end(span)

    # --- spans ------------------------------------------------------------------------------------

    def _start(
        self,
        operation: str,
        place: Destination,
        *,
        kind: str,
        type_: str = "",
        begun: int | None = None,
        context: Context | None = None,
        links: tuple[Link, ...] = (),
        message_id: str = "",
    ) -> Span:
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.name": operation,
            **({"messaging.operation.type": type_} if type_ else {}),
            **({"messaging.message.id": message_id} if message_id else {}),
            **dict(place.attributes()),
        }
        try:
            return self._tracer.start_span(
                f"{operation} {place.name}".rstrip(),
                context=context,
                kind=self._api.SpanKind[kind],
                attributes=attributes,
                links=links,
                start_time=begun,
                record_exception=False,
                set_status_on_exception=False,
            )
        except Exception as error:  # noqa: BLE001 - from the application's sampler or processor
            self._log.tell("telemetry", "", error)
            return self._api.INVALID_SPAN

    def _fail(self, span: Span, error: BaseException) -> None:
        code = error.code if isinstance(error, XKeyMsgError) else type(error).__name__
        span.set_attribute("error.type", code)
        span.set_status(self._api.Status(self._api.StatusCode.ERROR))

    def _end(self, span: Span) -> None:
        try:
            span.end()
        except Exception as error:  # noqa: BLE001 - from the application's processor
            self._log.tell("telemetry", "", error)

    # --- contexts ---------------------------------------------------------------------------------

    def _origin(self, message: Message, is_request: bool) -> dict[str, Any]:
        """Return the context, links and id of the spans of a received message."""
        found = self._parse(message.headers.pairs)
        origin: dict[str, Any] = {"message_id": message.message_id.hex()}
        if found is not None and is_request and message.admitted:
            origin["context"] = self._context(found)
        else:
            origin["links"] = self._links(found)
        return origin

    def _links(self, found: SpanContext | None) -> tuple[Link, ...]:
        return () if found is None else (self._api.Link(found),)

    def _context(self, span: SpanContext) -> Context:
        return self._api.set_span_in_context(self._api.NonRecordingSpan(span), self._root)

    def _parse(self, pairs: Iterable[tuple[str, str]]) -> SpanContext | None:
        """Return the trace context in headers, or None if there is not exactly one valid one."""
        headers = tuple(pairs)
        parents = [value for name, value in headers if name == TRACEPARENT]
        match = _FORM.fullmatch(parents[0]) if len(parents) == 1 else None
        if match is None:
            return None
        trace_id, span_id, flags = (int(text, 16) for text in match.groups())
        state = ",".join(value for name, value in headers if name == _TRACESTATE)
        span = self._api.SpanContext(
            trace_id,
            span_id,
            is_remote=True,
            trace_flags=self._api.TraceFlags(flags & _FLAGS),
            trace_state=self._state(state),
        )
        return span if span.is_valid else None

    def _state(self, text: str) -> TraceState:
        """Parse a `tracestate`; the library would log what is invalid."""
        members = [each for each in text.split(",") if each.strip(" \t")]
        matches = [_MEMBER.fullmatch(each) for each in members] if len(text) <= _STATE else []
        pairs = [(match[1], match[2]) for match in matches if match is not None]
        if len(pairs) != len(members) or len(dict(pairs)) != len(members) or len(pairs) > _MEMBERS:
            pairs = []
        return self._api.TraceState(pairs)


_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


def publishing(
    tracing: Tracing | None, place: Destination
) -> AbstractContextManager[Carried | None]:
    """Context: a span for publishing, if there is telemetry; yields what the message carries."""
    return _NOTHING if tracing is None else tracing.publishing(place)


def sealing(
    tracing: Tracing | None, place: Destination, headers: Callable[[], Iterable[tuple[str, str]]]
) -> AbstractContextManager[Carried | None]:
    """Context: a span for sealing a message of a source, if there is telemetry."""
    return _NOTHING if tracing is None else tracing.sealing(place, headers())


def sending(trace: Carried | None) -> AbstractContextManager[object]:
    """Context: a span for an attempt to send a sealed message, if there is telemetry."""
    return _NOTHING if trace is None else trace.sending()


def processing(
    tracing: Tracing | None, message: Message, place: Destination, *, is_request: bool = False
) -> AbstractContextManager[object]:
    """Context: a span for handling a message, if there is telemetry."""
    if tracing is None:
        return _NOTHING
    return tracing.processing(message, place, is_request=is_request)


def tracing_of(mode: Telemetry) -> Tracing | None:
    """Return the telemetry of a client, or None if there is no tracer provider.

    Raises:
        ConfigurationError: If the mode is invalid.
    """
    if mode not in get_args(Telemetry):
        raise ConfigurationError("telemetry must be 'sealed', 'clear' or 'off'")
    # The application has imported it if it has configured a provider.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if mode == "off" or trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return Tracing(provider, clear=mode == "clear")
