"""The report of `ctseg check` as one HTML file that needs no other: pictures are inside it, nothing is fetched."""

from __future__ import annotations

import base64
import io
from html import escape

from PIL import Image

from ctseg.data.check import Report
from ctseg.data.samples import Uint8

_MOST_PICTURES = 400
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c2126 }
h1 { overflow-wrap: anywhere } table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d8dde2; vertical-align: top }
td.what { white-space: nowrap } td.path { overflow-wrap: anywhere; font-family: monospace; min-width: 14rem }
td.why { overflow-wrap: anywhere } div.wide { overflow-x: auto } div.wide td { white-space: nowrap }
.error { color: #a4161a; font-weight: 600 } .warning { color: #8a5a00; font-weight: 600 } .fine { color: #1b6e3c }
.grid { display: flex; flex-wrap: wrap; gap: .6rem } figure { margin: 0; width: 160px } figcaption { font-size: 12px;
overflow-wrap: anywhere } img { width: 160px; height: 160px; background: #000 }
figure.pair, .pair img { width: 320px }
@media (max-width: 45rem) { table.findings, table.findings tbody { display: block }
.findings tr { display: block; border-bottom: 1px solid #d8dde2; padding: .4rem 0 } .findings tr:first-child {
display: none } .findings td { display: inline-block; border: 0; padding: 0 .6rem 0 0 }
.findings td.path, .findings td.why { display: block; min-width: 0 } .grid { justify-content: center } }
"""


def page(report: Report) -> str:
    warnings = len(report.findings) - report.errors
    state = "error" if report.errors else ("warning" if warnings else "fine")
    return "".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Check of {escape(report.root)}</title><style>{_STYLE}</style>",
            f"<h1>{escape(report.root)}</h1>",
            f"<p>{escape(report.kind)}: {len(report.cases)} cases, {sum(r.slices for r in report.cases)} slices. "
            f'<span class="{state}">{_count(report.errors, "error")}, {_count(warnings, "warning")}</span></p>',
            _split(report),
            _findings(report),
            _cases(report),
            _pictures(report.pairs, "Slices that look alike", wide=True),
            _pictures(report.pictures, "The slice with most lesion"),
            "</html>\n",
        ]
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _split(report: Report) -> str:
    split = report.split
    if split is None:
        return ""
    parts = [f"{split['train']} slices to learn from", f"{split['val']} held out"]
    parts += [f"{split['test']} in the published test part, not used"] if split["test"] else []
    parts += [f"{split['left_out']} left out"] if split["left_out"] else []
    return f"<p>The split that a training makes, by {escape(split['by'])}: {', '.join(parts)}.</p>"


def _findings(report: Report) -> str:
    if not report.findings:
        return "<p>Nothing was found.</p>"
    ordered = sorted(report.findings, key=lambda finding: finding.level != "error")
    rows = "".join(
        f'<tr><td class="{f.level}">{f.level}</td><td class="what">{escape(f.code)}</td>'
        f'<td class="path">{escape(f.path)}</td><td class="why">{escape(f.message)}</td></tr>'
        for f in ordered
    )
    return f"<h2>Findings</h2><table class=findings><tr><th>level<th>what<th>where<th>why</tr>{rows}</table>"


def _cases(report: Report) -> str:
    rows = []
    for row in report.cases:
        spacing = " x ".join("?" if mm is None else f"{mm:g}" for mm in row.spacing)
        shares = ", ".join(
            f"{escape(name)} {'unlabelled' if share is None else f'{share:.2%}'}" for name, share in row.lesion.items()
        )
        cells = (
            escape(row.case), escape(row.patient), f"{row.slices} x {row.rows} x {row.columns}", spacing,
            f"{row.low} to {row.high} ({row.domain})", shares, str(row.slices_without_lesion),
            str(row.slices_unlabelled),
        )  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>case<th>patient<th>voxels<th>mm<th>values<th>lesion<th>without lesion<th>unlabelled</tr>"
    return f"<h2>Cases</h2><div class=wide><table>{head}{''.join(rows)}</table></div>"


def _pictures(pictures: list[tuple[str, Uint8]], title: str, *, wide: bool = False) -> str:
    if not pictures:
        return ""
    kind = " class=pair" if wide else ""
    shown = "".join(
        f'<figure{kind}><img alt="" src="data:image/png;base64,{_png(picture)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, picture in pictures[:_MOST_PICTURES]
    )
    more = f"<p>The first {_MOST_PICTURES} of {len(pictures)}.</p>" if len(pictures) > _MOST_PICTURES else ""
    return f'<h2>{title}</h2>{more}<div class="grid">{shown}</div>'


def _png(picture: Uint8) -> str:
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()
