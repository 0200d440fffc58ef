"""Makes raw.safetensors with numpy and safetensors alone (`pip install numpy safetensors`), checks rans.safetensors
with a decoder of its own, and prints what both must hold. The Rust test needs no Python.

    python make.py FOLDER
"""

import hashlib, json, pathlib, struct, sys
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

folder = pathlib.Path(sys.argv[1])
WIDE = "encoder.layers.0.feed_forward.intermediate_dense.weight"
NARROW = "encoder.layers.0.feed_forward.output_dense.weight"


def keep(rows, cols):
    r, c = np.indices((rows, cols))
    return (5 * r + 3 * c) % 11 != 0


keeps = {WIDE: keep(24, 16), NARROW: keep(16, 13)}
vocab = ["<pad>", "|", "a", "ə", "語"]
tensors = {f"mask.{name}": np.packbits(k, axis=1, bitorder="little") for name, k in keeps.items()}
tensors["head.weight"] = (np.arange(5 * 16, dtype=np.float32) / 64 - 0.5).reshape(5, 16)
tensors["head.bias"] = np.arange(5, dtype=np.float32) / 4


def seal(data):
    return hashlib.sha256(data).hexdigest()[:16]


metadata = {
    "format": "s3router-pack/1", "language": "tr", "aliases": json.dumps(["golden"]), "kind": "ctc",
    "backbone_sha256": "0123456789abcdef" * 4, "covers": "ffn", "codec": "raw", "word_separator": "|",
    "density": str(float(sum(k.sum() for k in keeps.values()) / sum(k.size for k in keeps.values()))),
    "vocab": json.dumps(vocab, ensure_ascii=False), "license": "MIT OR Apache-2.0",
    "training": json.dumps({"data": "none"}), "sealed_with": "sha256/16",
    "shapes": json.dumps({name: k.shape for name, k in keeps.items()}),
}
checksums = {name: seal(t.tobytes()) for name, t in tensors.items()}
checksums["__metadata__"] = seal(b"".join(s.encode() + b"\0" for kv in sorted(metadata.items()) for s in kv))
save_file(tensors, folder / "python.safetensors", metadata | {"checksums": json.dumps(checksums)})


def decode_rans(stream, length):
    present = np.flatnonzero(np.unpackbits(np.frombuffer(stream[:32], "u1"), bitorder="little"))
    frequency = np.frombuffer(stream[32:32 + 2 * len(present)], "<u2").astype(int)
    start = np.cumsum(frequency) - frequency
    states = list(struct.unpack_from("<4I", stream, 32 + 2 * len(present)))
    words = iter(np.frombuffer(stream[48 + 2 * len(present):], "<u2").tolist())
    out = bytearray()
    for i in range(length):
        x = states[i % 4]
        k = np.searchsorted(start, x % 4096, side="right") - 1
        out.append(present[k])
        x = int(frequency[k]) * (x // 4096) + x % 4096 - int(start[k])
        states[i % 4] = x if x >= 1 << 16 else x << 16 | next(words)
    assert states == [1 << 16] * 4 and next(words, None) is None
    return bytes(out)


with safe_open(folder / "rans.safetensors", "numpy") as file:
    for name, (rows, cols) in json.loads(file.metadata()["shapes"]).items():
        packed = decode_rans(file.get_tensor(f"mask.{name}").tobytes(), rows * ((cols + 7) // 8))
        bits = np.unpackbits(np.frombuffer(packed, "u1").reshape(rows, -1), axis=1, count=cols, bitorder="little")
        assert np.array_equal(bits, keeps[name])
print("rans.safetensors decodes to the same masks")
