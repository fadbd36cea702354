// Runs functions of browser_entry.mjs in headless Chromium: browser.mjs CHROMIUM VECTORS '[["vectors"], …]'
import { build } from "esbuild";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [, , executablePath, vectors, calls] = process.argv;
const entry = fileURLToPath(new URL("browser_entry.mjs", import.meta.url));
const bundle = await build({ entryPoints: [entry], bundle: true, format: "esm", platform: "browser", write: false });

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  const send = (type, body) => response.writeHead(200, { "content-type": type }).end(body);
  if (path === "/") return send("text/html", '<!doctype html><script type="module" src="/bundle.js"></script>');
  if (path === "/bundle.js") return send("text/javascript", bundle.outputFiles[0].contents);
  if (path.startsWith("/vectors/")) return send("application/json", await readFile(join(vectors, basename(path))));
  return response.writeHead(404).end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  page.setDefaultTimeout(120_000);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => globalThis.xkeymsg);
  const results = [];
  for (const [name, argument] of JSON.parse(calls)) {
    results.push(await page.evaluate(([each, given]) => globalThis.xkeymsg[each](given), [name, argument]));
  }
  process.stdout.write(JSON.stringify(results) + "\n");
} finally {
  await browser.close();
  server.close();
}
