// The peer that measures @nats-io/nkeys: seal and open of curve keys.
//
// It reads `run OPERATION SIZE N` and answers with the nanoseconds that N operations took; see
// benchmarks/peer.py.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createCurve } from "@nats-io/nkeys";

const alice = createCurve();
const bob = createCurve();
const [toBob, fromAlice] = [bob.getPublicKey(), alice.getPublicKey()];

function measure(operation, n) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < n; i++) operation();
  return process.hrtime.bigint() - start;
}

function run(operation, size, n) {
  const data = new Uint8Array(size).fill(120);
  const sealed = alice.seal(data, toBob);
  if (Buffer.compare(bob.open(sealed, fromAlice), data) !== 0) {
    throw new Error("what was opened is not what was sealed");
  }
  switch (operation) {
    case "seal":
      return measure(() => alice.seal(data, toBob), n);
    case "open":
      return measure(() => bob.open(sealed, fromAlice), n);
    default:
      throw new Error(`unknown operation ${operation}`);
  }
}

const manifest = new URL("node_modules/@nats-io/nkeys/package.json", import.meta.url);
console.log(`ready node ${process.version}, nkeys ${JSON.parse(readFileSync(manifest)).version}`);
for await (const line of createInterface({ input: process.stdin })) {
  const [, operation, size, n] = line.split(" ");
  console.log(String(run(operation, Number(size), Number(n))));
}
