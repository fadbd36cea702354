/** Stops the sealing of documents in which a place is ambiguous (F-63 to F-65). */
import { fail, XKeyMsgError } from "../errors.js";
import { areAlike, fold, isContainer, isField } from "./fold.js";
import { type Filter, type Place, pointer, reaches } from "./pattern.js";
import type { Policy } from "./policy.js";
import type { Scalar, Value } from "./values.js";

/** A place that is extended and shortened during a visit. */
export interface Visit extends Place {
  readonly names: string[];
  readonly values: Value[];
}

export const startVisit = (root: Value): Visit => ({ names: [], values: [root] });

/** Visit the members or items of a container, in order. */
export function visitEach(visit: Visit, value: Value[] | Map<string, Value>, each: (value: Value, name: string | number) => void): void {
  for (const [name, child] of value.entries()) {
    visit.names.push(String(name));
    visit.values.push(child);
    each(child, name);
    visit.names.pop();
    visit.values.pop();
  }
}

function ambiguous(visit: Place, message: string): never {
  const error = new XKeyMsgError("field_ambiguous", message);
  error.pointers = [pointer(visit.names)];
  throw error;
}

/** Finds the first ambiguous place of a document. */
export class AmbiguityCheck {
  readonly #policy: Policy;
  readonly #most: number;
  #compared = 0;
  readonly #folds = new Map<string, string>();
  readonly #isNeeded: boolean;

  constructor(policy: Policy, nodes: number) {
    this.#policy = policy;
    this.#most = nodes;
    this.#isNeeded = policy.entries.some(({ pattern }) => pattern.segments.some(({ kind, filters }) => kind === "name" || filters.length));
  }

  check(root: Value): void {
    if (this.#isNeeded) this.#visit(startVisit(root), root);
  }

  #visit(visit: Visit, value: Value): void {
    if (!isContainer(value)) return;
    const undecided = this.#undecided(visit, value);
    if (undecided) ambiguous(visit, undecided);
    this.#checkNames(visit, value);
    visitEach(visit, value, (child) => this.#visit(visit, child));
  }

  /** Return why a filter cannot be decided at a place (F-63). */
  #undecided(visit: Visit, value: Value[] | Map<string, Value>): string | undefined {
    const { tested, reaching } = this.#filtersHere(visit);
    if (!tested.length) return undefined;
    if (!(value instanceof Map)) return "a filter of a rule meets a list";
    const isExact = (member: string, found: Value) => reaching.some((filter) => filter.member === member && filter.value === found);
    for (const filter of tested) {
      if (value.has(filter.member) && value.get(filter.member) === filter.value) continue;
      for (const [member, found] of value) {
        if (isExact(member, found) || this.#fold(member) !== this.#fold(filter.member)) continue;
        const items: readonly Value[] = Array.isArray(found) ? found : [found];
        if (items.some((each) => !isContainer(each) && areAlike(each as Scalar, filter.value))) {
          return "a filter of a rule cannot be decided: the value is there in another spelling or kind";
        }
      }
    }
    return undefined;
  }

  /**
   * Return the filters that are tested at a place, and those that reach it: also those of the pattern that matches
   * there.
   */
  #filtersHere(visit: Visit): { tested: Filter[]; reaching: Filter[] } {
    const length = visit.names.length;
    const first = this.#policy.first(visit);
    const tested: Filter[] = [];
    const reaching: Filter[] = [];
    for (const [i, { pattern }] of this.#policy.entries.entries()) {
      if (first >= 0 && first < i) break;
      for (const [at, { filters }] of pattern.segments.entries()) {
        if (!filters.length || !reaches(pattern, at + 1, visit, length, true)) continue;
        reaching.push(...filters);
        if (i !== first) tested.push(...filters);
      }
    }
    return { tested, reaching };
  }

  #checkNames(visit: Visit, value: Value[] | Map<string, Value>): void {
    const wanted = this.#namesHere(visit);
    if (!wanted.size) return;
    visitEach(visit, value, (child, key) => {
      const name = String(key);
      if (wanted.has(name)) return;
      const folded = this.#fold(name);
      for (const other of wanted) {
        if (this.#fold(other) === folded && this.#differs(visit, child, other)) {
          ambiguous(visit, "a name resembles one in a rule with other readers");
        }
      }
    });
  }

  /** Return the names that patterns have for the members of a container. */
  #namesHere(visit: Visit): Set<string> {
    const length = visit.names.length;
    const first = this.#policy.first(visit);
    const names = new Set<string>();
    for (const [i, { pattern }] of this.#policy.entries.entries()) {
      if (first >= 0 && first < i) break;
      for (const [at, { kind, name }] of pattern.segments.entries()) {
        if (kind === "name" && reaches(pattern, at, visit, length)) names.add(name);
      }
    }
    return names;
  }

  /**
   * Return whether, if the last name was another, a field of a value would have other permissions, or a filter would
   * be decided in one case only.
   */
  #differs(visit: Visit, value: Value, other: string): boolean {
    const at = visit.names.length - 1;
    const renamed: Visit = { names: visit.names.with(at, other), values: [...visit.values] };
    return this.#anyField(value, visit, renamed);
  }

  #anyField(value: Value, visit: Visit, renamed: Visit): boolean {
    if (++this.#compared > this.#most) fail("limit_exceeded", "too many names resemble those of rules");
    if (isContainer(value)) {
      const [here, there] = [this.#undecided(visit, value), this.#undecided(renamed, value)];
      if (here || there) return !here || !there;
    }
    if (isField(value)) return this.#policy.setOf(visit) !== this.#policy.setOf(renamed);
    for (const [name, child] of (value as Value[] | Map<string, Value>).entries()) {
      for (const each of [visit, renamed]) {
        each.names.push(String(name));
        each.values.push(child);
      }
      const found = this.#anyField(child, visit, renamed);
      for (const each of [visit, renamed]) {
        each.names.pop();
        each.values.pop();
      }
      if (found) return true;
    }
    return false;
  }

  #fold(name: string): string {
    let folded = this.#folds.get(name);
    if (folded === undefined) this.#folds.set(name, (folded = fold(name)));
    return folded;
  }
}
