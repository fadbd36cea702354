/**
 * The cryptographic functions of the specification. WebCrypto computes them where it has them; its keys are not
 * extractable. Where it lacks one, `fallback.ts` is loaded.
 */
import { blake2b } from "@noble/hashes/blake2.js";
import { type Bytes, concat, equal, fromHex, littleEndian, utf8 } from "./bytes.js";
import { fail } from "./errors.js";

/** ChaCha20-Poly1305 under one key. */
export interface AeadKey {
  seal(nonce: Bytes, plaintext: Bytes, aad: Bytes): Promise<Bytes>;
  /** Return undefined if the tag differs. */
  open(nonce: Bytes, sealed: Bytes, aad: Bytes): Promise<Bytes | undefined>;
}

/** A secret X25519 key. */
export interface Agreement {
  /** Return the shared secret, or undefined if it is zero. */
  with(point: Bytes): Promise<Bytes | undefined>;
}

/** A secret Ed25519 key. */
export interface Signer {
  readonly public: Bytes;
  sign(message: Bytes): Promise<Bytes>;
}

export const EMPTY = new Uint8Array(0);
export const ZERO12 = new Uint8Array(12);
export const ZERO32 = new Uint8Array(32);
const BASE = Uint8Array.from({ length: 32 }, (_, i) => (i ? 0 : 9));
const CHACHA = "ChaCha20-Poly1305";
/** PKCS 8, up to the 32 bytes of a seed. */
const PKCS8 = { X25519: fromHex("302e020100300506032b656e04220420"), Ed25519: fromHex("302e020100300506032b657004220420") };

const subtle: SubtleCrypto | undefined = globalThis.crypto?.subtle;
const fallback = () => import("./fallback.js");

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

const works = (probe: (subtle: SubtleCrypto) => Promise<boolean>): (() => Promise<boolean>) =>
  once(async () => {
    try {
      return subtle !== undefined && (await probe(subtle));
    } catch {
      return false;
    }
  });

const importChaCha = (key: Bytes) =>
  subtle!.importKey("raw-secret" as "raw", key, CHACHA, false, ["encrypt", "decrypt"]);
const importPoint = (point: Bytes) => subtle!.importKey("raw", point, "X25519", true, []);
async function importSeed(name: "X25519" | "Ed25519", seed: Bytes, extractable: boolean): Promise<CryptoKey> {
  const encoded = concat(PKCS8[name], seed);
  try {
    return await subtle!.importKey("pkcs8", encoded, name, extractable, [name === "X25519" ? "deriveBits" : "sign"]);
  } finally {
    encoded.fill(0);
  }
}

const hasChaCha = works(async () => (await importChaCha(ZERO32)) !== undefined);
const hasX25519 = works(async () => (await importPoint(BASE)) !== undefined);
/** A signature that is valid only if the equation is multiplied by the cofactor: E-5 requires refusing it. */
const COFACTORED = {
  key: fromHex("ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"),
  signature: fromHex(
    "6a84d583f06569edb3f5ed77df65544b27d6948b4f0b2cb76f33dd8413b20719" +
      "b667fa5abe55c4bd7d507d7e363b3a39a91dade9155ff56ab65ea18684284c04",
  ),
};
const hasEd25519 = works(async () => !(await nativeVerify(COFACTORED.key, COFACTORED.signature, EMPTY)));

async function nativeVerify(key: Bytes, signature: Bytes, message: Bytes): Promise<boolean> {
  const imported = await subtle!.importKey("raw", key, "Ed25519", false, ["verify"]);
  return subtle!.verify("Ed25519", imported, signature, message);
}

export function randomBytes(size: number): Bytes {
  return globalThis.crypto.getRandomValues(new Uint8Array(size));
}

export async function sha256(bytes: Bytes): Promise<Bytes> {
  if (!subtle) return (await fallback()).sha256(bytes);
  return new Uint8Array(await subtle.digest("SHA-256", bytes));
}

/** BLAKE2b of `pad16(label) || data`. */
export function H(label: string, data: readonly Uint8Array[], size: number, key?: Uint8Array): Bytes {
  const padded = new Uint8Array(16);
  padded.set(utf8(label));
  const hash = blake2b.create(key ? { dkLen: size, key } : { dkLen: size }).update(padded);
  for (const piece of data) hash.update(piece);
  return hash.digest() as Bytes;
}

/** H with 64 bytes of output, in halves. */
export function H64(label: string, data: readonly Uint8Array[], key?: Uint8Array): [Bytes, Bytes] {
  const both = H(label, data, 64, key);
  return [both.subarray(0, 32), both.subarray(32)];
}

export async function aead(key: Bytes): Promise<AeadKey> {
  if (!(await hasChaCha())) return (await fallback()).aead(key);
  const imported = await importChaCha(key);
  const parameters = (iv: Bytes, additionalData: Bytes) => ({ name: CHACHA, iv, additionalData, tagLength: 128 });
  return {
    async seal(nonce, plaintext, aad) {
      return new Uint8Array(await subtle!.encrypt(parameters(nonce, aad), imported, plaintext));
    },
    async open(nonce, sealed, aad) {
      try {
        return new Uint8Array(await subtle!.decrypt(parameters(nonce, aad), imported, sealed));
      } catch {
        return undefined;
      }
    },
  };
}

/** Import a secret X25519 key of 32 bytes. */
export async function agreement(seed: Bytes): Promise<Agreement> {
  if (!(await hasX25519())) return (await fallback()).agreement(seed);
  const key = await importSeed("X25519", seed, false);
  return {
    async with(point) {
      const peer = await importPoint(point);
      try {
        const shared = new Uint8Array(await subtle!.deriveBits({ name: "X25519", public: peer }, key, 256));
        return equal(shared, ZERO32) ? undefined : shared;
      } catch {
        return undefined;
      }
    },
  };
}

export const publicOf = async (key: Agreement): Promise<Bytes> => (await key.with(BASE)) ?? fail("bad_key", "zero key");

/** Import a secret Ed25519 key of 32 bytes. */
export async function signer(seed: Bytes): Promise<Signer> {
  if (!(await hasEd25519())) return (await fallback()).signer(seed);
  // WebCrypto tells the public key only of a key that is extractable; that one is dropped at once.
  const { x } = await subtle!.exportKey("jwk", await importSeed("Ed25519", seed, true));
  const encoded = atob(x!.replaceAll("-", "+").replaceAll("_", "/"));
  const key = await importSeed("Ed25519", seed, false);
  return {
    public: Uint8Array.from(encoded, (character) => character.charCodeAt(0)),
    sign: async (message) => new Uint8Array(await subtle!.sign("Ed25519", key, message)),
  };
}

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

/** Points of a small order: of X25519 in their coordinate u, of Ed25519 in the coordinate y (without the sign). */
const SMALL_U = new Set([
  0n,
  1n,
  P - 1n,
  littleEndian(fromHex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
  littleEndian(fromHex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")),
]);
const SMALL_Y = new Set([
  0n,
  1n,
  P - 1n,
  littleEndian(fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
  littleEndian(fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
]);

/** Return whether an X25519 public key is sound. */
export function isSound(point: Uint8Array): boolean {
  const u = littleEndian(point);
  return u < P && !SMALL_U.has(u);
}

/**
 * Return whether an encoding may be a point of a large order. All points with x = 0 have a small order, so a sign of
 * zero needs no other check. That the point is on the curve is left to the verification: decoding the key fails, and
 * no computed point equals an Rs that is not on the curve.
 */
function isCanonical(encoded: Uint8Array): boolean {
  const y = littleEndian(encoded) & (2n ** 255n - 1n);
  return y < P && !SMALL_Y.has(y);
}

/** Verify a signature in the sense of E-3 to E-5. */
export async function verify(key: Bytes, signature: Bytes, message: Bytes): Promise<boolean> {
  if (littleEndian(signature.subarray(32)) >= L) return false;
  if (!isCanonical(key) || !isCanonical(signature.subarray(0, 32))) return false;
  if (!(await hasEd25519())) return (await fallback()).verify(key, signature, message);
  try {
    return await nativeVerify(key, signature, message);
  } catch {
    return false; // the key is not on the curve
  }
}
