use half::{bf16, f16};
use s3router_emulator::{Grid, Heap, Module, launch};

pub(crate) const EXPAND: &str = include_str!("../../../../core/src/kernels/cuda/expand.ptx");
pub(crate) const MASKED_GEMM: &str = include_str!("../../../../core/src/kernels/cuda/masked_gemm.ptx");
pub(crate) const TOPK: &str = include_str!("../../../../core/src/kernels/cuda/topk.ptx");
pub(crate) const ROWS: &str = include_str!("../../../../core/src/kernels/cuda/rows.ptx");

/// The same few numbers for every run, from 0 to 1.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| 2.0 * self.next() - 1.0).collect()
    }

    pub(crate) fn bits(&mut self, rows: usize, cols: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..rows * cols.div_ceil(8)).map(|_| (256.0 * self.next()) as u8).collect();
        if !cols.is_multiple_of(8) {
            // Unused tail bits are 0 in a pack; here they are 1, so that a kernel that reads them is seen.
            bytes.chunks_mut(cols.div_ceil(8)).for_each(|row| *row.last_mut().unwrap() |= 0xff << (cols % 8));
        }
        bytes
    }
}

pub(crate) fn kept(mask: &[u8], cols: usize, row: usize, col: usize) -> bool {
    mask[row * cols.div_ceil(8) + col / 8] >> (col % 8) & 1 == 1
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    F32,
    F16,
    BF16,
}

impl Number {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }

    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        }
    }

    pub(crate) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match self {
            Self::F32 => {
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Self::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        }
    }

    /// The values as this format holds them.
    pub(crate) fn rounded(self, values: &[f32]) -> Vec<f32> {
        self.values(&self.bytes(values))
    }

    /// Half the distance of neighbours, relative.
    pub(crate) fn error(self) -> f32 {
        match self {
            Self::F32 => 2e-6,
            Self::F16 => 1.0 / 2048.0,
            Self::BF16 => 1.0 / 256.0,
        }
    }
}

/// An argument of a launch.
pub(crate) enum Argument<'a> {
    /// Uploaded, its address passed.
    Buffer(&'a [u8]),
    U32(u32),
    U64(u64),
    F32(f32),
    /// By value; a buffer's address goes in at each place named.
    Struct(Vec<u8>, Vec<(usize, &'a [u8])>),
    Null,
}

/// Runs a kernel and gives back the buffer of argument `result`.
pub(crate) fn run(
    ptx: &str,
    name: &str,
    blocks: [u32; 2],
    threads: u32,
    arguments: &[Argument],
    result: usize,
) -> Result<Vec<u8>, String> {
    let module = Module::parse(ptx)?;
    let kernel = module.kernel(name).ok_or_else(|| format!("no kernel {name}"))?;
    let mut heap = Heap::default();
    let upload = |bytes: &[u8], heap: &mut Heap| -> Result<u64, String> {
        let address = heap.allocate(bytes.len());
        heap.at(address, bytes.len())?.copy_from_slice(bytes);
        Ok(address)
    };
    let mut packed: Vec<Vec<u8>> = Vec::new();
    for argument in arguments {
        packed.push(match argument {
            Argument::Buffer(bytes) => upload(bytes, &mut heap)?.to_le_bytes().to_vec(),
            Argument::U32(v) => v.to_le_bytes().to_vec(),
            Argument::U64(v) => v.to_le_bytes().to_vec(),
            Argument::F32(v) => v.to_le_bytes().to_vec(),
            Argument::Null => vec![0; 8],
            Argument::Struct(bytes, buffers) => {
                let mut bytes = bytes.clone();
                for (at, buffer) in buffers {
                    bytes[*at..at + 8].copy_from_slice(&upload(buffer, &mut heap)?.to_le_bytes());
                }
                bytes
            }
        });
    }
    let Argument::Buffer(out) = arguments[result] else { return Err("the result is no buffer".into()) };
    let block = kernel.pack(&packed.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let grid = Grid { blocks: [blocks[0], blocks[1], 1], threads: [threads, 1, 1], shared: 0 };
    launch(kernel, &grid, &block, &mut heap)?;
    let address = u64::from_le_bytes(packed[result].as_slice().try_into().unwrap());
    Ok(heap.at(address, out.len())?.to_vec())
}

/// Replaces `from` by `to` in a kernel, one place at a time: `check` must see every one of these mutants.
pub(crate) fn caught(
    ptx: &str,
    kernel: &str,
    (from, to): (&str, &str),
    check: impl Fn(&str) -> Result<(), String>,
) {
    let start = ptx.find(&format!(".entry {kernel}(")).unwrap();
    let end = ptx[start + 1..].find(".visible .entry").map_or(ptx.len(), |n| n + start + 1);
    let places: Vec<usize> = ptx[start..end].match_indices(from).map(|(i, _)| i + start).collect();
    assert!(!places.is_empty(), "`{from}` is not in {kernel}: choose another mutant");
    for i in places {
        let mutant = format!("{}{to}{}", &ptx[..i], &ptx[i + from.len()..]);
        let line = ptx[i..].lines().next().unwrap_or("");
        assert!(check(&mutant).is_err(), "{kernel}: {from} → {to} in `{line}` goes unseen");
    }
}
