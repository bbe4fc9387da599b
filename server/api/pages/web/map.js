// The documents and the query as points on a plane.
import { current, shortened } from "./search.js";
import { $, drawing } from "./text.js";
import { project } from "./vectors.js";

const [WIDTH, HEIGHT, MARGIN] = [800, 480, 40];
// More points than these have no words beside them.
const LABELLED = 40;
const LABEL_LETTERS = 26;
const READ_HINT = "Point at a document, or move through them with the arrow keys, to read it.";
const STAR = "M0-11 3-3 11-3 5 2 7 10 0 5-7 10-5 2-11-3-3-3z";

export function show() {
  if (!current.queryVector || current.documents.length < 2) {
    $("map").replaceChildren();
    $("map-share").textContent = "none yet";
    $("map-text").textContent = "The map needs an embedder, a query and two documents: see Search.";
    return;
  }
  const { points, share } = project([...current.vectors, current.queryVector].map(shortened));
  $("map-share").textContent = `${Math.round(share * 100)}% of the variance`;
  const place = scale(points);
  const [x, y] = place(points[points.length - 1]);
  const documents = points.slice(0, -1).map(place).flatMap((point, index) => marked(...point, current.documents[index], [x, y]));
  const star = drawing("path", { d: STAR, transform: `translate(${x} ${y})` }, drawing("title", {}, `Query: ${current.query}`));
  const label = drawing("text", { x, y: y - 16, "text-anchor": "middle", "aria-hidden": "true" }, "query");
  const name = `${current.documents.length} documents and the query`;
  const svg = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": name }, ...documents, star, label);
  svg.addEventListener("keydown", moveWithArrows);
  svg.querySelector("circle").setAttribute("tabindex", "0");
  $("map").replaceChildren(svg);
  if (!current.documents.includes($("map-text").textContent)) $("map-text").textContent = READ_HINT;
}

// One stop of the Tab key for the whole map.
function moveWithArrows(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const circles = [...event.currentTarget.querySelectorAll("circle")];
  const at = circles.indexOf(document.activeElement);
  const next = circles[(at + step + circles.length) % circles.length];
  circles[at]?.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

function marked(x, y, text, star) {
  const short = text.length > LABEL_LETTERS ? `${text.slice(0, LABEL_LETTERS).trimEnd()}…` : text;
  return current.documents.length > LABELLED ? [circle(x, y, text)] : [beside(x, y, short, star), circle(x, y, text)];
}

// On the side where there is room, and no star.
function beside(x, y, words, [starX, starY]) {
  const covered = starX > x && starX - x < LABEL_LETTERS * 6 && Math.abs(starY - y) < 20;
  const right = x < WIDTH * 0.75 && !covered;
  return drawing("text", { x: right ? x + 14 : x - 14, y: y + 4, "text-anchor": right ? "start" : "end", "aria-hidden": "true" }, words);
}

function circle(x, y, text) {
  const point = drawing("circle", { cx: x, cy: y, r: 8, tabindex: "-1", role: "img", "aria-label": text });
  const read = () => { $("map-text").textContent = text; };
  for (const event of ["mouseenter", "focus", "click"]) point.addEventListener(event, read);
  return point;
}

// The same scale for both axes: a distance means the same in each direction.
function scale(points) {
  const bounds = [0, 1].map((axis) => points.map((point) => point[axis])).map((values) => [Math.min(...values), Math.max(...values)]);
  const spans = bounds.map(([low, high]) => high - low || 1e-9);
  const zoom = Math.min((WIDTH - 2 * MARGIN) / spans[0], (HEIGHT - 2 * MARGIN) / spans[1]);
  const middle = bounds.map(([low, high]) => (low + high) / 2);
  return (point) => [WIDTH / 2 + (point[0] - middle[0]) * zoom, HEIGHT / 2 - (point[1] - middle[1]) * zoom].map((value) => Math.round(value * 10) / 10);
}
