/** Tags, views, parts and the signature: their encodings, and the rules between them. */
import { type Bytes, compare, equal } from "./bytes.js";
import { binHeader, Reader } from "./encoding.js";
import { fail } from "./errors.js";
import type { Head } from "./head.js";
import { MAX_PARTS, MAX_RECIPIENTS, MAX_VIEWS } from "./limits.js";

export const MAGIC = Uint8Array.of(0x78, 0x6b, 0x6d, 0x31, 0x96);
export const WRAP = 49;
export const PAYLOAD = 0;
export const FIELDS = 1;
export const MESSAGE = 2;
export const METADATA = 3;
const PADDED = 16;

export const unpadded = (type: number): number => type & ~PADDED;
export const isPadded = (type: number): boolean => type >= PADDED;
export const padded = (type: number): number => type | PADDED;

/** Check length and magic; return a reader after them. */
export function openFrame(envelope: Bytes): Reader {
  if (envelope.length >= 4 && equal(envelope.subarray(0, 3), MAGIC.subarray(0, 3)) && envelope[3] !== MAGIC[3]) {
    fail("unsupported_version", "another version of xkm");
  }
  if (!equal(envelope.subarray(0, 5), MAGIC)) fail("malformed", "not an xkm1 envelope: bad magic");
  return new Reader(envelope, 5);
}

/** Where the wraps are. */
export interface Layout {
  readonly tags: Bytes;
  /** Offset after the tags. */
  readonly p: number;
  /** Offset of the header of the wraps. */
  readonly q: number;
  /** Offset of the first wrap. */
  readonly c: number;
}

export function readTags(reader: Reader): Layout {
  const envelope = reader.bytes;
  const tags = reader.bin({ most: 8 * MAX_RECIPIENTS, name: "tags" });
  if (tags.length === 0 || tags.length % 8) fail("malformed", "tags: invalid length");
  for (let i = 8; i < tags.length; i += 8) {
    if (compare(tags.subarray(i - 8, i), tags.subarray(i, i + 8)) >= 0) fail("malformed", "tags: not ascending");
  }
  const size = (WRAP * tags.length) / 8;
  const header = binHeader(size);
  const c = envelope.length - size;
  const q = c - header.length;
  if (q < reader.at) fail("malformed", "truncated");
  if (!equal(envelope.subarray(q, c), header)) fail("malformed", "wraps: invalid header");
  return { tags, p: reader.at, q, c };
}

/** Return the position of a tag, or -1. */
export function findTag(tags: Bytes, tag: Bytes): number {
  for (let i = 0; i < tags.length; i += 8) if (equal(tags.subarray(i, i + 8), tag)) return i / 8;
  return -1;
}

export interface Body {
  readonly views: readonly Bytes[];
  readonly parts: readonly Bytes[];
  readonly signature: Bytes;
  /** Offset of the header of the signature. */
  readonly d: number;
}

function isCombination(types: readonly number[]): boolean {
  if (types.length === 1 && (types[0] === PAYLOAD || types[0] === MESSAGE)) return true;
  const count = (type: number) => types.filter((each) => each === type).length;
  return count(FIELDS) >= 1 && count(METADATA) <= 1 && count(FIELDS) + count(METADATA) === types.length;
}

/** Read envelope[p:q], after a wrap has verified (E-40). */
export function readBody(envelope: Bytes, layout: Layout, head: Head): Body {
  const reader = new Reader(envelope, layout.p, layout.q);
  const views: Bytes[] = [];
  for (let left = reader.array({ most: MAX_VIEWS, name: "views" }); left; left--) views.push(reader.bin());
  const parts: Bytes[] = [];
  for (let left = reader.array({ most: MAX_PARTS, name: "parts" }); left; left--) {
    const part = reader.bin();
    if (part.length < 49) fail("malformed", "a part of fewer than 49 bytes");
    if (unpadded(part[0]!) > METADATA) fail("unsupported_version", "a part of an unknown type");
    parts.push(part);
  }
  const d = reader.at;
  const signature = reader.bin();
  if (signature.length !== 0 && signature.length !== 64) fail("malformed", "signature: invalid length");
  if (reader.at !== layout.q) fail("malformed", "bytes after the signature");
  for (const view of views) {
    const size = view.length - 48;
    if (size < 33 || size > 33 * parts.length || size % 33) fail("malformed", "invalid view length");
  }
  if (views.length > 0 !== parts.length > 1) fail("malformed", "several parts need views, one part has none");
  if (!isCombination(parts.map((part) => unpadded(part[0]!)))) fail("malformed", "invalid combination of parts");
  if (signature.length && !head.identity) fail("malformed", "a signature without identity");
  return { views, parts, signature, d };
}
