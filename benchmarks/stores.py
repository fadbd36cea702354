"""Key stores: the speed of a key on a token of SoftHSM, against a seed in memory.

- *open* is a message of a session that is known: the pair key is cached, the store is not asked.
- *xkv1* is a message between two keys that have met: the same.
- *dh* is what a new sender, or a new session, costs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Contender, repeated
from benchmarks.report import Promise, Report
from xkeymsg import AtRest, KeyStoreError, Opener, Sealer, XKeyPair, open_key, xkv1
from xkeymsg.key_stores.opening import find_key
from xkeymsg.key_stores.providers import parse_store

__all__ = ("PROMISES", "suite")

_SEED = "seed in memory"
_TOKEN = "SoftHSM token"

PROMISES = (Promise(title="open 1 KiB", of=_TOKEN, against=_SEED, target="≤ 1.2"),)


def suite(report: Report) -> None:
    """Measure a message of a known session, and one shared secret."""
    with TemporaryDirectory() as path:
        try:
            pairs = {_SEED: XKeyPair.generate(), _TOKEN: _on_token(Path(path))}
        except (KeyStoreError, OSError) as error:
            report.leave_out(_TOKEN, str(error))
            return
        report.measure("open 1 KiB", [_open(*each) for each in pairs.items()], baseline=_SEED)
        report.measure("open xkv1 1 KiB", [_xkv1(*each) for each in pairs.items()], baseline=_SEED)
        report.measure("dh", [_dh(*each) for each in pairs.items()], baseline=_SEED)


def _on_token(folder: Path) -> XKeyPair:
    """Return a key on a new token.

    Raises:
        OSError: If SoftHSM is not installed.
        KeyStoreError: If the token cannot be used.
    """
    program = shutil.which("softhsm2-util")
    if program is None:
        raise OSError("softhsm2 is not installed")
    pin = secrets.token_hex(4)
    (folder / "tokens").mkdir()
    (folder / "pin").touch(0o600)
    (folder / "pin").write_text(pin)
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    subprocess.run(
        [program, "--init-token", "--free", "--label", "bench", "--so-pin", pin, "--pin", pin],
        check=True, capture_output=True,
    )  # fmt: skip
    store = f"pkcs11:token=bench;object=own?pin-source=file:{folder / 'pin'}"
    place = parse_store(store)
    place.provider.put(place.address, XKeyPair.generate().seed())  # type: ignore[attr-defined]
    print("\n".join(find_key(store).describe()), flush=True)
    return open_key(store)


def _open(name: str, pair: XKeyPair) -> Contender:
    alice = XKeyPair.generate()
    envelope = Sealer(alice).seal(bytes(1024), to=[pair.public], subject="a")
    opener = Opener(pair, {alice.public}, replay=AtRest())
    call = repeated(lambda: opener.open(envelope, subject="a"))
    return Contender(name=name, batch=call, warm_up=10)


def _xkv1(name: str, pair: XKeyPair) -> Contender:
    alice = XKeyPair.generate()
    box = xkv1.seal(bytes(1024), key=alice, to=pair.public)
    call = repeated(lambda: xkv1.open(box, key=pair, sender=alice.public))
    return Contender(name=name, batch=call, warm_up=10)


def _dh(name: str, pair: XKeyPair) -> Contender:
    peer = XKeyPair.generate().public
    call = repeated(lambda: pair._dh(peer))  # noqa: SLF001 - nothing public derives alone
    return Contender(name=name, batch=call, warm_up=2)
