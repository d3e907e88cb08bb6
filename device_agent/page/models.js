// What is served, and how it fares.

import { $, LiveTable, el, setText, textCell } from "./dom.js";
import { bytes, clock, fileLabel, ms, number, percent } from "./format.js";

const COLUMNS = [
  { label: "Name", header: true, cell: textCell((model) => served(model).name) },
  { label: "State", cell: stateCell },
  { label: "Runs", cell: runsCell },
  { label: "p50", class: "number", cell: textCell((model) => ms(model.p50_ms)) },
  { label: "p99", class: "number", cell: textCell((model) => ms(model.p99_ms)) },
  { label: "Load", class: "number", cell: textCell((model) => model.rate_per_s === null ? "" : `${number(model.rate_per_s)}/s`) },
  { label: "Queue", class: "number", cell: textCell((model) => text(model.queue_depth)) },
  { label: "Answered", class: "number", cell: textCell((model) => text(model.succeeded)) },
  { label: "Failed", class: "number", cell: textCell((model) => text(model.failed)) },
];

const served = (model) => model.model ?? model.family;

const text = (count) => (count === null ? "" : String(count));

let table = null;

export function showModels(overview) {
  table ??= new LiveTable($("models"), "Models", COLUMNS, "No model is served. PUT /v1/models/NAME serves one.");
  table.update(overview.models, (model) => served(model).name);
  const { count, state_bytes: stateBytes } = overview.streams;
  setText($("streams"), `Open streams: ${count}, state ${bytes(stateBytes)}`);
}

function stateCell(model, cell) {
  const { ready, error, stage, progress, unloaded } = served(model);
  const state = ready ? "ready" : unloaded ? "unloaded" : error ? "failed" : "loading";
  const more = error ?? (stage ? `${stage} ${percent(progress)}` : "");
  const colour = { ready: "good", failed: "bad" }[state] ?? "quiet";
  filled(cell, state, colour, [more]);
}

// A model's file; of a family the variant in use, the others, and why it was changed last.
function runsCell({ model, family }, cell) {
  if (model) {
    filled(cell, fileLabel(model.serving.artifact_sha256), null, []);
    return;
  }
  const others = family.variants.filter((variant) => variant.name !== family.current).map((variant) => variant.name);
  const last = family.switches.at(-1);
  const { p50_ms: p50, p99_ms: p99 } = family.serving.objective;
  filled(cell, `${family.current ?? "none"}${family.pinned ? " (pinned)" : ""}`, null, [
    `objective: ${p99 === null ? `p50 ${ms(p50)}` : `p99 ${ms(p99)}`}` +
      (family.met_share === null ? "" : `, kept by ${percent(family.met_share)}`),
    others.length ? `others: ${others.join(", ")}` : "",
    last ? `${clock(last.at)} ${last.from_variant} to ${last.to_variant}: ${last.reason}` : "",
  ]);
}

function filled(cell, first, colour, more) {
  const key = JSON.stringify([first, more]);
  if (cell.dataset.shown === key) return;
  cell.dataset.shown = key;
  cell.replaceChildren(el("div", {}, el("span", { class: colour }, first),
    more.filter(Boolean).map((line) => el("p", { class: "why quiet" }, line))));
}
