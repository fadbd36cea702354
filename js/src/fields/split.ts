/** Splits a document into parts by permission (F-40 to F-50). */
import type { Bytes } from "../bytes.js";
import { fail, XKeyMsgError } from "../errors.js";
import type { Recipient } from "../keys.js";
import { type Limits, MAX_PARTS, MAX_VIEWS } from "../limits.js";
import { AmbiguityCheck, startVisit, type Visit, visitEach } from "./ambiguity.js";
import { DocumentCopier, encodePairs, nodesOf } from "./encode.js";
import { isField } from "./fold.js";
import { countHoles } from "./join.js";
import { pointer } from "./pattern.js";
import type { Pair, Segment } from "./plaintext.js";
import type { Policy } from "./policy.js";
import type { Value } from "./values.js";

type Container = Value[] | Map<string, Value>;

/** A recipient, and the parts that it may read, ascending. */
export interface Grant {
  readonly recipient: Recipient;
  readonly parts: readonly number[];
}

export interface Split {
  /** Plaintexts of the parts of type 1. */
  readonly parts: readonly Bytes[];
  /** The permissions of each part. */
  readonly permissions: readonly (readonly string[])[];
  readonly grants: readonly Grant[];
}

const MIXED = -1;

/** The part of a value, or MIXED and what is below it. */
interface Place {
  readonly part: number;
  readonly below: readonly Place[];
}

/** Finds the part of each field, and the largest subtrees that belong to one part. */
class Splitter {
  readonly sets: string[] = [];
  readonly pairs: Pair[][] = [];
  readonly #policy: Policy;
  readonly #numbers = new Map<string, number>();
  readonly #pointers: string[] = [];
  #denied = 0;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  split(root: Value): void {
    const place = this.#find(startVisit(root), root);
    if (this.#denied) {
      const error = new XKeyMsgError("field_denied", `no rule matches ${this.#denied} fields: ${this.#pointers.join(", ")}`);
      error.pointers = this.#pointers;
      error.count = this.#denied;
      throw error;
    }
    for (const _ of this.sets) this.pairs.push([]);
    this.#emit([], root, place);
  }

  #find(visit: Visit, value: Value): Place {
    if (isField(value)) return { part: this.#partOfField(visit), below: [] };
    const below: Place[] = [];
    visitEach(visit, value as Container, (child) => below.push(this.#find(visit, child)));
    const { part } = below[0]!;
    return below.every((place) => place.part === part && part !== MIXED) ? { part, below: [] } : { part: MIXED, below };
  }

  #partOfField(visit: Visit): number {
    const set = this.#policy.setOf(visit);
    if (set === undefined) {
      if (++this.#denied <= 20) this.#pointers.push(pointer(visit.names));
      return MIXED;
    }
    let number = this.#numbers.get(set);
    if (number === undefined) {
      number = this.sets.push(set) - 1;
      this.#numbers.set(set, number);
    }
    return number;
  }

  #emit(path: readonly Segment[], value: Value, { part, below }: Place): void {
    if (part !== MIXED) {
      this.pairs[part]!.push({ path, value });
      return;
    }
    let i = 0;
    for (const [segment, child] of (value as Container).entries()) this.#emit([...path, segment], child, below[i++]!);
  }
}

/** Return the grants of all recipients: those of equal keys are merged, and those of no field are left out. */
function grantsOf(sets: readonly string[], holders: ReadonlyMap<string, readonly Recipient[]>, always: readonly Recipient[]): Grant[] {
  const held = new Map<string, { recipient: Recipient; permissions: Set<string> | undefined }>();
  const entry = (recipient: Recipient) => {
    const key = recipient.toString();
    let found = held.get(key);
    if (!found) held.set(key, (found = { recipient, permissions: new Set() }));
    return found;
  };
  for (const [permission, recipients] of holders) for (const each of recipients) entry(each).permissions?.add(permission);
  for (const each of always) entry(each).permissions = undefined; // all permissions
  const wanted = sets.map((set) => set.split(","));
  return [...held.values()]
    .map(({ recipient, permissions }) => ({
      recipient,
      parts: [...wanted.keys()].filter((j) => !permissions || wanted[j]!.some((each) => permissions.has(each))),
    }))
    .filter(({ parts }) => parts.length);
}

/** Check the numbers of F-6 and F-49. */
function checkNumbers(pairs: readonly Pair[][], grants: readonly Grant[], limits: Limits, metadata: boolean): void {
  if (pairs.length + (metadata ? 1 : 0) > MAX_PARTS) fail("limit_exceeded", `more than ${MAX_PARTS} sets of permissions`);
  const views = new Map(grants.map(({ parts }) => [parts.join(), parts]));
  if (views.size > MAX_VIEWS) fail("limit_exceeded", `more than ${MAX_VIEWS} distinct sets of granted parts`);
  const all = pairs.flat();
  if (all.length > limits.fields) fail("limit_exceeded", `more than ${limits.fields} fields`);
  const nodes = all.reduce((sum, { path, value }) => sum + 3 + path.length + nodesOf(value), pairs.length);
  if (nodes > limits.nodes) fail("limit_exceeded", `more than ${limits.nodes} nodes`);
  for (const parts of views.values()) {
    const holes = countHoles(parts.flatMap((part) => pairs[part]!));
    if (holes > limits.holes) fail("limit_exceeded", `more than ${limits.holes} withheld items of lists`);
  }
}

/** Split a document for the holders of permissions, and for recipients that hold all of them. */
export function split(
  document: unknown,
  policy: Policy,
  holders: ReadonlyMap<string, readonly Recipient[]>,
  limits: Limits,
  options: { readonly always?: readonly Recipient[]; readonly metadata?: boolean } = {},
): Split {
  const root = new DocumentCopier(limits).copy(document);
  new AmbiguityCheck(policy, limits.nodes).check(root);
  const splitter = new Splitter(policy);
  splitter.split(root);
  const { sets, pairs } = splitter;
  const grants = grantsOf(sets, holders, options.always ?? []);
  if (!grants.length) fail("malformed", "no recipient may read any field");
  checkNumbers(pairs, grants, limits, options.metadata ?? false);
  return { parts: pairs.map(encodePairs), permissions: sets.map((set) => set.split(",")), grants };
}
