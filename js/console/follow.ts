/** Follows a subject over a WebSocket of a nats-server, in bounded memory. */
import { type Authenticator, credsAuthenticator, type NatsConnection, usernamePasswordAuthenticator, wsconnect } from "@nats-io/nats-core";
import type { Bytes } from "../src/bytes.js";

/** What waits to be opened at most; older messages are dropped. */
const MOST_WAITING = 200;
const MOST_BYTES = 32 << 20;

export interface Login {
  readonly user?: string;
  readonly password?: string;
  /** A credentials file: its JWT is sent, and its seed signs the server's nonce. */
  readonly creds?: Bytes;
}

export interface Handlers {
  message(envelope: Bytes, subject: string): Promise<void>;
  /** `isOver` tells that nothing will follow. */
  state(text: string, isOver: boolean): void;
}

function authenticators({ user, password, creds }: Login): Authenticator[] {
  if (creds) return [credsAuthenticator(creds)];
  return user === undefined ? [] : [usernamePasswordAuthenticator(user, password)];
}

/** One subscription. */
export class Follower {
  /** Messages that arrived faster than they could be opened. */
  dropped = 0;
  readonly #handlers: Handlers;
  readonly #waiting: { readonly data: Bytes; readonly subject: string }[] = [];
  #bytes = 0;
  #connection: NatsConnection | undefined;
  #isStopped = false;
  #isRunning = false;

  constructor(handlers: Handlers) {
    this.#handlers = handlers;
  }

  async start(url: string, subject: string, login: Login): Promise<void> {
    try {
      const options = { servers: url, authenticator: authenticators(login), ignoreClusterUpdates: true, maxReconnectAttempts: -1 };
      const connection = await wsconnect(options);
      if (this.#isStopped) return void connection.close();
      this.#connection = connection;
      connection.subscribe(subject, { callback: (error, message) => (error ? this.#end(error) : this.#take(message.data as Bytes, message.subject)) });
      await connection.flush();
      this.#say(`following ${subject}`);
      void this.#watch(connection);
    } catch (error) {
      this.#end(error);
    }
  }

  /** Stop, and forget what waits. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting.length = 0;
    this.#bytes = 0;
    void this.#connection?.close().catch(() => undefined);
  }

  #say(text: string, isOver = false): void {
    if (!this.#isStopped) this.#handlers.state(text, isOver);
  }

  #end(error: unknown): void {
    // Errors of the client tell what the server answered, never a login.
    this.#say(`not connected: ${error instanceof Error ? error.message.slice(0, 200) : "the connection failed"}`, true);
    this.stop();
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type === "disconnect") this.#say("connection lost: connecting again");
      if (type === "reconnect") this.#say("connected again; messages in between are missing");
    }
    this.#end(await connection.closed());
  }

  #take(data: Bytes, subject: string): void {
    if (this.#isStopped) return;
    this.#waiting.push({ data, subject });
    this.#bytes += data.length;
    while (this.#waiting.length > MOST_WAITING || this.#bytes > MOST_BYTES) {
      this.#bytes -= this.#waiting.shift()!.data.length;
      this.dropped++;
    }
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      for (let next; (next = this.#waiting.shift()); ) {
        this.#bytes -= next.data.length;
        await this.#handlers.message(next.data, next.subject);
        await new Promise((resolve) => setTimeout(resolve)); // lets the page react
      }
    } finally {
      this.#isRunning = false;
    }
  }
}
