"""age, by pyrage, which is the Rust implementation. It does not authenticate the sender."""

from __future__ import annotations

from functools import partial

from benchmarks.schemes.scheme import Operations, Scheme, library

__all__ = ("AGE",)


def _age(count: int, data: bytes) -> Operations:
    pyrage = library("pyrage")
    identities = [pyrage.x25519.Identity.generate() for _ in range(count)]
    seal = partial(pyrage.encrypt, data, [identity.to_public() for identity in identities])
    sealed = seal()
    return Operations(seal, partial(pyrage.decrypt, sealed, [identities[-1]]), len(sealed))


AGE = Scheme(name="pyrage", prepare=_age, needs="pyrage")
