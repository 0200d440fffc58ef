//! A launch: blocks one after the other; in each, every thread runs until it must wait for its warp or its block.

use crate::{
    arithmetic::{Outcome, compute, float, truncate},
    memory::{ATOMIC, Heap, Shared},
    ptx::{Instruction, Kernel, Kind, Operand, Special, Type},
};
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

/// `cp.async`: where to, where from, how many bytes, how many of them zeros instead.
#[derive(Clone, Copy)]
struct Copy {
    to: u64,
    from: u64,
    len: usize,
    given: usize,
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

    fn step(&mut self, id: usize, thread: &mut Thread, i: &Instruction) -> Outcome<()> {
        match i.op[0] {
            "ld" | "ldu" => {
                let (width, from) = (i.ty.bits() as usize / 8, self.address(thread, &i.args[1])?);
                for (n, to) in parts(&i.args[0]).iter().enumerate() {
                    let mut bytes = [0u8; 8];
                    let place = from + (n * width) as u64;
                    bytes[..width].copy_from_slice(self.memory(i.op[1], id, thread, place, width, false)?);
                    let value = u64::from_le_bytes(bytes);
                    let value = match i.ty {
                        Type::Signed(bits) => crate::arithmetic::signed(value, bits) as u64,
                        _ => value,
                    };
                    set(thread, to, value)?;
                }
                aligned(from, width * parts(&i.args[0]).len())
            }
            "st" => {
                let (width, to) = (i.ty.bits() as usize / 8, self.address(thread, &i.args[0])?);
                for (n, from) in parts(&i.args[1]).iter().enumerate() {
                    let value = self.value(id, thread, from)?.to_le_bytes();
                    let place = to + (n * width) as u64;
                    self.memory(i.op[1], id, thread, place, width, true)?.copy_from_slice(&value[..width]);
                }
                aligned(to, width * parts(&i.args[1]).len())
            }
            "atom" | "red" => {
                let wanted = usize::from(i.op[0] == "atom");
                let (width, at) = (i.ty.bits() as usize / 8, self.address(thread, &i.args[wanted])?);
                let mut bytes = [0u8; 8];
                let all = ATOMIC as usize;
                bytes[..width].copy_from_slice(self.memory(i.op[1], all, thread, at, width, false)?);
                let old = u64::from_le_bytes(bytes);
                let operand = self.value(id, thread, &i.args[wanted + 1])?;
                let how =
                    *i.op.iter().rfind(|w| ["add", "min", "max", "and", "or"].contains(*w)).ok_or("atom")?;
                let new = compute(&[how], i.ty, &[old, operand])?.to_le_bytes();
                self.memory(i.op[1], all, thread, at, width, true)?.copy_from_slice(&new[..width]);
                if wanted == 1 { set(thread, &i.args[0], old) } else { Ok(()) }
            }
            "cp" => self.copy(id, thread, i),
            "cvta" => {
                let value = self.value(id, thread, &i.args[1])?;
                let window = |space: &str| match space {
                    "shared" => SHARED,
                    "local" => LOCAL,
                    _ => 0,
                };
                let moved = match i.op[1] {
                    "to" => value.wrapping_sub(window(i.op[2])),
                    space => value.wrapping_add(window(space)),
                };
                set(thread, &i.args[0], moved)
            }
            "mov" => match (&i.args[0], &i.args[1]) {
                (Operand::Vector(to), from) => {
                    let (value, width) = (self.value(id, thread, from)?, i.ty.bits() / to.len() as u32);
                    let piece = |n: usize| truncate(value >> (n as u32 * width), width);
                    to.iter().enumerate().try_for_each(|(n, to)| set(thread, to, piece(n)))
                }
                (to, Operand::Vector(from)) => {
                    let width = i.ty.bits() / from.len() as u32;
                    let mut value = 0;
                    for (n, from) in from.iter().enumerate() {
                        value |= truncate(self.value(id, thread, from)?, width) << (n as u32 * width);
                    }
                    set(thread, to, value)
                }
                (to, from) => {
                    let value = self.value(id, thread, from)?;
                    set(thread, to, truncate(value, i.ty.bits()))
                }
            },
            _ => {
                let mut values = [0; 5];
                for (value, from) in values.iter_mut().zip(i.args.iter().skip(1)) {
                    *value = self.value(id, thread, from)?;
                }
                let result = compute(&i.op, i.ty, &values)?;
                match (&i.args[0], i.op[0]) {
                    // `setp.lt p|q`: q is the opposite.
                    (Operand::Vector(both), "setp") => {
                        set(thread, &both[0], result)?;
                        set(thread, &both[1], result ^ 1)
                    }
                    (to, _) => set(thread, to, result),
                }
            }
        }
    }

    /// `cp.async`: a copy is done no sooner than it is waited for; until then what it will overwrite is lost.
    fn copy(&mut self, id: usize, thread: &mut Thread, i: &Instruction) -> Outcome<()> {
        let open = match i.op[2] {
            "commit_group" => {
                thread.copies.push_back(Vec::new());
                return Ok(());
            }
            "wait_group" => 1 + self.value(id, thread, &i.args[0])? as usize,
            "wait_all" => 0,
            _ => {
                let (to, from) = (self.address(thread, &i.args[0])?, self.address(thread, &i.args[1])?);
                let len = self.value(id, thread, &i.args[2])? as usize;
                let given = i.args.get(3).map_or(Ok(len as u64), |arg| self.value(id, thread, arg))? as usize;
                aligned(to, len)?;
                aligned(from, len)?;
                self.shared.at(to, len, id as u32, true)?.fill(0xa5);
                thread
                    .copies
                    .back_mut()
                    .into_iter()
                    .for_each(|group| group.push(Copy { to, from, len, given }));
                return Ok(());
            }
        };
        while thread.copies.len() > open {
            for Copy { to, from, len, given } in thread.copies.pop_front().into_iter().flatten() {
                let given = given.min(len);
                let mut bytes = vec![0u8; len];
                bytes[..given].copy_from_slice(if given > 0 { self.heap.at(from, given)? } else { &[] });
                self.shared.at(to, len, id as u32, true)?.copy_from_slice(&bytes);
            }
        }
        if thread.copies.is_empty() {
            thread.copies.push_back(Vec::new());
        }
        Ok(())
    }

    /// Executes the instruction for which a whole warp waits, if it does.
    fn meet(&mut self, warp: usize, lanes: &mut [Thread]) -> Outcome<bool> {
        let alive: Vec<usize> = (0..lanes.len()).filter(|l| lanes[*l].state != State::Done).collect();
        let Some(&first) = alive.first() else { return Ok(false) };
        let at = lanes[first].next;
        let together = |l: &usize| lanes[*l].state == State::Waiting(Kind::Warp) && lanes[*l].next == at;
        if !alive.iter().all(together) {
            return Ok(false);
        }
        let kernel = self.kernel;
        let i = &kernel.code[at];
        match i.op[0] {
            "shfl" => self.shuffle(i, &alive, lanes)?,
            "ldmatrix" => self.load_matrices(i, warp, lanes)?,
            "mma" => self.multiply(i, lanes)?,
            _ => return Err(format!("instruction `{}` is not known here", i.op.join("."))),
        }
        for lane in alive {
            lanes[lane].next += 1;
            lanes[lane].state = State::Running;
        }
        Ok(true)
    }

    fn shuffle(&self, i: &Instruction, alive: &[usize], lanes: &mut [Thread]) -> Outcome<()> {
        let mut results = Vec::new();
        for &lane in alive {
            let by = self.value(lane, &lanes[lane], &i.args[2])? as usize;
            let limits = self.value(lane, &lanes[lane], &i.args[3])? as usize;
            let (clamp, segment) = (limits & 31, limits >> 8 & 31);
            let (most, least) = (lane & segment | clamp & !segment, lane & segment);
            let from = match i.op[2] {
                "up" => lane.checked_sub(by).filter(|l| *l >= most),
                "down" => Some(lane + by).filter(|l| *l <= most),
                "bfly" => Some(lane ^ by).filter(|l| *l <= most),
                _ => Some(least | by & !segment).filter(|l| *l <= most),
            };
            let source = from.unwrap_or(lane);
            if !alive.contains(&source) {
                return Err(format!("lane {lane} shuffles from lane {source}, which has ended"));
            }
            results.push((lane, self.value(source, &lanes[source], &i.args[1])?, from.is_some()));
        }
        for (lane, value, valid) in results {
            match &i.args[0] {
                Operand::Vector(both) => {
                    set(&mut lanes[lane], &both[0], value)?;
                    set(&mut lanes[lane], &both[1], u64::from(valid))?;
                }
                to => set(&mut lanes[lane], to, value)?,
            }
        }
        Ok(())
    }

    /// `ldmatrix.x1|x2|x4`: lane 8 m + r names row r of matrix m; lane l gets words 2 (l % 4) and + 1 of row l / 4.
    fn load_matrices(&mut self, i: &Instruction, warp: usize, lanes: &mut [Thread]) -> Outcome<()> {
        if lanes.len() != 32 || i.op.contains(&"trans") {
            return Err("ldmatrix of a part of a warp, or transposed".into());
        }
        for (matrix, to) in parts(&i.args[0]).iter().enumerate() {
            let mut rows = [[0u8; 16]; 8];
            for (r, row) in rows.iter_mut().enumerate() {
                let lane = matrix * 8 + r;
                let from = self.address(&lanes[lane], &i.args[1])?;
                aligned(from, 16)?;
                row.copy_from_slice(self.shared.at(from, 16, (warp * 32 + lane) as u32, false)?);
            }
            for (l, lane) in lanes.iter_mut().enumerate() {
                let bytes: [u8; 4] = std::array::from_fn(|b| rows[l / 4][l % 4 * 4 + b]);
                set(lane, to, u64::from(u32::from_le_bytes(bytes)))?;
            }
        }
        Ok(())
    }

    /// `mma.m16n8k16`: D (16, 8) = A (16, 16) · B (16, 8) + C, in the fragments of the PTX manual.
    fn multiply(&self, i: &Instruction, lanes: &mut [Thread]) -> Outcome<()> {
        if !i.op.contains(&"m16n8k16") || lanes.len() != 32 {
            return Err(format!("`{}` is not known here", i.op.join(".")));
        }
        let ty = Type::parse(i.op[i.op.len() - 2]);
        let [d, a, b, c] = [0, 1, 2, 3].map(|n| parts(&i.args[n]));
        let word = |lane: usize, from: &Operand| self.value(lane, &lanes[lane], from);
        let (mut left, mut right, mut sum) = ([[0.0; 16]; 16], [[0.0; 8]; 16], [[0f32; 8]; 16]);
        for lane in 0..32 {
            let (group, place) = (lane / 4, lane % 4);
            for half in 0..2 {
                let pick = |w: u64| float(w >> (16 * half) & 0xffff, ty);
                for r in 0..4 {
                    left[group + r % 2 * 8][place * 2 + half + r / 2 * 8] = pick(word(lane, &a[r])?);
                }
                for r in 0..2 {
                    right[place * 2 + half + r * 8][group] = pick(word(lane, &b[r])?);
                }
            }
            for r in 0..4 {
                let value = f32::from_bits(word(lane, &c[r])? as u32);
                sum[group + r / 2 * 8][place * 2 + r % 2] = value;
            }
        }
        for (lane, thread) in lanes.iter_mut().enumerate() {
            for (r, to) in d.iter().enumerate() {
                let (row, column) = (lane / 4 + r / 2 * 8, lane % 4 * 2 + r % 2);
                let product: f64 = (0..16).map(|k| left[row][k] * right[k][column]).sum();
                let value = (f64::from(sum[row][column]) + product) as f32;
                set(thread, to, u64::from(value.to_bits()))?;
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
            "global" => self.heap.at(address, len),
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
