"""Checks of local files: the key and the peers file."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from xkeymsg.ambient import now_ns
from xkeymsg.cli.doctor.findings import SOON, CheckResult, Level, shown_time
from xkeymsg.daemons.common.flags import StoreChoice
from xkeymsg.directory.rotation import RENEW
from xkeymsg.errors import ConfigurationError, KeyStoreError, TrustError, XKeyMsgError
from xkeymsg.key_stores.certificates import validities
from xkeymsg.key_stores.opening import describe, find_keys, list_certificates
from xkeymsg.key_stores.store_keys import StoreKeyPair
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.text import path_text
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.stored_keys import StoredKeys
from xkeymsg.trust.claims import Certificate
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer
from xkeymsg.trust.stores.file import read_seed

__all__ = ("check_certificate", "check_files", "peer_warnings", "run_within")

_T = TypeVar("_T")
_SEED_HINT: Final = "correct that, or make a new key: xkeymsg keygen --out FILE"
_WARNING: Final = "warning: "
_CLIENT: Final = "client certificate"
_MOST_PEM: Final = 1 << 20
_WAIT: Final = "use a regular file on an available disk"


def check_files(
    seed_file: Path | None,
    peers_file: Path | None,
    publish: Iterable[str],
    timeout: float,
    *,
    store: StoreChoice | None = None,
) -> tuple[list[CheckResult], str | None]:
    """Check the given files; each within `timeout` seconds, because it may be a pipe.

    Args:
        seed_file: Our seed file.
        peers_file: Our peers file.
        publish: The subjects that we send on.
        timeout: Seconds for each file.
        store: A key store with our key; it has its own time limit.

    Returns:
        The findings, and the user `U…` of our key in the peers file.
    """
    findings, pair, user = list[CheckResult](), None, None
    if store is not None:
        several, pair = _stored(store)
        findings += several
    if seed_file is not None:
        try:
            finding, pair = run_within(timeout, partial(_key, seed_file))
        except TimeoutError:
            finding = _timeout("key", seed_file)
        findings.append(finding)
    if peers_file is not None:
        try:
            several, peers = run_within(timeout, partial(_peers, peers_file, pair, publish))
        except TimeoutError:
            several, peers = [_timeout("peers", peers_file)], None
        findings += several
        if peers is not None and pair is not None:
            users = {peer.user for peer in _holders(peers, pair)}
            user = users.pop() if len(users) == 1 else None
    return findings, user


def check_certificate(options: ConnectOptions) -> list[CheckResult]:
    """Check how long the client's TLS certificate, and those sent with it, are valid."""
    try:
        if options.tls_cert is not None:
            path = options.tls_cert
            content = run_within(options.timeout, partial(_content, path))
        elif options.cert_store is not None:
            content = StoredKeys(options).identity() or b""
        else:
            return []
        found = validities(content)
    except TimeoutError:
        return [_timeout(_CLIENT, path)]
    except XKeyMsgError as error:
        return [CheckResult(_CLIENT, "fail", str(error), "see xkeymsg key --help")]
    now = now_ns() / 1e9
    return [
        _lasting(
            _CLIENT, each.name, each.begins.timestamp() - now, each.ends.timestamp() - now,
            "renew it: the server refuses an expired one",
        )
        for each in found
    ]  # fmt: skip


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_PEM)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"cannot read {path_text(path)}: {reason}") from None


def run_within(seconds: float, check: Callable[[], _T]) -> _T:
    """Run a check in a daemon thread, which does not delay the exit.

    Raises:
        TimeoutError: If it takes too long.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(check())
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result(seconds)


def _timeout(check: str, path: Path) -> CheckResult:
    return CheckResult(check, "fail", f"{path_text(path)}: timeout while reading", _WAIT)


def _stored(store: StoreChoice) -> tuple[list[CheckResult], XKeyPair | None]:
    """Check that the keys in a store can be used, and report what an operator should know.

    Returns:
        The findings, and the key if it is the only one.
    """
    try:
        keys = find_keys(store.store, "X", match_by=store.match_by, match=store.match)
        pairs = [StoreKeyPair(key) for key in keys]
        facts = [describe(key) for key in keys]
        certificates = list_certificates(store.store)
    except KeyStoreError as error:
        hint = "see xkeymsg key --help; for details: xkeymsg key show --store STORE --debug-store"
        return [CheckResult("key", "fail", str(error), hint)], None
    findings, current = [], _current_since(certificates.values())
    for pair, several in zip(pairs, facts, strict=True):
        said = f"{pair.public}, fingerprint {pair.public.fingerprint}"
        findings += [CheckResult("key", "ok", said), *map(_fact, several)]
        certificate = certificates.get(str(pair.public))
        if certificate is not None:
            findings.append(_certified(pair.public, certificate, current))
        elif certificates:
            said = f"{pair.public} has no certificate yet"
            findings.append(CheckResult("certificate", "warn", said, "start the rotating daemon"))
    return findings, pairs[0] if len(pairs) == 1 else None


def _fact(text: str) -> CheckResult:
    if not text.startswith(_WARNING):
        return CheckResult("key store", "ok", text)
    hint = "use another key store: see xkeymsg key --help"
    return CheckResult("key store", "warn", text.removeprefix(_WARNING), hint)


def _current_since(certificates: Iterable[str]) -> int:
    """Return when the current one of the certified keys became current; 0 without one."""
    now, begun = now_ns() // 1_000_000_000, 0
    for text in certificates:
        with suppress(TrustError):
            begins = Certificate.decode(text).claims.not_before
            begun = max(begun, begins if begins <= now else 0)
    return begun


def _certified(public: XKey, text: str, current: int) -> CheckResult:
    """Judge the times of a certificate that the store keeps beside its key.

    That of a retired key may end before the key is deleted.
    """
    try:
        claims = Certificate.decode(text).claims
        fault = "" if claims.subject == str(public) else f"certificate of {claims.subject}"
    except TrustError as error:
        claims, fault = None, str(error)
    if claims is None or fault:
        return CheckResult("certificate", "fail", f"{public}: {fault}", "certify the key again")
    if claims.not_before < current:
        return CheckResult("certificate", "ok", f"{public}: of a retired key")
    now = now_ns() // 1_000_000_000
    left = claims.expires - now if claims.expires else None
    soon = (claims.expires - claims.not_before) // RENEW if claims.expires else 0
    remedy = "renew it: xkeymsg rotate, or xkeymsg trust certify"
    begins = claims.not_before - now
    return _lasting("certificate", str(public), begins, left, remedy, soon)


def _lasting(
    check: str, name: str, begins: float, left: float | None, remedy: str, soon: float = SOON
) -> CheckResult:
    """Judge how long a certificate is valid.

    Args:
        check: The name of the check.
        name: The name of the certificate.
        begins: Seconds until it is valid.
        left: Seconds until it expires; None for never.
        remedy: What to do before.
        soon: A certificate that expires within this many seconds is reported.
    """
    if begins > 0:
        return CheckResult(check, "ok", f"{name}: upcoming, valid in {shown_time(begins)}")
    if left is None:
        return CheckResult(check, "ok", f"{name}: never expires")
    if left <= 0:
        return CheckResult(check, "fail", f"{name}: expired {shown_time(-left)} ago", remedy)
    level: Level = "warn" if left < soon else "ok"
    said = f"{name}: expires in {shown_time(left)}"
    return CheckResult(check, level, said, remedy if level == "warn" else "")


def _key(path: Path) -> tuple[CheckResult, XKeyPair | None]:
    """Check the mode, form and checksum of a seed file."""
    try:
        pair = read_seed(path)
    except KeyStoreError as error:
        return CheckResult("key", "fail", str(error), _SEED_HINT), None
    return CheckResult("key", "ok", f"{pair.public}, fingerprint {pair.public.fingerprint}"), pair


def _peers(
    path: Path, own: XKeyPair | None, publish: Iterable[str]
) -> tuple[list[CheckResult], Peers | None]:
    """Check a peers file, and its entry for our own key.

    Args:
        path: The file.
        own: Our key, if known.
        publish: The subjects that we send on: users of the same file must admit us there.
    """
    try:
        peers = Peers.load(path)
        mode = path.stat().st_mode
    except (ConfigurationError, OSError) as error:
        return [
            CheckResult(
                "peers",
                "fail",
                str(error),
                "correct it, then check it again: xkeymsg peers verify FILE",
            )
        ], None
    findings = [CheckResult("peers", "ok", f"{len(peers.peers)} in {path}")]
    if mode & stat.S_IWGRP:
        said = f"{path} has mode {stat.S_IMODE(mode):04o}: its group decides who may send"
        findings.append(CheckResult("peers", "warn", said, f"chmod g-w {path}, unless intended"))
    findings += [
        CheckResult("peers", "warn", each, "ask whose key it is (xkeymsg peers verify)")
        for each in peer_warnings(peers)
    ]
    if own is not None:
        findings.append(_own_key(path, peers, own, publish))
    return findings, peers


def _holders(peers: Peers, own: XKeyPair) -> list[Peer]:
    """Return the peers that have our key, usually one."""
    return [peer for peer in peers.peers.values() if own.public in peer.xkeys]


def _own_key(path: Path, peers: Peers, own: XKeyPair, publish: Iterable[str]) -> CheckResult:
    names = ", ".join(peer.name for peer in _holders(peers, own))
    if not names:
        said = f"your key {own.public} is not in {path}: users of this file do not admit you"
        return CheckResult("own key", "warn", said, f"xkeymsg peers add {path} NAME {own.public}")
    plain = [subject for subject in publish if not {"*", ">"} & set(subject.split("."))]
    refused = [subject for subject in plain if peers.admit(own.public, subject, 0) is None]
    if refused:
        said = f"{names} may not send on {', '.join(refused)} according to {path}"
        return CheckResult(
            "own key", "warn", said, "add them to its `subjects`, in each copy of the file"
        )
    return CheckResult("own key", "ok", f"your key belongs to {names}")


def peer_warnings(peers: Peers) -> tuple[str, ...]:
    """Return one line per suspicious entry: allowed, but probably a mistake or an attack."""
    holders: dict[XKey, list[Peer]] = {}
    spellings: dict[str, list[str]] = {}
    for peer in peers.peers.values():
        spellings.setdefault(peer.name.lower(), []).append(peer.name)
        for xkey in peer.xkeys:
            holders.setdefault(xkey, []).append(peer)
    lines = [_shared(xkey, several) for xkey, several in holders.items() if len(several) > 1]
    lines += [
        f"{_listed(names)} differ only in case" for names in spellings.values() if len(names) > 1
    ]
    return tuple(lines)


def _shared(xkey: XKey, peers: list[Peer]) -> str:
    line = f"{_listed([peer.name for peer in peers])} have the same key, {xkey}"
    if len({peer.user is None for peer in peers}) > 1:
        line += "; on common subjects, those without a user may not send"
    return line


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
