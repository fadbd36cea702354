/** Patterns of a policy: their grammar (F-30), matching, and pointers (F-33). */
import { isWellFormed } from "../bytes.js";
import { fail } from "../errors.js";
import { MAX_DIGITS, type Value } from "./values.js";

export type Wanted = null | boolean | bigint | string;

export interface Filter {
  readonly member: string;
  readonly value: Wanted;
}

export interface PatternSegment {
  /** A name, any one segment (`*`), or any number of segments (`**`). */
  readonly kind: "name" | "any" | "rest";
  readonly name: string;
  readonly filters: readonly Filter[];
}

export interface Pattern {
  readonly segments: readonly PatternSegment[];
  /** The position of `**`, or -1. */
  readonly rest: number;
}

/** A place in a document: the texts of its segments, and the value that each prefix leads to. */
export interface Place {
  readonly names: readonly string[];
  /** `values[i]` is what the first i segments lead to. */
  readonly values: readonly Value[];
}

const MAX_SEGMENTS = 256;
const NAME = /(?:[^/"[\]{}.*~]|~[012])+/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const INTEGER = /-?(?:0|[1-9][0-9]*)/y;
const CONSTANT = /true|false|null/y;
const NOT_IN_MEMBER = /[=!<>?^|$]/;
const SPACE = String.raw`[\p{White_Space}\u001c-\u001f]`;
const SPACE_AT_END = new RegExp(`^${SPACE}|${SPACE}$`, "u");

const isName = (text: string): boolean =>
  text !== "-" && !text.startsWith(":") && !/%2f/i.test(text) && !SPACE_AT_END.test(text);

const unescaped = (text: string): string => text.replace(/~[012]/g, (escape) => "~/*"[Number(escape[1])]!);

/** Parses one pattern. */
class PatternParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Pattern {
    const segments: PatternSegment[] = [];
    while (this.#at < this.#text.length) {
      this.#expect("/");
      segments.push(this.#segment());
    }
    const rests = segments.filter(({ kind }) => kind === "rest");
    if (segments.length > MAX_SEGMENTS) invalid(`more than ${MAX_SEGMENTS} segments`);
    if (rests.length > 1) invalid("more than one **");
    return { segments, rest: segments.findIndex(({ kind }) => kind === "rest") };
  }

  #take(expression: RegExp): string | undefined {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #accept(text: string): boolean {
    const found = this.#text.startsWith(text, this.#at);
    if (found) this.#at += text.length;
    return found;
  }

  #expect(text: string): void {
    if (!this.#accept(text)) invalid(`expected ${text} at character ${this.#at + 1}`);
  }

  #segment(): PatternSegment {
    if (this.#accept("**")) return { kind: "rest", name: "", filters: [] };
    const segment = this.#accept("*") ? ({ kind: "any", name: "" } as const) : ({ kind: "name", name: this.#name() } as const);
    const filters: Filter[] = [];
    while (this.#accept("[")) filters.push(this.#filter());
    return { ...segment, filters };
  }

  #name(): string {
    const string = this.#string();
    if (string !== undefined) return string;
    const name = this.#take(NAME);
    if (name === undefined || !isName(name)) return invalid(`not a valid name at character ${this.#at + 1}`);
    return unescaped(name);
  }

  #string(): string | undefined {
    const string = this.#take(STRING);
    if (string === undefined) return undefined;
    const value = JSON.parse(string) as string;
    return isWellFormed(value) ? value : invalid("it contains a surrogate");
  }

  #filter(): Filter {
    const string = this.#string();
    const end = this.#text.indexOf("=", this.#at);
    const member = string ?? this.#member(end);
    this.#expect("=");
    const value = this.#value();
    this.#expect("]");
    return { member, value };
  }

  #member(end: number): string {
    const name = this.#take(NAME_OF_MEMBER);
    if (end < 0 || name === undefined || !isName(name) || NOT_IN_MEMBER.test(name)) return invalid("not a valid filter");
    return unescaped(name);
  }

  #value(): Wanted {
    const string = this.#string();
    if (string !== undefined) return string;
    const constant = this.#take(CONSTANT);
    if (constant !== undefined) return JSON.parse(constant) as null | boolean;
    const integer = this.#take(INTEGER) ?? invalid("not a valid filter: expected a string, an integer, true, false or null");
    if (integer.replace("-", "").length > MAX_DIGITS) invalid(`an integer of more than ${MAX_DIGITS} digits`);
    return BigInt(integer);
  }
}

const NAME_OF_MEMBER = /(?:[^/"[\]{}.*~=]|~[012])+/y;

const invalid = (why: string): never => fail("policy_invalid", `invalid pattern: ${why}`);

export function parsePattern(text: string): Pattern {
  if (!isWellFormed(text)) invalid("it contains a surrogate");
  return new PatternParser(text).parse();
}

const holds = (value: Value, { member, value: wanted }: Filter): boolean =>
  value instanceof Map && value.get(member) === wanted && value.has(member);

/** Match `count` segments of a pattern from `from` on with the segments of a place from `at` on. */
function run(pattern: Pattern, from: number, count: number, place: Place, at: number, skipLastFilters = false): boolean {
  for (let i = 0; i < count; i++) {
    const { kind, name, filters } = pattern.segments[from + i]!;
    if (kind === "name" && name !== place.names[at + i]) return false;
    if (skipLastFilters && i === count - 1) continue;
    if (!filters.every((filter) => holds(place.values[at + i + 1]!, filter))) return false;
  }
  return true;
}

/** Return whether a pattern matches the first `length` segments of a place, or a prefix of them. */
export function covers(pattern: Pattern, place: Place, length: number): boolean {
  const { segments, rest } = pattern;
  if (rest < 0) return segments.length <= length && run(pattern, 0, segments.length, place, 0);
  if (rest > length || !run(pattern, 0, rest, place, 0)) return false;
  const tail = segments.length - rest - 1;
  for (let at = rest; at + tail <= length; at++) if (run(pattern, rest + 1, tail, place, at)) return true;
  return false;
}

/** Return whether the first `count` segments of a pattern match exactly `length` segments of a place. */
export function reaches(pattern: Pattern, count: number, place: Place, length: number, skipLastFilters = false): boolean {
  const { rest } = pattern;
  if (rest < 0 || rest >= count) return count === length && run(pattern, 0, count, place, 0, skipLastFilters);
  const tail = count - rest - 1;
  if (rest + tail > length) return false;
  return run(pattern, 0, rest, place, 0) && run(pattern, rest + 1, tail, place, length - tail, skipLastFilters);
}

const LONGEST_NAME = 80;
const LONGEST_POINTER = 800;

const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

/** Write a name as a JSON string, with escapes for what cannot be seen. */
const quoted = (name: string): string =>
  JSON.stringify(name).replace(UNSEEN, (unseen) =>
    Array.from({ length: unseen.length }, (_, i) => `\\u${unseen.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
  );

const cut = (text: string, most: number): string => (text.length > most ? `${Array.from(text).slice(0, most).join("")}…` : text);

/** Write the pattern that names one place. */
export function pointer(names: readonly string[]): string {
  const segments = names.map((name) => {
    const escaped = name.replace(/[~/*]/g, (each) => `~${"~/*".indexOf(each)}`);
    NAME.lastIndex = 0;
    const isPlain = NAME.exec(escaped)?.[0] === escaped && isName(escaped) && name.search(UNSEEN) < 0;
    return cut(isPlain ? escaped : quoted(name), LONGEST_NAME);
  });
  return cut(segments.map((segment) => `/${segment}`).join(""), LONGEST_POINTER);
}
