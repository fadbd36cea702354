/** Reads TOML 1.0, but for the values of numbers and dates, which no file of this package can hold. */
import { fail } from "../errors.js";

/** A number or date. */
export const OTHER: unique symbol = Symbol("another type");

export type TomlValue = string | boolean | readonly TomlValue[] | Table | typeof OTHER;

/** A table. `line` is where it, or the key that holds it, begins. */
export class Table {
  readonly values = new Map<string, TomlValue>();
  /** The line of each key. */
  readonly lines = new Map<string, number>();
  readonly line: number;
  /** Whether a header defined it, or dotted keys, or nothing yet; inline tables are closed. */
  state: "implicit" | "header" | "dotted" | "inline";

  constructor(line: number, state: Table["state"]) {
    this.line = line;
    this.state = state;
  }
}

/** An array of tables that headers `[[…]]` extend. */
class Tables extends Array<Table> {}

const BARE = /[A-Za-z0-9_-]+/y;
const LITERAL = /'([^'\u0000-\u0008\u000a-\u001f\u007f]*)'/y;
const BASIC = /"((?:[^"\\\u0000-\u0008\u000a-\u001f\u007f]|\\.)*)"/y;
const LONG_LITERAL = /'''(?:\r?\n)?((?:(?!''')(?:\r\n|[^\u0000-\u0008\u000b-\u001f\u007f]))*'{0,2})'''(?!')/y;
const LONG_BASIC = /"""(?:\r?\n)?((?:(?!""")(?:\r\n|\\[^]|[^\\\u0000-\u0008\u000b-\u001f\u007f]))*"{0,2})"""(?!")/y;
const PLAIN =
  /(?:true|false|[+-]?(?:inf|nan)|[+-]?(?:0|[1-9](?:_?\d)*)(?:\.\d(?:_?\d)*)?(?:[eE][+-]?\d(?:_?\d)*)?|0x[\da-fA-F](?:_?[\da-fA-F])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*|\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)?)?|\d\d:\d\d:\d\d(?:\.\d+)?)(?=[\s,\]}#]|$)/y;
const SPACE = /[ \t]*/y;
const COMMENT = /[ \t]*(?:#[^\u0000-\u0008\u000a-\u001f\u007f]*)?(?:\r?\n|$)/y;
const BLANK = /(?:[ \t\n]|\r\n|#[^\u0000-\u0008\u000a-\u001f\u007f]*(?=\r?\n|$))*/y;
const ESCAPES: Record<string, string> = { b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", '"': '"', "\\": "\\" };

class TomlParser {
  readonly root = new Table(1, "header");
  readonly #text: string;
  #at = 0;
  /** The number of the line that begins at `#counted`. */
  #lines = 1;
  #counted = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Table {
    let table = this.root;
    for (;;) {
      this.#take(BLANK);
      if (this.#at === this.#text.length) return this.root;
      if (this.#accept("[[")) table = this.#header("]]");
      else if (this.#accept("[")) table = this.#header("]");
      else this.#keyValue(table);
      this.#take(COMMENT) ?? this.#invalid("expected the end of the line");
    }
  }

  /** Return the line of the current place; places only grow. */
  #line(): number {
    for (let end; (end = this.#text.indexOf("\n", this.#counted)) >= 0 && end < this.#at; this.#lines++) this.#counted = end + 1;
    return this.#lines;
  }

  #invalid(why: string): never {
    return fail("policy_invalid", `line ${this.#line()}: not TOML for this file: ${why}`);
  }

  #take(expression: RegExp): RegExpExecArray | undefined {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.#text) ?? undefined;
    this.#at += found?.[0].length ?? 0;
    return found;
  }

  #accept(text: string): boolean {
    const found = this.#text.startsWith(text, this.#at);
    if (found) this.#at += text.length;
    return found;
  }

  #key(): string[] {
    const key: string[] = [];
    do {
      this.#take(SPACE);
      const bare = this.#take(BARE)?.[0];
      key.push(bare ?? this.#take(LITERAL)?.[1] ?? this.#basic(BASIC) ?? this.#invalid("expected a key"));
      this.#take(SPACE);
    } while (this.#accept("."));
    return key;
  }

  #header(end: "]" | "]]"): Table {
    const line = this.#line();
    const key = this.#key();
    if (!this.#accept(end)) this.#invalid(`expected ${end}`);
    const last = key.pop()!;
    let table = this.root;
    for (const name of key) {
      let next = table.values.get(name);
      if (next === undefined) this.#put(table, name, (next = new Table(line, "implicit")), line);
      if (next instanceof Tables) next = next.at(-1)!;
      table = next instanceof Table && next.state !== "inline" ? next : this.#invalid("a key is defined twice");
    }
    const known = table.values.get(last);
    if (end === "]]") {
      const own = new Table(line, "header");
      if (known === undefined) this.#put(table, last, Tables.of(own) as Tables, line);
      else if (known instanceof Tables) known.push(own);
      else this.#invalid("a key is defined twice");
      return own;
    }
    if (known === undefined) {
      const own = new Table(line, "header");
      this.#put(table, last, own, line);
      return own;
    }
    if (!(known instanceof Table) || known.state !== "implicit") return this.#invalid("a table is defined twice");
    known.state = "header";
    return known;
  }

  #put(table: Table, name: string, value: TomlValue, line: number): void {
    table.values.set(name, value);
    table.lines.set(name, line);
  }

  #keyValue(table: Table, depth = 0): void {
    const line = this.#line();
    const key = this.#key();
    if (!this.#accept("=")) this.#invalid("expected =");
    const last = key.pop()!;
    for (const name of key) {
      let next = table.values.get(name);
      if (next === undefined) this.#put(table, name, (next = new Table(line, "dotted")), line);
      table = next instanceof Table && next.state === "dotted" ? next : this.#invalid("a key is defined twice");
    }
    if (table.values.has(last)) this.#invalid("a key is defined twice");
    this.#put(table, last, this.#value(depth), line);
  }

  #value(depth = 0): TomlValue {
    if (depth > 100) this.#invalid("nested too deep");
    this.#take(SPACE);
    const literal = this.#take(LONG_LITERAL) ?? (this.#text.startsWith("'''", this.#at) ? undefined : this.#take(LITERAL));
    if (literal) return literal[1]!.replaceAll("\r\n", "\n");
    const basic = this.#basic(LONG_BASIC) ?? (this.#text.startsWith('"""', this.#at) ? undefined : this.#basic(BASIC));
    if (basic !== undefined) return basic;
    if (this.#accept("[")) return this.#array(depth);
    if (this.#accept("{")) return this.#inline(depth + 1);
    const plain = this.#take(PLAIN)?.[0] ?? this.#invalid("expected a value");
    return plain === "true" || plain === "false" ? plain === "true" : OTHER;
  }

  #array(depth: number): TomlValue[] {
    const array: TomlValue[] = [];
    for (this.#take(BLANK); !this.#accept("]"); this.#take(BLANK)) {
      array.push(this.#value(depth + 1));
      this.#take(BLANK);
      if (this.#accept(",")) continue;
      if (!this.#text.startsWith("]", this.#at)) this.#invalid("expected , or ]");
    }
    return array;
  }

  #inline(depth: number): Table {
    const table = new Table(this.#line(), "inline");
    this.#take(SPACE);
    if (this.#accept("}")) return table;
    do this.#keyValue(table, depth);
    while ((this.#take(SPACE), this.#accept(",")));
    return this.#accept("}") ? table : this.#invalid("expected , or }");
  }

  #basic(expression: RegExp): string | undefined {
    const found = this.#take(expression)?.[1];
    if (found === undefined) return undefined;
    const text = expression === LONG_BASIC ? found.replaceAll("\r\n", "\n").replace(/\\[ \t]*\n\s*/g, "") : found;
    return text.replace(/\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))/gs, (_, short, long, letter) => {
      if (letter !== undefined) return ESCAPES[letter] ?? this.#invalid("an unknown escape");
      const point = parseInt(short ?? long, 16);
      const isScalar = point < 0xd800 || (point > 0xdfff && point < 0x110000);
      return isScalar ? String.fromCodePoint(point) : this.#invalid("an escape that is not a character");
    });
  }
}

export const parseToml = (text: string): Table => new TomlParser(text).parse();
