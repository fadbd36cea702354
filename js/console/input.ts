/** What people drop or paste: envelopes as bytes, base64, armoured text, or as a stream stores them. */
import { type Bytes, fromUtf8, latin1 } from "../src/bytes.js";
import { fail } from "../src/errors.js";
import { BEGIN, dearmour, fromBase64 } from "../src/text.js";

/** Bytes of a file that are read at most: base64 of the largest envelope, and what is around it. */
export const MOST_INPUT = 16 << 20;
const MAGIC = "xkm1\x96";
const ORIGIN = ["Xkm-Stream", "Xkm-Consumer", "Xkm-Sequence", "Xkm-Subject", "Xkm-Reason"];

export interface Input {
  readonly envelope: Bytes;
  /** What the headers of a quarantine record say; nothing of it is authenticated. */
  readonly origin: readonly (readonly [name: string, value: string])[];
}

/** Read a file. */
export function readFile(content: Bytes): Input {
  if (latin1(content.subarray(0, MAGIC.length)) === MAGIC) return { envelope: content, origin: [] };
  const text = fromUtf8(content);
  return text === undefined ? { envelope: content, origin: [] } : readText(text);
}

/** Read a text: armour, a stored message as JSON, or base64. */
export function readText(text: string): Input {
  if (text.length > MOST_INPUT) fail("limit_exceeded", "the text is too long");
  const trimmed = text.trim();
  if (trimmed.startsWith(BEGIN)) return { envelope: dearmour(`${trimmed.replaceAll("\r\n", "\n")}\n`), origin: [] };
  if (trimmed.startsWith("{")) return readRecord(trimmed);
  const base64 = trimmed.replace(/\s+/g, "").replaceAll("-", "+").replaceAll("_", "/");
  const envelope = base64 ? fromBase64(base64) : undefined;
  if (envelope) return { envelope, origin: [] };
  return fail("malformed", "expected an envelope: its bytes, base64, armoured text, or a stored message as JSON");
}

/** Read what `nats stream get --json` prints, or the answer of JetStream: base64 in `data` and `hdrs`. */
function readRecord(text: string): Input {
  const found = parsed(text);
  const { data, hdrs } = (isObject(found) && isObject(found.message) ? found.message : found) as Record<string, unknown>;
  const envelope = typeof data === "string" ? fromBase64(data) : undefined;
  const block = typeof hdrs === "string" ? fromBase64(hdrs) : new Uint8Array();
  if (!envelope || !block) return fail("malformed", "expected a stored message: a JSON object with base64 in `data` and `hdrs`");
  const headers = headersOf(fromUtf8(block.subarray(0, 65_536)) ?? "");
  const part = headers.get("Xkm-Part") ?? "1/1";
  if (part !== "1/1") fail("malformed", "this is a part of a large record; `xkeymsg quarantine replay` joins them");
  return { envelope, origin: ORIGIN.flatMap((name) => (headers.has(name) ? [[name, headers.get(name)!] as const] : [])) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return fail("malformed", "not valid JSON");
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

function headersOf(block: string): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of block.split("\r\n").slice(1)) {
    const [name, ...value] = line.split(":");
    if (value.length) headers.set(name!, value.join(":").trim());
  }
  return headers;
}
