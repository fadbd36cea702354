/** Consumes a durable of JetStream: opens, handles, settles, then acknowledges. */
import { XKeyMsgError } from "./errors.js";
import type { Message, View } from "./message.js";
import type { Opener, OpenOptions } from "./opener.js";

/** What this needs of a `JsMsg`. */
export interface StreamMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly timestampNanos: bigint;
  readonly info: {
    readonly stream: string;
    readonly consumer: string;
    readonly streamSequence: number;
    readonly deliverySequence: number;
  };
  ack(): void;
  nak(millis?: number): void;
  term(reason?: string): void;
  working(): void;
}

/** What this needs of a pull `Consumer`, as `js.consumers.get(stream, durable)` returns it. */
export interface DurableConsumer {
  info(): Promise<{ readonly stream_name: string; readonly name: string; readonly created: string }>;
  consume(options?: { max_messages?: number }): Promise<AsyncIterable<StreamMessage> & { close(): Promise<unknown> }>;
}

export interface ConsumeOptions {
  /** Expected sealed subjects or patterns. */
  readonly subjects: string | readonly string[];
  /**
   * Decide about a message that does not open. `retry` delivers it again after a delay; `terminate` ends its
   * delivery, which deletes it from work-queue streams. To lose nothing, store its bytes elsewhere first.
   */
  readonly onRefused: (error: unknown, message: StreamMessage) => "retry" | "terminate" | Promise<"retry" | "terminate">;
  /** Called with what a handler throws; the message is delivered again. */
  readonly onFailed?: (error: unknown, message: Message | View) => void;
  /** Milliseconds until a message is delivered again; 1,000 by default. */
  readonly delay?: number;
  /** Milliseconds between notices that a handler is working; 10,000 by default, less than the durable's `ack_wait`. */
  readonly working?: number;
  /** Messages requested in advance; 32 by default. */
  readonly prefetch?: number;
}

/** @internal */
export interface Job<M extends Message | View> {
  readonly opener: () => Opener;
  readonly open: (opener: Opener, envelope: Uint8Array, options: OpenOptions) => Promise<M>;
  readonly handle: (message: M) => Promise<void>;
  readonly report: (error: unknown, subject: string) => void;
  readonly options: ConsumeOptions;
}

/** The replay scope of a durable: its deliveries from its creation, or reset, on. */
class Scope {
  opener: Opener;
  readonly #consumer: DurableConsumer;
  readonly #begin: () => Opener;
  #created: string;
  #last = 0;
  #checkedAt = performance.now();

  constructor(consumer: DurableConsumer, created: string, begin: () => Opener) {
    this.#consumer = consumer;
    this.#created = created;
    this.#begin = begin;
    this.opener = begin();
  }

  /** Follow the sequence of deliveries: one that does not grow is that of a durable that was reset or created again. */
  async follow(sequence: number): Promise<void> {
    const isReset = sequence <= this.#last;
    this.#last = sequence;
    if (isReset) this.opener = this.#begin();
    if (isReset) this.#created = (await this.#createdNow()) ?? this.#created;
    else if (performance.now() - this.#checkedAt > 5_000) await this.isNew();
  }

  /** Return whether a durable of the same name was created again, which begins a scope; undefined if nobody answers. */
  async isNew(): Promise<boolean | undefined> {
    const created = await this.#createdNow();
    if (created === undefined || created === this.#created) return created === undefined ? undefined : false;
    this.#created = created;
    this.opener = this.#begin();
    return true;
  }

  async #createdNow(): Promise<string | undefined> {
    this.#checkedAt = performance.now();
    try {
      return (await this.#consumer.info()).created;
    } catch {
      return undefined;
    }
  }
}

/** A running consumer. */
export class Consumption<M extends Message | View = Message | View> {
  /** Resolves when consuming has ended after `close()`; rejects if it cannot go on. */
  readonly finished: Promise<void>;
  #close: (() => void) | undefined;
  #isClosed = false;

  /** @internal */
  constructor(consumer: DurableConsumer, job: Job<M>) {
    this.finished = this.#run(consumer, job);
    this.finished.catch(() => undefined); // the caller may look at it later
  }

  /** Stop: the message in hand is finished first, and those that wait are returned to the stream. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#close?.();
    await this.finished;
  }

  async #run(consumer: DurableConsumer, job: Job<M>): Promise<void> {
    const { stream_name: stream, name, created } = await consumer.info();
    const scope = new Scope(consumer, created, job.opener);
    const messages = await consumer.consume({ max_messages: job.options.prefetch ?? 32 });
    this.#close = () => void messages.close();
    if (this.#isClosed) this.#close();
    // The iterator ends only if it is read to its end, so this loop has no `break`.
    for await (const message of messages) {
      if (this.#isClosed) {
        message.nak();
        continue;
      }
      const info = infoOf(message);
      if (info?.stream !== stream || info.consumer !== name) continue; // not a delivery of this durable
      await scope.follow(info.deliverySequence);
      await handleOne(message, scope, job);
    }
  }
}

/** Run a callback of the caller, which may be async; return undefined if it fails, so that it ends no loop. */
export async function quietly<T>(callback: () => T): Promise<Awaited<T> | undefined> {
  try {
    return await callback();
  } catch {
    return undefined;
  }
}

/** Return the metadata of a delivery, or undefined if it is not one. */
function infoOf(message: StreamMessage): StreamMessage["info"] | undefined {
  try {
    const { info, timestampNanos } = message;
    if (typeof timestampNanos !== "bigint") return undefined;
    return Number.isSafeInteger(info.streamSequence) && Number.isSafeInteger(info.deliverySequence) ? info : undefined;
  } catch {
    return undefined;
  }
}

async function handleOne<M extends Message | View>(message: StreamMessage, scope: Scope, job: Job<M>): Promise<void> {
  const { options } = job;
  const delay = options.delay ?? 1_000;
  const { stream, streamSequence: sequence } = message.info;
  const position = { stream, sequence, storedAt: Number(message.timestampNanos / 1_000_000n) };
  const { opener } = scope;
  let opened;
  try {
    opened = await job.open(opener, message.data, { subject: options.subjects, position });
  } catch (error) {
    if (!(error instanceof XKeyMsgError && error.code === "replay")) {
      job.report(error, message.subject);
      return refuse(error, message, options, delay);
    }
    if (error.first === "pending") return message.nak(delay);
    const isNew = await scope.isNew();
    if (isNew) return handleOne(message, scope, job); // it was final in the scope before
    if (isNew === undefined) return message.nak(delay);
    job.report(error, message.subject);
    return message.ack();
  }
  const began = performance.now();
  const notice = setInterval(() => void quietly(() => message.working()), options.working ?? 10_000);
  try {
    await job.handle(opened);
  } catch (error) {
    opener.release(opened);
    message.nak(delay);
    void quietly(() => options.onFailed?.(error, opened));
    return;
  } finally {
    clearInterval(notice);
  }
  // The acknowledgement of a durable that was created again meanwhile would count for its new delivery.
  if (performance.now() - began > 1_000 && (await scope.isNew())) return;
  opener.settle(opened); // before the acknowledgement, which may be lost (E-85)
  message.ack();
}

async function refuse(error: unknown, message: StreamMessage, options: ConsumeOptions, delay: number): Promise<void> {
  const verdict = await quietly(() => options.onRefused(error, message)); // one that fails decides nothing
  if (verdict === "terminate") message.term(error instanceof XKeyMsgError ? error.publicCode : undefined);
  else message.nak(delay);
}
