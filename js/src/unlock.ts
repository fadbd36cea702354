/** Opening steps 1 to 7: from bytes to a verified wrap. */
import { type Bytes, latin1 } from "./bytes.js";
import type { Admit, Admitted } from "./admission.js";
import { Recent } from "./cache.js";
import { aead, type AeadKey, sha256, ZERO32 } from "./crypto.js";
import { deriveTag, type PairKeys, pairKeys, wrapKey } from "./derive.js";
import { fail } from "./errors.js";
import { findTag, openFrame, readTags, type Layout, WRAP } from "./frame.js";
import { type Head, readHead } from "./head.js";
import type { XKey } from "./keys.js";

/** An envelope of which a wrap has verified. */
export interface Unlocked {
  readonly envelope: Bytes;
  readonly head: Head;
  readonly sender: Admitted;
  readonly layout: Layout;
  /** Index of the wrap. */
  readonly index: number;
  /** CK_0, or the key of a view. */
  readonly key: Bytes;
}

interface Combination {
  readonly key: XKey;
  readonly U: Bytes;
  readonly id: string;
}

/** Keys of pairs and sessions. Those of senders that are not admitted cannot displace others (E-39). */
class Keys {
  readonly pairs: Recent<PairKeys>;
  readonly shared: Recent<Bytes>;
  readonly sessions: Recent<AeadKey>;

  constructor(most: number) {
    this.pairs = new Recent(most);
    this.shared = new Recent(most);
    this.sessions = new Recent(most);
  }
}

/** Finds and opens the wrap of one reader. */
export class Unlocker {
  readonly #combinations: readonly Combination[];
  readonly #admit: Admit;
  readonly #most: number;
  readonly #admitted = new Keys(4_096);
  readonly #strangers = new Keys(256);

  constructor(keys: readonly XKey[], user: Bytes | undefined, acceptUnbound: boolean, admit: Admit, most: number) {
    this.#admit = admit;
    this.#most = most;
    const users = [...(user ? [user] : []), ...(!user || acceptUnbound ? [ZERO32] : [])];
    this.#combinations = keys.flatMap((key) => users.map((U) => ({ key, U, id: latin1(key.raw) + latin1(U) })));
  }

  async unlock(given: Uint8Array): Promise<Unlocked> {
    if (given.length > this.#most) fail("limit_exceeded", `envelope: more than ${this.#most} bytes`);
    const envelope = new Uint8Array(given); // a caller may change its bytes while this waits
    const reader = openFrame(envelope);
    const head = readHead(reader);
    const sender = this.#checkSender(head);
    const layout = readTags(reader);
    const keys = sender.admitted ? this.#admitted : this.#strangers;
    const candidates = await this.#candidates(head, layout, keys);
    const T = await sha256(envelope.subarray(0, layout.c));
    for (const { combination, pair, position } of candidates) {
      const id = combination.id + latin1(head.S) + latin1(head.E);
      const K = keys.sessions.get(id) ?? (await aead(await this.#wrapKey(combination, pair, head)));
      const at = layout.c + WRAP * position;
      const wrap = await K.open(head.nonce, envelope.subarray(at, at + WRAP), T);
      if (!wrap) continue;
      keys.sessions.set(id, K); // only now (E-38)
      return { envelope, head, sender, layout, index: wrap[0]!, key: wrap.subarray(1) };
    }
    return fail("authentication", "altered, or not sealed by this sender for this key");
  }

  /** Check admission and identity (E-62, E-63). */
  #checkSender(head: Head): Admitted {
    const sender = this.#admit(head);
    const { identity } = head;
    if (sender.users.length && !(identity && sender.users.some((user) => latin1(user) === latin1(identity)))) {
      fail("sender_not_admitted", "the message names no known user of its sender");
    }
    return sender;
  }

  /** Return the combinations whose tags are there, in order (E-35, E-36). */
  async #candidates(head: Head, layout: Layout, keys: Keys) {
    const found = [];
    for (const combination of this.#combinations) {
      const pair = await this.#pair(combination, head, keys);
      const position = findTag(layout.tags, deriveTag(pair, head.E));
      if (position >= 0) found.push({ combination, pair, position });
    }
    if (!found.length) fail("not_a_recipient", "sealed to other recipients, not to a key held here");
    return found;
  }

  async #pair({ key, U, id }: Combination, head: Head, keys: Keys): Promise<PairKeys> {
    const S = latin1(head.S);
    const known = keys.pairs.get(id + S);
    if (known) return known;
    const sharedId = latin1(key.raw) + S;
    const shared = keys.shared.get(sharedId) ?? (await key.agree(head.S));
    keys.shared.set(sharedId, shared);
    const pair = pairKeys(shared, head.S, key.raw, U);
    keys.pairs.set(id + S, pair);
    return pair;
  }

  async #wrapKey({ key }: Combination, pair: PairKeys, head: Head): Promise<Bytes> {
    return wrapKey(pair, await key.agree(head.E), head.E, key.raw);
  }
}
