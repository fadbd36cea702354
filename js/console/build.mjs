// Builds the script of the console's page "Open here": `npm run console`. The result is committed.
import { createHash } from "node:crypto";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL("..", import.meta.url));
const folder = process.argv[2] ?? fileURLToPath(new URL("../../xkeymsg/cli/console/static", import.meta.url));

const { outputFiles, metafile } = await build({
  absWorkingDir: here,
  entryPoints: ["console/open.ts"],
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  charset: "ascii",
  minify: true,
  drop: ["console"], // a library prints what servers say
  legalComments: "none", // their texts are beside the script
  metafile: true,
  write: false,
});
const names = new Set(Object.keys(metafile.inputs).flatMap((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []));
const { version } = JSON.parse(await readFile(`${here}/package.json`));
const [list, licences] = [[`xkeymsg ${version}`], []];
for (const name of [...names].sort()) {
  const path = `${here}/node_modules/${name}`;
  const { version, license } = JSON.parse(await readFile(`${path}/package.json`));
  const file = (await readdir(path)).find((each) => /^licen[cs]e/i.test(each));
  if (!file) throw new Error(`${name}: no licence text`);
  list.push(`${name} ${version}`);
  licences.push(`${"=".repeat(80)}\n${name} ${version} (${license})\n\n${(await readFile(`${path}/${file}`, "utf8")).trim()}\n`);
}
const { version: esbuild } = JSON.parse(await readFile(`${here}/node_modules/esbuild/package.json`));
const script = `// Built by js/console/build.mjs with esbuild ${esbuild}, from ${list.join(", ")}.\n${outputFiles[0].text}`;
const hash = createHash("sha256").update(script).digest("hex");
await writeFile(`${folder}/open.js`, script);
await writeFile(`${folder}/open.js.txt`, `sha256 ${hash}\n\n${list.map((each) => `- ${each}\n`).join("")}\n${licences.join("\n")}`);
