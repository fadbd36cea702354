// Runs the vectors of envelopes and replay; the same code runs in Node and in a browser.
import { ANYONE, Opener, ReplayMemory, XKey } from "../dist/index.js";
import { bin, array } from "../dist/encoding.js";
import { openFrame, readBody, readTags } from "../dist/frame.js";
import { encodeHead, readHead } from "../dist/head.js";
import { joinParts } from "../dist/fields/join.js";
import { DEFAULTS } from "../dist/limits.js";
import { show } from "./notation.mjs";

const NOW = 1767225600000;
const one = (value) => (Array.isArray(value) ? value : value === undefined ? [] : [value]);
export const fromHex = (text) => Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const idToHex = (id) => toHex(Uint8Array.from(atob(id.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)));

function senders(lines) {
  if (!lines.length) return ANYONE;
  return new Map(lines.map((line) => line.split(" ")));
}

const seeds = new Map();
async function keyOf(seed) {
  if (!seeds.has(seed)) seeds.set(seed, await XKey.fromSeed(seed));
  return seeds.get(seed);
}

async function outcome(vector, memory) {
  const [key, ...retired] = await Promise.all(one(vector.identity).map(keyOf));
  const [kind, ...rest] = (vector.policy ?? "file").split(" ");
  const clock = { now: () => Number(vector.now ?? NOW), monotonic: () => 0 };
  const opener = new Opener(key, {
    senders: senders(one(vector.sender)),
    retired,
    user: vector.user,
    acceptUnbound: vector["zero-user"] !== "no",
    requireSignature: vector["require-signature"] === "yes",
    replay: kind === "file" ? "none" : kind,
    memory,
    clock,
    limits: vector["limit-envelope"] ? { envelope: Number(vector["limit-envelope"]) } : {},
  });
  const position = kind === "stream" ? { stream: rest[0], sequence: Number(rest[1]), storedAt: Number(rest[2]) } : undefined;
  const options = { subject: vector.subject ? one(vector.subject) : ">", wire: vector.wire, position };
  const envelope = fromHex(vector.envelope);
  return vector.open === "document" ? opener.openDocument(envelope, options) : opener.open(envelope, options);
}

/** Encode an envelope again from its parsed values. */
function encodeAgain(envelope) {
  const reader = openFrame(envelope);
  const head = readHead(reader);
  const layout = readTags(reader);
  const body = readBody(envelope, layout, head);
  const pieces = [bin(encodeHead(head)), bin(layout.tags), array(...body.views.map(bin)), array(...body.parts.map(bin))];
  const all = [envelope.subarray(0, 5), ...pieces, bin(body.signature), bin(envelope.subarray(layout.c))];
  return all.map(toHex).join("");
}

/** Split concatenated plaintexts of fields. */
function documentOf(content) {
  const bytes = fromHex(content);
  for (let end = 1; end <= bytes.length; end++) {
    try {
      const first = joinParts([bytes.slice(0, end)], DEFAULTS);
      if (end === bytes.length) return first;
    } catch {
      continue;
    }
    const rest = partsOf(bytes, end);
    if (rest) return joinParts(rest, DEFAULTS);
  }
  throw new Error("the content is not a document");
}

function partsOf(bytes, end) {
  const parts = [bytes.slice(0, end)];
  let from = end;
  for (let to = from + 1; to <= bytes.length; to++) {
    try {
      joinParts([bytes.slice(from, to)], DEFAULTS);
    } catch {
      continue;
    }
    parts.push(bytes.slice(from, to));
    from = to;
  }
  return from === bytes.length ? parts : undefined;
}

async function check(vector, all) {
  const [kind, started] = (vector.policy ?? "file").split(" ");
  const memory = new ReplayMemory({}, { now: () => NOW, monotonic: () => 0 }, kind === "live" ? Number(started) : 0);
  for (const name of one(vector.after)) await outcome(all.get(name), memory).catch(() => undefined);
  let message;
  try {
    message = await outcome(vector, memory);
  } catch (error) {
    if (error.name !== "XKeyMsgError") return `${error.stack}`;
    const said = `${error.code} ${error.publicCode}`;
    return said === `${vector.expect} ${vector.outside}` ? undefined : `${said}: ${error.message}`;
  }
  if (vector.expect !== "success") return "opened";
  if (idToHex(message.id) !== vector["message-id"]) return "another message id";
  if (encodeAgain(fromHex(vector.envelope)) !== vector.envelope.replace(/\s/g, "")) return "encodes to other bytes";
  if (vector.open === "document") {
    return show(message.document) === show(documentOf(vector.content)) ? undefined : "another document";
  }
  return toHex(message.data) === vector.content.replace(/\s/g, "") ? undefined : "another payload";
}

async function checkScenario(scenario) {
  let now = NOW;
  let monotonic = 0;
  const clock = { now: () => now, monotonic: () => monotonic };
  const limits = {};
  for (const [key, name] of [["replay", "replay"], ["replay-unadmitted", "replayUnadmitted"], ["pending", "pending"]]) {
    if (scenario[`limit-${key}`]) limits[name] = Number(scenario[`limit-${key}`]);
  }
  const memory = new ReplayMemory(limits, clock, Number(scenario.started ?? 0));
  const key = await keyOf(one(scenario.identity)[0]);
  const messages = new Map(one(scenario.message).map((line) => line.split(" ")));
  const opened = new Map();
  for (const [i, step] of scenario.step.entries()) {
    const [verb, name, ...rest] = step.split(" ");
    const at = `step ${i}, ${step}`;
    if (verb === "now") now = Number(name);
    else if (verb === "wait") monotonic += Number(name) * 1000;
    else if (verb === "settle" || verb === "release") {
      const known = opened.get(name);
      if (known && verb === "release") known.opener.release(known.message);
      else if (known) known.opener.settle(known.message, rest[0] === "handled");
    } else {
      const [admission, ...place] = rest;
      const expected = place.pop();
      const isLive = place[0] === "live";
      const envelope = fromHex(messages.get(name));
      const sender = (await new Opener(key, { senders: ANYONE, replay: "none" }).open(envelope, { subject: ">" })).sender;
      const senders = admission === "admitted" ? [sender] : ANYONE;
      const opener = new Opener(key, { senders, memory, clock, replay: isLive ? "live" : "stream", limits });
      const position = isLive ? undefined : { stream: place[0], sequence: Number(place[1]), storedAt: Number(place[2]) };
      let said;
      try {
        const message = await opener.open(envelope, { subject: ">", position });
        said = message.text() === name ? "success" : "another message";
        opened.set(name, { opener, message });
      } catch (error) {
        if (error.name !== "XKeyMsgError" || error.publicCode !== "refused") return `${at}: ${error.stack}`;
        said = error.code === "replay" ? `replay-${error.first}` : error.code;
      }
      if (said !== expected) return `${at}: ${said}`;
    }
  }
  return undefined;
}

/** Run a list of vectors; return a text for each that fails. */
export async function runEnvelopes(vectors) {
  const all = new Map(vectors.map((vector) => [vector.name, vector]));
  const failures = [];
  for (const vector of vectors) {
    let failure;
    try {
      failure = vector.step ? await checkScenario(vector) : await check(vector, all);
    } catch (error) {
      failure = String(error.stack);
    }
    if (failure) failures.push(`${vector.name}: expected ${vector.expect}: ${failure}`);
  }
  return failures;
}
