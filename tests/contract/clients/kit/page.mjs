// The code that docs/clients.md shows, run as it stands there but for address, key, model names and names of packages.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { HEARTH_URL, HEARTH_KEY, HEARTH_EMBEDDER, HEARTH_RERANKER, HEARTH_CLIENTS_PAGE } = process.env;
let written = 0;

/** The JavaScript blocks below a heading of the page, in order. */
export function blocks(title) {
  const sections = readFileSync(HEARTH_CLIENTS_PAGE, "utf8").split(/^##+ /m);
  const section = sections.find((text) => text.startsWith(`${title}\n`));
  assert.ok(section, `the page has no heading: ${title}`);
  return [...section.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1]);
}

/** Runs code of the page in the family's environment; the variables that are named come back. */
export async function run(code, names, { base = HEARTH_URL, packages = {} } = {}) {
  const filledIn = {
    "http://localhost:8000": base,
    YOUR_KEY: HEARTH_KEY,
    "Qwen/Qwen3-Embedding-0.6B": HEARTH_EMBEDDER,
    "Qwen/Qwen3-Reranker-0.6B": HEARTH_RERANKER,
    ...Object.fromEntries(Object.entries(packages).map(([name, alias]) => [`from "${name}"`, `from "${alias}"`])),
  };
  const program = Object.entries(filledIn).reduce((text, [from, to]) => text.replaceAll(from, to), code);
  // A module of its own beside node_modules, because import looks for packages above the importing file.
  const file = join(process.cwd(), `page-${(written += 1)}.mjs`);
  writeFileSync(file, `${program}\nexport { ${names.join(", ")} };\n`);
  return import(pathToFileURL(file));
}
