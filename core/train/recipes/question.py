#!/usr/bin/env python3
"""The paper's question on the demo's data: does a learnt mask beat every other way to adapt the backbone?

    question.py PROMPTS WORK [--languages tr,it,es] [--seeds 1,2,3] [--data-minutes 10,60] [--updates 400]
                [--out core/train/results] [--summary-only]

One cell is (language, minutes of training audio, seed, arm); an arm is a mask at a sparsity, or a control: head
only, fixed magnitude mask, fixed random mask, norms and biases, full fine-tuning, full fine-tuning cut to one bit
a weight. The seed draws the training clips, the starting scores and the order. A cell is one run of `s3router-train run` (the
moment chosen on validation) and one `evaluate` on the test list: unseen sentences by unseen voices. Each finished cell
is a line of WORK/question/cells.jsonl, so the command may be stopped at any time and goes on where it was.

The summary holds only cells that were run. An arm's figure is the mean over languages and seeds; its comparison with
the mask is the mean of paired differences (same language, minutes, seed), with a 95 % interval from resampling
languages, and seeds within them. Written: OUT/question.json, OUT/question.svg, and a plain sentence on standard output.
"""

import argparse
import json
import random
import shlex
import statistics
import subprocess
import wave
from pathlib import Path

from demo import VOICES, corpus

MASKS = {f"mask {s:g} %": ["--method", "mask", "--sparsity", str(s / 100)] for s in (4, 8, 20, 40)}
CONTROLS = {
    "head": ["--method", "head"],
    "magnitude 8 %": ["--method", "magnitude", "--sparsity", "0.08"],
    "random 8 %": ["--method", "random", "--sparsity", "0.08"],
    "norms, biases": ["--method", "bitfit"],
    "fine-tuning": ["--method", "finetune"],
    "1-bit delta": ["--method", "delta1"],
}
ARMS = MASKS | CONTROLS
PAPER = "mask 8 %"


def seconds(path):
    with wave.open(str(path)) as clip:
        return clip.getnframes() / clip.getframerate()


def subset(folder, minutes, seed):
    """A list of about so many minutes of training clips, drawn by the seed."""
    made = folder / f"train.{minutes}min.{seed}.tsv"
    if not made.exists():
        rows = (folder / "train.tsv").read_text().splitlines()
        random.Random(seed).shuffle(rows)
        kept, left = [], 60 * minutes
        for row in rows:
            left -= seconds(folder / row.split("\t")[0])
            if left < 0:
                break
            kept.append(row)
        made.write_text("\n".join(kept) + "\n")
    return made


def run_cell(a, cell):
    language, minutes, seed, arm = cell["language"], cell["minutes"], cell["seed"], cell["arm"]
    folder, program = a.work / language, shlex.split(a.train)
    out = a.work / "question" / f"{language}.{minutes}.{seed}.{arm.replace(' ', '').replace('%', '')}.safetensors"
    settings = a.work / "question" / "settings.toml"
    settings.write_text(f"[select]\nevery = {max(a.updates // 4, 1)}\n")
    flags = ["--train", subset(folder, minutes, seed), "--valid", folder / "valid.tsv", "--language", language]
    flags += ["--seed", seed, "--updates", a.updates, "--config", settings, "--out", out, "--precision", a.precision]
    flags += ["--covers", a.covers, *ARMS[arm], *shlex.split(a.flags)]
    subprocess.run([*program, "run", *map(str, flags)], check=True, stdout=subprocess.DEVNULL)
    flags = ["--test", folder / "test.tsv", "--pack", out, "--json"]
    done = subprocess.run([*program, "evaluate", *map(str, flags)], check=True, stdout=subprocess.PIPE)
    report, kept = json.loads(done.stdout), out.stat().st_size
    # The run's folder holds moments and checkpoints, a hundred times the result.
    subprocess.run(["rm", "-rf", str(out.with_suffix(".run")), str(out)], check=True)
    return cell | {
        "updates": a.updates, "covers": a.covers, "cer": report["cer"], "wer": report["wer"],
        "interval": report["characters"]["interval"], "utterances": report["utterances"], "bytes": kept,
    }


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


def summarise(cells):
    """For each number of minutes and arm: its CER, and the paper's mask minus it where both were run."""
    at = {(c["language"], c["minutes"], c["seed"], c["arm"]): c["cer"] for c in cells}
    summary = []
    for minutes in sorted({c["minutes"] for c in cells}):
        for arm in ARMS:
            own = [k for k in at if k[1] == minutes and k[3] == arm]
            if not own:
                continue
            values, differences = {}, {}
            for key in own:
                values.setdefault(key[0], []).append(at[key])
                other = at.get((key[0], minutes, key[2], PAPER))
                if other is not None and arm != PAPER:
                    differences.setdefault(key[0], []).append(other - at[key])
            row = {"minutes": minutes, "arm": arm, "cells": len(own), "languages": len(values)}
            row |= {"cer": resampled(values), "by_language": {l: statistics.fmean(v) for l, v in values.items()}}
            if differences:
                row |= {"mask_minus_arm": resampled(differences), "pairs": sum(map(len, differences.values()))}
            summary.append(row)
    return summary


def sentence(summary):
    parts = []
    for minutes in sorted({row["minutes"] for row in summary}):
        verdicts = {"better than": [], "worse than": [], "not told apart from": []}
        for row in summary:
            if row["minutes"] == minutes and "mask_minus_arm" in row and row["arm"] in CONTROLS:
                d = row["mask_minus_arm"]
                kind = "better than" if d["high"] < 0 else "worse than" if d["low"] > 0 else "not told apart from"
                verdicts[kind].append(f"{row['arm']} ({100 * d['mean']:+.1f} points of CER, {row['pairs']} pairs)")
        told = "; ".join(f"{kind} {', '.join(arms)}" for kind, arms in verdicts.items() if arms)
        if told:
            parts.append(f"With {minutes} minutes of audio the learnt mask of 8 % sparsity is {told}.")
    return " ".join(parts) or "No cell of the mask has a control beside it yet."


def svg(summary):
    """CER by arm with intervals, one colour for each number of minutes."""
    width, height, edge, colours = 900, 420, 60, ["#36c", "#c33", "#393", "#963"]
    sizes = sorted({row["minutes"] for row in summary})
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in summary)]
    top = max((row["cer"]["high"] for row in summary), default=1) * 1.05
    y = lambda v: height - edge - (height - 2 * edge) * v / top
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{edge}" y="24" font-size="14">Test CER by method: mean over languages and seeds, 95 % intervals</text>'
    ]
    for i in range(5):
        v = top * i / 4
        out.append(f'<path d="M{edge} {y(v):.1f}H{width - 20}" stroke="#ddd"/><text x="{edge - 6}" y="{y(v) + 4:.1f}" '
                   f'text-anchor="end">{100 * v:.0f} %</text>')
    step = (width - edge - 20) / max(len(arms), 1)
    for i, arm in enumerate(arms):
        centre = edge + step * (i + 0.5)
        out.append(f'<text x="{centre:.1f}" y="{height - edge + 18}" text-anchor="middle" font-size="11">{arm}</text>')
        for row in (r for r in summary if r["arm"] == arm):
            place = sizes.index(row["minutes"])
            x, c, colour = centre + 12 * (place - (len(sizes) - 1) / 2), row["cer"], colours[place % len(colours)]
            out.append(f'<path d="M{x:.1f} {y(c["low"]):.1f}V{y(c["high"]):.1f}" stroke="{colour}" stroke-width="2"/>'
                       f'<circle cx="{x:.1f}" cy="{y(c["mean"]):.1f}" r="4" fill="{colour}"/>')
    for place, minutes in enumerate(sizes):
        out.append(f'<text x="{edge + 130 * place}" y="{height - 12}" fill="{colours[place % len(colours)]}">'
                   f'{minutes} minutes of audio</text>')
    return "".join(out) + "</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--languages", default="tr,it,es")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--data-minutes", default="10,60")
    parser.add_argument("--arms", default=",".join(["mask 8 %", "head", "fine-tuning", "magnitude 8 %", "norms, biases",
                        "1-bit delta", "random 8 %", "mask 20 %", "mask 4 %", "mask 40 %"]).replace("norms, biases", "norms; biases"),
                        help="in the order of running; `;` stands for a comma within a name")
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--covers", default="ffn")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--train", default="cargo run --release -q -p s3router-train --")
    parser.add_argument("--flags", default="", help="more flags for `run`")
    parser.add_argument("--out", type=Path, help="folder of the summary [default: WORK/question]")
    parser.add_argument("--summary-only", action="store_true")
    a = parser.parse_args()
    ledger = a.work / "question" / "cells.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    cells = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    key = lambda c: (c["language"], c["minutes"], c["seed"], c["arm"], c["updates"], c["covers"])
    done = {key(c) for c in cells}
    # A whole comparison before the next: seeds outermost, so that a stopped run is balanced.
    for seed in map(int, a.seeds.split(",")):
        for minutes in map(int, a.data_minutes.split(",")):
            for language in a.languages.split(","):
                for arm in (name.replace(";", ",") for name in a.arms.split(",")):
                    cell = dict(language=language, minutes=minutes, seed=seed, arm=arm)
                    if a.summary_only or key(cell | dict(updates=a.updates, covers=a.covers)) in done:
                        continue
                    assert language in VOICES and arm in ARMS, f"unknown: {language}, {arm}"
                    corpus(a.prompts, a.work, language, a.clips)
                    cells.append(run_cell(a, cell))
                    with ledger.open("a") as file:
                        file.write(json.dumps(cells[-1]) + "\n")
                    print(*cell.values(), "CER %.2f %%" % (100 * cells[-1]["cer"]), flush=True)
    summary, out = summarise(cells), a.out or ledger.parent
    out.mkdir(parents=True, exist_ok=True)
    (out / "question.json").write_text(json.dumps({"cells": cells, "summary": summary, "sentence": sentence(summary)}, indent=1) + "\n")
    (out / "question.svg").write_text(svg(summary))
    print(sentence(summary))


if __name__ == "__main__":
    main()
