/** Replay memory of one scope (E-70 to E-86): floors, sessions, pages of marks, pending messages. */
import { latin1 } from "./bytes.js";
import { XKeyMsgError, fail } from "./errors.js";
import { counterOf, type Head } from "./head.js";
import { type Limits, withDefaults } from "./limits.js";

/** Where a stream keeps a message, from the metadata of its delivery. */
export interface Position {
  readonly stream: string;
  readonly sequence: number;
  /** When the stream stored it, in milliseconds. */
  readonly storedAt: number;
}

/** Copy the position that a caller passes, because it may change it later, and check it. */
export function copiedPosition(position: Position): Position {
  const { stream, sequence, storedAt } = position;
  if (typeof stream === "string" && Number.isSafeInteger(sequence) && Number.isFinite(storedAt)) return { stream, sequence, storedAt };
  throw new TypeError("position: expected a stream, a sequence, storedAt");
}

/** The clocks of a program; tests replace them. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds of a clock that is never set. */
  monotonic(): number;
}

export const CLOCK: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

const PAGE = 1_024;
const IDLE = 3_600_000;
const CHARGE = { sender: 600, session: 320, page: 440, mark: 5, marks: 1024 };

/** Tags of a page by counter: a Map while they are few, then an array. */
class Marks {
  size = 0;
  #few: Map<number, number> | undefined = new Map();
  #many: Uint8Array | undefined;

  /** The bytes charged for all marks of the page. */
  get charge(): number {
    return Math.min(CHARGE.marks, CHARGE.mark * this.size);
  }

  get(counter: number): number | undefined {
    return this.#few ? this.#few.get(counter) : this.#many![counter % PAGE] || undefined;
  }

  add(counter: number, tag: number): void {
    this.size++;
    if (this.#few && this.#few.size < 32) {
      this.#few.set(counter, tag);
      return;
    }
    const many = (this.#many ??= new Uint8Array(PAGE));
    for (const [each, its] of this.#few ?? []) many[each % PAGE] = its;
    this.#few = undefined;
    many[counter % PAGE] = tag;
  }
}

interface Page {
  sender: Sender;
  readonly session: Session;
  readonly number: number;
  readonly marks: Marks;
  greatest: number;
  markedAt: number;
}

interface Session {
  readonly key: string;
  floor: number;
  readonly pages: Map<number, Page>;
}

/** A sender, or all strangers. Its pages are in the order in which they were made. */
class Sender {
  floor = 0;
  held: number;
  readonly sessions = new Map<string, Session>();
  readonly pages = new Set<Page>();

  constructor(charge = CHARGE.sender) {
    this.held = charge;
  }
}

/** The senders under one budget. */
class Budget {
  held = 0;
  readonly most: number;
  readonly senders = new Map<string, Sender>();

  constructor(most: number) {
    this.most = most;
  }

  add(sender: Sender, charge: number): void {
    sender.held += charge;
    this.held += charge;
  }
}

interface Pending {
  readonly head: Head;
  readonly admitted: boolean;
  readonly position: Position;
  readonly greatest: number;
}

const sessionOf = (head: Head): string => latin1(head.S) + latin1(head.E);
const messageOf = (head: Head): string => sessionOf(head) + latin1(head.nonce.subarray(0, 4));
const tagOf = (head: Head): number => 1 + Number(tail(head) % 255n);
const tail = (head: Head): bigint => new DataView(head.nonce.buffer, head.nonce.byteOffset).getBigUint64(4);

function refuse(first: "pending" | "final"): never {
  const error = new XKeyMsgError("replay", first === "pending" ? "a copy is being handled" : "already opened");
  error.first = first;
  throw error;
}

/** The memory of one scope: one subscription, or one consumer of one durable. It lives as long as the scope. */
export class ReplayMemory {
  readonly limits: Limits;
  readonly clock: Clock;
  /** When this memory began, in milliseconds. */
  readonly started: number;
  readonly #admitted: Budget;
  readonly #unadmitted: Budget;
  readonly #strangers = new Sender();
  readonly #inHand = new Map<string, Pending>();
  readonly #waiting = new Map<string, Pending>();

  constructor(limits?: Partial<Limits>, clock: Clock = CLOCK, started = clock.now()) {
    if (!Number.isFinite(started)) throw new TypeError("started must be a number");
    this.limits = withDefaults(limits);
    this.clock = clock;
    this.started = started;
    this.#admitted = new Budget(this.limits.replay);
    this.#unadmitted = new Budget(this.limits.replayUnadmitted);
    this.#unadmitted.senders.set("", this.#strangers);
    this.#unadmitted.held = this.#strangers.held;
  }

  /** Check E-73 and E-74, or E-81. @internal */
  checkFresh(head: Head, position: Position | undefined, now: number): void {
    const { maxAge, skew } = this.limits;
    const base = position ? position.storedAt : now;
    // In this form, a clock that returns NaN refuses.
    if (position && !(position.storedAt <= now + skew)) fail("stale", "stored in the future");
    if (!(head.createdMs >= base - maxAge && head.createdMs <= base + skew)) fail("stale", "outside the freshness window");
    if (!position && head.createdMs < this.started - skew) fail("stale", "sealed before this reader began");
  }

  /** Decide in one step whether a message may open, and remember it (E-72). @internal */
  take(head: Head, admitted: boolean, position: Position | undefined): void {
    const key = messageOf(head);
    const pending = this.#inHand.get(key) ?? this.#waiting.get(key);
    if (pending) return this.#takeAgain(key, pending, head, admitted, position);
    const sender = this.#senderOf(head);
    const session = sender.sessions.get(sessionOf(head));
    const counter = counterOf(head.nonce);
    const tag = session?.pages.get(Math.floor(counter / PAGE))?.marks.get(counter);
    if (tag !== undefined) {
      if (tag !== tagOf(head)) fail("session_cloned", "two copies of one sender are running");
      refuse("final");
    }
    if (head.createdMs <= (session ?? sender).floor) fail("stale", "older than the replay memory covers");
    if (position) this.#hold(key, { head, admitted, position, greatest: head.createdMs });
    else this.#mark(head, admitted, head.createdMs);
  }

  #takeAgain(key: string, pending: Pending, head: Head, admitted: boolean, position: Position | undefined): void {
    if (tail(pending.head) !== tail(head)) fail("session_cloned", "two copies of one sender are running");
    const at = pending.position;
    if (!position || at.stream !== position.stream || at.sequence !== position.sequence) refuse("pending");
    this.#waiting.delete(key);
    this.#inHand.delete(key); // the age of a message in hand counts from its last opening
    this.#inHand.set(key, { ...pending, admitted, greatest: Math.max(pending.greatest, head.createdMs) });
  }

  #hold(key: string, pending: Pending): void {
    this.#inHand.set(key, pending);
    if (this.#inHand.size + this.#waiting.size <= this.limits.pending) return;
    const longest = this.#waiting.size ? this.#waiting : this.#inHand;
    longest.delete(longest.keys().next().value!);
  }

  /** Settle a pending message: mark it if it was handled, else forget it (E-85). @internal */
  settle(head: Head, handled: boolean): void {
    const key = messageOf(head);
    const pending = this.#inHand.get(key) ?? this.#waiting.get(key);
    if (!pending || tail(pending.head) !== tail(head)) return;
    this.#inHand.delete(key);
    this.#waiting.delete(key);
    if (handled) this.#mark(pending.head, pending.admitted, pending.greatest);
  }

  /** Note that a handler has released a message, which waits for its redelivery. @internal */
  release(head: Head): void {
    const key = messageOf(head);
    const pending = this.#inHand.get(key);
    if (!pending || tail(pending.head) !== tail(head)) return;
    this.#inHand.delete(key);
    this.#waiting.set(key, pending);
  }

  /**
   * Return the record of a message's sender, or of the strangers. An admitted sender without a record begins with the
   * floor and its sessions of the strangers.
   */
  #senderOf(head: Head): Sender {
    return this.#admitted.senders.get(latin1(head.S)) ?? this.#strangers;
  }

  /** Give an admitted sender a record; it takes its sessions from the strangers. */
  #enroll(head: Head): Sender {
    const key = latin1(head.S);
    const sender = new Sender(0);
    this.#admitted.senders.set(key, sender);
    this.#admitted.add(sender, CHARGE.sender);
    sender.floor = this.#strangers.floor;
    const move = (charge: number) => {
      this.#unadmitted.add(this.#strangers, -charge);
      this.#admitted.add(sender, charge);
    };
    for (const [id, session] of this.#strangers.sessions) {
      if (!id.startsWith(key)) continue;
      this.#strangers.sessions.delete(id);
      sender.sessions.set(id, session);
      move(CHARGE.session);
    }
    for (const page of this.#strangers.pages) {
      if (sender.sessions.get(page.session.key) !== page.session) continue;
      this.#strangers.pages.delete(page);
      sender.pages.add(page);
      page.sender = sender;
      move(CHARGE.page + page.marks.charge);
    }
    return sender;
  }

  #mark(head: Head, admitted: boolean, created: number): void {
    let sender = this.#senderOf(head);
    if (admitted && sender === this.#strangers) sender = this.#enroll(head);
    const budget = sender === this.#strangers ? this.#unadmitted : this.#admitted;
    const id = sessionOf(head);
    let session = sender.sessions.get(id);
    if (!session) {
      session = { key: id, floor: sender.floor, pages: new Map() };
      sender.sessions.set(id, session);
      budget.add(sender, CHARGE.session);
    }
    const counter = counterOf(head.nonce);
    const number = Math.floor(counter / PAGE);
    let page = session.pages.get(number);
    if (!page) {
      page = { sender, session, number, marks: new Marks(), greatest: 0, markedAt: 0 };
      session.pages.set(number, page);
      sender.pages.add(page);
      budget.add(sender, CHARGE.page);
    }
    if (page.marks.get(counter) === undefined) {
      const before = page.marks.charge;
      page.marks.add(counter, tagOf(head));
      budget.add(sender, page.marks.charge - before);
    }
    page.greatest = Math.max(page.greatest, created);
    page.markedAt = this.clock.monotonic();
    if (budget.held > budget.most) this.#makeRoom(budget, page);
  }

  /** Drop pages until 1/16 of a budget is free (E-79). */
  #makeRoom(budget: Budget, kept: Page): void {
    const target = budget.most - budget.most / 16;
    const idle = this.clock.monotonic() - IDLE;
    for (const sender of budget.senders.values()) {
      for (const page of sender.pages) {
        if (budget.held <= target) return;
        if (page !== kept && page.markedAt <= idle) this.#drop(budget, page);
      }
    }
    const heap = [...budget.senders.values()].map((sender) => ({ sender, pages: sender.pages.values() }));
    heap.sort((a, b) => b.sender.held - a.sender.held);
    while (budget.held > target && heap.length) {
      const { value: page } = heap[0]!.pages.next();
      if (page === undefined) {
        const last = heap.pop()!;
        if (heap.length) heap[0] = last;
      } else if (page !== kept) this.#drop(budget, page);
      sink(heap);
    }
    if (budget === this.#unadmitted || budget.held <= target) return;
    for (const [key, sender] of budget.senders) {
      if (sender.sessions.size) continue;
      this.#strangers.floor = Math.max(this.#strangers.floor, sender.floor);
      budget.senders.delete(key);
      budget.add(sender, -CHARGE.sender);
    }
  }

  /** Forget a page, and its session with its last one; floors rise (E-78). */
  #drop(budget: Budget, page: Page): void {
    const { sender, session } = page;
    session.pages.delete(page.number);
    sender.pages.delete(page);
    budget.add(sender, -CHARGE.page - page.marks.charge);
    session.floor = Math.max(session.floor, page.greatest);
    if (session.pages.size) return;
    sender.sessions.delete(session.key);
    budget.add(sender, -CHARGE.session);
    sender.floor = Math.max(sender.floor, session.floor);
  }
}

/** A sender, and the pages of it that are not dropped yet, oldest first. */
interface Droppable {
  readonly sender: Sender;
  readonly pages: Iterator<Page, undefined>;
}

/** Restore the order of a heap, in which no sender holds more than the one above it, after its first one has changed. */
function sink(heap: Droppable[]): void {
  for (let at = 0, next = 1; next < heap.length; at = next, next = 2 * at + 1) {
    if (next + 1 < heap.length && heap[next + 1]!.sender.held > heap[next]!.sender.held) next++;
    if (heap[at]!.sender.held >= heap[next]!.sender.held) return;
    [heap[at], heap[next]] = [heap[next]!, heap[at]!];
  }
}
