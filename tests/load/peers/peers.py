"""Times one random XLS-R 300M in several programs, in turn, and prints one table.

Every measurement is a process of its own (its peak memory and its threads are its own); a round goes through all
programs before the next begins, so that a busy moment of the machine hits all alike. The best forward counts, for
each program alike. Logits are compared with those of PyTorch in f32 on the same clip, masked with masked.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from prepare import prepare

HERE = Path(__file__).parent
OURS = ["s3router_f32", "s3router_f32_masked", "s3router_bf16", "s3router_bf16_masked"]
PEERS = ["torch_f32", "torch_bf16", "ort_f32", "ort_int8", *OURS]
GOALS = [  # ours, whose, at least so many times as fast
    ("s3router_f32_masked", "torch_f32", 1.2), ("s3router_f32_masked", "ort_f32", 1.0),
    ("s3router_bf16_masked", "torch_bf16", 2.0), ("s3router_bf16_masked", "ort_int8", 1.7),
    ("s3router_f32_masked", "s3router_f32", 0.95), ("s3router_bf16_masked", "s3router_bf16", 0.95),
]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", type=Path, required=True, help="where the model and its exports are kept")
    p.add_argument("--s3router", type=Path, required=True, help="the program")
    p.add_argument("--batch", type=int, nargs="+", default=[1, 4, 8])
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--reps", type=int, default=3, help="timed forwards of a process at batch 1; fewer at larger ones")
    p.add_argument("--only", nargs="+", choices=PEERS, default=PEERS)
    p.add_argument("--prefix", default="", help="put before every timed command: taskset, a lock, nice")
    p.add_argument("--json", type=Path, help="where to write every measurement; what it holds already counts too")
    p.add_argument("--table", type=Path, help="where to write the tables, as Markdown")
    p.add_argument("--time-only", action="store_true", help="measure, and leave logits and tables to a later --rounds 0")
    args = p.parse_args()
    prepare(args.dir, args.seconds)
    packs = args.dir / "packs"
    if not packs.exists():
        run([args.s3router, "packs", "random", packs, "--backbone", args.dir / "model", "--languages", 11])
    before = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    found, distances = before.get("measured", []), before.get("distances", {})
    for round_ in range(args.rounds):
        for batch in args.batch:
            for peer in args.only:
                found.append(measure(args, peer, batch, round_))
                keep(args, found, distances)
    if not args.time_only:
        distances |= {peer: distance(args, peer) for peer in args.only if peer not in distances}
        keep(args, found, distances)
        text = "\n\n".join([table(args, found, distances), goals(args, found), about(args, found)]) + "\n"
        print(text, end="")
        if args.table:
            args.table.write_text(text)


def keep(args, found, distances):
    """Writes what is known so far: an hour that is cut short is not lost."""
    if args.json:
        args.json.write_text(json.dumps(
            {"machine": machine(), "seconds": args.seconds, "threads": args.threads, "versions": versions(),
             "measured": found, "distances": distances}, indent=1) + "\n")


def measure(args, peer, batch, round_):
    """RTFx, load time and memory of one process."""
    reps = max(1, args.reps // batch)
    if peer in OURS:
        command = [args.s3router, "bench", "--backbone", args.dir / "model", "--seconds", args.seconds, "--batch", batch,
                   "--threads", args.threads, "--rounds", reps, "--json", "--precision", precision(peer)]
        command += ["--packs", args.dir / "packs"] if peer.endswith("masked") else ["--open"]
        r = json.loads(run(shlex.split(args.prefix) + command))
        found = {"rtfx": r["best_rtfx"], "load_s": (r["load_ms"] + r["pack_load_ms"]) / 1e3,
                 "rss": r["resident_bytes"], "peak": r["peak_rss_bytes"]}
    else:
        command = [sys.executable, HERE / "worker.py", args.dir, peer, batch, args.threads, reps]
        found = json.loads(run(shlex.split(args.prefix) + command))
    print(f"round {round_ + 1}: {peer} × {batch}: RTFx {found['rtfx']:.2f}", file=sys.stderr, flush=True)
    return {"peer": peer, "batch": batch, "round": round_, **found}


def precision(peer):
    return "bf16" if "bf16" in peer else "f32"


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}\n{done.stderr.strip()[-2000:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def distance(args, peer):
    """Largest and mean difference of the logits, over the standard deviation of PyTorch's in f32."""
    import numpy as np

    logits, masked = args.dir / "logits", peer.endswith("_masked")
    expected = logits / f"torch_f32{'_masked' if masked else ''}.npy"
    pack = sorted((args.dir / "packs").glob("*.safetensors"))[0]
    if not expected.exists():
        run([sys.executable, HERE / "worker.py", args.dir, "torch_f32", 1, args.threads, 1, *([pack] if masked else [])])
    if peer in OURS:
        from safetensors.numpy import load_file

        out = logits / f"{peer}.safetensors"
        run([args.s3router, "emissions", args.dir / "clip.wav", "--backbone", args.dir / "model", "-o", out,
             "--precision", precision(peer), *(["--pack", pack] if masked else ["--open"])])
        found = load_file(out)["logits"]
    else:
        found = np.load(logits / f"{peer}.npy")
    expected = np.load(expected)
    off, spread = np.abs(found - expected), expected.std()
    same = (found.argmax(-1) == expected.argmax(-1)).mean()
    return {"max": float(off.max() / spread), "mean": float(off.mean() / spread), "same_symbol": float(same)}


def best(found, peer, batch, key="rtfx", of=max):
    values = [m[key] for m in found if (m["peer"], m["batch"]) == (peer, batch)]
    return of(values) if values else None


def ratio(found, peer, other, batch):
    a, b = best(found, peer, batch), best(found, other, batch)
    return f"{a / b:.2f}" if a and b else ""


def table(args, found, distances):
    batches = args.batch
    head = ["program", *(f"RTFx × {b}" for b in batches), *(f"÷ PyTorch f32 × {b}" for b in batches), "load s",
            *(f"peak MiB × {b}" for b in batches), "logits off: max, mean (σ)", "same symbol"]
    lines = [f"XLS-R 300M, random weights, {args.seconds:g} s of audio, {args.threads} threads; the best of all forwards", "",
             "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for peer in args.only:
        d = distances[peer]
        mib = (f"{best(found, peer, b, 'peak') / 2**20:.0f}" for b in batches)
        row = [peer.replace("_", " "), *(f"{best(found, peer, b):.2f}" for b in batches),
               *(ratio(found, peer, "torch_f32", b) for b in batches),
               f"{best(found, peer, batches[0], 'load_s', min):.1f}", *mib,
               f"{d['max']:.1e}, {d['mean']:.1e}", f"{100 * d['same_symbol']:.1f} %"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def goals(args, found):
    lines = ["| goal | " + " | ".join(f"× {b}" for b in args.batch) + " |", "|---|" + "---|" * len(args.batch)]
    for ours, other, least in GOALS:
        if ours in args.only and other in args.only:
            cells = " | ".join(ratio(found, ours, other, b) for b in args.batch)
            lines.append(f"| {ours} ≥ {least} × {other} | {cells} |".replace("_", " "))
    return "\n".join(lines)


def about(args, found):
    """Where the figures come from."""
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    rounds = max((sum((m["peer"], m["batch"]) == (p, b) for m in found) for p in args.only for b in args.batch), default=0)
    return (f"{machine()['cpu']}, {args.threads} threads, {rounds} rounds in turn; {named}. Made by\n"
            "`tests/load/peers/run.sh --json tests/load/peers/results.json --table tests/load/peers/table.md`.")


def machine():
    cpu = Path("/proc/cpuinfo")
    model = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    return {"cpu": model[0] if model else platform.processor(), "cores": os.cpu_count(), "system": platform.platform()}


def versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "onnxruntime", "numpy")}


if __name__ == "__main__":
    main()
