// Where the vectors are: in the repository, or where a variable says.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = process.env.XKEYMSG_VECTORS ?? fileURLToPath(new URL("../../vectors", import.meta.url));

export const text = (name) => readFileSync(`${folder}/${name}`, "utf8");
export const vectors = (name) => JSON.parse(text(name));
