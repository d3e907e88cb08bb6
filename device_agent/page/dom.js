// Making and changing elements. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

// Unchanged text stays untouched: a screen reader would read a live region again, a selection would be lost.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// A table whose rows are kept by key, so that focus stays where it is while figures change.
// columns: [{label, class, header, cell(item, td) }], where `cell` brings the cell up to date.
export class LiveTable {
  constructor(place, caption, columns, empty) {
    this.columns = columns;
    this.rows = new Map();
    this.body = el("tbody", { role: "rowgroup" });
    const heads = columns.map((column) =>
      el("th", { scope: "col", role: "columnheader", class: column.class },
        column.hiddenLabel ? el("span", { class: "hidden" }, column.label) : column.label));
    this.table = el("table", { class: "cards", role: "table", "aria-label": caption, hidden: true },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads)), this.body);
    this.empty = el("p", { class: "quiet" }, empty);
    place.replaceChildren(this.table, this.empty);
  }

  update(items, keyOf, chosen = null) {
    this.table.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    const wanted = new Set(items.map(keyOf));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    items.forEach((item, index) => this.#place(this.#row(keyOf(item)), item, index, keyOf(item) === chosen));
  }

  #row(key) {
    let row = this.rows.get(key);
    if (!row) {
      row = el("tr", { role: "row" }, this.columns.map((column) =>
        el(column.header ? "th" : "td", {
          role: column.header ? "rowheader" : "cell",
          scope: column.header ? "row" : null,
          class: column.class,
          "data-label": column.hiddenLabel ? null : column.label,
        })));
      this.rows.set(key, row);
    }
    return row;
  }

  #place(row, item, index, isChosen) {
    if (this.body.children[index] !== row) this.body.insertBefore(row, this.body.children[index] ?? null);
    row.classList.toggle("chosen", isChosen);
    this.columns.forEach((column, at) => column.cell(item, row.children[at]));
  }
}

export const textCell = (text) => (item, cell) => setText(cell, text(item) ?? "");
