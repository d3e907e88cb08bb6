// What is served, and how it fares.

import { $, LiveTable, el, setText, textCell } from "./dom.js";
import { bytes, fileLabel, ms, number, percent } from "./format.js";

const COLUMNS = [
  { label: "Name", header: true, cell: textCell((model) => model.served.name) },
  { label: "State", cell: stateCell },
  { label: "Variant", cell: textCell((model) => model.variant ?? fileLabel(model.served.serving.artifact_sha256)) },
  { label: "p50", class: "number", cell: textCell((model) => ms(model.p50_ms)) },
  { label: "p99", class: "number", cell: textCell((model) => ms(model.p99_ms)) },
  { label: "Load", class: "number", cell: textCell((model) => model.rate_per_s === null ? "" : `${number(model.rate_per_s)}/s`) },
  { label: "Queue", class: "number", cell: textCell((model) => text(model.queue_depth)) },
  { label: "Answered", class: "number", cell: textCell((model) => text(model.succeeded)) },
  { label: "Failed", class: "number", cell: textCell((model) => text(model.failed)) },
];

const text = (count) => (count === null ? "" : String(count));

let table = null;

export function showModels(overview) {
  table ??= new LiveTable($("models"), "Models", COLUMNS, "No model is served. PUT /v1/models/NAME serves one.");
  table.update(overview.models, (model) => model.served.name);
  const { count, state_bytes: stateBytes } = overview.streams;
  setText($("streams"), `Open streams: ${count}, state ${bytes(stateBytes)}`);
}

function stateCell(model, cell) {
  const { ready, error, stage, progress } = model.served;
  const state = ready ? "ready" : error ? "failed" : "loading";
  const more = error ?? (stage ? `${stage} ${percent(progress)}` : "");
  const key = `${state}|${more}`;
  if (cell.dataset.shown === key) return;
  cell.dataset.shown = key;
  const colour = { ready: "good", failed: "bad", loading: "quiet" }[state];
  cell.replaceChildren(el("div", {}, el("span", { class: colour }, state),
    more ? el("p", { class: "why quiet" }, more) : null));
}
