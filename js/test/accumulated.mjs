// The accumulated test of docs/spec/envelope.md: envelopes sealed with numbers of one SHAKE-128 stream.
import { shake128 } from "@noble/hashes/sha3.js";
import { XKey } from "../dist/index.js";
import { encodeMetadata, pad } from "../dist/content.js";
import { signer } from "../dist/crypto.js";
import { bin } from "../dist/encoding.js";
import { assemble, pairWith, wrapKeys } from "../dist/seal.js";

/** Yield `cases` envelopes, with the keys that open them. */
export async function* accumulated(cases) {
  const stream = shake128.create({}).update(new TextEncoder().encode("xkm1 accumulated vectors"));
  const take = (size) => (size ? stream.xof(size) : new Uint8Array(0));
  const big = (size) => take(size).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const u16 = () => Number(big(2));
  const u32 = () => Number(big(4));
  const b = () => take(1)[0];
  const text = (size) => String.fromCharCode(...take(size).map((x) => 0x61 + (x % 26)));

  const readers = [];
  for (let i = 0; i < 40; i++) {
    const key = await XKey.fromRaw(take(32));
    const U = take(32);
    readers.push({ key, U: i % 2 ? new Uint8Array(32) : U });
  }
  const senders = [];
  for (let i = 0; i < 4; i++) {
    const key = await XKey.fromRaw(take(32));
    const own = await signer(take(32));
    senders.push({ key, signer: { raw: own.public, sign: own.sign } });
  }
  const pairs = new Map();
  for (let number = 0; number < cases; number++) {
    const f = b();
    const bit = (i) => Boolean((f >> i) & 1);
    const [signed, named, hasRevision, hasExpiry, document, padded, hasArray, noType] = [...Array(8).keys()].map(bit);
    const sender = senders[b() % 4];
    const first = b() % 40;
    const c = b();
    const n = c === 255 ? 33 : 1 + (c % 8);
    const recipients = [...Array(n).keys()].map((k) => readers[(first + k) % 40]);
    const ephemeral = await XKey.fromRaw(take(32));
    const counter = 1 + (u32() % 2 ** 20);
    const nonce = new Uint8Array(12);
    new DataView(nonce.buffer).setUint32(0, counter);
    nonce.set(take(8), 4);
    const createdMs = 1_600_000_000_000 + u32();
    const subject = text(1 + (b() % 255));
    let revision;
    if (hasRevision) {
      const x = big(8);
      revision = Number((x >> 11n) >> BigInt(b() % 53));
    }
    const expiresMs = hasExpiry ? createdMs + 1 + u32() : undefined;
    const identity = signed || named ? sender.signer.raw : undefined;
    const contents = [];
    if (!document) {
      const y = u16();
      contents.push(y >= 65_280 ? take(y + 300) : take(y % 1024));
    } else {
      const F = 1 + (b() % 20);
      for (let j = 0; j < F; j++) {
        const x = take(b());
        contents.push(Uint8Array.of(0x91, 0x92, 0x91, 0xa1, 0x61 + j, ...bin(x)));
      }
    }
    const F = contents.length;
    let array = new Uint8Array(0);
    if (hasArray) {
      const contentType = noType ? undefined : text(b() % 40);
      const headers = [];
      for (let h = b() % 20; h; h--) headers.push([text(b() % 40), text(b())]);
      array = encodeMetadata({ contentType, headers });
    }
    const types = contents.map(() => (document ? 1 : hasArray ? 2 : 0));
    if (!document && hasArray) contents[0] = Uint8Array.of(...array, ...contents[0]);
    if (document && hasArray) {
      contents.push(array);
      types.push(3);
    }
    const parts = contents.map((content, j) => ({ type: types[j] + (padded ? 16 : 0), content: padded ? pad(content) : content }));
    const targets = recipients.map(({ key, U }) => {
      const granted = [];
      const m = parts.length > 1 ? (u32() % 2 ** F) | 1 : 1;
      for (let j = 0; j < F; j++) if ((m >>> j) & 1) granted.push(j);
      if (parts.length > F) granted.push(F);
      return { R: key.raw, U, parts: granted, key };
    });
    const keys = Array.from({ length: parts.length + (parts.length > 1 ? new Set(targets.map((t) => t.parts.join())).size : 0) }, () => take(32));
    const head = { S: sender.key.raw, E: ephemeral.raw, nonce, createdMs, subject, revision, identity, expiresMs };
    const plan = { head, targets, parts, signer: signed ? sender.signer : undefined, draw: () => keys.shift() };
    const envelope = await assemble(plan, async ({ R, U }) => {
      const id = `${sender.key.public} ${R} ${U}`;
      if (!pairs.has(id)) pairs.set(id, await pairWith(sender.key, R, U));
      return wrapKeys(pairs.get(id), ephemeral, R);
    });
    yield { envelope, recipients, sender, document, subject, createdMs };
  }
}
