// The AI SDK with the three providers that reach Hearth's routes, in two major versions side by side.
import assert from "node:assert/strict";

const kit = process.env.HEARTH_CLIENTS_KIT;
const { EMBEDDER, RERANKER, TEXTS, QUERY, DOCUMENTS, SHOWN, SHOWN_QUERY, SHOWN_DOCUMENTS, ...cells } = await import(
  `${kit}/cells.mjs`
);
const { prove, vectors, ranking, many, sameVectors, sameRanking, versionOf } = cells;
const { errorOf, retriedOnce, timedOut } = cells;
const { blocks, run } = await import(`${kit}/page.mjs`);

const { HEARTH_BUSY_URL, HEARTH_SLOW_URL } = process.env;
const SECTIONS = {
  "openai-compatible": blocks("AI SDK"),
  fireworks: blocks("AI SDK with Fireworks' provider"),
  cohere: blocks("AI SDK with Cohere's provider"),
};
const RAW = "/inference/v1/embeddings";
const COHERE = { cohere: { inputType: "search_document" } };
const DOCUMENT = { prompt_name: "document" };
const EMBEDS_ONLY = "it embeds only";

/** One major version of the SDK with one provider of the page. */
class Client {
  constructor(major, provider) {
    this.provider = provider;
    this.name = `ai ${versionOf(`ai-${major}`)}, ${provider} ${versionOf(`${provider}-${major}`)}`;
    this.packages = { ai: `ai-${major}`, [`@ai-sdk/${provider}`]: `${provider}-${major}` };
    [this.point, this.embedding, this.reranking] = SECTIONS[provider];
  }

  /** Makes the provider as the page does, once for each address. */
  async open() {
    this.sdk = await import(this.packages.ai);
    this.hearth = (await this.run(this.point, ["hearth"])).hearth;
    this.busy = (await this.run(this.point, ["hearth"], HEARTH_BUSY_URL)).hearth;
    this.slow = (await this.run(this.point, ["hearth"], HEARTH_SLOW_URL)).hearth;
    return this;
  }

  run(code, names, base) {
    return run(code, names, { base, packages: this.packages });
  }

  async embed(value, options = {}, { of = this.hearth, model = EMBEDDER } = {}) {
    const { embedding } = await this.sdk.embed({ model: of.embeddingModel(model), value, ...options });
    return embedding;
  }

  /** Shorter vectors, as the provider spells it. */
  async shortened(providerOptions, expected) {
    const embedding = await this.embed(TEXTS[0], { providerOptions });
    sameVectors([embedding], await expected);
  }
}

/** The cells that each provider has; `plain` asks for the same vectors without it. */
function cellsOf(client, plain, providerOptions) {
  return {
    async embed() {
      const { embedding, embeddings } = await client.run(client.point + client.embedding, ["embedding", "embeddings"]);
      sameVectors([embedding, ...embeddings], await plain([SHOWN[0], ...SHOWN]));
    },
    async batch() {
      const values = many(300);
      const model = client.hearth.embeddingModel(EMBEDDER);
      const { embeddings, usage } = await client.sdk.embedMany({ model, values, providerOptions });
      sameVectors(embeddings, await plain(values));
      assert.ok(usage.tokens > 300, `usage ${usage.tokens}`);
    },
    base64: "it asks for numbers itself",
    token_ids: "it sends texts only",
    async errors() {
      const error = await errorOf(() => client.embed("a", { providerOptions }, { model: "no-such-model" }));
      assert.ok(client.sdk.APICallError.isInstance(error), error.name);
      assert.deepEqual([error.statusCode, error.isRetryable], [404, false]);
      assert.match(error.message, /`no-such-model` does not exist|^Model not found/);
    },
    async retry() {
      const embedding = await retriedOnce(() => client.embed(TEXTS[0], { providerOptions }, { of: client.busy }));
      sameVectors([embedding], await plain([TEXTS[0]]));
    },
    async timeout() {
      const options = { abortSignal: AbortSignal.timeout(1000) };
      const error = await timedOut(() => client.embed("a", options, { of: client.slow }));
      assert.equal(error.name, "TimeoutError");
      return "by `abortSignal: AbortSignal.timeout(ms)`";
    },
  };
}

for (const major of [6, 7]) {
  const openai = await new Client(major, "openai-compatible").open();
  await prove(openai.name, {
    ...cellsOf(openai, (texts) => vectors(texts)),
    dimensions: () => openai.shortened({ hearth: { dimensions: 64 } }, vectors([TEXTS[0]], { dimensions: 64 })),
    rerank: EMBEDS_ONLY,
    rerank_texts: EMBEDS_ONLY,
  });

  const fireworks = await new Client(major, "fireworks").open();
  await prove(fireworks.name, {
    ...cellsOf(fireworks, (texts) => vectors(texts, {}, RAW)),
    dimensions: () =>
      fireworks.shortened({ fireworks: { dimensions: 64 } }, vectors([TEXTS[0]], { dimensions: 64 }, RAW)),
    rerank: EMBEDS_ONLY,
    rerank_texts: EMBEDS_ONLY,
  });

  const cohere = await new Client(major, "cohere").open();
  const reranked = () =>
    cohere.sdk.rerank({ model: cohere.hearth.rerankingModel(RERANKER), query: QUERY, documents: DOCUMENTS });
  const sized = (outputDimension) => ({ cohere: { ...COHERE.cohere, outputDimension } });
  await prove(cohere.name, {
    ...cellsOf(cohere, (texts) => vectors(texts, DOCUMENT), COHERE),
    async dimensions() {
      // The provider lets 256, 512, 1024 and 1536 through; the demo model is 256 wide.
      const error = await errorOf(() => cohere.shortened(sized(512)));
      assert.match(error.message, /must be between 1 and 256 for this model/);
      await cohere.shortened(sized(256), vectors([TEXTS[0]], { ...DOCUMENT, dimensions: 256 }));
    },
    async rerank() {
      const page = await cohere.run(cohere.point + cohere.reranking, ["best"]);
      const [first] = await ranking(SHOWN_QUERY, SHOWN_DOCUMENTS);
      assert.equal(page.best, SHOWN_DOCUMENTS[first.index]);
      const { ranking: got } = await reranked();
      sameRanking(got.map(({ originalIndex: index, score }) => ({ index, score })), await ranking());
      assert.deepEqual(got.map((row) => row.document), got.map((row) => DOCUMENTS[row.originalIndex]));
    },
    rerank_texts: "it never asks to leave documents out",
  });
}
