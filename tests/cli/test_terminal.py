"""What others have sent cannot act on the terminal of who reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg.daemons.common.terminal import quote


@for_each(
    ("data", "shown"),
    [
        (b"Hello Secure World", '"Hello Secure World"'),
        ("Grüße, 世界".encode(), '"Grüße, 世界"'),
        (b'say "hi"\\', '"say \\"hi\\"\\\\"'),
        (b"a\tb\r\n", '"a\\tb\\r\\n"'),
        (b"\x1b[2J\x07\x00\x7f", '"\\x1b[2J\\x07\\x00\\x7f"'),
        (b"\xff\xfe", '"\\xff\\xfe"'),
        ("\u202e\u2028\x9b".encode(), '"\\u202e\\u2028\\u009b"'),
        ("\U000e0001".encode(), '"\\U000e0001"'),
        ("orders.\udcff", '"orders.\\xff"'),
    ],
)
def test_text_is_quoted(data: bytes | str, shown: str) -> None:
    assert quote(data) == shown


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_nothing_that_is_not_printable_gets_through(data: bytes | str) -> None:
    assert quote(data).isprintable()
