"""Several texts for one key, and rollback marks (T-9, T-11 to T-13): no server has an opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.trust.chains.rows import ADMITTED, Row
from tests.trust.chains.world import Chain, Scene

__all__ = ("MEMORY",)

MEMORY: Final[list[Row]] = []


def row(
    rule: str, name: str, make: Callable[[Scene], Chain], ours: str = ADMITTED, **rest: Any
) -> None:
    MEMORY.append(Row(rule=rule, name=name, make=make, ours=ours, server="", **rest))


def accounts(s: Scene, *keys: Any, age: int, **nats: Any) -> str:
    return s.account_jwt(*keys, top={"iat": s.now - age}, **nats)


def users(s: Scene, key: Any, age: int, *permissions: str, **nats: Any) -> str:
    tags = [f"perm:{permission}" for permission in permissions]
    return s.user_jwt(key, {"iat": s.now - age}, tags=tags, **nats)


row(
    "T-9",
    "the newer user JWT counts",
    lambda s: s.chain(user=(users(s, s.key, 500, "clinic"), users(s, s.key, 800, "audit"))),
    gives={"permissions": ["clinic"]},
)
row(
    "T-9",
    "the newer account JWT counts",
    lambda s: s.chain(
        account=(accounts(s, s.key, s.second, age=900), accounts(s, s.key, age=5)),
        user=users(s, s.second, 3),
    ),
    "wrong_issuer",
)
row(
    "T-9",
    "a newer user JWT that has expired still counts",
    lambda s: s.chain(
        user=(
            users(s, s.key, 800),
            s.user_jwt(top={"iat": s.now - 500, "exp": s.now - 5}),
        )
    ),
    "expired_claim",
)
row(
    "T-9",
    "a newer user JWT that is revoked still counts, and the older one with it",
    lambda s: s.chain(
        account=s.account_jwt(revocations={s.user.public: s.now - 500}),
        user=(users(s, s.key, 800), users(s, s.key, 500)),
    ),
    "revoked",
)
row(
    "T-9",
    "a newer user JWT before its nbf takes no part",
    lambda s: s.chain(
        user=(
            users(s, s.key, 800, "clinic"),
            s.user_jwt(top={"iat": s.now - 500, "nbf": s.now + 500}),
        )
    ),
    gives={"permissions": ["clinic"]},
)
row(
    "T-9",
    "a newer user JWT by an unlisted key takes no part",
    lambda s: s.chain(user=(users(s, s.key, 800, "clinic"), users(s, s.stranger, 1))),
    gives={"permissions": ["clinic"]},
)
row(
    "T-9",
    "a newer user JWT of a scoped key with limits takes no part",
    lambda s: s.chain(
        account=s.account_jwt(s.scope(), s.key),
        user=(s.scoped_user({"iat": s.now - 800}), s.scoped_user({"iat": s.now - 5}, subs=-1)),
    ),
)
row(
    "T-9",
    "a newer account JWT by an unlisted key takes no part",
    lambda s: s.chain(
        account=(
            accounts(s, s.key, age=900),
            s.account_jwt(s.stranger, issuer=s.other_operator, top={"iat": s.now - 1}),
        )
    ),
)
row(
    "T-9",
    "two user JWTs of one iat: the permissions of both",
    lambda s: s.chain(
        user=(users(s, s.key, 800, "clinic", "audit"), users(s, s.key, 800, "clinic", "billing"))
    ),
    gives={"permissions": ["clinic"], "ungranted": ["audit", "billing"]},
)
row(
    "T-9",
    "two user JWTs of one iat: a subject that both allow",
    lambda s: s.chain(
        user=(
            users(s, s.key, 800, pub={"allow": ["a", "b"]}),
            users(s, s.key, 800, pub={"allow": ["b", "c"]}),
        )
    ),
    sends={"a": False, "b": True, "c": False},
)
row(
    "T-9",
    "two user JWTs of one iat: no name if they differ",
    lambda s: s.chain(
        user=(
            users(s, s.key, 800),
            s.user_jwt(top={"iat": s.now - 800, "name": "bob"}),
        )
    ),
    gives={"name": ""},
)
row(
    "T-9",
    "two user JWTs of one iat, one of them expired",
    lambda s: s.chain(
        user=(users(s, s.key, 800), s.user_jwt(top={"iat": s.now - 800, "exp": s.now - 5}))
    ),
    "expired_claim",
)
row(
    "T-9",
    "two user JWTs of one iat, one a bearer token",
    lambda s: s.chain(user=(users(s, s.key, 800), users(s, s.key, 800, bearer_token=True))),
    gives={"bearer": True},
)
row(
    "T-9",
    "two account JWTs of one iat, one removes the key",
    lambda s: s.chain(
        account=(accounts(s, s.key, age=5), accounts(s, s.key, s.second, age=5)),
        user=users(s, s.second, 3, "audit"),
    ),
    "wrong_issuer",
)
row(
    "T-9",
    "two account JWTs of one iat, one revokes the user",
    lambda s: s.chain(
        account=(
            accounts(s, age=5),
            accounts(s, age=5, revocations={s.user.public: s.now - 5}),
        )
    ),
    "revoked",
)
row(
    "T-9",
    "two account JWTs of one iat, one scopes the key",
    lambda s: s.chain(
        account=(
            accounts(s, s.scoped, age=5),
            accounts(s, s.scope(), age=5, tags=["grant:reader:billing"]),
        ),
        user=users(s, s.scoped, 3, "billing", "audit"),
    ),
    gives={"permissions": ["billing"], "ungranted": ["audit"], "name": ""},
)
row(
    "T-11",
    "eight user JWTs of one iat",
    lambda s: s.chain(user=tuple(users(s, s.key, 800, "a", f"p{i}") for i in range(8))),
    gives={"permissions": ["a"]},
)
row(
    "T-11",
    "nine user JWTs of one iat",
    lambda s: s.chain(user=tuple(users(s, s.key, 800, f"p{i}") for i in range(9))),
    "conflict",
)
row(
    "T-11",
    "nine user JWTs of one iat, and a newer one",
    lambda s: s.chain(
        user=(users(s, s.key, 5), *(users(s, s.key, 800, f"p{i}") for i in range(9)))
    ),
)
row(
    "T-11",
    "nine copies of one user JWT",
    lambda s: s.chain(user=(users(s, s.key, 800, "a"),) * 9),
    gives={"permissions": ["a"]},
)
row(
    "T-11",
    "the holder of a scoped key cannot displace another's user",
    lambda s: s.chain(
        account=s.account_jwt(s.key, s.scope()),
        user=(users(s, s.key, 800, "clinic"), s.scoped_user({"iat": s.now - 1})),
    ),
    gives={"permissions": ["clinic"], "name": "alice"},
)
row(
    "T-11",
    "nor with the marks of an older one gone from sight",
    lambda s: s.chain(
        account=s.account_jwt(s.key, s.scope()),
        user=s.scoped_user({"iat": s.now - 1}),
        marks={s.user.public: {s.key.public: s.now - 800}},
    ),
    "rollback",
)
row(
    "T-12",
    "an older user JWT than the mark",
    lambda s: s.chain(
        user=users(s, s.key, 800, "audit"), marks={s.user.public: {s.key.public: s.now - 500}}
    ),
    "rollback",
)
row(
    "T-12",
    "a user JWT at the mark",
    lambda s: s.chain(
        user=users(s, s.key, 800), marks={s.user.public: {s.key.public: s.now - 800}}
    ),
)
row(
    "T-12",
    "an older account JWT than the mark",
    lambda s: s.chain(
        account=accounts(s, s.key, s.second, age=900),
        marks={s.account.public: {s.operator_key.public: s.now - 5}},
    ),
    "rollback",
)
row(
    "T-12",
    "an older operator JWT than the mark",
    lambda s: s.chain(marks={s.operator.public: {s.operator.public: s.now - 5}}),
    "rollback",
)
row(
    "T-12",
    "the mark of a key that was removed has no effect",
    lambda s: s.chain(
        account=accounts(s, s.key, age=5),
        user=users(s, s.key, 800, "clinic"),
        marks={s.user.public: {s.key.public: s.now - 800, s.second.public: s.now - 10}},
    ),
    gives={"permissions": ["clinic"]},
)
row(
    "T-12",
    "the mark of another listed key has one",
    lambda s: s.chain(
        account=accounts(s, s.key, s.second, age=5),
        user=users(s, s.key, 800),
        marks={s.user.public: {s.key.public: s.now - 800, s.second.public: s.now - 10}},
    ),
    "rollback",
)
row(
    "T-12",
    "the mark of a removed operator key has no effect",
    lambda s: s.chain(
        account=accounts(s, s.key, age=5),
        marks={
            s.account.public: {
                s.operator_key.public: s.now - 5,
                s.other_operator.public: s.now - 1,
            }
        },
    ),
)
row(
    "T-13",
    "a new operator identity does not bring an older account JWT back",
    lambda s: s.chain(
        operator=s.other_operator_jwt(),
        account=accounts(s, s.key, s.second, age=900),
        policy=s.other_policy,
        marks={s.account.public: {s.operator_key.public: s.now - 5}},
    ),
    "rollback",
)
row(
    "T-13",
    "a new operator identity keeps the present account JWT",
    lambda s: s.chain(
        operator=s.other_operator_jwt(),
        account=accounts(s, s.key, age=5),
        policy=s.other_policy,
        marks={s.account.public: {s.operator_key.public: s.now - 5}},
    ),
)
row(
    "T-13",
    "the old operator identity is worth nothing",
    lambda s: s.chain(policy=s.other_policy),
    "untrusted_operator",
)
