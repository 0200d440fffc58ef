#!/usr/bin/env python3
"""A mask on real human speech: spoken digits, three speakers to learn from, the fourth to be judged on.

    digits.py DIGITS WORK [--test-speaker theo] [--updates 300] [--train "cargo run --release -p s3router-train --"]

DIGITS is a folder of `<digit>_<speaker>_<take>.wav`, as the Free Spoken Digit Dataset names them. The last two
takes of the three speakers select the best moment; the fourth speaker is never heard before the test.
"""

import argparse
import shlex
import subprocess
from pathlib import Path

WORDS = "zero one two three four five six seven eight nine".split()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("digits", type=Path)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--test-speaker", default="theo")
    arguments.add_argument("--updates", type=int, default=300, help="of 24 s each")
    arguments.add_argument("--train", default="cargo run --release -q -p s3router-train --")
    arguments.add_argument("--flags", default="--covers ffn+attention --sparsity 0.2 --precision auto", help="more flags for `run`")
    a = arguments.parse_args()
    lists = {"train": [], "valid": [], "test": []}
    for path in sorted(a.digits.glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        split = "test" if speaker == a.test_speaker else "valid" if int(take) >= 13 else "train"
        lists[split].append(f"{path.resolve()}\t{WORDS[int(digit)]}\n")
    a.work.mkdir(parents=True, exist_ok=True)
    for split, rows in lists.items():
        (a.work / f"{split}.tsv").write_text("".join(rows))
    program, pack = shlex.split(a.train), a.work / "digits.safetensors"
    flags = ["--train", a.work / "train.tsv", "--valid", a.work / "valid.tsv", "--language", "en", "--out", pack]
    settings = a.work / "settings.toml"
    settings.write_text("[updates]\nbatch_seconds = 24.0\n[select]\nevery = 50\n")
    flags += ["--updates", a.updates, "--config", settings, *shlex.split(a.flags)]
    subprocess.run([*program, "run", *map(str, flags)], check=True)
    subprocess.run([*program, "evaluate", "--test", str(a.work / "test.tsv"), "--pack", str(pack)], check=True)


if __name__ == "__main__":
    main()
