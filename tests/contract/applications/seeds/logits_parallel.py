import asyncio
import aiohttp

url = "https://api.fireworks.ai/inference/v1/embeddings"

query = "What is the capital of France?"
documents = [...]  # Your list of documents

# Format prompts as query-document pairs using the Qwen3 Reranker format
instruction = "Given a web search query, retrieve relevant passages that answer the query"
prompts = [
    f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {doc}"
    for doc in documents
]

# Token IDs for "no" and "yes" in Qwen3 reranker models
token_false_id = 2753   # "no"
token_true_id = 9454    # "yes"

headers = {
    "Authorization": "Bearer <FIREWORKS_API_KEY>",
    "Content-Type": "application/json"
}

async def rerank_batch(session, batch_prompts):
    payload = {
        "model": "fireworks/qwen3-reranker-8b",
        "input": batch_prompts,
        "return_logits": [token_false_id, token_true_id],
        "normalize": True
    }
    async with session.post(url, json=payload, headers=headers) as response:
        return await response.json()

async def rerank_parallel(prompts, batch_size=100):
    batches = [prompts[i:i+batch_size] for i in range(0, len(prompts), batch_size)]

    async with aiohttp.ClientSession() as session:
        tasks = [rerank_batch(session, batch) for batch in batches]
        results = await asyncio.gather(*tasks)

    # Combine results from all batches
    all_scores = []
    for result in results:
        for item in result["data"]:
            all_scores.append(item["embedding"][1])  # "yes" probability

    return all_scores

scores = asyncio.run(rerank_parallel(prompts))
