//! What a warp does together: shuffles, `ldmatrix`, `mma.sync`.

use super::{Block, State, Thread, aligned, parts, set};
use crate::{
    arithmetic::{Outcome, float},
    ptx::{Instruction, Kind, Operand, Type},
};

impl Block<'_> {
    /// Executes the instruction for which a whole warp waits, if it does.
    pub(super) fn meet(&mut self, warp: usize, lanes: &mut [Thread]) -> Outcome<bool> {
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
}
