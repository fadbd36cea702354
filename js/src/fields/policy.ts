/** Policies: who may read which field (F-30 to F-36, F-62). */
import { fail, XKeyMsgError } from "../errors.js";
import { Recipient } from "../keys.js";
import { covers, type Filter, parsePattern, type Pattern, type Place, type Wanted } from "./pattern.js";
import type { Value } from "./values.js";

export interface Rule {
  readonly pattern: string | readonly string[];
  /** Permissions. */
  readonly readers: readonly string[];
}

/** Recipients of each permission: `X…`, or `X… U…`. */
export type Readers =
  | Readonly<Record<string, readonly (string | Recipient)[]>>
  | ReadonlyMap<string, readonly (string | Recipient)[]>;

/** One pattern, with the permissions of its rule. */
export interface Entry {
  readonly pattern: Pattern;
  /** Ascending, without duplicates. */
  readonly permissions: readonly string[];
  /** The permissions as one text, which identifies the set. */
  readonly set: string;
}

const PERMISSION = /^[a-z0-9._-]+$/;
/** A secret seed in lower case. */
const SEED = /^s[a-z2-7]{57}$/;

export const isPermission = (text: unknown): text is string =>
  typeof text === "string" && PERMISSION.test(text) && !SEED.test(text);

function checkPermission(text: unknown): string {
  return isPermission(text) ? text : fail("policy_invalid", "invalid permission (allowed: a-z 0-9 . _ -)");
}

export const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

/** An ordered list of rules; the first rule that matches a field decides who reads it. */
export class Policy {
  /** @internal */
  readonly entries: readonly Entry[];
  /** Permissions that some rule names. */
  readonly permissions: ReadonlySet<string>;
  readonly allowUnread: ReadonlySet<string>;

  /** `where` names a rule by its position in errors. */
  constructor(
    rules: readonly Rule[],
    options: { readonly allowUnread?: readonly string[]; readonly where?: (position: number) => string } = {},
  ) {
    if (!Array.isArray(rules) || !rules.length) fail("policy_invalid", "a policy without rules");
    const where = options.where ?? ((position) => `rule ${position + 1}`);
    const entries = rules.map((rule, i) => located(where(i), () => entriesOf(rule)));
    this.entries = entries.flat();
    let known = 0;
    for (const [i, own] of entries.entries()) {
      for (const _ of own) {
        if (canMatch(this.entries.slice(0, ++known))) continue;
        fail("policy_invalid", `${where(i)}: a pattern that can never match, because earlier rules match first`);
      }
    }
    this.permissions = new Set(this.entries.flatMap(({ permissions }) => permissions));
    this.allowUnread = new Set((options.allowUnread ?? []).map(checkPermission));
    for (const permission of this.allowUnread) {
      if (!this.permissions.has(permission)) fail("policy_invalid", "allow_unread: a permission that no rule names");
    }
  }

  /** Return the position of the first pattern that covers a place, or -1. @internal */
  first(place: Place, length = place.names.length): number {
    return this.entries.findIndex(({ pattern }) => covers(pattern, place, length));
  }

  /** Return the permissions of a field as one text, or undefined. @internal */
  setOf(place: Place): string | undefined {
    return this.entries[this.first(place)]?.set;
  }
}

/** Run a check; errors begin with the place that it checks. */
export function located<T>(where: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof XKeyMsgError) error.message = `${where}: ${error.message}`;
    throw error;
  }
}

/** Check a rule, and return its patterns. */
function entriesOf(rule: Rule): Entry[] {
  const patterns = typeof rule?.pattern === "string" ? [rule.pattern] : rule?.pattern;
  if (!isTexts(patterns) || !patterns.length) fail("policy_invalid", "pattern: expected a text, or texts");
  if (!isTexts(rule.readers) || !rule.readers.length) fail("policy_invalid", "readers: expected permissions");
  const permissions = [...new Set(rule.readers.map(checkPermission))].sort();
  return patterns.map((text) => ({ pattern: parsePattern(text), permissions, set: permissions.join(",") }));
}

/** Return whether the last pattern is the first that matches at one of the places that decide it (F-62). */
function canMatch(entries: readonly Entry[]): boolean {
  const { pattern } = entries.at(-1)!;
  const used = new Set(entries.flatMap((entry) => entry.pattern.segments.map(({ name }) => name)));
  const texts = new Set(entries.flatMap((entry) => entry.pattern.segments.flatMap(({ filters }) => filters.map(({ value }) => value))));
  const other = unlike(used);
  const last = unlike(texts);
  const longest = Math.max(...entries.map((entry) => entry.pattern.segments.length));
  const most = pattern.rest < 0 ? 0 : longest + 1;
  for (let k = 0; k <= most; k++) {
    const place = placeOf(pattern, k, other, last);
    if (place && entries.findIndex((entry) => covers(entry.pattern, place, place.names.length)) === entries.length - 1) return true;
  }
  return false;
}

/** Return a text that is not among some values. */
function unlike(used: ReadonlySet<Wanted>): string {
  let text = "other";
  while (used.has(text)) text += "_";
  return text;
}

/** Build a place that a pattern matches, with k segments instead of `**`; undefined if its filters contradict. */
function placeOf(pattern: Pattern, k: number, other: string, last: string): Place | undefined {
  const steps: { readonly name: string; readonly filters: readonly Filter[] }[] = [{ name: "", filters: [] }];
  for (const { kind, name, filters } of pattern.segments) {
    if (kind === "rest") for (let i = 0; i < k; i++) steps.push({ name: other, filters: [] });
    else steps.push({ name: kind === "name" ? name : other, filters });
  }
  const values: Value[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const map = new Map<string, Value>();
    for (const { member, value } of steps[i]!.filters) {
      if (map.has(member) && map.get(member) !== value) return undefined;
      map.set(member, value);
    }
    const next = steps[i + 1];
    if (next && map.has(next.name)) {
      if (i + 2 < steps.length || next.filters.length) return undefined; // a scalar where a segment continues
      values[0] = map.get(next.name)!;
    } else if (next) map.set(next.name, values[0]!);
    values.unshift(next || map.size ? map : last);
  }
  return { names: steps.slice(1).map(({ name }) => name), values };
}

/** Decode the readers that a caller gives with a policy; every permission needs a recipient (F-35). */
export function recipientsOf(policy: Policy, readers: Readers): Map<string, readonly Recipient[]> {
  const all = new Map<string, readonly Recipient[]>();
  for (const [permission, texts] of readers instanceof Map ? readers : Object.entries(readers)) {
    if (!isPermission(permission)) fail("policy_invalid", "readers: invalid permission (allowed: a-z 0-9 . _ -)");
    if (!Array.isArray(texts)) fail("policy_invalid", "readers: expected arrays of recipients");
    all.set(permission, texts.map((each) => (each instanceof Recipient ? each : Recipient.parse(each))));
  }
  for (const permission of policy.permissions) {
    if (!all.get(permission)?.length && !policy.allowUnread.has(permission)) {
      fail("policy_invalid", `no recipient holds the permission ${permission.length > 40 ? "of a rule" : permission}`);
    }
  }
  return all;
}
