//! The bf16 tier against the specification: where nothing rounds but the operands, sums must agree as f32's do.

use super::{super::*, assert_close, noise};
use crate::kernels::linear::Linear;
use half::bf16;
use rand::{Rng, SeedableRng, rngs::StdRng};
use s3router_masks::BitMask;
use std::sync::Arc;

/// What bf16 keeps of numbers.
fn rounded(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect()
}

/// `n` numbers that bf16 holds exactly.
fn exact(seed: u64, n: usize) -> Vec<f32> {
    rounded(&noise(seed, n))
}

fn random_mask(seed: u64, rows: usize, cols: usize) -> BitMask {
    let mut rng = StdRng::seed_from_u64(seed);
    BitMask::from_fn(rows, cols, |_, _| rng.random_bool(0.9))
}

/// The layout of every unit this machine has; without one these tests have nothing to hold.
fn layouts() -> Vec<Layout> {
    let layouts: Vec<_> = Unit::available().map(Layout::Tiles).collect();
    if layouts.is_empty() {
        eprintln!("no bf16 on this CPU: its tier was not tested");
    }
    layouts
}

/// Of one bf16 among numbers near 1.
const BF16: f32 = 1.0 / 256.0;

fn product(layout: Layout, m: usize, n: usize, k: usize, mask: Option<&BitMask>) {
    let (x, w, b) = (exact(1, m * k), exact(2, n * k), noise(3, n));
    let weight = PackedWeight::new(layout, n, k, &w).unwrap();
    assert_eq!(weight.layout(), layout);
    let panels = mask.map(|m| PanelMask::new(layout, m));
    let segments = [Segment { rows: 0..m, mask: panels.as_ref() }];
    let layer = Linear { weight: &weight, bias: Some(&b), activation: Activation::None, add: false };
    let mut y = vec![f32::NAN; m * n];
    linear(&layer, &x, &segments, &mut y).unwrap();
    let sums = scalar::linear(&x, &w, mask, Some(&b), k);
    assert_close(&format!("{m}x{n}x{k}"), &y, &sums, 5e-5);

    let residual = noise(4, m * n);
    let (mut y, layer) = (residual.clone(), Linear { activation: Activation::Gelu, add: true, ..layer });
    linear(&layer, &x, &segments, &mut y).unwrap();
    let expected: Vec<f32> = sums.iter().zip(&residual).map(|(s, r)| scalar::gelu(s + r)).collect();
    assert_close("the residual, then gelu", &y, &expected, 3e-4);
}

#[test]
fn ragged_products_equal_the_specification_under_every_mask() {
    for (m, n, k) in
        [(1, 1, 1), (1, 40, 300), (7, 33, 17), (16, 64, 32), (17, 32, 2049), (45, 70, 1100), (600, 48, 96)]
    {
        for layout in layouts() {
            product(layout, m, n, k, None);
            for mask in [BitMask::ones(n, k), BitMask::from_fn(n, k, |_, _| false), random_mask(4, n, k)] {
                product(layout, m, n, k, Some(&mask));
            }
        }
    }
}

#[test]
fn every_unit_adds_the_same_products() {
    let (m, n, k) = (70, 96, 1100);
    let (x, w) = (noise(1, m * k), noise(2, n * k));
    let sums = scalar::linear(&rounded(&x), &rounded(&w), None, None, k);
    for layout in layouts() {
        let weight = PackedWeight::new(layout, n, k, &w).unwrap();
        let layer = Linear { weight: &weight, bias: None, activation: Activation::None, add: false };
        let mut y = vec![f32::NAN; m * n];
        linear(&layer, &x, &[Segment { rows: 0..m, mask: None }], &mut y).unwrap();
        assert_close(layout.name(), &y, &sums, 1e-4);
    }
}

#[test]
fn packing_rounds_once_and_re_ordering_loses_nothing() {
    layouts().into_iter().for_each(packing_in);
}

fn packing_in(layout: Layout) {
    for (n, k) in [(1, 1), (16, 32), (33, 65), (70, 31), (40, 300)] {
        let (w, mask) = (noise(1, n * k), random_mask(2, n, k));
        assert_eq!(PackedWeight::new(layout, n, k, &w).unwrap().unpack(), rounded(&w));
        assert_eq!(PanelMask::new(layout, &mask).to_bits(), mask);
        let w = exact(3, n * 40 * 3);
        let conv = PackedWeight::from_conv(layout, [n, 40, 3], &w).unwrap();
        assert_eq!((conv.layout(), conv.unpack_conv(3)), (layout, w));
    }
}

#[test]
fn each_segment_sees_its_own_mask_and_not_its_neighbours() {
    layouts().into_iter().for_each(segments_in);
}

fn segments_in(layout: Layout) {
    let (n, k) = (70, 130);
    let weight = PackedWeight::new(layout, n, k, &noise(2, n * k)).unwrap();
    let masks = [random_mask(1, n, k), random_mask(2, n, k)].map(|m| PanelMask::new(layout, &m));
    let segments = [(0..5, Some(&masks[0])), (5..5, None), (5..300, Some(&masks[1])), (300..311, None)]
        .map(|(rows, mask)| Segment { rows, mask });
    let layer = Linear { weight: &weight, bias: None, activation: Activation::Gelu, add: false };
    let x = noise(3, 311 * k);
    let mut together = vec![0.0; 311 * n];
    linear(&layer, &x, &segments, &mut together).unwrap();
    for Segment { rows, mask } in segments {
        let mut alone = vec![0.0; rows.len() * n];
        let whole = [Segment { rows: 0..rows.len(), mask }];
        linear(&layer, &x[rows.start * k..rows.end * k], &whole, &mut alone).unwrap();
        assert_eq!(alone, together[rows.start * n..rows.end * n], "rows {rows:?}");
    }
}

#[test]
fn convolutions_equal_the_specification_and_their_chain_cut_anywhere() {
    layouts().into_iter().for_each(convolutions_in);
}

fn convolutions_in(layout: Layout) {
    let shapes = [(1, 40, 10, 5), (40, 33, 3, 2), (33, 64, 2, 2)];
    let parts: Vec<_> = shapes
        .iter()
        .map(|&(c, n, k, _)| (exact(1, n * c * k), noise(2, n), noise(3, n), noise(4, n)))
        .collect();
    let weights: Vec<_> = shapes
        .iter()
        .zip(&parts)
        .map(|(&(c, n, k, _), (w, ..))| PackedWeight::from_conv(layout, [n, c, k], w).unwrap())
        .collect();
    let layers: Vec<_> = shapes
        .iter()
        .zip(weights.iter().zip(&parts))
        .map(|(&(.., kernel, stride), (weight, (_, bias, gamma, beta)))| Conv {
            weight,
            bias: Some(bias),
            kernel,
            stride,
            after: After::NormGelu(Norm { gamma, beta, eps: 1e-5 }),
        })
        .collect();
    for times in [3001, 400, 64] {
        let x = noise(5, 2 * times);
        let mut y = x.clone();
        for (&(c, n, k, stride), (w, b, gamma, beta)) in shapes.iter().zip(&parts) {
            let one = y.len() / 2;
            let conv = |x: &[f32]| scalar::conv(&rounded_unless(c == 1, x), w, b, [n, c, k], stride);
            let sums = [conv(&y[..one]), conv(&y[one..])].concat();
            y = scalar::layer_norm(&sums, gamma, beta, 1e-5).into_iter().map(scalar::gelu).collect();
        }
        let mut got = vec![f32::NAN; y.len()];
        conv::chain(&layers, 2, &x, &mut got).unwrap();
        assert_close("chain", &got, &y, 4.0 * BF16);
        let mut alone = vec![f32::NAN; y.len() / 2];
        conv::chain(&layers, 1, &x[times..], &mut alone).unwrap();
        assert_eq!(alone, got[y.len() / 2..]);
    }
}

fn rounded_unless(whole: bool, x: &[f32]) -> Vec<f32> {
    if whole { x.to_vec() } else { rounded(x) }
}

#[test]
fn the_positional_convolution_equals_the_specification() {
    layouts().into_iter().for_each(positional_in);
}

fn positional_in(layout: Layout) {
    for (times, groups, width, kernel) in [(1, 2, 32, 4), (50, 3, 40, 8), (33, 2, 64, 128), (600, 1, 32, 7)] {
        let c = groups * width;
        let (x, w, b) = (exact(1, 2 * times * c), exact(2, c * width * kernel), noise(3, c));
        let pack = |w| PackedWeight::from_conv(layout, [width, width, kernel], w).unwrap();
        let weights: Vec<_> = w.chunks_exact(width * width * kernel).map(pack).collect();
        let layer = conv::Positional { weights: &weights, bias: Some(&b), kernel, gelu: true };
        let mut y = vec![f32::NAN; x.len()];
        conv::positional(&layer, 2, &x, &mut y).unwrap();
        let plain = |x| scalar::positional(x, &w, &b, groups, kernel);
        let sums = [plain(&x[..times * c]), plain(&x[times * c..])].concat();
        assert_close("positional", &y, &sums.into_iter().map(scalar::gelu).collect::<Vec<_>>(), 3e-4);
    }
}

/// One layer's weights, as the specification takes them.
struct Plain {
    square: Vec<Vec<f32>>,
    up: Vec<f32>,
    down: Vec<f32>,
    bias: Vec<f32>,
    norms: [[Vec<f32>; 2]; 2],
}

#[test]
fn a_stack_equals_its_layers_in_the_specification_and_each_utterance_alone() {
    for tier in Tier::available() {
        stack_in(Layout::Panels(tier), <[f32]>::to_vec, 1e-4);
    }
    for layout in layouts() {
        stack_in(layout, rounded, 6.0 * BF16);
    }
}

/// The stack in one layout against the specification, whose products read their rows through `read`.
fn stack_in(layout: Layout, read: fn(&[f32]) -> Vec<f32>, within: f32) {
    let (d, inner, heads) = (64, 96, 2);
    for (pre_norm, times, lengths) in [(true, 21, [21, 9]), (false, 40, [40, 33]), (true, 530, [0, 530])] {
        let plain = Plain {
            square: (0..4).map(|i| scaled(i, d, d)).collect(),
            up: scaled(5, inner, d),
            down: scaled(6, d, inner),
            bias: noise(7, inner),
            norms: [[noise(8, d), noise(9, d)], [noise(10, d), noise(11, d)]],
        };
        let pack = |w: &[f32], n: usize, k: usize| PackedWeight::new(layout, n, k, w).unwrap();
        let squares: Vec<_> = plain.square.iter().map(|w| pack(w, d, d)).collect();
        let (up, down) = (pack(&plain.up, inner, d), pack(&plain.down, d, inner));
        let masks = [random_mask(1, inner, d), random_mask(2, inner, d)];
        let panels = masks.each_ref().map(|m| Some(Arc::new(PanelMask::new(layout, m))));
        let open = |weight, n: usize| Gated { weight, bias: &plain.bias[..n], masks: &[None, None] };
        let norm = |i: usize| Norm { gamma: &plain.norms[i][0], beta: &plain.norms[i][1], eps: 1e-5 };
        let layer = Layer {
            qkv: [0, 1, 2].map(|i| open(&squares[i], d)),
            out: open(&squares[3], d),
            up: Gated { masks: &panels, ..open(&up, inner) },
            down: open(&down, d),
            norms: [norm(0), norm(1)],
        };
        let segments = [0..1, 1..2];
        let whole = Stack { layout, width: d, pre_norm, heads, segments: &segments, lengths: &lengths };
        let x = noise(12, 2 * times * d);
        let mut y = vec![f32::NAN; x.len()];
        stack_of(&whole, &layer, &x, &mut y);
        for (b, &keys) in lengths.iter().enumerate() {
            let rows = b * times * d..(b * times + keys) * d;
            let x = &x[rows.clone()];
            let expected = plain.layer(x, pre_norm, heads, keys, &masks[b], read);
            assert_close("layer", &y[rows.clone()], &expected, within);
        }
        // Alone, and longer than its own frames: the same bits.
        let (b, keys) = (1, lengths[1]);
        let mut one = x[b * times * d..(b * times + keys) * d].to_vec();
        one.resize((keys + 19) * d, 7.0);
        let up = Gated { masks: &panels[b..=b], ..open(&up, inner) };
        let open = |weight, n: usize| Gated { weight, bias: &plain.bias[..n], masks: &[None] };
        let layer = Layer {
            qkv: [0, 1, 2].map(|i| open(&squares[i], d)),
            out: open(&squares[3], d),
            up,
            down: open(&down, d),
            norms: [norm(0), norm(1)],
        };
        let alone = Stack { segments: &segments[..1], lengths: &lengths[1..], ..whole };
        let mut z = vec![f32::NAN; one.len()];
        stack_of(&alone, &layer, &one, &mut z);
        assert_eq!(z[..keys * d], y[b * times * d..(b * times + keys) * d]);
    }
}

fn stack_of(stack: &Stack<'_>, layer: &Layer<'_>, x: &[f32], y: &mut [f32]) {
    let mut space = Space::default();
    stack.enter(x, &mut space).unwrap();
    stack.layer(layer, &mut space).unwrap();
    stack.leave(None, y, &mut space).unwrap();
}

/// A weight `(n, k)` that keeps the size of what it multiplies.
fn scaled(seed: u64, n: usize, k: usize) -> Vec<f32> {
    rounded(&noise(seed, n * k).iter().map(|w| w * (3.0 / k as f32).sqrt()).collect::<Vec<_>>())
}

impl Plain {
    /// x `(T, D)` through the layer, seen through `read` where the kernels round.
    fn layer(
        &self,
        x: &[f32],
        pre_norm: bool,
        heads: usize,
        keys: usize,
        mask: &BitMask,
        read: fn(&[f32]) -> Vec<f32>,
    ) -> Vec<f32> {
        let d = self.norms[0][0].len();
        let norm = |i: usize, x: &[f32]| scalar::layer_norm(x, &self.norms[i][0], &self.norms[i][1], 1e-5);
        let times = |x: &[f32], w: &[f32], mask, k: usize| {
            scalar::linear(&read(x), w, mask, Some(&self.bias[..w.len() / k]), k)
        };
        let plus = |x: &[f32], y: Vec<f32>| x.iter().zip(y).map(|(x, y)| x + y).collect::<Vec<_>>();
        let h = if pre_norm { norm(0, x) } else { x.to_vec() };
        let [q, k, v] = [0, 1, 2].map(|i| read(&times(&h, &self.square[i], None, d)));
        let seen = scalar::attention(&q, &k, &v, heads, d / heads, keys);
        let mut x = plus(x, times(&seen, &self.square[3], None, d));
        let h = norm(usize::from(pre_norm), &x);
        if !pre_norm {
            x.clone_from(&h);
        }
        let inner: Vec<f32> = times(&h, &self.up, Some(mask), d).into_iter().map(scalar::gelu).collect();
        let x = plus(&x, times(&inner, &self.down, None, self.bias.len()));
        if pre_norm { x } else { norm(1, &x) }
    }
}
