"""A shortcut recognizes the form of most bodies; it gives the result of parsing, or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from xkeymsg import Limits, MalformedError, XKeyMsgError, wire
from xkeymsg.envelope import frame

BEFORE, BEHIND = b"#" * 7, b"!" * 11


def parsed(body: bytes) -> frame.Body | tuple[str, str]:
    data, start = BEFORE + body + BEHIND, len(BEFORE)
    try:
        return frame.parse_body(data, start, start + len(body), Limits())
    except XKeyMsgError as error:
        return error.code, str(error)


def headers(size: int) -> set[bytes]:
    """Return headers of a bin in every width that fits its size, and the right one."""
    widths = ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4), (b"\xd9", 1))
    fitting = (tag + size.to_bytes(width, "big") for tag, width in widths if size < 256**width)
    return {wire.bin_header(size), *fitting}


KINDS = (0, 1, 2, 16, 18, 20)
ENDS = (b"\xc4\0", b"\xc4\x40" + bytes(64), b"\xc5\0\0", b"\xc4\1", b"")


def bodies_of_sizes() -> Iterator[bytes]:
    """Yield bodies of sizes where a header grows, longer or shorter than announced."""
    for size in (*range(46, 54), *range(253, 260), *range(65_533, 65_540)):
        for header, more in itertools.product(sorted(headers(size)), range(-5, 6)):
            for kind, end in itertools.product(KINDS, ENDS):
                yield b"\x90\x91" + header + bytes([kind]) + bytes(size + more - 1) + end


def bodies_of_bytes() -> Iterator[bytes]:
    """Yield bodies with every byte at each significant place, and bodies that are too short."""
    for byte, size in itertools.product(range(256), (49, 255, 256)):
        content, header = bytes(size), wire.bin_header(size)
        ordinary = b"\x90\x91" + header + content + b"\xc4\0"
        first = 2 + len(header)
        for at in (0, 1, 2, 3, first, first + size, first + size + 1):
            yield ordinary[:at] + bytes([byte]) + ordinary[at + 1 :]
    for size in range(60):
        yield b"\x90\x91"[:size] + bytes(max(0, size - 2))


def bodies() -> Iterator[bytes]:
    return itertools.chain(bodies_of_sizes(), bodies_of_bytes())


def test_what_is_recognized_is_what_parsing_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    glanced = [parsed(body) for body in bodies()]
    assert sum(isinstance(result, frame.Body) for result in glanced) > 100
    monkeypatch.setattr(frame, "UNSIGNED", b"never")
    for body, result in zip(bodies(), glanced, strict=True):
        assert parsed(body) == result, (body[:9].hex(), body[-9:].hex(), len(body))


def test_a_body_beyond_4_gib_is_parsed_as_any_other() -> None:
    # A program that raises the envelope limit this far gets the verdict of the format. The bytes do
    # not exist: no code reads so far.
    with pytest.raises(MalformedError):
        frame.parse_body(b"\x90\x91\xc4\x31" + bytes(100), 0, 2**32 + 200, Limits())
