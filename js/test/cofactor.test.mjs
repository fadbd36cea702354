// A WebCrypto that verifies with the cofactor, or accepts anything, is not used for signatures (E-5).
import assert from "node:assert/strict";
import { test } from "node:test";
import { vectors } from "./paths.mjs";

let calls = 0;
crypto.subtle.constructor.prototype.verify = async () => ++calls > 0;
const { runEnvelopes } = await import("./vectors.mjs");

test("invalid signatures are refused all the same", async () => {
  const chosen = vectors("xkm1.json").filter(({ expect }) => expect === "signature_invalid");
  assert.ok(chosen.length >= 56);
  assert.deepEqual(await runEnvelopes(chosen), []);
  assert.equal(calls, 1, "the probe alone asked");
});
