"""xkm1: sealing one message for several recipients, and opening it as the last of them.

- *xkeymsg* is warm: the session's first message to these recipients is behind it. Openers have
  the policy `AtRest()`, so that one envelope opens again and again; the run "by policy" says what
  remembering adds. *first message* makes a sealer, or an opener, for each message.
- *xkv1* and *PyNaCl* seal one box for each recipient; the latter with a new `Box` each time.
- pyrage, joserfc and jwcrypto do not authenticate the sender; *ECDH-1PU* does.
- *bare* is the least that the same result can cost: one AEAD and one hash of the same library.

Opening is always as the *last* recipient. Peers take part at 1,000 recipients with 1 KiB only, as
size matters little there, and boxes where they are not more than 128 MiB together. A quick run has
two sizes only, and leaves out the one operation that takes seconds: age's opening at 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.harness import Batch, Contender, once_each, repeated
from benchmarks.memory import memory
from benchmarks.promises import Figure, Table
from benchmarks.refusals import PROMISES as REFUSALS
from benchmarks.refusals import refusals
from benchmarks.report import AnyPromise, Promise, Report, human
from benchmarks.schemes.age import AGE
from benchmarks.schemes.boxes import BOXES
from benchmarks.schemes.jose import JOSERFC, JOSERFC_1PU, JOSERFC_BY_KID, JWCRYPTO
from benchmarks.schemes.ours import COLD, SUBJECT, WARM, XKV1
from benchmarks.schemes.scheme import Operations, Scheme
from xkeymsg import AtRest, Opener, Sealer, XKeyPair, primitives

__all__ = ("COUNTS", "OVERHEAD", "PROMISES", "USUAL", "suite", "title")

_SCHEMES = (WARM, COLD, AGE, JOSERFC, JOSERFC_BY_KID, JOSERFC_1PU, JWCRYPTO, BOXES, XKV1)
COUNTS = (1, 5, 100, 1000)
OVERHEAD = "bytes beyond one copy of the data, 1 KiB"

USUAL = 1 << 10
_LARGE = 1 << 20
_SIZES = (128, USUAL, 1 << 16, _LARGE)
_QUICK_SIZES = (USUAL, _LARGE)
_MOST_BYTES = 128 << 20
_BARE_LARGE = "AEAD and SHA-256, bare"
_BARE_WRAP = "AEAD of 33 bytes, bare"
_GROWTH = "growth, seal 1 KiB"
_BYTES_EACH = "bytes for each further recipient"


def title(operation: str, size: int, count: int) -> str:
    """Name a run, such as `seal 1 KiB for 100`."""
    return f"{operation} {human(size)} for {count:,}"


def _faster(operation: str, count: int, peer: Scheme, target: str) -> Promise:
    run = title(operation, USUAL, count)
    return Promise(title=run, of=peer.name, against=WARM.name, target=target)


PROMISES: tuple[AnyPromise, ...] = (
    _faster("seal", 1, AGE, "≥ 6"),
    _faster("seal", 100, AGE, "≥ 60"),
    _faster("open", 1, AGE, "≥ 6"),
    _faster("open", 100, AGE, "≥ 5,000"),
    *(
        _faster(operation, count, peer, target)
        for peer in (JOSERFC, JOSERFC_1PU)
        for operation in ("seal", "open")
        for count, target in ((1, "≥ 15"), (100, "≥ 100"))
    ),
    Promise(title=_GROWTH, of="1,000", less="100", per=900, against=_BARE_WRAP, target="≤ 1.5"),
    *(
        Promise(title=title(operation, _LARGE, 1), of=WARM.name, against=_BARE_LARGE, target="≤ 2")
        for operation in ("seal", "open")
    ),
    Figure(title=_BYTES_EACH, of=WARM.name, column="100 to 1,000", target="≤ 57"),
    *REFUSALS,
)


def suite(report: Report) -> None:
    """Measure the grid, then what is said of the envelope alone."""
    schemes = [scheme for scheme in _SCHEMES if scheme.is_installed]
    for needs in sorted({scheme.needs for scheme in _SCHEMES if not scheme.is_installed}):
        report.leave_out(needs, "it is not installed (extra `bench`)")
    sent = _grid(report, schemes)
    _bytes(report, sent)
    report.measure("open 1 KiB, by policy", list(_policies()), baseline=_POLICIES[0])
    report.measure(_GROWTH, list(_growth()), baseline=_BARE_WRAP)
    refusals(report)
    memory(report)


def _takes_part(scheme: Scheme, size: int, count: int) -> bool:
    if scheme.boxes:
        return size * count <= _MOST_BYTES
    return size == USUAL or (scheme is not COLD and (scheme is WARM or count < 1000))


def _grid(report: Report, schemes: list[Scheme]) -> dict[str, dict[int, int]]:
    """Measure seal and open; return how many bytes each scheme sends of the usual size."""
    sent: dict[str, dict[int, int]] = {}
    for size in _QUICK_SIZES if report.quick else _SIZES:
        for count in COUNTS:
            cell = {
                scheme: scheme.prepare(count, bytes(size))
                for scheme in schemes
                if _takes_part(scheme, size, count)
            }
            _measure_cell(report, cell, size, count)
            if size == USUAL:
                for scheme, operations in cell.items():
                    sent.setdefault(scheme.name, {})[count] = operations.sent
    return sent


def _measure_cell(report: Report, cell: dict[Scheme, Operations], size: int, count: int) -> None:
    sealing, opening = [], []
    if size == _LARGE and count == 1:
        seal, open_ = _bare(size)
        sealing.append(seal)
        opening.append(open_)
    for scheme, operations in cell.items():
        endless = scheme is AGE and count == 1000
        if not endless and operations.open() != bytes(size):
            raise AssertionError(f"{scheme.name} does not open what it seals")
        if not scheme.only_opens:
            sealing.append(Contender(name=scheme.name, batch=repeated(operations.seal)))
        if not (scheme.only_opens and count == 1) and not (endless and report.quick):
            opening.append(Contender(name=scheme.name, batch=repeated(operations.open)))
    report.measure(title("seal", size, count), sealing, baseline=WARM.name)
    report.measure(title("open", size, count), opening, baseline=WARM.name)


def _bare(size: int) -> tuple[Contender, Contender]:
    data, nonce, aead = bytes(size), bytes(12), primitives.AEAD(bytes(32))
    sealed = aead.encrypt(nonce, data, None)

    def seal() -> None:
        aead.encrypt(nonce, data, None)
        primitives.sha256(data)

    def open_() -> None:
        aead.decrypt(nonce, sealed, None)
        primitives.sha256(data)

    return (
        Contender(name=_BARE_LARGE, batch=repeated(seal)),
        Contender(name=_BARE_LARGE, batch=repeated(open_)),
    )


def _bytes(report: Report, sent: dict[str, dict[int, int]]) -> None:
    """Report the overhead, for a copy of the data that everybody needs once."""
    overhead: Table = {
        name: {f"{count:,}": bytes_ - USUAL for count, bytes_ in by_count.items()}
        for name, by_count in sent.items()
        if name != COLD.name
    }
    report.add_table(OVERHEAD, overhead)
    report.add_table(
        _BYTES_EACH,
        {
            name: {"100 to 1,000": (by_count[1000] - by_count[100]) / 900}
            for name, by_count in sent.items()
            if name in overhead and {100, 1000} <= by_count.keys()
        },
    )


_POLICIES = ("file, the same envelope", "file, new envelopes", "live, new envelopes")


def _policies() -> Iterator[Contender]:
    """Tell what `live` remembers from what it costs that each envelope is another one."""
    pair, reader, data = XKeyPair.generate(), XKeyPair.generate(), bytes(USUAL)
    seal = partial(Sealer(pair).seal, data, to=[reader.public], subject=SUBJECT)
    live = Opener(reader, senders={pair.public})
    file = Opener(reader, senders={pair.public}, replay=AtRest())
    same, new, remembered = _POLICIES
    yield Contender(name=same, batch=repeated(partial(file.open, seal(), subject=SUBJECT)))
    yield Contender(name=new, batch=_fresh(file, seal), warm_up=1000)
    yield Contender(name=remembered, batch=_fresh(live, seal), warm_up=1000)


def _fresh(opener: Opener, seal: Callable[[], bytes]) -> Batch:
    return once_each(lambda: partial(opener.open, seal(), subject=SUBJECT))


def _growth() -> Iterator[Contender]:
    """Time what one more recipient costs, and the call of the AEAD that it cannot do without."""
    pair, to = XKeyPair.generate(), [XKeyPair.generate().public for _ in range(1000)]
    sealer, data = Sealer(pair), bytes(USUAL)
    for count in (1000, 100):
        seal = partial(sealer.seal, data, to=to[:count], subject=SUBJECT)
        yield Contender(name=f"{count:,}", batch=repeated(seal), warm_up=1)
    aead = primitives.AEAD(bytes(32))
    bare = partial(aead.encrypt, bytes(12), bytes(33), bytes(32))
    yield Contender(name=_BARE_WRAP, batch=repeated(bare))
