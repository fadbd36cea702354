// The receiver of the xkeys tutorial, as a JavaScript user writes it: it makes a curve key,
// subscribes to secure.data and prints what it can open.

import process from "node:process";
import { parseArgs } from "node:util";

import { createCurve } from "@nats-io/nkeys";
import { connect } from "@nats-io/transport-node";

const { values } = parseArgs({
  options: { server: { type: "string", default: process.env.NATS_URL ?? "nats://127.0.0.1:4222" } },
});

const key = createCurve();
console.log(`Receiver Public Key: ${key.getPublicKey()}`);

const nc = await connect({ servers: values.server });
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => nc.close());
}
const messages = nc.subscribe("secure.data");
// The next line tells whoever reads it that a message sent now arrives: so the server has to have
// the subscription first.
await nc.flush();
console.log("Receiver is running, press Ctrl+C to stop");

for await (const message of messages) {
  const sender = message.headers?.get("sender") ?? "";
  console.log(`Received message from ${sender}`);
  try {
    const text = key.open(message.data, sender);
    // A box that does not open is null here, where every other fault is thrown.
    if (text === null) {
      throw new Error("nkeys: could not decrypt input");
    }
    console.log(`The sender sent us ${JSON.stringify(new TextDecoder().decode(text))}`);
  } catch (error) {
    console.log(`Failed to decrypt message: ${error.message}`);
  }
}
