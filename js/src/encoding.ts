/** The five kinds of msgpack values in an envelope, each in its shortest form (E-6 to E-8). */
import { type Bytes, concat, fromUtf8, isWellFormed, utf8 } from "./bytes.js";
import { fail } from "./errors.js";

export const NIL = Uint8Array.of(0xc0);

function sized(size: number, first: readonly (readonly [number, number])[]): Bytes {
  for (const [byte, width] of first) {
    if (size >= 2 ** (8 * width)) continue;
    const header = new Uint8Array(1 + width);
    header[0] = byte;
    for (let i = width, rest = size; i > 0; i--, rest = Math.floor(rest / 256)) header[i] = rest % 256;
    return header;
  }
  return fail("limit_exceeded", "too long to encode");
}

export const binHeader = (size: number): Bytes => sized(size, [[0xc4, 1], [0xc5, 2], [0xc6, 4]]);

export const bin = (bytes: Uint8Array): Bytes => concat(binHeader(bytes.length), bytes);

export const arrayHeader = (count: number): Bytes =>
  count < 16 ? Uint8Array.of(0x90 + count) : sized(count, [[0xdc, 2], [0xdd, 4]]);

export const array = (...items: readonly Uint8Array[]): Bytes => concat(arrayHeader(items.length), ...items);

export const strHeader = (size: number): Bytes =>
  size < 32 ? Uint8Array.of(0xa0 + size) : sized(size, [[0xd9, 1], [0xda, 2], [0xdb, 4]]);

export function str(text: string): Bytes {
  if (!isWellFormed(text)) fail("malformed", "a text contains a surrogate");
  const bytes = utf8(text);
  return concat(strHeader(bytes.length), bytes);
}

/** Encode an integer in 0..2^53-1. */
export function uint(value: number): Bytes {
  return value < 128 ? Uint8Array.of(value) : sized(value, [[0xcc, 1], [0xcd, 2], [0xce, 4], [0xcf, 8]]);
}

/** Which limit a header may exceed, and the name of what it announces. */
export interface Bound {
  readonly most: number;
  readonly name: string;
  /** Whether `most` is the offset at which the contents must end. */
  readonly isOffset?: boolean;
}

/** Reads values from left to right, up to `end`. */
export class Reader {
  readonly bytes: Bytes;
  at: number;
  readonly end: number;

  constructor(bytes: Bytes, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  #byte(): number {
    return this.at < this.end ? this.bytes[this.at++]! : fail("malformed", "truncated");
  }

  /** Read a big-endian integer of `width` bytes that must not fit into fewer. */
  #wide(width: number, least: number): number {
    if (this.end - this.at < width) fail("malformed", "truncated");
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + this.bytes[this.at++]!;
    return value >= least ? value : fail("malformed", "not in the shortest form");
  }

  #contents(size: number, bound?: Bound): Bytes {
    if (bound && size > bound.most - (bound.isOffset ? this.at : 0)) fail("limit_exceeded", `${bound.name}: more than ${bound.most} bytes`);
    if (size > this.end - this.at) fail("malformed", "truncated");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  bin(bound?: Bound): Bytes {
    switch (this.#byte()) {
      case 0xc4: return this.#contents(this.#wide(1, 0), bound);
      case 0xc5: return this.#contents(this.#wide(2, 256), bound);
      case 0xc6: return this.#contents(this.#wide(4, 65_536), bound);
      default: return fail("malformed", "not a bin");
    }
  }

  /** Read a bin of a fixed size. */
  fixed(size: number): Bytes {
    const bytes = this.bin();
    return bytes.length === size ? bytes : fail("malformed", `not a bin of ${size} bytes`);
  }

  str(bound?: Bound): string {
    const first = this.#byte();
    let size;
    if (first >= 0xa0 && first < 0xc0) size = first - 0xa0;
    else if (first === 0xd9) size = this.#wide(1, 32);
    else if (first === 0xda) size = this.#wide(2, 256);
    else if (first === 0xdb) size = this.#wide(4, 65_536);
    else return fail("malformed", "not a str");
    return fromUtf8(this.#contents(size, bound)) ?? fail("malformed", "not UTF-8");
  }

  /** Read the header of an array; the caller checks that the items are there. */
  array(bound?: Bound): number {
    const first = this.#byte();
    let count;
    if (first >= 0x90 && first < 0xa0) count = first - 0x90;
    else if (first === 0xdc) count = this.#wide(2, 16);
    else if (first === 0xdd) count = this.#wide(4, 65_536);
    else return fail("malformed", "not an array");
    if (bound && count > bound.most) fail("limit_exceeded", `more than ${bound.most} ${bound.name}`);
    return count;
  }

  uint(): bigint {
    const first = this.#byte();
    if (first < 0x80) return BigInt(first);
    if (first === 0xcc) return BigInt(this.#wide(1, 128));
    if (first === 0xcd) return BigInt(this.#wide(2, 256));
    if (first === 0xce) return BigInt(this.#wide(4, 65_536));
    if (first !== 0xcf) return fail("malformed", "not a uint");
    const high = BigInt(this.#wide(4, 0));
    const value = (high << 32n) | BigInt(this.#wide(4, 0));
    return high > 0n ? value : fail("malformed", "not in the shortest form");
  }

  /** Skip a nil if one is next. */
  nil(): boolean {
    if (this.at < this.end && this.bytes[this.at] === 0xc0) {
      this.at++;
      return true;
    }
    return false;
  }
}
