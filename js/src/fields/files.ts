/** Policies and readers in TOML files (F-37 to F-39). */
import { fromUtf8, isWellFormed } from "../bytes.js";
import { fail } from "../errors.js";
import { Recipient } from "../keys.js";
import { isPermission, isTexts, located, Policy, type Rule } from "./policy.js";
import { parseToml, Table, type TomlValue } from "./toml.js";

function textOf(file: string | Uint8Array): string {
  const text = typeof file === "string" ? file : fromUtf8(file);
  if (text === undefined || !isWellFormed(text)) return fail("policy_invalid", "not UTF-8");
  return text.replace(/^\ufeff/, ""); // some editors write a byte order mark
}

function checkKeys(table: Table, known: readonly string[]): void {
  for (const [key, line] of table.lines) {
    if (!known.includes(key)) fail("policy_invalid", `line ${line}: unknown key (known: ${known.join(", ")})`);
  }
}

function ruleOf(table: TomlValue): Rule {
  if (!(table instanceof Table)) return fail("policy_invalid", "expected a table [[rule]]");
  const unknown = [...table.values.keys()].find((key) => key !== "pattern" && key !== "readers");
  if (unknown !== undefined) fail("policy_invalid", "unknown key (known: pattern, readers)");
  return { pattern: table.values.get("pattern"), readers: table.values.get("readers") } as Rule; // Policy checks the types
}

/** Parse a policy file: TOML with `allow_unread` and `[[rule]]`. */
export function parsePolicy(file: string | Uint8Array): Policy {
  const root = parseToml(textOf(file));
  checkKeys(root, ["allow_unread", "rule"]);
  const tables = root.values.get("rule");
  if (!Array.isArray(tables)) return fail("policy_invalid", "a policy without rules [[rule]]");
  const where = (i: number) => `line ${(tables[i] as Table).line ?? root.lines.get("rule")}: rule ${i + 1}`;
  const rules = tables.map((table: TomlValue, i) => located(where(i), () => ruleOf(table)));
  const policy = new Policy(rules, { where });
  const allowUnread = root.values.get("allow_unread");
  if (allowUnread === undefined) return policy;
  return located(`line ${root.lines.get("allow_unread")}`, () =>
    isTexts(allowUnread) ? new Policy(rules, { allowUnread }) : fail("policy_invalid", "allow_unread: expected an array of texts"),
  );
}

/** Parse a file of readers: TOML with the table `[readers]`. */
export function parseReaders(file: string | Uint8Array): Map<string, Recipient[]> {
  const root = parseToml(textOf(file));
  checkKeys(root, ["readers"]);
  const table = root.values.get("readers");
  if (!(table instanceof Table)) return fail("policy_invalid", "expected the table [readers]");
  const readers = new Map<string, Recipient[]>();
  for (const [permission, texts] of table.values) {
    const line = table.lines.get(permission);
    if (!isPermission(permission)) return fail("policy_invalid", `line ${line}: invalid permission (allowed: a-z 0-9 . _ -)`);
    if (!isTexts(texts)) return fail("policy_invalid", `line ${line}: expected an array of recipients`);
    readers.set(permission, texts.map((text) => located(`line ${line}`, () => Recipient.parse(text))));
  }
  return readers;
}
