// The sender of the xkeys tutorial, as a JavaScript user writes it: it seals one text to the curve
// key that it is given, publishes it on secure.data and quits.

import process from "node:process";
import { parseArgs } from "node:util";

import { createCurve } from "@nats-io/nkeys";
import { connect, headers } from "@nats-io/transport-node";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { server: { type: "string", default: process.env.NATS_URL ?? "nats://127.0.0.1:4222" } },
});
if (positionals.length < 1 || positionals.length > 2) {
  console.error("usage: sender.mjs [--server URL] RECEIVER [TEXT]");
  process.exit(2);
}
const [receiver, text = "Hello Secure World"] = positionals;

const key = createCurve();
const sealed = key.seal(new TextEncoder().encode(text), receiver);
// The receiver opens with this key: it says who sent, and proves it only to one who knows whose key
// it is.
const header = headers();
header.set("sender", key.getPublicKey());

const nc = await connect({ servers: values.server });
nc.publish("secure.data", sealed, { headers: header });
// Publishing only buffers: draining waits until the server has the message.
await nc.drain();
console.log(`>> SENT ${sealed.length} bytes from ${key.getPublicKey()} to ${receiver}`);
