//! Adam as fairseq runs it, over groups of variables that share a peak rate.
//!
//! `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
//! `p ← p − lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)`: ε stands outside the bias correction
//! (`fairseq/optim/adam.py`), unlike torch's own Adam. No weight decay, β = (0.9, 0.98), ε = 1e-8.

use crate::Result;
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var, backprop::GradStore, bail};
use rayon::prelude::*;
use std::sync::Mutex;

const BETAS: (f64, f64) = (0.9, 0.98);
const EPS: f32 = 1e-8;
/// The number of updates, in a saved state.
const COUNT: &str = "updates";
/// Elements that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// One variable, its moments and its share of the learning rate.
struct Slot {
    name: String,
    var: Var,
    rate: f64,
    moments: Mutex<Option<Moments>>,
}

/// Beside the variable: on the CPU as plain numbers, which one pass updates with it.
enum Moments {
    Host { m: Vec<f32>, v: Vec<f32> },
    Device { m: Tensor, v: Tensor },
}

impl Moments {
    /// `None` is zeros, and makes no tensor.
    fn zeros(var: &Var) -> Option<Self> {
        let zeros = || vec![0f32; var.elem_count()];
        var.device().is_cpu().then(|| Self::Host { m: zeros(), v: zeros() })
    }

    fn of(var: &Var, m: &Tensor, v: &Tensor) -> Result<Self> {
        if var.device().is_cpu() {
            let values = |t: &Tensor| t.flatten_all()?.to_vec1();
            return Ok(Self::Host { m: values(m)?, v: values(v)? });
        }
        let there = |t: &Tensor| t.to_device(var.device())?.reshape(var.shape());
        Ok(Self::Device { m: there(m)?, v: there(v)? })
    }
}

/// The optimizer: variables in f32, updated in place.
pub struct Adam {
    slots: Vec<Slot>,
    updates: i32,
}

/// The sum of gradients of one or more backward passes, by slot.
#[derive(Default)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Adam {
    /// An optimizer over `(name, variable, peak learning rate)`; names identify state in a checkpoint.
    pub fn new(variables: impl IntoIterator<Item = (String, Var, f64)>) -> Self {
        let slot = |(name, var, rate): (String, Var, f64)| {
            let moments = Mutex::new(Moments::zeros(&var));
            Slot { name, var, rate, moments }
        };
        Self { slots: variables.into_iter().map(slot).collect(), updates: 0 }
    }

    /// Adds the gradients of one backward pass to `sum`: accumulation over micro-batches.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn accumulate(&self, sum: &mut Gradients, mut grads: GradStore) -> Result<()> {
        sum.0.resize_with(self.slots.len(), || None);
        for (slot, total) in self.slots.iter().zip(&mut sum.0) {
            let Some(g) = grads.remove(slot.var.as_tensor()) else { continue };
            *total = Some(match total.take() {
                Some(before) => (before + g)?,
                None => g,
            });
        }
        Ok(())
    }

    /// One update with gradients `sum · scale`, clipped to global norm `clip` if given; `factor` is the
    /// schedule's. Returns the norm before clipping. A norm that is not finite leaves everything as it was.
    ///
    /// # Errors
    /// A gradient of another dtype or device than its variable.
    pub fn update(&mut self, sum: Gradients, scale: f64, clip: Option<f64>, factor: f64) -> Result<f64> {
        let norm = scale * sum.norm()?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let shrink = clip.map_or(1.0, |most| (most / (norm + 1e-6)).min(1.0));
        self.updates += 1;
        let (b1, b2) = BETAS;
        let correction = (1.0 - b2.powi(self.updates)).sqrt() / (1.0 - b1.powi(self.updates));
        for (slot, g) in self.slots.iter().zip(sum.0) {
            let Some(g) = g else { continue };
            let step = slot.rate * factor * correction;
            if slot.var.device().is_cpu() {
                let op = Step { moments: &slot.moments, scale: (scale * shrink) as f32, step: step as f32 };
                slot.var.inplace_op2(&g.contiguous()?, &op)?;
            } else {
                slot.on_device((g * (scale * shrink))?, step)?;
            }
        }
        Ok(norm)
    }

    /// Updates that moved something.
    pub fn updates(&self) -> usize {
        self.updates as usize
    }

    /// Moments by `m.<name>` and `v.<name>`, and the count as `updates`: with the variables, the whole state.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for slot in &self.slots {
            let tensor = |x: &[f32]| Tensor::from_slice(x, slot.var.shape(), &Device::Cpu);
            let (m, v) = match &*lock(&slot.moments) {
                Some(Moments::Host { m, v }) => (tensor(m)?, tensor(v)?),
                Some(Moments::Device { m, v }) => (m.to_device(&Device::Cpu)?, v.to_device(&Device::Cpu)?),
                None => {
                    let zeros = Tensor::zeros(slot.var.shape(), slot.var.dtype(), &Device::Cpu)?;
                    (zeros.clone(), zeros)
                }
            };
            state.extend([(format!("m.{}", slot.name), m), (format!("v.{}", slot.name), v)]);
        }
        state.push((COUNT.to_owned(), Tensor::new(i64::from(self.updates), &Device::Cpu)?));
        Ok(state)
    }

    /// Takes up a saved state.
    ///
    /// # Errors
    /// A moment or the count that is missing or of another size.
    pub fn restore(&mut self, state: &std::collections::HashMap<String, Tensor>) -> Result<()> {
        for slot in &self.slots {
            let find = |prefix: &str| -> Result<&Tensor> {
                let name = format!("{prefix}.{}", slot.name);
                match state.get(&name) {
                    Some(t) if t.elem_count() == slot.var.elem_count() => Ok(t),
                    found => Err(crate::Error::Model(format!(
                        "checkpoint has {:?} values for `{name}`, this run needs {}",
                        found.map(Tensor::elem_count),
                        slot.var.elem_count()
                    ))),
                }
            };
            *lock(&slot.moments) = Some(Moments::of(&slot.var, find("m")?, find("v")?)?);
        }
        let count = state.get(COUNT).ok_or_else(|| {
            crate::Error::Model(format!("checkpoint has no `{COUNT}`: it is of an earlier version"))
        })?;
        self.updates = count.to_scalar::<i64>()? as i32;
        Ok(())
    }
}

impl Gradients {
    /// The global L2 norm.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn norm(&self) -> Result<f64> {
        let mut squares = 0.0;
        let (host, device): (Vec<_>, Vec<_>) = self.0.iter().flatten().partition(|g| g.device().is_cpu());
        if !device.is_empty() {
            // One wait for all of them.
            let sums = device.iter().map(|g| g.sqr()?.sum_all()).collect::<candle_core::Result<Vec<_>>>()?;
            squares += Tensor::stack(&sums, 0)?.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
        }
        for g in host {
            let g = g.contiguous()?;
            let (storage, layout) = g.storage_and_layout();
            let (candle_core::Storage::Cpu(CpuStorage::F32(all)), Some((from, to))) =
                (&*storage, layout.contiguous_offsets())
            else {
                return Err(crate::Error::Model("a gradient that is not f32 on the CPU".into()));
            };
            // Collected, then added in order: the same sum whatever the threads.
            squares +=
                all[from..to].par_chunks(CHUNK).map(squared).collect::<Vec<_>>().into_iter().sum::<f64>();
        }
        Ok(squares.sqrt())
    }
}

impl Slot {
    /// One update by the device's own operations; `g` is scaled.
    fn on_device(&self, g: Tensor, step: f64) -> Result<()> {
        let (b1, b2) = BETAS;
        let g = g.detach();
        let (first, second) = ((&g * (1.0 - b1))?, (g.sqr()? * (1.0 - b2))?);
        let mut moments = lock(&self.moments);
        let (m, v) = match moments.take() {
            Some(Moments::Device { m, v }) => (((m * b1)? + first)?, ((v * b2)? + second)?),
            _ => (first, second),
        };
        let change = ((&m * step)? / (v.sqrt()? + f64::from(EPS))?)?;
        self.var.set(&(self.var.as_detached_tensor() - change)?)?;
        *moments = Some(Moments::Device { m, v });
        Ok(())
    }
}

/// `Σ g²`: in f32 over sixteen strands of a few hundred, so that no addition waits for the last, then in f64.
fn squared(g: &[f32]) -> f64 {
    let part = |g: &[f32]| {
        let mut strands = [0f32; 16];
        let (whole, rest) = g.as_chunks::<16>();
        for g in whole {
            strands.iter_mut().zip(g).for_each(|(strand, g)| *strand += g * g);
        }
        strands.iter().chain(&[rest.iter().map(|g| g * g).sum()]).map(|s| f64::from(*s)).sum::<f64>()
    };
    g.chunks(4096).map(part).sum()
}

struct Step<'a> {
    moments: &'a Mutex<Option<Moments>>,
    scale: f32,
    step: f32,
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        var: &mut CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(p), CpuStorage::F32(g)) = (var, grad) else { bail!("adam: f32 only") };
        let (Some((a, b)), Some((c, d))) = (layout.contiguous_offsets(), grad_layout.contiguous_offsets())
        else {
            bail!("adam: variables must be contiguous")
        };
        let (b1, b2) = (BETAS.0 as f32, BETAS.1 as f32);
        let mut moments = lock(self.moments);
        let Some(Moments::Host { m, v }) = &mut *moments else { bail!("adam: the moments are elsewhere") };
        (p[a..b].par_chunks_mut(CHUNK).zip(g[c..d].par_chunks(CHUNK)))
            .zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)))
            .for_each(|((p, g), (m, v))| {
                for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                    let g = g * self.scale;
                    *m = b1 * *m + (1.0 - b1) * g;
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *p -= self.step * *m / (v.sqrt() + EPS);
                }
            });
        Ok(())
    }
}

/// A poisoned lock means a panic mid-update elsewhere; the numbers are still numbers.
fn lock(moments: &Mutex<Option<Moments>>) -> std::sync::MutexGuard<'_, Option<Moments>> {
    moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn quadratic(x: &Var) -> Result<GradStore> {
        Ok(x.as_tensor().sqr()?.sum_all()?.backward()?)
    }

    #[test]
    fn two_updates_follow_the_formula() -> Result<()> {
        let x = Var::new(&[0.5f32, -2.0], &Device::Cpu)?;
        let mut adam = Adam::new([("x".to_owned(), x.clone(), 0.1)]);
        let (mut p, mut m, mut v) = ([0.5f64, -2.0], [0f64; 2], [0f64; 2]);
        for t in 1..=2 {
            let mut sum = Gradients::default();
            adam.accumulate(&mut sum, quadratic(&x)?)?;
            adam.update(sum, 1.0, None, 0.5)?;
            for i in 0..2 {
                let g = 2.0 * p[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.98 * v[i] + 0.02 * g * g;
                let correction = (1.0 - 0.98f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
                p[i] -= 0.05 * correction * m[i] / (v[i].sqrt() + 1e-8);
            }
            for (ours, expected) in x.to_vec1::<f32>()?.iter().zip(p) {
                assert!((f64::from(*ours) - expected).abs() < 1e-6);
            }
        }
        Ok(())
    }

    #[test]
    fn clipping_scales_to_the_norm_and_nan_changes_nothing() -> Result<()> {
        let x = Var::new(&[3f32, 4.0], &Device::Cpu)?;
        let mut adam = Adam::new([("x".to_owned(), x.clone(), 0.1)]);
        let mut sum = Gradients::default();
        adam.accumulate(&mut sum, quadratic(&x)?)?;
        adam.accumulate(&mut sum, quadratic(&x)?)?;
        assert!((adam.update(sum, 0.5, Some(1.0), 1.0)? - 10.0).abs() < 1e-4);
        let m = &adam.state()?[0].1.to_vec1::<f32>()?;
        assert!((m[0] - 0.06).abs() < 1e-5 && (m[1] - 0.08).abs() < 1e-5, "{m:?}");

        let before = x.to_vec1::<f32>()?;
        let mut bad = Gradients::default();
        adam.accumulate(&mut bad, (x.as_tensor() * f64::NAN)?.sum_all()?.backward()?)?;
        assert!(adam.update(bad, 1.0, None, 1.0)?.is_nan());
        assert_eq!((x.to_vec1::<f32>()?, adam.updates()), (before, 1));
        Ok(())
    }

    #[test]
    fn a_restored_optimizer_goes_on_as_the_original() -> Result<()> {
        let x = Var::new(&[1f32, -1.0], &Device::Cpu)?;
        let mut adam = Adam::new([("x".to_owned(), x.clone(), 0.1)]);
        let step = |adam: &mut Adam, x: &Var| -> Result<Vec<f32>> {
            let mut sum = Gradients::default();
            adam.accumulate(&mut sum, quadratic(x)?)?;
            adam.update(sum, 1.0, None, 1.0)?;
            Ok(x.to_vec1()?)
        };
        step(&mut adam, &x)?;
        let copy = Var::from_tensor(&x.as_tensor().copy()?)?;
        let mut other = Adam::new([("x".to_owned(), copy.clone(), 0.1)]);
        other.restore(&adam.state()?.into_iter().collect())?;
        assert_eq!(other.updates(), 1);
        assert_eq!(step(&mut adam, &x)?, step(&mut other, &copy)?);
        Ok(())
    }
}
