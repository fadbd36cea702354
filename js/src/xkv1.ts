/** xkv1: one box between two keys, as every nkeys library makes it. It binds neither subject nor time nor direction. */
import { hsalsa, xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { type Bytes, concat, copied, equal, utf8 } from "./bytes.js";
import { randomBytes } from "./crypto.js";
import { fail } from "./errors.js";
import { decodeXKey, type XKey } from "./keys.js";

const MAGIC = utf8("xkv1");
const NONCE = 24;
const TAG = 16;

const words = (bytes: Uint8Array): Uint32Array => {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
};

/** The key of a pair: HSalsa20 of the shared secret. */
async function pairKey(key: XKey, other: string): Promise<Bytes> {
  const shared = await key.agree(decodeXKey(other));
  const out = new Uint32Array(8);
  hsalsa(words(utf8("expand 32-byte k")), words(shared), new Uint32Array(4), out);
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  out.forEach((word, i) => view.setUint32(4 * i, word, true));
  return bytes;
}

/** Seal `data` for the key `to`, `X…`. */
export async function seal(data: Uint8Array, options: { readonly key: XKey; readonly to: string }): Promise<Bytes> {
  const plaintext = copied(data, "data");
  const nonce = randomBytes(NONCE);
  const cipher = xsalsa20poly1305(await pairKey(options.key, options.to), nonce);
  return concat(MAGIC, nonce, cipher.encrypt(plaintext));
}

/** Open a box of `sender`, `X…`. */
export async function open(box: Uint8Array, options: { readonly key: XKey; readonly sender: string }): Promise<Bytes> {
  const bytes = copied(box, "box");
  if (bytes.length >= 4 && equal(bytes.subarray(0, 3), MAGIC.subarray(0, 3)) && bytes[3] !== MAGIC[3]) {
    fail("unsupported_version", "another version of xkv");
  }
  if (!equal(bytes.subarray(0, 4), MAGIC) || bytes.length < 4 + NONCE + TAG) fail("malformed", "not an xkv1 box");
  const cipher = xsalsa20poly1305(await pairKey(options.key, options.sender), bytes.subarray(4, 4 + NONCE));
  try {
    return cipher.decrypt(bytes.subarray(4 + NONCE)) as Bytes;
  } catch {
    return fail("authentication", "the box was altered, or was not sealed between these keys");
  }
}
