"""The books of one run: everything that was sent is accounted for, and nothing else came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

SERVER_DIED: Final = frozenset(("kill -9 server", "server full", "leader killed"))
SERVER_AWAY: Final = SERVER_DIED | {"server frozen"}
ANY_SERVER: Final = SERVER_AWAY | {"kill -9 the sink's server", "kill -9 the source's server"}


@dataclass
class Ledger:
    """What happened, and whether it adds up."""

    scenario: str
    seed: int
    planned: int = 0
    """How many honest messages there had to be."""
    sender: str = ""
    """Whose they are."""
    sent: dict[str, int] = field(default_factory=dict)
    """Message ids of honest messages that were sealed, and their numbers."""
    acked: set[str] = field(default_factory=set)
    """Of these, what the stream has acknowledged to the sender."""
    delivered: Counter[str] = field(default_factory=Counter)
    """How often each message id is in the sink."""
    altered: int = 0
    """Records in the sink that do not say what was sent."""
    once: bool = True
    """Whether the sink is one that keeps a message once."""
    in_flight: Counter[str] = field(default_factory=Counter)
    """At how many faults a message was under way: so often may it come once more."""
    at_most: int | None = None
    """How many were under way at all faults together, where that is known."""
    replayed: Counter[str] = field(default_factory=Counter)
    """How often strangers have published an honest message again; and so may this."""
    aside: Counter[str] = field(default_factory=Counter)
    """How many records in quarantine are an honest message's."""
    hostile: Counter[str] = field(default_factory=Counter)
    """How many hostile messages the stream has kept, by kind."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Records in quarantine, by their reason."""
    given_up: Counter[str] = field(default_factory=Counter)
    """Hostile messages that are in no quarantine, and a receiver says of each that it gave it up:
    while the unproven one takes nothing, as when its leader is elected, they are passed."""
    missing: Counter[str] = field(default_factory=Counter)
    """Hostile messages that are in no quarantine, and nobody says a word."""
    misjudged: int = 0
    """Records of hostile messages in the other one of the two quarantines."""
    misplaced: int = 0
    """Records that name another place than that which the stream has acknowledged."""
    repeated_records: int = 0
    """Records of hostile messages that there is one of already."""
    unknown: int = 0
    """Records in quarantine that nobody sent."""
    left: int = 0
    """Messages that are in the stream alone."""
    waiting: int = 0
    """Messages that the stream says nobody has answered for."""
    left_behind: int = 0
    """Messages that a killed server has though they are in the sink, in quarantine or given up."""
    failed_starts: int = 0
    """How often a daemon began while a server was away, and ended for that."""
    faults: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """Whatever else went wrong."""
    waits: list[float] = field(default_factory=list)
    """Seconds that receivers took to find a live server."""
    seconds: float = 0.0

    @property
    def lost(self) -> set[str]:
        """Acknowledged, and neither delivered nor in quarantine."""
        return self.acked - self.delivered.keys() - self.aside.keys()

    @property
    def withheld(self) -> set[str]:
        """Honest, and in quarantine alone: only copies of what is delivered may be there."""
        return self.aside.keys() - self.delivered.keys()

    @property
    def forged(self) -> int:
        """In the sink, and never sent, or not like this."""
        return sum(name not in self.sent for name in self.delivered) + self.altered

    @property
    def duplicates(self) -> Counter[str]:
        """Messages that are in the sink more than once, and how often too often."""
        return Counter({name: count - 1 for name, count in self.delivered.items() if count > 1})

    @property
    def unexplained(self) -> int:
        """Duplicates that no fault explains: none may be there in a sink that keeps one."""
        if self.once:
            return self.duplicates.total()
        strange = (self.duplicates - (self.in_flight + self.replayed)).total()
        return max(strange, self.duplicates.total() - self._explained)

    @property
    def _explained(self) -> int:
        named = (self.in_flight + self.replayed).total()
        return named if self.at_most is None else min(named, self.at_most)

    @property
    def copies(self) -> int:
        """Records in quarantine of honest messages: only what came twice may be there."""
        return self.aside.total()

    @property
    def strange_copies(self) -> int:
        """Of these, what nobody has published again, where no server has forgotten any id."""
        return 0 if self._happened(SERVER_DIED) else (self.aside - self.replayed).total()

    def watch(self, crashes: list[str], failed_starts: int) -> None:
        """Enter how a daemon has ended where nobody killed it."""
        self.problems += crashes
        self.failed_starts += failed_starts

    def _happened(self, what: frozenset[str]) -> bool:
        return any(self.faults[each] for each in what)

    def errors(self) -> list[str]:
        """Return what does not add up."""
        away, died = self._happened(SERVER_AWAY), self._happened(SERVER_DIED)
        wrong = {
            "not sent at all": max(0, self.planned - len(self.sent)),
            "lost": len(self.lost),
            "honest messages in quarantine alone": len(self.withheld),
            "honest messages in quarantine that came once": self.strange_copies,
            "forged": self.forged,
            "duplicates that nothing explains": self.unexplained,
            "hostile messages in no quarantine": self.missing.total(),
            "given up while the server was there": 0 if away else self.given_up.total(),
            "records in the wrong quarantine": self.misjudged,
            "records that name another place": self.misplaced,
            "records that are there twice": self.repeated_records,
            "records in quarantine that nobody sent": self.unknown,
            "still in the stream": self.left,
            "waiting for an answer": self.waiting,
            "failed starts with all servers available": (
                0 if self._happened(ANY_SERVER) else self.failed_starts
            ),
            "left by a server that did not die": 0 if died else self.left_behind,
            "sent and not acknowledged": len(self.sent.keys() - self.acked),
        }
        return [f"{count} {what}" for what, count in wrong.items() if count] + self.problems

    def lines(self) -> list[str]:
        """Return the books for people."""
        counts = {
            "sent": len(self.sent),
            "acknowledged": len(self.acked),
            "delivered": len(self.delivered),
            "duplicates": self.duplicates.total(),
            **({} if self.once else {"  may be, at most": self._explained}),
            "hostile, stored": self.hostile.total(),
            **{f"  {kind}": count for kind, count in sorted(self.hostile.items())},
            "honest, published again": self.replayed.total(),
            "quarantined": self.quarantined.total(),
            **{f"  {reason}": count for reason, count in sorted(self.quarantined.items())},
            "  copies of honest messages": self.copies,
            "given up, each by name": self.given_up.total(),
            "done with, left by a server": self.left_behind,
            "failed starts of daemons": self.failed_starts,
            "lost": len(self.lost),
            "forged": self.forged,
            **{f"fault: {what}": count for what, count in sorted(self.faults.items())},
        }
        head = f"{self.scenario}, seed {self.seed}, {self.seconds:.1f} s"
        if self.waits:
            head += f"; back after {', '.join(f'{wait:.1f}' for wait in self.waits)} s"
        rows = [f"  {what:28} {count:>9,}" for what, count in counts.items()]
        wrong = self.errors()
        end = [f"  WRONG: {each}" for each in wrong] or ["  balanced"]
        return [head, *rows, *end]
