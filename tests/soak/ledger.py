"""The books of one run: everything that was sent is accounted for, and nothing else came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """What happened, and whether it adds up."""

    scenario: str
    seed: int
    sent: dict[str, int] = field(default_factory=dict)
    """Message ids of honest messages that were sealed, and their numbers."""
    acked: set[str] = field(default_factory=set)
    """Of these, what the stream has acknowledged to the sender."""
    delivered: Counter[str] = field(default_factory=Counter)
    """How often each message id is in the sink."""
    altered: int = 0
    """Records in the sink that do not say what was sent."""
    in_flight: set[str] = field(default_factory=set)
    """Messages that were under way at a fault: these alone may come twice."""
    once: bool = True
    """Whether the sink is one that keeps a message once."""
    hostile: Counter[str] = field(default_factory=Counter)
    """How many hostile messages the stream keeps, by kind."""
    replayed: set[str] = field(default_factory=set)
    """Honest messages that strangers have published again."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Records in quarantine, by their reason."""
    copies: int = 0
    """Records of honest messages that a stranger has published again."""
    proven: set[str] = field(default_factory=set)
    """Honest messages among these."""
    missing: Counter[str] = field(default_factory=Counter)
    """Hostile messages that are in no quarantine, by kind."""
    given_up: int = 0
    """Unproven messages that receivers say they gave up without a record: while that quarantine
    takes nothing, as when its leader is elected, strangers' messages are counted and passed."""
    unknown: int = 0
    """Records in quarantine that nobody sent."""
    left: int = 0
    """Messages that nobody has answered for, or hostile ones that are in the stream alone."""
    acknowledged_and_left: set[str] = field(default_factory=set)
    """Honest messages that a killed server still has, though it was told that they are done with:
    what is lost shows whether they are."""
    faults: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """Whatever else went wrong."""
    seconds: float = 0.0

    @property
    def lost(self) -> set[str]:
        """Acknowledged, and neither delivered nor in quarantine."""
        return self.acked - self.delivered.keys() - self.proven

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
        known = self.in_flight | self.replayed
        return sum(count for name, count in self.duplicates.items() if name not in known)

    def errors(self) -> list[str]:
        """Return what does not add up."""
        wrong = {
            "lost": len(self.lost),
            "forged": self.forged,
            "duplicates that nothing explains": self.unexplained,
            "hostile messages in no quarantine": max(0, self.missing.total() - self.given_up),
            "records in quarantine that nobody sent": self.unknown,
            "still in the stream": self.left,
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
            "hostile, stored": self.hostile.total(),
            **{f"  {kind}": count for kind, count in sorted(self.hostile.items())},
            "quarantined": self.quarantined.total(),
            **{f"  {reason}": count for reason, count in sorted(self.quarantined.items())},
            "  copies of honest messages": self.copies,
            "given up, and counted": self.given_up,
            "done with, left by a server": len(self.acknowledged_and_left),
            "lost": len(self.lost),
            "forged": self.forged,
            **{f"fault: {what}": count for what, count in sorted(self.faults.items())},
        }
        head = f"{self.scenario}, seed {self.seed}, {self.seconds:.1f} s"
        rows = [f"  {what:28} {count:>9,}" for what, count in counts.items()]
        wrong = self.errors()
        end = [f"  WRONG: {each}" for each in wrong] or ["  balanced"]
        return [head, *rows, *end]
