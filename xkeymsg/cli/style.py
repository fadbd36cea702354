"""The style sheet of the page: light and dark, screen and paper."""

from __future__ import annotations

from typing import Final

__all__ = ("STYLE",)

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fff; --panel: #f6f7f9; --ink: #1b2330; --soft: #5b6675; --line: #dfe3e8;
  --accent: #0b5cad; --good: #0b6b3a; --good-back: #e3f4ea; --bad: #a11c1c; --bad-back: #fdeaea;
  --tag: #e8edf4; --row: #f9fafb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --panel: #1a2029; --ink: #e6eaf0; --soft: #9aa6b5; --line: #2d3642;
    --accent: #7db8f5; --good: #6fd39b; --good-back: #143324; --bad: #ff9b93; --bad-back: #3b1a1a;
    --tag: #263040; --row: #161b22;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
code, .hash {
  font: .87em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
small { display: block; color: var(--soft); font-weight: 400; font-size: .78rem; }
.kind {
  margin: 0 0 .35rem; color: var(--accent); font-size: .78rem; font-weight: 600;
  letter-spacing: .09em; text-transform: uppercase;
}
.lead { color: var(--soft); font-size: 1.05rem; }
.hash { display: block; color: var(--soft); }
.pale { color: var(--soft); }
.note { color: var(--soft); font-style: italic; }
.code { background: var(--bad-back); color: var(--bad); border-radius: 3px; padding: 0 .15em; }
.tag {
  display: inline-block; background: var(--tag); border-radius: 4px; padding: 0 .45em;
  font-size: .85rem; white-space: nowrap;
}
dl {
  display: grid; grid-template-columns: max-content 1fr; gap: .45rem 1.5rem; margin: 1.5rem 0 0;
  padding: 1rem 1.25rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px;
}
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
.checks { list-style: none; margin: 1rem 0 0; padding: 0; display: grid; gap: .4rem; }
.checks li { border-radius: 8px; padding: .5rem .9rem; overflow-wrap: anywhere; }
.mark { display: inline-block; width: 1.3em; font-weight: 700; }
.plain { background: var(--panel); }
.good { background: var(--good-back); color: var(--good); }
.bad { background: var(--bad-back); color: var(--bad); font-weight: 500; }
.frame {
  border: 1px solid var(--line); border-radius: 8px; overflow: auto; max-height: 85vh;
}
table { border-collapse: separate; border-spacing: 0; width: 100%; }
th, td {
  padding: .4rem .75rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
tbody tr:last-child > * { border-bottom: 0; }
thead th {
  position: sticky; top: 0; z-index: 2; background: var(--panel); vertical-align: bottom;
  font-weight: 600; white-space: nowrap;
}
tbody th { font-weight: 400; }
.rule, .number { font-variant-numeric: tabular-nums; }
.matrix .place {
  position: sticky; left: 0; z-index: 1; background: var(--paper); min-width: 14rem;
}
.matrix thead .place { z-index: 3; background: var(--panel); }
.matrix thead th:nth-child(n + 3), .yes, .no { text-align: center; }
.matrix tbody tr:nth-child(even) > * { background: var(--row); }
.matrix tbody tr > .yes, .legend .yes span { background: var(--good-back); color: var(--good); }
.matrix tbody tr:hover > :not(.yes) { background: var(--panel); }
.no { color: var(--soft); }
.matrix tbody tr.denied:nth-child(n) > *, .legend .denied span {
  background: var(--bad-back); color: var(--bad);
}
.denied .pale { color: inherit; }
.legend { margin: 0 0 1rem; }
.legend dt { text-align: center; }
.legend dt span { display: inline-block; min-width: 2.6em; padding: 0 .4em; border-radius: 4px; }
tr:target > * { background: var(--tag); }
@media (max-width: 40rem) {
  main { padding: 1.25rem .75rem 2rem; }
  .matrix .place { min-width: 9rem; }
  dl { grid-template-columns: 1fr; gap: .1rem; }
  .legend dt { text-align: left; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --panel: #f2f3f5; --ink: #000; --soft: #444; --line: #bbb; --accent: #000;
    --good: #000; --good-back: #e3f0e7; --bad: #000; --bad-back: #f6dede; --tag: #eee; --row: #fff;
  }
  @page { margin: 14mm 12mm; }
  body { font-size: 9.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  .frame { overflow: visible; max-height: none; border-radius: 0; }
  thead { display: table-header-group; }
  thead th, .matrix .place { position: static; }
  tr, .checks li, dl { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
