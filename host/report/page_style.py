"""The page's style sheet: light and dark, wide and narrow, no fonts or files from elsewhere."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --muted: #57606a; --line: #dfe3e8;
  --soft: #f5f7f9; --accent: #0072b2; --good: #00694c; --good-soft: #e3f4ee; --bad: #b3261e;
  --bad-soft: #fdeceb; --heat: 0, 114, 178; --heat-most: 0.55; }
@media (prefers-color-scheme: dark) {
  :root { --page: #161a20; --ink: #e8ebef; --muted: #a2abb6; --line: #313843; --soft: #1e242c;
    --accent: #56b4e9; --good: #4fd8ae; --good-soft: #143229; --bad: #ff8a80; --bad-soft: #3b1d1d;
    --heat: 86, 180, 233; --heat-most: 0.5; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main, footer { max-width: 960px; margin: 0 auto; padding: 0 20px; }
header { padding: 40px 0 0; }
header h2 { margin-top: 28px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 48px 0 12px; }
p { margin: 0 0 12px; max-width: 72ch; overflow-wrap: anywhere; }
.lead, .note, footer { color: var(--muted); }
.note, footer { font-size: 0.875rem; }
code { font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
figcaption { color: var(--muted); font-size: 0.875rem; margin-top: 8px; max-width: 80ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px;
  margin: 0; }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; background: var(--soft); }
.tiles dt { color: var(--muted); font-size: 0.875rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-weight: 650; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: 0.8125rem; font-weight: 400; color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: 0.875rem; padding-bottom: 8px; }
caption span { display: inline-block; position: sticky; left: 0; max-width: min(100%, 100vw - 64px); }
th, td { padding: 8px 10px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; font-size: 0.8125rem; line-height: 1.3;
  color: var(--muted); border-bottom: 2px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 8px; }
td small, th small { display: block; color: var(--muted); font-weight: 400; font-size: 0.8125rem; }
tr.chosen > *, tr.own > * { background: var(--good-soft); }
tr.chosen th small { color: var(--good); font-weight: 650; }
tr.over > * { color: var(--muted); }
td.words { white-space: normal; overflow-wrap: anywhere; }
.facts { table-layout: fixed; }
.facts th { width: 36%; font-weight: 400; color: var(--muted); white-space: normal; overflow-wrap: anywhere; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.heat td { text-align: center; border: 2px solid var(--page);
  background: rgba(var(--heat), calc(var(--share) * var(--heat-most))); }
.heat thead th { text-align: center; }
.heat thead th:first-child { text-align: left; }
.heat td small { color: inherit; }
.scroll + .scroll, figure + .scroll, figure + figure, .scroll + figure, .scroll + details, .scroll + h3,
details + .scroll, details + h3, p + .scroll { margin-top: 28px; }
h3 { font-size: 1.0625rem; margin: 0 0 10px; }
.bad { color: var(--bad); }
.verdict { border-left: 4px solid var(--good); background: var(--good-soft); padding: 10px 16px;
  border-radius: 0 8px 8px 0; }
.verdict.bad { border-color: var(--bad); background: var(--bad-soft); }
.verdict strong { display: block; }
details { border: 1px solid var(--line); border-radius: 8px; padding: 0 16px; }
details + details { margin-top: 12px; }
summary { cursor: pointer; padding: 12px 0; font-weight: 600; }
details[open] { padding-bottom: 16px; }
.terms dt { font-weight: 650; margin-top: 10px; }
.terms dd { margin: 0; max-width: 72ch; }
footer { margin-top: 56px; padding-top: 16px; padding-bottom: 40px; border-top: 1px solid var(--line); }
@media (max-width: 600px) {
  main, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 24px; } h1 { font-size: 1.5rem; } h2 { margin-top: 36px; }
  table { font-size: 0.875rem; } th, td { padding: 7px 8px; }
  .models th:first-child, .trials th:first-child, .heat th:first-child, .published th:first-child,
  .predictions th:first-child { position: sticky; left: 0; background: var(--page); }
  tr.chosen th:first-child, tr.own th:first-child { background: var(--good-soft); }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tiles div:last-child:nth-child(odd) { grid-column: span 2; }
  .tiles div { padding: 10px 12px; }
  .tiles dd { font-size: 1.25rem; } }
@media print { .scroll { overflow: visible; } }
"""
