// The request behind the search, as a program.
import { base, readKey } from "./api.js";
import { current, dimensions, queryInput, rerankRequest } from "./search.js";
import { $, element } from "./text.js";

const LANGUAGES = { curl, "Python (openai)": openai, "Python (requests)": requests, JavaScript: javascript, Java: java };
const OPERATIONS = { "Embed the query": embedQuery, "Embed the documents": embedDocuments, Rerank: rerank };
// Which model an operation needs.
const NEEDS = { "Embed the query": "embedder", "Embed the documents": "embedder", Rerank: "reranker" };
// Documents in the code; the others are left out.
const SHOWN = 5;

export function start() {
  choices($("operations"), "operation", Object.keys(OPERATIONS));
  choices($("languages"), "language", Object.keys(LANGUAGES));
  $("copy").addEventListener("click", copy);
}

export function show() {
  offer();
  const { path, body } = OPERATIONS[chosen("operation")]();
  $("code").textContent = LANGUAGES[chosen("language")](path, body);
  $("copied").textContent = "";
}

function choices(fieldset, name, values) {
  values.forEach((value, index) => {
    const input = element("input", { type: "radio", name, value });
    input.checked = index === 0;
    input.addEventListener("change", show);
    fieldset.append(element("label", {}, input, ` ${value}`));
  });
}

// Only what the served models can do.
function offer() {
  const inputs = [...document.querySelectorAll("input[name=operation]")];
  for (const input of inputs) input.disabled = !current[NEEDS[input.value]];
  const able = inputs.filter((input) => !input.disabled);
  if (able.length && !able.some((input) => input.checked)) able[0].checked = true;
}

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

async function copy() {
  const text = $("code").textContent;
  try {
    await navigator.clipboard.writeText(text);
    $("copied").textContent = "Copied.";
  } catch {
    // Browsers give pages without TLS no clipboard, unless they are on this machine.
    getSelection().selectAllChildren($("code"));
    $("copied").textContent = document.execCommand("copy") ? "Copied." : "Selected: copy it with Ctrl+C.";
  }
}

// What was chosen, or happened, beyond the defaults: without `truncate` a text that is too long is refused.
const asShown = (body) => ({
  ...body, ...(dimensions() && { dimensions: dimensions() }), ...(current.cut && { truncate: true }),
});

function embedQuery() {
  return { path: "v1/embeddings", body: asShown({ model: current.embedder?.id ?? "", ...queryInput() }) };
}

function embedDocuments() {
  return { path: "v1/embeddings", body: asShown({ model: current.embedder?.id ?? "", input: current.documents.slice(0, SHOWN) }) };
}

function rerank() {
  return { path: "v1/rerank", body: { ...rerankRequest(), documents: current.documents.slice(0, SHOWN) } };
}

const address = (path) => new URL(path, base).href;
const json = (value) => JSON.stringify(value, null, 2);
const needsKey = () => Boolean(readKey());
const indented = (text, by) => text.replaceAll("\n", `\n${by}`);

function curl(path, body) {
  const key = needsKey() ? ` \\\n  -H "Authorization: Bearer $HEARTH_API_KEY"` : "";
  return `curl ${address(path)} -H 'Content-Type: application/json'${key} \\\n  -d '${json(body).replaceAll("'", "'\\''")}'`;
}

const pythonKey = () => (needsKey() ? 'os.environ["HEARTH_API_KEY"]' : '"none"');
const pythonImports = (...names) => `${needsKey() ? "import os\n\n" : ""}${names.join("\n")}\n`;

// JSON is Python, but for three words; none of our requests holds null.
function python(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[\n${value.map((item) => `    ${indented(python(item), "    ")},\n`).join("")}]`;
  if (value && typeof value === "object") return `{\n${Object.entries(value).map(([name, item]) => `    ${JSON.stringify(name)}: ${indented(python(item), "    ")},\n`).join("")}}`;
  return JSON.stringify(value);
}

function openai(path, body) {
  const client = `client = OpenAI(base_url="${address("v1")}", api_key=${pythonKey()})\n`;
  const head = `${pythonImports("from openai import OpenAI")}\n${client}`;
  if (path !== "v1/embeddings") {
    return `${head}answer = client.post("/rerank", cast_to=dict, body=${python(body)})\nprint(answer["results"])\n`;
  }
  const { model, input, dimensions: width, ...extra } = body;
  const fields = { model, input, ...(width && { dimensions: width }) };
  const lines = Object.entries(fields).map(([name, value]) => `    ${name}=${indented(python(value), "    ")},\n`);
  if (Object.keys(extra).length) lines.push(`    extra_body=${indented(python(extra), "    ")},\n`);
  return `${head}answer = client.embeddings.create(\n${lines.join("")})\nprint(answer.data[0].embedding)\n`;
}

function requests(path, body) {
  const key = needsKey() ? `\n    headers={"Authorization": f"Bearer {os.environ['HEARTH_API_KEY']}"},` : "";
  return `${pythonImports("import requests")}\nanswer = requests.post(\n    "${address(path)}",${key}\n    json=${indented(python(body), "    ")},\n    timeout=60,\n)\nanswer.raise_for_status()\nprint(answer.json())\n`;
}

function javascript(path, body) {
  const key = needsKey() ? ", Authorization: `Bearer ${process.env.HEARTH_API_KEY}`" : "";
  return `const response = await fetch("${address(path)}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${key} },\n  body: JSON.stringify(${indented(json(body), "  ")}),\n});\nconsole.log(await response.json());\n`;
}

function java(path, body) {
  const key = needsKey() ? `\n        .header("Authorization", "Bearer " + System.getenv("HEARTH_API_KEY"))` : "";
  return `import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class Ask {
  public static void main(String[] arguments) throws Exception {
    var body = """
        ${indented(json(body).replaceAll("\\", "\\\\"), "        ")}
        """;
    var request = HttpRequest.newBuilder(URI.create("${address(path)}"))
        .header("Content-Type", "application/json")${key}
        .POST(HttpRequest.BodyPublishers.ofString(body))
        .build();
    var response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    System.out.println(response.body());
  }
}
`;
}
