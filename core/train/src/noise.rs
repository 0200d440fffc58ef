//! What a training step adds to the forward pass: spans hidden, values and layers dropped.

use crate::config::{Dropout, TrainConfig};
use candle_core::Tensor;
use rand::{Rng, RngCore, rngs::StdRng};
use s3router_core::{
    Result,
    learn::{seeds::stream, spec_augment::SpecAugment},
    model::{Noise, Site},
};

/// The noise of one backward pass; equal `(seed, pass)` give equal noise.
#[derive(Clone)]
pub struct StepNoise<'a> {
    augment: &'a SpecAugment,
    dropout: &'a Dropout,
    /// `(D,)`, what stands in hidden frames; zeros when the checkpoint has none.
    mask_embedding: Option<&'a Tensor>,
    rng: StdRng,
}

impl<'a> StepNoise<'a> {
    /// The noise of backward pass number `pass` of a run.
    pub fn new(config: &'a TrainConfig, mask_embedding: Option<&'a Tensor>, pass: u64) -> Self {
        let rng = stream(config.seed, "noise", pass);
        Self { augment: &config.augment, dropout: &config.dropout, mask_embedding, rng }
    }

    /// Dropout before the head, the one site that is not the backbone's.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn before_head(&mut self, x: Tensor) -> Result<Tensor> {
        self.drop(x, self.dropout.last)
    }

    fn probability(&self, site: Site) -> f64 {
        match site {
            Site::Input => self.dropout.input,
            Site::Embedding | Site::AttentionOut | Site::FeedForwardOut => self.dropout.hidden,
            Site::AttentionProbs => self.dropout.attention,
            Site::Activation => self.dropout.activation,
        }
    }

    /// Inverted dropout: zero with probability `p`, else scaled by 1 / (1 − p).
    fn drop(&mut self, x: Tensor, p: f64) -> Result<Tensor> {
        if p <= 0.0 {
            return Ok(x);
        }
        let mut draws = vec![0u8; 2 * x.elem_count()];
        self.rng.fill_bytes(&mut draws);
        let (limit, scale) = ((p * 65_536.0) as u16, (1.0 / (1.0 - p)) as f32);
        let keep = |d: &[u8]| if u16::from_le_bytes([d[0], d[1]]) < limit { 0.0 } else { scale };
        let mask: Vec<f32> = draws.chunks_exact(2).map(keep).collect();
        let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
        Ok((x * mask)?)
    }
}

impl Noise for StepNoise<'_> {
    /// `x` (B, T, D): hidden frames become the mask embedding, then hidden channels become 0 everywhere.
    fn spec_augment(&mut self, x: Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (b, t, d) = x.dims3()?;
        let seen = |rows: Vec<Vec<usize>>, width: usize| {
            let mut seen = vec![1f32; rows.len() * width];
            for (row, hidden) in rows.into_iter().enumerate() {
                hidden.into_iter().for_each(|i| seen[row * width + i] = 0.0);
            }
            seen
        };
        let mut x = x;
        if self.augment.time.prob > 0.0 {
            let frames = seen(self.augment.time.draw(lengths, &mut self.rng), t);
            let frames = Tensor::from_vec(frames, (b, t, 1), x.device())?;
            x = x.broadcast_mul(&frames)?;
            if let Some(embedding) = self.mask_embedding {
                x = (x + (1.0 - frames)?.broadcast_mul(embedding)?)?;
            }
        }
        if self.augment.channel.prob > 0.0 {
            let channels = seen(self.augment.channel.draw(&vec![d; b], &mut self.rng), d);
            x = x.broadcast_mul(&Tensor::from_vec(channels, (b, 1, d), x.device())?)?;
        }
        Ok(x)
    }

    fn dropout(&mut self, x: Tensor, site: Site) -> Result<Tensor> {
        self.drop(x, self.probability(site))
    }

    fn silent_at(&self, site: Site) -> bool {
        self.probability(site) <= 0.0
    }

    fn keep_layer(&mut self, _layer: usize) -> bool {
        self.dropout.layer <= 0.0 || self.rng.random::<f64>() >= self.dropout.layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn config() -> TrainConfig {
        let mut config = TrainConfig::read("librispeech-1h", None).expect("a preset");
        config.dropout.hidden = 0.25;
        config
    }

    #[test]
    fn dropout_keeps_the_mean_and_zeroes_its_share() -> anyhow::Result<()> {
        let (config, x) = (config(), Tensor::ones((1, 200, 500), candle_core::DType::F32, &Device::Cpu)?);
        let y = StepNoise::new(&config, None, 0)
            .dropout(x, Site::AttentionOut)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let zeros = y.iter().filter(|v| **v == 0.0).count() as f64 / y.len() as f64;
        let mean = y.iter().sum::<f32>() / y.len() as f32;
        assert!((zeros - 0.25).abs() < 0.01 && (mean - 1.0).abs() < 0.02, "{zeros} {mean}");
        Ok(())
    }

    /// A dropout that is set is felt, whichever way of computing the model takes.
    #[test]
    fn every_dropout_reaches_the_model() -> anyhow::Result<()> {
        use s3router_core::{
            gate::Segment,
            model::{Backbone, Config},
        };
        let backbone = Backbone::random(Config::tiny(), 1, &Device::Cpu)?;
        let samples: Vec<f32> = (0..8000).map(|i| (i as f32 * 0.3).sin()).collect();
        let features = backbone.extract(&backbone.prepare(&[&samples])?)?;
        let hidden = |set: fn(&mut Dropout)| -> anyhow::Result<Vec<f32>> {
            let mut config = TrainConfig::default();
            set(&mut config.dropout);
            let mut noise = StepNoise::new(&config, None, 0);
            let open = Segment { rows: 0..1, gates: Default::default() };
            let hidden = backbone.encode(&features, &[open], Some(&mut noise))?;
            Ok(noise.before_head(hidden)?.flatten_all()?.to_vec1()?)
        };
        let silent = hidden(|_| ())?;
        assert_eq!(hidden(|_| ())?, silent);
        type Set = fn(&mut Dropout);
        let sites: [(&str, Set); 6] = [
            ("hidden", |d| d.hidden = 0.3),
            ("attention", |d| d.attention = 0.3),
            ("activation", |d| d.activation = 0.3),
            ("input", |d| d.input = 0.3),
            ("last", |d| d.last = 0.3),
            ("layer", |d| d.layer = 0.999),
        ];
        for (name, set) in sites {
            assert_ne!(hidden(set)?, silent, "{name}");
        }
        Ok(())
    }

    #[test]
    fn hidden_frames_hold_the_embedding_and_hidden_channels_nothing() -> anyhow::Result<()> {
        let (config, x) = (config(), Tensor::ones((2, 60, 256), candle_core::DType::F32, &Device::Cpu)?);
        let embedding = Tensor::full(7f32, 256, &Device::Cpu)?;
        let run = |pass| -> anyhow::Result<Vec<Vec<Vec<f32>>>> {
            Ok(StepNoise::new(&config, Some(&embedding), pass)
                .spec_augment(x.clone(), &[60, 30])?
                .to_vec3()?)
        };
        let y = run(3)?;
        for (row, length) in y.iter().zip([60, 30]) {
            let dark: Vec<_> = (0..256).filter(|&c| row.iter().all(|frame| frame[c] == 0.0)).collect();
            assert!(!dark.is_empty() && dark.len() <= 128);
            let lit = (0..256).find(|c| !dark.contains(c)).expect("a channel that is seen");
            let hidden = row.iter().filter(|frame| frame[lit] == 7.0).count();
            assert!(hidden > 0 && hidden < length);
            assert!(row[length..].iter().all(|frame| frame[lit] == 1.0), "padding is not hidden");
        }
        assert_eq!(run(3)?, y);
        assert_ne!(run(4)?, y);
        Ok(())
    }
}
