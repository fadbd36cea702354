/** Opened envelopes. Content is in accessors, so that neither `console.log` nor JSON shows it. */
import type { Bytes } from "./bytes.js";
import type { Admitted } from "./admission.js";
import type { Headers, Metadata } from "./content.js";
import { messageId } from "./derive.js";
import type { Head } from "./head.js";
import { encodeUser, encodeXKey } from "./keys.js";
import type { Value } from "./fields/values.js";

/** @internal */
export interface Opened {
  readonly head: Head;
  readonly sender: Admitted;
  readonly signed: boolean;
  readonly metadata: Metadata;
}

class Sealed {
  readonly subject: string;
  /** The key that sealed the message, `X…`. */
  readonly sender: string;
  /** Whether the sender is admitted; false only under `ANYONE`. */
  readonly admitted: boolean;
  /** The sender's user key `U…`, if one is known for its key. */
  readonly identity: string | undefined;
  /** Whether a signature by `identity` was verified. */
  readonly signed: boolean;
  readonly createdMs: number;
  readonly expiresMs: number | undefined;
  readonly revision: number | undefined;
  /** The message id, as for `Nats-Msg-Id`. */
  readonly id: string;
  readonly #metadata: Metadata;

  /** @internal */
  constructor({ head, sender, signed, metadata }: Opened) {
    this.subject = head.subject;
    this.sender = encodeXKey(head.S);
    this.admitted = sender.admitted;
    this.identity = sender.users.length ? encodeUser(head.identity!) : undefined;
    this.signed = signed;
    this.createdMs = head.createdMs;
    this.expiresMs = head.expiresMs;
    this.revision = head.revision;
    this.id = messageId(head.S, head.E, head.nonce);
    this.#metadata = metadata;
  }

  get contentType(): string | undefined {
    return this.#metadata.contentType;
  }

  /** Sealed headers. They are data from the sender and may hold any character. */
  get headers(): Headers {
    return this.#metadata.headers;
  }

  /** Return the first value of a header, whatever its case. */
  header(name: string): string | undefined {
    return this.headers.find(([each]) => each.toLowerCase() === name.toLowerCase())?.[1];
  }
}

/** An opened payload. */
export class Message extends Sealed {
  readonly #data: Bytes;

  /** @internal */
  constructor(opened: Opened, data: Bytes) {
    super(opened);
    this.#data = data;
  }

  get data(): Bytes {
    return this.#data;
  }

  /** Decode the payload as UTF-8; throw a TypeError if it is not. */
  text(): string {
    return new TextDecoder("utf-8", { fatal: true }).decode(this.#data);
  }
}

/** The opened view of a document: the fields that this reader may see. */
export class View extends Sealed {
  /** How many parts of the document this reader may not see. */
  readonly withheld: number;
  readonly #document: Value;

  /** @internal */
  constructor(opened: Opened, document: Value, withheld: number) {
    super(opened);
    this.#document = document;
    this.withheld = withheld;
  }

  get document(): Value {
    return this.#document;
  }
}
