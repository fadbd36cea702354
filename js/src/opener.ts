/** The only way to open: all steps of the opening order (E-88). */
import { admission, type Senders } from "./admission.js";
import { type Bytes, checkBytes, equal } from "./bytes.js";
import { type Metadata, NO_METADATA, readMetadata, unpad } from "./content.js";
import { aead, EMPTY, sha256, verify, ZERO12 } from "./crypto.js";
import { partKeys, signedBytes, viewKeys } from "./derive.js";
import { fail, type PublicCode, XKeyMsgError } from "./errors.js";
import { joinParts } from "./fields/join.js";
import { type Body, FIELDS, isPadded, MESSAGE, METADATA, PAYLOAD, readBody, unpadded } from "./frame.js";
import type { Head } from "./head.js";
import { decodeUser, type XKey } from "./keys.js";
import { CLOCK, type Clock, copiedPosition, type Position, ReplayMemory } from "./replay.js";
import { type Limits, withDefaults } from "./limits.js";
import { Message, type Opened, View } from "./message.js";
import { checkPattern, matches } from "./subject.js";
import { type Unlocked, Unlocker } from "./unlock.js";

export interface OpenerOptions {
  /** Who may send. */
  readonly senders: Senders;
  /** Former keys, newest first: messages sealed to them still open. */
  readonly retired?: readonly XKey[];
  /** The reader's own user key `U…`. */
  readonly user?: string;
  /** Whether messages sealed to the key without a user open, too; true by default. */
  readonly acceptUnbound?: boolean;
  /** Refuse messages without a verified signature. */
  readonly requireSignature?: boolean;
  /**
   * `live` for core NATS (default), `stream` for JetStream, or `none` for data at rest, which turns off protection
   * against replay.
   */
  readonly replay?: "live" | "stream" | "none";
  /** The memory of this scope, if several openers share it, for example after a change of keys. */
  readonly memory?: ReplayMemory;
  readonly limits?: Partial<Limits>;
  readonly clock?: Clock;
}

export interface OpenOptions {
  /** Expected subjects or patterns of the sealed subject. */
  readonly subject: string | readonly string[];
  /** A wire subject that the sealed subject must equal. */
  readonly wire?: string;
  /** Where a stream keeps the message; required under `stream`. Take it from the metadata of the delivery. */
  readonly position?: Position;
}

interface Read {
  readonly unlocked: Unlocked;
  readonly body: Body;
  /** Granted parts: their types and plaintexts, ascending. */
  readonly parts: readonly { readonly type: number; readonly plaintext: Bytes }[];
}

/** Opens envelopes for one reader. It is one replay scope: keep it as long as the subscription or consumer. */
export class Opener {
  readonly memory: ReplayMemory;
  readonly #unlocker: Unlocker;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #replay: "live" | "stream" | "none";
  readonly #requireSignature: boolean;
  readonly #heads = new WeakMap<Message | View, Head>();

  constructor(key: XKey, options: OpenerOptions) {
    const { admit, knowsUsers } = admission(options.senders);
    if (options.requireSignature && !knowsUsers) throw new TypeError("requireSignature needs a Map of users, or trust");
    this.#limits = withDefaults(options.limits);
    this.#clock = options.clock ?? CLOCK;
    this.#replay = options.replay ?? "live";
    if (!["live", "stream", "none"].includes(this.#replay)) throw new TypeError("replay: expected live, stream or none");
    this.#requireSignature = options.requireSignature ?? false;
    this.memory = options.memory ?? new ReplayMemory(options.limits, this.#clock);
    const user = options.user === undefined ? undefined : decodeUser(options.user);
    const keys = [key, ...(options.retired ?? [])];
    this.#unlocker = new Unlocker(keys, user, options.acceptUnbound ?? true, admit, this.#limits.envelope);
  }

  /** Open a payload. */
  open(envelope: Uint8Array, options: OpenOptions): Promise<Message> {
    return this.#open(envelope, options, (read) => {
      const { type, plaintext } = read.parts[0]!;
      if (![PAYLOAD, MESSAGE].includes(unpadded(type))) fail("content_type", "this is a document: use openDocument()");
      const content = isPadded(type) ? unpad(plaintext) : plaintext;
      const [metadata, data] = unpadded(type) === PAYLOAD ? [NO_METADATA, content] : readMetadata(content);
      return { metadata, make: (opened) => new Message(opened, data) };
    });
  }

  /** Open the view of a document that this reader may see. */
  openDocument(envelope: Uint8Array, options: OpenOptions): Promise<View> {
    return this.#open(envelope, options, ({ parts, body }) => {
      if ([PAYLOAD, MESSAGE].includes(unpadded(parts[0]!.type))) fail("content_type", "this is a payload: use open()");
      const contents = parts.map(({ type, plaintext }) => ({
        type: unpadded(type),
        content: isPadded(type) ? unpad(plaintext) : plaintext,
      }));
      const last = contents.find(({ type }) => type === METADATA);
      const [metadata, rest] = last ? readMetadata(last.content) : [NO_METADATA, EMPTY];
      if (rest.length) fail("malformed", "bytes after the message array");
      const fields = contents.filter(({ type }) => type === FIELDS).map(({ content }) => content);
      const document = joinParts(fields, this.#limits);
      const all = body.parts.filter((part) => unpadded(part[0]!) === FIELDS).length;
      return { metadata, make: (opened) => new View(opened, document, all - fields.length) };
    });
  }

  /**
   * Settle a message of a stream before it is acknowledged: it never opens again. With `handled` false, it may open
   * again at any position.
   */
  settle(message: Message | View, handled = true): void {
    this.memory.settle(this.#headOf(message), handled);
  }

  /** Call this after a negative acknowledgement. */
  release(message: Message | View): void {
    this.memory.release(this.#headOf(message));
  }

  #headOf(message: Message | View): Head {
    const head = this.#heads.get(message);
    if (!head) throw new TypeError("not a message of this opener");
    return head;
  }

  async #open<M extends Message | View>(
    envelope: Uint8Array,
    options: OpenOptions,
    content: (read: Read) => { metadata: Metadata; make: (opened: Opened) => M },
  ): Promise<M> {
    checkBytes(envelope);
    const expected = [options.subject].flat().map(checkPattern);
    if (!expected.length) throw new TypeError("subject: expected at least one");
    if ((this.#replay === "stream") !== (options.position !== undefined)) {
      throw new TypeError('a position is required with replay "stream", and only there');
    }
    const position = options.position && copiedPosition(options.position);
    const { wire } = options;
    const now = this.#clock.now();
    const unlocked = await publicly("undecryptable", () => this.#unlocker.unlock(envelope));
    return publicly("refused", async () => {
      const read = await this.#decrypt(unlocked);
      const { head, sender } = unlocked;
      if (!expected.some((pattern) => matches(pattern, head.subject))) {
        fail("subject_mismatch", "sealed for an unexpected subject");
      }
      if (wire !== undefined && wire !== head.subject) {
        fail("subject_mismatch", "sealed for another subject");
      }
      const { metadata, make } = content(read);
      if (head.expiresMs !== undefined && !(now < head.expiresMs)) fail("expired", "the message has expired");
      const checksReplay = this.#replay !== "none";
      if (checksReplay) this.memory.checkFresh(head, position, now);
      const signed = await this.#checkSignature(unlocked, read.body);
      const message = make({ head, sender, signed, metadata });
      if (checksReplay) this.memory.take(head, sender.admitted, position);
      this.#heads.set(message, head);
      return message;
    });
  }

  /** Steps 8 to 10: the body, the view, and the granted parts. */
  async #decrypt(unlocked: Unlocked): Promise<Read> {
    const { envelope, layout, head, index, key } = unlocked;
    const body = readBody(envelope, layout, head);
    const isSingle = body.parts.length === 1;
    if (index >= (isSingle ? 1 : body.views.length)) fail("malformed", "the wrap names a missing view");
    const grants = isSingle ? [{ part: 0, CK: key }] : await this.#grants(body, head, index, key);
    const parts = [];
    for (const { part, CK } of grants) {
      const sealed = body.parts[part]!;
      const plaintext = await openCommitted(partKeys(CK, head.E, head.nonce, part), sealed.subarray(1), "a part");
      parts.push({ type: sealed[0]!, plaintext });
    }
    return { unlocked, body, parts };
  }

  async #grants(body: Body, head: Head, view: number, VK: Bytes): Promise<{ part: number; CK: Bytes }[]> {
    const list = await openCommitted(viewKeys(VK, head.E, head.nonce, view), body.views[view]!, "the view");
    const grants = [];
    for (let at = 0, before = -1; at < list.length; at += 33) {
      const part = list[at]!;
      if (part <= before || part >= body.parts.length) fail("malformed", "invalid list of granted parts");
      grants.push({ part, CK: list.subarray(at + 1, at + 33) });
      before = part;
    }
    const typeOf = (part: number) => unpadded(body.parts[part]![0]!);
    const metadata = body.parts.findIndex((_, part) => typeOf(part) === METADATA);
    if (!grants.some(({ part }) => typeOf(part) === FIELDS)) fail("malformed", "the view grants no fields");
    if (metadata >= 0 && !grants.some(({ part }) => part === metadata)) fail("malformed", "the view omits metadata");
    return grants;
  }

  /** Step 14. Return whether a signature was verified. */
  async #checkSignature({ envelope, head, sender }: Unlocked, body: Body): Promise<boolean> {
    const isSigned = body.signature.length > 0 && sender.users.length > 0;
    if (!isSigned) {
      if (this.#requireSignature || sender.alwaysSigns) fail("signature_missing", "the message is not signed");
      return false;
    }
    const D = await sha256(envelope.subarray(0, body.d));
    if (await verify(head.identity!, body.signature, signedBytes(D))) return true;
    return fail("signature_invalid", "not signed by the sender's user key");
  }
}

/** Check the commitment to a key, and open what the key sealed. */
async function openCommitted([key, commit]: [Bytes, Bytes], sealed: Bytes, name: string): Promise<Bytes> {
  if (!equal(commit, sealed.subarray(0, 32))) fail("commitment", `${name} does not match the commitment of its key`);
  const opened = await (await aead(key)).open(ZERO12, sealed.subarray(32), EMPTY);
  return opened ?? fail("authentication", `${name} does not open`);
}

/** Set the public code of the errors of a stage (E-90). */
async function publicly<T>(code: PublicCode, stage: () => Promise<T>): Promise<T> {
  try {
    return await stage();
  } catch (error) {
    if (error instanceof XKeyMsgError) error.publicCode = code;
    throw error;
  }
}
