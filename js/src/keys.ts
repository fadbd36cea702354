/** Keys in the string forms of nkeys: curve keys (X…, seeds SX…) and user keys (U…, seeds SU…). */
import { type Bytes, equal } from "./bytes.js";
import * as crypto from "./crypto.js";
import { fail } from "./errors.js";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const KINDS = { X: 23 << 3, U: 20 << 3, A: 0, O: 14 << 3 } as const;
const SEED = 18 << 3;
type Kind = keyof typeof KINDS;
const isKind = (letter: string | undefined): letter is Kind => letter !== undefined && Object.hasOwn(KINDS, letter);

/** CRC-16/XMODEM. */
function checksum(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let i = 0; i < 8; i++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
  }
  return crc;
}

function base32(bytes: Uint8Array): string {
  let text = "";
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(held >> (bits - 5)) & 31];
    held &= 31;
  }
  return bits ? text + ALPHABET[(held << (5 - bits)) & 31] : text;
}

/** Decode a text to `size` bytes, or return undefined unless it is the only spelling of them. */
function fromBase32(text: string, size: number): Bytes | undefined {
  if (text.length !== Math.ceil((size * 8) / 5)) return undefined;
  const bytes = new Uint8Array(size);
  let held = 0;
  let bits = 0;
  let at = 0;
  for (const character of text) {
    const value = ALPHABET.indexOf(character);
    if (value < 0) return undefined;
    held = ((held << 5) | value) & 0xfff;
    if ((bits += 5) >= 8) bytes[at++] = held >> (bits -= 8);
  }
  return held & ((1 << bits) - 1) ? undefined : bytes;
}

function encode(prefix: readonly number[], raw: Uint8Array): string {
  const bytes = new Uint8Array(prefix.length + raw.length + 2);
  bytes.set(prefix);
  bytes.set(raw, prefix.length);
  new DataView(bytes.buffer).setUint16(bytes.length - 2, checksum(bytes.subarray(0, -2)), true);
  const text = base32(bytes);
  bytes.fill(0);
  return text;
}

function decode(text: unknown, prefix: readonly number[], name: string): Bytes {
  const size = prefix.length + 34;
  const bytes = typeof text === "string" ? fromBase32(text, size) : undefined;
  const crc = bytes && new DataView(bytes.buffer).getUint16(size - 2, true);
  if (!bytes || !prefix.every((byte, i) => bytes[i] === byte) || crc !== checksum(bytes.subarray(0, -2))) {
    return fail("key_format", `not a valid ${name}`);
  }
  const raw = bytes.slice(prefix.length, -2);
  bytes.fill(0);
  return raw;
}

const seedPrefix = (kind: Kind): [number, number] => [SEED | (KINDS[kind] >> 5), (KINDS[kind] & 31) << 3];
const decodeSeed = (seed: unknown, kind: Kind): Bytes => decode(seed, seedPrefix(kind), `seed S${kind}…`);

/** Decode a public curve key `X…`; it is sound. */
export function decodeXKey(text: unknown): Bytes {
  const raw = decode(text, [KINDS.X], "public curve key X…");
  return crypto.isSound(raw) ? raw : fail("key_format", "a curve key of small order, or not canonical");
}

/** Decode a user key `U…` of a sender; no signature by the key of zeros is valid. */
export const decodeSigner = (text: unknown): Bytes => decode(text, [KINDS.U], "user key U…");

/** Decode a user key `U…` that a message is sealed to; the key of zeros is reserved (E-91). */
export function decodeUser(text: unknown): Bytes {
  const raw = decodeSigner(text);
  return equal(raw, crypto.ZERO32) ? fail("key_format", "the user key of zeros is reserved") : raw;
}

export const encodeXKey = (raw: Uint8Array): string => encode([KINDS.X], raw);
export const encodeUser = (raw: Uint8Array): string => encode([KINDS.U], raw);

/** Make a seed: of a curve key, `SX…`, or of a user key, `SU…`. */
export function generateSeed(kind: "X" | "U" = "X"): string {
  const raw = crypto.randomBytes(32);
  const seed = encode(seedPrefix(kind), raw);
  raw.fill(0);
  return seed;
}

/** @internal Return whether a text is a public key `X…`, `U…`, `A…` or `O…`. */
export function isPublic(text: string): boolean {
  try {
    return isKind(text[0]) && (text[0] === "X" ? decodeXKey(text) : decode(text, [KINDS[text[0]]], "public key")).length === 32;
  } catch {
    return false;
  }
}

/** @internal Return the public key of a seed `SX…`, `SU…`, `SA…` or `SO…`, or undefined if it is invalid. */
export async function publicOfSeed(seed: string): Promise<string | undefined> {
  const kind = seed[1];
  if (!isKind(kind)) return undefined;
  try {
    if (kind === "X") return (await XKey.fromSeed(seed)).public;
    const raw = decodeSeed(seed, kind);
    const signer = await crypto.signer(raw);
    raw.fill(0);
    return encode([KINDS[kind]], signer.public);
  } catch {
    return undefined;
  }
}

/** A secret curve key. It is not extractable, and no text shows it. */
export class XKey {
  /** The public key, `X…`. */
  readonly public: string;
  /** @internal */
  readonly raw: Bytes;
  readonly #secret: crypto.Agreement;

  private constructor(secret: crypto.Agreement, raw: Bytes) {
    this.#secret = secret;
    this.raw = raw;
    this.public = encodeXKey(raw);
  }

  /** Import a seed `SX…`; nothing here keeps it. */
  static async fromSeed(seed: string): Promise<XKey> {
    return XKey.fromRaw(decodeSeed(seed, "X"));
  }

  /** Make a key that exists only in this process. */
  static generate(): Promise<XKey> {
    return XKey.fromRaw(crypto.randomBytes(32));
  }

  /** @internal Import 32 bytes and erase them. */
  static async fromRaw(raw: Bytes): Promise<XKey> {
    const secret = await crypto.agreement(raw);
    raw.fill(0);
    return new XKey(secret, await crypto.publicOf(secret));
  }

  /** @internal Compute a shared secret; one of zeros is refused (E-2). */
  async agree(point: Bytes): Promise<Bytes> {
    return (await this.#secret.with(point)) ?? fail("bad_key", "the shared secret is zero");
  }

  toString(): string {
    return this.public;
  }

  toJSON(): string {
    return this.public;
  }
}

/** A secret user key, which signs. It is not extractable, and no text shows it. */
export class UserKey {
  /** The public key, `U…`. */
  readonly public: string;
  /** @internal */
  readonly raw: Bytes;
  readonly #signer: crypto.Signer;

  private constructor(signer: crypto.Signer) {
    this.#signer = signer;
    this.raw = signer.public;
    this.public = encodeUser(this.raw);
  }

  /** Import a seed `SU…`; nothing here keeps it. */
  static async fromSeed(seed: string): Promise<UserKey> {
    const raw = decodeSeed(seed, "U");
    const signer = await crypto.signer(raw);
    raw.fill(0);
    return new UserKey(signer);
  }

  /** @internal */
  sign(message: Bytes): Promise<Bytes> {
    return this.#signer.sign(message);
  }

  toString(): string {
    return this.public;
  }

  toJSON(): string {
    return this.public;
  }
}

/** A key that a message is sealed to: a public curve key, and the user from which it was resolved. */
export class Recipient {
  readonly xkey: string;
  readonly user: string | undefined;
  /** @internal */
  readonly R: Bytes;
  /** @internal */
  readonly U: Bytes;

  /** Decode `xkey` and `user`. */
  constructor(xkey: string, user?: string) {
    this.R = decodeXKey(xkey);
    this.U = user === undefined ? crypto.ZERO32 : decodeUser(user);
    this.xkey = xkey;
    this.user = user;
  }

  /** Parse `X…`, or `X… U…` with one space. */
  static parse(text: string): Recipient {
    const [xkey, user, ...more] = typeof text === "string" ? text.split(" ", 3) : [""];
    return more.length ? fail("key_format", "not a recipient: X…, or X… U…") : new Recipient(xkey!, user);
  }

  toString(): string {
    return this.user === undefined ? this.xkey : `${this.xkey} ${this.user}`;
  }
}

