//! The masked product.

use super::{super::*, assert_close, noise};
use crate::kernels::linear::Linear;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use s3router_masks::BitMask;

fn random_mask(seed: u64, rows: usize, cols: usize) -> BitMask {
    let mut rng = StdRng::seed_from_u64(seed);
    BitMask::from_fn(rows, cols, |_, _| rng.random_bool(0.9))
}

/// One masked product on one tier against the specification.
fn check_linear(tier: Tier, m: usize, n: usize, k: usize, mask: Option<&BitMask>) {
    let (x, w, b) = (noise(1, m * k), noise(2, n * k), noise(3, n));
    let weight = PackedWeight::new(tier, n, k, &w).unwrap();
    let panel_mask = mask.map(|m| PanelMask::new(tier, m));
    let mut y = vec![f32::NAN; m * n];
    let layer = Linear { weight: &weight, bias: Some(&b), activation: Activation::None, add: false };
    linear(&layer, &x, &[Segment { rows: 0..m, mask: panel_mask.as_ref() }], &mut y).unwrap();
    let what = format!("{} {m}x{n}x{k}", tier.name());
    assert_close(&what, &y, &scalar::linear(&x, &w, mask, Some(&b), k), 3e-5);
}

#[test]
fn ragged_products_equal_the_specification_under_every_mask() {
    for tier in Tier::available() {
        for (m, n, k) in [(1, 1, 1), (1, 40, 300), (7, 33, 17), (13, 64, 257), (100, 48, 513)] {
            check_linear(tier, m, n, k, None);
            for mask in [BitMask::ones(n, k), BitMask::from_fn(n, k, |_, _| false), random_mask(4, n, k)] {
                check_linear(tier, m, n, k, Some(&mask));
            }
        }
        check_linear(tier, 499, 70, 130, Some(&random_mask(5, 70, 130)));
    }
}

#[test]
fn an_all_ones_mask_equals_open_bit_for_bit() {
    let (m, n, k) = (31, 50, 700);
    for tier in Tier::available() {
        let (x, weight) = (noise(1, m * k), PackedWeight::new(tier, n, k, &noise(2, n * k)).unwrap());
        let ones = PanelMask::new(tier, &BitMask::ones(n, k));
        let run = |mask| {
            let mut y = vec![0.0; m * n];
            let layer = Linear { weight: &weight, bias: None, activation: Activation::None, add: false };
            linear(&layer, &x, &[Segment { rows: 0..m, mask }], &mut y).unwrap();
            y
        };
        assert_eq!(run(None), run(Some(&ones)));
    }
}

#[test]
fn each_segment_sees_its_own_mask_and_not_its_neighbours() {
    let (n, k) = (70, 130);
    for tier in Tier::available() {
        let weight = PackedWeight::new(tier, n, k, &noise(2, n * k)).unwrap();
        let masks = [random_mask(1, n, k), random_mask(2, n, k)].map(|m| PanelMask::new(tier, &m));
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
            assert_eq!(alone, together[rows.start * n..rows.end * n], "{tier:?} rows {rows:?}");
        }
    }
}

#[test]
fn adding_keeps_the_residual_and_gelu_comes_last() {
    let (m, n, k) = (9, 21, 270);
    for tier in Tier::available() {
        let (x, w, b, residual) = (noise(1, m * k), noise(2, n * k), noise(3, n), noise(4, m * n));
        let weight = PackedWeight::new(tier, n, k, &w).unwrap();
        let layer = Linear { weight: &weight, bias: Some(&b), activation: Activation::Gelu, add: true };
        let mut y = residual.clone();
        linear(&layer, &x, &[Segment { rows: 0..m, mask: None }], &mut y).unwrap();
        let sums = scalar::linear(&x, &w, None, Some(&b), k);
        let expected: Vec<f32> = sums.iter().zip(&residual).map(|(s, r)| scalar::gelu(s + r)).collect();
        assert_close(tier.name(), &y, &expected, 3e-5);
    }
}

#[test]
fn a_misfit_is_an_error_with_both_numbers() {
    let weight = PackedWeight::new(Tier::best(), 3, 4, &[0.0; 12]).unwrap();
    let layer = Linear { weight: &weight, bias: None, activation: Activation::None, add: false };
    let all = [Segment { rows: 0..2, mask: None }];
    let error = linear(&layer, &[0.0; 7], &all, &mut [0.0; 6]).unwrap_err().to_string();
    assert!(error.contains("(3, 4)") && error.contains('7'), "{error}");
    let mask = PanelMask::new(Tier::best(), &BitMask::ones(3, 5));
    let masked = [Segment { rows: 0..2, mask: Some(&mask) }];
    assert!(linear(&layer, &[0.0; 8], &masked, &mut [0.0; 6]).is_err());
    let gap = [Segment { rows: 0..1, mask: None }, Segment { rows: 2..3, mask: None }];
    assert!(linear(&layer, &[0.0; 12], &gap, &mut [0.0; 9]).is_err());
    assert!(PackedWeight::new(Tier::best(), 3, 4, &[0.0; 11]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn small_products_equal_the_specification(m in 1usize..20, n in 1usize..40, k in 1usize..50, seed: u64) {
        for tier in Tier::available() {
            check_linear(tier, m, n, k, Some(&random_mask(seed, n, k)));
        }
    }

    #[test]
    fn packing_and_re_ordering_lose_nothing(n in 1usize..70, k in 1usize..70, seed: u64) {
        let (w, mask) = (noise(seed, n * k), random_mask(seed, n, k));
        for tier in Tier::available() {
            prop_assert_eq!(PackedWeight::new(tier, n, k, &w).unwrap().unpack(), w.clone());
            prop_assert_eq!(PackedWeight::from_conv(tier, [n, 1, k], &w).unwrap().unpack_conv(k), w.clone());
            prop_assert_eq!(PackedWeight::from_conv(tier, [1, n, k], &w).unwrap().unpack_conv(k), w.clone());
            prop_assert_eq!(PanelMask::new(tier, &mask).to_bits(), mask.clone());
        }
    }
}
