// What the Node families share: one JSON line per cell, plain HTTP to compare with, and how answers are compared.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const { HEARTH_URL, HEARTH_KEY, HEARTH_BUSY_URL } = process.env;

export const EMBEDDER = process.env.HEARTH_EMBEDDER;
export const RERANKER = process.env.HEARTH_RERANKER;
export const TEXTS = ["The quick brown fox jumped over the lazy dog", "", "Ελληνικά, 中文, emoji 🙂"];
export const QUERY = "What is the capital of France?";
export const DOCUMENTS = ["The weather in Europe varies.", "Paris is the capital of France.", "Python is a language."];
// What the page's blocks embed and rank.
export const SHOWN = ["a text", "another"];
export const SHOWN_QUERY = "Which is first?";
export const SHOWN_DOCUMENTS = ["one", "two"];

/** The version of a package that is installed in the family's environment. */
export const versionOf = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")).version;

/** Many texts, each of its own, and in an order that must be kept. */
export const many = (count) => Array.from({ length: count }, (_, i) => `${TEXTS[i % 3]} ${i}`);

/** Runs each cell of one client and prints what came of it; a string instead of a test says why there is none. */
export async function prove(client, cells) {
  for (const [cell, test] of Object.entries(cells)) {
    console.log(JSON.stringify({ client, cell, ...(await outcome(test)) }));
  }
}

async function outcome(test) {
  if (typeof test === "string") return { ok: null, note: test };
  try {
    return { ok: true, note: (await test()) ?? "" };
  } catch (error) {
    return { ok: false, note: `${error.name}: ${error.message}`.slice(0, 400) };
  }
}

/** The answer to a POST without any client in between. */
export async function plain(path, body, base = HEARTH_URL) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${HEARTH_KEY}` };
  const answer = await fetch(base + path, { method: "POST", headers, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, `${path} answered ${answer.status}`);
  return answer.json();
}

/** The vectors of texts, by plain HTTP. */
export async function vectors(input, fields = {}, path = "/v1/embeddings") {
  const { data } = await plain(path, { model: EMBEDDER, input, ...fields });
  return data.map((item) => item.embedding);
}

/** Index and score of each document, best first, by plain HTTP. */
export async function ranking(query = QUERY, documents = DOCUMENTS) {
  const { results } = await plain("/v1/rerank", { model: RERANKER, query, documents });
  return results.map(({ index, relevance_score: score }) => ({ index, score }));
}

/** What base64 of little-endian float32 holds. */
export function floatsOf(base64) {
  const bytes = Buffer.from(base64, "base64");
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

/** The same numbers, as far as float32 holds them: what else was in a batch may move the last digits. */
export function sameVectors(got, expected) {
  assert.equal(got.length, expected.length, "number of vectors");
  got.forEach((vector, row) => sameVector(vector, expected[row], row));
}

function sameVector(got, expected, row) {
  assert.equal(got.length, expected.length, `width of vector ${row}`);
  const length = Math.hypot(...expected);
  assert.ok(length > 0, "zeros prove nothing");
  const difference = Math.hypot(...expected.map((value, i) => value - got[i]));
  assert.ok(difference < 1e-4 * length, `vector ${row} differs by ${difference / length} of its length`);
}

/** The same order and scores. */
export function sameRanking(got, expected) {
  assert.deepEqual(
    got.map((row) => row.index),
    expected.map((row) => row.index),
  );
  got.forEach((row, i) => assert.ok(Math.abs(row.score - expected[i].score) < 1e-5, `score ${i}`));
}

/** The error that a call must end in. */
export async function errorOf(call) {
  const answer = await call().catch((error) => ({ error }));
  assert.ok(answer.error instanceof Error, `no error, but: ${JSON.stringify(answer).slice(0, 100)}`);
  return answer.error;
}

/** Runs a call against the busy front: it must come through at the second attempt, after the wait that it was told. */
export async function retriedOnce(call) {
  await plain("/again", {}, HEARTH_BUSY_URL);
  const started = performance.now();
  const answer = await call();
  const { asked } = await plain("/again", {}, HEARTH_BUSY_URL);
  assert.equal(asked, 2, "requests");
  assert.ok(performance.now() - started >= 900, "it did not wait for Retry-After: 1");
  return answer;
}

/** Runs a call against the slow front: it must give up after a second, and its error comes back. */
export async function timedOut(call) {
  const started = performance.now();
  const error = await errorOf(call);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds > 0.9 && seconds < 3, `gave up after ${seconds.toFixed(1)} s`);
  return error;
}
