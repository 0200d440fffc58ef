"""What the cells of `question.py` say: means, paired differences, intervals, a picture and a sentence."""

import random
import statistics

from chart import COLOURS, Picture


def resampled(by_language, draws=4000):
    """Mean and 95 % interval of values grouped by language: languages drawn, then values within each."""
    groups, draw = list(by_language.values()), random.Random(0)
    mean = statistics.fmean(x for group in groups for x in group)
    means = []
    for _ in range(draws):
        picked = [draw.choice(groups) for _ in groups]
        means.append(statistics.fmean(draw.choice(group) for group in picked for _ in group))
    means.sort()
    return {"mean": mean, "low": means[int(0.025 * draws)], "high": means[int(0.975 * draws)]}


def summarise(cells, arms, paper):
    """For each number of minutes and arm: its CER, and the paper's mask minus it where both were run."""
    at = {(c["language"], c["minutes"], c["seed"], c["arm"]): c["cer"] for c in cells}
    summary = []
    for minutes in sorted({c["minutes"] for c in cells}):
        for arm in arms:
            values, differences = {}, {}
            for (language, m, seed, name), cer in at.items():
                if (m, name) != (minutes, arm):
                    continue
                values.setdefault(language, []).append(cer)
                other = at.get((language, minutes, seed, paper))
                if other is not None and arm != paper:
                    differences.setdefault(language, []).append(other - cer)
            if not values:
                continue
            row = {"minutes": minutes, "arm": arm, "cells": sum(map(len, values.values())), "languages": len(values)}
            row |= {"cer": resampled(values), "by_language": {l: statistics.fmean(v) for l, v in values.items()}}
            if differences:
                row |= {"mask_minus_arm": resampled(differences), "pairs": sum(map(len, differences.values()))}
            summary.append(row)
    return summary


def sentence(summary, controls):
    parts = []
    for minutes in sorted({row["minutes"] for row in summary}):
        verdicts = {"better than": [], "worse than": [], "not told apart from": []}
        for row in summary:
            if row["minutes"] == minutes and "mask_minus_arm" in row and row["arm"] in controls:
                d = row["mask_minus_arm"]
                kind = "better than" if d["high"] < 0 else "worse than" if d["low"] > 0 else "not told apart from"
                verdicts[kind].append(f"{row['arm']} ({100 * d['mean']:+.1f} points of CER, {row['pairs']} pairs)")
        told = "; ".join(f"{kind} {', '.join(arms)}" for kind, arms in verdicts.items() if arms)
        if told:
            parts.append(f"With {minutes} minutes of audio the learnt mask of 8 % sparsity is {told}.")
    return " ".join(parts) or "No cell of the mask has a control beside it yet."


def svg(summary, recipe):
    """CER by arm with intervals, a row an arm, one colour for each number of minutes."""
    sizes, arms = sorted({r["minutes"] for r in summary}), list(dict.fromkeys(r["arm"] for r in summary))
    step, left, right, top = 16 * len(sizes) + 14, 130, 840, 64
    height = top + step * len(arms) + 60
    most = max((row["cer"]["high"] for row in summary), default=1)
    tick = next(t for t in (0.01, 0.02, 0.05, 0.1, 0.2) if most / t <= 8)
    limit = tick * (int(most / tick) + 1)
    x = lambda value: left + (right - left) * value / limit
    picture = Picture(right + 60, height)
    picture.text(left, 24, "Test CER by way of adapting: mean over languages and seeds, 95 % intervals", 15)
    picture.text(left, 44, f"{recipe.split(', covers')[0]} in every cell; small dots: languages", 12, fill="#666")
    for i in range(round(limit / tick) + 1):
        picture.line([(x(i * tick), top), (x(i * tick), height - 52)])
        picture.text(x(i * tick), height - 36, f"{100 * i * tick:.0f} %", anchor="middle")
    for i, arm in enumerate(arms):
        middle = top + step * (i + 0.5)
        picture.text(left - 10, middle + 4, arm, anchor="end", weight="bold" if arm.startswith("mask") else "normal")
        for row in (r for r in summary if r["arm"] == arm):
            place = sizes.index(row["minutes"])
            y, c, colour = middle + 16 * (place - (len(sizes) - 1) / 2), row["cer"], COLOURS[place % len(COLOURS)]
            picture.line([(x(c["low"]), y), (x(c["high"]), y)], colour, 2)
            for value in row["by_language"].values():
                picture.dot(x(value), y, colour, 2.5, 0.4)
            picture.dot(x(c["mean"]), y, colour, 4.5)
            picture.text(x(c["high"]) + 6, y + 4, f"{100 * c['mean']:.1f}", 11, fill=colour)
    for place, minutes in enumerate(sizes):
        picture.dot(left + 170 * place + 4, height - 14, COLOURS[place % len(COLOURS)], 4.5)
        picture.text(left + 170 * place + 14, height - 10, f"{minutes} minutes of audio", fill=COLOURS[place % len(COLOURS)])
    return picture.done()
