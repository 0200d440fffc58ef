//! Four architectures in every file format against `reference.safetensors` (`make_parity.py`).

use crate::support::{all, assert_close, fixture, tensors};
use candle_core::{Device, Tensor};
use s3router_core::{
    Precision,
    gate::{Gate, Gates},
    model::{Backbone, Head, Source},
};
use s3router_masks::BitMask;
use std::{collections::HashMap, sync::Arc};

const LIMIT: f32 = 1e-4;

/// Whether a file's feed-forward weights are whole, or already multiplied by the reference masks.
///
/// `make_parity.py` writes `pytorch_model.bin` and `fairseq.pt` after its masked pass and computes the
/// padded batch there too (its `sd` shares memory with the model), so these hold the masked weights.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Whole,
    Masked,
}

struct Case {
    backbone: Backbone,
    stored: Stored,
    reference: HashMap<String, Tensor>,
    head: Head,
    gate: fn(&Backbone, &BitMask) -> Gate,
}

impl Case {
    fn open(architecture: &str, file: &str, stored: Stored) -> Self {
        let path = fixture(&format!("parity/{architecture}/{file}"));
        let backbone = Backbone::load(&Source::Path(path), &Device::Cpu).unwrap();
        let weights = tensors(&format!("parity/{architecture}/model.safetensors"));
        let head = Head::new(weights["lm_head.weight"].clone(), weights["lm_head.bias"].clone());
        let reference = tensors(&format!("parity/{architecture}/reference.safetensors"));
        Self { backbone, stored, reference, head, gate: |_, bits| Gate::Packed(Arc::new(bits.clone())) }
    }

    /// Hidden states and logits of waves side by side.
    fn compute(&self, waves: &[&str], gates: Arc<Gates>) -> (Vec<Tensor>, Tensor) {
        let waves: Vec<Vec<f32>> = waves.iter().map(|w| self.reference[*w].to_vec1().unwrap()).collect();
        let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
        let features = self.backbone.extract(&self.backbone.prepare(&waves).unwrap()).unwrap();
        let segments = all(waves.len(), &gates);
        let (states, encoded) = self.backbone.hidden_states(&features, &segments, None).unwrap();
        (states, self.head.logits(&encoded).unwrap())
    }

    fn logits(&self, waves: &[&str], gates: Arc<Gates>) -> Tensor {
        self.compute(waves, gates).1
    }

    fn masks(&self) -> Arc<Gates> {
        let masks = self.reference.iter().filter_map(|(name, mask)| {
            let (_, name) = name.strip_prefix("mask.")?.split_once('.')?;
            let kept: Vec<Vec<u8>> = mask.to_vec2().unwrap();
            let (rows, cols) = mask.dims2().unwrap();
            let bits = BitMask::from_fn(rows, cols, |r, c| kept[r][c] == 1);
            Some((name.to_owned(), (self.gate)(&self.backbone, &bits)))
        });
        Arc::new(Gates::new(masks.collect()))
    }

    fn agrees(&self) {
        if self.stored == Stored::Whole {
            self.states_and_logits_agree();
        }
        self.masked_logits_agree();
        self.batches_agree();
    }

    fn states_and_logits_agree(&self) {
        for (wave, hidden, logits) in [("wav0", "hidden0", "logits0"), ("wav1", "hidden1", "logits1")] {
            let (states, found) = self.compute(&[wave], Arc::default());
            let expected = &self.reference[hidden];
            assert_eq!(states.len(), expected.dim(0).unwrap());
            for (layer, state) in states.iter().enumerate() {
                assert_close(&state.squeeze(0).unwrap(), &expected.get(layer).unwrap(), LIMIT);
            }
            assert_close(&found.squeeze(0).unwrap(), &self.reference[logits], LIMIT);
        }
    }

    fn masked_logits_agree(&self) {
        let open = (self.stored == Stored::Masked).then(Arc::default);
        for gates in open.into_iter().chain([self.masks()]) {
            let found = self.logits(&["wav0"], gates).squeeze(0).unwrap();
            assert_close(&found, &self.reference["masked_logits0"], LIMIT);
        }
    }

    /// Both waves padded side by side: as transformers' batch where that is the same computation
    /// (data2vec-audio's padding leaks through its five positional convolutions there, group norm has
    /// none), and always as each wave alone.
    fn batches_agree(&self) {
        let batch = self.logits(&["wav0", "wav1"], self.masks());
        for (row, wave) in ["wav0", "wav1"].into_iter().enumerate() {
            let alone = self.logits(&[wave], self.masks()).squeeze(0).unwrap();
            let real = alone.dim(0).unwrap();
            let part = |t: &Tensor| t.get(row).unwrap().narrow(0, 0, real).unwrap();
            assert_close(&part(&batch), &alone, LIMIT);
            let leaks = self.backbone.config().positional.layers > 1 && row == 1;
            if let Some(expected) = self.reference.get("batched_logits").filter(|_| !leaks) {
                assert_close(&part(&batch), &part(expected), LIMIT);
            }
        }
    }
}

macro_rules! formats {
    ($($test:ident: $architecture:literal, $file:literal, $stored:ident;)*) => {$(
        #[test]
        fn $test() {
            let mut case = Case::open($architecture, $file, Stored::$stored);
            case.agrees();
            // The same weights in the kernels' panels, under masks as the pack has them, then re-ordered.
            case.backbone = case.backbone.packed(Precision::F32).unwrap();
            case.agrees();
            case.gate = Backbone::gate;
            case.agrees();
        }
    )*};
}

formats! {
    xlsr_directory_agrees: "xlsr", "", Whole;
    xlsr_safetensors_agrees: "xlsr", "model.safetensors", Whole;
    xlsr_pytorch_with_the_older_weight_norm_agrees: "xlsr", "pytorch_model.bin", Masked;
    xlsr_fairseq_agrees: "xlsr", "fairseq.pt", Masked;
    wav2vec2_directory_agrees: "wav2vec2-base", "", Whole;
    wav2vec2_pytorch_agrees: "wav2vec2-base", "pytorch_model.bin", Masked;
    wav2vec2_fairseq_agrees: "wav2vec2-base", "fairseq.pt", Masked;
    wav2vec2_fairseq_before_zip_agrees: "wav2vec2-base", "fairseq-legacy.pt", Masked;
    hubert_directory_agrees: "hubert-base", "", Whole;
    hubert_pytorch_agrees: "hubert-base", "pytorch_model.bin", Masked;
    hubert_fairseq_agrees: "hubert-base", "fairseq.pt", Masked;
    data2vec_directory_agrees: "data2vec-audio", "", Whole;
    data2vec_pytorch_agrees: "data2vec-audio", "pytorch_model.bin", Masked;
    data2vec_fairseq_agrees: "data2vec-audio", "fairseq.pt", Masked;
}
