/** Reads the plaintexts of parts of type 1: pairs of path and value (F-20 to F-29). */
import { type Bytes, fromUtf8, toHex } from "../bytes.js";
import { fail } from "../errors.js";
import type { Limits } from "../limits.js";
import { Decimal, isTime, MAX_DIGITS, MAX_EXPONENT, Time, UUID, type Value } from "./values.js";

/** The name of a member, or the index of an item; an index above 2^53 is a bigint. */
export type Segment = string | number | bigint;

export interface Pair {
  readonly path: readonly Segment[];
  readonly value: Value;
}

const BOUND = 10n ** BigInt(MAX_DIGITS);
const MIN_INT = -(2n ** 63n);
const MAX_INT = 2n ** 64n - 1n;

export const isLong = (value: bigint): boolean => value < MIN_INT || value > MAX_INT;
export const isTooLong = (value: bigint): boolean => value >= BOUND || value <= -BOUND;

const truncated = (): never => fail("malformed", "fields: truncated");
const wrongType = (): never => fail("malformed", "fields: a type that is not allowed there");

/** Counts over all granted parts. */
export class Counts {
  readonly limits: Limits;
  #nodes = 0;
  #fields = 0;

  constructor(limits: Limits) {
    this.limits = limits;
  }

  addNodes(count: number): void {
    this.#nodes += count;
    if (this.#nodes > this.limits.nodes) fail("limit_exceeded", `fields: more than ${this.limits.nodes} nodes`);
  }

  addFields(count: number): void {
    this.#fields += count;
    if (this.#fields > this.limits.fields) fail("limit_exceeded", `more than ${this.limits.fields} fields`);
  }

  checkDepth(depth: number): void {
    if (depth > this.limits.depth) fail("limit_exceeded", `fields: nested more than ${this.limits.depth} deep`);
  }
}

/** The first byte of an object, and its length. */
interface Header {
  readonly first: number;
  readonly kind: "array" | "map" | "str" | "bin" | "ext" | "other";
  readonly size: number;
}

const KINDS: Record<number, readonly [Header["kind"], number]> = {
  0xc4: ["bin", 1], 0xc5: ["bin", 2], 0xc6: ["bin", 4], 0xc7: ["ext", 1], 0xc8: ["ext", 2], 0xc9: ["ext", 4],
  0xd9: ["str", 1], 0xda: ["str", 2], 0xdb: ["str", 4], 0xdc: ["array", 2], 0xdd: ["array", 4], 0xde: ["map", 2],
  0xdf: ["map", 4],
};
/** Bytes of a number by its first byte, in the order uint, int, float. */
const NUMBERS: Record<number, number> = {
  0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8, 0xca: 4, 0xcb: 8,
};

/** Reads one plaintext. It recurses at most as deep as the limit of depth, which is bounded. */
class PlaintextReader {
  readonly #bytes: Bytes;
  readonly #view: DataView;
  readonly #counts: Counts;
  #at = 0;

  constructor(bytes: Bytes, counts: Counts) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#counts = counts;
  }

  pairs(): Pair[] {
    const header = this.#header();
    if (header.kind !== "array") wrongType();
    if (header.size === 0) fail("malformed", "fields: no pairs");
    this.#counts.addNodes(1);
    this.#counts.addFields(header.size);
    this.#items(header.size);
    const pairs: Pair[] = [];
    for (let left = header.size; left; left--) pairs.push(this.#pair());
    if (this.#at !== this.#bytes.length) fail("malformed", "fields: bytes after the pairs");
    return pairs;
  }

  #pair(): Pair {
    const pair = this.#header();
    if (pair.kind !== "array" || pair.size !== 2) fail("malformed", "fields: not a pair");
    this.#items(2);
    const header = this.#header();
    if (header.kind !== "array") wrongType();
    this.#counts.checkDepth(header.size);
    this.#items(header.size);
    const path: Segment[] = [];
    for (let left = header.size; left; left--) path.push(this.#segment());
    return { path, value: this.#value(path.length) };
  }

  /** Count the items that a header announces, and check that they fit (F-26). */
  #items(count: number, each = 1): void {
    this.#counts.addNodes(count * each);
    if (count * each > this.#bytes.length - this.#at) truncated();
  }

  #need(size: number): number {
    if (size > this.#bytes.length - this.#at) truncated();
    this.#at += size;
    return this.#at - size;
  }

  #header(): Header {
    const first = this.#bytes[this.#need(1)]!;
    if (first >= 0x80 && first < 0x90) return { first, kind: "map", size: first - 0x80 };
    if (first >= 0x90 && first < 0xa0) return { first, kind: "array", size: first - 0x90 };
    if (first >= 0xa0 && first < 0xc0) return { first, kind: "str", size: first - 0xa0 };
    if (first >= 0xd4 && first <= 0xd8) return { first, kind: "ext", size: 1 << (first - 0xd4) };
    const [kind, width] = KINDS[first] ?? ["other", 0];
    if (!width) return { first, kind, size: 0 };
    const at = this.#need(width);
    const size = width === 1 ? this.#view.getUint8(at) : width === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
    return { first, kind, size };
  }

  #contents(size: number): Bytes {
    const at = this.#need(size);
    return this.#bytes.subarray(at, at + size);
  }

  #text(size: number): string {
    return fromUtf8(this.#contents(size)) ?? fail("malformed", "fields: a text that is not UTF-8");
  }

  #segment(): Segment {
    const { first, kind, size } = this.#header();
    if (kind === "str") return this.#text(size);
    const index = kind === "other" ? this.#integer(first) : undefined;
    if (index === undefined || index < 0n) return wrongType();
    return index <= Number.MAX_SAFE_INTEGER ? Number(index) : index;
  }

  /** Read the rest of an integer; return undefined if `first` does not begin one. */
  #integer(first: number): bigint | undefined {
    if (first < 0x80) return BigInt(first);
    if (first >= 0xe0) return BigInt(first - 0x100);
    if (first < 0xcc || first > 0xd3) return undefined;
    const size = NUMBERS[first]!;
    const at = this.#need(size);
    let bits = 0n;
    for (let i = 0; i < size; i++) bits = (bits << 8n) | BigInt(this.#bytes[at + i]!);
    return first >= 0xd0 ? BigInt.asIntN(8 * size, bits) : bits;
  }

  #value(depth: number): Value {
    const { first, kind, size } = this.#header();
    switch (kind) {
      case "array": return this.#list(size, depth);
      case "map": return this.#map(size, depth);
      case "str": return this.#text(size);
      case "bin": return this.#contents(size).slice();
      case "ext": return this.#ext(size);
    }
    if (first === 0xc0) return null;
    if (first === 0xc2 || first === 0xc3) return first === 0xc3;
    if (first !== 0xca && first !== 0xcb) return this.#integer(first) ?? wrongType();
    const at = this.#need(NUMBERS[first]!);
    const float = first === 0xca ? this.#view.getFloat32(at) : this.#view.getFloat64(at);
    return Number.isFinite(float) ? float : fail("malformed", "fields: a float that is not finite");
  }

  #list(size: number, depth: number): Value[] {
    this.#counts.checkDepth(depth + 1);
    this.#items(size);
    const list: Value[] = [];
    for (let left = size; left; left--) list.push(this.#value(depth + 1));
    return list;
  }

  #map(size: number, depth: number): Map<string, Value> {
    this.#counts.checkDepth(depth + 1);
    this.#items(size, 2);
    const map = new Map<string, Value>();
    for (let left = size; left; left--) {
      const header = this.#header();
      if (header.kind !== "str") fail("malformed", "fields: a name that is not a text");
      const name = this.#text(header.size);
      if (map.has(name)) fail("malformed", "fields: two members of one name");
      map.set(name, this.#value(depth + 1));
    }
    return map;
  }

  #ext(size: number): Value {
    const code = this.#bytes[this.#need(1)];
    switch (code) {
      case 1:
        if (size < 9) fail("malformed", "fields: an integer not in the shortest form");
        if (size > 1_786) fail("limit_exceeded", `fields: an integer of more than ${MAX_DIGITS} digits`);
        return longInteger(this.#contents(size));
      case 2:
        if (size > 4_307) fail("limit_exceeded", "fields: a Decimal that is too long");
        return decimal(this.#contents(size));
      case 3:
        if (size !== 12) fail("malformed", "fields: a time that is not 12 bytes long");
        return time(this.#contents(size));
      case 4:
        if (size !== 16) fail("malformed", "fields: a UUID that is not 16 bytes long");
        return new UUID(this.#contents(size));
      default:
        return wrongType();
    }
  }
}

function longInteger(data: Bytes): bigint {
  const value = BigInt.asIntN(8 * data.length, BigInt("0x" + toHex(data)));
  const isShort = (data[0] === 0 && data[1]! < 0x80) || (data[0] === 0xff && data[1]! >= 0x80);
  if (isShort || !isLong(value)) fail("malformed", "fields: an integer not in the shortest form");
  return isTooLong(value) ? fail("limit_exceeded", `fields: an integer of more than ${MAX_DIGITS} digits`) : value;
}

function decimal(data: Bytes): Decimal {
  const value = Decimal.fromExt(fromUtf8(data) ?? "") ?? fail("malformed", "fields: not a valid Decimal");
  checkDecimal(value);
  return value;
}

export function checkDecimal({ digits, exponent }: Decimal): void {
  if (digits.length > MAX_DIGITS) fail("limit_exceeded", `a Decimal of more than ${MAX_DIGITS} digits`);
  if (Math.abs(exponent) > MAX_EXPONENT) fail("limit_exceeded", `a Decimal with an exponent beyond ±${MAX_EXPONENT}`);
}

function time(data: Bytes): Time {
  const view = new DataView(data.buffer, data.byteOffset);
  const micros = view.getBigInt64(0);
  const offset = view.getInt32(8);
  return isTime(micros, offset) ? new Time(micros, offset) : fail("malformed", "fields: a time out of range");
}

/** Read the pairs of a plaintext. */
export const readPairs = (plaintext: Bytes, counts: Counts): Pair[] => new PlaintextReader(plaintext, counts).pairs();
