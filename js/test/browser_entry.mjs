// Functions of the page: vectors, a conversation over a WebSocket, a benchmark.
import { jetstream } from "@nats-io/jetstream";
import { wsconnect } from "@nats-io/nats-core";
import { ANYONE, Opener, Sealer, XKey } from "../dist/index.js";
import { runFields } from "./fields.mjs";
import { converse } from "./live.mjs";
import { runEnvelopes, runKeys, runSeal } from "./vectors.mjs";

globalThis.xkeymsg = {
  async vectors() {
    const read = async (name) => (await fetch(`/vectors/${name}`)).json();
    const files = { "xkm1.json": runEnvelopes, "xkm1-large.json": runEnvelopes, "keys.json": runKeys, "seal.json": runSeal, "fields.json": runFields };
    const [failures, counts] = [[], []];
    for (const [name, run] of Object.entries(files)) {
      const vectors = await read(name);
      counts.push(vectors.length);
      failures.push(...(await run(vectors)));
    }
    return { count: counts.reduce((sum, each) => sum + each), failures };
  },

  async converse(options) {
    const nc = await wsconnect({ servers: options.url });
    const said = await converse(nc, jetstream(nc), options);
    await nc.close();
    return said;
  },

  /** Milliseconds for each message of 1 KiB in a session that is warm. */
  async bench(count) {
    const [alice, bob] = [await XKey.generate(), await XKey.generate()];
    const sealer = new Sealer(alice);
    const options = { to: bob.public, subject: "orders.new" };
    const data = new Uint8Array(1024);
    const seal = () => sealer.seal(data, options);
    await seal();
    let began = performance.now();
    const envelopes = [];
    for (let i = 0; i < count; i++) envelopes.push(await seal());
    const sealing = (performance.now() - began) / count;
    const opener = new Opener(bob, { senders: ANYONE });
    await opener.open(await seal(), { subject: ">" });
    began = performance.now();
    for (const envelope of envelopes) await opener.open(envelope, { subject: ">" });
    const opening = (performance.now() - began) / count;
    return { sealing, opening };
  },

  /** Which algorithms WebCrypto has, and whether a key leaves it. */
  async platform() {
    const has = async (format, key, name, uses) => {
      try {
        return Boolean(await crypto.subtle.importKey(format, key, name, false, uses));
      } catch {
        return false;
      }
    };
    const point = new Uint8Array(32).fill(9);
    return {
      x25519: await has("raw", point, "X25519", []),
      chacha: await has("raw-secret", point, "ChaCha20-Poly1305", ["encrypt"]),
    };
  },
};
