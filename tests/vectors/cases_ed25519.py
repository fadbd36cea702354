"""Step 14: signatures that libraries judge differently (E-3 to E-5)."""

from __future__ import annotations

from typing import Unpack

from tests.reference import ed25519, nkeystring
from tests.reference.ed25519 import SMALL_ORDER, L
from tests.vectors import edge
from tests.vectors.builder import Forged, Options, Scene, each
from tests.vectors.forge import Bytes
from tests.vectors.people import ALICE
from tests.vectors.vector import Vector

EIGHT = {
    "order_1": SMALL_ORDER[0],
    "order_2": SMALL_ORDER[1],
    "order_4": SMALL_ORDER[2],
    "order_4_and_sign": SMALL_ORDER[3],
    "order_8": SMALL_ORDER[4],
    "order_8_and_sign": SMALL_ORDER[5],
    "order_8_again": SMALL_ORDER[6],
    "order_8_again_and_sign": SMALL_ORDER[7],
}
SMALL_Y = [y.to_bytes(32, "little") for y in range(2, 99)]
OFF_THE_CURVE = next(data for data in SMALL_Y if ed25519.decode(data) is None)


def known_as(key: bytes) -> list[str]:
    """Alice's xkey, mapped to a user key that is none of hers."""
    return [f"{ALICE.xkey_text} {nkeystring.user_text(key)}"]


def signed(scene: Scene, make: Bytes, **options: Unpack[Options]) -> Forged:
    options["sign"] = make
    options.setdefault("identity", ALICE.user)
    return scene.payload(**options)


def invalid(scene: Scene, made: Forged, rule: str, key: bytes = ALICE.user) -> Vector:
    return scene.refused("signature_invalid", made, "E-64", rule, sender=known_as(key))


def plus(signature: bytes, multiple: int) -> bytes:
    sigma = int.from_bytes(signature[32:], "little") + multiple * L
    return signature[:32] + sigma.to_bytes(32, "little")


@each(l=1, twice_l=2, as_much_as_fits=14)
def sigma_plus(scene: Scene, multiple: int) -> Vector:
    """A third party makes a second signature from a first by adding the order of the group."""
    made = signed(scene, lambda m: plus(ed25519.sign(ALICE.signing_seed, m), multiple))
    return invalid(scene, made, "E-3")


def sigma_of_ones(scene: Scene) -> Vector:
    """The greatest number that fits."""
    made = signed(scene, lambda m: ed25519.sign(ALICE.signing_seed, m)[:32] + b"\xff" * 32)
    return invalid(scene, made, "E-3")


@each(**EIGHT)
def signer_of(scene: Scene, key: bytes) -> Vector:
    """A has a small order: the equation holds, and anybody can make it hold for any message."""
    made = signed(scene, lambda m: edge.by_small_order_key(key, m), identity=key)
    return invalid(scene, made, "E-4", key)


@each(**edge.NOT_CANONICAL)
def signer_not_canonical_as(scene: Scene, key: bytes) -> Vector:
    """A second spelling of a key of small order, which a list of eight would let pass."""
    made = signed(scene, lambda m: edge.by_small_order_key(key, m), identity=key)
    return invalid(scene, made, "E-4", key)


def signer_not_on_the_curve(scene: Scene) -> Vector:
    """No point has this y."""
    made = signed(scene, lambda m: ed25519.sign(ALICE.signing_seed, m), identity=OFF_THE_CURVE)
    return invalid(scene, made, "E-4", OFF_THE_CURVE)


def signer_of_ones(scene: Scene) -> Vector:
    """y is greater than p."""
    made = signed(scene, lambda _: bytes(64), identity=b"\xff" * 32)
    return invalid(scene, made, "E-4", b"\xff" * 32)


@each(**EIGHT)
def signature_r_of(scene: Scene, rs: bytes) -> Vector:
    """R has a small order: the equation holds, but for the rule."""
    key = edge.mixed_key(8)
    for _ in range(1000):
        found: list[bytes] = []

        def sign(message: bytes, found: list[bytes] = found) -> bytes:
            signature = edge.with_small_order_r(rs, message)
            found.extend([signature] if signature else [])
            return signature or bytes(64)

        made = signed(scene, sign, identity=key)
        if found:
            return invalid(scene, made, "E-4", key)
    raise AssertionError


@each(
    y_is_p_plus_1=edge.NOT_CANONICAL["y_is_p_plus_1"],
    x_is_minus_0=edge.NOT_CANONICAL["x_is_minus_0"],
    y_is_p_plus_1_and_sign=edge.NOT_CANONICAL["y_is_p_plus_1_and_sign"],
)
def signature_r_not_canonical_as(scene: Scene, rs: bytes) -> Vector:
    """R is the neutral element in another spelling: the equation holds for the points."""
    made = signed(scene, lambda m: edge.with_neutral_r(rs, m))
    return invalid(scene, made, "E-4")


def signature_r_not_on_the_curve(scene: Scene) -> Vector:
    """No point has this y."""
    made = signed(scene, lambda m: OFF_THE_CURVE + ed25519.sign(ALICE.signing_seed, m)[32:])
    return invalid(scene, made, "E-4")


@each(order_2=2, order_4=4, order_8=8)
def signer_mixed_with_cofactor(scene: Scene, order: int) -> Vector:
    """A = aB + T, and [k]T is not neutral: valid only if the equation is multiplied by 8."""
    key = edge.mixed_key(order)
    made = signed(scene, lambda m: edge.by_mixed_key(order, m, cofactorless=False), identity=key)
    return invalid(scene, made, "E-5", key)


@each(order_2=2, order_4=4, order_8=8)
def signature_r_mixed_with_cofactor(scene: Scene, order: int) -> Vector:
    """R = rB + T: valid only if the equation is multiplied by 8."""
    made = signed(scene, lambda m: edge.with_mixed_r(order, m))
    return invalid(scene, made, "E-5")


def accepted(scene: Scene, made: Forged, key: bytes) -> Vector:
    return scene.success(made, "E-64", "E-5", sender=known_as(key), require_signature=True)


@each(order_2=2, order_4=4, order_8=8)
def signer_mixed(scene: Scene, order: int) -> Vector:
    """A = aB + T, and [k]T is neutral: the equation holds, and A is none of the eight."""
    key = edge.mixed_key(order)
    made = signed(scene, lambda m: edge.by_mixed_key(order, m, cofactorless=True), identity=key)
    return accepted(scene, made, key)


def signer_and_r_mixed(scene: Scene) -> Vector:
    """The parts of small order cancel: the equation holds without the cofactor."""
    key = edge.mixed_key(8)
    return accepted(scene, signed(scene, edge.with_mixed_r_by_mixed_key, identity=key), key)
