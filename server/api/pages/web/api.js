// Requests to this server. The key is kept in the tab alone, and is sent nowhere else.
export const base = new URL("../", import.meta.url);
const KEY = "hearth-key";

export class Failure extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const readKey = () => sessionStorage.getItem(KEY) ?? "";

export function saveKey(key) {
  // fetch() sends headers in Latin-1 alone, and fails as if nobody answered.
  if (/[^\x20-\xff]/.test(key)) throw new Failure("The key has a character that no header can carry.");
  sessionStorage.setItem(KEY, key);
}

const authorization = () => (readKey() ? { Authorization: `Bearer ${readKey()}` } : {});

async function request(path, options) {
  try {
    return await fetch(new URL(path, base), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached. Is it still running?", 0, "away");
  }
}

async function failure(response) {
  const body = await response.json().catch(() => ({}));
  const error = body.error ?? {};
  const text = typeof error === "string" ? error : error.message;
  return new Failure(text ?? `The server answered ${response.status}.`, response.status, error.code ?? "");
}

// The JSON of a 200, and how many texts were cut; anything else is a Failure with the server's own sentence.
export async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json", ...authorization() };
  const response = await request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw await failure(response);
  return { answer: await response.json(), cut: Number(response.headers.get("X-Hearth-Truncated") ?? 0) };
}

export async function get(path) {
  const response = await request(path, { headers: authorization() });
  if (!response.ok) throw await failure(response);
  return response.headers.get("content-type")?.includes("json") ? response.json() : response.text();
}

// {status, reason} of /ready, whatever its HTTP status is; status "away" when nobody answers.
export async function readiness() {
  try {
    return await (await request("ready")).json();
  } catch {
    return { status: "away" };
  }
}
