use crate::{distance, gpu, random};
use candle_core::{Device, Tensor, Var};
use s3router_core::learn::{
    adam::{Adam, Gradients},
    topk::{self, Estimator},
};

#[test]
fn the_mask_of_the_largest_is_the_cpus_ties_included() {
    let Some(gpu) = gpu() else { return };
    let spread = random(&[700], 1);
    // A seventh of these is equal, and sure to straddle some limit.
    let tied = (random(&[700], 2) * 3.5).unwrap().round().unwrap();
    for scores in [spread, tied] {
        for density in [0.0, 0.08, 0.3, 0.5, 0.92, 1.0] {
            let of =
                |s: &Tensor| topk::mask(s, density, Estimator::Straight).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(of(&scores.to_device(&gpu).unwrap()), of(&scores), "density {density}");
        }
    }
    let none = random(&[4], 1).to_dtype(candle_core::DType::F16).unwrap().to_device(&gpu).unwrap();
    assert!(topk::mask(&none, 0.5, Estimator::Straight).is_err(), "f32 only");
}

#[test]
fn adam_moves_as_on_the_cpu_also_from_a_saved_state() {
    let Some(gpu) = gpu() else { return };
    let (start, target) = (random(&[30], 3), random(&[30], 4));
    let two_updates = |device: &Device| {
        let var = Var::from_tensor(&start.to_device(device).unwrap()).unwrap();
        let target = target.to_device(device).unwrap();
        let mut adam = Adam::new([("x".to_owned(), var.clone(), 0.1)]);
        let mut norms = Vec::new();
        for _ in 0..2 {
            let loss = (var.as_tensor() - &target).unwrap().sqr().unwrap().sum_all().unwrap();
            let mut sum = Gradients::default();
            adam.accumulate(&mut sum, loss.backward().unwrap()).unwrap();
            norms.push(adam.update(sum, 0.5, Some(1.0), 1.0).unwrap());
            let saved = adam.state().unwrap().into_iter().collect();
            adam = Adam::new([("x".to_owned(), var.clone(), 0.1)]);
            adam.restore(&saved).unwrap();
        }
        (var.as_detached_tensor(), norms, adam.state().unwrap())
    };
    let ((x, norms, state), (expected, expected_norms, expected_state)) =
        (two_updates(&gpu), two_updates(&Device::Cpu));
    assert!(distance(&x, &expected) < 1e-6);
    for (found, expected) in norms.iter().zip(&expected_norms) {
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    }
    for ((name, found), (_, expected)) in state.iter().zip(&expected_state) {
        assert!(distance(found, &expected.to_dtype(candle_core::DType::F32).unwrap()) < 1e-6, "{name}");
    }
}
