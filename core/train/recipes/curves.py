#!/usr/bin/env python3
"""The learning curves of the demo's runs in one picture: validation CER over updates, a panel a language.

    curves.py PACKS [--results WORK/results.json] [--out core/train/results]

PACKS is the folder that `demo.py` fills: each `<language>[.<method>].run/log.jsonl` in it is a curve. With --results the
test CER of each stands in its panel. Written: OUT/curves.json and OUT/curves.svg; runs that OUT/curves.json has from before and
PACKS no longer holds stay.
"""

import argparse
import json
from pathlib import Path

from chart import COLOURS, Picture

METHODS = {"mask": "learnt mask", "finetune": "full fine-tuning", "head": "head only"}
PANEL, COLUMNS, LEFT, TOP = (200, 150), 4, 46, 78


def curve(log):
    """[update, CER] of each evaluation, and the audio of an update where the log says so."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return [[line["update"], line["cer"]] for line in lines if "cer" in line]


def read(packs):
    """Curves by language, then method."""
    curves = {}
    for log in sorted(packs.glob("*.run/log.jsonl")):
        language, _, method = log.parent.name.removesuffix(".run").partition(".")
        points = curve(log)
        if points and (method or "mask") in METHODS:
            curves.setdefault(language, {})[method or "mask"] = points
    return curves


def below(points, limit):
    """The part of a curve that a panel of that height shows: from where it last comes down through the limit."""
    first = max((i + 1 for i, (_, c) in enumerate(points) if c > limit), default=0)
    if 0 < first < len(points):
        (u0, c0), (u1, c1) = points[first - 1], points[first]
        return [[u0 + (u1 - u0) * (c0 - limit) / (c0 - c1), limit], *points[first:]]
    return points[first:]


def svg(runs):
    curves = {l: {m: run["valid_cer"] for m, run in by.items()} for l, by in runs.items()}
    rows = -(-len(curves) // COLUMNS)
    (wide, high), gap = PANEL, (34, 52)
    picture = Picture(LEFT + COLUMNS * (wide + gap[0]), TOP + rows * (high + gap[1]) + 6)
    picture.text(LEFT, 26, "Validation CER over updates", 16)
    for place, (method, name) in enumerate(METHODS.items()):
        if any(method in by_method for by_method in curves.values()):
            picture.line([(LEFT + 160 * place, 46), (LEFT + 24 + 160 * place, 46)], COLOURS[place], 2)
            picture.text(LEFT + 30 + 160 * place, 50, name)
    for at, (language, by_method) in enumerate(curves.items()):
        x0, y0 = LEFT + at % COLUMNS * (wide + gap[0]), TOP + at // COLUMNS * (high + gap[1])
        last = max(points[-1][0] for points in by_method.values())
        # Early rates near 100 % would flatten what matters: the panel ends at twice the median.
        rates = sorted(cer for points in by_method.values() for _, cer in points)
        limit = max(min(rates[-1], 2 * rates[len(rates) // 2]), rates[0] * 1.5, 0.02)
        limit = 0.02 * -(-limit // 0.02)
        x, y = lambda u: x0 + wide * u / last, lambda c: y0 + high - high * c / limit
        for share in (0, 0.5, 1):
            picture.line([(x0, y(limit * share)), (x0 + wide, y(limit * share))])
            picture.text(x0 - 4, y(limit * share) + 4, f"{100 * limit * share:.0f} %", 10, "end", "#666")
            picture.text(x(last * share), y0 + high + 14, f"{last * share:.0f}", 10, "middle", "#666")
        picture.text(x0, y0 - 6, language, 13, weight="bold")
        told = []
        for place, method in enumerate(METHODS):
            if method in by_method:
                points = [(x(u), y(c)) for u, c in below(by_method[method], limit)]
                picture.line(points, COLOURS[place], 1.8)
                if len(points) < 30:
                    [picture.dot(*point, COLOURS[place], 2) for point in points]
            test = runs[language].get(method, {}).get("test", {}).get("cer")
            if test is not None:
                told.append((f"{100 * test:.1f} %", COLOURS[place]))
        for place, (words, colour) in enumerate(reversed(told)):
            picture.text(x0 + wide - 46 * place, y0 - 6, words, 11, "end", colour)
        if told:
            picture.text(x0 + wide - 46 * len(told), y0 - 6, "test", 11, "end", "#666")
    return picture.done()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    a = parser.parse_args()
    found = read(a.packs)
    if not found:
        parser.error(f"{a.packs} holds no <language>.run/log.jsonl with an evaluation")
    tests = json.loads(a.results.read_text()) if a.results else {}
    path = a.out / "curves.json"
    curves = json.loads(path.read_text()) if path.exists() else {}
    for language, by_method in found.items():
        for method, points in by_method.items():
            run = curves.setdefault(language, {})[method] = {"valid_cer": points}
            if report := tests.get(f"{language}.{method}"):
                kept = {k: report[k] for k in ("cer", "wer", "utterances", "recipe") if k in report}
                run["test"] = kept | {"interval": report["characters"]["interval"]}
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "curves.svg").write_text(svg(dict(sorted(curves.items()))))
    path.write_text(json.dumps(curves, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
