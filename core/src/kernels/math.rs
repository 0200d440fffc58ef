//! exp, erf and GELU over lanes, accurate to a few units in the last place where they matter.

use super::lanes::Lanes;

/// `e^x` for x ≤ 88, relative error under 2e-7; below -87 the result is about 1e-38, never a denormal.
///
/// `2^n · e^r` with `n = round(x / ln 2)`; ln 2 is split in two so that r stays exact (Cephes `expf`).
#[inline(always)]
pub(super) fn exp<V: Lanes>(x: V) -> V {
    let x = x.max(V::splat(-87.0)).min(V::splat(88.0));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(V::splat(-0.693_359_4), x);
    let r = n.mul_add(V::splat(2.121_944_4e-4), r);
    let p = V::splat(1.987_569_2e-4)
        .mul_add(r, V::splat(1.398_199_9e-3))
        .mul_add(r, V::splat(8.333_452e-3))
        .mul_add(r, V::splat(4.166_579_6e-2))
        .mul_add(r, V::splat(1.666_666_5e-1))
        .mul_add(r, V::splat(0.5));
    let p = p.mul_add(r.mul(r), r).add(V::splat(1.0));
    p.mul(n.exp2i())
}

/// `erf(x)`, absolute error under 3e-7: an odd rational function on [-4, 4], where erf(±4) = ±1 in f32.
///
/// The coefficients are Eigen's (`generic_fast_erf_float`): one division, no exponential.
#[inline(always)]
pub(super) fn erf<V: Lanes>(x: V) -> V {
    let x = x.max(V::splat(-4.0)).min(V::splat(4.0));
    let z = x.mul(x);
    let p = V::splat(-2.726_142e-10)
        .mul_add(z, V::splat(2.770_681_4e-8))
        .mul_add(z, V::splat(-2.101_024e-6))
        .mul_add(z, V::splat(-5.692_506_3e-5))
        .mul_add(z, V::splat(-7.349_906e-4))
        .mul_add(z, V::splat(-2.954_6e-3))
        .mul_add(z, V::splat(-1.609_603_3e-2));
    let q = V::splat(-1.456_607_2e-5)
        .mul_add(z, V::splat(-2.133_740_5e-4))
        .mul_add(z, V::splat(-1.682_827e-3))
        .mul_add(z, V::splat(-7.373_329e-3))
        .mul_add(z, V::splat(-1.426_473_9e-2));
    x.mul(p).div(q)
}

/// `GELU(x) = x/2 · (1 + erf(x / √2))`, the exact form that wav2vec 2.0 uses (not the tanh one).
#[inline(always)]
pub(super) fn gelu<V: Lanes>(x: V) -> V {
    let half = x.mul(V::splat(0.5));
    half.mul_add(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
}
