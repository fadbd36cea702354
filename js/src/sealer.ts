/** The only way to seal. */
import { checkBytes, concat, latin1 } from "./bytes.js";
import { Recent } from "./cache.js";
import { encodeMetadata, type Headers, type Metadata, pad } from "./content.js";
import { EMPTY } from "./crypto.js";
import type { PairKeys } from "./derive.js";
import { fail } from "./errors.js";
import { isTexts, type Policy, type Readers, recipientsOf } from "./fields/policy.js";
import { split } from "./fields/split.js";
import { isPlain, type Sealable } from "./fields/values.js";
import { FIELDS, MESSAGE, METADATA, padded, PAYLOAD } from "./frame.js";
import { checkNumbers, type Head } from "./head.js";
import { decodeUser, Recipient, type UserKey, type XKey } from "./keys.js";
import { type Limits, MAX_RECIPIENTS, withDefaults } from "./limits.js";
import { CLOCK, type Clock } from "./replay.js";
import { assemble, lengthOf, pairWith, type Plan, type Target, wrapKeys } from "./seal.js";
import { Session } from "./session.js";
import { checkSubject } from "./subject.js";

/** A key `X…`, a key and its user `X… U…`, or several. */
export type Recipients = string | Recipient | readonly (string | Recipient)[];

export interface SealerOptions {
  /** Sign each message with this user key. */
  readonly signer?: UserKey;
  /** The sender's user key `U…`, for unsigned messages to readers with directory trust. */
  readonly identity?: string;
  /** Hide sizes, up to about 12 % more. */
  readonly padding?: boolean;
  /** Further recipients of everything, who hold every permission. */
  readonly alwaysTo?: Recipients;
  readonly limits?: Partial<Limits>;
  readonly clock?: Clock;
}

export interface SealOptions {
  readonly subject: string;
  readonly contentType?: string;
  /** Sealed headers: an object, or pairs of name and value. */
  readonly headers?: Readonly<Record<string, string>> | Headers;
  /** Milliseconds after which readers refuse the message. */
  readonly expiresIn?: number;
  /** The revision of the directory at which the recipients were resolved. */
  readonly revision?: number;
}

export interface PayloadOptions extends SealOptions {
  readonly to: Recipients;
}

export interface DocumentOptions extends SealOptions {
  readonly policy: Policy;
  readonly readers: Readers;
}

type Content = Plan["parts"];

const recipients = (given: Recipients): Recipient[] =>
  (Array.isArray(given) ? given : [given]).map((each) => (each instanceof Recipient ? each : Recipient.parse(each)));

const isPairs = (value: unknown): value is Headers =>
  Array.isArray(value) && value.every((pair) => isTexts(pair) && pair.length === 2);

function metadataOf({ contentType, headers = [] }: SealOptions): Metadata {
  // A Map or the headers of `fetch` have no entries of their own, and would be lost.
  const pairs: unknown = isPlain(headers) ? Object.entries(headers) : headers;
  if (!isPairs(pairs)) throw new TypeError("headers: expected an object, or pairs of strings");
  if (contentType !== undefined && typeof contentType !== "string") throw new TypeError("contentType must be a string");
  for (const [name] of pairs) if (/^xkm-/i.test(name)) throw new TypeError("headers that begin with xkm- are reserved");
  return { contentType, headers: pairs };
}

/** Seals payloads and documents with one key. Make one for each key, and keep it: its session makes sealing cheap. */
export class Sealer {
  readonly #key: XKey;
  readonly #signer: UserKey | undefined;
  readonly #identity: Uint8Array<ArrayBuffer> | undefined;
  readonly #padding: boolean;
  readonly #always: readonly Recipient[];
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #pairs = new Recent<PairKeys>(4_096);
  #session: Promise<Session> | undefined;

  constructor(key: XKey, options: SealerOptions = {}) {
    this.#key = key;
    this.#signer = options.signer;
    this.#identity = options.identity === undefined ? options.signer?.raw : decodeUser(options.identity);
    if (options.signer && options.identity !== undefined && options.identity !== options.signer.public) {
      throw new TypeError("identity must be the public key of the signer");
    }
    this.#padding = options.padding ?? false;
    this.#always = recipients(options.alwaysTo ?? []);
    this.#limits = withDefaults(options.limits);
    this.#clock = options.clock ?? CLOCK;
  }

  /** Seal a payload for its recipients. */
  async seal(data: Uint8Array, options: PayloadOptions): Promise<Uint8Array<ArrayBuffer>> {
    checkBytes(data, "data");
    const metadata = metadataOf(options);
    const hasArray = metadata.contentType !== undefined || metadata.headers.length > 0;
    const array = hasArray ? encodeMetadata(metadata) : EMPTY;
    const targets = [...recipients(options.to), ...this.#always].map(({ R, U }) => ({ R, U, parts: [0] }));
    const content = concat(array, data); // a copy, because the caller may change its bytes while this waits
    return this.#seal([{ type: hasArray ? MESSAGE : PAYLOAD, content }], merged(targets), options);
  }

  /** Split a document by a policy, and seal it for the holders of its permissions. */
  async sealDocument(document: Sealable, options: DocumentOptions): Promise<Uint8Array<ArrayBuffer>> {
    const metadata = metadataOf(options);
    const hasMetadata = metadata.contentType !== undefined || metadata.headers.length > 0;
    const holders = recipientsOf(options.policy, options.readers);
    const limits = this.#limits;
    const made = split(document, options.policy, holders, limits, { always: this.#always, metadata: hasMetadata });
    const parts = made.parts.map((content) => ({ type: FIELDS, content }));
    const last = parts.length;
    if (hasMetadata) parts.push({ type: METADATA, content: encodeMetadata(metadata) });
    const targets = made.grants.map(({ recipient: { R, U }, parts: granted }) => ({
      R,
      U,
      parts: hasMetadata ? [...granted, last] : granted,
    }));
    return this.#seal(parts, targets, options);
  }

  async #seal(content: Content, targets: readonly Target[], options: SealOptions): Promise<Uint8Array<ArrayBuffer>> {
    if (!targets.length) fail("malformed", "no recipients");
    if (targets.length > MAX_RECIPIENTS) fail("limit_exceeded", `more than ${MAX_RECIPIENTS} recipients`);
    const subject = checkSubject(options.subject);
    const { revision, expiresIn } = options;
    const parts = this.#padding ? content.map(({ type, content: bytes }) => ({ type: padded(type), content: pad(bytes) })) : content;
    for (;;) {
      const { session, counter } = await this.#next();
      const createdMs = Math.floor(this.#clock.now());
      const expiresMs = expiresIn === undefined ? undefined : createdMs + Math.ceil(expiresIn);
      checkNumbers(createdMs, revision, expiresMs);
      const { nonce, draw } = session.draws(counter);
      const identity = this.#identity;
      const head: Head = { S: this.#key.raw, E: session.ephemeral.raw, nonce, createdMs, subject, revision, identity, expiresMs };
      const plan: Plan = { head, targets, parts, signer: this.#signer, draw };
      if (lengthOf(plan) > this.#limits.envelope) fail("limit_exceeded", `envelope: more than ${this.#limits.envelope} bytes`);
      const envelope = await assemble(plan, (target) => this.#keysOf(session, target));
      if (envelope) return envelope;
      this.#session = undefined;
    }
  }

  /** Take a counter, of a new session if the current one is over. */
  async #next(): Promise<{ session: Session; counter: number }> {
    for (;;) {
      const current = (this.#session ??= Session.begin(this.#clock));
      try {
        const session = await current;
        const counter = session.next();
        if (counter !== undefined) return { session, counter };
        if (this.#session === current) this.#session = undefined;
      } catch (error) {
        if (this.#session === current) this.#session = undefined;
        throw error;
      }
    }
  }

  async #keysOf(session: Session, { R, U }: Target) {
    const id = latin1(R) + latin1(U);
    const known = session.wraps.get(id);
    if (known) return known;
    const pair = this.#pairs.get(id) ?? (await pairWith(this.#key, R, U));
    this.#pairs.set(id, pair);
    const keys = await wrapKeys(pair, session.ephemeral, R);
    session.wraps.set(id, keys);
    return keys;
  }

  /** Two copies of one session would use one counter twice (E-25). */
  toJSON(): never {
    throw new TypeError("a Sealer cannot be serialized");
  }
}

/** Merge recipients with equal keys (E-28); each is granted the only part. */
function merged(targets: readonly Target[]): Target[] {
  return [...new Map(targets.map((target) => [latin1(target.R) + latin1(target.U), target])).values()];
}
