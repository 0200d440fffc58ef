//! The one linear layer of the model: a frozen weight seen through each row's gate.

#[cfg(feature = "cuda")]
use crate::kernels::cuda;
use crate::{
    Error, Result,
    gate::{Gate, Gates, Segment},
    kernels::{Activation, Gated, Layout, PackedWeight, PanelMask, tensor},
    model::ops,
};
use candle_core::{DType, Device, Tensor};
use s3router_masks::BitMask;
#[cfg(feature = "cuda")]
use std::borrow::Cow;
use std::sync::Arc;

/// A parameter under its checkpoint name, so that [`Gates`] can gate or replace it.
#[derive(Clone, Debug)]
pub struct Param {
    name: String,
    tensor: Tensor,
    /// The same numbers as the kernels take them, once packed.
    values: Option<Arc<[f32]>>,
}

impl Param {
    /// A parameter and its name, Hugging Face's without the model prefix.
    pub fn new(name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor, values: None }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The frozen tensor, or what the gates put in its place.
    pub fn get<'a>(&'a self, gates: &'a Gates) -> &'a Tensor {
        gates.replaced(&self.name).unwrap_or(&self.tensor)
    }

    /// The frozen tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Reads the numbers out for [`values`](Self::values).
    ///
    /// # Errors
    /// When they are not f32.
    pub fn pack(&mut self) -> Result<()> {
        self.values = Some(values(&self.tensor)?.into());
        Ok(())
    }

    /// The frozen numbers, once [packed](Self::pack).
    pub fn values(&self) -> Option<&[f32]> {
        self.values.as_deref()
    }
}

/// `y = x (W ⊙ M)ᵀ + b`, where `M` differs by segment of the batch; `W` (out, in) is never edited.
#[derive(Clone, Debug)]
pub struct GatedLinear {
    name: String,
    weight: Weight,
    bias: Param,
    /// Where W ⊙ M is made beside the product before, in serving on a GPU.
    #[cfg(feature = "cuda")]
    ahead: Option<Arc<cuda::Ahead>>,
}

/// The one resident copy of W: a tensor while learning or on a GPU, packed for the kernels in serving.
#[derive(Clone, Debug)]
pub enum Weight {
    /// (out, in).
    Tensor(Tensor),
    /// In the kernels' order.
    Packed(Arc<PackedWeight>),
}

impl Weight {
    /// Packs a tensor (out, in) for the kernels.
    ///
    /// # Errors
    /// When it is no matrix in f32.
    pub fn pack(layout: Layout, weight: &Tensor) -> Result<Arc<PackedWeight>> {
        let (out, inner) = weight.dims2()?;
        Ok(Arc::new(PackedWeight::new(layout, out, inner, &values(weight)?)?))
    }
}

/// The elements of a tensor, row-major.
fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

impl GatedLinear {
    /// W (out, in) under its name, and b (out,).
    pub fn new(name: impl Into<String>, weight: Weight, bias: Param) -> Self {
        Self {
            name: name.into(),
            weight,
            bias,
            #[cfg(feature = "cuda")]
            ahead: None,
        }
    }

    /// W's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of what [`forward`](Self::forward) gives: half precision on a GPU whose weights are halved.
    pub fn dtype(&self) -> DType {
        match &self.weight {
            Weight::Tensor(weight) => weight.dtype(),
            Weight::Packed(_) => DType::F32,
        }
    }

    /// Keeps a weight that is a tensor in another type, for serving on a GPU, and gives it.
    ///
    /// # Errors
    /// The device's.
    pub fn cast(&mut self, dtype: DType) -> Result<Option<Tensor>> {
        let Weight::Tensor(weight) = &mut self.weight else { return Ok(None) };
        *weight = weight.to_dtype(dtype)?;
        Ok(Some(weight.clone()))
    }

    /// W where it is a tensor.
    #[cfg(feature = "cuda")]
    pub(crate) fn tensor(&self) -> Option<&Tensor> {
        match &self.weight {
            Weight::Tensor(weight) => Some(weight),
            Weight::Packed(_) => None,
        }
    }

    /// From now on W ⊙ M may be made there: W is on its device, and of its type.
    #[cfg(feature = "cuda")]
    pub(crate) fn expand_ahead(&mut self, ahead: &Arc<cuda::Ahead>) {
        self.ahead = Some(Arc::clone(ahead));
    }

    /// Packs W for the kernels in place of its tensor, and gives the packed form.
    ///
    /// # Errors
    /// None unless W is no matrix in f32.
    pub fn pack(&mut self, layout: Layout) -> Result<Arc<PackedWeight>> {
        let packed = match &self.weight {
            Weight::Packed(packed) => packed.clone(),
            Weight::Tensor(weight) => Weight::pack(layout, weight)?,
        };
        self.weight = Weight::Packed(packed.clone());
        self.bias.pack()?;
        Ok(packed)
    }

    /// `x` (B, T, in) to (B, T, out); rows of each segment see their own gate.
    ///
    /// # Errors
    /// A mask of another shape than the weight.
    pub fn forward(&self, x: &Tensor, segments: &[Segment]) -> Result<Tensor> {
        match self.fast(x, segments, Activation::None)? {
            Some(y) => Ok(y),
            None => self.portable(x, segments),
        }
    }

    /// [`forward`](Self::forward), then GELU.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_gelu(&self, x: &Tensor, segments: &[Segment]) -> Result<Tensor> {
        match self.fast(x, segments, Activation::Gelu)? {
            Some(y) => Ok(y),
            None => ops::gelu(&self.portable(x, segments)?),
        }
    }

    /// W under `masks`, [one of each segment](Self::masks), for the kernels; `None` where W is not packed.
    pub fn gated<'a>(&'a self, masks: &'a [Option<Arc<PanelMask>>]) -> Option<Gated<'a>> {
        match (&self.weight, self.bias.values()) {
            (Weight::Packed(weight), Some(bias)) => Some(Gated { weight, bias, masks }),
            _ => None,
        }
    }

    /// Appends the mask of each segment in the order of W, if that is packed.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn masks(&self, segments: &[Segment], to: &mut Vec<Option<Arc<PanelMask>>>) -> Result<()> {
        let Weight::Packed(weight) = &self.weight else { return Ok(()) };
        for segment in segments {
            to.push(self.panels(weight, segment.gates.get(&self.name))?);
        }
        Ok(())
    }

    /// All segments in one call of the kernel; `None` where a gradient, a soft gate or a replaced parameter
    /// asks for tensors.
    fn fast(&self, x: &Tensor, segments: &[Segment], then: Activation) -> Result<Option<Tensor>> {
        let soft = |s: &Segment| matches!(s.gates.get(&self.name), Gate::Soft(_)) || s.gates.replaces();
        if segments.iter().any(soft) {
            return Ok(None);
        }
        match &self.weight {
            Weight::Packed(weight) if tensor::serves(&[x]) => {
                self.on_cpu(x, weight, segments, then).map(Some)
            }
            #[cfg(feature = "cuda")]
            Weight::Tensor(weight) if cuda::serves(&[x, weight, &self.bias.tensor]) => {
                self.on_gpu(x, weight, segments, then).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn on_cpu(
        &self,
        x: &Tensor,
        weight: &PackedWeight,
        segments: &[Segment],
        then: Activation,
    ) -> Result<Tensor> {
        let mut masks = Vec::with_capacity(segments.len());
        self.masks(segments, &mut masks)?;
        let rows = segments.iter().zip(&masks).map(|(s, mask)| (s.rows.clone(), mask.as_deref()));
        let rows: Vec<_> = rows.collect();
        Ok(tensor::linear_rows(x, weight, &self.bias.tensor, then, &rows)?)
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(&self, x: &Tensor, weight: &Tensor, segments: &[Segment], then: Activation) -> Result<Tensor> {
        let masks = segments.iter().map(|s| self.uploaded(weight, s.gates.get(&self.name)));
        let masks = masks.collect::<Result<Vec<_>>>()?;
        let rows = segments.iter().zip(&masks).map(|(s, mask)| (s.rows.clone(), mask.as_deref()));
        let (rows, ahead) = (rows.collect::<Vec<_>>(), self.ahead.as_deref());
        Ok(cuda::linear(x, weight, &self.bias.tensor, then, &rows, ahead)?)
    }

    /// A gate's mask on W's device; a mask that found no room there travels anew each time.
    #[cfg(feature = "cuda")]
    fn uploaded<'a>(&self, weight: &Tensor, gate: &'a Gate) -> Result<Option<Cow<'a, cuda::DeviceMask>>> {
        let upload = |bits: &BitMask| cuda::DeviceMask::new(bits, weight.device());
        let mask = match gate {
            Gate::Device(mask) => Cow::Borrowed(&**mask),
            Gate::Packed(bits) => Cow::Owned(upload(bits)?),
            Gate::Panels(mask) => Cow::Owned(upload(&mask.to_bits())?),
            Gate::Open | Gate::Soft(_) => return Ok(None),
        };
        self.check((mask.rows(), mask.cols()), weight.dims2()?)?;
        Ok(Some(mask))
    }

    /// A gate's mask in the kernel's order; serving has it so, and nothing is made.
    fn panels(&self, weight: &PackedWeight, gate: &Gate) -> Result<Option<Arc<PanelMask>>> {
        let made = |bits: &BitMask| Arc::new(PanelMask::new(weight.layout(), bits));
        let mask = match gate {
            Gate::Panels(mask) if mask.layout() == weight.layout() => Arc::clone(mask),
            Gate::Panels(mask) => made(&mask.to_bits()),
            Gate::Packed(bits) => made(bits),
            Gate::Device(mask) => made(&mask.to_bits()?),
            Gate::Open | Gate::Soft(_) => return Ok(None),
        };
        self.check((mask.rows(), mask.cols()), (weight.outputs(), weight.inputs()))?;
        Ok(Some(mask))
    }

    fn check(&self, mask: (usize, usize), weight: (usize, usize)) -> Result<()> {
        if mask == weight {
            return Ok(());
        }
        Err(Error::Model(format!(
            "mask `{}` has shape [{}, {}], the backbone's weight has [{}, {}]: the pack belongs to another backbone",
            self.name, mask.0, mask.1, weight.0, weight.1
        )))
    }

    /// The same by tensor operations, segment after segment.
    fn portable(&self, x: &Tensor, segments: &[Segment]) -> Result<Tensor> {
        let open =
            segments.iter().all(|s| matches!(s.gates.get(&self.name), Gate::Open) && !s.gates.replaces());
        match segments {
            [one] => self.rows(x, &one.gates),
            // Gates that are open alike need no split.
            [first, ..] if open => self.rows(x, &first.gates),
            _ => {
                let parts = segments
                    .iter()
                    .map(|s| self.rows(&x.narrow(0, s.rows.start, s.rows.len())?, &s.gates))
                    .collect::<Result<Vec<_>>>()?;
                Ok(Tensor::cat(&parts, 0)?)
            }
        }
    }

    fn rows(&self, x: &Tensor, gates: &Gates) -> Result<Tensor> {
        let (weight, bias) = self.seen(gates)?;
        ops::linear(x, &weight, &bias, gates.precision())
    }

    /// `W ⊙ M` (out, in) and b (out,) as these gates show them.
    ///
    /// # Errors
    /// A mask of another shape than the weight.
    pub(crate) fn seen(&self, gates: &Gates) -> Result<(Tensor, Tensor)> {
        let weight = match (gates.replaced(&self.name), &self.weight) {
            (Some(weight), _) | (None, Weight::Tensor(weight)) => weight.clone(),
            (None, Weight::Packed(w)) => {
                Tensor::from_vec(w.unpack(), (w.outputs(), w.inputs()), &Device::Cpu)?
            }
        };
        #[cfg(feature = "cuda")]
        if cuda::serves(&[&weight])
            && let Some(mask) = self.uploaded(&weight, gates.get(&self.name))?
        {
            return Ok((cuda::expand(&weight, &mask)?, self.bias.get(gates).clone()));
        }
        let masked = |bits: &BitMask| {
            self.check((bits.rows(), bits.cols()), weight.dims2()?)?;
            ops::gated(&weight, &dense(bits, weight.device())?)
        };
        let weight = match gates.get(&self.name) {
            Gate::Open => weight,
            Gate::Packed(bits) => masked(bits)?,
            Gate::Panels(mask) => masked(&mask.to_bits())?,
            Gate::Device(mask) => masked(&mask.to_bits()?)?,
            Gate::Soft(mask) => ops::gated(&weight, mask)?,
        };
        Ok((weight, self.bias.get(gates).clone()))
    }

    /// b (out,) as these gates show it.
    pub(crate) fn bias<'a>(&'a self, gates: &'a Gates) -> &'a Tensor {
        self.bias.get(gates)
    }

    /// Whether W is packed for serving.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.weight, Weight::Packed(_))
    }
}

/// The bits as 0 / 1 in f32, (out, in).
///
/// # Errors
/// The device refuses the tensor.
pub fn dense(bits: &BitMask, device: &Device) -> Result<Tensor> {
    let cols = bits.cols();
    let mut values = Vec::with_capacity(bits.len());
    for row in 0..bits.rows() {
        values.extend(
            bits.row(row).iter().flat_map(|byte| (0..8).map(move |i| f32::from(byte >> i & 1))).take(cols),
        );
    }
    Ok(Tensor::from_vec(values, (bits.rows(), cols), device)?)
}
