/** Assembles the bytes of an envelope, steps 3 to 7 of the sealing order. */
import { type Bytes, compare, concat, equal, joined } from "./bytes.js";
import { aead, type AeadKey, EMPTY, sha256, ZERO12 } from "./crypto.js";
import { deriveTag, type PairKeys, pairKeys, partKeys, signedBytes, viewKeys, wrapKey } from "./derive.js";
import { array, arrayHeader, bin, binHeader } from "./encoding.js";
import { MAGIC, WRAP } from "./frame.js";
import { encodeHead, type Head } from "./head.js";
import type { UserKey, XKey } from "./keys.js";

/** A recipient (R, U) and the parts granted to it, ascending. */
export interface Target {
  readonly R: Bytes;
  readonly U: Bytes;
  readonly parts: readonly number[];
}

export interface Plan {
  readonly head: Head;
  readonly targets: readonly Target[];
  /** Types, and contents that are padded already. */
  readonly parts: readonly { readonly type: number; readonly content: Bytes }[];
  readonly signer: UserKey | undefined;
  /** Draw 32 bytes for a key of a part or view. */
  readonly draw: () => Bytes;
}

/** Keys for one recipient in one session. */
export interface WrapKeys {
  readonly tag: Bytes;
  readonly K: AeadKey;
}

export const pairWith = async (own: XKey, R: Bytes, U: Bytes): Promise<PairKeys> =>
  pairKeys(await own.agree(R), own.raw, R, U);

/** Derive the keys for a recipient in the session of `ephemeral`. */
export async function wrapKeys(pair: PairKeys, ephemeral: XKey, R: Bytes): Promise<WrapKeys> {
  const K = wrapKey(pair, await ephemeral.agree(R), ephemeral.raw, R);
  return { tag: deriveTag(pair, ephemeral.raw), K: await aead(K) };
}

/** The distinct sets of granted parts, in the order in which they first appear. */
function viewsOf(targets: readonly Target[]): Map<string, readonly number[]> {
  return new Map(targets.map(({ parts }) => [parts.join(), parts]));
}

/** Return the length of the envelope of a plan. */
export function lengthOf({ head, targets, parts, signer }: Plan): number {
  const sized = (size: number) => binHeader(size).length + size;
  const views = parts.length > 1 ? [...viewsOf(targets).values()] : [];
  const items = [...views.map((list) => 48 + 33 * list.length), ...parts.map(({ content }) => 49 + content.length)];
  return (
    MAGIC.length +
    sized(encodeHead(head).length) +
    sized(8 * targets.length) +
    arrayHeader(views.length).length +
    arrayHeader(parts.length).length +
    items.reduce((sum, size) => sum + sized(size), 0) +
    sized(signer ? 64 : 0) +
    sized(WRAP * targets.length)
  );
}

/** Return the envelope, or undefined if two recipients have equal tags (E-29). */
export async function assemble(plan: Plan, keysOf: (target: Target) => Promise<WrapKeys>): Promise<Bytes | undefined> {
  const { head, targets, parts } = plan;
  const views = viewsOf(targets);
  const numbers = new Map([...views.keys()].map((view, i) => [view, i]));
  const keyed = await Promise.all(targets.map(async (target) => ({ ...(await keysOf(target)), view: target.parts.join() })));
  keyed.sort((a, b) => compare(a.tag, b.tag));
  if (keyed.some(({ tag }, i) => i > 0 && equal(tag, keyed[i - 1]!.tag))) return undefined;

  const isSingle = parts.length === 1;
  const CK = parts.map(plan.draw);
  const VK = isSingle ? [] : [...views].map(plan.draw);
  const sealedParts = await Promise.all(
    parts.map(async ({ type, content }, j) =>
      concat(Uint8Array.of(type), await sealCommitted(partKeys(CK[j]!, head.E, head.nonce, j), content)),
    ),
  );
  const sealedViews = await Promise.all(
    VK.map((key, v) => {
      const list = [...views.values()][v]!.flatMap((j) => [Uint8Array.of(j), CK[j]!]);
      return sealCommitted(viewKeys(key, head.E, head.nonce, v), joined(list));
    }),
  );

  const signed = concat(
    MAGIC,
    bin(encodeHead(head)),
    bin(joined(keyed.map(({ tag }) => tag))),
    array(...sealedViews.map(bin)),
    array(...sealedParts.map(bin)),
  );
  const signature = plan.signer ? await plan.signer.sign(signedBytes(await sha256(signed))) : EMPTY;
  const authenticated = concat(signed, bin(signature), binHeader(WRAP * keyed.length));
  const T = await sha256(authenticated);
  const wraps = await Promise.all(
    keyed.map(({ K, view }) => {
      const index = numbers.get(view)!;
      const wrapped = isSingle ? [Uint8Array.of(0), CK[0]!] : [Uint8Array.of(index), VK[index]!];
      return K.seal(head.nonce, joined(wrapped), T);
    }),
  );
  return concat(authenticated, ...wraps);
}

/** Seal a plaintext, and put the commitment to its key before it. */
async function sealCommitted([key, commit]: [Bytes, Bytes], plaintext: Bytes): Promise<Bytes> {
  return concat(commit, await (await aead(key)).seal(ZERO12, plaintext, EMPTY));
}
