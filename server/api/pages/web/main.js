// The page: tabs, the key, the state of the server, and which view is drawn.
import { get, readiness, readKey, saveKey } from "./api.js";
import * as code from "./code.js";
import * as map from "./map.js";
import * as search from "./search.js";
import * as server from "./server.js";
import { $ } from "./text.js";

const PROBE_MS = 3000;
const PHASES = { ready: "ready", loading: "loading models", draining: "ending: takes no new work", failed: "an engine has failed", away: "the server does not answer" };
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
  history.replaceState(null, "", location.pathname + (chosen === "search" ? "" : `#${chosen}`));
  draw();
}

function draw() {
  if (view === "map") map.show();
  if (view === "code") code.show();
  if (view === "server") server.start(models);
  else server.stop();
}

function report(error) {
  $("failure").hidden = !error;
  $("failure").textContent = error?.message ?? "";
  if (error?.status === 401) askForKey();
  if (!error) draw();
}

function askForKey() {
  $("key-form").hidden = false;
  $("key").value = readKey();
}

async function loadModels() {
  try {
    models = (await get("v1/models")).data;
    search.setModels(models);
    report(null);
    await search.search();
  } catch (error) {
    models = [];
    report(error);
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
  saveKey($("key").value.trim());
  loadModels();
});
search.start(report);
code.start();
if (readKey()) askForKey();
if (VIEWS.includes(location.hash.slice(1))) show(location.hash.slice(1));
watch();
