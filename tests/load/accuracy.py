"""What bf16 changes on the demo: emissions against f32, and the character error rate of the eleven clips.

    accuracy.py TARGET/s3router [--only tr en …]

Needs numpy and safetensors (peers/requirements.txt). Distances are over the standard deviation of the f32 logits.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

CLIPS = Path(__file__).resolve().parents[2] / "core/demo/clips"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("s3router", type=Path)
    p.add_argument("--only", nargs="+")
    args = p.parse_args()
    clips = [c for c in json.loads((CLIPS / "clips.json").read_text()) if not args.only or c["lang"] in args.only]
    print("| clip | largest | mean | same symbol | CER f32 | CER bf16 |", "|---|---|---|---|---|---|", sep="\n")
    errors, letters = {"f32": 0, "bf16": 0}, 0
    for clip in clips:
        largest, mean, same = distance(args.s3router, clip)
        wrong = {p: edits(transcribe(args.s3router, clip, p), clip["reference"]) for p in errors}
        letters += len(clip["reference"])
        for precision in errors:
            errors[precision] += wrong[precision]
        cells = " | ".join(f"{100 * wrong[p] / len(clip['reference']):.1f} %" for p in errors)
        print(f"| {clip['lang']} | {largest:.4f} | {mean:.4f} | {100 * same:.1f} % | {cells} |", flush=True)
    cells = " | ".join(f"{100 * errors[p] / letters:.2f} %" for p in errors)
    print(f"| all | | | | {cells} |")


def emissions(s3router, clip, precision):
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.safetensors"
        run([s3router, "emissions", CLIPS / clip["file"], "--lang", clip["lang"], "--precision", precision, "-o", out])
        return load_file(out)["logits"]


def distance(s3router, clip):
    import numpy as np

    exact, rough = emissions(s3router, clip, "f32"), emissions(s3router, clip, "bf16")
    off = np.abs(rough - exact) / exact.std()
    return off.max(), off.mean(), (rough.argmax(-1) == exact.argmax(-1)).mean()


def transcribe(s3router, clip, precision):
    return run([s3router, "transcribe", CLIPS / clip["file"], "--lang", clip["lang"], "--precision", precision]).strip()


def run(command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


def edits(a, b):
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


if __name__ == "__main__":
    main()
