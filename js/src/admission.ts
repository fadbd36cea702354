/** Which keys may send, and as which users. */
import { type Bytes, latin1 } from "./bytes.js";
import { decodeSigner, decodeXKey, encodeXKey } from "./keys.js";
import { fail } from "./errors.js";
import type { Head } from "./head.js";

/** What trust says about a sender that it admits. */
export interface Verdict {
  /** User keys `U…` with a valid claim to this curve key; a message must name one of them. */
  readonly users?: readonly string[];
  /** Whether unsigned messages of this sender are refused. */
  readonly alwaysSigns?: boolean;
}

/** Decides about senders, for example from a directory. */
export interface Trust {
  /** Return undefined to refuse `sender` on the sealed `subject`. */
  admit(sender: string, subject: string, createdMs: number): Verdict | undefined;
}

/** Admit any sender; messages are reported as not admitted. */
export const ANYONE: unique symbol = Symbol("xkeymsg.ANYONE");

/** Keys `X…`; keys with the user that each message must name; trust; or anyone. */
export type Senders = Iterable<string> | ReadonlyMap<string, string | undefined> | Trust | typeof ANYONE;

/** A sender that may have sealed a message. */
export interface Admitted {
  readonly admitted: boolean;
  /** User keys known for the sender, raw. */
  readonly users: readonly Bytes[];
  readonly alwaysSigns: boolean;
}

export type Admit = (head: Head) => Admitted;

const refuse = (): never => fail("sender_not_admitted", "the sender is not admitted on this subject");

/** Return the check for a caller's argument, and whether users can be known under it. */
export function admission(senders: Senders): { admit: Admit; knowsUsers: boolean } {
  if (senders === ANYONE) {
    return { admit: () => ({ admitted: false, users: [], alwaysSigns: false }), knowsUsers: false };
  }
  if (typeof senders !== "object" || senders === null) throw new TypeError("senders: expected keys, a Map, trust or ANYONE");
  if ("admit" in senders) return { admit: (head) => byTrust(senders, head), knowsUsers: true };
  const known = new Map<string, readonly Bytes[]>();
  const isMap = senders instanceof Map;
  for (const entry of senders as Iterable<string | [string, string | undefined]>) {
    const [sender, user] = isMap ? (entry as [string, string | undefined]) : [entry as string, undefined];
    known.set(latin1(decodeXKey(sender)), user === undefined ? [] : [decodeSigner(user)]);
  }
  const admit: Admit = (head) => {
    const users = known.get(latin1(head.S)) ?? refuse();
    return { admitted: true, users, alwaysSigns: false };
  };
  return { admit, knowsUsers: isMap };
}

function byTrust(trust: Trust, head: Head): Admitted {
  const verdict: unknown = trust.admit(encodeXKey(head.S), head.subject, head.createdMs) || refuse();
  // A promise, or `true`, would admit every sender without a user.
  const { users = [], alwaysSigns = false } = verdict as Verdict;
  if (typeof verdict !== "object" || "then" in verdict! || !Array.isArray(users)) {
    throw new TypeError("admit() must return a verdict or undefined");
  }
  return { admitted: true, users: users.map(decodeSigner), alwaysSigns };
}
