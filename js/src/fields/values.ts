/** The kinds of values that JavaScript lacks, and the type of documents. */
import { type Bytes, copied, fromHex, toHex } from "../bytes.js";
import { fail } from "../errors.js";
import { MAX_DEPTH } from "../limits.js";

/** Stands for an item of a list that this reader may not see. */
export const WITHHELD: unique symbol = Symbol("xkeymsg.WITHHELD");

export const MAX_DIGITS = 4_300;
export const MAX_EXPONENT = 6_176;
const DECIMAL = /^(-?)(0|[1-9][0-9]*)E(0|-?[1-9][0-9]*)$/;
const PLAIN = /^([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,9}))?$/;

/** An exact decimal number: digits × 10^exponent. Trailing zeros count: 1.0 and 1.00 are two values. */
export class Decimal {
  readonly negative: boolean;
  /** Decimal digits without leading zeros. */
  readonly digits: string;
  readonly exponent: number;

  /** @internal */
  constructor(negative: boolean, digits: string, exponent: number) {
    this.negative = negative;
    this.digits = digits;
    this.exponent = exponent;
  }

  /** Parse a number such as `-12.50` or `1e3`; all its digits are kept. */
  static parse(text: string): Decimal {
    const match = PLAIN.exec(text);
    if (!match) throw new TypeError("not a decimal number");
    const [, sign, whole, fraction = "", exponent = "0"] = match;
    const digits = (whole! + fraction).replace(/^0+(?=.)/, "");
    return new Decimal(sign === "-", digits, Number(exponent) - fraction.length);
  }

  /** @internal Parse the text of ext 2. */
  static fromExt(text: string): Decimal | undefined {
    const match = DECIMAL.exec(text);
    return match ? new Decimal(match[1] === "-", match[2]!, Number(match[3])) : undefined;
  }

  /** @internal */
  toExt(): string {
    return `${this.negative ? "-" : ""}${this.digits}E${this.exponent}`;
  }

  /** Return the number without an exponent, where that is short. */
  toString(): string {
    const sign = this.negative ? "-" : "";
    if (this.exponent > 20 || this.exponent < -100) return `${sign}${this.digits}E${this.exponent}`;
    if (this.exponent >= 0) return sign + this.digits + (this.digits === "0" ? "" : "0".repeat(this.exponent));
    const digits = this.digits.padStart(1 - this.exponent, "0");
    return `${sign}${digits.slice(0, this.exponent)}.${digits.slice(this.exponent)}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

export const LEAST_MICROS = -62_135_596_800_000_000n;
export const MOST_MICROS = 253_402_300_799_999_999n;
export const MAX_OFFSET = 86_399;

/** Return whether instant and wall clock are within the years 1 to 9999. */
export function isTime(micros: bigint, offset: number): boolean {
  const wall = micros + BigInt(offset) * 1_000_000n;
  const within = (value: bigint) => value >= LEAST_MICROS && value <= MOST_MICROS;
  return Math.abs(offset) <= MAX_OFFSET && within(micros) && within(wall);
}

/** An instant in microseconds, with the offset of the sender's clock from UTC in seconds. */
export class Time {
  /** Microseconds since 1970-01-01T00:00:00Z. */
  readonly micros: bigint;
  readonly offset: number;

  constructor(micros: bigint, offset: number) {
    if (typeof micros !== "bigint" || !Number.isInteger(offset)) throw new TypeError("Time: expected microseconds as a bigint, and an integer offset");
    this.micros = micros;
    this.offset = offset;
  }

  /** Take the instant of a Date; its offset is not part of it. */
  static fromDate(date: Date, offset = 0): Time {
    return new Time(BigInt(date.getTime()) * 1_000n, offset);
  }

  /** Return the instant in milliseconds, rounded down. */
  toDate(): Date {
    const millis = this.micros / 1_000n;
    return new Date(Number(this.micros % 1_000n < 0n ? millis - 1n : millis));
  }

  /** Return the time in the form of RFC 3339, to the millisecond, in UTC. */
  toString(): string {
    return this.toDate().toISOString();
  }

  toJSON(): string {
    return this.toString();
  }
}

/** 16 bytes that identify something. */
export class UUID {
  readonly bytes: Bytes;

  constructor(bytes: Uint8Array) {
    this.bytes = copied(bytes, "UUID");
    if (bytes.length !== 16) throw new TypeError("UUID: expected 16 bytes");
  }

  static parse(text: string): UUID {
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new TypeError("not a UUID");
    return new UUID(fromHex(text.replaceAll("-", "")));
  }

  toString(): string {
    return toHex(this.bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  toJSON(): string {
    return this.toString();
  }
}

/** `bigint` is an integer, and `number` is a float: kinds are never mixed. */
export type Scalar = null | boolean | bigint | number | string | Uint8Array | Decimal | Time | UUID;

/** A value of an opened document. */
export type Value = Scalar | typeof WITHHELD | Value[] | Map<string, Value>;

/** A value that can be sealed: objects stand for maps. */
export type Sealable = Scalar | readonly Sealable[] | ReadonlyMap<string, Sealable> | { readonly [name: string]: Sealable };

/** Return whether a value is an object without a class. */
export function isPlain(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Turn every number of JSON data that is a safe integer into an integer; others stay floats. */
export function fromJSON(value: unknown): Sealable {
  return converted(value, MAX_DEPTH);
}

function converted(value: unknown, depth: number): Sealable {
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value;
  if (typeof value !== "object" || value === null) return value as Sealable;
  if (depth === 0) fail("limit_exceeded", `the document is nested more than ${MAX_DEPTH} deep`);
  if (Array.isArray(value)) return value.map((each) => converted(each, depth - 1));
  return new Map(Object.entries(value).map(([name, each]) => [name, converted(each, depth - 1)]));
}
