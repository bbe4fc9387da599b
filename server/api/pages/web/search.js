// The search: what is asked, what the server answered, and the two rankings.
import { post } from "./api.js";
import { MOST, read } from "./documents.js";
import { EXAMPLES, isEnglishOnly } from "./examples.js";
import { $, element, score } from "./text.js";
import { dot, shorten } from "./vectors.js";

// Texts in a request, below the server's own limit and short enough to be seen as progress.
const TEXTS_A_REQUEST = 64;
const CACHED_VECTORS = 5000;
// Typing is one request, not one a letter.
const PAUSE_MS = 250;

// What the other views show: the models, and one search with all of its answers. A search replaces the one before it as a
// whole, so that no score stands beside a document that it is not of. Scores and vectors are null until they are there.
export const current = { models: [], embedder: null, reranker: null, ...emptySearch() };

const cache = new Map();
let running = new AbortController();
let timer = 0;
let example = EXAMPLES[0];
let report = { changed: () => {}, failed: () => {} };

function emptySearch() {
  return { query: "", documents: [], vectors: null, queryVector: null, scores: null, waits: new Set(), cut: 0 };
}

// `changed` is called when there is something new to draw, `failed` with what failed, or with null.
export function start(callbacks) {
  report = callbacks;
  for (const id of ["documents", "query", "instruction"]) $(id).addEventListener("input", later);
  for (const id of ["embedder", "reranker"]) $(id).addEventListener("change", () => { chooseModels(); later(); });
  $("dimensions").addEventListener("input", () => { showDimensions(); draw(); });
  $("compare").addEventListener("input", later);
  $("compare").addEventListener("submit", (event) => event.preventDefault());
  $("file").addEventListener("change", () => { take($("file").files[0]); $("file").value = ""; });
  takeDrops($("documents"));
  $("examples").append(...EXAMPLES.map(exampleButton));
  showExample(EXAMPLES[0]);
}

export function setModels(models) {
  const choose = (id, kind) => {
    const chosen = $(id).value;
    const ids = models.filter((model) => model.hearth?.kind === kind).map((model) => model.id);
    $(id).replaceChildren(...ids.map((name) => element("option", { value: name }, name)));
    if (ids.includes(chosen)) $(id).value = chosen;
    $(id).disabled = !ids.length;
  };
  choose("embedder", "embedder");
  choose("reranker", "reranker");
  current.models = models;
  chooseModels();
}

// The dimensions that the slider asks for, or null for all of them.
export function dimensions() {
  const sizes = sizesOf(current.embedder);
  const size = sizes[Number($("dimensions").value) - 1] ?? null;
  return size === sizes[sizes.length - 1] ? null : size;
}

// The dimensions that a model's vectors may have, the smallest first.
function sizesOf(model) {
  const width = model?.hearth.dimensions ?? 1;
  const allowed = model?.hearth.matryoshka ?? true;
  if (Array.isArray(allowed)) return [...new Set([...allowed, width])].sort((a, b) => a - b);
  return allowed ? Array.from({ length: width }, (_, index) => index + 1) : [width];
}

// How the query is sent to the embedder: as it is, under a named prompt, or after an instruction of the user's own.
export function queryInput(query = current.query) {
  const instruction = $("instruction").value.trim();
  const { embedder } = current;
  if (instruction && takesInstruction(embedder)) return { input: `Instruct: ${instruction}\nQuery:${query}` };
  return embedder?.hearth.prompts.includes("query") ? { input: query, prompt_name: "query" } : { input: query };
}

export function rerankRequest({ query, documents } = current) {
  const instruction = $("instruction").value.trim();
  const { reranker } = current;
  return {
    ...(reranker && { model: reranker.id }), query, documents, return_documents: false, ...(instruction && { instruction }),
  };
}

const takesInstruction = (model) => model?.hearth.architecture.startsWith("Qwen3") ?? false;

export function later() {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE_MS);
}

export async function search() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const next = readForm();
  next.waits = new Set([...(current.embedder ? ["vectors"] : []), ...(current.reranker ? ["scores"] : [])]);
  if (!next.query || !next.documents.length) next.waits.clear();
  adopt(next);
  try {
    await Promise.all([embed(next, signal), rerank(next, signal), compare(signal)]);
    report.failed(null);
  } catch (error) {
    if (error.name === "AbortError") return;
    running.abort();
    next.waits.clear();
    adopt(next);
    report.failed(error);
  }
}

function adopt(next) {
  Object.assign(current, next);
  $("cut-hint").hidden = !next.cut;
  $("cut-hint").textContent = `${next.cut} ${next.cut === 1 ? "text is" : "texts are"} longer than the model reads, and ${next.cut === 1 ? "was" : "were"} cut.`;
  draw();
}

function draw() {
  showEmbeddingRanking();
  showRerankRanking();
  report.changed();
}

function readForm() {
  const lines = $("documents").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const documents = lines.slice(0, MOST);
  const left = lines.length - documents.length;
  $("document-count").textContent = `${documents.length} documents${left ? `; the last ${left} are left out here, the API takes them` : ""}`;
  return { ...emptySearch(), query: $("query").value.trim(), documents };
}

async function embed(next, signal) {
  if (!next.waits.has("vectors")) return;
  const model = current.embedder.id;
  const { input, prompt_name: promptName } = queryInput(next.query);
  const documents = await vectorsOf(model, next.documents, undefined, signal);
  const query = await vectorsOf(model, [input], promptName, signal);
  Object.assign(next, { vectors: documents.vectors, queryVector: query.vectors[0] });
  next.cut += documents.cut + query.cut;
  next.waits.delete("vectors");
  adopt(next);
}

// The vectors of texts, and how many of the texts were cut. What was asked before is not asked again.
async function vectorsOf(model, texts, promptName, signal) {
  const place = (text) => JSON.stringify([model, promptName ?? null, text]);
  const known = new Map(texts.filter((text) => cache.has(place(text))).map((text) => [text, cache.get(place(text))]));
  const missing = [...new Set(texts)].filter((text) => !known.has(text));
  if (cache.size > CACHED_VECTORS) cache.clear();
  let size = TEXTS_A_REQUEST;
  let cutTexts = 0;
  for (let first = 0; first < missing.length;) {
    const input = missing.slice(first, first + size);
    try {
      const { answer, cut } = await post("v1/embeddings", { model, input, truncate: true, ...(promptName && { prompt_name: promptName }) }, signal);
      answer.data.forEach(({ index, embedding }) => known.set(input[index], embedding));
      // The answer counts the texts that were cut and does not name them: they are counted again next time.
      if (!cut) input.forEach((text) => cache.set(place(text), known.get(text)));
      cutTexts += cut;
      first += input.length;
    } catch (error) {
      if (error.code !== "array_above_max_length" || size === 1) throw error;
      size = Math.floor(size / 2);
    }
  }
  return { vectors: texts.map((text) => known.get(text)), cut: cutTexts };
}

async function rerank(next, signal) {
  if (!next.waits.has("scores")) return;
  const { answer } = await post("v1/rerank", rerankRequest(next), signal);
  next.scores = next.documents.map(() => 0);
  answer.results.forEach((result) => { next.scores[result.index] = result.relevance_score; });
  next.waits.delete("scores");
  adopt(next);
}

async function compare(signal) {
  const texts = [$("text-a").value.trim(), $("text-b").value.trim()];
  if (!current.embedder || !texts.every(Boolean)) {
    $("cosine").textContent = "";
    return;
  }
  const { vectors } = await vectorsOf(current.embedder.id, texts, undefined, signal);
  const [a, b] = vectors.map((vector) => shorten(vector, vector.length));
  $("cosine").textContent = `cosine ${score(dot(a, b))}`;
}

// What the slider leaves of a vector.
export const shortened = (vector) => shorten(vector, dimensions() ?? vector.length);

function embeddingScores() {
  if (!current.queryVector) return null;
  const query = shortened(current.queryVector);
  return current.vectors.map((vector) => dot(shortened(vector), query));
}

const placesOf = (scores) => {
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a]);
  return { order, places: order.reduce((places, index, place) => ((places[index] = place), places), []) };
};

function showEmbeddingRanking() {
  const scores = embeddingScores();
  const whole = (vector) => shorten(vector, vector.length);
  const full = dimensions() && scores && placesOf(current.vectors.map((vector) => dot(whole(vector), whole(current.queryVector))));
  $("embedding-note").textContent = full ? "arrows: against all dimensions" : "cosine";
  showRanking("embedding-ranking", scores, full?.places, noRanking("vectors", current.embedder, "embedder"));
}

function showRerankRanking() {
  const scores = embeddingScores();
  $("rerank-note").textContent = current.scores && scores ? "score; arrows: against embedding" : "score";
  showRanking("rerank-ranking", current.scores, scores && placesOf(scores).places, noRanking("scores", current.reranker, "reranker"));
}

function noRanking(what, model, kind) {
  if (!model) return `No ${kind} is served.`;
  if (current.waits.has(what)) return "ranking…";
  return current.query && current.documents.length ? "No answer: see above." : "Write a query and some documents.";
}

function showRanking(id, scores, placesBefore, words) {
  if (!scores) {
    $(id).replaceChildren(element("li", { class: "hint" }, element("span"), element("span", {}, words)));
    return;
  }
  $(id).replaceChildren(...placesOf(scores).order.map((index, place) => row(index, place, scores[index], placesBefore?.[index])));
}

function row(index, place, value, before) {
  const bar = element("i");
  bar.style.setProperty("--share", `${Math.round(Math.min(1, Math.max(0, value)) * 100)}%`);
  return element("li", {},
    element("span", { class: "place" }, String(place + 1)),
    element("span", { class: "text", title: current.documents[index] }, current.documents[index]),
    element("span", { class: "score" }, ...moved(place, before), score(value)),
    element("span", { class: "bar", "aria-hidden": "true" }, bar));
}

function moved(place, before) {
  if (before === undefined || before === place) return [];
  const up = before > place;
  const steps = Math.abs(before - place);
  const words = element("span", { class: "away" }, `${up ? "up" : "down"} ${steps}, `);
  return [element("span", { class: up ? "up" : "down", "aria-hidden": "true" }, `${up ? "▲" : "▼"}${steps} `), words];
}

function chooseModels() {
  const find = (id) => current.models.find((model) => model.id === id) ?? null;
  current.embedder = find($("embedder").value);
  current.reranker = find($("reranker").value);
  const slider = $("dimensions");
  const sizes = sizesOf(current.embedder).length;
  if (slider.max !== String(sizes)) Object.assign(slider, { max: sizes, value: sizes });
  slider.disabled = sizes === 1;
  showDimensions();
  showHint();
  const readers = [current.reranker, takesInstruction(current.embedder) ? current.embedder : null].filter(Boolean);
  $("instruction-hint").textContent = readers.length
    ? `What the search is for, in a sentence. Read by ${readers.map((model) => model.id).join(" and ")}.`
    : "The chosen models read no instruction.";
  $("instruction").disabled = !readers.length;
}

function showDimensions() {
  const sizes = sizesOf(current.embedder);
  const width = sizes[sizes.length - 1];
  const chosen = dimensions() ?? width;
  $("dimensions-value").textContent = String(chosen);
  const bytes = `${chosen * 4} bytes a vector as float32, of ${width * 4}.`;
  $("dimensions-hint").textContent = sizes.length > 1 ? bytes : `${bytes} This model was not trained for shorter vectors.`;
}

function exampleButton(chosen) {
  const button = element("button", { lang: chosen.language }, chosen.name);
  button.addEventListener("click", () => { showExample(chosen); search(); });
  return button;
}

function showExample(chosen) {
  example = chosen;
  $("documents").value = example.documents.join("\n");
  $("query").value = example.query;
  showHint();
}

function showHint() {
  const english = [current.embedder, current.reranker].filter((model) => model && isEnglishOnly(model)).map((model) => model.id);
  const demo = [current.embedder, current.reranker].filter((model) => model?.id.startsWith("demo-")).map((model) => model.id);
  const hints = [
    ...(example.language !== "en" && english.length ? [`${list(english)} learned English: expect little here.`] : []),
    ...(demo.length ? [`${list(demo)} shows how this server works, in 10 MB. For your own search: Qwen3, see the README.`] : []),
  ];
  $("model-hint").textContent = hints.join(" ");
}

const list = (names) => names.join(" and ");

function takeDrops(area) {
  const stop = (dropping) => (event) => { event.preventDefault(); area.classList.toggle("dropping", dropping); };
  area.addEventListener("dragover", stop(true));
  area.addEventListener("dragleave", stop(false));
  area.addEventListener("drop", (event) => {
    stop(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) take(file);
    else insert(area, event.dataTransfer.getData("text"));
  });
}

function insert(area, text) {
  area.value += (area.value && !area.value.endsWith("\n") ? "\n" : "") + text;
  later();
}

async function take(file) {
  if (!file) return;
  try {
    const documents = read(file.name, await file.arrayBuffer());
    if (!documents.length) throw new Error("It holds no text.");
    $("documents").value = documents.join("\n");
    report.failed(null, "file");
    later();
  } catch (error) {
    report.failed(new Error(`${file.name}: ${error.message}`), "file");
  }
}
