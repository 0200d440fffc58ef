//! The one cuBLAS product that candle calls, in plain loops: sums in f32.

use crate::{
    arithmetic::{Outcome, float, word},
    memory::Heap,
    ptx::Type,
};

/// One operand of a product in cuBLAS's terms: column-major, transposed or not, one matrix per `stride` of elements.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) address: u64,
    pub(crate) ty: Type,
    pub(crate) leading: usize,
    pub(crate) stride: usize,
    pub(crate) transposed: bool,
}

impl Matrix {
    fn values(&self, heap: &mut Heap, batch: usize, rows: usize, columns: usize) -> Outcome<Vec<f32>> {
        let width = self.ty.bits() as usize / 8;
        let (high, wide) = if self.transposed { (columns, rows) } else { (rows, columns) };
        if self.leading < high {
            return Err(format!("a leading dimension of {} for {high} rows", self.leading));
        }
        let count = (wide - 1) * self.leading + high;
        let bytes = heap.touch(self.address + (batch * self.stride * width) as u64, count * width, false)?;
        let at = |i: usize, j: usize| {
            let place = if self.transposed { j + i * self.leading } else { i + j * self.leading };
            let mut value = [0u8; 8];
            value[..width].copy_from_slice(&bytes[place * width..][..width]);
            float(u64::from_le_bytes(value), self.ty) as f32
        };
        Ok((0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect())
    }
}

/// `C = alpha · A B` for each of `batches`; A (m, k), B (k, n), C (m, n).
pub(crate) fn product(
    heap: &mut Heap,
    [m, n, k]: [usize; 3],
    alpha: f32,
    [a, b, c]: [Matrix; 3],
    batches: usize,
) -> Outcome<()> {
    if [m, n, k].contains(&0) {
        return Ok(());
    }
    let width = c.ty.bits() as usize / 8;
    for batch in 0..batches {
        let left = a.values(heap, batch, m, k)?;
        let right = b.values(heap, batch, k, n)?;
        let place = c.address + (batch * c.stride * width) as u64;
        let to = heap.touch(place, ((n - 1) * c.leading + m) * width, true)?;
        let mut sums = vec![0f32; n];
        for i in 0..m {
            sums.fill(0.0);
            for (x, row) in left[i * k..][..k].iter().zip(right.chunks_exact(n)) {
                sums.iter_mut().zip(row).for_each(|(sum, y)| *sum += x * y);
            }
            for (j, sum) in sums.iter().enumerate() {
                let value = word(f64::from(alpha * sum), c.ty).to_le_bytes();
                to[(i + j * c.leading) * width..][..width].copy_from_slice(&value[..width]);
            }
        }
    }
    Ok(())
}
