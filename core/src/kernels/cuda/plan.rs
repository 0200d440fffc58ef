//! Which way a masked product goes on a GPU, by a model of its cost.
//!
//! Nothing here was measured: peaks are the makers' published ones, cache speeds and efficiencies are assumptions, and
//! every figure that comes out is *modelled*. `tests/gpu/run.sh` measures each way where there is a GPU.

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
/// To another stream and back, an event recorded and awaited each time, seconds: assumed.
const HANDOVER: f64 = 4e-6;
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
        let moved = self.moved(product_traffic(rows, n, k, bytes));
        LAUNCH + self.arithmetic(rows, n, k, bytes).max(moved)
    }

    /// Seconds of W ⊙ M into a scratch.
    pub fn expansion(&self, n: usize, k: usize, bytes: usize) -> f64 {
        LAUNCH + self.moved(expansion_traffic(n, k, bytes))
    }

    /// Seconds of a product while the next one's W ⊙ M, taken to be as large, is made beside it: they share the memory.
    pub fn overlapped(&self, rows: usize, n: usize, k: usize, bytes: usize) -> f64 {
        let moved = self.moved(product_traffic(rows, n, k, bytes) + expansion_traffic(n, k, bytes));
        LAUNCH + HANDOVER + self.arithmetic(rows, n, k, bytes).max(moved)
    }

    fn arithmetic(&self, rows: usize, n: usize, k: usize, bytes: usize) -> f64 {
        // A wave of 128 x 128 tiles lasts as long with one tile as with all.
        let tiles = (rows.div_ceil(128) * n.div_ceil(128)) as f64;
        let waves = (tiles / self.processors).ceil() * self.processors / tiles;
        2.0 * (rows * n * k) as f64 * waves / (REACHED * self.flops(bytes))
    }

    fn moved(&self, bytes: f64) -> f64 {
        bytes / (REACHED * self.memory)
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
        LAUNCH + loops.max(self.moved(traffic))
    }
}

fn product_traffic(rows: usize, n: usize, k: usize, bytes: usize) -> f64 {
    (bytes * (rows * k + n * k + rows * n)) as f64
}

fn expansion_traffic(n: usize, k: usize, bytes: usize) -> f64 {
    (n * k) as f64 * (2.0 * bytes as f64 + 0.125)
}

/// How a masked product is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All segments in one launch of the fused kernel.
    Fused,
    /// For each segment its W ⊙ M, then cuBLAS.
    Expand,
    /// The same, each W ⊙ M beside the product before.
    Ahead,
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
    /// Whether there is a second stream with scratches of its own.
    pub ahead: bool,
}

impl Task<'_> {
    /// Seconds by one of the ways.
    pub fn cost(&self, machine: &Machine, way: Way) -> f64 {
        let (n, k, bytes) = (self.n, self.k, self.bytes);
        let each = |&(rows, masked): &(usize, bool)| match (masked, way) {
            (true, Way::Ahead) => machine.overlapped(rows, n, k, bytes),
            (true, _) => machine.expansion(n, k, bytes) + machine.product(rows, n, k, bytes),
            (false, _) => machine.product(rows, n, k, bytes),
        };
        match way {
            Way::Fused => machine.fused(&self.segments.iter().map(|s| s.0).collect::<Vec<_>>(), n, k),
            Way::Expand | Way::Ahead => self.segments.iter().map(each).sum(),
        }
    }

    /// The cheapest way of those that there are: the fused kernel takes half precision, inputs by 32 and outputs by 2,
    /// and nothing is of use but the plain product where nothing is masked.
    pub fn choose(&self, machine: &Machine) -> Way {
        let masked = self.segments.iter().any(|s| s.1);
        let fused =
            machine.fuses && self.bytes == 2 && self.k.is_multiple_of(STEP) && self.n.is_multiple_of(2);
        let ways = [(Way::Fused, fused && masked), (Way::Expand, true), (Way::Ahead, self.ahead && masked)];
        let there = ways.into_iter().filter(|(_, is)| *is).map(|(way, _)| way);
        there.min_by(|a, b| self.cost(machine, *a).total_cmp(&self.cost(machine, *b))).unwrap_or(Way::Expand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(machine: &Machine, segments: &[(usize, bool)]) -> Way {
        Task { segments, n: 4096, k: 1024, bytes: 2, ahead: true }.choose(machine)
    }

    #[test]
    fn few_rows_are_fused_and_many_expanded() {
        for machine in &Machine::KNOWN {
            assert_eq!(way(machine, &[(50, true)]), Way::Fused, "{}", machine.name);
            assert_eq!(way(machine, &[(50_000, true)]), Way::Ahead, "{}", machine.name);
            assert_eq!(way(machine, &[(50, false)]), Way::Expand, "nothing to mask");
            assert_eq!(way(machine, &[(49, true); 11]), Way::Fused, "many languages, few rows each");
        }
    }

    #[test]
    fn only_what_the_kernel_can_do_is_asked_of_it() {
        let old = Machine::of("Tesla T4", (7, 5), 40);
        assert_ne!(way(&old, &[(50, true)]), Way::Fused);
        let machine = &Machine::KNOWN[1];
        for (n, k, bytes) in [(4096, 1020, 2), (4095, 1024, 2), (4096, 1024, 4)] {
            let task = Task { segments: &[(50, true)], n, k, bytes, ahead: false };
            assert_eq!(task.choose(machine), Way::Expand);
        }
        let alone = Task { segments: &[(50_000, true)], n: 4096, k: 1024, bytes: 2, ahead: false };
        assert_eq!(alone.choose(machine), Way::Expand, "no second stream");
    }

    #[test]
    fn an_expansion_hides_behind_arithmetic_and_not_behind_memory() {
        for machine in &Machine::KNOWN {
            let of = |rows| (machine.overlapped(rows, 4096, 1024, 2), machine.product(rows, 4096, 1024, 2));
            let (many, plain) = of(50_000);
            assert!(many - plain < 1.01 * HANDOVER, "{}: all of it", machine.name);
            let (few, plain) = of(50);
            let in_turn = plain + machine.expansion(4096, 1024, 2);
            assert!(few > plain + 1.5 * HANDOVER && few <= in_turn + HANDOVER, "{}: none", machine.name);
            let small = Task { segments: &[(50, true)], n: 64, k: 64, bytes: 4, ahead: true };
            assert_eq!(small.choose(machine), Way::Expand, "{}: not worth the way there", machine.name);
        }
    }

    #[test]
    fn a_known_gpu_is_known_by_the_beginning_of_its_name() {
        assert_eq!(Machine::of("NVIDIA H100 80GB HBM3", (9, 0), 132), Machine::KNOWN[1]);
        assert_eq!(Machine::of("NVIDIA L40S", (8, 9), 142).name, "NVIDIA L4");
    }
}
