// Runs the vectors of envelopes and replay; the same code runs in Node and in a browser.
import { ANYONE, inspect, Opener, Recipient, ReplayMemory, Sealer, UserKey, XKey } from "../dist/index.js";
import { signer } from "../dist/crypto.js";
import { bin, array } from "../dist/encoding.js";
import { openFrame, readBody, readTags } from "../dist/frame.js";
import { encodeHead, readHead } from "../dist/head.js";
import { joinParts } from "../dist/fields/join.js";
import { DEFAULTS } from "../dist/limits.js";
import { parse, show } from "./notation.mjs";

/** The version of the format of the vectors that these functions know. */
export const VERSION = "2\n";
const COMMON = ["name", "spec", "comment"];
const KEYS = {
  envelope: [
    ...COMMON, "expect", "outside", "identity", "user", "zero-user", "sender", "subject", "wire", "open", "require-signature", "now",
    "policy", "after", "limit-envelope", "content", "message-id", "report", "envelope", "secrets", "values",
  ],
  scenario: [...COMMON, "identity", "limit-replay", "limit-replay-unadmitted", "limit-pending", "started", "message", "step"],
  key: [...COMMON, "expect", "kind", "text", "key"],
  seal: [
    ...COMMON, "expect", "identity", "signer", "to", "subject", "content-type", "headers", "payload", "lifetime", "recipients", "length",
  ],
};

/** Refuse a vector that has a key which its test does not read. */
export function checkKeys(vector, known) {
  const unknown = Object.keys(vector).filter((key) => !known.includes(key));
  if (unknown.length) throw new Error(`unknown keys ${unknown}`);
}

const NOW = 1767225600000;
const one = (value) => (Array.isArray(value) ? value : value === undefined ? [] : [value]);
export const fromHex = (text) => Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const idToHex = (id) => toHex(Uint8Array.from(atob(id.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)));

/** A set of keys, a mapping to users, or trust that knows several users of one key. */
function senders(lines) {
  if (!lines.length) return ANYONE;
  const pairs = lines.map((line) => line.split(" "));
  if (pairs.every(([, user]) => user === undefined)) return pairs.flat();
  if (pairs.every(([, user]) => user !== undefined)) return new Map(pairs);
  const users = new Map();
  for (const [key, user] of pairs) users.set(key, [...(users.get(key) ?? []), ...(user ? [user] : [])]);
  return { admit: (sender) => users.has(sender) ? { users: users.get(sender) } : undefined };
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

function reportOf(message) {
  const report = {
    sender: message.sender,
    admitted: message.admitted,
    identity: message.identity ?? null,
    signed: message.signed,
    subject: message.subject,
    created: message.createdMs,
    revision: message.revision ?? null,
    expires: message.expiresMs ?? null,
    "content-type": message.contentType ?? null,
    headers: message.headers,
    withheld: message.withheld ?? 0,
  };
  return message.document === undefined ? report : { ...report, document: show(message.document) };
}

function checkReport(message, report) {
  const wanted = report.document === undefined ? report : { ...report, document: show(parse(report.document)) };
  const [got, expected] = [reportOf(message), wanted].map((each) => JSON.stringify(each));
  return got === expected ? undefined : `reports ${got}, expected ${expected}`;
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
  checkKeys(vector, KEYS.envelope);
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
  const isSame = vector.open === "document"
    ? show(message.document) === show(documentOf(vector.content))
    : toHex(message.data) === vector.content.replace(/\s/g, "");
  return isSame ? checkReport(message, vector.report) : "another content";
}

async function checkScenario(scenario) {
  checkKeys(scenario, KEYS.scenario);
  let now = NOW;
  let monotonic = 0;
  const clock = { now: () => now, monotonic: () => monotonic };
  const limits = {};
  for (const [key, name] of [["replay", "replay"], ["replay-unadmitted", "replayUnadmitted"], ["pending", "pending"]]) {
    if (scenario[`limit-${key}`]) limits[name] = Number(scenario[`limit-${key}`]);
  }
  const begin = () => new ReplayMemory(limits, clock, Number(scenario.started ?? 0));
  let memory = begin();
  const scopes = new Map([["first", memory]]);
  const key = await keyOf(one(scenario.identity)[0]);
  const messages = new Map(one(scenario.message).map((line) => line.split(" ")));
  const opened = new Map();
  for (const [i, step] of scenario.step.entries()) {
    const [verb, name, ...rest] = step.split(" ");
    const at = `step ${i}, ${step}`;
    if (verb === "now") now = Number(name);
    else if (verb === "wait") monotonic += Number(name) * 1000;
    else if (verb === "scope") {
      if (!scopes.has(name)) scopes.set(name, begin());
      memory = scopes.get(name);
    } else if (verb === "settle" || verb === "release") {
      const known = opened.get(name);
      if (known && verb === "release") known.opener.release(known.message);
      else if (known) known.opener.settle(known.message, rest[0] === "handled");
    } else if (verb !== "open") return `${at}: unknown step`;
    else {
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

const ANY_XKEY = "XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7";
/** How a program reads each kind of text; for a seed it gets the public key, which is derived from `key`, too. */
const KEY_KINDS = {
  xkey: [async (text) => new Recipient(text).R, async (raw) => raw],
  user: [async (text) => new Recipient(ANY_XKEY, text).U, async (raw) => raw],
  seed: [async (text) => (await XKey.fromSeed(text)).raw, async (raw) => (await XKey.fromRaw(raw)).raw],
  "user-seed": [async (text) => (await UserKey.fromSeed(text)).raw, async (raw) => (await signer(raw)).public],
};

async function checkKey(vector) {
  checkKeys(vector, KEYS.key);
  const [read, derive] = KEY_KINDS[vector.kind];
  let raw;
  try {
    raw = await read(vector.text);
  } catch (error) {
    if (error.name !== "XKeyMsgError") return error.stack;
    return error.code === vector.expect ? undefined : error.code;
  }
  if (vector.expect !== "success") return "success";
  return toHex(raw) === toHex(await derive(fromHex(vector.key))) ? undefined : "another key";
}

async function checkSeal(vector) {
  checkKeys(vector, KEYS.seal);
  const own = vector.signer === null ? undefined : await UserKey.fromSeed(vector.signer);
  let envelope;
  try {
    envelope = await new Sealer(await keyOf(vector.identity), { signer: own }).seal(fromHex(vector.payload), {
      to: vector.to,
      subject: vector.subject,
      contentType: vector["content-type"] ?? undefined,
      headers: vector.headers,
      expiresIn: vector.lifetime ?? undefined,
    });
  } catch (error) {
    if (error.name !== "XKeyMsgError") return error.stack;
    return error.code === vector.expect ? undefined : error.code;
  }
  if (vector.expect !== "success") return "success";
  const { recipients, size } = inspect(envelope);
  return recipients === vector.recipients && size === vector.length ? undefined : `${recipients} recipients, ${size} bytes`;
}

async function run(vectors, checkOne) {
  const failures = [];
  for (const vector of vectors) {
    let failure;
    try {
      failure = await checkOne(vector);
    } catch (error) {
      failure = String(error.stack);
    }
    if (failure) failures.push(`${vector.name}: expected ${vector.expect}: ${failure}`);
  }
  return failures;
}

/** Run a list of vectors; return a text for each that fails. */
export function runEnvelopes(vectors) {
  const all = new Map(vectors.map((vector) => [vector.name, vector]));
  return run(vectors, (vector) => (vector.step ? checkScenario(vector) : check(vector, all)));
}

/** The same for `keys.json`. */
export const runKeys = (vectors) => run(vectors, checkKey);

/** The same for `seal.json`. */
export const runSeal = (vectors) => run(vectors, checkSeal);
