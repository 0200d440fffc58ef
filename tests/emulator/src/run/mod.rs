//! A launch: blocks one after the other; in each, every thread runs until it must wait for its warp or its block.

mod lane;
mod warp;

use crate::{
    arithmetic::Outcome,
    memory::{Heap, Shared},
    ptx::{Kernel, Kind, Operand, Special},
};
use lane::Copy;
use std::collections::VecDeque;

/// Where shared and local memory lie among generic addresses; global ones start at 1 << 32.
const SHARED: u64 = 0x1000_0000;
const LOCAL: u64 = 0x2000_0000;
/// No kernel of ours or candle's comes near: a loop that does not end is an error.
const LONGEST: u64 = 50_000_000;

/// How many blocks, how many threads each, (x, y, z).
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: [u32; 3],
    /// Bytes of shared memory asked for at launch.
    pub shared: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Running,
    Waiting(Kind),
    Done,
}

struct Thread {
    registers: Vec<u64>,
    /// Copies under way: those of each group, the last one still open.
    copies: VecDeque<Vec<Copy>>,
    local: Vec<u8>,
    next: usize,
    state: State,
}

struct Block<'a> {
    kernel: &'a Kernel,
    params: &'a [u8],
    heap: &'a mut Heap,
    grid: &'a Grid,
    index: [u32; 3],
    shared: Shared,
}

/// Runs a kernel; `params` is its parameter block.
///
/// # Errors
/// What the kernel did wrong, and in which block and thread.
pub fn launch(kernel: &Kernel, grid: &Grid, params: &[u8], heap: &mut Heap) -> Outcome<()> {
    let threads = grid.threads.iter().product::<u32>();
    if threads == 0 || threads > 1024 || grid.blocks.iter().product::<u32>() == 0 {
        return Err(format!("a launch of {:?} blocks of {:?} threads", grid.blocks, grid.threads));
    }
    if grid.blocks[1] > 65_535 || grid.blocks[2] > 65_535 {
        return Err(format!("a launch of {:?} blocks: at most 65535 in y and z", grid.blocks));
    }
    for z in 0..grid.blocks[2] {
        for y in 0..grid.blocks[1] {
            for x in 0..grid.blocks[0] {
                let shared = Shared::new(kernel.shared + grid.shared);
                let mut block = Block { kernel, params, heap, grid, index: [x, y, z], shared };
                block.run(threads as usize)?;
            }
        }
    }
    Ok(())
}

impl Block<'_> {
    fn run(&mut self, count: usize) -> Outcome<()> {
        let thread = |_| Thread {
            registers: vec![0xdead_dead_dead_dead; self.kernel.registers],
            copies: VecDeque::from([Vec::new()]),
            local: vec![0xa5; self.kernel.local],
            next: 0,
            state: State::Running,
        };
        let mut threads: Vec<Thread> = (0..count).map(thread).collect();
        while threads.iter().any(|t| t.state != State::Done) {
            for (id, thread) in threads.iter_mut().enumerate() {
                let outcome = self.advance(id, thread);
                outcome.map_err(|e| self.blame(e, id, thread.next))?;
            }
            let mut met = false;
            for (warp, lanes) in threads.chunks_mut(32).enumerate() {
                met |= self.meet(warp, lanes).map_err(|e| self.blame(e, warp * 32, lanes[0].next))?;
            }
            let waits = |t: &Thread| matches!(t.state, State::Done | State::Waiting(Kind::Barrier));
            if !met && threads.iter().all(waits) {
                self.shared.barrier();
                let waiting = threads.iter_mut().filter(|t| t.state != State::Done);
                waiting.for_each(|t| t.state = State::Running);
            } else if !met && !threads.iter().any(|t| t.state == State::Running) {
                return Err(self.blame("threads wait for each other in different places".into(), 0, 0));
            }
        }
        Ok(())
    }

    fn blame(&self, error: String, thread: usize, next: usize) -> String {
        let at = self.kernel.code.get(next.saturating_sub(1)).map(|i| i.op.join(".")).unwrap_or_default();
        format!(
            "{error} (block {:?}, thread {thread}, instruction {} `{at}`)",
            self.index,
            next.saturating_sub(1)
        )
    }

    /// Runs a thread until it ends or waits.
    fn advance(&mut self, id: usize, thread: &mut Thread) -> Outcome<()> {
        let kernel = self.kernel;
        let mut steps = 0;
        while thread.state == State::Running {
            steps += 1;
            if steps > LONGEST {
                return Err("runs too long".into());
            }
            let Some(instruction) = kernel.code.get(thread.next) else {
                thread.state = State::Done;
                break;
            };
            if let Some((negated, register)) = instruction.guard
                && (thread.registers[register] & 1 != 0) == negated
            {
                thread.next += 1;
                continue;
            }
            match instruction.kind {
                Kind::End => thread.state = State::Done,
                Kind::Branch => match instruction.args.last() {
                    Some(Operand::Label(to)) => thread.next = *to,
                    other => return Err(format!("a branch to {other:?}")),
                },
                Kind::Warp => thread.state = State::Waiting(Kind::Warp),
                Kind::Barrier => {
                    thread.next += 1;
                    thread.state = State::Waiting(Kind::Barrier);
                }
                Kind::Nothing => thread.next += 1,
                Kind::Lane => {
                    thread.next += 1;
                    self.step(id, thread, instruction)?;
                }
            }
        }
        Ok(())
    }

    fn value(&self, id: usize, thread: &Thread, from: &Operand) -> Outcome<u64> {
        let [x, y, _] = self.grid.threads.map(|n| n as usize);
        Ok(match from {
            Operand::Register(r) => thread.registers[*r],
            Operand::Value(v) => *v,
            Operand::Special(Special::Lane) => id as u64 % 32,
            Operand::Special(Special::Thread(axis)) => [id % x, id / x % y, id / (x * y)][*axis] as u64,
            Operand::Special(Special::Threads(axis)) => self.grid.threads[*axis].into(),
            Operand::Special(Special::Block(axis)) => self.index[*axis].into(),
            Operand::Special(Special::Blocks(axis)) => self.grid.blocks[*axis].into(),
            other => return Err(format!("{other:?} is no value")),
        })
    }

    fn address(&self, thread: &Thread, from: &Operand) -> Outcome<u64> {
        match from {
            Operand::Address { base, offset } => {
                Ok(base.map_or(0, |r| thread.registers[r]).wrapping_add(*offset))
            }
            other => Err(format!("{other:?} is no address")),
        }
    }

    fn memory<'b>(
        &'b mut self,
        space: &str,
        id: usize,
        thread: &'b mut Thread,
        address: u64,
        len: usize,
        write: bool,
    ) -> Outcome<&'b mut [u8]> {
        let beyond = || format!("access to {address:#x} in {space} memory");
        let (space, address) = match space {
            "param" | "shared" | "local" | "global" => (space, address),
            _ if (SHARED..LOCAL).contains(&address) => ("shared", address - SHARED),
            _ if (LOCAL..1 << 32).contains(&address) => ("local", address - LOCAL),
            _ => ("global", address),
        };
        match space {
            "shared" => self.shared.at(address, len, id as u32, write),
            "global" => self.heap.touch(address, len, write),
            "local" => thread.local.get_mut(address as usize..address as usize + len).ok_or_else(beyond),
            _ => {
                // Parameters are read only: a copy serves.
                let from = self.params.get(address as usize..address as usize + len).ok_or_else(beyond)?;
                thread.local.resize(self.kernel.local + len, 0);
                let to = &mut thread.local[self.kernel.local..];
                to.copy_from_slice(from);
                Ok(to)
            }
        }
    }
}

/// The GPU traps on an address that is no multiple of the access's width.
fn aligned(address: u64, width: usize) -> Outcome<()> {
    match address % width.max(1) as u64 {
        0 => Ok(()),
        _ => Err(format!("misaligned access of {width} bytes to {address:#x}")),
    }
}

fn parts(operand: &Operand) -> &[Operand] {
    match operand {
        Operand::Vector(parts) => parts,
        one => std::slice::from_ref(one),
    }
}

fn set(thread: &mut Thread, to: &Operand, value: u64) -> Outcome<()> {
    match to {
        Operand::Register(r) => thread.registers[*r] = value,
        Operand::Sink => {}
        other => return Err(format!("{other:?} is no register")),
    }
    Ok(())
}
