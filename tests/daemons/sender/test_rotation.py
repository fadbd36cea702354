"""A sender whose key is rotated: its message ids and its progress stay the same."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.daemons.common.hospital import Hospital, sender
from tests.daemons.receiver.conftest import make_stream, page, ready
from tests.running import run, until
from tests.trust.chains.world import Key
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.sender.message_ids import LABEL, Names, names_key
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.nkey import Prefix, UserKey

FAST = 'rotation = "self"\ninterval = "4s"\nlead = "1s"\nretain = "90s"\n'


def test_the_key_of_message_ids_belongs_to_the_user_and_is_no_other_signature() -> None:
    alice, bob = (UserKey(Key(Prefix.USER, name).seed) for name in ("alice", "bob"))
    key = names_key(alice)
    assert key == names_key(UserKey(Key(Prefix.USER, "alice").seed))
    assert key != names_key(bob)
    assert len(key) == 32
    for text in (LABEL, LABEL + b"\0", b""):
        assert key not in alice.sign(text)
    where = StreamPosition("IN", 7, 1_700_000_000_000)
    assert Names(key, "a").of_stream(where) == Names(names_key(alice), "a").of_stream(where)


async def state_of(hospital: Hospital, stream: str) -> dict[str, Any]:
    async with hospital.admin() as link:
        info: dict[str, Any] = (await API(link).request(f"STREAM.INFO.{stream}"))["state"]
    return info


@pytest.mark.parametrize("state", [False, True])
async def test_lines_sent_again_after_a_rotation_and_a_restart_are_stored_once(
    hospital: Hospital, state: bool
) -> None:
    """Without `state`, the stream knows the ids; with it, the progress is recognized."""
    alice, folder = hospital.person("alice"), hospital.folder.parent
    lines = folder / "lines"
    lines.write_text("one\ntwo\n")
    (folder / "state").mkdir()
    more = f'state = "{folder / "state"}"\n' if state else ""
    file = (
        f'[[route]]\nname = "lines"\nfiles = ["{lines}"]\nto = "mail.new"\noutput = "jetstream"\n'
        f'recipients = ["alice"]\n{more}'
    )
    live = (
        '[[route]]\nname = "live"\nstdin = true\nto = "mail.live"\noutput = "core"\n'
        'recipients = ["alice"]\n'
    )
    async with hospital.admin() as link:
        await make_stream(link, "MAIL", "mail.new")
    path = hospital.config(alice, file, rotation=FAST)
    first = run("sender", "--config", str(path))
    assert first.returncode == 0, first.stderr
    before = hospital.secrets("alice")
    with sender(hospital.config(alice, live, rotation=FAST)) as running:
        where = ready(running)
        await until(lambda: "NO" not in page(where, "/readyz"))
        running.wait_for("key created", "err")
        running.wait_for(" keys active=", "err")
    assert before < hospital.secrets("alice")
    with lines.open("a") as file_:
        file_.write("three\n")
    again = run("sender", "--config", str(hospital.config(alice, file, rotation=FAST)))
    assert again.returncode == 0, again.stderr
    assert (await state_of(hospital, "MAIL"))["messages"] == 3


async def test_a_durable_goes_on_with_the_same_ids_after_a_rotation_and_a_kill(
    hospital: Hospital,
) -> None:
    """Whatever was stored, and not acknowledged, before the kill, is sent again."""
    alice = hospital.person("alice")
    route = (
        '[[route]]\nname = "in"\nstream = "IN"\ndurable = "alice"\ncreate_durable = true\n'
        'subject = "in.>"\nto = "mail.new"\noutput = "jetstream"\nrecipients = ["alice"]\n'
        f'[source]\nservers = ["{hospital.server.url}"]\ncreds = "{hospital.login(alice)}"\n'
    )
    path = hospital.config(alice, route, rotation=FAST)
    count = 400
    async with hospital.admin() as link:
        await make_stream(link, "IN", "in.>")
        await make_stream(link, "MAIL", "mail.new")
        for number in range(count):
            await link.publish(f"in.{number}", b"x")
        await link.confirm()
    while len(hospital.secrets("alice")) < 3:
        with sender(path) as running:
            ready(running)
            running.wait_for("key created", "err")
            running.process.send_signal(signal.SIGKILL)
            running.wait()
    async with hospital.admin() as link:
        await API(link).request("CONSUMER.DELETE.IN.alice")  # all are sent again
    with sender(path) as running:
        ready(running)

        async def done() -> bool:
            async with hospital.admin() as link:
                info = await API(link).request("CONSUMER.INFO.IN.alice")
            return bool(info["num_pending"] == info["num_ack_pending"] == 0)

        await until(done)
    assert (await state_of(hospital, "MAIL"))["messages"] == count
