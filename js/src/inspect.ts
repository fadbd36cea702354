/** Describes envelopes without a key. Nothing in a description is authenticated. */
import { type Bytes, checkBytes } from "./bytes.js";
import { messageId } from "./derive.js";
import { isPadded, MESSAGE, openFrame, PAYLOAD, readBody, readTags, unpadded } from "./frame.js";
import { counterOf, readHead } from "./head.js";
import { encodeUser, encodeXKey } from "./keys.js";
import { DEFAULTS } from "./limits.js";
import { fail } from "./errors.js";

export interface Inspected {
  readonly sender: string;
  readonly subject: string;
  readonly createdMs: number;
  readonly expiresMs: number | undefined;
  readonly revision: number | undefined;
  /** The user key that the message names, without proof. */
  readonly identity: string | undefined;
  readonly id: string;
  readonly counter: number;
  readonly recipients: number;
  readonly kind: "payload" | "document";
  /** Whether a signature is there; it is not verified. */
  readonly hasSignature: boolean;
  readonly views: number;
  readonly parts: readonly { readonly type: number; readonly padded: boolean; readonly size: number }[];
  readonly size: number;
}

/** Describe an envelope; throw an XKeyMsgError if its form is invalid. */
export function inspect(envelope: Uint8Array, limit = DEFAULTS.envelope): Inspected {
  checkBytes(envelope);
  if (envelope.length > limit) fail("limit_exceeded", `envelope: more than ${limit} bytes`);
  const bytes: Bytes = new Uint8Array(envelope);
  const reader = openFrame(bytes);
  const head = readHead(reader);
  const layout = readTags(reader);
  const body = readBody(bytes, layout, head);
  const types = body.parts.map((part) => unpadded(part[0]!));
  return {
    sender: encodeXKey(head.S),
    subject: head.subject,
    createdMs: head.createdMs,
    expiresMs: head.expiresMs,
    revision: head.revision,
    identity: head.identity && encodeUser(head.identity),
    id: messageId(head.S, head.E, head.nonce),
    counter: counterOf(head.nonce),
    recipients: layout.tags.length / 8,
    kind: types.some((type) => type === PAYLOAD || type === MESSAGE) ? "payload" : "document",
    hasSignature: body.signature.length > 0,
    views: body.views.length,
    parts: body.parts.map((part) => ({ type: unpadded(part[0]!), padded: isPadded(part[0]!), size: part.length - 49 })),
    size: bytes.length,
  };
}
