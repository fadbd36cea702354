// The public interface: round trips, errors, and what no text may show.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect as show } from "node:util";
import {
  ANYONE, Decimal, fromJSON, generateSeed, inspect, Opener, Policy, Recipient, ReplayMemory, Sealer, Time,
  UserKey, UUID, WITHHELD, XKey, XKeyMsgError,
} from "xkeymsg";
import { parsePolicy } from "xkeymsg/files";
import { assemble, pairWith, wrapKeys } from "../dist/seal.js";

const ALICE_SEED = generateSeed();
const [alice, bob, carol] = [await XKey.fromSeed(ALICE_SEED), await XKey.generate(), await XKey.generate()];
const bytes = (text) => new TextEncoder().encode(text);
const POLICY = new Policy([
  { pattern: "/patient/name", readers: ["billing", "clinic"] },
  { pattern: "/**", readers: ["clinic"] },
]);

test("a payload opens with its metadata, once", async () => {
  const sealer = new Sealer(alice);
  const options = { to: bob.public, subject: "orders.new", contentType: "text/plain", headers: { A: "b" }, expiresIn: 60_000 };
  const envelope = await sealer.seal(bytes("7 lamps"), options);
  const opener = new Opener(bob, { senders: [alice.public] });
  const message = await opener.open(envelope, { subject: "orders.*" });
  assert.equal(message.text(), "7 lamps");
  assert.deepEqual([message.subject, message.sender, message.admitted], ["orders.new", alice.public, true]);
  assert.deepEqual([message.contentType, message.header("a"), message.headers], ["text/plain", "b", [["A", "b"]]]);
  assert.equal(message.expiresMs, message.createdMs + 60_000);
  await assert.rejects(opener.open(envelope, { subject: "orders.*" }), { code: "replay", publicCode: "refused", first: "final" });
  await assert.rejects(new Opener(carol, { senders: ANYONE }).open(envelope, { subject: ">" }), {
    code: "not_a_recipient",
    publicCode: "undecryptable",
  });
});

test("padding hides the size, and users and signatures are checked", async () => {
  const seed = generateSeed("U");
  const user = await UserKey.fromSeed(seed);
  const sealer = new Sealer(alice, { signer: user, padding: true });
  const to = `${bob.public} ${user.public}`;
  const envelope = await sealer.seal(bytes("x".repeat(999)), { to, subject: "a" });
  assert.deepEqual(inspect(envelope).parts, [{ type: 0, padded: true, size: 1024 }]);
  const senders = new Map([[alice.public, user.public]]);
  const opened = await new Opener(bob, { senders, user: user.public, requireSignature: true }).open(envelope, { subject: "a" });
  assert.deepEqual([opened.signed, opened.identity, opened.data.length], [true, user.public, 999]);
  await assert.rejects(new Opener(bob, { senders }).open(envelope, { subject: "a" }), { code: "not_a_recipient" });
  const unsigned = await new Sealer(alice, { identity: user.public }).seal(bytes("x"), { to, subject: "a" });
  const strict = new Opener(bob, { senders, user: user.public, requireSignature: true });
  await assert.rejects(strict.open(unsigned, { subject: "a" }), { code: "signature_missing" });
});

test("trust decides for the sealed subject", async () => {
  const envelope = await new Sealer(alice).seal(bytes("x"), { to: bob.public, subject: "orders.new" });
  const asked = [];
  const trust = { admit: (...given) => (asked.push(given), undefined) };
  await assert.rejects(new Opener(bob, { senders: trust }).open(envelope, { subject: ">" }), { code: "sender_not_admitted" });
  assert.deepEqual(asked, [[alice.public, "orders.new", inspect(envelope).createdMs]]);
});

test("each reader of a document gets its fields, with their kinds", async () => {
  const document = {
    patient: { name: "Ada", phone: "555" },
    notes: ["ok", 1n, 1.5, null, true, bytes("x")],
    exact: [Decimal.parse("12.50"), new Time(1_767_225_600_000_000n, 3600), UUID.parse("018f428e-34f6-4707-8009-5ad742f901e7")],
  };
  const readers = { clinic: [bob.public], billing: [carol.public] };
  const envelope = await new Sealer(alice).sealDocument(document, { policy: POLICY, readers, subject: "ehr.a", headers: { T: "1" } });
  const all = await new Opener(bob, { senders: [alice.public] }).openDocument(envelope, { subject: "ehr.*" });
  assert.equal(all.withheld, 0);
  assert.deepEqual(all.document.get("notes"), document.notes);
  assert.deepEqual(all.document.get("exact"), document.exact);
  assert.equal(String(all.document.get("exact")[0]), "12.50");
  const part = await new Opener(carol, { senders: [alice.public] }).openDocument(envelope, { subject: "ehr.*" });
  assert.deepEqual([part.document, part.withheld], [new Map([["patient", new Map([["name", "Ada"]])]]), 1]);
  assert.equal(part.header("T"), "1");
  await assert.rejects(new Opener(bob, { senders: ANYONE }).open(envelope, { subject: ">" }), { code: "content_type" });
});

test("a document whose metadata comes first is no payload", async () => {
  for (const type of [3, 19]) {
    const session = await XKey.generate();
    const nonce = Uint8Array.of(0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8);
    const head = { S: alice.raw, E: session.raw, nonce, createdMs: Date.now(), subject: "a" };
    const parts = [
      { type, content: Uint8Array.of(0x92, 0xc0, 0x90, ...(type > 3 ? [0x80] : [])) },
      { type: 1, content: Uint8Array.of(0x91, 0x92, 0x90, 0x07) },
    ];
    const targets = [{ R: bob.raw, U: new Uint8Array(32), parts: [0, 1] }];
    const draw = () => crypto.getRandomValues(new Uint8Array(32));
    const keysOf = async ({ R, U }) => wrapKeys(await pairWith(alice, R, U), session, R);
    const envelope = await assemble({ head, targets, parts, draw }, keysOf);
    const opener = new Opener(bob, { senders: [alice.public] });
    await assert.rejects(opener.open(envelope, { subject: "a" }), { code: "content_type", publicCode: "refused" });
    assert.equal((await opener.openDocument(envelope, { subject: "a" })).document, 7n);
  }
});

test("withheld items of a list keep their positions", async () => {
  const policy = parsePolicy('[[rule]]\npattern = "/1"\nreaders = ["a"]\n[[rule]]\npattern = "/**"\nreaders = ["b"]\n');
  const readers = { a: [bob.public], b: [carol.public] };
  const envelope = await new Sealer(alice).sealDocument([1n, 2n, 3n], { policy, readers, subject: "a" });
  const view = await new Opener(bob, { senders: ANYONE }).openDocument(envelope, { subject: "a" });
  assert.deepEqual(view.document, [WITHHELD, 2n]);
});

test("documents are copied before anything waits, and their kinds are checked", async () => {
  const options = { policy: POLICY, readers: { clinic: [bob.public], billing: [bob.public] }, subject: "a" };
  const document = { a: [1n] };
  const sealing = new Sealer(alice).sealDocument(document, options);
  document.a.push(2n);
  const view = await new Opener(bob, { senders: ANYONE }).openDocument(await sealing, { subject: "a" });
  assert.deepEqual(view.document, new Map([["a", [1n]]]));
  const cycle = [];
  cycle.push(cycle);
  for (const [bad, code] of [
    [undefined, "malformed"], [{ a: undefined }, "malformed"], [NaN, "malformed"], ["\ud800", "malformed"], [[WITHHELD], "malformed"],
    [new Date(0), "malformed"], [new Time(0n, 86_400), "malformed"], [Symbol("x"), "malformed"], [() => 1, "malformed"],
    [10n ** 4300n, "limit_exceeded"], [Decimal.parse("1e6177"), "limit_exceeded"], [cycle, "limit_exceeded"],
    [new Map([[1, 2n]]), "malformed"], [new Array(2 ** 32 - 1), "malformed"],
  ]) {
    await assert.rejects(new Sealer(alice).sealDocument(bad, options), { code });
  }
});

test("JSON data becomes a document without mixing integers and floats", () => {
  const value = fromJSON(JSON.parse('{"a": [1, 1.5, -0, "x", null], "__proto__": 1e300}'));
  assert.deepEqual(value, new Map([["a", [1n, 1.5, -0, "x", null]], ["__proto__", 1e300]]));
});

test("a caller that changes its bytes meanwhile changes nothing", async () => {
  const data = bytes("first");
  const sealing = new Sealer(alice).seal(data, { to: bob.public, subject: "a" });
  data.fill(0);
  const envelope = await sealing;
  const opening = new Opener(bob, { senders: ANYONE }).open(envelope, { subject: "a" });
  envelope.fill(0);
  assert.equal((await opening).text(), "first");
});

test("concurrent messages take distinct counters", async () => {
  const sealer = new Sealer(alice);
  const all = await Promise.all(Array.from({ length: 50 }, () => sealer.seal(bytes("x"), { to: bob.public, subject: "a" })));
  assert.equal(new Set(all.map((envelope) => inspect(envelope).counter)).size, 50);
  assert.deepEqual(new Set(all.map((envelope) => inspect(envelope).counter)), new Set(Array.from({ length: 50 }, (_, i) => i + 1)));
});

test("a session ends after an hour, and when a clock is set back", async () => {
  let [now, monotonic] = [1_800_000_000_000, 0];
  const sealer = new Sealer(alice, { clock: { now: () => now, monotonic: () => monotonic } });
  const seal = async () => inspect(await sealer.seal(bytes("x"), { to: bob.public, subject: "a" })).counter;
  assert.deepEqual([await seal(), await seal()], [1, 2]);
  monotonic += 3_600_000;
  assert.equal(await seal(), 1);
  now -= 3_600_000;
  assert.equal(await seal(), 1);
});

test("concurrent copies of one message open once", async () => {
  const envelope = await new Sealer(alice).seal(bytes("x"), { to: bob.public, subject: "a" });
  const opener = new Opener(bob, { senders: ANYONE });
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => opener.open(envelope, { subject: "a" })));
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  for (const { reason } of results.filter(({ status }) => status === "rejected")) assert.equal(reason.code, "replay");
});

test("no text shows a secret or a content", async () => {
  const user = await UserKey.fromSeed(generateSeed("U"));
  const sealer = new Sealer(alice, { signer: user });
  const secret = "very secret content";
  const envelope = await sealer.seal(bytes(secret), { to: bob.public, subject: "a", headers: { Name: secret }, contentType: secret });
  const opener = new Opener(bob, { senders: ANYONE });
  const message = await opener.open(envelope, { subject: "a" });
  const options = { policy: POLICY, readers: { clinic: [bob.public], billing: [bob.public] }, subject: "a" };
  const view = await opener.openDocument(await sealer.sealDocument({ [secret]: secret }, options), { subject: "a" });
  const deep = { depth: 20, showHidden: true };
  for (const value of [alice, user, opener, message, view, new Recipient(bob.public)]) {
    const text = [show(value, deep), String(value), JSON.stringify(value)].join("\n");
    for (const hidden of [secret, ALICE_SEED, Buffer.from(secret).toString("hex"), "53, 101, 99"]) assert.ok(!text.includes(hidden), text);
  }
  assert.throws(() => JSON.stringify(sealer), TypeError);
  assert.equal(JSON.stringify(alice), JSON.stringify(alice.public));
  assert.ok(!show(sealer, deep).includes(ALICE_SEED));
});

test("invalid keys are refused, without showing them", async () => {
  const flipped = ALICE_SEED.slice(0, -1) + (ALICE_SEED.endsWith("A") ? "E" : "A");
  const bad = ["", "x", flipped, ALICE_SEED.toLowerCase(), ` ${ALICE_SEED}`, `${ALICE_SEED}\n`, alice.public, generateSeed("U"), null, 7];
  for (const seed of bad) {
    const isShown = (error) => seed?.length > 1 && error.message.includes(seed);
    await assert.rejects(XKey.fromSeed(seed), (error) => error.code === "key_format" && !isShown(error));
  }
  const zeros = "X" + "A".repeat(55);
  for (const text of [ALICE_SEED, zeros, `${bob.public} `, ` ${bob.public}`, `${bob.public}  ${bob.public}`, undefined]) {
    assert.throws(() => Recipient.parse(text), { code: "key_format" });
  }
});

test("a seed has one spelling: trailing bits are zero", async () => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const last = alphabet.indexOf(ALICE_SEED.at(-1));
  for (const bits of [1, 2, 3]) {
    const other = ALICE_SEED.slice(0, -1) + alphabet[last | bits];
    if (other !== ALICE_SEED) await assert.rejects(XKey.fromSeed(other), { code: "key_format" });
  }
  assert.equal(last & 3, 0);
});

test("errors are bounded", async () => {
  const policy = new Policy([{ pattern: "/a", readers: ["x"] }]);
  const document = new Map(Array.from({ length: 5000 }, (_, i) => ["n".repeat(1000) + i, 1n]));
  const sealing = new Sealer(alice).sealDocument(document, { policy, readers: { x: [bob.public] }, subject: "a" });
  await assert.rejects(sealing, (error) => {
    assert.deepEqual([error.code, error.count, error.pointers.length], ["field_denied", 5000, 20]);
    assert.ok(error.message.length < 3000);
    return true;
  });
  assert.throws(() => new Policy([{ pattern: "/" + "[".repeat(100_000), readers: ["x"] }]), (error) => error.message.length < 300);
});

test("random bytes and truncations raise own errors only", async () => {
  const opener = new Opener(bob, { senders: ANYONE });
  const envelope = await new Sealer(alice).seal(bytes("x"), { to: bob.public, subject: "a" });
  const inputs = Array.from({ length: envelope.length }, (_, i) => envelope.slice(0, i));
  for (let i = 0; i < 200; i++) inputs.push(crypto.getRandomValues(new Uint8Array(i)), Uint8Array.of(...envelope.slice(0, i), 0xdd, 255, 255, 255, 255));
  for (const input of inputs) {
    await assert.rejects(opener.open(input, { subject: ">" }), XKeyMsgError);
    assert.throws(() => inspect(input), XKeyMsgError);
  }
});

test("mistakes of a caller are TypeErrors", async () => {
  assert.throws(() => new Opener(bob, { senders: [alice.public], requireSignature: true }), TypeError);
  assert.throws(() => new Opener(bob, { senders: ANYONE, replay: "file" }), TypeError);
  assert.throws(() => new ReplayMemory({ maxage: 1 }), TypeError);
  assert.throws(() => new ReplayMemory({ depth: 1_001 }), TypeError);
  const opener = new Opener(bob, { senders: ANYONE, replay: "stream" });
  const envelope = await new Sealer(alice).seal(bytes("x"), { to: bob.public, subject: "a" });
  await assert.rejects(opener.open(envelope, { subject: "a" }), TypeError);
  await assert.rejects(opener.open("text", { subject: "a" }), TypeError);
  for (const subject of ["", "a..b", "a.>.b", "a*", [], undefined]) await assert.rejects(opener.open(envelope, { subject }), TypeError);
  await assert.rejects(new Sealer(alice).seal("text", { to: bob.public, subject: "a" }), TypeError);
});

test("a sealer refuses what a reader would refuse", async () => {
  const seal = (options) => new Sealer(alice, { limits: { envelope: 1000 } }).seal(bytes("x"), { to: bob.public, subject: "a", ...options });
  for (const [options, code] of [
    [{ to: [] }, "malformed"], [{ subject: "a.*" }, "malformed"], [{ subject: "a".repeat(256) }, "limit_exceeded"],
    [{ subject: "\ud800" }, "malformed"], [{ expiresIn: 0 }, "expired"], [{ revision: -1 }, "malformed"],
    [{ headers: { a: "\ud800" } }, "malformed"], [{ headers: { a: "x".repeat(70_000) } }, "limit_exceeded"],
    [{ headers: Array(1001).fill(["a", "b"]) }, "limit_exceeded"], [{ headers: { a: "x".repeat(1000) } }, "limit_exceeded"],
    [{ to: Array.from({ length: 1025 }, (_, i) => `${bob.public} U${i}`) }, "key_format"],
  ]) {
    await assert.rejects(seal(options), { code });
  }
});
