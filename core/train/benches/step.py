"""The update of `step.rs` in plain PyTorch and transformers, for comparison.

    python step.py [demo|xlsr LAYERS] [--bf16] [--steps 10] [--threads 2] [--beside BENCH --rounds 3 [--report NAME]]

Random weights of the demo's (or XLS-R 300M's) shape, cached extractor output in, feed-forward masks by top-k of
|score| with a straight-through gradient, CTC, Adam. For speed set MALLOC_MMAP_THRESHOLD_=17179869184 and
MALLOC_TRIM_THRESHOLD_=17179869184, or page faults slow it down. With --beside, the built bench (target/release/deps/step-...)
runs with the same arguments before each round, so that both are measured in one go, in turn, and the best of each counts.
--report adds the figures, and the operations that PyTorch spends most on, to NAME.json and writes NAME.md from it.
"""

import argparse
import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import Wav2Vec2Config, Wav2Vec2Model

parser = argparse.ArgumentParser()
parser.add_argument("shape", nargs="*", default=["demo"])
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--beside", help="the bench of step.rs, built")
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("--report", type=Path)
a = parser.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(1)
B, T, LABELS, V = 12, 200, 60, 40
none = dict(
    hidden_dropout=0.0, activation_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
    layerdrop=0.0, apply_spec_augment=False, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True,
)
if a.shape[0] == "xlsr":
    config = Wav2Vec2Config(hidden_size=1024, num_hidden_layers=int(a.shape[1]), num_attention_heads=16, intermediate_size=4096, **none)
else:
    config = Wav2Vec2Config(
        hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=1024,
        conv_dim=[64, 128, 256, 256], conv_stride=[10, 4, 4, 2], conv_kernel=[20, 8, 8, 4], num_feat_extract_layers=4,
        num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=16, **none,
    )
config._attn_implementation = "sdpa"
model = Wav2Vec2Model(config).train().requires_grad_(False)
head = nn.Linear(config.hidden_size, V)


class TopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx, magnitude, density):
        j = int((1 - density) * magnitude.numel())
        return (magnitude > magnitude.flatten().kthvalue(j).values).to(magnitude.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Masked(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight.detach(), linear.bias.detach()
        self.scores = nn.Parameter(torch.randn_like(self.weight) * 0.01)

    def forward(self, x):
        weight = self.weight * TopK.apply(self.scores.abs(), 0.92)
        return F.linear(x, weight.to(x.dtype), self.bias.to(x.dtype))


scores = []
for layer in model.encoder.layers:
    for name in ("intermediate_dense", "output_dense"):
        masked = Masked(getattr(layer.feed_forward, name))
        setattr(layer.feed_forward, name, masked)
        scores.append(masked.scores)
optimizer = torch.optim.Adam([dict(params=scores, lr=1e-3), dict(params=head.parameters(), lr=3e-3)], betas=(0.9, 0.98))
features = torch.rand(B, T, config.conv_dim[-1]) * 2 - 1
labels = torch.randint(1, V, (B, LABELS))


def update():
    with torch.autocast("cpu", torch.bfloat16) if a.bf16 else contextlib.nullcontext():
        hidden, _ = model.feature_projection(features)
        logits = head(model.encoder(hidden).last_hidden_state).float()
    loss = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), labels, torch.full((B,), T), torch.full((B,), LABELS),
        reduction="sum", zero_infinity=True,
    ) / B
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def ours():
    """Audio seconds per second of step.rs, and CPU seconds of an update."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"RAYON_NUM_THREADS": str(a.threads)}
    flags = [*a.shape, "--steps", str(a.steps)] + ["--bf16"] * a.bf16
    told = subprocess.run([a.beside, *flags], check=True, capture_output=True, text=True, env=environment).stdout
    return float(told.split(": ")[-1].split()[0]), float(told.split(", ")[1].split()[0])


def theirs():
    update(), update()
    start, busy = time.time(), time.process_time()
    for _ in range(a.steps):
        update()
    return B * T * 0.02 * a.steps / (time.time() - start), (time.process_time() - busy) / a.steps


def dearest():
    """The six operations of PyTorch's step with the largest own time, as shares."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        update()
    own = sorted(((e.self_cpu_time_total, e.key) for e in profile.key_averages()), reverse=True)
    whole = sum(t for t, _ in own)
    return {name: round(t / whole, 3) for t, name in own[:6]}


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(": ")[1]
    return "unknown"


def markdown(results):
    row = "| {shape} | {dtype} | {threads} | {speed[0]:.1f} | {speed[1]:.1f} | {a:.2f} × | {cpu[0]:.3f} | {cpu[1]:.3f} | {b:.2f} × | {load:.0f} | {dear} |\n"
    rows = ""
    for r in results["measured"]:
        speed, cpu = r["audio_seconds_per_second"], r["cpu_seconds_per_update"]
        dear = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(r["pytorch_dearest"].items())[:4])
        rows += row.format(**r, speed=speed, cpu=cpu, a=speed[0] / speed[1], b=cpu[1] / cpu[0], dear=dear)
    return (
        "# A learning step beside PyTorch's\n\nBatches of 12 clips of 4 s, feed-forward masks of 8 %, CTC, Adam, the extractor's output "
        "at hand on both sides; taken in turn, the best of the rounds. On a machine that others use, what counts is the CPU time. "
        f"Made by `step.py ... --report`; {results['cpu']}, PyTorch {results['torch']}.\n\n"
        "| shape | dtype | threads | audio s / s, ours | PyTorch | | CPU s an update, ours | PyTorch | | load | PyTorch's dearest |\n"
        f"|---|---|---|---|---|---|---|---|---|---|---|\n{rows}"
    )


dtype = "bf16 autocast" if a.bf16 else "f32"
rounds = []
for _ in range(a.rounds):
    rounds.append([*(ours() if a.beside else (0.0, 0.0)), *theirs()])
    told = "step.rs {:.1f} audio seconds per second ({:.3f} CPU s an update), PyTorch {:.1f} ({:.3f})".format(*rounds[-1])
    print(f"{' '.join(a.shape)} {dtype}: {told}", flush=True)
if a.beside:
    fastest, least = [max(r[i] for r in rounds) for i in (0, 2)], [min(r[i] for r in rounds) for i in (1, 3)]
    print("best: {:.2f} times by the clock, {:.2f} times by CPU time".format(fastest[0] / fastest[1], least[1] / least[0]))
if a.beside and a.report:
    path = a.report.with_suffix(".json")
    results = json.loads(path.read_text()) if path.exists() else {"measured": []}
    results |= {"cpu": cpu(), "torch": torch.__version__}
    of = dict(shape=" ".join(a.shape), dtype="bf16" if a.bf16 else "f32", threads=a.threads)
    results["measured"] = [r for r in results["measured"] if any(r[k] != v for k, v in of.items())]
    results["measured"].append(of | {
        "audio_seconds_per_second": fastest, "cpu_seconds_per_update": least, "rounds": rounds, "steps": a.steps,
        "load": os.getloadavg()[0], "pytorch_dearest": dearest(),
    })
    path.write_text(json.dumps(results, indent=1) + "\n")
    a.report.with_suffix(".md").write_text(markdown(results))
