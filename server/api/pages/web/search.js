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

// What the other views show: the models in use, the documents and their vectors.
export const current = { embedder: null, reranker: null, documents: [], query: "", vectors: [], queryVector: null };

const cache = new Map();
let running = new AbortController();
let timer = 0;
let example = EXAMPLES[0];
let announce = () => {};

// `onChange` is called with null after each answer, and with what failed.
export function start(onChange) {
  announce = onChange;
  for (const id of ["documents", "query", "instruction"]) $(id).addEventListener("input", later);
  for (const id of ["embedder", "reranker"]) $(id).addEventListener("change", () => { chooseModels(); later(); });
  $("dimensions").addEventListener("input", () => { showDimensions(); showEmbeddingRanking(); announce(null); });
  $("compare").addEventListener("input", later);
  $("compare").addEventListener("submit", (event) => event.preventDefault());
  $("file").addEventListener("change", () => take($("file").files[0]));
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
  const slider = $("dimensions");
  return slider.value === slider.max ? null : Number(slider.value);
}

// How the query is sent to the embedder: as it is, under a named prompt, or after an instruction of the user's own.
export function queryInput() {
  const instruction = $("instruction").value.trim();
  const { embedder, query } = current;
  if (instruction && takesInstruction(embedder)) return { input: `Instruct: ${instruction}\nQuery:${query}` };
  return embedder?.hearth.prompts.includes("query") ? { input: query, prompt_name: "query" } : { input: query };
}

export function rerankRequest() {
  const instruction = $("instruction").value.trim();
  const { reranker, query, documents } = current;
  return { model: reranker?.id, query, documents, return_documents: false, ...(instruction && { instruction }) };
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
  readForm();
  try {
    await Promise.all([embed(signal), rerank(signal), compare(signal)]);
    announce(null);
  } catch (error) {
    if (error.name !== "AbortError") announce(error);
  }
}

function readForm() {
  current.query = $("query").value.trim();
  const lines = $("documents").value.split("\n").map((line) => line.trim()).filter(Boolean);
  current.documents = lines.slice(0, MOST);
  const left = lines.length - current.documents.length;
  $("document-count").textContent = `${current.documents.length} documents${left ? `; the last ${left} are left out here, the API takes them` : ""}`;
}

async function embed(signal) {
  const { embedder, documents, query } = current;
  if (!embedder || !documents.length || !query) {
    Object.assign(current, { vectors: [], queryVector: null });
    return showEmbeddingRanking();
  }
  const { input, prompt_name: promptName } = queryInput();
  const vectors = await vectorsOf(embedder.id, documents, undefined, signal);
  const [queryVector] = await vectorsOf(embedder.id, [input], promptName, signal);
  Object.assign(current, { vectors, queryVector });
  return showEmbeddingRanking();
}

async function vectorsOf(model, texts, promptName, signal) {
  const place = (text) => JSON.stringify([model, promptName ?? null, text]);
  const known = new Map(texts.filter((text) => cache.has(place(text))).map((text) => [text, cache.get(place(text))]));
  const missing = [...new Set(texts)].filter((text) => !known.has(text));
  for (let first = 0; first < missing.length; first += TEXTS_A_REQUEST) {
    const input = missing.slice(first, first + TEXTS_A_REQUEST);
    const answer = await post("v1/embeddings", { model, input, ...(promptName && { prompt_name: promptName }) }, signal);
    answer.data.forEach(({ index, embedding }) => known.set(input[index], embedding));
  }
  if (cache.size > CACHED_VECTORS) cache.clear();
  known.forEach((vector, text) => cache.set(place(text), vector));
  return texts.map((text) => known.get(text));
}

async function rerank(signal) {
  const { reranker, documents, query } = current;
  current.scores = null;
  if (reranker && documents.length && query) {
    const answer = await post("v1/rerank", rerankRequest(), signal);
    current.scores = documents.map(() => 0);
    answer.results.forEach((result) => { current.scores[result.index] = result.relevance_score; });
  }
  showRerankRanking();
}

async function compare(signal) {
  const texts = [$("text-a").value.trim(), $("text-b").value.trim()];
  if (!current.embedder || !texts.every(Boolean)) {
    $("cosine").textContent = "";
    return;
  }
  const [a, b] = (await vectorsOf(current.embedder.id, texts, undefined, signal)).map((vector) => shorten(vector, vector.length));
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
  const full = dimensions() && scores && placesOf(current.vectors.map((vector) => dot(shorten(vector, vector.length), shorten(current.queryVector, vector.length))));
  $("embedding-note").textContent = full ? "arrows: against all dimensions" : "cosine";
  showRanking("embedding-ranking", scores, full?.places, "No embedder is served.");
  showRerankRanking();
}

function showRerankRanking() {
  const scores = embeddingScores();
  $("rerank-note").textContent = current.scores && scores ? "score; arrows: against embedding" : "score";
  showRanking("rerank-ranking", current.scores, scores && placesOf(scores).places, "No reranker is served.");
}

function showRanking(id, scores, placesBefore, nobody) {
  if (!scores) {
    const served = id === "rerank-ranking" ? current.reranker : current.embedder;
    $(id).replaceChildren(element("li", { class: "hint" }, element("span"), element("span", {}, served ? "Write a query and some documents." : nobody)));
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
  const width = current.embedder?.hearth.dimensions ?? 1;
  if (slider.max !== String(width)) Object.assign(slider, { max: width, value: width });
  showDimensions();
  showHint();
  const readers = [current.reranker, takesInstruction(current.embedder) ? current.embedder : null].filter(Boolean);
  $("instruction-hint").textContent = readers.length
    ? `What the search is for, in a sentence. Read by ${readers.map((model) => model.id).join(" and ")}.`
    : "The chosen models read no instruction.";
  $("instruction").disabled = !readers.length;
}

function showDimensions() {
  const { max } = $("dimensions");
  const chosen = dimensions() ?? Number(max);
  $("dimensions-value").textContent = String(chosen);
  $("dimensions-hint").textContent = `${chosen * 4} bytes a vector as float32, of ${Number(max) * 4}.`;
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
    const documents = read(file.name, await file.text());
    if (!documents.length) throw new Error("It holds no text.");
    $("documents").value = documents.join("\n");
    later();
  } catch (error) {
    announce(new Error(`${file.name}: ${error.message}`));
  }
}
