// One side of a conversation with another implementation: the same code runs in Node and in a browser.
import { Policy, XKey } from "../dist/index.js";
import { SealedConnection } from "../dist/nats.js";

export const POLICY = new Policy([{ pattern: "/b", readers: ["q"] }, { pattern: "/**", readers: ["p"] }]);

/**
 * Answer messages, documents and jobs of `peer` until each kind has ended.
 *
 * Every message on `js.echo` is sealed back to `py.echo`, a document on `js.document` to `py.document`; each job fails
 * once, and is then published to the stream again as `jobs.py`.
 */
export async function converse(nc, js, { seed, peer, jobs }) {
  const key = await XKey.fromSeed(seed);
  const refused = [];
  const sealed = new SealedConnection(nc, { key, senders: [peer], onRefused: (error) => refused.push(error.code) });
  const echoes = sealed.subscribe("js.*");
  const documents = sealed.subscribeDocuments("js.document.*");

  const echo = async () => {
    for await (const message of echoes) {
      if (message.text() === "end") break;
      const { contentType, headers } = message;
      await sealed.publish("py.echo", message.data, { to: peer, contentType, headers });
    }
  };
  const answer = async () => {
    for await (const view of documents) {
      const readers = { p: [peer], q: [peer] };
      await sealed.publishDocument("py.document", view.document, { policy: POLICY, readers });
      break;
    }
  };
  const work = async () => {
    const failed = new Set();
    const handled = [];
    let done;
    const finished = new Promise((resolve) => (done = resolve));
    const handle = async (message) => {
      if (!failed.has(message.id)) {
        failed.add(message.id);
        throw new Error("the first attempt fails");
      }
      if (message.text() === "end") return void done();
      await sealed.publishToStream(js, "jobs.py", message.data, { to: peer });
      handled.push(message.text());
    };
    const options = { subjects: "jobs.*", delay: 50, onRefused: () => "terminate" };
    const consumption = sealed.consume(await js.consumers.get("JOBS", "js"), handle, options);
    await Promise.race([finished, consumption.finished]);
    // The copy waits until its message is settled; the other refusal is that of the copy on a subject.
    while (refused.filter((code) => code === "replay").length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    await consumption.close();
    // One that is closed at once ends, too, with or without messages.
    for (let i = 0; i < 5; i++) await sealed.consume(await js.consumers.get("JOBS", "js"), handle, options).close();
    return handled;
  };

  const all = [echo(), answer(), ...(jobs ? [work()] : [])];
  await nc.flush();
  nc.publish("js_ready");
  const [, , handled] = await Promise.all(all);
  await nc.flush();
  return { refused: refused.sort(), handled: handled ?? [], public: key.public };
}
