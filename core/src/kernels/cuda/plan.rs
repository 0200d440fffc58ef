//! Which way a masked product goes on a GPU, by a model of its cost.
//!
//! Nothing here was measured: peaks are the makers' published ones, cache speeds and efficiencies are assumptions, and
//! every figure that comes out is *modelled*. `tests/gpu/run.sh` measures both ways where there is a GPU.

/// What a GPU can do, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// As its driver calls it, or the beginning of that.
    pub name: &'static str,
    /// Bytes from memory.
    pub memory: f64,
    /// Bytes from the L2 cache: assumed.
    pub cache: f64,
    /// Operations on f16 or bf16 by the tensor cores, dense.
    pub half: f64,
    /// Operations on f32.
    pub single: f64,
    /// Multiprocessors.
    pub processors: f64,
    /// Whether it has `mma.m16n8k16` on bf16: compute capability 8.0.
    pub fuses: bool,
}

/// The share of a peak that a good kernel reaches: assumed.
const REACHED: f64 = 0.7;
/// From the call to the first instruction, seconds: assumed.
const LAUNCH: f64 = 3e-6;
/// The fused kernel (masked_gemm.cuh): tiles on one multiprocessor at once, their size, how much of K in a step.
const RESIDENT: f64 = 4.0;
const TILE: usize = 64;
const STEP: usize = 32;
/// From the order to the arrival of a step's tiles, and how many steps are ordered ahead: the first is assumed.
const LATENCY: f64 = 0.6e-6;
const AHEAD: f64 = 3.0;

impl Machine {
    /// Known GPUs: published peaks of the SXM form where there are several.
    pub const KNOWN: [Self; 4] = [
        Self::new("NVIDIA H200", [4.8e12, 5.5e12, 989e12, 67e12], 132.0),
        Self::new("NVIDIA H100", [3.35e12, 5.5e12, 989e12, 67e12], 132.0),
        Self::new("NVIDIA A100", [2.04e12, 4.0e12, 312e12, 19.5e12], 108.0),
        Self::new("NVIDIA L4", [0.3e12, 1.8e12, 121e12, 30e12], 58.0),
    ];

    const fn new(name: &'static str, [memory, cache, half, single]: [f64; 4], processors: f64) -> Self {
        Self { name, memory, cache, half, single, processors, fuses: true }
    }

    /// The GPU that a driver describes: a known one, else one between, scaled by its multiprocessors.
    pub fn of(name: &str, capability: (i32, i32), processors: usize) -> Self {
        let fuses = capability >= (8, 0);
        if let Some(known) = Self::KNOWN.iter().find(|m| name.starts_with(m.name)) {
            return Self { fuses, ..*known };
        }
        let each = processors as f64 / 108.0;
        let [_, _, a100, _] = Self::KNOWN;
        Self {
            name: "unknown",
            memory: a100.memory * each,
            cache: a100.cache * each,
            half: a100.half * each,
            single: a100.single * each,
            processors: processors as f64,
            fuses,
        }
    }

    fn flops(&self, bytes: usize) -> f64 {
        if bytes == 2 { self.half } else { self.single }
    }

    /// Seconds of a plain product, x (rows, k) with W (n, k), elements of `bytes`.
    pub fn product(&self, rows: usize, n: usize, k: usize, bytes: usize) -> f64 {
        let operations = 2.0 * (rows * n * k) as f64;
        let traffic = (bytes * (rows * k + n * k + rows * n)) as f64;
        // A wave of 128 x 128 tiles lasts as long with one tile as with all.
        let tiles = (rows.div_ceil(128) * n.div_ceil(128)) as f64;
        let waves = (tiles / self.processors).ceil() * self.processors / tiles;
        LAUNCH + (operations * waves / (REACHED * self.flops(bytes))).max(traffic / (REACHED * self.memory))
    }

    /// Seconds of W ⊙ M into a scratch.
    pub fn expansion(&self, n: usize, k: usize, bytes: usize) -> f64 {
        LAUNCH + (n * k) as f64 * (2.0 * bytes as f64 + 0.125) / (REACHED * self.memory)
    }

    /// Seconds of the fused kernel over segments of so many rows.
    pub fn fused(&self, segments: &[usize], n: usize, k: usize) -> f64 {
        let tiles = segments.iter().map(|rows| rows.div_ceil(TILE) * n.div_ceil(TILE)).sum::<usize>() as f64;
        let rows: usize = segments.iter().sum();
        // Tiles that run together share the cache and the tensor cores; a step is never shorter than its latency.
        let (room, side) = (self.processors * RESIDENT, TILE as f64);
        let together = tiles.min(room);
        let read = STEP as f64 * side * (2.0 + 2.0 + 0.125) / (self.cache / together);
        let busy = together.min(self.processors) / self.processors;
        let computed = 2.0 * side * side * STEP as f64 / (REACHED * self.half * busy / together);
        let step = read.max(computed).max(LATENCY / AHEAD);
        let traffic = (2 * (rows * k + rows * n) + 2 * n * k + segments.len() * n * k / 8) as f64;
        let loops = (tiles / room).ceil() * k.div_ceil(STEP) as f64 * step;
        LAUNCH + loops.max(traffic / (REACHED * self.memory))
    }
}

/// How a masked product is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All segments in one launch of the fused kernel.
    Fused,
    /// For each segment its W ⊙ M, then cuBLAS.
    Expand,
}

/// A product to be made.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Rows of each segment, and whether it has a mask.
    pub segments: &'a [(usize, bool)],
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Bytes of an element.
    pub bytes: usize,
}

impl Task<'_> {
    /// Seconds by one of the two ways.
    pub fn cost(&self, machine: &Machine, way: Way) -> f64 {
        match way {
            Way::Fused => {
                let rows: Vec<usize> = self.segments.iter().map(|s| s.0).collect();
                machine.fused(&rows, self.n, self.k)
            }
            Way::Expand => {
                let each = |&(rows, masked): &(usize, bool)| {
                    let expansion = if masked { machine.expansion(self.n, self.k, self.bytes) } else { 0.0 };
                    expansion + machine.product(rows, self.n, self.k, self.bytes)
                };
                self.segments.iter().map(each).sum()
            }
        }
    }

    /// The cheaper way of those that there are: the fused kernel takes half precision, inputs by 32 and outputs by 2,
    /// and is of no use where nothing is masked.
    pub fn choose(&self, machine: &Machine) -> Way {
        let can = machine.fuses && self.bytes == 2 && self.k.is_multiple_of(STEP) && self.n.is_multiple_of(2);
        let masked = self.segments.iter().any(|s| s.1);
        let cheaper = || self.cost(machine, Way::Fused) <= self.cost(machine, Way::Expand);
        if can && masked && cheaper() { Way::Fused } else { Way::Expand }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(machine: &Machine, segments: &[(usize, bool)]) -> Way {
        Task { segments, n: 4096, k: 1024, bytes: 2 }.choose(machine)
    }

    #[test]
    fn few_rows_are_fused_and_many_expanded() {
        for machine in &Machine::KNOWN {
            assert_eq!(way(machine, &[(50, true)]), Way::Fused, "{}", machine.name);
            assert_eq!(way(machine, &[(50_000, true)]), Way::Expand, "{}", machine.name);
            assert_eq!(way(machine, &[(50, false)]), Way::Expand, "nothing to mask");
            assert_eq!(way(machine, &[(49, true); 11]), Way::Fused, "many languages, few rows each");
        }
    }

    #[test]
    fn only_what_the_kernel_can_do_is_asked_of_it() {
        let old = Machine::of("Tesla T4", (7, 5), 40);
        assert_eq!(way(&old, &[(50, true)]), Way::Expand);
        let machine = &Machine::KNOWN[1];
        for (n, k, bytes) in [(4096, 1020, 2), (4095, 1024, 2), (4096, 1024, 4)] {
            let task = Task { segments: &[(50, true)], n, k, bytes };
            assert_eq!(task.choose(machine), Way::Expand);
        }
    }

    #[test]
    fn a_known_gpu_is_known_by_the_beginning_of_its_name() {
        assert_eq!(Machine::of("NVIDIA H100 80GB HBM3", (9, 0), 132), Machine::KNOWN[1]);
        assert_eq!(Machine::of("NVIDIA L40S", (8, 9), 142).name, "NVIDIA L4");
    }
}
