"""Step 13: expiry and freshness (E-69, E-73, E-74, E-81)."""

from __future__ import annotations

from tests.vectors.builder import Scene, each, flipped
from tests.vectors.people import ALICE
from tests.vectors.vector import NOW, Vector

MAX_AGE = 5 * 60 * 1000
SKEW = 30 * 1000
LIVE = f"live {NOW - 3_600_000}"


def stored(at: int) -> str:
    return f"stream ORDERS 7 {at}"


@each(file="file", live=LIVE, stream=stored(NOW))
def expired(scene: Scene, policy: str) -> Vector:
    """now is expires_ms: the message is refused from this time on, under every policy."""
    made = scene.payload(created=NOW - 1000, expires=NOW)
    return scene.refused("expired", made, "E-69", policy=policy)


@each(file="file", live=LIVE, stream=stored(NOW))
def expires_in_a_moment(scene: Scene, policy: str) -> Vector:
    """The last millisecond."""
    made = scene.payload(created=NOW - 1000, expires=NOW + 1)
    return scene.success(made, "E-69", policy=policy)


def expires_before_it_was_created(scene: Scene) -> Vector:
    """No sealer makes this; a reader compares expires_ms with its clock only."""
    made = scene.payload(created=NOW + 2000, expires=NOW + 1000)
    return scene.success(made, "E-69")


def expired_and_stale(scene: Scene) -> Vector:
    """The expiry is checked first."""
    made = scene.payload(created=NOW - 2 * MAX_AGE, expires=NOW - MAX_AGE)
    return scene.refused("expired", made, "E-69", "E-88", policy=LIVE)


def expired_and_malformed(scene: Scene) -> Vector:
    """What is in the parts is checked before the time."""
    made = scene.message(b"\x93", created=NOW - 1000, expires=NOW)
    return scene.refused("malformed", made, "E-59", "E-88")


@each(oldest=-MAX_AGE, newest=SKEW)
def live_created(scene: Scene, offset: int) -> Vector:
    """Both bounds are inclusive."""
    made = scene.payload(created=NOW + offset)
    return scene.success(made, "E-73", policy=LIVE)


@each(too_old=-MAX_AGE - 1, in_the_future=SKEW + 1, a_year_ago=-31_536_000_000)
def live_created_is(scene: Scene, offset: int) -> Vector:
    """Older than max_age, or newer than skew."""
    made = scene.payload(created=NOW + offset)
    return scene.refused("stale", made, "E-73", policy=LIVE)


def live_created_before_the_memory_began(scene: Scene) -> Vector:
    """Within max_age, but whether it was seen before the start nobody remembers."""
    made = scene.payload(created=NOW - SKEW - 1)
    return scene.refused("stale", made, "E-74", policy=f"live {NOW}")


def live_created_just_before_the_memory_began(scene: Scene) -> Vector:
    """As much before as clocks may differ."""
    made = scene.payload(created=NOW - SKEW)
    return scene.success(made, "E-74", policy=f"live {NOW}")


def live_stale_and_signature_invalid(scene: Scene) -> Vector:
    """The time is checked before the signature."""
    made = scene.payload(created=NOW - MAX_AGE - 1, signer=ALICE, signature=flipped)
    return scene.refused("stale", made, "E-73", "E-88", policy=LIVE, sender=[ALICE.mapping])


@each(oldest=-MAX_AGE, newest=SKEW)
def stream_created(scene: Scene, offset: int) -> Vector:
    """Both bounds are inclusive, and counted from the time at which the stream stored it."""
    year = 31_536_000_000
    made = scene.payload(created=NOW - year + offset)
    return scene.success(made, "E-81", policy=stored(NOW - year))


@each(too_old=-MAX_AGE - 1, in_the_future=SKEW + 1)
def stream_created_is(scene: Scene, offset: int) -> Vector:
    """An old message was stored again, or one from the future."""
    year = 31_536_000_000
    made = scene.payload(created=NOW - year + offset)
    return scene.refused("stale", made, "E-81", policy=stored(NOW - year))


def stream_stored_in_the_future(scene: Scene) -> Vector:
    """Stored later than clocks may differ."""
    made = scene.payload(created=NOW + SKEW)
    return scene.refused("stale", made, "E-81", policy=stored(NOW + SKEW + 1))


def stream_stored_just_in_the_future(scene: Scene) -> Vector:
    """As much later as clocks may differ."""
    made = scene.payload(created=NOW + 2 * SKEW)
    return scene.success(made, "E-81", policy=stored(NOW + SKEW))


def file_created_long_ago(scene: Scene) -> Vector:
    """At rest, age does not count."""
    return scene.success(scene.payload(created=2**32), "E-73", "E-81")
