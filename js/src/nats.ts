/** Sealed messages over a connection of `@nats-io/nats-core`. */
import { headers, type Msg, type MsgHdrs, type NatsConnection, type Subscription } from "@nats-io/nats-core";
import type { Senders } from "./admission.js";
import { fail } from "./errors.js";
import type { Sealable } from "./fields/values.js";
import { inspect } from "./inspect.js";
import type { XKey } from "./keys.js";
import type { Message, View } from "./message.js";
import { Opener, type OpenerOptions } from "./opener.js";
import type { DocumentOptions, PayloadOptions, SealerOptions } from "./sealer.js";
import { Sealer } from "./sealer.js";

export { type Consumption, type ConsumeOptions, type DurableConsumer, type StreamMessage } from "./consume.js";
import { Consumption, type ConsumeOptions, type DurableConsumer, quietly } from "./consume.js";

export interface SealedOptions extends Omit<SealerOptions, "clock" | "limits"> {
  readonly key: XKey;
  /** Who may send. */
  readonly senders: Senders;
  /** Options of the openers of subscriptions and consumers. */
  readonly opener?: Omit<OpenerOptions, "senders" | "replay" | "memory">;
  /** Called for each message that is refused, with its wire subject. */
  readonly onRefused?: (error: unknown, subject: string) => void;
}

type Sent<O> = Omit<O, "subject">;

export interface SubscribeOptions {
  /** Expected sealed subjects, if they differ from that of the subscription. */
  readonly subjects?: readonly string[];
  /** Refuse messages whose wire subject differs from the sealed one. */
  readonly matchWire?: boolean;
  readonly queue?: string;
}

/** A client of JetStream, as `jetstream(nc)` returns it. */
export interface StreamPublisher<Ack> {
  publish(subject: string, payload: Uint8Array, options: { msgID: string; headers: MsgHdrs }): Promise<Ack>;
}

/** Opened messages in order of arrival. Messages that do not open are skipped and reported; they never end the loop. */
export class SealedSubscription<M extends Message | View> implements AsyncIterable<M> {
  readonly #subscription: Subscription;
  readonly #open: (message: Msg) => Promise<M>;
  readonly #refused: (error: unknown, subject: string) => void;

  /** @internal */
  constructor(subscription: Subscription, open: (message: Msg) => Promise<M>, refused: (error: unknown, subject: string) => void) {
    this.#subscription = subscription;
    this.#open = open;
    this.#refused = refused;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<M> {
    for await (const message of this.#subscription) {
      let opened;
      try {
        opened = await this.#open(message);
      } catch (error) {
        this.#refused(error, message.subject);
        continue;
      }
      yield opened;
    }
  }

  unsubscribe(): void {
    this.#subscription.unsubscribe();
  }

  /** Stop receiving, and end the loop after what has arrived. */
  drain(): Promise<void> {
    return this.#subscription.drain();
  }
}

/** Seals and opens messages of one connection with one key. */
export class SealedConnection {
  readonly connection: NatsConnection;
  /** How many messages were refused, by code. */
  readonly refused = new Map<string, number>();
  readonly #options: SealedOptions;
  readonly #sealer: Sealer;

  constructor(connection: NatsConnection, options: SealedOptions) {
    this.connection = connection;
    this.#options = options;
    this.#sealer = new Sealer(options.key, options);
    this.#opener("live"); // report invalid options now
  }

  #opener(replay: "live" | "stream"): Opener {
    const { key, senders, opener } = this.#options;
    return new Opener(key, { ...opener, senders, replay });
  }

  #report(error: unknown, subject: string): void {
    const code = (error as { code?: unknown } | undefined)?.code;
    const name = typeof code === "string" ? code : "internal";
    this.refused.set(name, (this.refused.get(name) ?? 0) + 1);
    void quietly(() => this.#options.onRefused?.(error, subject));
  }

  /** Return the one header on the wire, an untrusted hint. */
  #headers(envelope: Uint8Array): MsgHdrs {
    const most = this.connection.info?.max_payload;
    if (most && envelope.length + 96 > most) fail("limit_exceeded", `the message exceeds the server's limit of ${most} bytes`);
    const hint = headers();
    hint.set("sender", this.#options.key.public);
    return hint;
  }

  #send(subject: string, envelope: Uint8Array): void {
    this.connection.publish(subject, envelope, { headers: this.#headers(envelope) });
  }

  /** Seal a payload and publish it. */
  async publish(subject: string, data: Uint8Array, options: Sent<PayloadOptions>): Promise<void> {
    this.#send(subject, await this.#sealer.seal(data, { ...options, subject }));
  }

  /** Split and seal a document and publish it. */
  async publishDocument(subject: string, document: Sealable, options: Sent<DocumentOptions>): Promise<void> {
    this.#send(subject, await this.#sealer.sealDocument(document, { ...options, subject }));
  }

  /** Seal a payload and publish it to a stream, with its message id; resolve when the stream has acknowledged it. */
  async publishToStream<Ack>(js: StreamPublisher<Ack>, subject: string, data: Uint8Array, options: Sent<PayloadOptions>): Promise<Ack> {
    return this.#sendToStream(js, subject, await this.#sealer.seal(data, { ...options, subject }));
  }

  /** Split and seal a document and publish it to a stream. */
  async publishDocumentToStream<Ack>(
    js: StreamPublisher<Ack>,
    subject: string,
    document: Sealable,
    options: Sent<DocumentOptions>,
  ): Promise<Ack> {
    return this.#sendToStream(js, subject, await this.#sealer.sealDocument(document, { ...options, subject }));
  }

  #sendToStream<Ack>(js: StreamPublisher<Ack>, subject: string, envelope: Uint8Array): Promise<Ack> {
    return js.publish(subject, envelope, { msgID: inspect(envelope).id, headers: this.#headers(envelope) });
  }

  /** Subscribe to payloads. The subscription has its own replay memory. */
  subscribe(subject: string, options: SubscribeOptions = {}): SealedSubscription<Message> {
    const opener = this.#opener("live");
    return this.#subscribe(subject, options, (envelope, expected) => opener.open(envelope, expected));
  }

  /** Subscribe to documents. */
  subscribeDocuments(subject: string, options: SubscribeOptions = {}): SealedSubscription<View> {
    const opener = this.#opener("live");
    return this.#subscribe(subject, options, (envelope, expected) => opener.openDocument(envelope, expected));
  }

  #subscribe<M extends Message | View>(
    subject: string,
    options: SubscribeOptions,
    open: (envelope: Uint8Array, expected: { subject: readonly string[]; wire?: string }) => Promise<M>,
  ): SealedSubscription<M> {
    const subscription = this.connection.subscribe(subject, options.queue ? { queue: options.queue } : {});
    const expected = options.subjects ?? [subject];
    const openOne = (message: Msg) =>
      open(message.data, options.matchWire ? { subject: expected, wire: message.subject } : { subject: expected });
    return new SealedSubscription(subscription, openOne, (error, where) => this.#report(error, where));
  }

  /**
   * Handle the payloads of a durable consumer, one after the other. A message is acknowledged after `handle` has
   * returned; if it throws, the message is delivered again.
   */
  consume(consumer: DurableConsumer, handle: (message: Message) => Promise<void>, options: ConsumeOptions): Consumption<Message> {
    return this.#consume(consumer, (opener, ...rest) => opener.open(...rest), handle, options);
  }

  /** Handle the documents of a durable consumer. */
  consumeDocuments(consumer: DurableConsumer, handle: (view: View) => Promise<void>, options: ConsumeOptions): Consumption<View> {
    return this.#consume(consumer, (opener, ...rest) => opener.openDocument(...rest), handle, options);
  }

  #consume<M extends Message | View>(
    consumer: DurableConsumer,
    open: (opener: Opener, envelope: Uint8Array, expected: Parameters<Opener["open"]>[1]) => Promise<M>,
    handle: (message: M) => Promise<void>,
    options: ConsumeOptions,
  ): Consumption<M> {
    const report = (error: unknown, subject: string) => this.#report(error, subject);
    return new Consumption(consumer, { opener: () => this.#opener("stream"), open, handle, report, options });
  }
}
