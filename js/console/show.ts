/** Turns opened messages and refusals into elements. Text of a message is only ever the text of a node. */
import { toHex } from "../src/bytes.js";
import { XKeyMsgError } from "../src/errors.js";
import { Decimal, Time, UUID, type Value, WITHHELD } from "../src/fields/values.js";
import { FIELDS } from "../src/frame.js";
import type { Inspected } from "../src/inspect.js";
import { Message, View } from "../src/message.js";
import type { Input } from "./input.js";

/** What is shown of one message: rows of a table, and characters, also of one value. */
const MOST_ROWS = 2_000;
const MOST_CHARACTERS = 200_000;
const MOST_VALUE = 10_000;
const MOST_BYTES = 1_024;
/** A special character costs as much as so many others: it needs an element of its own. */
const SPECIAL_COST = 20;
/** Characters that are invisible, or change how others are shown. */
const SPECIAL = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

type Child = Node | string;

/** Make an element. */
function element(name: string, classes: string, ...children: Child[]): HTMLElement {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}

/** Characters that the present message may still show. */
let left = MOST_CHARACTERS;

/** Show a text of a message: isolated, bounded, and with special characters written out. */
function text(value: string, most = MOST_VALUE): HTMLElement {
  const shown = element("bdi", "value");
  let plain = "";
  let used = 0;
  for (const one of value) {
    if (used >= most || left <= 0) break;
    used += one.length;
    if (one === "\n" || one === "\t" || !SPECIAL.test(one)) {
      plain += one;
      left -= one.length;
      continue;
    }
    left -= SPECIAL_COST;
    const name = one.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
    shown.append(plain, element("span", "special", `U+${name}`));
    plain = "";
  }
  shown.append(plain);
  if (used < value.length) shown.append(element("span", "pale", ` … ${value.length - used} more characters`));
  return shown;
}

function hex(bytes: Uint8Array): HTMLElement {
  const rest = bytes.length - MOST_BYTES;
  return text(toHex(bytes.subarray(0, MOST_BYTES)) + (rest > 0 ? ` … ${rest} more bytes` : ""));
}

/** An instant as in RFC 3339, in the clock of the sender. */
function instant(time: Time): string {
  const wall = time.micros + BigInt(time.offset) * 1_000_000n;
  const micros = ((wall % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = new Date(Number((wall - micros) / 1_000n)).toISOString().slice(0, 19);
  const fraction = micros ? `.${micros.toString().padStart(6, "0")}` : "";
  const two = (value: number) => String(Math.trunc(value)).padStart(2, "0");
  const away = Math.abs(time.offset);
  const rest = away % 60 ? `:${two(away % 60)}` : "";
  return `${seconds}${fraction}${time.offset < 0 ? "-" : "+"}${two(away / 3_600)}:${two((away % 3_600) / 60)}${rest}`;
}

/** A field: its path as a JSON pointer, its kind, and its value. */
interface Field {
  readonly path: string;
  readonly kind: string;
  readonly value: Value;
}

function* fieldsOf(value: Value, path: string): Generator<Field> {
  if (value instanceof Map && value.size) {
    for (const [name, each] of value) yield* fieldsOf(each, `${path}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`);
  } else if (Array.isArray(value) && value.length) {
    for (const [i, each] of value.entries()) yield* fieldsOf(each, `${path}/${i}`);
  } else {
    yield { path, kind: kindOf(value), value };
  }
}

function kindOf(value: Value): string {
  if (value === WITHHELD) return "withheld";
  if (value === null) return "null";
  if (value instanceof Map) return "empty map";
  if (Array.isArray(value)) return "empty list";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof Decimal) return "decimal";
  if (value instanceof Time) return "time";
  if (value instanceof UUID) return "UUID";
  return { bigint: "integer", number: "float", string: "text", boolean: "boolean" }[typeof value as "string"] ?? "";
}

function shown(value: Value): Child {
  if (typeof value === "string") return text(value);
  if (value instanceof Uint8Array) return hex(value);
  if (value instanceof Time) return text(instant(value));
  if (value === null || value === WITHHELD || value instanceof Map || Array.isArray(value)) return "";
  return text(String(value));
}

function table(caption: string, head: readonly string[], rows: readonly Child[][]): HTMLElement {
  const made = document.createElement("table");
  const names = element("tr", "", ...head.map((each) => element("th", "", each)));
  const body = rows.map(([first, ...rest]) => element("tr", "", element("th", "", first!), ...rest.map((each) => element("td", "", each))));
  for (const each of names.children) each.setAttribute("scope", "col");
  for (const row of body) row.firstElementChild!.setAttribute("scope", "row");
  made.append(element("caption", "", caption), element("thead", "", names), element("tbody", "", ...body));
  const frame = element("div", "frame", made);
  frame.tabIndex = 0; // it scrolls, also by keys
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", caption);
  return frame;
}

function documentTable(view: View): HTMLElement[] {
  const rows: Child[][] = [];
  let count = 0;
  for (const { path, kind, value } of fieldsOf(view.document, "")) {
    count++;
    if (rows.length >= MOST_ROWS || left <= 0) continue;
    rows.push([path ? text(path) : element("span", "pale", "whole document"), element("span", "pale kind-of", kind), shown(value)]);
  }
  const made = table(`Fields you may read: ${count}`, ["field", "kind", "value"], rows);
  made.classList.add("fields");
  return rows.length < count ? [made, element("p", "note", `The first ${rows.length} of ${count} fields are shown.`)] : [made];
}

function payload(message: Message): HTMLElement[] {
  const { data } = message;
  let content;
  try {
    content = text(message.text());
  } catch {
    content = hex(data);
  }
  const block = element("pre", "payload", content);
  block.tabIndex = 0;
  return [element("p", "pale", `Payload: ${data.length} bytes`), block];
}

function facts(pairs: readonly (readonly [string, Child | undefined])[]): HTMLElement {
  return element("dl", "", ...pairs.flatMap(([name, value]) => (value === undefined ? [] : [element("dt", "", name), element("dd", "", value)])));
}

const time = (ms: number): string => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`);

function senderOf(message: Message | View, names: readonly string[]): Child {
  const key = element("code", "", message.sender);
  if (!message.admitted) return element("span", "", key, " ", element("strong", "bad-text", "unauthenticated: anyone can have this key"));
  return element("span", "", ...names.flatMap((name) => [text(name), " "]), key, " ", element("span", "good-text", "admitted"));
}

function signatureOf(message: Message | View, hasSignature: boolean): Child {
  if (message.signed) return element("span", "", element("span", "good-text", "verified"), ", by ", element("code", "", message.identity!));
  if (!hasSignature) return "none";
  return "present, but not verified: no user is known for this sender";
}

/** How a message arrived. */
export interface Arrival {
  readonly from: string;
  readonly reader: string;
  readonly input: Input;
}

function card([classes, state]: [string, string], title: Child, about: string, ...content: Child[]): HTMLDetailsElement {
  const made = document.createElement("details");
  const summary = element("summary", "", element("span", `state ${classes}`, state), " ", title, element("span", "pale", about));
  made.append(summary, ...content);
  made.className = "opened";
  return made;
}

function originOf({ from, reader, input }: Arrival): (readonly [string, Child])[] {
  return [["arrived", text(from, 300)], ["opened with", element("code", "", reader)], ...input.origin.map(([name, value]) => [`${name} (not authenticated)`, text(value, 300)] as const)];
}

/** Show an opened message. */
export function opened(message: Message | View, seen: Inspected, arrival: Arrival, names: readonly string[]): HTMLDetailsElement {
  left = MOST_CHARACTERS;
  const isDocument = message instanceof View;
  const documentParts = seen.parts.filter(({ type }) => type === FIELDS).length;
  const view = isDocument ? `${documentParts - message.withheld} of ${documentParts} parts; ${seen.recipients} recipients have ${Math.max(seen.views, 1)} views` : undefined;
  const headers = message.headers.map(([name, value]) => [text(name), text(value)]);
  return card(
    message.admitted ? ["good", "opened"] : ["bad", "opened, unauthenticated"],
    text(message.subject, 300),
    `, sealed ${time(message.createdMs)}, opened with ${arrival.reader.slice(0, 8)}…`,
    facts([
      ["subject", text(message.subject, 300)],
      ["sender", senderOf(message, names)],
      ["signature", signatureOf(message, seen.hasSignature)],
      ["your view", view],
      ["sealed", time(message.createdMs)],
      ["expires", message.expiresMs === undefined ? undefined : time(message.expiresMs)],
      ["revision", message.revision === undefined ? undefined : String(message.revision)],
      ["content type", message.contentType === undefined ? undefined : text(message.contentType, 300)],
      ["size", `${seen.size} bytes`],
      ["message id", element("code", "", message.id)],
      ...originOf(arrival),
    ]),
    ...(headers.length ? [table("Sealed headers", ["name", "value"], headers)] : []),
    ...(isDocument ? documentTable(message) : payload(message)),
  );
}

/** Show a refusal, with a link to the explanation of its code. Its public parts are claims: nothing of them is authenticated. */
export function refused(error: unknown, seen: Inspected | undefined, arrival: Arrival): HTMLDetailsElement {
  left = MOST_CHARACTERS;
  const code = error instanceof XKeyMsgError ? error.code : "internal";
  const why = error instanceof XKeyMsgError ? error.message : "the page failed: please report this";
  const link = document.createElement("a");
  link.href = `#code-${code}`;
  link.append(element("code", "code", code));
  return card(
    ["bad", "refused"],
    element("span", "", element("code", "code", code), ", ", text(arrival.from, 300)),
    seen ? `, ${seen.size} bytes` : "",
    element("p", "", link, ": ", text(why, 300)),
    facts([
      ...(seen
        ? ([
            ["subject (not authenticated)", text(seen.subject, 300)],
            ["sender (not authenticated)", element("code", "", seen.sender)],
            ["sealed (not authenticated)", time(seen.createdMs)],
            ["size", `${seen.size} bytes`],
          ] as const)
        : []),
      ...originOf(arrival),
    ]),
  );
}
