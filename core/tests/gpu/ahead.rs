//! W ⊙ M made beside the product before: the CPU's numbers, and by no luck.
//!
//! The emulated GPU does all work at once, so a wait left out would not show in a result. It knows for each piece of work
//! which other work must be over, and refuses what may run beside another on the same memory.

use crate::{
    allowed,
    device::{again, emulated},
    distance, gpu, mask,
    model::{expected_and_found, whole},
    random,
};
use candle_core::{DType, Device, Tensor};
use s3router_core::{
    kernels::cuda::{
        self, Ahead, DeviceMask,
        plan::{Task, Way},
    },
    linear::dense,
    model::{Backbone, Config},
    precision::Precision,
};

/// What the emulated GPU says where the first stream does not wait for the second, and the other way round.
const UNHEARD: [(&str, &str); 2] =
    [("1", "stream 1 reads what stream 2 wrote"), ("2", "stream 2 writes what stream 1 read")];

#[test]
fn products_of_weights_made_ahead_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let shapes = [(24, 16), (40, 24), (16, 40)];
    let layers = shapes.map(|(n, k)| (random(&[n, k], n as u64), mask(n, k, n)));
    let there =
        layers.each_ref().map(|(w, bits)| (w.to_device(&gpu).unwrap(), DeviceMask::new(bits, &gpu).unwrap()));
    let ahead = Ahead::new(&gpu, there[0].0.dtype(), 40 * 24).unwrap();
    let (mut x, mut found) = (random(&[7, 16], 1), random(&[7, 16], 1).to_device(&gpu).unwrap());
    gpu.synchronize().unwrap();
    // Three layers and two scratches: each scratch is filled again while its last product may still be at work.
    for ((w, bits), (on_gpu, mask)) in layers.iter().zip(&there).cycle().take(9) {
        let masked = (w * dense(bits, &Device::Cpu).unwrap()).unwrap();
        x = (x.matmul(&masked.t().unwrap()).unwrap() * 0.3).unwrap();
        found = (ahead.product(&found, on_gpu, mask).unwrap() * 0.3).unwrap();
    }
    assert!(distance(&found, &x) < 1e-5);
    // What does not fit is refused before anything is asked of the device.
    let other = DeviceMask::new(&mask(8, 24, 0), &gpu).unwrap();
    assert!(ahead.product(&found, &there[0].0, &other).is_err());
    let large = Tensor::zeros((64, 16), there[0].0.dtype(), &gpu).unwrap();
    assert!(ahead.product(&found, &large, &DeviceMask::new(&mask(64, 16, 0), &gpu).unwrap()).is_err());
}

#[test]
fn weights_cast_a_moment_ago_are_waited_for() {
    let Some(gpu) = gpu().filter(|_| whole()) else { return };
    let (w, bits, x) = (random(&[24, 16], 1), mask(24, 16, 1), random(&[7, 16], 2));
    let half = |t: &Tensor| t.to_device(&gpu).unwrap().to_dtype(DType::F16).unwrap();
    let (on_gpu, there) = (half(&w), DeviceMask::new(&bits, &gpu).unwrap());
    let ahead = Ahead::new(&gpu, DType::F16, 24 * 16).unwrap();
    let found = ahead.product(&half(&x), &on_gpu, &there).unwrap();
    let masked = (w * dense(&bits, &Device::Cpu).unwrap()).unwrap();
    assert!(distance(&found, &x.matmul(&masked.t().unwrap()).unwrap()) < 2.0 * allowed(DType::F16));
}

#[test]
fn a_model_of_weights_made_ahead_is_the_cpus() {
    let Some(gpu) = gpu().filter(|_| whole()) else { return };
    let config = Config { hidden: 64, feed_forward: 512, ..Config::tiny() };
    let cpu = Backbone::random(config.clone(), 3, &Device::Cpu).unwrap();
    let packed = Backbone::random_packed(config, 3, &gpu, Precision::F32).unwrap();
    let (expected, found) = expected_and_found(&cpu, &packed, &[3]);
    assert!(distance(&found, &expected) < 2e-5);
    if std::env::var_os("S3ROUTER_EMULATED_PROCESSORS").is_some() {
        let rows = [(expected.dim(0).unwrap(), true)];
        let task = Task { segments: &rows, n: 512, k: 64, bytes: 4, ahead: true };
        assert_eq!(task.choose(&cuda::machine(&gpu).unwrap()), Way::Ahead, "for that it is here");
    }
}

#[test]
fn a_wait_left_out_is_seen() {
    if !emulated() {
        return;
    }
    let chain = "ahead::products_of_weights_made_ahead_are_the_cpus";
    for (stream, says) in UNHEARD {
        let (passed, said) = again(chain, &[("S3ROUTER_EMULATED_DEAF", stream)]);
        assert!(!passed && said.contains(says), "stream {stream} is deaf: {said}");
    }
    if whole() {
        // Its first wait of all.
        let cast = "ahead::weights_cast_a_moment_ago_are_waited_for";
        let (passed, said) = again(cast, &[("S3ROUTER_EMULATED_DEAF", "2")]);
        assert!(!passed && said.contains("stream 2 reads what stream 1 wrote"), "{said}");
        // So slow a GPU that the plan makes weights ahead for so small a model.
        let slow = ("S3ROUTER_EMULATED_PROCESSORS", "1");
        let model = "ahead::a_model_of_weights_made_ahead_is_the_cpus";
        let (passed, said) = again(model, &[slow]);
        assert!(passed, "{said}");
        let (passed, said) = again(model, &[slow, ("S3ROUTER_EMULATED_DEAF", "1")]);
        assert!(!passed && said.contains(UNHEARD[0].1), "{said}");
    }
}
