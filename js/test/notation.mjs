// Typed documents as text: the notation of docs/spec/fields.md, for vectors and fuzzing.
import { Decimal, Time, UUID, WITHHELD } from "../dist/index.js";

const HEX = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

function parseTime(text) {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{6}))?([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(text);
  const [, wall, fraction = "0", sign, hours, minutes, seconds = "0"] = match;
  const offset = (sign === "-" ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds));
  const micros = BigInt(Date.parse(wall + "Z")) * 1000n + BigInt(fraction) - BigInt(offset) * 1_000_000n;
  return new Time(micros, offset);
}

/** Parse one document; `at` is where it begins. Returns [value, end]. */
export function parseAt(text, at = 0) {
  const space = () => {
    while (/\s/.test(text[at] ?? "")) at++;
  };
  const string = () => {
    const match = /"(?:[^"\\]|\\.)*"/sy;
    match.lastIndex = at;
    const [found] = match.exec(text);
    at += found.length;
    return JSON.parse(found);
  };
  const value = () => {
    space();
    const prefix = /[hdtu](?=")/y;
    prefix.lastIndex = at;
    const kind = prefix.exec(text)?.[0];
    if (kind) {
      at++;
      const body = string();
      return kind === "h" ? HEX(body) : kind === "d" ? decimal(body) : kind === "t" ? parseTime(body) : UUID.parse(body);
    }
    if (text[at] === '"') return string();
    if (text[at] === "[") {
      const list = [];
      at++;
      for (space(); text[at] !== "]"; space()) {
        if (list.length) at++; // comma
        list.push(value());
      }
      at++;
      return list;
    }
    if (text[at] === "{") {
      const map = new Map();
      at++;
      for (space(); text[at] !== "}"; space()) {
        if (map.size) at++;
        space();
        const name = string();
        space();
        at++; // colon
        map.set(name, value());
      }
      at++;
      return map;
    }
    const word = /[-+.\w]+/y;
    word.lastIndex = at;
    const [found] = word.exec(text);
    at += found.length;
    const constants = { null: null, true: true, false: false, WITHHELD, NaN: NaN, Infinity, "-Infinity": -Infinity };
    if (found in constants) return constants[found];
    return /[.eE]/.test(found) ? Number(found) : BigInt(found);
  };
  const parsed = value();
  space();
  return [parsed, at];
}

/** The text of ext 2, also where a sealer has to refuse it. */
export function decimal(body) {
  const [, sign, digits, exponent] = /^(-?)(\d+)E(-?\d+)$/.exec(body);
  return new Decimal(sign === "-", digits, Number(exponent));
}

export const parse = (text) => parseAt(text)[0];

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Write a value so that equal texts mean equal values, maps with their order. */
export function show(value) {
  if (value === WITHHELD) return "WITHHELD";
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return `f${hex(new Uint8Array(new Float64Array([value]).buffer))}`;
  if (typeof value === "string") return JSON.stringify(value);
  if (value instanceof Uint8Array) return `h"${hex(value)}"`;
  if (value instanceof Decimal) return `d"${value.negative ? "-" : ""}${value.digits}E${value.exponent}"`;
  if (value instanceof Time) return `t${value.micros}/${value.offset}`;
  if (value instanceof UUID) return `u"${value}"`;
  if (Array.isArray(value)) return `[${value.map(show).join(",")}]`;
  return `{${[...value].map(([name, each]) => `${JSON.stringify(name)}:${show(each)}`).join(",")}}`;
}
