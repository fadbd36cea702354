/** Ciphers for platforms whose WebCrypto lacks them; loaded only there. */
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { sha256 as hash, sha512 } from "@noble/hashes/sha2.js";
import { type Bytes, concat, equal, littleEndian } from "./bytes.js";
import type { AeadKey, Agreement, Signer } from "./crypto.js";

const owned = (bytes: Uint8Array): Bytes => bytes as Bytes;

export const sha256 = (bytes: Bytes): Bytes => owned(hash(bytes));

export function aead(key: Bytes): AeadKey {
  const own = key.slice();
  return {
    async seal(nonce, plaintext, aad) {
      return owned(chacha20poly1305(own, nonce, aad).encrypt(plaintext));
    },
    async open(nonce, sealed, aad) {
      try {
        return owned(chacha20poly1305(own, nonce, aad).decrypt(sealed));
      } catch {
        return undefined;
      }
    },
  };
}

export function agreement(seed: Bytes): Agreement {
  const own = seed.slice();
  return {
    async with(point) {
      try {
        return owned(x25519.getSharedSecret(own, point));
      } catch {
        return undefined; // 32 zero bytes
      }
    },
  };
}

export function signer(seed: Bytes): Signer {
  const own = seed.slice();
  return { public: owned(ed25519.getPublicKey(own)), sign: async (message) => owned(ed25519.sign(message, own)) };
}

/** Verify without the cofactor (E-5). The library's own `verify` multiplies by it. */
export function verify(key: Bytes, signature: Bytes, message: Bytes): boolean {
  try {
    const { Point } = ed25519;
    const R = signature.subarray(0, 32);
    const k = littleEndian(sha512(concat(R, key, message))) % Point.Fn.ORDER;
    const minus = Point.fromBytes(key).negate().multiplyUnsafe(k);
    const computed = Point.BASE.multiplyUnsafe(littleEndian(signature.subarray(32))).add(minus);
    return equal(computed.toBytes(), R);
  } catch {
    return false;
  }
}
