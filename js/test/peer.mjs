// Answers requests, one JSON object a line: the other side of comparisons with another implementation.
import { createInterface } from "node:readline";
import { ANYONE, Opener, Policy, Sealer, UserKey, XKey } from "../dist/index.js";
import { parsePolicy, parseReaders } from "../dist/fields/files.js";
import { Peers } from "../dist/peers.js";
import { parse, show } from "./notation.mjs";
import { fromHex, idToHex, toHex } from "./vectors.mjs";

/** The end of the year 9999, the latest time that the other side can report. */
const LAST_TIME = 253_402_300_799_999;

const SUBJECTS = ["a", "a.b", "a.b.c", "b", "_XKM.a"];

const keys = new Map();
async function cached(kind, seed) {
  if (!keys.has(seed)) keys.set(seed, await kind.fromSeed(seed));
  return keys.get(seed);
}

const openers = new Map();
async function openerOf({ seed, user, senders, require }) {
  const id = JSON.stringify([seed, user, senders, require]);
  if (!openers.has(id)) {
    const from = senders.length ? new Map(senders.map((line) => line.split(" "))) : ANYONE;
    openers.set(id, new Opener(await cached(XKey, seed), { senders: from, user: user ?? undefined, requireSignature: require, replay: "none" }));
  }
  return openers.get(id);
}

const operations = {
  async open(request) {
    const opener = await openerOf(request);
    const envelope = fromHex(request.envelope);
    const message = await (request.document ? opener.openDocument(envelope, { subject: ">" }) : opener.open(envelope, { subject: ">" }));
    return {
      content: request.document ? show(message.document) : toHex(message.data),
      withheld: request.document ? message.withheld : 0,
      about: [message.subject, message.sender, (message.signed && message.identity) || null, message.admitted, idToHex(message.id)],
      metadata: [message.contentType ?? null, message.headers],
      times: [Math.min(message.createdMs, LAST_TIME), message.revision ?? null],
    };
  },
  async seal({ seed, signer, padding, data, document, rules, readers, allowUnread, to, subject, contentType, headers, revision }) {
    const own = signer ? await cached(UserKey, signer) : undefined;
    const sealer = new Sealer(await cached(XKey, seed), { signer: own, padding });
    const options = { subject, contentType: contentType ?? undefined, headers: headers ?? [], revision: revision ?? undefined };
    if (data !== undefined) return { envelope: toHex(await sealer.seal(fromHex(data), { ...options, to })) };
    const policy = new Policy(rules.map(([pattern, permissions]) => ({ pattern, readers: permissions })), { allowUnread });
    return { envelope: toHex(await sealer.sealDocument(parse(document), { ...options, policy, readers })) };
  },
  toml({ kind, text, senders }) {
    if (kind === "peers") {
      const peers = Peers.parse(text);
      const verdicts = senders.flatMap((sender) => SUBJECTS.map((subject) => peers.admit(sender, subject)));
      return { verdicts: verdicts.map((each) => each && [[...new Set(each.users)].sort(), each.alwaysSigns]).map((each) => each ?? null) };
    }
    if (kind === "readers") return { readers: [...parseReaders(text)].map(([name, held]) => [name, held.map(String)]) };
    const policy = parsePolicy(text);
    return { sets: policy.entries.map(({ permissions }) => permissions), unread: [...policy.allowUnread].sort() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = await operations[request.op](request);
  } catch (error) {
    answer =
      error.name === "XKeyMsgError"
        ? { code: error.code, public: error.publicCode ?? null, pointers: error.pointers ?? null, count: error.count ?? null }
        : { crash: String(error.stack) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
