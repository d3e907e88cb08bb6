// The loop: one overview a second, fewer while latencies are taken, none while nobody looks.

import { $, setText } from "./dom.js";
import * as api from "./api.js";
import { showDevice } from "./device.js";
import { follow } from "./detail.js";
import { setUpMeasuring, showBackends } from "./measure.js";
import { showMeasurements } from "./measurements.js";
import { showModels } from "./models.js";

const APART_MS = 1000;
const APART_MEASURING_MS = 2000;
const APART_FAILED_MS = 3000;

let timer = null;
let isAsking = false;

async function look() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  clearTimeout(timer);
  let apart = APART_MS;
  try {
    const overview = await api.overview();
    show(overview);
    setText($("connection"), `connected, version ${overview.agent_version}`);
    if (overview.jobs.some((job) => job.state === "running")) apart = APART_MEASURING_MS;
  } catch (error) {
    if (!(error instanceof api.AgentError)) console.error(error);
    setText($("connection"), `${error.message}; trying again`);
    apart = APART_FAILED_MS;
  } finally {
    isAsking = false;
    timer = setTimeout(look, apart);
  }
}

function show(overview) {
  document.title = `s4op-agent, ${overview.device.board}`;
  showDevice(overview);
  showModels(overview);
  showBackends(overview.device);
  showMeasurements(overview);
  follow(overview);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  look();
});
setUpMeasuring(look);
look();
