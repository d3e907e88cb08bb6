// One measurement in full: figures, histogram, layers, sensors, and what to hold against it.

import { $, el, setText } from "./dom.js";
import * as api from "./api.js";
import { histogram, layerTable } from "./charts.js";
import { bytes, clock, fileLabel, ms, number, percent } from "./format.js";

let id = null;
let shown = null; // state in which it was last drawn

export const chosen = () => id;

export function open(measurementId, withFocus = false) {
  id = measurementId;
  shown = null;
  $("detail").hidden = false;
  setText($("detail-title"), "Measurement");
  $("detail-body").replaceChildren();
  if (withFocus) $("detail-title").focus();
  return refresh();
}

// Called with each overview: a measurement is fetched anew only when its state is another.
export function follow(overview) {
  const job = overview.jobs.find((candidate) => candidate.id === id);
  return job && job.state !== shown ? refresh() : null;
}

async function refresh() {
  const wanted = id;
  try {
    const job = await api.measurement(wanted);
    const samples = job.result ? await api.samples(wanted) : null;
    if (wanted !== id || job.state === shown) return;
    shown = job.state;
    draw(job, samples);
  } catch (error) {
    if (wanted === id) $("detail-body").replaceChildren(el("p", { class: "notice bad", role: "alert" }, error.message));
  }
}

function draw(job, samples) {
  setText($("detail-title"), `Measurement of ${fileLabel(job.request.artifact_sha256)}`);
  const result = job.result;
  const about = `${job.state}, asked ${clock(job.created_at)}${job.finished_at ? `, ended ${clock(job.finished_at)}` : ""}`;
  $("detail-body").replaceChildren(...[
    el("p", { class: "quiet" }, about),
    job.error ? el("p", { class: "notice bad" }, job.error) : null,
    ...(result ? resultOf(job, result, samples) : []),
  ].filter(Boolean));
}

function resultOf(job, result, samples) {
  const path = `/v1/measurements/${encodeURIComponent(job.id)}`;
  return [
    doubts(result),
    facts(figuresOf(result)),
    el("h3", {}, "Latencies"),
    histogram(samples.samples_ms, marksOf(result)),
    ...(result.layers ? [el("h3", {}, "Layers"), layerTable(result.layers)] : []),
    ...(result.telemetry ? [el("h3", {}, "Sensors meanwhile"), sensorTable(result.telemetry)] : []),
    el("p", {}, el("a", { href: `${path}/certificate` }, "Certificate"), " ",
      el("a", { href: `${path}/samples` }, "Samples"), " ", el("a", { href: path }, "All as JSON")),
  ];
}

function marksOf(result) {
  const marks = [{ name: "median", at: result.latency_ms.median }, { name: "p99", at: result.latency_ms.p99 }];
  if (result.deadline) marks.push({ name: "deadline", at: result.deadline.deadline_ms, isBad: true });
  return marks;
}

function doubts(result) {
  const seen = result.disturbed.map((disturbance) => `Disturbed (${disturbance.kind}): ${disturbance.what}`);
  const stability = result.stability;
  if (stability && !stability.stationary) seen.push("Latency had not settled when sampling began");
  if (stability?.drift) seen.push(driftText(stability.drift.change));
  if (stability && stability.modes.length > 1) {
    seen.push(`Two levels: ${stability.modes.map((mode) => `${ms(mode.median_ms)} (${percent(mode.share)})`).join(" and ")}`);
  }
  if (seen.length === 0) return null;
  return el("div", { class: "notice warn" }, "Read these figures with care.",
    el("ul", {}, seen.map((text) => el("li", {}, text))));
}

const driftText = (change) =>
  `Latency ${change > 0 ? "rose" : "fell"} by ${percent(Math.abs(change))} of its median while it was sampled`;

const facts = (pairs) =>
  el("dl", { class: "facts" }, pairs.filter(([, value]) => value).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));

function figuresOf(result) {
  const { latency_ms: latency, request, deadline, comparison, rebuilds, energy, memory, engine } = result;
  const { low, high } = latency.median_interval;
  return [
    ["Median", `${ms(latency.median)} (${number(low)} to ${number(high)})`],
    ["p90, p95", `${ms(latency.p90)}, ${ms(latency.p95)}`],
    ["p99, p99.9", `${ms(latency.p99)}, ${ms(latency.p99_9) || "unknown"}`],
    ["Fastest, slowest", `${ms(latency.minimum)}, ${ms(latency.maximum)}`],
    ["Throughput", `${number(result.throughput_per_s)}/s`],
    ["Runs", `${result.iterations}, ended by ${result.stopped_by}`],
    ["Backend", `${request.backend ?? "default"} ${result.backend_version}`],
    ["Batch, threads", `${request.batch}, ${request.threads}`],
    ["Deadline", deadline && deadlineText(deadline)],
    ["Against baseline", comparison && `${comparison.verdict}, ratio ${number(comparison.ratio)}`],
    ["Rebuilds", rebuilds && `${rebuilds.medians_ms.length}, spread ${percent(rebuilds.spread)}`],
    ["Energy", energy && `${number(energy.energy_mj)} mJ (${energy.source})`],
    ["Memory at most", memory && bytes(memory.peak_bytes)],
    ["Engine", engine && [bytes(engine.size_bytes), engine.note].filter(Boolean).join(", ")],
  ];
}

function deadlineText(deadline) {
  if (deadline.misses === 0) return `${ms(deadline.deadline_ms)}, kept by all`;
  const cluster = deadline.clustered ? ", clustered" : "";
  return `${ms(deadline.deadline_ms)}, missed by ${deadline.misses} (${percent(deadline.share)})${cluster}`;
}

function sensorTable(telemetry) {
  const head = ["Sensor", "Lowest", "Mean", "Highest"].map((label, at) =>
    el("th", { scope: "col", class: at ? "number" : null }, label));
  const rows = telemetry.sensors.map((sensor) =>
    el("tr", {}, el("th", { scope: "row" }, `${sensor.name}${sensor.unit ? `, ${sensor.unit}` : ""}`),
      [sensor.minimum, sensor.mean, sensor.maximum].map((value) => el("td", { class: "number" }, number(value)))));
  return el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}
