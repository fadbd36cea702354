/** Every key derivation of xkm1. */
import { type Bytes, concat, toBase64Url, utf8 } from "./bytes.js";
import { H, H64 } from "./crypto.js";

const SIGN = concat(Uint8Array.of(0xff), utf8("xkm1/sign"), Uint8Array.of(0));

export interface PairKeys {
  readonly tagKey: Bytes;
  readonly authKey: Bytes;
}

export function pairKeys(shared: Bytes, S: Bytes, R: Bytes, U: Bytes): PairKeys {
  const [tagKey, authKey] = H64("xkm1/pair", [shared, S, R, U]);
  return { tagKey, authKey };
}

export const deriveTag = (pair: PairKeys, E: Bytes): Bytes => H("xkm1/tag", [E], 8, pair.tagKey);

export const wrapKey = (pair: PairKeys, shared: Bytes, E: Bytes, R: Bytes): Bytes =>
  H("xkm1/wrap", [shared, E, R], 32, pair.authKey);

/** Return the key and the commitment of a view. */
export const viewKeys = (VK: Bytes, E: Bytes, nonce: Bytes, view: number): [Bytes, Bytes] =>
  H64("xkm1/view", [E, nonce, Uint8Array.of(view)], VK);

/** Return the key and the commitment of a part. */
export const partKeys = (CK: Bytes, E: Bytes, nonce: Bytes, part: number): [Bytes, Bytes] =>
  H64("xkm1/part", [E, nonce, Uint8Array.of(part)], CK);

export const messageId = (S: Bytes, E: Bytes, nonce: Bytes): string => toBase64Url(H("xkm1/id", [S, E, nonce], 16));

export const signedBytes = (D: Bytes): Bytes => concat(SIGN, D);
