"""One peer, one batch size, one process: load, one forward that is not timed, then timed ones. Prints JSON.

    worker.py FOLDER PEER BATCH THREADS REPS [--masked PACK]

The logits of the first row are kept as FOLDER/logits/PEER.npy. With a pack, PyTorch's feed-forward weights are
multiplied by its masks first and its head replaces the checkpoint's: what the pack means, computed the plain way.
"""

import json
import os
import resource
import sys
import time
import wave
from pathlib import Path


def main(folder, peer, batch, threads, reps, pack=None):
    import numpy as np

    x = np.repeat(samples(folder)[None], batch, 0)
    load = torch_peer if peer.startswith("torch") else ort_peer
    begun, forward = load(folder, peer, threads, x, pack)
    load_s = time.perf_counter() - begun
    loaded = resident()
    logits = forward()
    times = []
    for _ in range(reps):
        begun = time.perf_counter()
        forward()
        times.append(time.perf_counter() - begun)
    (folder / "logits").mkdir(exist_ok=True)
    np.save(folder / "logits" / f"{peer}{'_masked' if pack else ''}.npy", logits[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    best = x.size / 16000 / min(times)
    return {"rtfx": best, "load_s": load_s, "rss": loaded, "peak": peak}


def samples(folder):
    """The clip as the model wants it: zero mean, unit variance."""
    import numpy as np

    with wave.open(str(folder / "clip.wav")) as w:
        x = np.frombuffer(w.readframes(w.getnframes()), "<i2").astype("float32") / 32768
    return (x - x.mean()) / np.sqrt(x.var() + 1e-7)


def torch_peer(folder, peer, threads, x, pack):
    import torch
    from transformers import Wav2Vec2ForCTC

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if peer == "torch_bf16" else torch.float32
    begun = time.perf_counter()
    model = Wav2Vec2ForCTC.from_pretrained(folder / "model", dtype=dtype).eval()
    if pack:
        mask(model, pack)
    given = torch.from_numpy(x).to(dtype)

    def forward():
        with torch.inference_mode():
            return model(given).logits.float().numpy()

    return begun, forward


def mask(model, pack):
    import numpy as np
    import torch
    from safetensors.numpy import load_file

    tensors = load_file(pack)
    for name, bits in tensors.items():
        if name.startswith("mask."):
            weight = model.get_parameter("wav2vec2." + name.removeprefix("mask."))
            keep = np.unpackbits(bits, axis=1, bitorder="little")[:, : weight.shape[1]]
            weight.data *= torch.from_numpy(keep)
    model.lm_head.weight.data = torch.from_numpy(tensors["head.weight"])
    model.lm_head.bias.data = torch.from_numpy(tensors["head.bias"])


def ort_peer(folder, peer, threads, x, _pack):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    begun = time.perf_counter()
    model = str(folder / f"{peer.removeprefix('ort_')}.onnx")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return begun, lambda: session.run(None, {"x": x})[0]


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    folder, peer, batch, threads, reps, *pack = sys.argv[1:]
    print(json.dumps(main(Path(folder), peer, int(batch), int(threads), int(reps), *pack)))
