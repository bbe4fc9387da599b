// openai for Node, three major versions side by side: package.json gives each a name of its own.
import assert from "node:assert/strict";

const kit = process.env.HEARTH_CLIENTS_KIT;
const { EMBEDDER, RERANKER, TEXTS, QUERY, DOCUMENTS, SHOWN, SHOWN_QUERY, SHOWN_DOCUMENTS, ...cells } = await import(
  `${kit}/cells.mjs`
);
const { prove, plain, vectors, ranking, many, sameVectors, sameRanking, floatsOf, versionOf } = cells;
const { errorOf, retriedOnce, timedOut } = cells;
const { blocks, run } = await import(`${kit}/page.mjs`);

const { HEARTH_BUSY_URL, HEARTH_SLOW_URL } = process.env;
const [POINT, EMBED, RERANK] = blocks("OpenAI (Node)");
const rows = ({ data }) => data.map((item) => item.embedding);
const scored = (results) => results.map(({ index, relevance_score: score }) => ({ index, score }));

for (const alias of ["openai-4", "openai-6", "openai-7"]) {
  const packages = { openai: alias };
  const { client, OpenAI } = await run(POINT, ["client", "OpenAI"], { packages });
  const busy = await run(POINT, ["client"], { packages, base: HEARTH_BUSY_URL });
  const slow = await run(POINT, ["client"], { packages, base: HEARTH_SLOW_URL });
  const embed = (fields, of = client, options) => of.embeddings.create({ model: EMBEDDER, ...fields }, options);
  const rerank = (fields) =>
    client.post("/rerank", { body: { model: RERANKER, query: QUERY, documents: DOCUMENTS, ...fields } });

  await prove(`openai-node ${versionOf(alias)}`, {
    async embed() {
      const page = await run(POINT + EMBED, ["vectors"], { packages });
      sameVectors(page.vectors, await vectors(SHOWN));
    },
    async batch() {
      const texts = many(300);
      sameVectors(rows(await embed({ input: texts })), await vectors(texts));
    },
    async base64() {
      const sent = await (await embed({ input: TEXTS[0] }).asResponse()).json();
      assert.equal(typeof sent.data[0].embedding, "string", "what it asks for by default");
      const [byName] = rows(await embed({ input: TEXTS[0], encoding_format: "base64" }));
      sameVectors([floatsOf(byName)], await vectors([TEXTS[0]]));
      sameVectors(rows(await embed({ input: TEXTS[0], encoding_format: "float" })), await vectors([TEXTS[0]]));
    },
    async dimensions() {
      sameVectors(rows(await embed({ input: TEXTS, dimensions: 64 })), await vectors(TEXTS, { dimensions: 64 }));
    },
    async token_ids() {
      const { tokens } = await plain("/tokenize", { prompt: TEXTS[0] });
      sameVectors(rows(await embed({ input: [tokens] })), await vectors([TEXTS[0]]));
    },
    async rerank() {
      const page = await run(POINT + RERANK, ["ranked"], { packages });
      sameRanking(scored(page.ranked), (await ranking(SHOWN_QUERY, SHOWN_DOCUMENTS)).slice(0, 1));
      const { results } = await rerank();
      sameRanking(scored(results), await ranking());
      assert.deepEqual(results[0].document, { text: DOCUMENTS[1] });
    },
    async rerank_texts() {
      const { results } = await rerank({ return_documents: false });
      sameRanking(scored(results), await ranking());
      assert.ok(results.every((row) => !("document" in row)));
    },
    async errors() {
      const unknown = await errorOf(() => embed({ model: "no-such-model", input: "a" }));
      assert.ok(unknown instanceof OpenAI.NotFoundError, unknown.constructor.name);
      assert.deepEqual([unknown.status, unknown.code, unknown.param], [404, "model_not_found", "model"]);
      assert.match(unknown.message, /`no-such-model` does not exist/);
      const empty = await errorOf(() => embed({ input: [] }));
      assert.ok(empty instanceof OpenAI.BadRequestError, empty.constructor.name);
      assert.match(empty.message, /Invalid 'input': empty array/);
    },
    async retry() {
      const answer = await retriedOnce(() => embed({ input: TEXTS[0] }, busy.client));
      sameVectors(rows(answer), await vectors([TEXTS[0]]));
    },
    async timeout() {
      const options = { timeout: 1000, maxRetries: 0 };
      const error = await timedOut(() => embed({ input: "a" }, slow.client, options));
      assert.ok(error instanceof OpenAI.APIConnectionTimeoutError, error.constructor.name);
    },
  });
}
