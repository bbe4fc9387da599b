// Documents out of a dropped file.
export const MOST = 500;
const TEXT_FIELDS = ["text", "content", "document", "passage", "body", "sentence", "title"];

export function read(name, content) {
  const text = content.replace(/^\uFEFF/, "");
  const parse = { jsonl: fromJsonLines, ndjson: fromJsonLines, csv: fromCsv }[name.split(".").pop().toLowerCase()] ?? fromText;
  return parse(text).map((document) => document.replace(/\s+/g, " ").trim()).filter(Boolean);
}

// Paragraphs where blank lines divide them, else lines.
const fromText = (text) => text.split(/\r?\n\s*\r?\n/.test(text.trim()) ? /\r?\n\s*\r?\n/ : /\r?\n/);

function fromJsonLines(text) {
  return text.split("\n").filter((line) => line.trim()).map((line, index) => {
    const row = parseLine(line, index);
    if (typeof row === "string") return row;
    const field = TEXT_FIELDS.find((candidate) => typeof row?.[candidate] === "string");
    if (!field) throw new Error(`Line ${index + 1} has no text: expected a string, or an object with one of ${TEXT_FIELDS.join(", ")}.`);
    return row[field];
  });
}

function parseLine(line, index) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`Line ${index + 1} is no JSON.`);
  }
}

function fromCsv(text) {
  const [header, ...rows] = csvRows(text);
  const names = header.map((name) => name.trim().toLowerCase());
  const named = TEXT_FIELDS.map((field) => names.indexOf(field)).find((column) => column >= 0);
  // Without such a header the first line is a row like the others, and the longest column is taken.
  if (named !== undefined) return rows.map((row) => row[named] ?? "");
  const all = [header, ...rows];
  const widths = header.map((_, column) => all.reduce((sum, row) => sum + (row[column] ?? "").length, 0));
  const widest = widths.indexOf(Math.max(...widths));
  return all.map((row) => row[widest] ?? "");
}

// RFC 4180: fields in double quotes may hold commas, line ends and doubled quotes. Semicolons divide where no comma is.
function csvRows(text) {
  const comma = text.split("\n", 1)[0].includes(",") ? "," : ";";
  const rows = [[""]];
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const row = rows[rows.length - 1];
    const letter = text[at];
    if (quoted && letter === '"' && text[at + 1] === '"') { row[row.length - 1] += '"'; at += 1; }
    else if (letter === '"') quoted = !quoted;
    else if (!quoted && letter === comma) row.push("");
    else if (!quoted && letter === "\n") rows.push([""]);
    else if (quoted || letter !== "\r") row[row.length - 1] += letter;
  }
  return rows.filter((row) => row.some((field) => field.trim()));
}
