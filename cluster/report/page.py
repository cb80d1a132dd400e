"""One HTML file that holds its charts, their library and its data. Nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.report import charts
from cluster.report.evidence import Evidence
from cluster.report.grammar import CONFIG
from cluster.report.sections import sections, verdict

HERE = Path(__file__).parent


def page(runs: list[Evidence], command: str) -> str:
    """The report of one run, or of several side by side. command: the one that rebuilds it."""
    import jinja2
    import vl_convert

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    told = sections(runs)
    drawn: dict[str, Any] = {"turns": charts.accuracy_by_round(runs)}
    for section in told:
        for number, panel in enumerate(section.panels):
            drawn |= {f"{section.key}-{number}-{i}": spec for i, (_, spec) in enumerate(panel.charts)}
    trees = [
        {
            "run": run.name,
            "problems": [
                {"id": each.problem, "level": each.level, "prompt": each.prompt, "answer": each.answer, "kind": each.kind}
                | {"trees": {label: tree.plain() for label, tree in each.trees.items()}}
                for each in run.shown
            ],
        }
        for run in runs
    ]
    return environment.get_template("page.html").render(
        runs=runs,
        verdicts=[verdict(run) for run in runs],
        sections=told,
        charts=inline({key: spec for key, spec in drawn.items() if spec}),
        config=inline(CONFIG),
        trees=inline(trees),
        drawn=drawn,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        library=vl_convert.javascript_bundle(),
        command=command,
    )


def inline(value: Any) -> str:
    """JSON that is safe inside a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def pictures(run: Evidence, folder: Path) -> list[Path]:
    """Each chart as an SVG file of its own, on white. Returns their paths."""
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    specs = {"turns": charts.accuracy_by_round([run])}
    for section in sections([run]):
        for i, (_, spec) in enumerate(section.panels[0].charts):
            specs[section.key + (f"-{i}" if i else "")] = spec
    written = []
    for name, spec in specs.items():
        if spec is None:
            continue
        solid = json.loads(json.dumps(spec | {"width": 520}).replace("currentColor", "#333"))
        config = json.loads(json.dumps(CONFIG).replace("currentColor", "#333")) | {"background": "white"}
        (folder / f"{name}.svg").write_text(vl_convert.vegalite_to_svg(solid | {"config": config}), encoding="utf-8")
        written.append(folder / f"{name}.svg")
    return written
