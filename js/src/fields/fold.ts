/** Which names and values a person would take for each other (F-63, F-64). */
import { Decimal, MAX_DIGITS, type Scalar, Time, type Value } from "./values.js";

const INVISIBLE =
  // eslint-disable-next-line no-control-regex, no-misleading-character-class
  /[\p{White_Space}\p{Me}\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{13441}\u{16fe4}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
const LONGEST = 256;

/** Marks whose canonical combining classes are 9, 84 and 132. */
const CLASS_9 = "\u094d";
const CLASS_84 = "\u0c55";
const CLASS_132 = "\u0f74";

/** Return whether normalization moves the second mark before the first: its class is lower, and not 0. */
const swaps = (first: string, second: string): boolean => (first + second).normalize("NFD") === second + first;

/**
 * Return whether a mark has a canonical combining class other than 0, 9 and 84 to 132. JavaScript does not expose the
 * class, but normalization orders marks by it.
 */
function isStacked(mark: string): boolean {
  let known = stacked.get(mark);
  if (known === undefined) stacked.set(mark, (known = hasOtherClass(mark)));
  return known;
}

/** Results for marks, of which Unicode has about 2,500. */
const stacked = new Map<string, boolean>();

function hasOtherClass(mark: string): boolean {
  if (swaps(CLASS_9, mark)) return true; // 1 to 8
  if (swaps(mark, CLASS_132)) return true; // above 132
  return swaps(CLASS_84, mark) && swaps(mark, CLASS_9); // 10 to 83
}

/** Full case folding. It equals a mapping to lower, upper and lower case but for the dotless i. */
const foldCase = (text: string): string =>
  Array.from(text, (each) => (each === "ı" ? each : each.toLowerCase().toUpperCase().toLowerCase())).join("");

/** Fold a name so that names that look alike become equal. */
export function fold(name: string): string {
  if (/^[!-~]*$/.test(name)) return name.length > LONGEST ? name : name.toLowerCase();
  const visible = name.replace(INVISIBLE, "");
  if (visible.length > 2 * LONGEST || Array.from(visible).length > LONGEST) return name;
  const folded = foldCase(visible.normalize("NFKC")).normalize("NFKC").replace(INVISIBLE, "");
  return folded.replace(/\p{M}/gu, (mark) => (isStacked(mark) ? "" : mark));
}

const NUMBER = /^([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:e([+-]?[0-9]{1,5}))?$/;

/** Write a number in one way: digits without zeros at the ends, and an exponent. */
function canonical(negative: boolean, digits: string, exponent: number): string {
  const significant = digits.replace(/^0+/, "");
  let end = significant.length;
  while (end > 0 && significant[end - 1] === "0") end--; // /0+$/ would take quadratic time
  const short = significant.slice(0, end);
  return short ? `${negative ? "-" : ""}${short}e${exponent + significant.length - short.length}` : "0";
}

function numberOfText(text: string): string | undefined {
  const folded = fold(text);
  if (folded === "true" || folded === "false") return folded === "true" ? "1e0" : "0";
  const match = NUMBER.exec(folded);
  if (!match) return undefined;
  const [, sign, whole = "", after, alone, exponent = "0"] = match;
  const fraction = after ?? alone ?? "";
  if (whole.length > MAX_DIGITS || fraction.length > MAX_DIGITS) return undefined;
  return canonical(sign === "-", whole + fraction, Number(exponent) - fraction.length);
}

/** Return the exact value of a float. */
function exactly(float: number): string {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, Math.abs(float));
  const raw = bits.getBigUint64(0);
  const biased = Number(raw >> 52n);
  const mantissa = (raw & (2n ** 52n - 1n)) | (biased ? 2n ** 52n : 0n);
  const power = Math.max(biased, 1) - 1_075;
  const digits = power < 0 ? mantissa * 5n ** BigInt(-power) : mantissa << BigInt(power);
  return canonical(float < 0, digits.toString(), Math.min(power, 0));
}

function numbersOf(value: Scalar): (string | undefined)[] {
  if (typeof value === "boolean") return [value ? "1e0" : "0"];
  if (typeof value === "bigint") return [canonical(value < 0n, String(value < 0n ? -value : value), 0)];
  if (typeof value === "number") return [exactly(value), numberOfText(String(value))];
  if (value instanceof Decimal) return [canonical(value.negative, value.digits, value.exponent)];
  return [numberOfText(textOf(value))];
}

const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
const two = (value: number): string => String(value).padStart(2, "0");

/** Write wall and offset, without fraction or seconds of the offset that are zero. */
function textOfTime(time: Time): string {
  const { micros, offset } = time;
  const fraction = String(((micros % 1_000_000n) + 1_000_000n) % 1_000_000n).padStart(6, "0");
  const wall = time.toDate().getTime() + offset * 1_000;
  const [away, seconds] = [Math.abs(offset), Math.abs(offset) % 60];
  const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(away / 3_600))}:${two(Math.floor(away / 60) % 60)}`;
  const clock = new Date(wall).toISOString().slice(0, 19).replace("T", " ");
  return clock + (Number(fraction) ? `.${fraction}` : "") + zone + (seconds ? `:${two(seconds)}` : "");
}

/** Return the text of a scalar that is not a number or boolean. */
function textOf(value: Scalar): string {
  if (value instanceof Uint8Array) return lossy.decode(value);
  return value instanceof Time ? textOfTime(value) : String(value);
}

const isNumeric = (value: Scalar): boolean =>
  typeof value === "boolean" || typeof value === "bigint" || typeof value === "number" || value instanceof Decimal;

/** Return whether a scalar is like the value of a filter. */
export function areAlike(a: Scalar, b: Scalar): boolean {
  if (isNumeric(a) || isNumeric(b)) {
    const numbers = numbersOf(b);
    // The exact value of a float takes time, and is needed only if the other number rounds to it.
    if (typeof a === "number" && !numbers.some((number) => Number(number) === a)) return false;
    return numbersOf(a).some((number) => number !== undefined && numbers.includes(number));
  }
  return fold(textOf(a)) === fold(textOf(b));
}

export const isContainer = (value: Value): value is Value[] | Map<string, Value> =>
  Array.isArray(value) || value instanceof Map;

/** Return whether a value is a field: a scalar, or an empty container. */
export const isField = (value: Value): boolean =>
  !isContainer(value) || (value instanceof Map ? value.size : value.length) === 0;
