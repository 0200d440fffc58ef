#!/usr/bin/env python3
"""The paper's question on the demo's data: does a learnt mask beat every other way to adapt the backbone?

    question.py PROMPTS WORK [--languages tr,it,es] [--seeds 1,2,3] [--data-minutes 10,60] [--updates 120]
                [--batch-seconds 12] [--out core/train/results] [--summary-only] [--train PROGRAM]

One cell is (language, minutes of training audio, seed, arm); an arm is a mask at a sparsity, or a control: head
only, fixed magnitude mask, fixed random mask, norms and biases, full fine-tuning, full fine-tuning cut to one bit
a weight. The seed draws the training clips, the starting scores and the order. Every cell has the same budget of updates
and is judged as it ends, so nothing is selected: one `s3router-train run`, then one `evaluate` on the test list, unseen
sentences by unseen voices. Each finished cell is a line of WORK/question/cells.jsonl: the command may be stopped at any
time and goes on where it was.

Peak learning rates are chosen first, for each way to adapt, on one language, on its validation list: one factor on the
rates of BASE, threefold steps from 1 downhill until both neighbours are worse (WORK/question/rates.json). They then hold for
every language, seed, sparsity and amount of data, and are named in the result.

The summary holds only cells that were run. An arm's figure is the mean over languages and seeds; its comparison with
the mask is the mean of paired differences (same language, minutes, seed), with a 95 % interval from resampling
languages, and seeds within them. Written: OUT/question.json, OUT/question.svg, and a plain sentence on standard output.
"""

import argparse
import json
import os
import random
import resource
import shlex
import shutil
import subprocess
import wave
from pathlib import Path

from demo import VOICES, corpus
from question_summary import sentence, summarise, svg

# What decides about an arm's learning rates: arms of one family adjust the same parameters.
MASKS = {f"mask {s:g} %": ("mask", ["--method", "mask", "--sparsity", str(s / 100)]) for s in (4, 8, 20, 40)}
CONTROLS = {
    "head": ("head", ["--method", "head"]),
    "magnitude 8 %": ("head", ["--method", "magnitude", "--sparsity", "0.08"]),
    "random 8 %": ("head", ["--method", "random", "--sparsity", "0.08"]),
    "norms, biases": ("norms, biases", ["--method", "bitfit"]),
    "fine-tuning": ("fine-tuning", ["--method", "finetune"]),
    "1-bit delta": ("fine-tuning", ["--method", "delta1"]),
}
ARMS = MASKS | CONTROLS
PAPER = "mask 8 %"
# Peak rates of what is adjusted, and of the head beside it, at factor 1; and the arm that a family is tuned by.
BASE = {
    "mask": ("mask 8 %", {"score_rate": 1e-3, "head_rate": 3e-3}),
    "head": ("head", {"head_rate": 3e-3}),
    "norms, biases": ("norms, biases", {"weight_rate": 1e-3, "head_rate": 3e-3}),
    "fine-tuning": ("fine-tuning", {"weight_rate": 2e-4, "head_rate": 3e-3}),
}
STEP, FARTHEST = 3.0, 3


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


def learn(a, cell, rates, name):
    """One run to its last update: its figures on the validation list, and what it wrote."""
    folder, place = a.work / cell["language"], a.work / "question"
    out, settings = place / f"{name}.safetensors", place / f"{name}.toml"
    rates = "".join(f"{key} = {value:g}\n" for key, value in rates.items())
    settings.write_text(f"[updates]\nbatch_seconds = {a.batch_seconds}\nraised_scores = false\n{rates}[select]\nevery = {a.updates}\n")
    flags = ["--train", subset(folder, cell["minutes"], cell["seed"]), "--valid", folder / "valid.tsv"]
    flags += ["--language", cell["language"], "--seed", cell["seed"], "--updates", a.updates, "--config", settings]
    flags += ["--out", out, "--precision", a.precision, "--covers", a.covers, "--features", a.work / "packs" / "features"]
    flags += [*ARMS[cell["arm"]][1], "--fresh", "--json", *shlex.split(a.flags)]
    done = subprocess.run([*a.program, "run", *map(str, flags)], check=True, stdout=subprocess.PIPE)
    settings.unlink()
    return json.loads(done.stdout)["valid"], out


def forget(out):
    """A run's folder holds moments and checkpoints, a hundred times the result, and here neither is kept."""
    shutil.rmtree(out.with_suffix(".run"), ignore_errors=True)
    out.unlink(missing_ok=True)


def tune(a):
    """The factor on each family's rates that validates best on one language, and every factor tried."""
    ledger = a.work / "question" / "rates.json"
    tried = json.loads(ledger.read_text()) if ledger.exists() else {}
    best = {}
    for family, (arm, base) in BASE.items():
        if not any(ARMS[name][0] == family for name in a.arms):
            continue
        figures = tried.setdefault(f"{family}: {recipe(a)}", {})

        def cer(power):
            if str(power) not in figures:
                cell = dict(language=a.tune_language, minutes=a.tune_minutes, seed=0, arm=arm)
                corpus(a.prompts, a.work, a.tune_language, a.clips)
                rates = {key: value * STEP**power for key, value in base.items()}
                valid, out = learn(a, cell, rates, "rates")
                forget(out)
                figures[str(power)] = valid["cer"]
                ledger.write_text(json.dumps(tried, indent=1) + "\n")
                print(f"rates of {family} × {STEP**power:.2g}: valid CER {100 * valid['cer']:.2f} %", flush=True)
            return figures[str(power)]

        at = 0
        for way in (1, -1):
            while abs(at) < FARTHEST and cer(at + way) < cer(at):
                at += way
        best[family] = {key: value * STEP**at for key, value in base.items()}
    return best, tried


def recipe(a):
    return f"{a.updates} updates of {a.batch_seconds:g} s, covers {a.covers}, {a.tune_language} {a.tune_minutes} min"


def run_cell(a, cell, rates):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    name = f"{cell['language']}.{cell['minutes']}.{cell['seed']}.{cell['arm'].replace(' ', '').replace('%', '')}"
    valid, out = learn(a, cell, rates, name)
    flags = ["--test", a.work / cell["language"] / "test.tsv", "--pack", out, "--features", a.work / "packs" / "features"]
    flags += ["--precision", a.precision, "--json"]
    done = subprocess.run([*a.program, "evaluate", *map(str, flags)], check=True, stdout=subprocess.PIPE)
    report, kept = json.loads(done.stdout), out.stat().st_size
    forget(out)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cell | {
        "recipe": recipe(a), "rates": rates, "cer": report["cer"], "wer": report["wer"], "valid_cer": valid["cer"],
        "interval": report["characters"]["interval"], "utterances": report["utterances"], "bytes": kept,
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--languages", default="tr,it,es")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--data-minutes", default="10,60")
    order = ["mask 8 %", "head", "fine-tuning", "magnitude 8 %", "norms, biases", "1-bit delta", "random 8 %", "mask 20 %",
             "mask 4 %", "mask 40 %"]
    parser.add_argument("--arms", default=";".join(order), help="in the order of running, between `;` [default: %(default)s]")
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--batch-seconds", type=float, default=12)
    parser.add_argument("--covers", default="ffn")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tune-language", default="tr")
    parser.add_argument("--tune-minutes", type=int, default=10)
    parser.add_argument("--clips", type=int, default=5000)
    parser.add_argument("--train", default="cargo run --release -q -p s3router-train --")
    parser.add_argument("--flags", default="", help="more flags for `run`")
    parser.add_argument("--out", type=Path, help="folder of the summary [default: WORK/question]")
    parser.add_argument("--summary-only", action="store_true")
    a = parser.parse_args()
    a.arms, a.program = a.arms.split(";"), shlex.split(a.train)
    unknown = [x for x in a.arms if x not in ARMS] + [x for x in a.languages.split(",") if x not in VOICES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; arms are {'; '.join(ARMS)}, languages {', '.join(VOICES)}")
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    ledger = a.work / "question" / "cells.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    rates, tried = ({}, {}) if a.summary_only else tune(a)
    cells = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    cells = [c for c in cells if c["recipe"] == recipe(a)]
    key = lambda c: (c["language"], c["minutes"], c["seed"], c["arm"])
    done = {key(c) for c in cells}
    # A whole comparison before the next: seeds outermost, so that a stopped run is balanced.
    every = [
        dict(language=language, minutes=minutes, seed=seed, arm=arm)
        for seed in map(int, a.seeds.split(",")) for minutes in map(int, a.data_minutes.split(","))
        for language in a.languages.split(",") for arm in a.arms
    ]
    for cell in every if not a.summary_only else []:
        if key(cell) in done:
            continue
        corpus(a.prompts, a.work, cell["language"], a.clips)
        cells.append(run_cell(a, cell, rates[ARMS[cell["arm"]][0]]))
        with ledger.open("a") as file:
            file.write(json.dumps(cells[-1]) + "\n")
        print(*cell.values(), "CER %.2f %%, %.1f CPU s" % (100 * cells[-1]["cer"], cells[-1]["cpu_seconds"]), flush=True)
    if a.summary_only and (ledger.parent / "rates.json").exists():
        tried = json.loads((ledger.parent / "rates.json").read_text())
    summary, out = summarise(cells, list(ARMS), PAPER), a.out or ledger.parent
    out.mkdir(parents=True, exist_ok=True)
    plain = sentence(summary, list(CONTROLS))
    result = {
        "sentence": plain, "recipe": recipe(a), "cells_run": f"{len(cells)} of {len(every)}",
        "rates": {c["arm"]: c["rates"] for c in cells}, "rates_tried": tried, "summary": summary, "cells": cells,
    }
    (out / "question.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "question.svg").write_text(svg(summary, recipe(a)))
    print(plain)


if __name__ == "__main__":
    main()
