// /openapi.json for people.

import { $, el, setText } from "./dom.js";
import * as api from "./api.js";

const nameOf = (reference) => reference.split("/").at(-1);

// A type in a few words, with links to the messages it is made of.
function typeOf(schema) {
  if (!schema || Object.keys(schema).length === 0) return ["anything"];
  if (schema.$ref) return [el("a", { href: `#${nameOf(schema.$ref)}` }, nameOf(schema.$ref))];
  const several = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (several) return several.flatMap((one, at) => (at ? [" or ", ...typeOf(one)] : typeOf(one)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? schema.prefixItems?.[0])];
  if (schema.type === "object" && schema.additionalProperties) return ["map to ", ...typeOf(schema.additionalProperties)];
  return [`${schema.type ?? "anything"}${limitsOf(schema)}`];
}

function limitsOf(schema) {
  const limits = [
    ["minimum", ">="], ["exclusiveMinimum", ">"], ["maximum", "<="], ["exclusiveMaximum", "<"], ["pattern", "like"],
  ].filter(([name]) => name in schema).map(([name, sign]) => `${sign} ${schema[name]}`);
  return limits.length ? `, ${limits.join(", ")}` : "";
}

function table(heads, rows) {
  return el("table", { class: "cards", role: "table" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      heads.map((head) => el("th", { scope: "col", role: "columnheader" }, head)))),
    el("tbody", { role: "rowgroup" }, rows.map((row) => el("tr", { role: "row" },
      row.map((cell, at) => el(at ? "td" : "th", {
        role: at ? "cell" : "rowheader", scope: at ? null : "row", "data-label": heads[at],
      }, el("span", {}, cell)))))));
}

const paragraphs = (text) => (text ? text.split("\n\n").map((part) => el("p", {}, part)) : []);

function operation(method, path, described) {
  const parameters = (described.parameters ?? []).map((parameter) =>
    [el("code", {}, parameter.name), parameter.in, typeOf(parameter.schema), parameter.description ?? ""]);
  const body = described.requestBody?.content?.["application/json"]?.schema;
  const answers = Object.entries(described.responses).map(([status, answer]) =>
    [status, answer.content?.["application/json"]?.schema ? typeOf(answer.content["application/json"].schema) : "",
      answer.description]);
  return el("details", {},
    el("summary", {}, el("span", { class: "method mono" }, method.toUpperCase()), " ", el("code", {}, path), " ",
      el("span", { class: "quiet" }, described.summary ?? "")),
    paragraphs(described.description),
    parameters.length ? table(["Parameter", "In", "Type", "Meaning"], parameters) : null,
    body ? el("p", {}, "Body: ", typeOf(body)) : null,
    table(["Status", "Answer", "Meaning"], answers));
}

function message(name, schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([field, type]) => [
    el("code", {}, field), typeOf(type),
    "default" in type ? JSON.stringify(type.default) : required.has(field) ? "required" : "", type.description ?? "",
  ]);
  return el("details", { id: name },
    el("summary", {}, el("code", {}, name)),
    paragraphs(schema.description),
    rows.length ? table(["Field", "Type", "Default", "Meaning"], rows) : null);
}

function openLinked() {
  const linked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (linked?.tagName === "DETAILS") {
    linked.open = true;
    linked.scrollIntoView();
  }
}

async function load() {
  try {
    const description = await api.openapi();
    setText($("version"), description.info.version);
    setText($("about"), description.info.description);
    $("paths").replaceChildren(...Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, described]) => operation(method, path, described))));
    $("schemas").replaceChildren(...Object.entries(description.components?.schemas ?? {})
      .sort(([a], [b]) => a.localeCompare(b)).map(([name, schema]) => message(name, schema)));
    openLinked();
  } catch (error) {
    setText($("about"), error.message);
  }
}

window.addEventListener("hashchange", openLinked);
load();
