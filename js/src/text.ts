/** Text forms: armoured envelopes, and seeds protected with a passphrase. */
import { argon2idAsync } from "@noble/hashes/argon2.js";
import { type Bytes, isWellFormed, latin1, toBase64Url, utf8 } from "./bytes.js";
import { aead, ZERO12 } from "./crypto.js";
import { fail } from "./errors.js";
import { isPublic, publicOfSeed } from "./keys.js";
import { DEFAULTS } from "./limits.js";

export const BEGIN = "-----BEGIN XKM1 ENVELOPE-----";
const END = "-----END XKM1 ENVELOPE-----";
const COLUMNS = 64;
const MAGIC = "xkm1\x96";

/** Return an envelope as text. */
export function armour(envelope: Uint8Array): string {
  const bytes = latin1(envelope);
  if (!bytes.startsWith(MAGIC)) fail("malformed", "only envelopes of the format xkm1 can be armoured");
  return [BEGIN, ...(btoa(bytes).match(/.{1,64}/g) ?? []), END, ""].join("\n");
}

/** Return the envelope of an armoured text; nothing in it is verified. */
export function dearmour(text: string, limit = DEFAULTS.envelope): Bytes {
  if (typeof text !== "string") throw new TypeError("an armoured envelope must be a string");
  const characters = 4 * Math.ceil(limit / 3);
  if (text.length > 58 + characters + Math.ceil(characters / COLUMNS)) fail("limit_exceeded", `armour: more than ${limit} bytes`);
  const body = text.startsWith(`${BEGIN}\n`) && text.endsWith(`\n${END}\n`) ? text.slice(BEGIN.length + 1, -END.length - 2) : "";
  const envelope = fromBase64(body.replaceAll("\n", ""));
  if (!envelope || !latin1(envelope.subarray(0, 5)).startsWith(MAGIC) || armour(envelope) !== text) {
    return fail("malformed", `armour: expected ${BEGIN}, base64 in lines of ${COLUMNS} characters, ${END}`);
  }
  return envelope;
}

/** Decode base64 (RFC 4648, section 4), or return undefined; what else `atob` accepts is the caller's to refuse. */
export function fromBase64(text: string): Bytes | undefined {
  try {
    const bytes = atob(text);
    const decoded = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) decoded[i] = bytes.charCodeAt(i);
    return decoded;
  } catch {
    return undefined;
  }
}

const LINE = /^xks1\.([1-9][0-9]?)\.([1-9][0-9]{3,5})\.([XUAO][A-Z2-7]{55})\.([\w-]{22})\.([\w-]{99})$/;
const MOST_WORK = 1 << 20;

/** Return whether a line is a protected seed, of this or of a later version. */
export const isProtected = (line: string): boolean => /^xks[0-9]+\./.test(line);

/**
 * Return the seed of a protected seed, one line `xks1.…`. It may need 256 MiB of memory and some seconds.
 *
 * Throws an XKeyMsgError `key_store` if the passphrase is wrong or invalid, or the line invalid or changed.
 */
export async function releaseSeed(line: string, passphrase: string): Promise<string> {
  const refuse = (why: string): never => fail("key_store", why);
  const [, passes, kib, publicKey, salt, sealed] = LINE.exec(line) ?? refuse("not a protected seed xks1.…");
  const cost = { t: Number(passes), m: Number(kib), p: 1, dkLen: 32 };
  if (cost.t > 16 || cost.m < 8_192 || cost.m > 262_144 || cost.t * cost.m > MOST_WORK) {
    refuse("the protected seed has Argon2id parameters out of bounds");
  }
  const [saltBytes, sealedBytes] = [fromBase64Url(salt!), fromBase64Url(sealed!)];
  if (!saltBytes || !sealedBytes || !isPublic(publicKey!)) return refuse("the protected seed is malformed");
  const secret = utf8(passphrase.normalize("NFC"));
  if (!isWellFormed(passphrase) || !secret.length || secret.length > 1_024 || secret.some((byte) => byte < 0x20)) {
    refuse("a passphrase must be one line of 1 to 1024 bytes of UTF-8");
  }
  const key = (await argon2idAsync(secret, saltBytes, cost)) as Bytes;
  const opened = await (await aead(key)).open(ZERO12, sealedBytes, utf8(line.slice(0, -sealed!.length)));
  key.fill(0);
  secret.fill(0);
  if (!opened) return refuse("wrong passphrase, or the protected seed was changed");
  const seed = latin1(opened);
  opened.fill(0);
  if ((await publicOfSeed(seed)) !== publicKey) refuse("the protected seed does not belong to its public key");
  return seed;
}

function fromBase64Url(text: string): Bytes | undefined {
  const bytes = fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));
  return bytes && toBase64Url(bytes) === text ? bytes : undefined; // unused bits are zero
}
