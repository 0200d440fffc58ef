//! Norms, convolutions, attention.

use super::{super::*, assert_close, noise};
use crate::kernels::backward;
use crate::kernels::{
    conv::{chain, chain_frames, positional},
    norm::{gelu, group_norm_gelu, layer_norm},
};

#[test]
fn gelu_is_exact_to_a_millionth_from_minus_ten_to_ten() {
    let x: Vec<f32> = (-100_000..=100_000).map(|i| i as f32 * 1e-4).collect();
    let expected: Vec<f32> = x.iter().map(|&x| scalar::gelu(x)).collect();
    for tier in Tier::available() {
        let mut y = x.clone();
        gelu(tier, &mut y);
        for ((x, y), e) in x.iter().zip(&y).zip(&expected) {
            assert!((y - e).abs() <= 1e-6 * x.abs().max(1.0), "{tier:?}: gelu({x}) = {y}, expected {e}");
        }
    }
}

#[test]
fn layer_norm_equals_the_specification_at_any_width() {
    for tier in Tier::available() {
        for (m, c) in [(1, 1), (3, 7), (5, 32), (2, 100), (40, 512), (3, 1023)] {
            let (x, gamma, beta) = (noise(1, m * c), noise(2, c), noise(3, c));
            let norm = Norm { gamma: &gamma, beta: &beta, eps: 1e-5 };
            let expected = scalar::layer_norm(&x, &gamma, &beta, 1e-5);
            let mut y = x.clone();
            layer_norm(tier, &norm, false, &mut y).unwrap();
            assert_close("norm", &y, &expected, 1e-5);
            let (mut y, expected) = (x, expected.into_iter().map(scalar::gelu).collect::<Vec<_>>());
            layer_norm(tier, &norm, true, &mut y).unwrap();
            assert_close("norm and gelu", &y, &expected, 1e-5);
        }
    }
}

#[test]
fn group_norm_is_the_layer_norm_of_each_channel_over_time() {
    let (t, c) = (150, 13);
    let (x, gamma, beta) = (noise(1, t * c), noise(2, c), noise(3, c));
    let mut room = Aligned::default();
    for tier in Tier::available() {
        let mut y = x.clone();
        group_norm_gelu(tier, &Norm { gamma: &gamma, beta: &beta, eps: 1e-5 }, &mut y, &mut room).unwrap();
        for i in 0..c {
            let channel: Vec<f32> = x.iter().skip(i).step_by(c).copied().collect();
            let expected = scalar::layer_norm(&channel, &vec![gamma[i]; t], &vec![beta[i]; t], 1e-5);
            let expected: Vec<f32> = expected.into_iter().map(scalar::gelu).collect();
            assert_close(
                "channel",
                &y.iter().skip(i).step_by(c).copied().collect::<Vec<_>>(),
                &expected,
                1e-5,
            );
        }
    }
}

#[test]
fn convolutions_equal_the_specification_for_each_utterance_of_a_batch() {
    for tier in Tier::available() {
        for (times, c, n, kernel, stride) in
            [(400, 1, 40, 10, 5), (97, 12, 20, 3, 2), (30, 70, 33, 2, 2), (2, 3, 4, 3, 2)]
        {
            let (x, w, b) = (noise(1, 2 * times * c), noise(2, n * c * kernel), noise(3, n));
            let (gamma, beta) = (noise(4, n), noise(5, n));
            let weight = PackedWeight::from_conv(tier, [n, c, kernel], &w).unwrap();
            let norm = Norm { gamma: &gamma, beta: &beta, eps: 1e-5 };
            let layer =
                Conv { weight: &weight, bias: Some(&b), kernel, stride, after: After::NormGelu(norm) };
            let frames = layer.frames(times);
            let mut y = vec![f32::NAN; 2 * frames * n];
            chain(&[layer], 2, &x, &mut y).unwrap();
            let plain = |x| scalar::conv(x, &w, &b, [n, c, kernel], stride);
            let sums = [plain(&x[..times * c]), plain(&x[times * c..])].concat();
            let normed = scalar::layer_norm(&sums, &gamma, &beta, 1e-5);
            assert_close("conv", &y, &normed.into_iter().map(scalar::gelu).collect::<Vec<_>>(), 1e-4);
            chain(&[Conv { after: After::Gelu, ..layer }], 2, &x, &mut y).unwrap();
            assert_close("conv", &y, &sums.into_iter().map(scalar::gelu).collect::<Vec<_>>(), 3e-5);
        }
    }
}

#[test]
fn a_chain_cut_into_pieces_equals_its_layers_one_by_one() {
    let shapes = [(1, 24, 10, 5), (24, 17, 3, 2), (17, 40, 2, 2)];
    for tier in Tier::available() {
        let weights: Vec<_> = shapes
            .iter()
            .map(|&(c, n, k, _)| PackedWeight::from_conv(tier, [n, c, k], &noise(1, n * c * k)).unwrap())
            .collect();
        let layers: Vec<_> = shapes
            .iter()
            .zip(&weights)
            .map(|(&(.., kernel, stride), weight)| Conv {
                weight,
                bias: None,
                kernel,
                stride,
                after: After::Gelu,
            })
            .collect();
        let x = noise(2, 2 * 3001);
        let mut expected = x.clone();
        for layer in &layers {
            let times = expected.len() / 2 / layer.channels();
            let mut y = vec![0.0; 2 * layer.frames(times) * layer.weight.outputs()];
            chain(&[*layer], 2, &expected, &mut y).unwrap();
            expected = y;
        }
        let mut y = vec![f32::NAN; expected.len()];
        chain(&layers, 2, &x, &mut y).unwrap();
        assert_eq!(y, expected, "{tier:?}");
        // Some frames at a time, in any order.
        y.fill(f32::NAN);
        for some in [100..usize::MAX, 0..1, 1..100, 7..7] {
            chain_frames(&layers, 2, &x, &mut y, some).unwrap();
        }
        assert_eq!(y, expected, "{tier:?}, in parts");
    }
}

#[test]
fn the_positional_convolution_equals_the_specification() {
    for tier in Tier::available() {
        for (times, groups, width, kernel) in [(1, 2, 4, 4), (50, 3, 16, 8), (300, 2, 5, 7), (33, 2, 48, 128)]
        {
            let c = groups * width;
            let (x, w, b) = (noise(1, 2 * times * c), noise(2, c * width * kernel), noise(3, c));
            let pack = |w| PackedWeight::from_conv(tier, [width, width, kernel], w).unwrap();
            let weights: Vec<_> = w.chunks_exact(width * width * kernel).map(pack).collect();
            let layer = Positional { weights: &weights, bias: Some(&b), kernel, gelu: true };
            let mut y = vec![f32::NAN; x.len()];
            positional(&layer, 2, &x, &mut y).unwrap();
            let plain = |x| scalar::positional(x, &w, &b, groups, kernel);
            let sums = [plain(&x[..times * c]), plain(&x[times * c..])].concat();
            assert_close("positional", &y, &sums.into_iter().map(scalar::gelu).collect::<Vec<_>>(), 1e-4);
        }
    }
}

#[test]
fn attention_equals_the_specification_and_ignores_padding() {
    for tier in Tier::available() {
        for (times, heads, d, lengths) in
            [(1, 1, 1, [1, 1]), (20, 3, 8, [20, 13]), (250, 2, 64, [0, 250]), (33, 2, 24, [1, 33])]
        {
            let all = heads * d;
            let wide: Vec<f32> = noise(1, 2 * times * 3 * all).iter().map(|x| x * 3.0).collect();
            let qkv = [&wide[..], &wide[all..], &wide[2 * all..]];
            let mut y = vec![f32::NAN; 2 * times * all];
            let a = Attention { qkv, stride: 3 * all, heads, width: d, lengths: &lengths };
            attention(tier, &a, &mut y).unwrap();
            for (b, &keys) in lengths.iter().enumerate() {
                let rows = |part: usize| -> Vec<f32> {
                    let rows = wide.chunks_exact(3 * all).skip(b * times).take(times);
                    rows.flat_map(|r| r[part * all..(part + 1) * all].to_vec()).collect()
                };
                let expected = scalar::attention(&rows(0), &rows(1), &rows(2), heads, d, keys);
                assert_close("attention", &y[b * times * all..(b + 1) * times * all], &expected, 3e-5);
            }
        }
    }
}

/// `Σ g · (f(x + h) - f(x - h)) / 2 h` along each element: what a gradient must be.
fn slope(x: &[f32], g: &[f32], f: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
    let h = 1e-2;
    let at = |i: usize, by: f32| {
        let mut x = x.to_vec();
        x[i] += by;
        f(&x).iter().zip(g).map(|(y, g)| f64::from(y * g)).sum::<f64>()
    };
    (0..x.len()).map(|i| ((at(i, h) - at(i, -h)) / f64::from(2.0 * h)) as f32).collect()
}

#[test]
fn gradients_are_the_slopes_of_the_specification() {
    for tier in Tier::available() {
        for (m, c) in [(3, 5), (2, 33)] {
            let (x, g, gamma, beta) = (noise(1, m * c), noise(2, m * c), noise(3, c), noise(4, c));
            let mut dx = g.clone();
            backward::gelu(tier, &x, &mut dx).unwrap();
            assert_close("gelu", &dx, &slope(&x, &g, |x| x.iter().map(|&x| scalar::gelu(x)).collect()), 1e-3);

            let norm = Norm { gamma: &gamma, beta: &beta, eps: 1e-5 };
            let mut dx = g.clone();
            let (dgamma, dbeta) = backward::layer_norm(tier, &norm, &x, &mut dx, true).unwrap().unwrap();
            assert_close("x", &dx, &slope(&x, &g, |x| scalar::layer_norm(x, &gamma, &beta, 1e-5)), 5e-3);
            assert_close(
                "gamma",
                &dgamma,
                &slope(&gamma, &g, |w| scalar::layer_norm(&x, w, &beta, 1e-5)),
                1e-3,
            );
            assert_close(
                "beta",
                &dbeta,
                &slope(&beta, &g, |b| scalar::layer_norm(&x, &gamma, b, 1e-5)),
                1e-3,
            );

            let soft = |x: &[f32]| {
                let mut y = x.to_vec();
                backward::softmax(Tier::Scalar, c, &mut y);
                y
            };
            let (p, mut dx) = (soft(&x), g.clone());
            assert!(p.chunks_exact(c).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
            backward::softmax_backward(tier, c, &p, &mut dx).unwrap();
            assert_close("softmax", &dx, &slope(&x, &g, soft), 1e-3);
        }
    }
}
