"""One random XLS-R 300M for everybody: a checkpoint, a clip, and the ONNX exports. Made once, then kept."""

import json
import wave


def prepare(folder, seconds):
    """What is missing of `folder`/model, clip.wav, f32.onnx, int8.onnx."""
    clip(folder / "clip.wav", seconds)
    if not (folder / "model/vocab.json").exists():
        checkpoint(folder / "model")
    if not (folder / "f32.onnx").exists():
        export(folder)
    if not (folder / "int8.onnx").exists():
        quantize(folder)


def clip(path, seconds):
    """Tones that rise and fall under noise: louder and softer, as speech is."""
    import numpy as np

    if path.exists():
        return
    rng, t = np.random.default_rng(1), np.arange(int(16000 * seconds)) / 16000
    loud = 0.2 + 0.8 * np.abs(np.sin(2 * np.pi * 1.3 * t))
    tones = sum(np.sin(2 * np.pi * f * t + 3 * np.sin(2 * np.pi * 0.7 * t)) for f in (180, 720, 1900))
    sound = loud * (2500 * tones + rng.normal(0, 1500, t.size))
    with wave.open(str(path), "wb") as w:
        w.setnchannels(1), w.setsampwidth(2), w.setframerate(16000)
        w.writeframes(sound.clip(-32767, 32767).astype("<i2").tobytes())


def checkpoint(folder):
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=40, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
        feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, pad_token_id=0)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    # Last, because its presence says that the folder is whole.
    vocab = {"<pad>": 0, "|": 1, **{chr(0x3B1 + i): i + 2 for i in range(38)}}
    (folder / "vocab.json").write_text(json.dumps(vocab))


def export(folder):
    import torch
    from transformers import Wav2Vec2ForCTC

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).logits

    model = Logits(Wav2Vec2ForCTC.from_pretrained(folder / "model").eval())
    part = folder / "part.onnx"
    torch.onnx.export(
        model, (torch.randn(1, 160000),), str(part), input_names=["x"], output_names=["y"],
        dynamic_axes={"x": {0: "b", 1: "t"}, "y": {0: "b", 1: "t"}}, opset_version=17, dynamo=False)
    part.rename(folder / "f32.onnx")


def quantize(folder):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    part = folder / "part.onnx"
    quantize_dynamic(str(folder / "f32.onnx"), str(part), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    part.rename(folder / "int8.onnx")


if __name__ == "__main__":
    import sys
    from pathlib import Path

    prepare(Path(sys.argv[1]), float(sys.argv[2]))
