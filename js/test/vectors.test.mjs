// Every vector of the repository.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { XKey } from "xkeymsg";
import { armour, dearmour, releaseSeed } from "xkeymsg/text";
import * as xkv1 from "xkeymsg/xkv1";
import { accumulated } from "./accumulated.mjs";
import { runFields } from "./fields.mjs";
import { text as file, vectors } from "./paths.mjs";
import { fromHex, runEnvelopes, runKeys, runSeal, VERSION } from "./vectors.mjs";

const HASHES = {
  100: "2f900fbc4edf11fd0494e65b573338c2271da994967553519e4d9804103e2280",
  500: "118b3e4680d9f614b327438be7c6857c6be19aa0a2e82d49267098515528e2d6",
  10000: "3ce7dfb9554e5ad3ddb5d3578c1eb6e2de7e639d6ea5e3d0a45ae6182d49b741",
};

test("the vectors have the format that these tests know", () => {
  assert.equal(file("VERSION"), VERSION);
});

for (const [name, run, least] of [
  ["xkm1", runEnvelopes, 925],
  ["xkm1-large", runEnvelopes, 18],
  ["keys", runKeys, 110],
  ["seal", runSeal, 32],
  ["fields", runFields, 958],
]) {
  test(`every vector of ${name}.json has its outcome`, async () => {
    const all = vectors(`${name}.json`);
    assert.ok(all.length >= least);
    assert.deepEqual(await run(all), []);
  });
}

test("every vector of armour.json has its outcome", () => {
  const outcome = ({ text: armoured, limit }) => {
    try {
      return Buffer.from(dearmour(armoured, limit)).toString("hex");
    } catch (error) {
      return error.code;
    }
  };
  const all = vectors("armour.json");
  assert.ok(all.length >= 29);
  for (const each of all) {
    assert.equal(outcome(each), each.envelope ?? each.expect, each.name);
    if (each.envelope) assert.equal(armour(fromHex(each.envelope)), each.text);
  }
});

test("every vector of seeds.json has its outcome", async () => {
  const all = vectors("seeds.json");
  assert.ok(all.length >= 43);
  for (const each of all) {
    const seed = await releaseSeed(each.text, each.passphrase).catch((error) => error.code);
    assert.equal(seed, each.seed ?? each.expect, each.name);
  }
});

test("the runner reports a vector with another outcome", async () => {
  const [envelope] = vectors("xkm1.json").filter(({ expect }) => expect === "authentication");
  assert.equal((await runEnvelopes([{ ...envelope, expect: "commitment" }])).length, 1);
  const [joined] = vectors("fields.json").filter(({ expect }) => expect === "malformed");
  assert.equal(runFields([{ ...joined, expect: "success" }]).length, 1);
});

test("the runner reports another report, and keys that it does not know", async () => {
  const opened = vectors("xkm1.json").find(({ report }) => report?.headers.length);
  assert.deepEqual(await runEnvelopes([opened]), []);
  for (const [member, value] of Object.entries(opened.report)) {
    const other = { ...opened.report, [member]: typeof value === "number" ? value + 1 : "other" };
    assert.equal((await runEnvelopes([{ ...opened, report: other }])).length, 1, member);
  }
  const first = (name, run) => run([{ ...vectors(name)[0], later: "x" }]);
  for (const [name, run] of [["xkm1.json", runEnvelopes], ["keys.json", runKeys], ["seal.json", runSeal], ["fields.json", runFields]]) {
    assert.equal((await first(name, run)).length, 1, name);
  }
});

test("boxes of other nkeys libraries open, and ours have their form", async () => {
  const boxes = vectors("xkv1/xkv1-go.json").map((each) => ({
    sender: each.SenderSeed,
    recipient: each.RecipientSeed,
    plaintext: Buffer.from(each.PlaintextB64, "base64"),
    box: Buffer.from(each.SealedB64, "base64"),
  }));
  const js = vectors("xkv1/xkv1-js.json");
  for (const text of ["", "Hello Secure World"]) {
    const box = fromHex(js[`sealed_${text || "empty"}`]);
    boxes.push({ sender: js.alice_seed, recipient: js.bob_seed, plaintext: Buffer.from(text), box });
  }
  for (const { sender, recipient, plaintext, box } of boxes) {
    const [from, to] = [await XKey.fromSeed(sender), await XKey.fromSeed(recipient)];
    assert.deepEqual(Buffer.from(await xkv1.open(box, { key: to, sender: from.public })), plaintext);
    const ours = await xkv1.seal(plaintext, { key: from, to: to.public });
    assert.equal(ours.length, plaintext.length + 44);
    assert.deepEqual(Buffer.from(await xkv1.open(ours, { key: to, sender: from.public })), plaintext);
    const altered = box.with(-1, box.at(-1) ^ 1);
    await assert.rejects(xkv1.open(altered, { key: to, sender: from.public }), { code: "authentication" });
  }
});

test("accumulated envelopes have the hash of the specification", async () => {
  const cases = Number(process.env.XKEYMSG_ACCUMULATED ?? 100);
  const hash = createHash("sha256");
  for await (const { envelope } of accumulated(cases)) hash.update(envelope);
  assert.equal(hash.digest("hex"), HASHES[cases]);
});
