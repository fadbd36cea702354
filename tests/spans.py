"""Spans of OpenTelemetry, recorded in memory."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler

from tests.running import DEADLINE

__all__ = ("PARENT", "SECRET", "Spans", "error_of", "ids", "links_of", "parent_of", "recording")

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET: Final = "Mrs. Smith"


class Spans:
    """A tracer provider, and the spans that it has exported."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        sampler = sampler or ParentBased(ALWAYS_ON)
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def of(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.all if each.name == name]

    def one(self, name: str) -> ReadableSpan:
        [found] = self.of(name)
        return found

    async def until(self, name: str, count: int = 1) -> list[ReadableSpan]:
        async with asyncio.timeout(DEADLINE):
            while len(self.of(name)) < count:  # noqa: ASYNC110 - an exporter notifies nobody
                await asyncio.sleep(0.01)
        return self.of(name)

    def text(self) -> str:
        return "".join(each.to_json() for each in self.all)


def recording(monkeypatch: pytest.MonkeyPatch, spans: Spans) -> Spans:
    """Make it the provider of clients that connect from now on."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
    return spans


def ids(span: ReadableSpan | None) -> tuple[int, int]:
    assert span is not None
    found = span.get_span_context()
    assert found is not None
    return found.trace_id, found.span_id


def parent_of(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def links_of(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(each.context.trace_id, each.context.span_id) for each in span.links]


def error_of(span: ReadableSpan) -> object:
    assert span.attributes is not None
    return span.attributes.get("error.type")
