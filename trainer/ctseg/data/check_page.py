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
table { border-collapse: collapse; width: 100%; margin: 1rem 0 } td, th { text-align: left; padding: .3rem .6rem;
border-bottom: 1px solid #d8dde2; vertical-align: top } td.path { word-break: break-all; font-family: monospace }
.error { color: #a4161a; font-weight: 600 } .warning { color: #8a5a00; font-weight: 600 } .fine { color: #1b6e3c }
.grid { display: flex; flex-wrap: wrap; gap: .6rem } figure { margin: 0; width: 160px } figcaption { font-size: 12px;
word-break: break-all } img { width: 160px; height: 160px; background: #000 }
"""


def page(report: Report) -> str:
    warnings = len(report.findings) - report.errors
    state = "error" if report.errors else ("warning" if warnings else "fine")
    return "".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            f"<title>Check of {escape(report.root)}</title><style>{_STYLE}</style>",
            f"<h1>{escape(report.root)}</h1>",
            f"<p>{escape(report.kind)}: {len(report.cases)} cases, {sum(r.slices for r in report.cases)} slices. "
            f'<span class="{state}">{report.errors} errors, {warnings} warnings</span></p>',
            _findings(report),
            _cases(report),
            _pictures(report.pictures),
            "</html>\n",
        ]
    )


def _findings(report: Report) -> str:
    if not report.findings:
        return "<p>Nothing was found.</p>"
    ordered = sorted(report.findings, key=lambda finding: finding.level != "error")
    rows = "".join(
        f'<tr><td class="{f.level}">{f.level}</td><td>{escape(f.code)}</td><td class="path">{escape(f.path)}</td>'
        f"<td>{escape(f.message)}</td></tr>"
        for f in ordered
    )
    return f"<h2>Findings</h2><table><tr><th>level<th>what<th>where<th>why</tr>{rows}</table>"


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
    head = "<tr><th>case<th>patient<th>voxels<th>mm<th>values<th>lesion<th>slices without<th>unlabelled</tr>"
    return f"<h2>Cases</h2><table>{head}{''.join(rows)}</table>"


def _pictures(pictures: list[tuple[str, Uint8]]) -> str:
    if not pictures:
        return ""
    shown = "".join(
        f'<figure><img alt="" src="data:image/png;base64,{_png(picture)}"><figcaption>{escape(name)}</figcaption>'
        "</figure>"
        for name, picture in pictures[:_MOST_PICTURES]
    )
    more = f"<p>The first {_MOST_PICTURES} of {len(pictures)}.</p>" if len(pictures) > _MOST_PICTURES else ""
    return f'<h2>The slice with most lesion</h2>{more}<div class="grid">{shown}</div>'


def _png(picture: Uint8) -> str:
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()
