//! Matrix products of learning, where both sides change from step to step: nothing is packed ahead.
//!
//! `C = A · B` of matrices in any orientation, which covers the three products of a linear layer:
//! forward `X · Wᵀ`, backward `G · W` and `Gᵀ · X`. f32 is the `gemm` crate's AVX-512; bf16 rounds
//! both sides and sums in f32 on tiles (`bf16`), as PyTorch's autocast does, at twice the speed with AVX-512 BF16 and about
//! seven times with AMX.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod bf16;
#[cfg(target_arch = "x86_64")]
mod pack;

#[cfg(target_arch = "x86_64")]
use super::Unit;
use super::misfit;
use crate::{Precision, Result};
use rayon::prelude::*;

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// The same row for all: a bias.
    Row(&'a [f32]),
    /// What C holds.
    Sum,
}

/// A matrix in memory: element `(i, j)` is `data[i · down + j · across]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    down: usize,
    across: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major `(rows, cols)`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::apart(data, rows, cols, cols)
    }

    /// Rows `stride` floats apart.
    pub fn apart(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, down: stride, across: 1 }
    }

    /// The transpose, by exchanging the strides.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, down: self.across, across: self.down, ..self }
    }

    fn check(&self) -> Result<()> {
        let empty = self.rows == 0 || self.cols == 0;
        if !empty && (self.rows - 1) * self.down + (self.cols - 1) * self.across >= self.data.len() {
            let Self { rows, cols, down, across, data } = self;
            return Err(misfit(format!(
                "matrix ({rows}, {cols}), strides {down}, {across}: {} floats",
                data.len()
            )));
        }
        Ok(())
    }
}

/// `C = start + A · B` over the current rayon pool; C `(m, n)`, row-major.
///
/// # Errors
/// Shapes that do not fit.
pub fn product(
    precision: Precision,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    start: Start<'_>,
) -> Result<()> {
    fits(&a, &b, c.len(), start)?;
    if c.is_empty() {
        return Ok(());
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = unit(precision, a.cols) {
        bf16::parallel(unit, a, b, c, start);
        return Ok(());
    }
    let _ = precision;
    if let Start::Row(row) = start {
        c.par_chunks_mut(row.len() * 64)
            .for_each(|c| c.chunks_mut(row.len()).for_each(|c| c.copy_from_slice(row)));
    }
    let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
    // SAFETY: C is whole, and borrowed mutably.
    unsafe { f32(a, b, c.as_mut_ptr(), b.cols, start, threads) };
    Ok(())
}

/// The same on this thread alone, rows of C `stride` floats apart, without a starting row: for the many small
/// products of attention.
///
/// # Safety
/// `a.rows` rows of `b.cols` floats, `stride` apart, are the caller's at `c`.
///
/// # Errors
/// Shapes that do not fit.
pub(super) unsafe fn small(
    precision: Precision,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: *mut f32,
    stride: usize,
) -> Result<()> {
    fits(&a, &b, a.rows * b.cols, Start::Zero)?;
    if a.rows == 0 || b.cols == 0 {
        return Ok(());
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = unit(precision, a.cols) {
        // SAFETY: the caller's promise.
        unsafe { bf16::alone(unit, a, b, c, stride, Start::Zero) };
        return Ok(());
    }
    let _ = precision;
    // SAFETY: the caller's promise.
    unsafe { f32(a, b, c, stride, Start::Zero, gemm::Parallelism::None) };
    Ok(())
}

/// What multiplies tiles, if such precision is asked for and there is a depth to step through.
#[cfg(target_arch = "x86_64")]
fn unit(precision: Precision, depth: usize) -> Option<Unit> {
    Unit::best().filter(|_| precision == Precision::Bf16 && depth > 0)
}

fn fits(a: &Matrix<'_>, b: &Matrix<'_>, c: usize, start: Start<'_>) -> Result<()> {
    a.check()?;
    b.check()?;
    let row = if let Start::Row(row) = start { row.len() } else { b.cols };
    if a.cols != b.rows || c != a.rows * b.cols || row != b.cols {
        let (ra, ca, rb, cb) = (a.rows, a.cols, b.rows, b.cols);
        return Err(misfit(format!(
            "product of ({ra}, {ca}) and ({rb}, {cb}) into {c} floats on a row of {row}"
        )));
    }
    Ok(())
}

/// # Safety
/// As [`small`]; `fits` has passed.
unsafe fn f32(
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: *mut f32,
    stride: usize,
    start: Start<'_>,
    threads: gemm::Parallelism,
) {
    let (add, i) = (!matches!(start, Start::Zero), |x: usize| x as isize);
    let (left, right) = ([i(a.across), i(a.down)], [i(b.across), i(b.down)]);
    // SAFETY: `fits` holds the strides within the slices; C is the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            c,
            1,
            i(stride),
            add,
            a.data.as_ptr(),
            left[0],
            left[1],
            b.data.as_ptr(),
            right[0],
            right[1],
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn random(n: usize, rng: &mut StdRng) -> Vec<f32> {
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn rounded(x: f32) -> f64 {
        f64::from(half::bf16::from_f32(x).to_f32())
    }

    /// Every orientation of both sides, ragged in every dimension, against f64 sums of the rounded factors.
    #[test]
    fn products_in_every_orientation_are_the_sums() {
        let mut rng = StdRng::seed_from_u64(1);
        for (m, n, k) in [(1, 1, 1), (33, 47, 65), (16, 32, 32), (100, 31, 200), (7, 260, 40), (300, 40, 520)]
        {
            for case in 0..12 {
                let (ta, tb) = (case % 2 == 1, case / 2 % 2 == 1);
                let (a, b, c) = (random(m * k, &mut rng), random(k * n, &mut rng), random(m * n, &mut rng));
                let row = random(n, &mut rng);
                let view_a = if ta { Matrix::new(&a, k, m).t() } else { Matrix::new(&a, m, k) };
                let view_b = if tb { Matrix::new(&b, n, k).t() } else { Matrix::new(&b, k, n) };
                let start = [Start::Zero, Start::Row(&row), Start::Sum][case / 4];
                for precision in [Precision::F32, Precision::Bf16] {
                    let exact = precision == Precision::F32 || super::super::Unit::best().is_none();
                    let of = |v: &Matrix<'_>, i: usize, j: usize| {
                        let x = v.data[i * v.down + j * v.across];
                        if exact { f64::from(x) } else { rounded(x) }
                    };
                    let (mut got, mut apart) = (c.clone(), vec![7f32; m * (n + 3)]);
                    product(precision, view_a, view_b, &mut got, start).unwrap();
                    // SAFETY: m rows of n + 3 floats.
                    unsafe { small(precision, view_a, view_b, apart.as_mut_ptr(), n + 3).unwrap() };
                    for i in 0..m {
                        assert_eq!(apart[i * (n + 3) + n..][..3], [7.0; 3], "written past a row");
                        for j in 0..n {
                            let sum: f64 = (0..k).map(|p| of(&view_a, i, p) * of(&view_b, p, j)).sum();
                            let first = [0.0, row[j], c[i * n + j]][case / 4];
                            for (got, expected) in
                                [(got[i * n + j], sum + f64::from(first)), (apart[i * (n + 3) + j], sum)]
                            {
                                let error = (f64::from(got) - expected).abs();
                                assert!(
                                    error < 1e-4,
                                    "{precision:?} {m}x{n}x{k} case {case}: {got} for {expected}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn not_a_number_stays_one() {
        let (mut a, b, mut c) = (vec![1.0f32; 64 * 64], vec![1.0f32; 64 * 64], vec![0.0f32; 64 * 64]);
        a[70] = f32::NAN;
        let (a, b) = (Matrix::new(&a, 64, 64), Matrix::new(&b, 64, 64));
        product(Precision::Bf16, a, b, &mut c, Start::Zero).unwrap();
        assert!(c[64..128].iter().all(|x| x.is_nan()) && c[..64].iter().all(|x| *x == 64.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, mut c) = ([0f32; 12], [0f32; 4]);
        let m = |rows, cols| Matrix::new(&x, rows, cols);
        for (a, b) in [(m(2, 3), m(2, 3)), (m(4, 3), m(3, 3)), (m(3, 5), m(5, 1))] {
            assert!(product(Precision::F32, a, b, &mut c, Start::Zero).is_err());
        }
    }
}
