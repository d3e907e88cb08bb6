// The device: sensors with their last two minutes, and facts.

import { $, el, setText } from "./dom.js";
import { sparkline } from "./charts.js";
import { bytes, number } from "./format.js";

const KEPT = 120;
const ORDER = ["temperature", "clock", "power", "load", "fan"];
const tiles = new Map(); // name -> {node, value, chart, history}

export function showDevice(overview) {
  setText($("board"), overview.device.board);
  showSensors(overview.board);
  showFacts(overview);
}

function showSensors(board) {
  const names = board ? Object.keys(board.values).filter((name) => ORDER.includes(kindOf(name))) : [];
  names.sort((a, b) => ORDER.indexOf(kindOf(a)) - ORDER.indexOf(kindOf(b)));
  const isNew = board !== null && board.age_s < 1.9;
  for (const name of names) showSensor(name, board.values[name], board.units[name], isNew);
  for (const [name, tile] of tiles) tile.node.hidden = !names.includes(name);
  setText($("sensors-note"), noteOf(board, names));
}

const kindOf = (name) => name.split(" ", 1)[0];

function noteOf(board, names) {
  if (board === null) return "Sensors are not read while a measurement takes latencies.";
  if (names.length === 0) return "This device has no sensors that may be read.";
  const age = Math.round(board.age_s);
  return board.age_s < 5 ? "" : `Read ${age} s ago: sensors are not read while a measurement takes latencies.`;
}

function showSensor(name, value, unit, isNew) {
  const tile = tiles.get(name) ?? newTile(name, unit);
  setText(tile.value, number(value));
  if (!isNew && tile.history.length) return;
  tile.history = [...tile.history, value].slice(-KEPT);
  tile.chart.replaceChildren(sparkline(tile.history));
}

function newTile(name, unit) {
  const value = el("span");
  const chart = el("div");
  const node = el("li", {}, el("div", { class: "name" }, name),
    el("div", { class: "value" }, value, " ", el("small", {}, unit)), chart);
  const tile = { node, value, chart, history: [] };
  tiles.set(name, tile);
  $("sensors").append(node);
  return tile;
}

let shown = "";

function showFacts(overview) {
  const facts = factsOf(overview);
  const text = JSON.stringify(facts);
  if (text === shown) return;
  shown = text;
  $("facts").replaceChildren(...facts.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function factsOf(overview) {
  const device = overview.device;
  const clocks = Object.entries(device.clocks).map(([unit, limits]) => `${unit} ${limits}`).join(", ");
  const versions = Object.entries(device.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return [
    ["Processor", `${device.cpu}, ${device.cores} cores`],
    ["GPU", device.gpu],
    ["Power mode", device.power_mode],
    ["Clock limits", clocks],
    ["Governor", device.governor],
    ["Memory", `${bytes(device.memory_bytes)}, the agent uses ${bytes(overview.memory_bytes)}`],
    ["Model files", `${overview.artifacts}, ${bytes(overview.artifacts_bytes)}; ${bytes(overview.disk_free_bytes)} free`],
    ["Busy with", overview.device_holder ?? "nothing"],
    ["System", device.os],
    ["Versions", versions],
  ].filter(([, value]) => value);
}
