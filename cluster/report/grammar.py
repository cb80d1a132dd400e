"""The grammar of the report's charts: plain data in, a Vega-Lite specification out as a dict.

Source of the grammar: Satyanarayan et al. 2017, Vega-Lite. Colours: Okabe and Ito 2008, told apart by colour-blind readers.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a6d3b", "#7f7f7f"]
HEIGHT = 210
LABELS = {"labelColor": "currentColor", "titleColor": "currentColor"}
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": "transparent"},
    "axis": LABELS
    | {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "currentColor", "gridOpacity": 0.12}
    | {"titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 12},
    "legend": LABELS
    | {"orient": "bottom", "columns": {"expr": "width < 420 ? 2 : 6"}, "titleOrient": "left", "symbolOpacity": 1}
    | {"titleFontWeight": "normal", "labelLimit": 220, "layout": {"bottom": {"anchor": "start", "direction": "vertical"}}},
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": "currentColor"},
    "range": {"category": COLOURS, "ordinal": {"scheme": "plasma", "extent": [0.3, 0.82]}},
    "header": LABELS,
}


def share(field: str, title: str, **more: Any) -> Spec:
    """A y axis of percent, from 0 to the largest value."""
    scale = {"scale": {"domainMin": 0, "nice": True}}
    return {"field": field, "type": "quantitative", "title": title, "axis": {"format": ".0%"}} | scale | more


def number(field: str, title: str, log: bool = False, **more: Any) -> Spec:
    scale = {"scale": {"type": "log", "nice": False, "padding": 12}, "axis": {"format": "~s", "labelOverlap": True}}
    return {"field": field, "type": "quantitative", "title": title} | (scale if log else {}) | more


def answers(rows: list[dict]) -> Spec:
    """An x axis of numbers of answers, with a tick where there is a point."""
    values = sorted({row["k"] for row in rows})
    axis = {"axis": {"values": values, "format": "~s", "labelOverlap": True}}
    return number("k", "answers to each problem, k", log=True) | axis


def named(field: str, title: str | None, **more: Any) -> Spec:
    return {"field": field, "type": "nominal", "title": title} | more


def by_round() -> Spec:
    """As an axis, or as a colour with a legend that is narrow."""
    return {"field": "round", "type": "ordinal", "title": "round", "axis": {"labelAngle": 0}, "legend": {"columns": 6}}


def chart(values: list[dict], **rest: Any) -> Spec | None:
    """A chart over these rows; None where there are none."""
    if not values:
        return None
    sized = {"width": "container", "height": HEIGHT, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"data": {"values": values}, **sized, **rest}


def tips(*fields: tuple[str, str, str]) -> list[Spec]:
    """Tooltips: (field, title, format); format "" for text."""
    return [
        {"field": field, "title": title, "type": "quantitative" if form else "nominal"} | ({"format": form} if form else {})
        for field, title, form in fields
    ]


def lines(points: Spec, x: Spec, y: Spec, colour: Spec, tip: list[Spec], dash: Spec | None = None) -> Spec:
    """Lines with their points."""
    detail = {"strokeDash": dash} if dash else {}
    encoding = {"x": x, "y": y, "color": colour, "tooltip": tip}
    layer = [{"mark": {"type": "line"}, "encoding": detail}, {"mark": {"type": "point", "filled": True, "size": 45}}]
    return points | {"encoding": encoding, "layer": layer}


def intervals(spec: Spec, x: Spec, colour: Spec, tip: list[Spec], shaded: bool = False) -> Spec:
    """Lines of held-out pass@1 with its 95 % intervals: rows have pass_1, low and high."""
    y, band = share("pass_1", "held-out pass@1"), {"y": share("low", "held-out pass@1"), "y2": {"field": "high"}}
    layer = [{"mark": {"type": "area", "opacity": 0.15}, "encoding": band}] if shaded else []
    layer += [{"mark": {"type": "rule", "opacity": 0.7}, "encoding": band}, {"mark": "line", "encoding": {"y": y}}]
    layer += [{"mark": {"type": "point", "filled": True, "size": 55}, "encoding": {"y": y}}]
    return spec | {"encoding": {"x": x, "color": colour, "tooltip": tip}, "layer": layer}
