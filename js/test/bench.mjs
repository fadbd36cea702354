// Times sealing and opening of 1 KiB in Node; `python -m tests.js.bench` does it in Chromium.
import "./browser_entry.mjs";

for (let run = 0; run < 3; run++) console.log(await globalThis.xkeymsg.bench(2_000));
