//! Halves of a layer against the same spelled out in tensor operations: values and every gradient.

use super::{super::tensor, noise};
use crate::Precision;
use candle_core::{D, Device, Result, Tensor, Var};

const D_IN: usize = 24;

fn tensor_of(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_vec(noise(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
}

fn var(seed: u64, shape: &[usize]) -> Var {
    Var::from_tensor(&tensor_of(seed, shape)).unwrap()
}

/// `half` and `spelled` of the same x and weights: their values, and the gradients of all three, agree.
fn agree(
    weights: [&[usize]; 2],
    rows: &[usize],
    half: impl Fn(&Tensor, [&Tensor; 2]) -> Result<Tensor>,
    spelled: impl Fn(&Tensor, [&Tensor; 2]) -> Result<Tensor>,
) {
    let (x, first, second) = (var(1, &[3, 7, D_IN]), var(2, weights[0]), var(3, weights[1]));
    // Frames past a row's end mean nothing, so nothing may come back from them.
    let seen: Vec<f32> = rows.iter().flat_map(|&n| (0..7).map(move |t| f32::from(u8::from(t < n)))).collect();
    let seen = Tensor::from_vec(seen, (3, 7, 1), &Device::Cpu).unwrap();
    let g = tensor_of(9, &[3, 7, D_IN]).broadcast_mul(&seen).unwrap();
    let of = |f: &dyn Fn(&Tensor, [&Tensor; 2]) -> Result<Tensor>| -> Result<Vec<Vec<f32>>> {
        let y = f(x.as_tensor(), [first.as_tensor(), second.as_tensor()])?.broadcast_mul(&seen)?;
        let grads = (&y * &g)?.sum_all()?.backward()?;
        let mut all = vec![y.flatten_all()?.to_vec1()?];
        for v in [&x, &first, &second] {
            all.push(grads.get(v).expect("a gradient").flatten_all()?.to_vec1()?);
        }
        Ok(all)
    };
    let (found, expected) = (of(&half).unwrap(), of(&spelled).unwrap());
    for (what, (found, expected)) in ["y", "x", "first", "second"].iter().zip(found.iter().zip(&expected)) {
        super::assert_close(what, found, expected, 1e-4);
    }
}

fn norm(c: usize) -> (Tensor, Tensor, f32) {
    (tensor_of(5, &[c]), tensor_of(6, &[c]), 1e-5)
}

fn inner(x: &Tensor, norm: Option<&tensor::NormTensors>) -> Result<Tensor> {
    norm.map_or(Ok(x.clone()), |(gamma, beta, eps)| tensor::layer_norm(x, gamma, beta, *eps))
}

#[test]
fn feed_forward_is_its_parts() {
    let (up_bias, down_bias) = (tensor_of(7, &[40]), tensor_of(8, &[D_IN]));
    for norm in [None, Some(norm(D_IN))] {
        let half = |x: &Tensor, [up, down]: [&Tensor; 2]| {
            tensor::feed(x, norm.clone(), [up, &up_bias], [down, &down_bias], Precision::F32)
        };
        let spelled = |x: &Tensor, [up, down]: [&Tensor; 2]| {
            let up = tensor::linear(&inner(x, norm.as_ref())?, up, &up_bias, Precision::F32)?;
            x + tensor::linear(&up.gelu_erf()?, down, &down_bias, Precision::F32)?
        };
        agree([&[40, D_IN], &[D_IN, 40]], &[7, 7, 7], half, spelled);
    }
}

#[test]
fn self_attention_is_its_parts_whatever_the_lengths() {
    let (bias, out_bias, heads) = (tensor_of(7, &[3 * D_IN]), tensor_of(8, &[D_IN]), 4);
    for (norm, lengths) in [(None, [7, 7, 7]), (Some(norm(D_IN)), [7, 3, 1]), (Some(norm(D_IN)), [0, 7, 5])] {
        let half = |x: &Tensor, [qkv, out]: [&Tensor; 2]| {
            let shape = (heads, &lengths[..]);
            tensor::attend_half(x, norm.clone(), [qkv, &bias], [out, &out_bias], shape, Precision::F32)
        };
        let spelled = |x: &Tensor, [qkv, out]: [&Tensor; 2]| {
            let all = tensor::linear(&inner(x, norm.as_ref())?, qkv, &bias, Precision::F32)?;
            let part = |i: usize| {
                all.narrow(2, i * D_IN, D_IN)?.reshape((3, 7, heads, ()))?.transpose(1, 2)?.contiguous()
            };
            let hidden = lengths.iter().flat_map(|&n| (0..7).map(move |t| if t < n { 0f32 } else { -1e30 }));
            let hidden = Tensor::from_iter(hidden, &Device::Cpu)?.reshape((3, 1, 1, 7))?;
            let scores = (part(0)? * ((D_IN / heads) as f64).powf(-0.5))?.matmul(&part(1)?.t()?)?;
            let p = candle_nn::ops::softmax(&scores.broadcast_add(&hidden)?, D::Minus1)?;
            let seen = p.matmul(&part(2)?)?.transpose(1, 2)?.reshape((3, 7, D_IN))?;
            x + tensor::linear(&seen, out, &out_bias, Precision::F32)?
        };
        let parts = |x: &Tensor, [qkv, out]: [&Tensor; 2]| {
            let all = tensor::linear(&inner(x, norm.as_ref())?, qkv, &bias, Precision::F32)?;
            let seen = tensor::attend_learning(&all, heads, &lengths, Precision::F32)?;
            x + tensor::linear(&seen, out, &out_bias, Precision::F32)?
        };
        agree([&[3 * D_IN, D_IN], &[D_IN, D_IN]], &lengths, half, spelled);
        agree([&[3 * D_IN, D_IN], &[D_IN, D_IN]], &lengths, parts, spelled);
    }
}

#[test]
fn a_linear_layers_gradients_are_those_of_products() {
    let (x, w, b) = (var(1, &[2, 9, 33]), var(2, &[20, 33]), var(3, &[20]));
    let g = tensor_of(4, &[2, 9, 20]);
    let gradients = |y: Tensor| {
        let grads = (y * &g).unwrap().sum_all().unwrap().backward().unwrap();
        [&x, &w, &b].map(|v| grads.get(v).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let ours = tensor::linear(&x, &w, &b, Precision::F32).unwrap();
    let spelled = x.reshape((18, 33)).unwrap().matmul(&w.t().unwrap()).unwrap().broadcast_add(&b).unwrap();
    let pairs = gradients(ours).into_iter().zip(gradients(spelled.reshape((2, 9, 20)).unwrap()));
    for ((found, expected), what) in pairs.zip(["x", "w", "b"]) {
        super::assert_close(what, &found, &expected, 1e-4);
    }
}
