// The server: its models, its load and its errors, from /v1/models and /metrics.
import { get } from "./api.js";
import { buckets, parse, quantile, total } from "./metrics.js";
import { $, amount, drawing, duration, element } from "./text.js";

const EVERY_MS = 2000;
// Readings that a curve shows: four minutes.
const KEPT = 120;

// Of the routes that compute; a probe is no work.
const isWork = ({ route }) => !["/health", "/live", "/ready", "/metrics", "/", "/docs", "/v1/models", "unknown"].includes(route) && !route?.startsWith("/page");

// `now` and `before` are readings, `seconds` lie between them.
const TILES = {
  "requests/s": (now, before, seconds) => rate("hearth_requests_total", now, before, seconds, isWork),
  "tokens/s": (now, before, seconds) => rate("hearth_tokens_total", now, before, seconds),
  "batch fill": (now, before) => ratio("hearth_batch_fill", now, before),
  "waiting inputs": (now) => total(now, "hearth_queue_items"),
  "p50": (now, before) => quantile(0.5, buckets(before, "hearth_request_seconds", isWork), buckets(now, "hearth_request_seconds", isWork)),
  "p99": (now, before) => quantile(0.99, buckets(before, "hearth_request_seconds", isWork), buckets(now, "hearth_request_seconds", isWork)),
};
const WORDS = {
  "batch fill": (value) => (Number.isFinite(value) ? `${Math.round(value * 100)}%` : "–"),
  p50: duration,
  p99: duration,
};
const STATUSES = {
  400: "a field or a value is wrong", 401: "no valid API key", 403: "not allowed", 404: "an unknown path or model",
  405: "another method", 408: "the body came too slowly", 413: "the body is too large", 415: "an unknown encoding",
  429: "the queue was full", 499: "the client left", 500: "the server failed", 503: "not ready, or draining", 504: "the time was over",
};

const history = [];
let timer = 0;

export function start(models) {
  showModels(models);
  if (!timer) poll();
}

export function stop() {
  clearTimeout(timer);
  timer = 0;
}

async function poll() {
  try {
    history.push({ at: performance.now(), samples: parse(await get("metrics")) });
    history.splice(0, history.length - KEPT);
    showTiles();
    showErrors(history[history.length - 1].samples);
  } catch (error) {
    $("tiles").replaceChildren(element("p", { class: "hint" }, error.status === 401 ? "The metrics need an API key: give it above." : error.message));
  }
  timer = setTimeout(poll, EVERY_MS);
}

const rate = (name, now, before, seconds, wanted) => Math.max(0, total(now, name, wanted) - total(before, name, wanted)) / seconds;

function ratio(name, now, before) {
  const count = total(now, `${name}_count`) - total(before, `${name}_count`);
  return count > 0 ? (total(now, `${name}_sum`) - total(before, `${name}_sum`)) / count : NaN;
}

function showTiles() {
  const steps = history.slice(1).map((reading, index) => [reading.samples, history[index].samples, (reading.at - history[index].at) / 1000]);
  $("tiles").replaceChildren(...Object.entries(TILES).map(([name, read]) => {
    const values = steps.map((step) => read(...step));
    const last = values[values.length - 1] ?? NaN;
    const words = (WORDS[name] ?? ((value) => (Number.isFinite(value) ? amount(value) : "–")))(last);
    return element("div", { class: "tile" }, element("b", {}, words), element("small", {}, name), curve(values));
  }));
}

function curve(values) {
  const known = values.filter(Number.isFinite);
  const most = Math.max(...known, 1e-9);
  const points = values.map((value, index) => [index, value]).filter(([, value]) => Number.isFinite(value))
    .map(([index, value]) => `${(KEPT - values.length + index).toFixed(0)},${(34 - (value / most) * 32).toFixed(1)}`);
  const svg = drawing("svg", { viewBox: `0 0 ${KEPT} 36`, preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(drawing("polyline", { points: points.join(" ") }));
  return svg;
}

function showErrors(samples) {
  const counts = new Map();
  for (const { labels, value } of samples.hearth_requests_total ?? []) {
    if (Number(labels.status) < 400 || !isWork(labels)) continue;
    const words = `${labels.status}: ${STATUSES[labels.status] ?? "see the log"} (${labels.route})`;
    counts.set(words, (counts.get(words) ?? 0) + value);
  }
  for (const { labels, value } of samples.hearth_refusals_total ?? []) counts.set(`refused: ${labels.reason}`, value);
  for (const { labels, value } of samples.hearth_restarts_total ?? []) counts.set(`restarted: ${labels.process} process`, value);
  const lines = [...counts].sort(([, a], [, b]) => b - a).map(([words, count]) => element("li", {}, `${amount(count)} × ${words}`));
  $("errors").replaceChildren(...(lines.length ? lines : [element("li", {}, "None.")]));
}

function showModels(models) {
  const columns = {
    model: (model) => model.id,
    kind: (model) => model.hearth.kind,
    width: (model) => (model.hearth.kind === "embedder" ? String(model.hearth.dimensions) : "–"),
    "longest text": (model) => `${model.context_length} tokens`,
    device: (model) => `${model.hearth.device}, ${model.hearth.dtype}`,
    parameters: (model) => amount(model.hearth.parameters),
    backend: (model) => `${model.hearth.backend}: ${model.hearth.reason}`,
  };
  const head = element("thead", {}, element("tr", {}, ...Object.keys(columns).map((name) => element("th", { scope: "col" }, name))));
  const rows = models.map((model) => element("tr", {}, ...Object.values(columns).map((read) => element("td", {}, read(model)))));
  $("models").replaceChildren(head, element("tbody", {}, ...rows));
}
