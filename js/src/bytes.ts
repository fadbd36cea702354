/** Bytes of their own buffer, as WebCrypto requires them. */
export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Encode a text without surrogates; the caller has checked `isWellFormed`. */
export const utf8 = (text: string): Bytes => encoder.encode(text) as Bytes;

export const isWellFormed = (text: string): boolean => !LONE_SURROGATE.test(text);

/** Decode well-formed UTF-8 (E-7), or return undefined. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

export const concat = (...pieces: readonly Uint8Array[]): Bytes => joined(pieces);

export function joined(pieces: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Compare in time that depends on the lengths only. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

/** Order byte strings by their first differing byte. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Decode hexadecimal digits that the caller has checked. */
export const fromHex = (text: string): Bytes =>
  Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16));

/** A text that has one character for each byte: the key of a Map. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Base64url of RFC 4648, section 5, without padding. */
export const toBase64Url = (bytes: Uint8Array): string =>
  btoa(latin1(bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

export function checkBytes(value: unknown, name = "the envelope"): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name} must be a Uint8Array`);
}

/** Copy the bytes that a caller passes, because it may change them while a promise is pending. */
export function copied(value: unknown, name: string): Bytes {
  checkBytes(value, name);
  return new Uint8Array(value);
}

/** Read a little-endian integer of any size. */
export const littleEndian = (bytes: Uint8Array): bigint => BigInt("0x" + toHex(bytes.slice().reverse()));
