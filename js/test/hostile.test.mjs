// Hostile messages, and callers that make the mistakes JavaScript permits: nothing may fail open.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ANYONE, fromJSON, generateSeed, Opener, Policy, ReplayMemory, Sealer, UserKey, XKey, XKeyMsgError,
} from "xkeymsg";
import { parsePolicy, parseReaders } from "xkeymsg/files";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { SealedConnection } from "xkeymsg/nats";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc");

const [alice, bob, eve] = [await XKey.generate(), await XKey.generate(), await XKey.generate()];
const bytes = (text) => new TextEncoder().encode(text);
const sealed = (text = "x", options = {}) => new Sealer(alice).seal(bytes(text), { to: bob.public, subject: "a", ...options });
const at = (sequence) => ({ stream: "S", sequence, storedAt: Date.now() });

for (const [name, verdict] of Object.entries({ false: () => false, null: () => null, "0": () => 0, empty: () => "" })) {
  test(`trust that returns ${name} refuses`, async () => {
    const opener = new Opener(bob, { senders: { admit: verdict } });
    await assert.rejects(opener.open(await sealed(), { subject: "a" }), (error) => error.code === "sender_not_admitted" || error instanceof TypeError);
  });
}

for (const [name, admit] of Object.entries({
  "a promise": async () => undefined,
  "a promise of a verdict": async () => ({}),
  true: () => true,
  "a text": () => "yes",
  "users as a text": () => ({ users: alice.public }),
})) {
  test(`trust that returns ${name} admits nobody`, async () => {
    const opener = new Opener(bob, { senders: { admit } });
    await assert.rejects(opener.open(await sealed(), { subject: "a" }), TypeError);
  });
}

test("a position that is incomplete is refused, and does not turn the checks off", async () => {
  const opener = new Opener(bob, { senders: ANYONE, replay: "stream" });
  const envelope = await sealed();
  const good = at(1);
  for (const wrong of [{ storedAt: NaN }, { storedAt: undefined }, { storedAt: "1" }, { storedAt: 1n }, { storedAt: Infinity }, { sequence: undefined }, { sequence: NaN }, { sequence: 1.5 }, { stream: undefined }, { stream: 1 }]) {
    await assert.rejects(opener.open(envelope, { subject: "a", position: { ...good, ...wrong } }), TypeError, JSON.stringify(Object.keys(wrong)));
  }
  await opener.open(envelope, { subject: "a", position: good });
});

test("a position object that is reused does not make two places one", async () => {
  const opener = new Opener(bob, { senders: ANYONE, replay: "stream" });
  const envelope = await sealed();
  const position = at(1);
  await opener.open(envelope, { subject: "a", position });
  position.sequence = 2;
  await assert.rejects(opener.open(envelope, { subject: "a", position }), { code: "replay", first: "pending" });
});

test("options that change while a message opens have no effect", async () => {
  const opener = new Opener(bob, { senders: ANYONE, replay: "stream" });
  const options = { subject: ["a"], wire: "b", position: at(1) };
  const opening = opener.open(await sealed(), options);
  options.wire = "a";
  await assert.rejects(opening, { code: "subject_mismatch" });
  const other = { subject: ["a"], position: at(7) };
  const envelope = await sealed("y");
  const second = opener.open(envelope, other);
  other.position = at(8);
  await second;
  await assert.rejects(opener.open(envelope, { subject: "a", position: at(8) }), { code: "replay" });
});

test("a position without replay of streams is a mistake, and opens no second copy", async () => {
  const opener = new Opener(bob, { senders: ANYONE });
  await assert.rejects(opener.open(await sealed(), { subject: "a", position: at(1) }), TypeError);
});

test("a clock that fails refuses", async () => {
  const clock = { now: () => NaN, monotonic: () => 0 };
  const memory = new ReplayMemory({}, undefined, 0);
  const opener = new Opener(bob, { senders: ANYONE, clock, memory });
  await assert.rejects(opener.open(await sealed(), { subject: "a" }), { code: "stale" });
  const atRest = new Opener(bob, { senders: ANYONE, clock, memory, replay: "none" });
  await assert.rejects(atRest.open(await sealed("x", { expiresIn: 1_000 }), { subject: "a" }), { code: "expired" });
  assert.throws(() => new ReplayMemory({}, clock), TypeError);
});

test("two openings of one envelope at once: one opens, in every kind of input", async () => {
  const envelope = await sealed();
  const shared = new Uint8Array(new SharedArrayBuffer(envelope.length + 7), 3, envelope.length);
  shared.set(envelope);
  const resizable = new Uint8Array(new ArrayBuffer(envelope.length, { maxByteLength: envelope.length * 2 }));
  resizable.set(envelope);
  const pooled = Buffer.concat([Buffer.from("abc"), envelope]).subarray(3);
  const opener = new Opener(bob, { senders: ANYONE });
  const inputs = [envelope, shared, resizable, pooled];
  const opening = inputs.map((input) => opener.open(input, { subject: "a" }));
  resizable.buffer.resize(0);
  pooled.fill(0);
  shared.fill(0);
  const codes = (await Promise.allSettled(opening)).map(({ status, reason }) => reason?.code ?? status);
  assert.deepEqual(codes.sort(), ["fulfilled", "replay", "replay", "replay"]);
});

test("a buffer that was transferred is not an empty payload", async () => {
  const data = bytes("secret");
  structuredClone(data.buffer, { transfer: [data.buffer] });
  await assert.rejects(new Sealer(alice).seal(data, { to: bob.public, subject: "a" }), TypeError);
  await assert.rejects(new Opener(bob, { senders: ANYONE }).open(data, { subject: "a" }), TypeError);
  const policy = new Policy([{ pattern: "", readers: ["r"] }]);
  const options = { policy, readers: { r: [bob.public] }, subject: "a" };
  await assert.rejects(new Sealer(alice).sealDocument({ data }, options), TypeError);
});

test("headers in another form are refused, and not lost", async () => {
  for (const headers of [new Map([["A", "b"]]), new Headers({ A: "b" }), ["ab"], [["A"]], [["A", "b", "c"]], [["A", 1]], { A: null }, "Ab", null]) {
    await assert.rejects(sealed("x", { headers }), TypeError, String(headers));
  }
  await assert.rejects(sealed("x", { contentType: null }), TypeError);
  const own = JSON.parse('{"__proto__": "a", "constructor": "b"}');
  const message = await new Opener(bob, { senders: ANYONE }).open(await sealed("x", { headers: own }), { subject: "a" });
  assert.deepEqual(message.headers, [["__proto__", "a"], ["constructor", "b"]]);
  assert.equal({}.a, undefined);
});

test("names that objects treat specially are ordinary members", async () => {
  const document = JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}, "toString": null}');
  const policy = parsePolicy('[[rule]]\npattern = "/__proto__"\nreaders = ["__proto__"]\n[[rule]]\npattern = ""\nreaders = ["constructor"]\n');
  const readers = parseReaders(`[readers]\n__proto__ = ["${bob.public}"]\nconstructor = ["${eve.public}"]\n`);
  const envelope = await new Sealer(alice).sealDocument(fromJSON(document), { policy, readers, subject: "a" });
  const view = async (key) => (await new Opener(key, { senders: ANYONE }).openDocument(envelope, { subject: "a" })).document;
  assert.deepEqual(await view(bob), new Map([["__proto__", new Map([["polluted", true]])]]));
  assert.deepEqual([...(await view(eve)).keys()], ["constructor", "toString"]);
  assert.equal({}.polluted, undefined);
  assert.throws(() => new ReplayMemory({ constructor: 1 }), TypeError);
});

test("pending messages do not keep their envelopes in memory", async () => {
  const opener = new Opener(bob, { senders: ANYONE, replay: "stream" });
  const before = process.memoryUsage().arrayBuffers;
  const sealer = new Sealer(alice);
  for (let i = 1; i <= 32; i++) {
    const envelope = await sealer.seal(new Uint8Array(1 << 20), { to: bob.public, subject: "a" });
    opener.release(await opener.open(envelope, { subject: "a", position: at(i) }));
  }
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const kept = process.memoryUsage().arrayBuffers - before;
  assert.ok(kept < 10 << 20, `${kept} bytes are kept`);
});

test("data that is nested deep is refused with an own error", () => {
  const deep = JSON.parse("[".repeat(200_000) + "]".repeat(200_000));
  assert.throws(() => fromJSON(deep), { code: "limit_exceeded" });
});

test("huge texts in files and patterns raise own errors, in linear time", () => {
  const most = 1 << 20;
  const quoted = (open, body, close = open) => `[[rule]]\npattern = ${open}${body}${close}\nreaders = ["a"]\n`;
  const files = [
    quoted('"', "/" + "a".repeat(most)), quoted('"', "/" + "\\u0061".repeat(most / 6)), quoted("'", "/" + "a".repeat(most)),
    quoted('"""', "/" + "a\n".repeat(most / 2)), quoted("'''", "''a".repeat(most / 3)), quoted('"', "\\".repeat(most), ""),
    quoted('"""', '""a'.repeat(most / 3), ""), quoted("'''", "/" + "a".repeat(most), ""), quoted('"', "/" + "~0".repeat(most / 2)),
    quoted('"', "/" + "a ".repeat(most / 2)), quoted('"', "/*[a=" + "1".repeat(most) + "]"), quoted('"', "/*[a=" + '\\"b\\"]['.repeat(most / 8)),
    "#".repeat(most), " ".repeat(most), "\n".repeat(most), "[".repeat(most), "a.".repeat(most / 2), "x = " + "[".repeat(most),
    "x = " + "1_".repeat(most / 2), "x = {" + "a={".repeat(100_000), '"' + "a".repeat(most), "x = \"" + "\\U0010FFFF".repeat(most / 10) + '"',
  ];
  for (const file of files) {
    try {
      parsePolicy(file);
    } catch (error) {
      assert.ok(error instanceof XKeyMsgError, `${file.slice(0, 40)}: ${error}`);
      assert.ok(error.message.length < 1_000);
    }
  }
});

test("the lines of a long file are counted once", () => {
  const lines = Array.from({ length: 30_000 }, (_, i) => `p${i} = []`).join("\n");
  assert.equal(parseReaders(`[readers]\n${lines}\n`).size, 30_000);
});

/** A connection that delivers given messages. */
const connectionOf = (messages) => ({
  info: {},
  subscribe: () => ({ async *[Symbol.asyncIterator]() { yield* messages; }, unsubscribe() {}, async drain() {} }),
});

test("a callback that rejects ends neither the loop nor the process", async () => {
  const unhandled = [];
  const listener = (error) => unhandled.push(error);
  process.on("unhandledRejection", listener);
  const good = { subject: "a", data: await sealed("good") };
  const onRefused = async () => { throw new Error("a callback"); };
  const connection = new SealedConnection(connectionOf([{ subject: "a", data: bytes("bad") }, good]), { key: bob, senders: ANYONE, onRefused });
  const texts = [];
  for await (const message of connection.subscribe("a")) texts.push(message.text());
  await new Promise((resolve) => setTimeout(resolve, 10));
  process.off("unhandledRejection", listener);
  assert.deepEqual([texts, unhandled], [["good"], []]);
});

/** A durable that delivers given messages, and notes what becomes of them. */
function durableOf(deliveries) {
  const noted = [];
  const messages = deliveries.map((delivery, i) => ({
    subject: "a",
    timestampNanos: BigInt(Date.now()) * 1_000_000n,
    info: { stream: "S", consumer: "D", streamSequence: i + 1, deliverySequence: i + 1 },
    ack: () => noted.push("ack"),
    nak: () => noted.push("nak"),
    term: () => noted.push("term"),
    working: () => { throw new Error("the connection is closed"); },
    ...delivery,
  }));
  for (const each of messages) if (each.broken) Object.defineProperty(each, "timestampNanos", { get: () => assert.fail("not a delivery") });
  const consumer = {
    info: async () => ({ stream_name: "S", name: "D", created: "then" }),
    consume: async () => ({ async *[Symbol.asyncIterator]() { yield* messages; }, async close() {} }),
  };
  return { consumer, noted };
}

test("a consumer survives forged deliveries, callbacks that throw, and notices that fail", async () => {
  const { consumer, noted } = durableOf([
    { data: bytes("bad") }, { data: await sealed("forged"), broken: true }, { data: await sealed("forged"), timestampNanos: undefined },
    { data: await sealed("fails") }, { data: await sealed("good") },
  ]);
  const connection = new SealedConnection({ info: {} }, { key: bob, senders: ANYONE, onRefused: async () => { throw new Error("1"); } });
  const texts = [];
  const handle = async (message) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (message.text() === "fails") throw new Error("a handler");
    texts.push(message.text());
  };
  const callbacks = { onRefused: async () => { throw new Error("2"); }, onFailed: async () => { throw new Error("3"); } };
  await connection.consume(consumer, handle, { subjects: "a", working: 1, ...callbacks }).finished;
  const failing = { ...callbacks, onFailed: () => { throw new Error("4"); } };
  await connection.consume(durableOf([{ data: await sealed("fails") }]).consumer, handle, { subjects: "a", ...failing }).finished;
  assert.deepEqual([texts, noted], [["good"], ["nak", "nak", "ack"]]);
});

test("errors of hostile messages hold nothing of them", async () => {
  const secret = "very secret";
  const envelope = await sealed(secret, { contentType: secret, headers: { secret }, subject: "very.secret" });
  for (let i = 0; i < envelope.length; i += 3) {
    const altered = envelope.with(i, envelope[i] ^ 1);
    const error = await new Opener(bob, { senders: ANYONE, replay: "none" }).open(altered, { subject: "other" }).catch((each) => each);
    assert.ok(error instanceof XKeyMsgError);
    assert.ok(!/secret/.test(JSON.stringify([error, error.message])), error.message);
  }
});

test("a clone of an object with a secret has none", async () => {
  const user = await UserKey.fromSeed(generateSeed("U"));
  const sealer = new Sealer(alice, { signer: user });
  await sealer.seal(bytes("x"), { to: bob.public, subject: "a" });
  const message = await new Opener(bob, { senders: ANYONE }).open(await sealed("secret"), { subject: "a" });
  for (const object of [alice, user, sealer, message]) {
    let clone;
    try {
      clone = structuredClone(object);
    } catch {
      continue; // not cloneable
    }
    for (const value of Object.values(clone)) assert.ok(!["function", "object"].includes(typeof value) || value instanceof Uint8Array || value === undefined, typeof value);
    assert.ok(!Buffer.from(JSON.stringify(clone)).includes("secret"));
  }
});

test("a replay memory drops marks of many senders quickly, those of the heaviest first", () => {
  const memory = new ReplayMemory({ replay: 8 << 20 }, { now: () => 0, monotonic: () => 0 }, 0);
  const head = (sender, session) => {
    const [S, E] = [new Uint8Array(32), new Uint8Array(32)];
    new DataView(S.buffer).setUint32(0, sender);
    new DataView(E.buffer).setUint32(0, session);
    return { S, E, nonce: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1), createdMs: 2 ** 40 };
  };
  const take = (...numbers) => memory.take(head(...numbers), true, undefined);
  for (let session = 0; session < 1_000; session++) take(0, session);
  let dropped = false;
  for (let sender = 1; !dropped; sender++) {
    take(sender, 0);
    assert.ok(sender < 20_000);
    try {
      take(0, 0);
    } catch (error) {
      if (error.code === "stale") dropped = true;
      else assert.equal(error.code, "replay");
    }
  }
  for (let sender = 1; sender < 5_000; sender++) assert.throws(() => take(sender, 0), { code: "replay" });
});
