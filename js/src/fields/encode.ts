/** Checks and copies documents (F-2 to F-5), and encodes values. */
import { type Bytes, concat, isWellFormed, joined, utf8 } from "../bytes.js";
import { arrayHeader, bin, str } from "../encoding.js";
import { fail } from "../errors.js";
import type { Limits } from "../limits.js";
import { checkDecimal, isLong, isTooLong, type Segment } from "./plaintext.js";
import { Decimal, isPlain, isTime, MAX_DIGITS, Time, UUID, type Value } from "./values.js";

const unsupported = (): never => fail("malformed", "the document contains a value of an unsupported type");

/** Copies a document, so that its caller cannot change it afterwards, and checks every value in document order. */
export class DocumentCopier {
  readonly #limits: Limits;
  #nodes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  copy(value: unknown, depth = 0): Value {
    if (++this.#nodes > this.#limits.nodes) fail("limit_exceeded", `the document has more than ${this.#limits.nodes} nodes`);
    if (value === null || typeof value === "boolean") return value;
    if (typeof value === "bigint") {
      return isTooLong(value) ? fail("limit_exceeded", `an integer of more than ${MAX_DIGITS} digits`) : value;
    }
    if (typeof value === "number") return Number.isFinite(value) ? value : fail("malformed", "a float that is not finite");
    if (typeof value === "string") return this.#text(value);
    if (typeof value !== "object") return unsupported();
    if (value instanceof Uint8Array) return new Uint8Array(value);
    if (value instanceof Decimal) return this.#decimal(value);
    if (value instanceof Time) return this.#time(value);
    if (value instanceof UUID) return new UUID(value.bytes);
    if (depth >= this.#limits.depth) fail("limit_exceeded", `the document is nested more than ${this.#limits.depth} deep`);
    if (Array.isArray(value)) return Array.from(value, (each) => this.copy(each, depth + 1));
    if (value instanceof Map) return this.#map(value, depth);
    if (!isPlain(value)) return unsupported();
    if (Object.getOwnPropertySymbols(value).length) return unsupported();
    return this.#map(Object.entries(value), depth);
  }

  #map(members: Iterable<[unknown, unknown]>, depth: number): Value {
    const map = new Map<string, Value>();
    for (const [name, value] of members) {
      if (typeof name !== "string") return fail("malformed", "a name that is not a text");
      this.#nodes++;
      map.set(this.#text(name), this.copy(value, depth + 1));
    }
    return map;
  }

  #text(text: string): string {
    return isWellFormed(text) ? text : fail("malformed", "a text that contains a surrogate");
  }

  #decimal({ negative, digits, exponent }: Decimal): Decimal {
    const copy = new Decimal(negative, digits, exponent);
    checkDecimal(copy);
    return Decimal.fromExt(copy.toExt()) ?? unsupported();
  }

  #time({ micros, offset }: Time): Time {
    return isTime(micros, offset) ? new Time(micros, offset) : fail("malformed", "a time out of range");
  }
}

function bigEndian(value: bigint, size: number): Bytes {
  const bytes = new Uint8Array(size);
  for (let i = size - 1; i >= 0; i--, value >>= 8n) bytes[i] = Number(value & 255n);
  return bytes;
}

function ext(code: number, data: Uint8Array): Bytes {
  const size = data.length;
  const fixed = [1, 2, 4, 8, 16].indexOf(size);
  if (fixed >= 0) return concat(Uint8Array.of(0xd4 + fixed, code), data);
  const header = size < 256 ? [0xc7, size] : [0xc8, size >> 8, size & 255];
  return concat(Uint8Array.from([...header, code]), data);
}

const width = (value: bigint, bits: readonly number[], fits: (bits: number) => boolean): [Bytes, number] => {
  const at = bits.findIndex(fits);
  return [bigEndian(value, bits[at]! / 8), at];
};

function integer(value: bigint): Bytes {
  if (isLong(value)) {
    let bytes = 9;
    while (BigInt.asIntN(8 * bytes, value) !== value) bytes++;
    return ext(1, bigEndian(value, bytes));
  }
  if (value >= -32n && value < 128n) return bigEndian(value, 1);
  const bits = [8, 16, 32, 64];
  const [bytes, at] = value < 0n
    ? width(value, bits, (each) => BigInt.asIntN(each, value) === value)
    : width(value, bits, (each) => BigInt.asUintN(each, value) === value);
  return concat(Uint8Array.of((value < 0n ? 0xd0 : 0xcc) + at), bytes);
}

function float(value: number): Bytes {
  const bytes = new Uint8Array(9);
  bytes[0] = 0xcb;
  new DataView(bytes.buffer).setFloat64(1, value);
  return bytes;
}

function mapHeader(count: number): Bytes {
  const header = arrayHeader(count);
  header[0] = count < 16 ? 0x80 + count : header[0]! + 2; // 9x -> 8x, dc -> de, dd -> df
  return header;
}

/** Append the encoding of a value that was copied. */
export function encodeValue(value: Value, out: Uint8Array[]): void {
  if (value === null) out.push(Uint8Array.of(0xc0));
  else if (typeof value === "boolean") out.push(Uint8Array.of(value ? 0xc3 : 0xc2));
  else if (typeof value === "bigint") out.push(integer(value));
  else if (typeof value === "number") out.push(float(value));
  else if (typeof value === "string") out.push(str(value));
  else if (value instanceof Uint8Array) out.push(bin(value));
  else if (value instanceof Decimal) out.push(ext(2, utf8(value.toExt())));
  else if (value instanceof Time) out.push(ext(3, concat(bigEndian(value.micros, 8), bigEndian(BigInt(value.offset), 4))));
  else if (value instanceof UUID) out.push(ext(4, value.bytes));
  else if (Array.isArray(value)) {
    out.push(arrayHeader(value.length));
    for (const each of value) encodeValue(each, out);
  } else if (value instanceof Map) {
    out.push(mapHeader(value.size));
    for (const [name, each] of value) {
      out.push(str(name));
      encodeValue(each, out);
    }
  } else unsupported();
}

/** Encode the plaintext of a part. */
export function encodePairs(pairs: readonly { readonly path: readonly Segment[]; readonly value: Value }[]): Bytes {
  const out: Uint8Array[] = [arrayHeader(pairs.length)];
  for (const { path, value } of pairs) {
    out.push(arrayHeader(2), arrayHeader(path.length));
    for (const segment of path) out.push(typeof segment === "string" ? str(segment) : integer(BigInt(segment)));
    encodeValue(value, out);
  }
  return joined(out);
}

/** Count the nodes inside a value. */
export function nodesOf(value: Value): number {
  let nodes = 0;
  if (Array.isArray(value)) for (const each of value) nodes += 1 + nodesOf(each);
  else if (value instanceof Map) for (const each of value.values()) nodes += 2 + nodesOf(each);
  return nodes;
}
