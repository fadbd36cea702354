/** Peers files: who may send what, as TOML. */
import type { Trust, Verdict } from "./admission.js";
import { isWellFormed } from "./bytes.js";
import { fail, XKeyMsgError } from "./errors.js";
import { isPermission, isTexts } from "./fields/policy.js";
import { parseToml, Table, type TomlValue } from "./fields/toml.js";
import { decodeUser, decodeXKey } from "./keys.js";
import { checkPattern, matches } from "./subject.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** A seed, or a part of one. */
const SEED = /(?<![A-Za-z0-9])S[A-Z2-7]{57}(?![A-Za-z0-9])/;
const SETTINGS = ["xkey", "xkeys", "user", "permissions", "subjects", "always_signs"];

interface Claim extends Verdict {
  readonly users: readonly string[];
  readonly alwaysSigns: boolean;
  readonly subjects: readonly string[];
}

/** Trust in the peers of a file. */
export class Peers implements Trust {
  readonly #claims = new Map<string, Claim[]>();
  readonly #names = new Map<string, string[]>();
  /** Names of peers, and `perm:…` of permissions that they hold. */
  readonly #known = new Set<string>();

  /** Parse the text of a peers file; throw an XKeyMsgError `policy_invalid` if it is invalid. */
  static parse(text: string): Peers {
    if (!isWellFormed(text)) fail("policy_invalid", "peers: not UTF-8");
    if (SEED.test(text)) fail("policy_invalid", "peers: this text has a secret seed; expected public keys");
    const root = parseToml(text.replace(/^\ufeff/, ""));
    const unknown = [...root.values.keys()].find((key) => key !== "peers" && key !== "always_to");
    if (unknown !== undefined) fail("policy_invalid", "peers: unknown setting (known: peers, always_to)");
    const always = textsOf(root.values.get("always_to"), "always_to");
    const tables = root.values.get("peers");
    if (!(tables instanceof Table) || !tables.values.size) return fail("policy_invalid", "peers: expected a table [peers.NAME]");
    const peers = new Peers();
    for (const [name, table] of tables.values) {
      if (!NAME.test(name)) fail("policy_invalid", `line ${tables.lines.get(name)}: invalid peer name`);
      peers.#add(name, table);
    }
    if (!always.every((each) => peers.#known.has(each))) fail("policy_invalid", "always_to: no such peer, or nobody holds the permission");
    return peers;
  }

  /** Return the names of the peers that have a key. */
  namesOf(sender: string): readonly string[] {
    return this.#names.get(sender) ?? [];
  }

  /** Return the strictest of all claims to a key on a subject, or undefined to refuse it. */
  admit(sender: string, subject: string): Verdict | undefined {
    const claims = (this.#claims.get(sender) ?? []).filter((each) => each.subjects.some((one) => matches(one, subject)));
    if (!claims.length) return undefined;
    return { users: claims.flatMap((each) => each.users), alwaysSigns: claims.some((each) => each.alwaysSigns) };
  }

  #add(name: string, table: TomlValue): void {
    const where = `[peers.${name}]`;
    const invalid = (why: string): never => fail("policy_invalid", `${where}: ${why}`);
    if (!(table instanceof Table)) return invalid("expected a table");
    for (const key of table.values.keys()) if (!SETTINGS.includes(key)) invalid(`unknown setting (known: ${SETTINGS.join(", ")})`);
    const value = (key: string) => table.values.get(key);
    const [xkey, user, alwaysSigns = false] = [value("xkey"), value("user"), value("always_signs")];
    if ((xkey === undefined) === (value("xkeys") === undefined)) invalid("expected exactly one of xkey and xkeys");
    const keys = xkey === undefined ? textsOf(value("xkeys"), `${where}: xkeys`) : [xkey];
    if (!keys.length) invalid("xkeys must not be empty");
    if (typeof alwaysSigns !== "boolean") return invalid("always_signs must be true or false");
    if (alwaysSigns && user === undefined) invalid("always_signs requires user");
    const subjects = textsOf(value("subjects"), `${where}: subjects`);
    try {
      keys.forEach(decodeXKey);
      if (user !== undefined) decodeUser(user);
      subjects.forEach(checkPattern);
    } catch (error) {
      invalid(error instanceof XKeyMsgError ? error.message : "subjects: not a valid subject or pattern");
    }
    if (new Set(keys).size < keys.length) invalid("xkeys lists a key twice");
    if (subjects.some((each) => each.split(".")[0] === "_XKM")) invalid("subjects: _XKM is reserved for replies");
    const permissions = textsOf(value("permissions"), `${where}: permissions`);
    if (!permissions.every(isPermission)) invalid("invalid permission");
    for (const known of [name, ...permissions.map((each) => `perm:${each}`)]) this.#known.add(known);
    const claim = { users: user === undefined ? [] : [user as string], alwaysSigns, subjects };
    for (const key of keys as string[]) {
      this.#claims.set(key, [...(this.#claims.get(key) ?? []), claim]);
      this.#names.set(key, [...this.namesOf(key), name]);
    }
  }
}

function textsOf(value: TomlValue | undefined, where: string): readonly string[] {
  if (value === undefined) return [];
  return isTexts(value) ? value : fail("policy_invalid", `${where}: expected an array of texts`);
}
