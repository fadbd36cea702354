/** Bounds of the specification that a program may set. */
export interface Limits {
  /** Bytes of an envelope. */
  readonly envelope: number;
  /** Containers inside one another, from the root of a document. */
  readonly depth: number;
  /** msgpack objects of all granted parts. */
  readonly nodes: number;
  /** Pairs of all granted parts. */
  readonly fields: number;
  /** Positions of lists that hold WITHHELD. */
  readonly holes: number;
  /** Milliseconds between sealing and opening (live) or storing (stream). */
  readonly maxAge: number;
  /** Milliseconds by which clocks may differ. */
  readonly skew: number;
  /** Replay marks of admitted senders, in bytes charged. */
  readonly replay: number;
  /** Replay marks of all senders that are not admitted, in bytes charged. */
  readonly replayUnadmitted: number;
  /** Messages of a stream that are opened and not settled. */
  readonly pending: number;
}

export const DEFAULTS: Limits = {
  envelope: 8 << 20,
  depth: 32,
  nodes: 1_000_000,
  fields: 10_000,
  holes: 10_000,
  maxAge: 300_000,
  skew: 30_000,
  replay: 64 << 20,
  replayUnadmitted: 1 << 20,
  pending: 65_536,
};

/** The largest limit of depth: documents are visited recursively. */
export const MAX_DEPTH = 1_000;
export const MAX_HEAD = 1_024;
export const MAX_RECIPIENTS = 1_024;
export const MAX_PARTS = 64;
export const MAX_VIEWS = 256;
export const MAX_SUBJECT = 255;
export const MAX_ARRAY = 65_536;
export const MAX_HEADERS = 1_000;

export function withDefaults(limits: Partial<Limits> = {}): Limits {
  const all = { ...DEFAULTS, ...limits };
  for (const [name, value] of Object.entries(all)) {
    if (!Object.hasOwn(DEFAULTS, name)) throw new TypeError(`unknown limit ${name.slice(0, 40)}`);
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`limit ${name} must be an integer of at least 0`);
  }
  if (all.depth > MAX_DEPTH) throw new TypeError(`limit depth must be at most ${MAX_DEPTH}`);
  return all;
}
