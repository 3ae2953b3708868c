"""Bars in SVG, for the pages: as few lines as a reader needs, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

FOLDER: Path | None = None
"""Where the pictures go; None while figures are only shown."""

WIDTH, BAR, GAP, LABELS, FIGURES = 760, 22, 8, 290, 90


def bars(
    name: str, title: str, unit: str, values: Sequence[tuple[str, float]], ours: str = "quicklime"
) -> None:
    """Write ``<name>.svg``: a bar a value, those of subjects that begin with ``ours`` in another shade."""
    if FOLDER is None:
        return
    longest = max(value for _, value in values)
    height = 34 + len(values) * (BAR + GAP)
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "role": "img",
            "font-family": "sans-serif",
            "font-size": "13",
        },
    )
    ET.SubElement(svg, "title").text = f"{title} ({unit})"
    ET.SubElement(
        svg, "style"
    ).text = "text{fill:#1f2937}@media(prefers-color-scheme:dark){text{fill:#e5e7eb}}"
    ET.SubElement(svg, "text", {"x": "0", "y": "16", "font-weight": "bold"}).text = f"{title} ({unit})"
    for place, (label, value) in enumerate(values):
        top = 30 + place * (BAR + GAP)
        width = max(1.0, (WIDTH - LABELS - FIGURES) * value / longest)
        fill = "#0f766e" if label.startswith(ours) else "#94a3b8"
        ET.SubElement(svg, "text", {"x": "0", "y": f"{top + 16}"}).text = label
        ET.SubElement(
            svg,
            "rect",
            {"x": f"{LABELS}", "y": f"{top}", "width": f"{width:.1f}", "height": f"{BAR}", "fill": fill},
        )
        ET.SubElement(svg, "text", {"x": f"{LABELS + width + 6:.1f}", "y": f"{top + 16}"}).text = f"{value:g}"
    ET.indent(svg)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.svg").write_text(ET.tostring(svg, encoding="unicode") + "\n")
