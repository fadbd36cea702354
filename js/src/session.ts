/** Sessions of a sealer: an ephemeral key, a counter, and the bytes drawn for messages (E-21 to E-27). */
import { type Bytes, concat } from "./bytes.js";
import { Recent } from "./cache.js";
import { H, randomBytes } from "./crypto.js";
import { MAX_COUNTER } from "./head.js";
import { XKey } from "./keys.js";
import type { Clock } from "./replay.js";
import type { WrapKeys } from "./seal.js";

const HOUR = 3_600_000;

function bigEndian(value: bigint, size: 4 | 8): Bytes {
  const view = new DataView(new ArrayBuffer(size));
  if (size === 4) view.setUint32(0, Number(value));
  else view.setBigUint64(0, BigInt.asUintN(64, value));
  return new Uint8Array(view.buffer);
}

export class Session {
  readonly ephemeral: XKey;
  /** Keys of recipients in this session. */
  readonly wraps = new Recent<WrapKeys>(4_096);
  readonly #clock: Clock;
  readonly #secret: Bytes;
  readonly #began: readonly [number, number];
  #counter = 0;

  private constructor(ephemeral: XKey, clock: Clock) {
    this.ephemeral = ephemeral;
    this.#clock = clock;
    this.#secret = randomBytes(32);
    this.#began = [clock.now(), clock.monotonic()];
  }

  static async begin(clock: Clock): Promise<Session> {
    return new Session(await XKey.fromRaw(randomBytes(32)), clock);
  }

  /** Take the next counter, or return undefined if the session is over. */
  next(): number | undefined {
    const [wall, monotonic] = this.#began;
    const age = Math.max(this.#clock.monotonic() - monotonic, Math.abs(this.#clock.now() - wall));
    return this.#counter < MAX_COUNTER && age < HOUR ? ++this.#counter : undefined;
  }

  /** Return the nonce of a message, and what draws its keys. */
  draws(counter: number): { nonce: Bytes; draw: () => Bytes } {
    let position = 0n;
    const draw = (size: number) => {
      const nanoseconds = BigInt(Math.round(this.#clock.now() * 1e6)) + BigInt(Math.round((this.#clock.monotonic() % 1) * 1e6));
      return H("xkm1/hedge", [randomBytes(size), bigEndian(nanoseconds, 8), bigEndian(position++, 4)], size, this.#secret);
    };
    return { nonce: concat(bigEndian(BigInt(counter), 4), draw(8)), draw: () => draw(32) };
  }
}
