/** Subjects and patterns of NATS. */
import { isWellFormed, utf8 } from "./bytes.js";
import { fail } from "./errors.js";
import { MAX_SUBJECT } from "./limits.js";

// eslint-disable-next-line no-control-regex
const FORBIDDEN = /[\x00-\x20\x7f]/;

const isTokens = (text: string): boolean => text.split(".").every((token) => token !== "");

/** Return whether a text is a subject, whatever its length. */
export const isSubject = (text: string): boolean => !FORBIDDEN.test(text) && !/[*>]/.test(text) && isTokens(text);

/** Check the subject that a caller seals for. */
export function checkSubject(subject: unknown): string {
  if (typeof subject !== "string") throw new TypeError("subject must be a string");
  if (!isWellFormed(subject)) fail("malformed", "the subject contains a surrogate");
  if (utf8(subject).length > MAX_SUBJECT) fail("limit_exceeded", `subject: more than ${MAX_SUBJECT} bytes`);
  return isSubject(subject) ? subject : fail("malformed", "not a valid subject");
}

/** A subject that a reader expects, or a pattern. */
export function checkPattern(pattern: unknown): string {
  if (typeof pattern !== "string" || FORBIDDEN.test(pattern) || !isTokens(pattern)) {
    throw new TypeError("not a valid subject or pattern");
  }
  const tokens = pattern.split(".");
  for (const [i, token] of tokens.entries()) {
    const isWild = token === "*" || (token === ">" && i === tokens.length - 1);
    if (!isWild && /[*>]/.test(token)) throw new TypeError("not a valid subject or pattern");
  }
  return pattern;
}

/** Return whether a sealed subject matches; `_XKM` matches no wildcard (E-68). */
export function matches(pattern: string, subject: string): boolean {
  if (pattern === subject) return true;
  if (subject.startsWith("_XKM.") || subject === "_XKM") return false;
  const wanted = pattern.split(".");
  const tokens = subject.split(".");
  const open = wanted.at(-1) === ">";
  if (open ? tokens.length < wanted.length : tokens.length !== wanted.length) return false;
  return wanted.every((token, i) => token === "*" || token === tokens[i] || (open && i === wanted.length - 1));
}
