/** The head of an envelope: sender, session, nonce, time, subject and attributes. */
import { type Bytes, concat, utf8 } from "./bytes.js";
import { isSound } from "./crypto.js";
import { array, bin, NIL, Reader, strHeader, uint } from "./encoding.js";
import { fail } from "./errors.js";
import { MAX_HEAD, MAX_SUBJECT } from "./limits.js";
import { isSubject } from "./subject.js";

export const MAX_COUNTER = 2 ** 20;
const LEAST_TIME = 2 ** 32;

export interface Head {
  readonly S: Bytes;
  readonly E: Bytes;
  readonly nonce: Bytes;
  readonly createdMs: number;
  readonly subject: string;
  readonly revision: number | undefined;
  readonly identity: Bytes | undefined;
  readonly expiresMs: number | undefined;
}

export const counterOf = (nonce: Bytes): number => new DataView(nonce.buffer, nonce.byteOffset).getUint32(0);

export function encodeHead(head: Head): Bytes {
  const subject = utf8(head.subject);
  return array(
    bin(head.S),
    bin(head.E),
    bin(head.nonce),
    uint(head.createdMs),
    concat(strHeader(subject.length), subject),
    array(
      head.revision === undefined ? NIL : uint(head.revision),
      head.identity === undefined ? NIL : bin(head.identity),
      head.expiresMs === undefined ? NIL : uint(head.expiresMs),
    ),
  );
}

function inRange(value: bigint, least: number, most: number, name: string): number {
  return value >= least && value <= most ? Number(value) : fail("malformed", `head: ${name} is out of range`);
}

const time = (value: bigint, name: string): number => inRange(value, LEAST_TIME, Number.MAX_SAFE_INTEGER, name);

/** Check the numbers of a head that a sealer makes, with the codes of a reader (E-9). */
export function checkNumbers(createdMs: number, revision: number | undefined, expiresMs: number | undefined): void {
  for (const [name, value, least] of [
    ["created_ms", createdMs, LEAST_TIME],
    ["revision", revision, 0],
    ["expires_ms", expiresMs, LEAST_TIME],
  ] as const) {
    if (value === undefined) continue;
    if (!Number.isSafeInteger(value) || value < least) fail("malformed", `${name} is out of range`);
  }
  if (expiresMs !== undefined && expiresMs <= createdMs) fail("expired", "expiresIn must be greater than 0");
}

/** Read the head after the magic; `reader` then is after it. */
export function readHead(reader: Reader): Head {
  const bytes = reader.bin({ most: MAX_HEAD, name: "head" }).slice(); // else a pending message would keep its envelope
  const fields = new Reader(bytes);
  const isArray = (found: number, wanted: number) => found === wanted || fail("malformed", "head: not six fields");
  isArray(fields.array(), 6);
  const S = fields.fixed(32);
  const E = fields.fixed(32);
  const nonce = fields.fixed(12);
  const created = fields.uint();
  const subject = fields.str({ most: MAX_SUBJECT, name: "subject" });
  const attributes = fields.array();
  if (attributes > 3) fail("unsupported_version", "head: attributes of a later version");
  isArray(attributes, 3);
  const revision = fields.nil() ? undefined : fields.uint();
  const identity = fields.nil() ? undefined : fields.fixed(32);
  const expires = fields.nil() ? undefined : fields.uint();
  if (fields.at !== fields.end) fail("malformed", "head: bytes after the attributes");

  if (!isSound(S) || !isSound(E)) fail("bad_key", "head: a key of small order, or not canonical");
  inRange(BigInt(counterOf(nonce)), 1, MAX_COUNTER, "the counter");
  const head: Head = {
    S,
    E,
    nonce,
    createdMs: time(created, "created_ms"),
    subject,
    revision: revision === undefined ? undefined : inRange(revision, 0, Number.MAX_SAFE_INTEGER, "revision"),
    identity,
    expiresMs: expires === undefined ? undefined : time(expires, "expires_ms"),
  };
  return isSubject(subject) ? head : fail("malformed", "head: not a valid subject");
}
