// The page: tabs, the key, the state of the server, and which view is drawn.
import { get, readiness, readKey, saveKey } from "./api.js";
import * as code from "./code.js";
import * as map from "./map.js";
import * as search from "./search.js";
import * as server from "./server.js";
import { $ } from "./text.js";

const PROBE_MS = 3000;
const PHASES = { ready: "ready", loading: "loading models", draining: "shutting down: no new requests are accepted", failed: "an engine has failed", away: "the server does not answer" };
const VIEWS = ["search", "map", "code", "server"];

let models = [];
let view = "search";

function show(chosen) {
  view = chosen;
  for (const name of VIEWS) {
    const tab = $(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === chosen));
    tab.tabIndex = name === chosen ? 0 : -1;
    $(`view-${name}`).hidden = name !== chosen;
  }
  history.replaceState(null, "", location.pathname + location.search + (chosen === "search" ? "" : `#${chosen}`));
  draw();
}

function draw() {
  if (view === "map") map.show();
  if (view === "code") code.show();
  if (view === "server") server.start(models);
  else server.stop();
}

// A search that succeeds takes back the failure of a search, and not what was said of a file.
function failed(error, source = "search") {
  if (!error && $("failure").dataset.source !== source) return;
  $("failure").dataset.source = source;
  $("failure").hidden = !error;
  $("failure").textContent = error?.message ?? "";
  if (error?.status === 401) askForKey();
}

function askForKey() {
  $("key-form").hidden = false;
  $("key").value = readKey();
}

async function loadModels() {
  try {
    models = (await get("v1/models")).data;
    search.setModels(models);
    await search.search();
  } catch (error) {
    models = [];
    failed(error);
  }
}

async function watch() {
  const { status, reason } = await readiness();
  const before = $("status").dataset.phase;
  $("status").dataset.phase = status;
  $("status").textContent = reason ? `${PHASES[status] ?? status}: ${reason}` : PHASES[status] ?? status;
  if (status === "ready" && before !== "ready") await loadModels();
  setTimeout(watch, PROBE_MS);
}

function moveWithArrows(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  show(VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length]);
  $(`tab-${view}`).focus();
}

for (const name of VIEWS) $(`tab-${name}`).addEventListener("click", () => show(name));
document.querySelector("[role=tablist]").addEventListener("keydown", moveWithArrows);
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    saveKey($("key").value.trim());
    loadModels();
  } catch (error) {
    failed(error);
  }
});
search.start({ changed: draw, failed });
code.start();
if (readKey()) askForKey();
const viewOfAddress = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "search");
addEventListener("hashchange", () => show(viewOfAddress()));
show(viewOfAddress());
watch();
