// cohere-ai: the clients of its second and of its first API.
import assert from "node:assert/strict";

const kit = process.env.HEARTH_CLIENTS_KIT;
const { EMBEDDER, RERANKER, TEXTS, QUERY, DOCUMENTS, SHOWN, SHOWN_QUERY, SHOWN_DOCUMENTS, ...cells } = await import(
  `${kit}/cells.mjs`
);
const { prove, vectors, ranking, many, sameVectors, sameRanking, floatsOf, versionOf } = cells;
const { errorOf, retriedOnce, timedOut } = cells;
const { blocks, run } = await import(`${kit}/page.mjs`);
const { Cohere, CohereError } = await import("cohere-ai");

const { HEARTH_BUSY_URL, HEARTH_SLOW_URL } = process.env;
const DOCUMENT = { prompt_name: "document" };
const scored = (results) => results.map(({ index, relevanceScore: score }) => ({ index, score }));

/** One of the two APIs: `types` are fields that ask for floats, `read` takes the vectors from an answer. */
class Api {
  constructor(title, { types, read }) {
    [this.point, this.embedding, this.reranking] = blocks(title);
    Object.assign(this, { types, read });
  }

  /** Makes the client as the page does, once for each address. */
  async open() {
    this.client = (await run(this.point, ["client"])).client;
    this.busy = (await run(this.point, ["client"], { base: HEARTH_BUSY_URL })).client;
    this.slow = (await run(this.point, ["client"], { base: HEARTH_SLOW_URL })).client;
    return this;
  }

  embed(fields, of = this.client, options) {
    return of.embed({ model: EMBEDDER, inputType: "search_document", ...this.types, ...fields }, options);
  }

  rerank(fields) {
    return this.client.rerank({ model: RERANKER, query: QUERY, documents: DOCUMENTS, ...fields });
  }
}

/** The cells that both have. */
function cellsOf(api) {
  return {
    async embed() {
      const page = await run(api.point + api.embedding, ["vectors"]);
      sameVectors(page.vectors, await vectors(SHOWN, DOCUMENT));
    },
    async batch() {
      const texts = many(96);
      sameVectors(api.read(await api.embed({ texts })), await vectors(texts, DOCUMENT));
      const queries = api.read(await api.embed({ texts: TEXTS, inputType: "search_query" }));
      sameVectors(queries, await vectors(TEXTS, { prompt_name: "query" }));
    },
    async base64() {
      const answer = await api.embed({ texts: TEXTS, embeddingTypes: ["base64"] });
      sameVectors(answer.embeddings.base64.map(floatsOf), await vectors(TEXTS, DOCUMENT));
    },
    token_ids: "it sends texts only",
    async errors() {
      const unknown = await errorOf(() => api.rerank({ model: "no-such-model" }));
      assert.ok(unknown instanceof Cohere.NotFoundError, unknown.constructor.name);
      assert.match(unknown.body.message, /`no-such-model` does not exist/);
      const empty = await errorOf(() => api.embed({ texts: [] }));
      assert.ok(empty instanceof Cohere.BadRequestError, empty.constructor.name);
      assert.match(empty.body.message, /Invalid 'texts': empty array/);
    },
    async retry() {
      const answer = await retriedOnce(() => api.embed({ texts: [TEXTS[0]] }, api.busy));
      sameVectors(api.read(answer), await vectors([TEXTS[0]], DOCUMENT));
    },
    async timeout() {
      const options = { timeoutInSeconds: 1, maxRetries: 0 };
      const error = await timedOut(() => api.embed({ texts: ["a"] }, api.slow, options));
      assert.ok(error instanceof CohereError && !error.statusCode, error.constructor.name);
      assert.match(error.message, /timeout/);
      return "a CohereError that says `timeout`: node's fetch keeps it from raising its CohereTimeoutError";
    },
  };
}

async function samePage(api) {
  const page = await run(api.point + api.reranking, ["ranked"]);
  sameRanking(scored(page.ranked), (await ranking(SHOWN_QUERY, SHOWN_DOCUMENTS)).slice(0, 1));
}

const two = await new Api("Cohere (Node)", {
  types: { embeddingTypes: ["float"] },
  read: ({ embeddings }) => embeddings.float,
}).open();
await prove(`cohere-node ${versionOf("cohere-ai")}, v2`, {
  ...cellsOf(two),
  async dimensions() {
    const answer = await two.embed({ texts: TEXTS, outputDimension: 64 });
    sameVectors(two.read(answer), await vectors(TEXTS, { ...DOCUMENT, dimensions: 64 }));
  },
  async rerank() {
    await samePage(two);
    const { results } = await two.rerank({ topN: 2 });
    sameRanking(scored(results), (await ranking()).slice(0, 2));
  },
  rerank_texts: "it never asks to leave documents out",
});

const one = await new Api("Cohere (Node), its first API", { types: {}, read: ({ embeddings }) => embeddings }).open();
await prove(`cohere-node ${versionOf("cohere-ai")}, v1`, {
  ...cellsOf(one),
  dimensions: "the client has no such option",
  async rerank() {
    await samePage(one);
    const documents = DOCUMENTS.map((text, i) => ({ text, title: `number ${i}` }));
    const { results } = await one.rerank({ documents, returnDocuments: true });
    sameRanking(scored(results), await ranking());
    assert.deepEqual(
      results.map((row) => row.document),
      results.map((row) => documents[row.index]),
    );
  },
  async rerank_texts() {
    const { results } = await one.rerank({ returnDocuments: false });
    sameRanking(scored(results), await ranking());
    assert.ok(results.every((row) => !row.document));
  },
});
