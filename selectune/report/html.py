"""Frame and style of a report's page: dark on white, on screen and in print."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

STYLE = """
:root { --ink: #1b1f24; --quiet: #59616b; --line: #d5d9de; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial,
  "Liberation Sans", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 58rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
.run, .note, small, figcaption { color: var(--quiet); }
.run { margin: 0 0 .5rem; font-size: .9rem; }
h1 { margin: 0 0 1.5rem; padding-left: 1rem; border-left: 6px solid #8b9099; font-size: 1.55rem; line-height: 1.3; }
h1.gain { border-color: #009e73; } h1.loss { border-color: #d55e00; }
h1 + p { margin: -.75rem 0 1.5rem; padding-left: calc(1rem + 6px); }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); font-size: 1.15rem; }
.box { margin: 0 0 1.5rem; padding: .6rem .8rem; border: 1px solid var(--ink); border-radius: 6px; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0; }
.tiles div { padding: .6rem .8rem; border: 1px solid var(--line); border-radius: 6px; }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
small { display: block; font-size: .8rem; font-weight: 400; }
section { overflow-x: auto; }
figure { margin: 0 0 1.25rem; }
figcaption { margin-bottom: .25rem; font-weight: 600; }
figure img { display: block; max-width: 100%; height: auto; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .5rem; text-align: right; vertical-align: top; white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; white-space: normal; } tr > :last-child { padding-right: 0; }
tbody th { font-weight: 400; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
.group th { padding-top: .8rem; color: var(--quiet); font-size: .85rem; font-weight: 600; }
tr + tr:not(.group) > * { border-top: 1px solid #eceef0; }
.sum tr > * { border-top: 1.5px solid var(--ink); font-weight: 600; }
.terms { width: auto; min-width: 32rem; } .part th:first-child { padding-left: 1.2rem; }
.manifest td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.manifest th { width: 11rem; color: var(--quiet); }
.runs .words { min-width: 6rem; text-align: left; white-space: normal; overflow-wrap: break-word; }
.asked thead th:nth-child(-n + 4) { text-align: left; } [scope=colgroup] { text-align: center; }
thead tr:first-child:not(:last-child) th { border: 0; }
.runs thead th { white-space: normal; } .runs tbody th { min-width: 6rem; overflow-wrap: anywhere; }
.examples tbody th { white-space: nowrap; } .examples tr > :last-child { text-align: left; white-space: normal; }
.examples td:last-child { overflow-wrap: anywhere; }
ul.note, p.note { font-size: .82rem; } ul { padding-left: 1.1rem; }
pre { margin: .5rem 0; padding: .7rem .9rem; border: 1px solid var(--line); border-radius: 6px; background: #f7f8f9;
  font: .82rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
@page { margin: 15mm; }
@media print {
  :root { --ink: #000; --quiet: #3d444c; }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; } section { overflow-x: visible; }
  h2, h2 + p, h3, .group, figcaption { break-after: avoid; }
  figure, tr, .terms, .runs tbody, .tiles div { break-inside: avoid; }
  .tiles { grid-template-columns: repeat(5, 1fr); } dd { font-size: 1.2rem; }
  table { font-size: .8rem; } th, td { padding: .2rem .35rem; }
}
"""
