// Runs the vectors of documents, policies and files of readers; the same code runs in Node and in a browser.
import { Recipient, XKeyMsgError } from "../dist/index.js";
import { parsePolicy, parseReaders } from "../dist/fields/files.js";
import { encodeXKey } from "../dist/keys.js";
import { joinParts } from "../dist/fields/join.js";
import { Policy, recipientsOf } from "../dist/fields/policy.js";
import { split } from "../dist/fields/split.js";
import { withDefaults } from "../dist/limits.js";
import { parse, show } from "./notation.mjs";
import { checkKeys, fromHex } from "./vectors.mjs";

const KEYS = [
  "name", "spec", "comment", "do", "expect", "limit-depth", "limit-nodes", "limit-fields", "limit-holes", "parts", "document", "withheld",
  "rule", "allow-unread", "reader", "metadata", "part", "view", "pointer", "line", "number", "body",
];

const one = (value) => (Array.isArray(value) ? value : value === undefined ? [] : [value]);

function limitsOf(vector) {
  const limits = {};
  for (const name of ["depth", "nodes", "fields", "holes"]) {
    if (vector[`limit-${name}`] !== undefined) limits[name] = Number(vector[`limit-${name}`]);
  }
  return withDefaults(limits);
}

const cut = (line) => {
  const at = line.indexOf(" ");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
};

function ruleOf(line) {
  const [permissions, pattern] = cut(line);
  return { readers: permissions.split(","), pattern: JSON.parse(pattern) };
}

const ruleText = (rules) => rules.map(ruleOf).map(({ readers, pattern }) => [[...new Set(readers)].sort().join(), pattern].join(" "));

function readersOf(lines) {
  const readers = {};
  const names = new Map();
  for (const [i, line] of lines.entries()) {
    const [name, permissions] = cut(line);
    const raw = new Uint8Array(32).fill(i);
    raw.set([9, i >> 8]);
    raw[31] = 0;
    const recipient = new Recipient(encodeXKey(raw));
    names.set(name, recipient.toString());
    for (const permission of permissions ? permissions.split(",") : []) (readers[permission] ??= []).push(recipient);
  }
  return { readers, names };
}

function join(vector) {
  const parts = vector.body.split(/\n\s*\n/).map((part) => part.replace(/\s/g, "")).map((part) => fromHex(part === "-" ? "" : part));
  const document = joinParts(parts, limitsOf(vector));
  const withheld = Number(vector.parts ?? parts.length) - parts.length;
  if (String(withheld) !== String(vector.withheld)) return `withheld ${withheld}`;
  return show(document) === show(parse(vector.document)) ? undefined : `another document: ${show(document)}`;
}

function doSplit(vector) {
  const policy = new Policy(one(vector.rule).map(ruleOf), { allowUnread: one(vector["allow-unread"]) });
  const { readers, names } = readersOf(one(vector.reader));
  const holders = recipientsOf(policy, readers);
  const metadata = vector.metadata === "yes";
  const limits = limitsOf(vector);
  const { parts, permissions, grants } = split(parse(vector.body), policy, holders, limits, { metadata });
  const lines = parts.map((part, j) => `${[...permissions[j]].sort().join()} ${show(pairsOf(part))}`);
  const expected = one(vector.part).map(cut).map(([set, pairs]) => `${set.split(",").sort().join()} ${show(parse(pairs))}`);
  if (lines.join("\n") !== expected.join("\n")) return `parts: ${lines.join("\n")}`;
  for (const line of one(vector.view)) {
    const [name, rest] = cut(line);
    const grant = grants.find(({ recipient }) => recipient.toString() === names.get(name));
    if (rest === "none") {
      if (grant) return `${name} has a view`;
      continue;
    }
    const [withheld, document] = cut(rest);
    const view = joinParts(grant.parts.map((j) => parts[j]), limits);
    if (Number(withheld) !== parts.length - grant.parts.length) return `${name}: withheld`;
    if (show(view) !== show(parse(document))) return `${name}: ${show(view)}`;
  }
  return undefined;
}

/** Read a plaintext as a value: the pairs are arrays of arrays. */
function pairsOf(part) {
  const path = Uint8Array.of(0x91, 0x92, 0x90); // one pair, whose path is []
  const whole = new Uint8Array(path.length + part.length);
  whole.set(path);
  whole.set(part, path.length);
  return joinParts([whole], withDefaults({ depth: 100 }));
}

function policy(vector) {
  const parsed = parsePolicy(vector.body);
  const wanted = new Policy(one(vector.rule).map(ruleOf), { allowUnread: one(vector["allow-unread"]) });
  const text = (each) => JSON.stringify([each.entries, [...each.allowUnread]]);
  return text(parsed) === text(wanted) ? undefined : ruleText(one(vector.rule)).join();
}

const DO = { join, split: doSplit, policy, readers: (vector) => void parseReaders(vector.body) };

/** Run a list of vectors; return a text for each that fails. */
export function runFields(vectors) {
  const failures = [];
  for (const vector of vectors) {
    let failure;
    try {
      checkKeys(vector, KEYS);
      failure = DO[vector.do](vector);
      if (!failure && vector.expect !== "success") failure = "success";
    } catch (error) {
      failure = String(error.stack);
      if (error instanceof XKeyMsgError && error.code === vector.expect) {
        const pointers = JSON.stringify(error.pointers ?? []);
        const wanted = JSON.stringify(one(vector.pointer).map((each) => JSON.parse(each)));
        failure = !vector.pointer || pointers === wanted ? undefined : `pointers ${pointers}, expected ${wanted}`;
        const { line, number } = vector;
        if (line && !error.message.includes(`line ${line}:`)) failure = `line ${line}: ${error.message}`;
        if (number && !error.message.includes(`rule ${number}:`)) failure = `rule ${number}: ${error.message}`;
      }
    }
    if (failure) failures.push(`${vector.name}: expected ${vector.expect}: ${failure}`);
  }
  return failures;
}
