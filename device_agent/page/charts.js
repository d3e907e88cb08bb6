// Charts as SVG. Each has a sentence that says the same.

import { el, svg } from "./dom.js";
import { ms, percent } from "./format.js";

const HEIGHT = 150;
const PAD = { left: 8, right: 8, top: 18, bottom: 20 };

// A line of the last readings; the figure beside it says the newest, so it needs no words.
export function sparkline(values) {
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const points = values.map((value, at) => {
    const x = (100 * at) / Math.max(values.length - 1, 1);
    return `${x.toFixed(1)},${(18 - (16 * (value - low)) / span).toFixed(1)}`;
  });
  return svg("svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polyline", { class: "spark", points: points.join(" ") }));
}

// Latencies by how often: bins of equal width over where most lie. A long tail is told, not drawn: it would
// leave one bar for all the rest.
export function histogram(samples, marks) {
  const ordered = Float64Array.from(samples).sort();
  const low = ordered[0];
  const high = Math.max(reachOf(ordered), low * 1.001, low + 1e-6);
  const shown = ordered.filter((value) => value <= high);
  const bins = binsOf(shown, high - low);
  const counts = new Array(bins).fill(0);
  for (const value of shown) counts[Math.min(bins - 1, Math.floor((bins * (value - low)) / (high - low)))] += 1;
  const inside = marks.filter((mark) => mark.at >= low && mark.at <= high);
  const words = sentence(ordered, counts, low, high, marks);
  const place = el("div");
  const draw = () => place.replaceChildren(drawn(counts, low, high, inside, words, place.clientWidth || 600));
  new ResizeObserver(draw).observe(place);
  draw();
  return el("figure", {}, place, el("figcaption", {}, noteOf(ordered, shown.length, high, marks)));
}

const quantile = (ordered, share) => ordered[Math.floor(share * (ordered.length - 1))];

function reachOf(ordered) {
  const most = quantile(ordered, 0.95);
  return Math.min(quantile(ordered, 0.995), most + 3 * (most - quantile(ordered, 0.05)));
}

function noteOf(ordered, shown, high, marks) {
  const notes = [`${ordered.length} samples`];
  const above = ordered.length - shown;
  if (above) notes.push(`${above} above ${ms(high)} are not drawn, the slowest took ${ms(ordered.at(-1))}`);
  const beyond = marks.filter((mark) => mark.at > high).map((mark) => `${mark.name} ${ms(mark.at)}`);
  if (beyond.length) notes.push(`to the right: ${beyond.join(", ")}`);
  return notes.join("; ");
}

// Freedman and Diaconis, 1981: twice the quartiles' distance over the cube root of the number, within reason.
function binsOf(ordered, span) {
  const width = (2 * (quantile(ordered, 0.75) - quantile(ordered, 0.25))) / Math.cbrt(ordered.length);
  return Math.max(12, Math.min(100, width > 0 ? Math.ceil(span / width) : 100));
}

function sentence(ordered, counts, low, high, marks) {
  const most = counts.indexOf(Math.max(...counts));
  const width = (high - low) / counts.length;
  const peak = `${ms(low + most * width)} to ${ms(low + (most + 1) * width)}`;
  const named = marks.map((mark) => `${mark.name} ${ms(mark.at)}`).join(", ");
  return `Histogram of ${ordered.length} latencies from ${ms(ordered[0])} to ${ms(ordered.at(-1))}; most lie ` +
    `between ${peak}. ${named}.`;
}

function drawn(counts, low, high, marks, words, width) {
  const inner = width - PAD.left - PAD.right;
  const bottom = HEIGHT - PAD.bottom;
  const tallest = Math.max(...counts);
  const step = inner / counts.length;
  const xOf = (value) => PAD.left + (inner * (value - low)) / (high - low);
  const bars = counts.map((count, at) => {
    const height = ((bottom - PAD.top) * count) / tallest;
    return svg("rect", {
      class: "bar", x: PAD.left + at * step, y: bottom - height, width: Math.max(step - 1, 0.5), height,
    });
  });
  return svg("svg", { class: "chart", role: "img", "aria-label": words, width, height: HEIGHT },
    bars,
    svg("line", { class: "axis", x1: PAD.left, x2: width - PAD.right, y1: bottom, y2: bottom }),
    svg("text", { x: PAD.left, y: HEIGHT - 5 }, ms(low)),
    svg("text", { x: width - PAD.right, y: HEIGHT - 5, "text-anchor": "end" }, ms(high)),
    labelled(marks, xOf, bottom, width));
}

// Names of marks one beside the other where there is room, else one lower than the other.
function labelled(marks, xOf, bottom, width) {
  let taken = [];
  return [...marks].sort((a, b) => a.at - b.at).flatMap((mark) => {
    const x = xOf(mark.at);
    const isLate = x > width - 90;
    const [from, to] = isLate ? [x - 84, x] : [x, x + 84];
    const row = [0, 1, 2, 3].find((at) => !taken.some((other) => other.row === at && other.to > from && other.from < to));
    taken = [...taken, { row, from, to }];
    const y = 11 + 13 * (row ?? 0);
    return [
      svg("line", { class: mark.isBad ? "mark mark-bad" : "mark", x1: x, x2: x, y1: y - 8, y2: bottom }),
      svg("text", { class: "strong", x: isLate ? x - 4 : x + 4, y, "text-anchor": isLate ? "end" : "start" },
        `${mark.name} ${ms(mark.at)}`),
    ];
  });
}

// Where the time goes: a table whose bars repeat its figures.
export function layerTable(layers) {
  const longest = Math.max(...layers.layers.map((layer) => layer.median_ms), 1e-9);
  const rows = layers.layers.map((layer) =>
    el("tr", {},
      el("th", { scope: "row", title: operatorsOf(layer) }, layer.name),
      el("td", { class: "share" }, bar(layer.median_ms / longest)),
      el("td", { class: "number" }, ms(layer.median_ms)),
      el("td", { class: "number" }, percent(layer.share))));
  const head = el("tr", {},
    el("th", { scope: "col" }, "Layer"),
    el("th", { scope: "col" }, el("span", { class: "hidden" }, "Bar")),
    el("th", { scope: "col", class: "number" }, "Median"),
    el("th", { scope: "col", class: "number" }, "Share"));
  const caption = `${layers.source}, ${layers.runs} runs; profiling makes them slower`;
  return el("table", { class: "layers" }, el("caption", { class: "quiet" }, caption),
    el("thead", {}, head), el("tbody", {}, rows));
}

const bar = (share) =>
  svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { width: 100 * share, height: 12 }));

const operatorsOf = (layer) =>
  Object.entries(layer.operators).map(([name, value]) => `${name} ${ms(value)}`).join(", ");
