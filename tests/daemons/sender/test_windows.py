"""What a server outside says of its streams, at the start: advice, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.common.windows import short_windows
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions


async def test_a_stream_that_forgets_soon_is_told(jetstream_server: NATSServer) -> None:
    async with open_link(ConnectOptions(servers=(jetstream_server.url,))) as link:
        api = API(link)
        for name, window in (("SHORT", 10), ("LONG", 100)):
            config = {"name": name, "subjects": [f"{name}.>"], "duplicate_window": window * 10**9}
            await api.request(f"STREAM.CREATE.{name}", config)
        assert await short_windows(api, "SHORT.a", 60) == {"SHORT": 10}
        assert await short_windows(api, "LONG.a", 60) == {}


@pytest.mark.parametrize("window", [10**4000, -(10**4000), 2**63, "1", None, {}, True])
@pytest.mark.parametrize("names", [["S"], ["a b", "*"], [None, {}], "S", 7])
async def test_whatever_it_answers_ends_nothing(
    names: Any, window: Any, server: NATSServer
) -> None:
    class Liar(API):
        async def request(self, what: str, body: Any = None) -> dict[str, Any]:
            return {"streams": names, "config": {"duplicate_window": window}}

    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        found = await short_windows(Liar(link), "a", 60)
        assert all(seconds < 60 for seconds in found.values())
