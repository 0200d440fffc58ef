#!/usr/bin/env python3
"""What was tried for the demo packs: the recipe of `demo.py`, changed in one respect or two at a time.

    tried.py PROMPTS WORK [--only "40 % sparsity"] [--updates 3600] [--out core/train/results] [--train PROGRAM]

WORK is the folder of `demo.py`; its corpora are used, or made. Written: OUT/tried.json, the settings of each run, its validation CER over
updates and its test CER. Nothing is chosen by the test figures. Runs that OUT/tried.json has from before stay unless they are run again
with as many updates. In those scores were raised by 4 to 128, as it says; now by as much as a run can move them.
"""

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path

import demo

BASE = {"covers": "ffn+attention", "sparsity": 0.2, "clips": 5000, "stages": [0.03, 0.57, 0.4], "last": 0.03, "score_rate": 1e-3,
        "raised_scores": False, "batch_seconds": demo.BATCH_SECONDS, "initial": 0.05}
# What the preset of that name sets otherwise; judged after 600 updates.
LAPTOP = {"covers": "ffn", "sparsity": 0.08, "batch_seconds": 48, "stages": [0.05, 0.4, 0.55], "initial": 0.02, "last": 1e-3}


def raised(rate):
    return {"raised_scores": True, "score_rate": rate}


# Language, in what it differs from the shipped pack, the settings that do.
RUNS = [
    ("tr", "nothing", {}),
    ("tr", "four times the clips, each heard about once", {"clips": 20_000}),
    ("tr", "decay over 80 % of the run", {"stages": [0.03, 0.17, 0.8], "last": 0.01}),
    ("tr", "40 % sparsity", {"sparsity": 0.4}),
    ("tr", "60 % sparsity", {"sparsity": 0.6}),
    ("tr", "three times the rate of scores, and the projection", {"score_rate": 3e-3, "covers": "ffn+attention+projection"}),
    ("tr", "a third of the rate of scores, 40 % sparsity", {"score_rate": 3e-4, "sparsity": 0.4}),
    ("tr", "raised scores", raised(1e-3)),
    ("tr", "raised scores, three times their rate", raised(3e-3)),
    ("tr", "raised scores, ten times their rate", raised(1e-2)),
    ("tr", "raised scores, ten times their rate, 40 % sparsity", raised(1e-2) | {"sparsity": 0.4}),
    ("tr", "raised scores, thirty times their rate", raised(3e-2)),
    ("zh_TW", "nothing", {}),
    ("zh_TW", "40 % sparsity", {"sparsity": 0.4}),
    ("zh_TW", "raised scores, ten times their rate", raised(1e-2)),
    ("zh_TW", "raised scores, ten times their rate, 40 % sparsity", raised(1e-2) | {"sparsity": 0.4}),
    ("tr", "laptop, scores about 0", LAPTOP),
    ("tr", "laptop, raised scores, three times their rate", LAPTOP | raised(3e-3)),
    ("tr", "laptop, raised scores, ten times their rate", LAPTOP | raised(1e-2)),
    ("tr", "laptop, raised scores, thirty times their rate", LAPTOP | raised(3e-2)),
    ("tr", "laptop, raised scores, a hundred times their rate", LAPTOP | raised(1e-1)),
    ("it", "laptop, scores about 0", LAPTOP),
    ("it", "laptop, raised scores, ten times their rate", LAPTOP | raised(1e-2)),
    ("it", "laptop, raised scores, thirty times their rate", LAPTOP | raised(3e-2)),
]
SETTINGS = """[updates]
batch_seconds = {batch_seconds}
score_rate = {score_rate}
raised_scores = {raised_scores}
schedule = {{ stages = {stages}, initial = {initial}, last = {last} }}
[select]
every = {every}
"""


def learn(a, language, differs, changed):
    """One run, and what it came to."""
    s = BASE | changed
    work = a.work if s["clips"] == BASE["clips"] else a.work / f"{s['clips']}-clips"
    for folder in {a.work, work}:
        folder.mkdir(parents=True, exist_ok=True)
        demo.corpus(a.prompts, folder, language, s["clips"] if folder == work else BASE["clips"])
    out = a.work / "tried" / (re.sub(r"\W+", "_", f"{language} {differs} {a.updates}") + ".safetensors")
    config = out.with_suffix(".toml")
    out.parent.mkdir(exist_ok=True)
    config.write_text(SETTINGS.format(**s | {"raised_scores": str(s["raised_scores"]).lower(), "every": max(a.updates // 10, 1)}))
    # Whatever is learnt from, all are selected and judged on the same clips.
    flags = ["--train", work / language / "train.tsv", "--valid", a.work / language / "valid.tsv", "--language", language, "--out", out]
    flags += ["--updates", a.updates, "--config", config, "--covers", s["covers"], "--sparsity", s["sparsity"], "--precision", "auto"]
    program = shlex.split(a.train)
    subprocess.run([*program, "run", *map(str, flags)], check=True)
    flags = ["--test", a.work / language / "test.tsv", "--pack", out, "--json"]
    report = json.loads(subprocess.run([*program, "evaluate", *map(str, flags)], check=True, stdout=subprocess.PIPE).stdout)
    lines = map(json.loads, (out.with_suffix(".run") / "log.jsonl").read_text().splitlines())
    return {
        "language": language, "differs": differs, "settings": s | {"updates": a.updates},
        "valid_cer": [[line["update"], line["cer"]] for line in lines if "cer" in line],
        "test": {"cer": report["cer"], "interval": report["characters"]["interval"], "utterances": report["utterances"]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", help="a part of what it differs in")
    parser.add_argument("--updates", type=int, default=3600)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    parser.add_argument("--train", default="cargo run --release -q -p s3router-train --")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    path = a.out / "tried.json"
    for language, differs, changed in RUNS:
        if a.only and a.only not in differs:
            continue
        run = learn(a, language, differs, changed)
        before = json.loads(path.read_text()) if path.exists() else []
        same = lambda r: (r["language"], r["differs"], r["settings"]["updates"]) == (language, differs, a.updates)
        path.write_text(json.dumps([r for r in before if not same(r)] + [run], indent=1) + "\n")
        print(language, differs, "test CER %.2f %%" % (100 * run["test"]["cer"]), flush=True)


if __name__ == "__main__":
    main()
