// The examples of README.md run as they are.
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
const written = [];
after(() => written.forEach((file) => rmSync(file)));

/** Run a block, and return what it logs. */
async function run(code) {
  const file = new URL(`example-${process.pid}-${written.length}.tmp.mjs`, import.meta.url);
  writeFileSync(file, code);
  written.push(file);
  const lines = [];
  const { log } = console;
  console.log = (...values) => lines.push(values);
  try {
    await import(pathToFileURL(file.pathname));
  } finally {
    console.log = log;
  }
  return lines;
}

test("seal and open", async () => {
  assert.deepEqual(await run(blocks[0]), [["7 lamps", true], ["replay", "refused"]]);
});

test("documents", async () => {
  const [[document], last] = await run(blocks[1]);
  assert.deepEqual([document.get("patient"), document.get("sums")[1], last], ["Ann", 40n, [true, 1]]);
});

if (process.env.XKEYMSG_URL) {
  test("NATS", async () => {
    globalThis.url = process.env.XKEYMSG_URL;
    const lines = await run(blocks[2]);
    assert.deepEqual(lines, [["orders.new", "7 lamps"], ["print"]]);
  });
}
