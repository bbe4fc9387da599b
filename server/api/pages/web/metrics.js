// Prometheus' text format, and what the server view reads from it.

// {name: [{labels, value}]}
export function parse(text) {
  const samples = {};
  for (const line of text.split("\n")) {
    const match = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    (samples[match[1]] ??= []).push({ labels, value: Number(match[3].replace("+Inf", "Infinity")) });
  }
  return samples;
}

export const total = (samples, name, wanted = () => true) =>
  (samples[name] ?? []).filter(({ labels }) => wanted(labels)).reduce((sum, { value }) => sum + value, 0);

// How often each upper bound of a histogram was not exceeded, over all labels but `le`.
export function buckets(samples, name, wanted = () => true) {
  const counts = new Map();
  for (const { labels, value } of samples[`${name}_bucket`] ?? []) {
    if (!wanted(labels)) continue;
    const bound = Number(labels.le.replace("+Inf", "Infinity"));
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

// A quantile of what was counted between two readings, straight within a bucket as Prometheus has it; NaN without any.
export function quantile(share, before, after) {
  const bounds = [...after.keys()].sort((a, b) => a - b);
  const counts = bounds.map((bound) => after.get(bound) - (before.get(bound) ?? 0));
  const all = counts[counts.length - 1] ?? 0;
  if (!(all > 0)) return NaN;
  const at = counts.findIndex((count) => count >= share * all);
  const [low, high] = [at ? bounds[at - 1] : 0, bounds[at]];
  if (high === Infinity) return low;
  const below = at ? counts[at - 1] : 0;
  return low + (high - low) * ((share * all - below) / (counts[at] - below));
}
