// A file from here to its measurement: sent, queued, shown.

import { $, el, setText } from "./dom.js";
import * as api from "./api.js";
import { bytes, remember } from "./format.js";
import { open } from "./detail.js";

let onQueued = () => {};
let dropped = null; // a file that was dropped, not chosen

export function setUpMeasuring(afterwards) {
  onQueued = afterwards;
  const drop = $("drop");
  $("file").addEventListener("change", () => chose($("file").files[0] ?? null));
  $("measure").addEventListener("submit", (event) => {
    event.preventDefault();
    run(dropped ?? $("file").files[0]);
  });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => over(event, true));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, (event) => over(event, false));
  drop.addEventListener("drop", (event) => {
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    chose(file, true);
    $("measure").requestSubmit();
  });
}

let backends = "";

export function showBackends(device) {
  const names = device.backends.join();
  if (names === backends) return;
  backends = names;
  $("backend").replaceChildren(...device.backends.map((name) =>
    el("option", { value: name, selected: name === device.default_backend }, name)));
}

function over(event, isOver) {
  event.preventDefault();
  $("drop").classList.toggle("over", isOver);
}

function chose(file, wasDropped = false) {
  dropped = wasDropped ? file : null;
  $("file").required = dropped === null;
  setText($("file-name"), file ? `${file.name}, ${bytes(file.size)}` : "Choose an exported .onnx file, or drop one here");
  complain("");
}

async function run(file) {
  complain("");
  busy(true);
  try {
    const artifact = await api.upload(file, (share) => { $("upload").value = share; });
    remember(artifact.sha256, file.name);
    const job = await api.measure(requestOf(artifact.sha256));
    open(job.id);
    onQueued();
  } catch (error) {
    complain(error.message);
  } finally {
    busy(false);
  }
}

function requestOf(sha256) {
  const deadline = $("deadline").valueAsNumber;
  return {
    artifact_sha256: sha256,
    backend: $("backend").value || null,
    batch: $("batch").valueAsNumber,
    deadline_ms: Number.isNaN(deadline) ? null : deadline,
    layers: $("layers").checked,
  };
}

function busy(isBusy) {
  $("submit").disabled = isBusy;
  $("upload").hidden = !isBusy;
  $("upload").value = 0;
}

function complain(text) {
  setText($("measure-error"), text);
  $("measure-error").hidden = text === "";
}
