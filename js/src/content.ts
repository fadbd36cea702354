/** Padding, and the message array: content type and headers. */
import type { Bytes } from "./bytes.js";
import { array, NIL, Reader, str } from "./encoding.js";
import { fail } from "./errors.js";
import { MAX_ARRAY, MAX_HEADERS } from "./limits.js";

export type Headers = readonly (readonly [name: string, value: string])[];

export interface Metadata {
  readonly contentType: string | undefined;
  readonly headers: Headers;
}

export const NO_METADATA: Metadata = { contentType: undefined, headers: [] };

const bits = (x: number): number => 32 - Math.clz32(x);

/** Pad by Padmé. */
export function pad(content: Bytes): Bytes {
  const m = content.length + 1;
  const w = bits(m) - 1;
  const step = 2 ** (w - bits(w));
  const whole = new Uint8Array(step > 1 ? Math.ceil(m / step) * step : m);
  whole.set(content);
  whole[content.length] = 0x80;
  return whole;
}

export function unpad(plaintext: Bytes): Bytes {
  let end = plaintext.length;
  while (end > 0 && plaintext[end - 1] === 0) end--;
  return end > 0 && plaintext[end - 1] === 0x80 ? plaintext.subarray(0, end - 1) : fail("malformed", "invalid padding");
}

export function encodeMetadata({ contentType, headers }: Metadata): Bytes {
  if (headers.length > MAX_HEADERS) fail("limit_exceeded", `more than ${MAX_HEADERS} headers`);
  const encoded = array(
    contentType === undefined ? NIL : str(contentType),
    array(...headers.map(([name, value]) => array(str(name), str(value)))),
  );
  return encoded.length > MAX_ARRAY ? fail("limit_exceeded", `headers: more than ${MAX_ARRAY} bytes`) : encoded;
}

/** Reads a message array, of which no item may end after byte 65,536 (E-60). */
class ArrayReader extends Reader {
  override array(): number {
    return this.#within(super.array());
  }

  override str(): string {
    return super.str({ most: MAX_ARRAY, name: "message array", isOffset: true });
  }

  header(): [string, string] {
    if (this.array() !== 2) fail("malformed", "a header is not a pair");
    return [this.#text(), this.#text()];
  }

  contentType(): string | undefined {
    return this.nil() ? void this.#within(0) : this.#text();
  }

  #text(): string {
    return this.#within(this.str());
  }

  #within<T>(value: T): T {
    return this.at > MAX_ARRAY ? fail("limit_exceeded", `message array: more than ${MAX_ARRAY} bytes`) : value;
  }
}

/** Read a message array; return it with what follows. */
export function readMetadata(content: Bytes): [Metadata, Bytes] {
  const reader = new ArrayReader(content);
  if (reader.array() !== 2) fail("malformed", "not a message array");
  const contentType = reader.contentType();
  const count = reader.array();
  if (count > MAX_HEADERS) fail("limit_exceeded", `more than ${MAX_HEADERS} headers`);
  const headers = Array.from({ length: count }, () => reader.header());
  return [{ contentType, headers }, content.slice(reader.at)];
}
