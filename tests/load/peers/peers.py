"""Times one random XLS-R 300M in several programs, in turn, and prints one table.

Every measurement is a process of its own (its peak memory and its threads are its own); rounds go through all
programs before the next begins, so that a busy moment of the machine hits all alike. The best round counts.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import wave
from pathlib import Path

PEERS = ["s3router", "s3router_masked", "torch_f32", "torch_bf16", "ort_f32", "ort_int8"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--dir", type=Path, required=True, help="where the model and its exports are kept")
    p.add_argument("--s3router", type=Path, required=True, help="the program")
    p.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--reps", type=int, default=3, help="timed forwards of a round")
    p.add_argument("--only", nargs="+", choices=PEERS, default=PEERS)
    p.add_argument("--worker", nargs=2, metavar=("PEER", "BATCH"), help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.worker:
        print(json.dumps(work(args, args.worker[0], int(args.worker[1]))))
        return
    prepare(args)
    print(f"XLS-R 300M, random weights, {args.seconds:g} s of audio, {args.threads} threads, best of {args.rounds} rounds\n")
    print("| program | batch | RTFx | against torch f32 | load s | peak MiB | logits' distance from torch f32 |")
    print("|---|---|---|---|---|---|---|")
    for batch in args.batch:
        best = {}
        for _ in range(args.rounds):
            for peer in args.only:
                found = measure(args, peer, batch)
                if found and (peer not in best or found["rtfx"] > best[peer]["rtfx"]):
                    best[peer] = found
        base = best.get("torch_f32", {}).get("rtfx")
        for peer, b in best.items():
            ratio = f"{b['rtfx'] / base:.2f}" if base else ""
            distance = agreement(args, peer) if batch == args.batch[0] else ""
            print(f"| {peer} | {batch} | {b['rtfx']:.2f} | {ratio} | {b['load_s']:.1f} | {b['rss'] / 2**20:.0f} | {distance} |", flush=True)


def measure(args, peer, batch):
    if peer.startswith("s3router"):
        backbone = "random:xlsr-300m" if peer.endswith("masked") else None
        command = [args.s3router, "bench", "--backbone", backbone or args.dir / "model", "--seconds", args.seconds,
                   "--batch", batch, "--threads", args.threads, "--rounds", args.reps, "--json"]
        if not backbone:
            command.append("--open")
        found = json.loads(run(command) or "null")
        return found and {"rtfx": found["rtfx"], "load_s": found["load_ms"] / 1e3, "rss": found["peak_rss_bytes"]}
    flags = [f"--{k}={getattr(args, k)}" for k in ("dir", "s3router", "seconds", "threads", "reps")]
    return json.loads(run([sys.executable, __file__, *flags, "--worker", peer, batch]) or "null")


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return done.stdout.strip().splitlines()[-1]


def prepare(args):
    """The checkpoint, its head and vocabulary, a clip, and the two ONNX exports; made once."""
    model, clip = args.dir / "model", args.dir / "clip.wav"
    import numpy as np
    if not clip.exists():
        noise = np.random.default_rng(1).normal(0, 3000, int(16000 * args.seconds)).astype("<i2")
        with wave.open(str(clip), "wb") as w:
            w.setnchannels(1), w.setsampwidth(2), w.setframerate(16000), w.writeframes(noise.tobytes())
    if not (model / "vocab.json").exists():
        import torch
        from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC
        torch.manual_seed(0)
        config = Wav2Vec2Config(
            vocab_size=40, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
            feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, pad_token_id=0)
        Wav2Vec2ForCTC(config).save_pretrained(model)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(model)
        vocab = {"<pad>": 0, "|": 1, **{chr(0x3B1 + i): i + 2 for i in range(38)}}
        (model / "vocab.json").write_text(json.dumps(vocab))
    if any(p.startswith("ort") for p in args.only) and not (args.dir / "int8.onnx").exists():
        export(args.dir)


def export(folder):
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import Wav2Vec2ForCTC

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).logits

    model = Logits(Wav2Vec2ForCTC.from_pretrained(folder / "model").eval())
    torch.onnx.export(model, (torch.randn(1, 160000),), str(folder / "f32.onnx"), input_names=["x"], output_names=["y"],
                      dynamic_axes={"x": {0: "b", 1: "t"}, "y": {0: "b", 1: "t"}}, opset_version=17, dynamo=False)
    quantize_dynamic(str(folder / "f32.onnx"), str(folder / "int8.onnx"), weight_type=QuantType.QInt8,
                     op_types_to_quantize=["MatMul"])


def samples(args, batch):
    import numpy as np
    with wave.open(str(args.dir / "clip.wav")) as w:
        x = np.frombuffer(w.readframes(w.getnframes()), "<i2").astype("float32") / 32768
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
    return np.repeat(x[None], batch, 0)


def work(args, peer, batch):
    import numpy as np
    x, start = samples(args, batch), time.perf_counter()
    if peer.startswith("torch"):
        import torch
        from transformers import Wav2Vec2ForCTC
        torch.set_num_threads(args.threads)
        start = time.perf_counter()
        dtype = torch.bfloat16 if peer == "torch_bf16" else torch.float32
        model = Wav2Vec2ForCTC.from_pretrained(args.dir / "model", dtype=dtype).eval()
        given = torch.from_numpy(x).to(dtype)

        def forward():
            with torch.inference_mode():
                return model(given).logits.float().numpy()
    else:
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = args.threads
        start = time.perf_counter()
        name = args.dir / f"{peer.removeprefix('ort_')}.onnx"
        session = ort.InferenceSession(str(name), options, providers=["CPUExecutionProvider"])

        def forward():
            return session.run(None, {"x": x})[0]
    load_s = time.perf_counter() - start
    np.save(args.dir / f"{peer}.npy", forward()[0])
    times = []
    for _ in range(args.reps):
        start = time.perf_counter()
        forward()
        times.append(time.perf_counter() - start)
    median = sorted(times)[len(times) // 2]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rtfx": x.size / 16000 / median, "load_s": load_s, "rss": rss}


def agreement(args, peer):
    """Largest difference of the logits over their largest magnitude."""
    import numpy as np
    try:
        expected = np.load(args.dir / "torch_f32.npy")
        if peer == "s3router":
            from safetensors.numpy import load_file
            out = args.dir / "s3router.safetensors"
            run([args.s3router, "emissions", args.dir / "clip.wav", "--backbone", args.dir / "model", "--open", "-o", out])
            found = load_file(out)["logits"]
        else:
            found = np.load(args.dir / f"{peer}.npy")
        return f"{np.abs(found - expected).max() / np.abs(expected).max():.1e}"
    except OSError:
        return "not measured"


if __name__ == "__main__":
    main()
