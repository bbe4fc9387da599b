// Documents out of a dropped file.
export const MOST = 500;
const TEXT_FIELDS = ["text", "content", "document", "passage", "body", "sentence", "title"];
const PARSERS = {
  jsonl: fromJsonLines, ndjson: fromJsonLines, json: fromJson, csv: (text) => fromTable(text), tsv: (text) => fromTable(text, "\t"),
};

export function read(name, content) {
  const parse = PARSERS[name.split(".").pop().toLowerCase()] ?? fromText;
  const documents = parse(decode(content));
  return documents.map((document) => document.replace(/\s+/g, " ").trim().replace(/\p{Surrogate}/gu, "\uFFFD")).filter(Boolean);
}

// UTF-8; UTF-16 with its mark, as Windows writes it; else Windows-1252, as older spreadsheets do.
function decode(content) {
  const bytes = new Uint8Array(content);
  const mark = bytes[0] * 256 + bytes[1];
  if (mark === 0xfffe || mark === 0xfeff) return new TextDecoder(mark === 0xfffe ? "utf-16le" : "utf-16be").decode(bytes);
  if (bytes.subarray(0, 65536).includes(0)) throw new Error("It is not a text file.");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

// Paragraphs where blank lines divide them, else lines.
function fromText(text) {
  return text.split(/\r?\n\s*\r?\n/.test(text.trim()) ? /\r?\n\s*\r?\n/ : /\r?\n/);
}

function fromJson(text) {
  const rows = parseJson(text, "It");
  if (!Array.isArray(rows)) throw new Error("Expected a JSON array of strings or objects.");
  return rows.map((row, index) => textOf(row, `Entry ${index + 1}`));
}

function fromJsonLines(text) {
  return text.split("\n").flatMap((line, index) => (line.trim() ? [textOf(parseJson(line, `Line ${index + 1}`), `Line ${index + 1}`)] : []));
}

function textOf(row, place) {
  if (typeof row === "string") return row;
  const field = TEXT_FIELDS.find((candidate) => typeof row?.[candidate] === "string");
  if (!field) throw new Error(`${place} has no text: expected a string, or an object with one of ${TEXT_FIELDS.join(", ")}.`);
  return row[field];
}

function parseJson(text, place) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${place} is not JSON.`);
  }
}

function fromTable(text, separator) {
  const all = rowsOf(text, separator);
  if (!all.length) return [];
  const [header, ...rows] = all;
  const names = header.map((name) => name.trim().toLowerCase());
  const named = TEXT_FIELDS.map((field) => names.indexOf(field)).find((column) => column >= 0);
  // Without such a header the first line is a row like the others, and the longest column is taken.
  if (named !== undefined) return rows.map((row) => row[named] ?? "");
  const widths = header.map((_, column) => all.reduce((sum, row) => sum + (row[column] ?? "").length, 0));
  const widest = widths.indexOf(Math.max(...widths));
  return all.map((row) => row[widest] ?? "");
}

// RFC 4180: fields in double quotes may hold separators, line ends and doubled quotes; a quote inside a field is a quote.
// Spreadsheets name another separator in a first line, or take a semicolon without a word.
function rowsOf(text, given) {
  const named = /^sep=(.)\r?\n/.exec(text);
  const body = named ? text.slice(named[0].length) : text;
  const separator = named?.[1] ?? given ?? (body.split("\n", 1)[0].includes(",") ? "," : ";");
  const rows = [[""]];
  let quoted = false;
  for (let at = 0; at < body.length; at += 1) {
    const row = rows[rows.length - 1];
    const letter = body[at];
    const field = row[row.length - 1];
    if (quoted && letter === '"' && body[at + 1] === '"') { row[row.length - 1] += '"'; at += 1; }
    else if (quoted && letter === '"') quoted = false;
    else if (!quoted && letter === '"' && !field) quoted = true;
    else if (!quoted && letter === separator) row.push("");
    else if (!quoted && letter === "\n") rows.push([""]);
    else if (quoted || letter !== "\r") row[row.length - 1] += letter;
  }
  return rows.filter((row) => row.some((field) => field.trim()));
}
