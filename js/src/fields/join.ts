/** Joins the pairs of all granted parts (F-51 to F-59). */
import type { Bytes } from "../bytes.js";
import { fail } from "../errors.js";
import type { Limits } from "../limits.js";
import { Counts, type Pair, readPairs, type Segment } from "./plaintext.js";
import { type Value, WITHHELD } from "./values.js";

/** A node of the tree: new, a map or list of children, or taken by a value. */
interface Node {
  state: "new" | "map" | "list" | "taken";
  value?: Value;
  children?: Map<Segment, Node>;
}

const newNode = (): Node => ({ state: "new" });

function place(root: Node, { path, value }: Pair): void {
  let node = root;
  for (const segment of path) {
    const kind = typeof segment === "string" ? "map" : "list";
    if (node.state === "new") {
      node.state = kind;
      node.children = new Map();
    }
    if (node.state !== kind) fail("malformed", "fields: two values at one place");
    let child = node.children!.get(segment);
    if (!child) node.children!.set(segment, (child = newNode()));
    node = child;
  }
  if (node.state !== "new") fail("malformed", "fields: two values at one place");
  node.state = "taken";
  node.value = value;
}

/** Count the holes of all lists, in integers of any size. */
function holesOf({ state, children }: Node): bigint {
  let holes = 0n;
  let greatest = -1n;
  for (const [segment, child] of children ?? []) {
    holes += holesOf(child);
    if (state === "list" && BigInt(segment) > greatest) greatest = BigInt(segment);
  }
  return state === "list" ? holes + greatest + 1n - BigInt(children!.size) : holes;
}

function valueOf({ state, value, children }: Node): Value {
  if (state === "taken") return value!;
  if (state === "map") return new Map([...children!].map(([name, child]) => [name as string, valueOf(child)]));
  const list: Value[] = [];
  for (const [index, child] of children!) {
    while (list.length <= (index as number)) list.push(WITHHELD);
    list[index as number] = valueOf(child);
  }
  return list;
}

function treeOf(pairs: readonly Pair[]): Node {
  const root = newNode();
  for (const pair of pairs) place(root, pair);
  return root;
}

/** Count the items that are withheld from a reader of some pairs. */
export const countHoles = (pairs: readonly Pair[]): bigint => holesOf(treeOf(pairs));

/** Join plaintexts, of which there is at least one. */
export function joinParts(plaintexts: readonly Bytes[], limits: Limits): Value {
  const counts = new Counts(limits);
  const root = treeOf(plaintexts.map((plaintext) => readPairs(plaintext, counts)).flat());
  if (holesOf(root) > limits.holes) fail("limit_exceeded", `more than ${limits.holes} withheld items of lists`);
  return valueOf(root);
}
