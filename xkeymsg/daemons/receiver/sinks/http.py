"""One POST per batch; a 2xx response accepts it.

The configured URL alone decides where plaintext may go (`daemons.common.destinations`), so nothing
may divert it: redirects are not followed, and proxies and other settings of the environment are
ignored. The response body is never shown: it may repeat the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from xkeymsg import primitives
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.config import HTTPSink
from xkeymsg.daemons.receiver.sinks.sink import RefusedError, UnavailableError
from xkeymsg.daemons.receiver.sinks.token import read_token
from xkeymsg.errors import ConfigurationError
from xkeymsg.transport.tls import tls_context

__all__ = ("HTTP",)

_NOT_NOW: Final = frozenset({408, 425, 429})
_LONGEST: Final = 60.0
"""Upper bound for `Retry-After`, in seconds."""
_READ: Final = 65_536
"""Bytes of a response to read, so that the connection can be reused."""


class HTTP:
    """Posts records to one URL."""

    def __init__(self, section: HTTPSink) -> None:
        """Create the HTTP client.

        Raises:
            ConfigurationError: If a file cannot be used.
        """
        self._section = section
        context = tls_context(section.tls_ca, section.tls_cert, section.tls_key)
        socket = None if section.socket is None else str(section.socket)
        self._server = socket or httpx.URL(section.url).netloc.decode()
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=context,
                uds=socket,
                trust_env=False,
                limits=httpx.Limits(max_connections=section.parallel),
            ),
            timeout=section.timeout,
            follow_redirects=False,
            trust_env=False,
        )

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Post a batch."""
        ids = b"".join(record.id for record in batch)
        name = ids if len(batch) == 1 else primitives.sha256(ids)[:16]
        headers = {
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": name.hex(),
            "User-Agent": "xkeymsg-receiver",
            **_bearer(self._section.bearer_file),
        }
        body = b"".join(record.line for record in batch)
        try:
            # The timeout of httpx restarts with each byte.
            async with (
                asyncio.timeout(self._section.timeout),
                self._client.stream(
                    "POST", self._section.url, content=body, headers=headers
                ) as response,
            ):
                await _skim(response)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise UnavailableError(
                f"no response from {self._server}: {type(error).__name__}"
            ) from None
        code = response.status_code
        if code >= 500 or code in _NOT_NOW:
            raise UnavailableError(f"the server answered {code}", _retry_after(response))
        if not 200 <= code < 300:
            raise RefusedError(f"the server answered {code}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _skim(response: httpx.Response) -> None:
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _READ:
            break


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    digits = text.isascii() and text.isdecimal() and len(text) < 10
    return min(_LONGEST, float(text)) if digits else 0.0


def _bearer(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return {"Authorization": f"Bearer {read_token(path)}"}
    except ConfigurationError as error:
        raise UnavailableError(str(error)) from None
