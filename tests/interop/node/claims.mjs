// Reads one JSON request a line and answers each with one JSON line: {"decode": TOKEN} says what
// the library reads, {"creds": TEXT} likewise, {"issue": {...}} what it writes.

import process from "node:process";
import { createInterface } from "node:readline";

import jwt from "@nats-io/jwt";
import { fromPublic, fromSeed } from "@nats-io/nkeys";

const bytes = (text) => new TextEncoder().encode(text);

const issue = async (want) => {
  const signer = fromSeed(bytes(want.seed));
  const options = {};
  if (want.expires) options.exp = want.expires;
  if (want.not_before) options.nbf = want.not_before;
  const own = signer.getPublicKey() === (want.issuer_account || want.subject);
  if (!own) options.signer = signer;
  const subject = own && want.kind !== "user" ? signer : fromPublic(want.subject);
  let token;
  if (want.kind === "operator") {
    const body = { signing_keys: want.signing_keys, strict_signing_key_usage: want.strict };
    token = await jwt.encodeOperator(want.name, subject, body, options);
  } else if (want.kind === "account") {
    const keys = [...want.signing_keys];
    if (want.scoped_key) {
      const limits = { pub: { allow: want.allow, deny: [] } };
      keys.push(jwt.newScopedSigner(fromPublic(want.scoped_key), want.role, limits));
    }
    const now = Math.floor(Date.now() / 1000);
    const revocations = Object.fromEntries((want.revoked ?? []).map((key) => [key, now]));
    const body = { signing_keys: keys, revocations, tags: want.tags };
    token = await jwt.encodeAccount(want.name, subject, body, options);
  } else {
    const account = own ? signer : fromPublic(want.issuer_account);
    const body = { tags: want.tags };
    if (!want.scoped) body.pub = { allow: want.allow, deny: [] };
    options.scopedUser = want.scoped;
    token = await jwt.encodeUser(want.name, subject, account, body, options);
  }
  const said = { token };
  if (want.user_seed) {
    said.creds = new TextDecoder().decode(jwt.fmtCreds(token, fromSeed(bytes(want.user_seed))));
  }
  return said;
};

const answer = async (asked) => {
  if (asked.issue) return issue(asked.issue);
  if (asked.creds) {
    const { key, jwt: token } = await jwt.parseCreds(bytes(asked.creds));
    return { token, seed: key };
  }
  const claims = jwt.decode(asked.decode);
  const { sub, iss, name, jti, exp } = claims;
  return { kind: claims.nats.type, subject: sub, issuer: iss, name, jti, exp };
};

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = await answer(JSON.parse(line));
  } catch (error) {
    said = { error: error.message };
  }
  console.log(JSON.stringify(said));
}
