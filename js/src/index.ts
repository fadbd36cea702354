/** End-to-end message encryption: xkm1 envelopes, and documents split by permission. */
export { ANYONE, type Senders, type Trust, type Verdict } from "./admission.js";
export type { Headers } from "./content.js";
export { type Code, type PublicCode, XKeyMsgError } from "./errors.js";
export { Decimal, fromJSON, type Sealable, Time, UUID, type Value, WITHHELD } from "./fields/values.js";
export { generateSeed, Recipient, UserKey, XKey } from "./keys.js";
export type { Limits } from "./limits.js";
export type { Message, View } from "./message.js";
export { Opener, type OpenerOptions, type OpenOptions } from "./opener.js";
export { type Clock, type Position, ReplayMemory } from "./replay.js";
export { Policy, type Readers, type Rule } from "./fields/policy.js";
export { type DocumentOptions, type PayloadOptions, type Recipients, Sealer, type SealerOptions, type SealOptions } from "./sealer.js";
export { inspect, type Inspected } from "./inspect.js";
