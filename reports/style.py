"""The style sheet of the page: one column, light and dark as the reader has it, black on white on paper."""

from __future__ import annotations

from ..drawing.theme import COLOURS, FONT, PICTURES, SHAPES, Shade, rules


def _variables(shade: Shade) -> str:
    return "".join(f"--{name}:{value};" for name, value in COLOURS[shade].items())


_LAYOUT = (
    f"body{{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 {FONT}}}"
    """
main{max-width:60rem;margin:0 auto;padding:3rem 1.5rem 4rem}
h1{font-size:2.1rem;line-height:1.15;margin:.2rem 0 .4rem;letter-spacing:-.015em;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:3.2rem 0 .35rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:1.8rem 0 .4rem}
p{margin:.5rem 0;max-width:46rem;overflow-wrap:anywhere}
a{color:var(--kept)}
code{font:.875em/1.4 ui-monospace,'SF Mono',Menlo,Consolas,'Liberation Mono',monospace;overflow-wrap:anywhere}
.eyebrow,.note,figcaption,caption,dt,.tile span{color:var(--muted);font-size:.875rem}
.eyebrow{margin:0;letter-spacing:.04em;text-transform:uppercase;font-size:.75rem}
.badge{margin-right:.5rem;display:inline-block;border:1px solid var(--inconclusive);color:var(--inconclusive);border-radius:1rem;padding:.1rem .75rem;font-size:.8125rem;font-weight:600}
.badge.target{border-color:var(--passed);color:var(--passed)}
.verdict{border-left:4px solid var(--muted);background:var(--raised);padding:.9rem 1.2rem;margin:1.6rem 0 1rem;border-radius:0 .5rem .5rem 0}
.verdict p{margin:.15rem 0;max-width:none}
.verdict .word{font-weight:700}
.pass{border-color:var(--passed)}.pass .word{color:var(--passed)}
.fail{border-color:var(--failed)}.fail .word{color:var(--failed)}
.open{border-color:var(--inconclusive)}.open .word{color:var(--inconclusive)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.75rem;margin:1rem 0 0;padding:0}
.tile{background:var(--raised);border-radius:.5rem;padding:.8rem 1rem;display:flex;flex-direction:column}
.tile b{font-size:1.55rem;line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums}
figure{margin:1rem 0 0}
figure>div,.scroll{overflow-x:auto}
figure svg{display:block;width:100%;min-width:40rem;height:auto}
figcaption{margin-top:.4rem}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums;margin:.8rem 0}
caption{text-align:left;padding-bottom:.3rem}
th,td{text-align:left;vertical-align:top;padding:.42rem .7rem .42rem 0;border-bottom:1px solid var(--grid)}
thead th{color:var(--muted);font-weight:600;border-bottom-color:var(--muted);white-space:nowrap}
tbody th{font-weight:500}
.num{text-align:right}
tr.best>*{background:var(--raised);font-weight:650}
tr>:first-child{padding-left:.5rem}
ol.time{list-style:none;padding:0;margin:1rem 0}
ol.time li{display:grid;grid-template-columns:5rem 1fr;gap:0 1rem;padding:0 0 .85rem}
ol.time time{color:var(--muted);font-size:.8125rem;font-variant-numeric:tabular-nums;text-align:right;padding-top:.1rem}
ol.time div{border-left:2px solid var(--grid);padding-left:1.2rem;position:relative;margin-bottom:-.85rem;padding-bottom:.85rem}
ol.time div::before{content:'';position:absolute;left:-.4rem;top:.45rem;width:.65rem;height:.65rem;border-radius:50%;background:var(--muted);border:2px solid var(--ground);box-sizing:border-box}
ol.time .good::before{background:var(--passed)}ol.time .bad::before{background:var(--failed);border-radius:0}ol.time .open::before{background:var(--inconclusive);transform:rotate(45deg);border-radius:0}
ol.time b{font-weight:600}
ol.time .who{color:var(--muted);font-size:.8125rem}
ol.time p{margin:0;font-size:.875rem}
details{border-top:1px solid var(--grid);padding:.5rem 0}
summary{cursor:pointer;font-weight:500}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.3rem 1.5rem;font-size:.875rem}
dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:3rem;border-top:1px solid var(--grid);padding-top:1rem}
@media (max-width:40rem){main{padding:1.5rem 1rem 3rem}h1{font-size:1.6rem}ol.time li{grid-template-columns:3.6rem 1fr}dl{grid-template-columns:1fr}dt{margin-top:.4rem}}
@media print{main{max-width:none;padding:0}body{font-size:10pt}h2{margin-top:1.6rem;break-after:avoid}figure,tr,.tile,.verdict,ol.time li{break-inside:avoid}figure svg{min-width:0}details::details-content{content-visibility:visible;display:block}.tile,.verdict,tr.best>*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)

# Of the page: dark where the reader's system is.
STYLE = (
    f":root{{color-scheme:light dark;{_variables('light')}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables('dark')}}}}}"
    f"{PICTURES}{_LAYOUT}"
)
# Of what stands in a chat: dark where the chat is, which says so; close to the edges.
STYLE_IN_CHAT = (
    f":root{{{_variables('light')}}}{SHAPES}{rules('light')}"
    f":root[data-theme=dark]{{color-scheme:dark;{_variables('dark')}{rules('dark')}}}"
    f"{_LAYOUT}main{{padding:1rem}}h2{{margin-top:1.4rem}}h1{{font-size:1.4rem}}pre{{white-space:pre-wrap;font-size:.8rem}}"
)
