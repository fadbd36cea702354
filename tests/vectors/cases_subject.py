"""Step 11: the sealed subject (E-67, E-68)."""

from __future__ import annotations

from tests.vectors.builder import Scene, each
from tests.vectors.vector import Vector


def subject_is(scene: Scene, sealed: str, *expected: str) -> Vector:
    return scene.success(scene.payload(subject=sealed), "E-67", subject=expected)


def subject_is_not(scene: Scene, sealed: str, *expected: str) -> Vector:
    made = scene.payload(subject=sealed)
    return scene.refused("subject_mismatch", made, "E-67", subject=expected)


@each(
    exactly=("orders.eu", "orders.eu"),
    among_several=("orders.eu", "orders.us", "orders.eu", "news.>"),
    by_a_star=("orders.eu", "orders.*"),
    by_a_star_first=("orders.eu", "*.eu"),
    by_two_stars=("orders.eu", "*.*"),
    by_a_greater=("orders.eu", "orders.>"),
    by_a_greater_for_several=("orders.eu.north.1", "orders.>"),
    by_star_and_greater=("orders.eu.north", "*.eu.>"),
    by_a_greater_alone=("orders", ">"),
    with_the_reserved_token_later=("orders._XKM", "orders.*"),
    with_a_token_like_the_reserved=("_XKMS.orders", ">"),
    with_the_reserved_token_in_lower_case=("_xkm.orders", ">"),
)
def subject_expected(scene: Scene, subjects: tuple[str, ...]) -> Vector:
    """A star is one token, a greater is one or more."""
    return subject_is(scene, *subjects)


@each(
    another=("orders.eu", "orders.us"),
    in_capitals=("orders.eu", "Orders.eu"),
    composed=("cafe\u0301", "caf\u00e9"),
    shorter=("orders", "orders.eu"),
    longer=("orders.eu", "orders"),
    longer_than_a_star=("orders.eu.north", "orders.*"),
    shorter_than_a_star=("orders", "orders.*"),
    no_token_for_a_greater=("orders", "orders.>"),
    no_token_for_star_and_greater=("orders.eu", "orders.*.>"),
    a_prefix=("ordersx", "orders"),
    matched_in_none_of_several=("orders.eu", "orders.us", "news.>", "*"),
    a_dot_for_any_character=("ordersxeu", "orders.eu"),
)
def subject_not_expected(scene: Scene, subjects: tuple[str, ...]) -> Vector:
    """None of the expected subjects and patterns matches the sealed one."""
    return subject_is_not(scene, *subjects)


@each(greater=">", star="*.reply", reserved_and_greater="_XKM.>", reserved_and_star="_XKM.*")
def subject_of_a_reply_by(scene: Scene, pattern: str) -> Vector:
    """No pattern takes a reply: only the request that waits for it does."""
    made = scene.payload(subject="_XKM.reply")
    return scene.refused("subject_mismatch", made, "E-68", subject=[pattern])


def subject_of_a_reply_alone(scene: Scene) -> Vector:
    """One token, the reserved one."""
    made = scene.payload(subject="_XKM")
    return scene.refused("subject_mismatch", made, "E-68")


def subject_of_a_reply_exactly(scene: Scene) -> Vector:
    """The request that waits for it names it."""
    made = scene.payload(subject="_XKM.reply")
    return scene.success(made, "E-68", subject=[">", "_XKM.reply"], wire="_XKM.reply")


def subject_of_a_reply_to_another(scene: Scene) -> Vector:
    """An exact subject is exact."""
    made = scene.payload(subject="_XKM.reply")
    return scene.refused("subject_mismatch", made, "E-67", "E-68", subject=["_XKM.other"])


def wire_subject_equal(scene: Scene) -> Vector:
    """The caller demands that both are equal, and they are."""
    return scene.success(scene.payload(), "E-67", wire="orders")


def wire_subject_not_compared(scene: Scene) -> Vector:
    """Without that demand the wire subject, which a broker may map, plays no part."""
    return scene.success(scene.payload(), "E-67", subject=["orders"])


@each(another="news", longer="orders.eu", in_capitals="ORDERS")
def wire_subject_not_equal(scene: Scene, wire: str) -> Vector:
    """The message was published where its sender did not mean it to be."""
    return scene.refused("subject_mismatch", scene.payload(), "E-67", wire=wire)


def wire_subject_expected_and_sealed_not(scene: Scene) -> Vector:
    """The sealed subject is the one that has to be expected."""
    made = scene.payload(subject="news")
    return scene.refused("subject_mismatch", made, "E-67", subject=["orders"], wire="news")


def subject_before_content_type(scene: Scene) -> Vector:
    """Neither the subject nor the kind of content is what the caller asked for."""
    return scene.refused(
        "subject_mismatch", scene.payload(), "E-67", "E-88", subject=["news"], kind="document"
    )


def subject_behind_the_parts(scene: Scene) -> Vector:
    """A part that does not open is noticed before the subject that nobody expected."""
    made = scene.payload(parts=lambda parts: [parts[0][:-1]])
    return scene.refused("authentication", made, "E-56", "E-88", subject=["news"])
