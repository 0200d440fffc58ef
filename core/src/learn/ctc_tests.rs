use super::*;
use crate::learn::seeds::stream;
use candle_core::Var;
use rand::Rng;

fn random(shape: (usize, usize, usize), seed: u64) -> Tensor {
    let mut rng = stream(seed, "logits", 0);
    let (b, t, v) = shape;
    let values: Vec<f32> = (0..b * t * v).map(|_| rng.random_range(-3f32..3.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

fn losses(logits: &Tensor, labels: &[&[u32]], frames: &[usize]) -> Vec<f32> {
    let targets = Targets { labels: labels.iter().map(|l| l.to_vec()).collect(), frames: frames.to_vec() };
    loss(logits, targets, false).expect("a loss").to_vec1().expect("f32")
}

/// Every path of `frames` symbols that collapses to `labels`, summed: the definition.
fn by_definition(logits: &Tensor, labels: &[u32]) -> f64 {
    let (_, t, v) = logits.dims3().expect("three dims");
    let log_y = log_softmax(&logits.flatten_all().and_then(|l| l.to_vec1()).expect("f32"), v);
    let mut p = 0.0;
    for code in 0..v.pow(t as u32) {
        let path: Vec<u32> = (0..t).map(|i| (code / v.pow(i as u32) % v) as u32).collect();
        let mut collapsed = path.clone();
        collapsed.dedup();
        collapsed.retain(|&k| k != BLANK);
        if collapsed == labels {
            p += path.iter().enumerate().map(|(i, &k)| log_y[i * v + k as usize]).sum::<f64>().exp();
        }
    }
    -p.ln()
}

#[test]
fn the_loss_is_the_sum_over_paths() {
    let logits = random((1, 5, 4), 1);
    for labels in [&[][..], &[1], &[1, 2], &[2, 2], &[3, 1, 3], &[1, 1, 2], &[1, 2, 3, 1, 2], &[1, 1, 1]] {
        let (ours, expected) = (losses(&logits, &[labels], &[5])[0], by_definition(&logits, labels));
        assert!((f64::from(ours) - expected).abs() < 1e-5, "{labels:?}: {ours} != {expected}");
    }
}

#[test]
fn too_few_frames_are_infinite_or_nothing() -> crate::Result<()> {
    let logits = Var::from_tensor(&random((3, 3, 4), 2))?;
    let targets = Targets { labels: vec![vec![1, 2, 3, 1], vec![1, 1, 2], vec![1]], frames: vec![3, 3, 0] };
    let harsh = loss(&logits, targets.clone(), false)?.to_vec1::<f32>()?;
    assert!(harsh.iter().all(|l| *l == f32::INFINITY));
    let kind = loss(&logits, targets, true)?;
    assert_eq!(kind.to_vec1::<f32>()?, [0.0; 3]);
    let gradient =
        kind.sum_all()?.backward()?.get(&logits).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
    assert!(gradient.iter().all(|g| *g == 0.0));
    Ok(())
}

#[test]
fn padding_changes_nothing_and_gets_no_gradient() -> crate::Result<()> {
    let long = Var::from_tensor(&random((1, 9, 5), 3))?;
    let short = Var::from_tensor(&long.narrow(1, 0, 6)?.contiguous()?)?;
    let run = |x: &Var| -> crate::Result<(f32, Tensor)> {
        let l = loss(x, Targets { labels: vec![vec![1, 4, 4]], frames: vec![6] }, true)?.sum_all()?;
        Ok((l.to_scalar()?, l.backward()?.get(x).expect("a gradient").clone()))
    };
    let ((a, ga), (b, gb)) = (run(&long)?, run(&short)?);
    assert_eq!(a, b);
    assert_eq!(ga.narrow(1, 0, 6)?.to_vec3::<f32>()?, gb.to_vec3::<f32>()?);
    assert_eq!(ga.narrow(1, 6, 3)?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    Ok(())
}

#[test]
fn the_gradient_is_the_slope() -> crate::Result<()> {
    let base = random((2, 7, 4), 4);
    let (labels, frames): (&[&[u32]], _) = (&[&[1, 1, 3], &[2]], &[7, 5]);
    let targets = Targets { labels: labels.iter().map(|l| l.to_vec()).collect(), frames: frames.to_vec() };
    let x = Var::from_tensor(&base)?;
    let weights = Tensor::new(&[1f32, -0.5], &Device::Cpu)?;
    let grads = (loss(&x, targets, true)? * weights)?.sum_all()?.backward()?;
    let gradient = grads.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
    let values = base.flatten_all()?.to_vec1::<f32>()?;
    for i in 0..values.len() {
        let at = |step: f32| -> crate::Result<f64> {
            let mut moved = values.clone();
            moved[i] += step;
            let l = losses(&Tensor::from_vec(moved, (2, 7, 4), &Device::Cpu)?, labels, frames);
            Ok(f64::from(l[0]) - 0.5 * f64::from(l[1]))
        };
        let slope = (at(1e-2)? - at(-1e-2)?) / 2e-2;
        assert!((slope - f64::from(gradient[i])).abs() < 1e-3, "{i}: {slope} != {}", gradient[i]);
    }
    Ok(())
}

#[test]
fn values_and_gradients_are_torchs() -> crate::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/train/ctc.safetensors");
    let fixture = candle_core::safetensors::load(path, &Device::Cpu)?;
    let logits = Var::from_tensor(&fixture["logits"])?;
    let numbers =
        |name: &str| -> crate::Result<Vec<u32>> { Ok(fixture[name].to_dtype(DType::U32)?.to_vec1()?) };
    let sizes = numbers("label_lengths")?;
    let mut flat = numbers("labels")?.into_iter();
    let labels = sizes.iter().map(|&n| flat.by_ref().take(n as usize).collect()).collect();
    let frames = numbers("frames")?.iter().map(|&n| n as usize).collect();
    let losses = loss(&logits, Targets { labels, frames }, true)?;
    let (ours, theirs) = (losses.to_vec1::<f32>()?, fixture["losses"].to_vec1::<f32>()?);
    for (row, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "row {row}: {a} != {b}");
    }
    let grads = losses.sum_all()?.backward()?;
    let worst = (grads.get(&logits).expect("a gradient") - &fixture["gradient"])?.abs()?.max_all()?;
    assert!(worst.to_scalar::<f32>()? < 2e-5, "gradients differ by {worst}");
    Ok(())
}

#[test]
fn labels_outside_the_vocabulary_are_named() {
    let refused = |labels: Vec<u32>, frames| {
        loss(&random((1, 3, 4), 1), Targets { labels: vec![labels], frames: vec![frames] }, true).err()
    };
    assert!(refused(vec![4], 3).expect("an error").to_string().contains("label 4"));
    assert!(refused(vec![BLANK], 3).is_some());
    assert!(refused(vec![1], 4).expect("an error").to_string().contains("4 frames"));
}
