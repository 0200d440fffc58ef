//! What one thread does by itself: memory, moves, arithmetic, `cp.async`.

use super::{Block, LOCAL, SHARED, Thread, aligned, parts, set};
use crate::{
    arithmetic::{Outcome, compute, signed, truncate},
    memory::ATOMIC,
    ptx::{Instruction, Operand, Type},
};

/// `cp.async`: where to, where from, how many bytes, how many of them zeros instead.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    to: u64,
    from: u64,
    len: usize,
    given: usize,
}

impl Block<'_> {
    pub(super) fn step(&mut self, id: usize, thread: &mut Thread, i: &Instruction) -> Outcome<()> {
        match i.op[0] {
            "ld" | "ldu" => {
                let (width, from) = (i.ty.bits() as usize / 8, self.address(thread, &i.args[1])?);
                for (n, to) in parts(&i.args[0]).iter().enumerate() {
                    let mut bytes = [0u8; 8];
                    let place = from + (n * width) as u64;
                    bytes[..width].copy_from_slice(self.memory(i.op[1], id, thread, place, width, false)?);
                    let value = u64::from_le_bytes(bytes);
                    let value = match i.ty {
                        Type::Signed(bits) => signed(value, bits) as u64,
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
                bytes[..given].copy_from_slice(if given > 0 {
                    self.heap.touch(from, given, false)?
                } else {
                    &[]
                });
                self.shared.at(to, len, id as u32, true)?.copy_from_slice(&bytes);
            }
        }
        if thread.copies.is_empty() {
            thread.copies.push_back(Vec::new());
        }
        Ok(())
    }
}
