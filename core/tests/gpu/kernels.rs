use crate::{allowed, distance, gpu, mask, random};
use candle_core::{DType, Device, Tensor};
use s3router_core::{
    kernels::{Activation, cuda},
    linear::dense,
};

/// What this GPU multiplies.
fn types(gpu: &Device) -> Vec<DType> {
    let bf16 = cuda::machine(gpu).unwrap().fuses.then_some(DType::BF16);
    [DType::F32, DType::F16].into_iter().chain(bf16).collect()
}

#[test]
fn an_expanded_weight_is_the_masked_one() {
    let Some(gpu) = gpu() else { return };
    for (rows, cols) in [(8, 16), (5, 21)] {
        let (weight, bits) = (random(&[rows, cols], 1), mask(rows, cols, 0));
        let on_gpu = cuda::DeviceMask::new(&bits, &gpu).unwrap();
        assert_eq!(on_gpu.to_bits().unwrap(), bits);
        for dtype in types(&gpu) {
            let weight = weight.to_dtype(dtype).unwrap();
            let expected =
                (weight.to_dtype(DType::F32).unwrap() * dense(&bits, &Device::Cpu).unwrap()).unwrap();
            let found = cuda::expand(&weight.to_device(&gpu).unwrap(), &on_gpu).unwrap();
            assert_eq!(distance(&found, &expected), 0.0, "{dtype:?}");
        }
    }
}

#[test]
fn a_mask_of_another_shape_is_refused() {
    let Some(gpu) = gpu() else { return };
    let weight = random(&[8, 16], 1).to_device(&gpu).unwrap();
    let other = cuda::DeviceMask::new(&mask(8, 24, 0), &gpu).unwrap();
    assert!(cuda::expand(&weight, &other).is_err());
    let (x, bias) = (random(&[4, 16], 2), random(&[8], 3));
    let [x, bias] = [x, bias].map(|t| t.to_device(&gpu).unwrap());
    assert!(cuda::fused(&x, &weight, &bias, Activation::None, &[(0..4, Some(&other))], 1).is_err());
}

/// Segments of a batch, each row by row on the CPU.
fn expected(x: &Tensor, w: &Tensor, bias: &Tensor, gelu: bool, masks: &[(usize, Option<usize>)]) -> Tensor {
    let mut parts = Vec::new();
    let (mut at, (n, k)) = (0, w.dims2().unwrap());
    for (rows, seed) in masks {
        let masked = match seed {
            Some(seed) => (w * dense(&mask(n, k, *seed), &Device::Cpu).unwrap()).unwrap(),
            None => w.clone(),
        };
        let x = x.narrow(0, at, *rows).unwrap();
        parts.push(x.broadcast_matmul(&masked.t().unwrap()).unwrap().broadcast_add(bias).unwrap());
        at += rows;
    }
    let y = Tensor::cat(&parts, 0).unwrap();
    if gelu { y.gelu_erf().unwrap() } else { y }
}

#[test]
fn the_fused_kernel_equals_the_cpu_language_by_language() {
    let Some(gpu) = gpu() else { return };
    let (b, t, n, k) = (6, 13, 66, 96);
    let segments = [(2, Some(0)), (1, None), (3, Some(2))];
    if !cuda::machine(&gpu).unwrap().fuses {
        return println!("not run: the fused kernel needs compute capability 8.0");
    }
    for dtype in [DType::F16, DType::BF16] {
        let rounded = |t: Tensor| t.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
        let (x, w, bias) = (rounded(random(&[b, t, k], 4)), rounded(random(&[n, k], 5)), random(&[n], 6));
        let masks: Vec<_> = segments
            .iter()
            .map(|(_, seed)| seed.map(|s| cuda::DeviceMask::new(&mask(n, k, s), &gpu).unwrap()))
            .collect();
        let mut at = 0;
        let rows = segments.iter().zip(&masks).map(|((rows, _), mask)| {
            at += rows;
            (at - rows..at, mask.as_ref())
        });
        let rows: Vec<_> = rows.collect();
        let halved = |t: &Tensor| t.to_device(&gpu).unwrap().to_dtype(dtype).unwrap();
        let flat = halved(&x).reshape((b * t, k)).unwrap();
        for (gelu, then) in [(false, Activation::None), (true, Activation::Gelu)] {
            let found =
                cuda::fused(&flat, &halved(&w), &bias.to_device(&gpu).unwrap(), then, &rows, t).unwrap();
            let expected = expected(&x, &w, &bias, gelu, &segments);
            let found = found.reshape((b, t, n)).unwrap();
            let distance = distance(&found, &expected);
            assert!(distance < allowed(dtype), "{dtype:?}: {distance}");
        }
    }
}

#[test]
fn a_layer_equals_the_cpu_whichever_way_it_goes() {
    let Some(gpu) = gpu() else { return };
    let (b, t, n, k) = (3, 5, 20, 24);
    let (x, w, bias) = (random(&[b, t, k], 7), random(&[n, k], 8), random(&[n], 9));
    let on_gpu = cuda::DeviceMask::new(&mask(n, k, 1), &gpu).unwrap();
    let rows = [(0..1, Some(&on_gpu)), (1..3, None)];
    let expected = expected(&x, &w, &bias, true, &[(1, Some(1)), (2, None)]);
    for dtype in types(&gpu) {
        let [x, w, bias] = [&x, &w, &bias].map(|t| t.to_device(&gpu).unwrap());
        let w = w.to_dtype(dtype).unwrap();
        let found = cuda::linear(&x, &w, &bias, Activation::Gelu, &rows, None).unwrap();
        let distance = distance(&found, &expected);
        assert!(distance < 2.0 * allowed(dtype), "{dtype:?}: {distance}");
    }
}

#[test]
fn norms_and_softmax_equal_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let (x, gamma, beta) = (random(&[3, 4, 40], 1), random(&[40], 2), random(&[40], 3));
    let expected = candle_nn::ops::layer_norm_slow(&x, &gamma, &beta, 1e-5).unwrap();
    let [x, gamma, beta] = [x, gamma, beta].map(|t| t.to_device(&gpu).unwrap());
    for dtype in types(&gpu) {
        let found = cuda::layer_norm(&x, [&gamma, &beta], 1e-5, dtype, Activation::None).unwrap();
        assert!(distance(&found, &expected) < allowed(dtype));
    }

    let (q, k) = (random(&[2, 3, 7, 16], 4), random(&[2, 3, 7, 16], 5));
    let scores = q.matmul(&k.t().unwrap()).unwrap();
    let hide: Vec<f32> = (0..2 * 7).map(|i| if i < 7 || i < 11 { 0.0 } else { f32::NEG_INFINITY }).collect();
    let hide = Tensor::from_vec(hide, (2, 1, 1, 7), &Device::Cpu).unwrap();
    let expected = (&scores * 0.25).unwrap().broadcast_add(&hide).unwrap();
    let expected = candle_nn::ops::softmax(&expected, 3).unwrap();
    let [q, k] = [q, k].map(|t| t.to_device(&gpu).unwrap());
    assert!(distance(&cuda::scores(&q, &k).unwrap(), &scores) < allowed(DType::F32));
    for dtype in types(&gpu) {
        let found = cuda::softmax(&cuda::scores(&q, &k).unwrap(), &[7, 4], 0.25, dtype).unwrap();
        assert!(distance(&found, &expected) < allowed(dtype), "{dtype:?}");
    }
}
