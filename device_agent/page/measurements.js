// The newest measurements: what waits and runs first, with progress and a way to cancel.

import { $, LiveTable, el, setAttribute, setText, textCell } from "./dom.js";
import * as api from "./api.js";
import { clock, fileLabel, ms, percent } from "./format.js";
import { chosen, open } from "./detail.js";

const isActive = (job) => job.state === "running" || job.state === "queued";
const RANK = { running: 0, queued: 1 };

const COLUMNS = [
  { label: "File", header: true, cell: textCell((job) => fileLabel(job.artifact_sha256)) },
  { label: "State", cell: stateCell },
  { label: "Runs on", cell: textCell((job) => `${job.backend ?? "default"}, batch ${job.batch}`) },
  { label: "Median", class: "number", cell: textCell((job) => ms(job.median_ms)) },
  { label: "p99", class: "number", cell: textCell((job) => ms(job.p99_ms)) },
  { label: "Deadline", class: "number", cell: textCell(deadlineOf) },
  { label: "Asked", class: "number", cell: textCell((job) => clock(job.created_at)) },
  { label: "Actions", hiddenLabel: true, class: "actions", cell: actionsCell },
];

let table = null;
let states = null; // id -> state, as last seen

export function showMeasurements(overview) {
  table ??= new LiveTable($("measurements"), "Measurements", COLUMNS, "Nothing has been measured here yet.");
  const jobs = [...overview.jobs].sort(
    (a, b) => (RANK[a.state] ?? 2) - (RANK[b.state] ?? 2) || (a.position ?? 0) - (b.position ?? 0));
  table.update(jobs, (job) => job.id, chosen());
  announce(jobs);
}

function deadlineOf(job) {
  if (job.deadline_ms === null) return "";
  if (job.misses_share === null) return ms(job.deadline_ms);
  return `${ms(job.deadline_ms)}: ${job.misses_share > 0 ? `${percent(job.misses_share)} missed` : "kept"}`;
}

function announce(jobs) {
  const ended = states === null ? [] : jobs.filter((job) => !isActive(job) && states.get(job.id) !== job.state);
  states = new Map(jobs.map((job) => [job.id, job.state]));
  if (ended.length === 0) return;
  const told = ended.map((job) =>
    `Measurement of ${fileLabel(job.artifact_sha256)} ${job.state}${job.median_ms === null ? "" : `: ${ms(job.median_ms)}`}`);
  setText($("news"), told.join(". "));
}

const COLOURS = { succeeded: "good", failed: "bad", cancelled: "quiet", running: "", queued: "quiet" };

function stateCell(job, cell) {
  if (!cell.parts) {
    cell.parts = {
      state: el("span"), mark: el("span", { class: "warn" }), why: el("p", { class: "why quiet" }),
      progress: el("progress", { max: 1, hidden: true }),
    };
    const { state, mark, why, progress } = cell.parts;
    cell.replaceChildren(el("div", {}, state, mark, why, progress));
  }
  const { state, mark, why, progress } = cell.parts;
  setText(state, job.state);
  state.className = COLOURS[job.state];
  setText(mark, markOf(job));
  setText(why, job.error ?? (job.state === "running" ? job.stage ?? "" : job.disturbed.join("; ")));
  progress.hidden = job.state !== "running";
  setAttribute(progress, "value", job.progress);
  setAttribute(progress, "aria-label", `Progress of the measurement of ${fileLabel(job.artifact_sha256)}`);
}

function markOf(job) {
  const marks = [];
  if (job.position !== null && job.state === "queued") marks.push(job.position === 0 ? "next" : `${job.position} before it`);
  if (job.disturbed.length) marks.push("disturbed");
  if (job.stationary === false) marks.push("not settled");
  return marks.length ? ` (${marks.join(", ")})` : "";
}

function actionsCell(job, cell) {
  if (!cell.parts) {
    const show = el("button", { type: "button", onclick: () => open(job.id, true) }, "Show");
    const stop = el("button", { type: "button", onclick: () => cancelled(job.id, stop) }, "Cancel");
    cell.parts = { show, stop };
    cell.replaceChildren(show, stop);
  }
  const { show, stop } = cell.parts;
  const what = `measurement of ${fileLabel(job.artifact_sha256)}, ${job.state}`;
  setAttribute(show, "aria-label", `Show ${what}`);
  setAttribute(show, "aria-pressed", String(chosen() === job.id));
  setAttribute(stop, "aria-label", `Cancel ${what}`);
  if (!isActive(job) && document.activeElement === stop) show.focus(); // it is about to vanish
  stop.hidden = !isActive(job);
}

async function cancelled(id, button) {
  button.disabled = true;
  try {
    await api.cancel(id);
  } catch (error) {
    setText($("news"), error.message);
    button.disabled = false;
  }
}
