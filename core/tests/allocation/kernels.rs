//! The kernels of every tier of this machine, each alone.

use crate::counting::{Taken, settles};
use s3router_core::kernels::{
    Activation, After, Aligned, Attention, Conv, Gated, Layer, Layout, Norm, PackedWeight, PanelMask,
    Positional, Segment, Space, Stack, Tier, Unit, attention, conv, linear,
    linear::Linear,
    norm::{group_norm_gelu, layer_norm},
};
use s3router_masks::BitMask;
use std::sync::Arc;

const NOTHING: Taken = Taken { calls: 0, bytes: 0 };

fn noise(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.37).sin() * 0.5).collect()
}

/// Every kernel of every layout must come to take nothing.
pub(crate) fn settle() {
    let tiers = Tier::available().into_iter().map(Layout::Panels);
    for layout in tiers.chain(Unit::available().map(Layout::Tiles)) {
        products(layout);
        convolutions(layout);
        layers(layout, true);
        layers(layout, false);
    }
    for tier in Tier::available() {
        rows(tier);
    }
}

fn products(layout: Layout) {
    let (n, k, m) = (70, 96, 300);
    let weight = PackedWeight::new(layout, n, k, &noise(n * k)).unwrap();
    let masks = [2, 3].map(|i| PanelMask::new(layout, &BitMask::from_fn(n, k, |r, c| (r + c) % i > 0)));
    let (x, bias, mut y) = (noise(m * k), noise(n), vec![0.0; m * n]);
    let layer = Linear { weight: &weight, bias: Some(&bias), activation: Activation::Gelu, add: false };
    let segments = [(0..5, Some(&masks[0])), (5..200, Some(&masks[1])), (200..m, None)]
        .map(|(rows, mask)| Segment { rows, mask });
    settles(&format!("a masked product, {layout:?}"), NOTHING, || {
        linear(&layer, &x, &segments, &mut y).unwrap();
    });
}

fn convolutions(layout: Layout) {
    let shapes = [(1, 40, 10, 5), (40, 64, 3, 2), (64, 64, 2, 2)];
    let weights =
        shapes.map(|(c, n, k, _)| PackedWeight::from_conv(layout, [n, c, k], &noise(n * c * k)).unwrap());
    let ones = noise(64);
    let layer = |i: usize| {
        let (_, n, kernel, stride) = shapes[i];
        let norm = Norm { gamma: &ones[..n], beta: &ones[..n], eps: 1e-5 };
        Conv { weight: &weights[i], bias: Some(&ones[..n]), kernel, stride, after: After::NormGelu(norm) }
    };
    let (layers, x) = ([0, 1, 2].map(layer), noise(2 * 9_001));
    let frames = layers.iter().fold(9_001, |times, layer| layer.frames(times));
    let mut y = vec![0.0; 2 * frames * 64];
    settles(&format!("a chain of convolutions, {layout:?}"), NOTHING, || {
        conv::chain(&layers, 2, &x, &mut y).unwrap();
    });

    let pack = |_| PackedWeight::from_conv(layout, [32, 32, 8], &noise(32 * 32 * 8)).unwrap();
    let (weights, x) = ([0, 1].map(pack), noise(2 * 300 * 64));
    let (layer, mut y) = (Positional { weights: &weights, bias: None, kernel: 8, gelu: true }, x.clone());
    settles(&format!("a positional convolution, {layout:?}"), NOTHING, || {
        conv::positional(&layer, 2, &x, &mut y).unwrap();
    });
}

/// A layer on a batch of two languages, whose rows differ in length.
fn layers(layout: Layout, pre_norm: bool) {
    let (d, inner, times) = (64, 96, 130);
    let pack = |n, k| PackedWeight::new(layout, n, k, &noise(n * k)).unwrap();
    let (square, up, down) = (pack(d, d), pack(inner, d), pack(d, inner));
    let ones = noise(inner);
    let mask =
        |i| Some(Arc::new(PanelMask::new(layout, &BitMask::from_fn(inner, d, |r, c| (r + c) % i > 0))));
    let masks = [2, 3].map(mask);
    let open = |weight, n: usize| Gated { weight, bias: &ones[..n], masks: &[None, None] };
    let norm = Norm { gamma: &ones[..d], beta: &ones[..d], eps: 1e-5 };
    let layer = Layer {
        qkv: [open(&square, d); 3],
        out: open(&square, d),
        up: Gated { masks: &masks, ..open(&up, inner) },
        down: open(&down, d),
        norms: [norm; 2],
    };
    let (segments, lengths) = ([0..1, 1..3], [times, 7, 100]);
    let stack = Stack { layout, width: d, pre_norm, heads: 2, segments: &segments, lengths: &lengths };
    let (x, mut y, mut space) = (noise(3 * times * d), vec![0.0; 3 * times * d], Space::default());
    settles(&format!("a layer, {layout:?}"), NOTHING, || {
        stack.enter(&x, &mut space).unwrap();
        stack.layer(&layer, &mut space).unwrap();
        stack.leave(Some(&norm), &mut y, &mut space).unwrap();
    });
}

fn rows(tier: Tier) {
    let (times, heads, width) = (200, 2, 24);
    let d = heads * width;
    let (q, mut y, ones, mut room) = (noise(times * d), noise(times * d), noise(d), Aligned::default());
    let a = Attention { qkv: [&q, &q, &q], stride: d, heads, width, lengths: &[170] };
    let norm = Norm { gamma: &ones, beta: &ones, eps: 1e-5 };
    settles(&format!("attention and norms, {tier:?}"), NOTHING, || {
        attention(tier, &a, &mut y).unwrap();
        layer_norm(tier, &norm, true, &mut y).unwrap();
        group_norm_gelu(tier, &norm, &mut y, &mut room).unwrap();
    });
}
