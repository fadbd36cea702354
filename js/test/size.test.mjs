// The size of a bundle, with the fallbacks left out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const bundle = async (code) => {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: import.meta.dirname },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    external: ["*/fallback.js", "@nats-io/*"],
    write: false,
  });
  return outputFiles[0].contents;
};

test("the package is at most 25 KB, minified and compressed", async () => {
  for (const [code, compressed] of [
    ['export * from "xkeymsg";', (bytes) => gzipSync(bytes, { level: 9 }).length],
    ['export * from "xkeymsg"; export * from "xkeymsg/nats";', (bytes) => brotliCompressSync(bytes).length],
  ]) {
    const bytes = await bundle(code);
    assert.ok(compressed(bytes) <= 25_000, `${code} ${bytes.length} bytes, compressed ${compressed(bytes)}`);
  }
});

test("opening alone is smaller: what is not used is left out", async () => {
  const opening = await bundle('export { Opener, XKey } from "xkeymsg";');
  const all = await bundle('export * from "xkeymsg";');
  assert.ok(opening.length < 0.75 * all.length, `${opening.length} of ${all.length}`);
});
