// Without WebCrypto, as in a page that was not loaded over TLS, the fallbacks do everything.
import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./paths.mjs";

const { createHash, webcrypto } = await import("node:crypto");
Object.defineProperty(globalThis, "crypto", {
  value: { getRandomValues: (bytes) => webcrypto.getRandomValues(bytes) },
});
const { runEnvelopes } = await import("./vectors.mjs");
const { accumulated } = await import("./accumulated.mjs");
const { generateSeed, Opener, Sealer, UserKey, XKey } = await import("../dist/index.js");

test("vectors have their outcome", async () => {
  const codes = ["success", "signature_invalid", "bad_key", "authentication", "commitment"];
  const all = vectors("xkm1.json").filter(({ expect, after }) => !after && codes.includes(expect));
  // The noble libraries are slow: without the variable, a quarter of the vectors.
  const chosen = process.env.XKEYMSG_ALL ? all : all.filter((_, i) => i % 4 === 0);
  assert.ok(chosen.length > 60);
  assert.deepEqual(await runEnvelopes(chosen), []);
});

test("accumulated envelopes are the same", async () => {
  const hash = createHash("sha256");
  for await (const { envelope } of accumulated(20)) hash.update(envelope);
  // Of the first 20, sealed with WebCrypto.
  assert.equal(hash.digest("hex"), "d641b8e0d88959a75b0b9251fadb8f2699d3d496467d492a71ac6cc2fff6dd34");
});

test("seeds give the keys that WebCrypto derives", async () => {
  assert.equal(globalThis.crypto.subtle, undefined);
  const key = await XKey.fromSeed("SXAJ2KCPLVKHDNHO5IVASDADSLCX63FBRDBO6LLPASXEU2AY3H6J2UF6QA");
  const user = await UserKey.fromSeed(generateSeed("U"));
  const envelope = await new Sealer(key, { signer: user }).seal(new Uint8Array(3000), { to: key.public, subject: "a" });
  const senders = new Map([[key.public, user.public]]);
  const message = await new Opener(key, { senders, requireSignature: true }).open(envelope, { subject: "a" });
  assert.deepEqual([message.signed, message.data.length], [true, 3000]);
});
