"""Small pieces of HTML.

Titles and descriptions are text and escaped here; `parts`, `html`, `note` and table cells are HTML.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

NONE = "-"  # a number that is not there


def number(value: float | None, form: str) -> str:
    """A number in a format, or a dash where there is none."""
    return NONE if value is None else format(value, form)


def section(title: str, *parts: str) -> str:
    """A section of the page under its heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def absent(what: str) -> str:
    """A sentence in place of something that a run has not made."""
    return f'<p class="missing">Not in this run: {escape(what)}.</p>'


def details(title: str, html: str) -> str:
    """Something long, folded up."""
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


def card(title: str, html: str, note: str, style: str = "") -> str:
    """A large number with its name above and a remark below."""
    heading = f"<h2>{escape(title)}</h2>"
    return f'<div class="card {style}">{heading}<p>{html}</p><small>{note}</small></div>'


def figure(title: str, svg: str, style: str = "") -> str:
    """A chart under its title."""
    return f'<figure class="chart {style}"><figcaption>{escape(title)}</figcaption>{svg}</figure>'


def grid(items: Iterable[str], style: str) -> str:
    """Charts beside each other where the page is wide enough."""
    return f'<div class="grid {style}">{"".join(items)}</div>'


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    style: str = "",
    groups: Sequence[str] = (),
) -> str:
    """A table of ready HTML cells: the first column text, the others numbers.

    ``groups``, one for each header, stand above them; neighbors of one name share a cell.
    """
    head = "".join(f"<th>{header}</th>" for header in headers)
    above = "".join(
        f'<th colspan="{len(list(members))}">{name}</th>' for name, members in groupby(groups)
    )
    above = f'<tr class="groups">{above}</tr>' if groups else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{style}"><thead>{above}<tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(png_base64: str, description: str, style: str = "") -> str:
    """A PNG inside the page; a small one is enlarged without blur."""
    style += " small" if is_small(png_base64) else ""
    return (
        f'<img class="{style}" src="data:image/png;base64,{escape(png_base64)}"'
        f' alt="{escape(description)}">'
    )


def is_small(png_base64: str) -> bool:
    """Whether a PNG is at most 64 pixels wide: its header has the width in bytes 16 to 19."""
    return int.from_bytes(base64.b64decode(png_base64[:32])[16:20]) <= 64


def swatch(color: str) -> str:
    """A dot of a color, to stand before a name."""
    return f'<i class="swatch" style="background:{color}"></i>'


def keys(meanings: Mapping[str, str]) -> str:
    """A legend: color -> what it means."""
    keys = "".join(f"<span>{swatch(c)}{escape(text)}</span>" for c, text in meanings.items())
    return f'<p class="legend">{keys}</p>'


def models(shown: Iterable[Mapping[str, Any]], palette: Mapping[str, str]) -> str:
    """A legend of models."""
    return keys({palette[model["name"]]: model["label"] for model in shown})


def signed(value: float) -> str:
    """Points with their sign, as in +3.8."""
    return f"{value:+.1f}".replace("-", "&minus;")


def span(bounds: Sequence[float], sign: bool = False) -> str:
    """An interval, as in 92.0-95.1 or, with signs, +2.4 to +5.2."""
    low, high = bounds
    return f"{signed(low)} to {signed(high)}" if sign else f"{low:.1f}&ndash;{high:.1f}"
