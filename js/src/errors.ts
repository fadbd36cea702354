/** The codes of the specification. */
export type Code =
  | "unsupported_version"
  | "malformed"
  | "limit_exceeded"
  | "bad_key"
  | "sender_not_admitted"
  | "not_a_recipient"
  | "authentication"
  | "commitment"
  | "subject_mismatch"
  | "content_type"
  | "expired"
  | "stale"
  | "signature_missing"
  | "signature_invalid"
  | "replay"
  | "session_cloned"
  | "key_format"
  | "key_store"
  | "policy_invalid"
  | "field_denied"
  | "field_ambiguous";

/** What others may learn of a refusal (E-90): nothing more than this. */
export type PublicCode = "undecryptable" | "refused";

/** The only error that bytes from outside can cause. It holds no secret and no content of a message. */
export class XKeyMsgError extends Error {
  override readonly name = "XKeyMsgError";
  readonly code: Code;
  /** Set on every refusal of an envelope. */
  publicCode?: PublicCode;
  /** With `replay`: whether the first copy is still being handled, or is final. */
  first?: "pending" | "final";
  /** With `field_denied` and `field_ambiguous`: pointers of the first places, at most 20. */
  pointers?: readonly string[];
  /** With `field_denied`: the number of all such fields. */
  count?: number;

  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
  }
}

export function fail(code: Code, message: string): never {
  throw new XKeyMsgError(code, message);
}
