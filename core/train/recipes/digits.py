#!/usr/bin/env python3
"""A mask on real human speech: spoken digits, three speakers to learn from, the fourth to be judged on.

    digits.py DIGITS WORK [--test-speaker theo] [--updates 500] [--out core/train/results] [--train PROGRAM]

DIGITS is a folder of `<digit>_<speaker>_<take>.wav`, as the Free Spoken Digit Dataset names them. The last two takes of the
three speakers are the validation list: it selects the moment of each run, the learning rates and the kind of mask. The fourth
speaker is heard once, at the end, by what validation chose: the mask, and beside it the head alone and full fine-tuning, each
at the rates that validation chose for it. Written: OUT/digits.json, and the mask's learning curve as OUT/digits.svg.
"""

import argparse
import json
import shlex
import shutil
import subprocess
from pathlib import Path

WORDS = "zero one two three four five six seven eight nine".split()
MASKS = [f"--method mask --covers {c} --sparsity {s}" for c, s in (("ffn", 0.08), ("ffn+attention", 0.2))]
# Ways to adapt, what is tried of each (flags, whether scores are raised), and its peak rates (of scores or weights, of the
# head) before a factor is tried.
WAYS = {
    "mask": ((1e-3, 3e-3), [(flags, raised) for raised in (False, True) for flags in MASKS]),
    "head": ((0.0, 3e-3), [("--method head", False)]),
    "finetune": ((2e-4, 3e-3), [("--method finetune", False)]),
}
FACTORS = [3, 9, 27]


def lists(a):
    """The three lists, WORK/{train,valid,test}.tsv."""
    rows = {"train": [], "valid": [], "test": []}
    for path in sorted(a.digits.glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        split = "test" if speaker == a.test_speaker else "valid" if int(take) >= 13 else "train"
        rows[split].append(f"{path.resolve()}\t{WORDS[int(digit)]}\n")
    if not all(rows.values()):
        raise SystemExit(f"{a.digits} holds no takes of {a.test_speaker} and of others: is it the folder of recordings?")
    for split, lines in rows.items():
        (a.work / f"{split}.tsv").write_text("".join(lines))
    return {split: len(lines) for split, lines in rows.items()}


def learn(a, name, flags, raised, rates):
    """One run: its pack (or weights) and what it came to on the validation list."""
    out, settings = a.work / f"{name}.safetensors", a.work / f"{name}.toml"
    settings.write_text(
        f"[updates]\nbatch_seconds = 12.0\nscore_rate = {rates[0]}\nweight_rate = {rates[0]}\nhead_rate = {rates[1]}\n"
        f"raised_scores = {str(raised).lower()}\n"
        f"[select]\nevery = {max(a.updates // 8, 1)}\n"
    )
    lists = ["--train", a.work / "train.tsv", "--valid", a.work / "valid.tsv", "--language", "en"]
    more = ["--updates", a.updates, "--config", settings, "--precision", "auto", "--out", out, "--json"]
    command = [*a.program, "run", *map(str, [*lists, *more]), *flags.split()]
    return out, json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("digits", type=Path)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--test-speaker", default="theo")
    arguments.add_argument("--updates", type=int, default=500, help="of 12 s each")
    arguments.add_argument("--out", type=Path, help="folder of the results [default: WORK]")
    arguments.add_argument("--train", default="cargo run --release -q -p s3router-train --")
    a = arguments.parse_args()
    a.program, out = shlex.split(a.train), a.out or a.work
    a.work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    result = {"test_speaker": a.test_speaker, "clips": lists(a), "updates": a.updates, "batch_seconds": 12, "ways": {}}
    for way, (base, kinds) in WAYS.items():
        tried = []
        for at, ((flags, raised), factor) in enumerate((kind, factor) for kind in kinds for factor in FACTORS):
            rates = [round(rate * factor, 6) for rate in base]
            pack, run = learn(a, f"{way}.{at}", flags, raised, rates)
            tried.append({"flags": flags, "raised_scores": raised, "rates": rates, "pack": pack, "update": run["update"],
                          "valid_cer": run["valid"]["cer"], "valid_wer": run["valid"]["wer"]})
            print(flags, "raised" * raised, rates, "valid CER %.2f %%" % (100 * run["valid"]["cer"]), flush=True)
        best = min(tried, key=lambda t: (t["valid_cer"], t["valid_wer"]))
        command = [*a.program, "evaluate", "--json", "--test", str(a.work / "test.tsv"), "--pack", str(best["pack"])]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        log = best["pack"].with_suffix(".run") / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        chars, words = report["characters"]["interval"], report["words"]["interval"]
        result["ways"][way] = {
            "flags": best["flags"], "raised_scores": best["raised_scores"], "rates": best["rates"], "update": best["update"], "bytes": best["pack"].stat().st_size,
            "test_cer": report["cer"], "test_cer_interval": chars, "word_accuracy": 1 - report["wer"],
            "word_accuracy_interval": [1 - words[1], 1 - words[0]], "utterances": report["utterances"],
            "valid_cer_curve": [[line["update"], line["cer"]] for line in lines if "cer" in line],
            "tried": [{k: v for k, v in t.items() if k != "pack"} for t in tried],
        }
        if way == "mask":
            shutil.copy(log.with_name("curve.svg"), out / "digits.svg")
        print("%s on %s: CER %.2f %% (95 %%: %.2f to %.2f), %.1f %% of words right (%.1f to %.1f)" % (
            way, a.test_speaker, 100 * report["cer"], 100 * chars[0], 100 * chars[1], 100 * (1 - report["wer"]),
            100 * (1 - words[1]), 100 * (1 - words[0])), flush=True)
    (out / "digits.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
