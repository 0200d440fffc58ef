//! What one instruction computes, on values as 64-bit words.

use crate::ptx::Type;
use half::{bf16, f16};

pub(crate) type Outcome<T> = Result<T, String>;

pub(crate) fn truncate(value: u64, bits: u32) -> u64 {
    if bits >= 64 { value } else { value & ((1 << bits) - 1) }
}

pub(crate) fn signed(value: u64, bits: u32) -> i64 {
    let unused = 64 - bits.clamp(1, 64);
    ((value << unused) as i64) >> unused
}

/// A word of a floating-point type as a number.
pub(crate) fn float(value: u64, ty: Type) -> f64 {
    match ty {
        Type::F16 => f16::from_bits(value as u16).to_f64(),
        Type::BF16 => bf16::from_bits(value as u16).to_f64(),
        Type::F32 => f64::from(f32::from_bits(value as u32)),
        _ => f64::from_bits(value),
    }
}

/// A number as a word of a floating-point type, to the nearest.
pub(crate) fn word(value: f64, ty: Type) -> u64 {
    match ty {
        Type::F16 => u64::from(f16::from_f64(value).to_bits()),
        Type::BF16 => u64::from(bf16::from_f64(value).to_bits()),
        Type::F32 => u64::from((value as f32).to_bits()),
        _ => value.to_bits(),
    }
}

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::BF16 | Type::F32 | Type::F64)
}

/// The type of each half of a packed one.
fn halves(ty: Type) -> Option<Type> {
    match ty {
        Type::F16x2 => Some(Type::F16),
        Type::BF16x2 => Some(Type::BF16),
        _ => None,
    }
}

/// The result of an operation on registers only; `a` are its operands, at least three.
pub(crate) fn compute(op: &[&str], ty: Type, a: &[u64]) -> Outcome<u64> {
    if let Some(half) = halves(ty) {
        if op[0] == "cvt" {
            // d = {a, b}: the first operand is the upper half.
            return Ok(word(float(a[0], Type::F32), half) << 16 | word(float(a[1], Type::F32), half));
        }
        let part = |shift: u32| a.iter().map(|v| v >> shift & 0xffff).collect::<Vec<_>>();
        return Ok(compute(op, half, &part(16))? << 16 | compute(op, half, &part(0))?);
    }
    match op[0] {
        "cvt" => return convert(op, ty, a[0]),
        "set" | "setp" => return compare(op, ty, a).map(u64::from),
        "selp" => return Ok(if a[2] & 1 != 0 { a[0] } else { a[1] }),
        "mov" => return Ok(truncate(a[0], ty.bits())),
        _ => {}
    }
    if is_float(ty) { floating(op, ty, a) } else { integer(op, ty, a) }
}

fn floating(op: &[&str], ty: Type, a: &[u64]) -> Outcome<u64> {
    // In one rounding: sums and products of f32 are computed in f32, of the halves in f64, where they are exact.
    let f = |i: usize| float(a[i], ty);
    let s = |i: usize| f32::from_bits(a[i] as u32);
    let single = |v: f32| Ok(u64::from(v.to_bits()));
    let (is32, bits) = (ty == Type::F32, ty.bits());
    let sign = 1u64 << (bits - 1);
    let result = match op[0] {
        "add" if is32 => return single(s(0) + s(1)),
        "sub" if is32 => return single(s(0) - s(1)),
        "mul" if is32 => return single(s(0) * s(1)),
        "div" if is32 => return single(s(0) / s(1)),
        "fma" | "mad" if is32 && op[1] == "rm" => return single(down(f(0) * f(1) + f(2))),
        "fma" | "mad" if is32 => return single(s(0).mul_add(s(1), s(2))),
        "sqrt" if is32 => return single(s(0).sqrt()),
        "add" => f(0) + f(1),
        "sub" => f(0) - f(1),
        "mul" => f(0) * f(1),
        "div" => f(0) / f(1),
        "fma" | "mad" => f(0).mul_add(f(1), f(2)),
        "sqrt" => f(0).sqrt(),
        "neg" => return Ok(a[0] ^ sign),
        "abs" => return Ok(a[0] & !sign),
        "copysign" => return Ok(a[1] & !sign | a[0] & sign),
        "min" => minimum(f(0), f(1), op.contains(&"NaN")),
        "max" => -minimum(-f(0), -f(1), op.contains(&"NaN")),
        "rcp" => f(0).recip(),
        "rsqrt" => f(0).sqrt().recip(),
        "ex2" => f(0).exp2(),
        "lg2" => f(0).log2(),
        "sin" => f(0).sin(),
        "cos" => f(0).cos(),
        "tanh" => f(0).tanh(),
        _ => return Err(format!("instruction `{}` is not known here", op.join("."))),
    };
    Ok(word(if op.contains(&"sat") { result.clamp(0.0, 1.0) } else { result }, ty))
}

/// CUDA's: the number, if the other is none.
fn minimum(a: f64, b: f64, nan: bool) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, false) if !nan => b,
        (false, true) if !nan => a,
        (true, _) | (_, true) => f64::NAN,
        _ if a < b || (a == b && a.is_sign_negative()) => a,
        _ => b,
    }
}

/// Rounded towards minus infinity.
fn down(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

fn integer(op: &[&str], ty: Type, a: &[u64]) -> Outcome<u64> {
    let bits = ty.bits();
    let is_signed = matches!(ty, Type::Signed(_));
    let u = |i: usize| truncate(a[i], bits);
    let s = |i: usize| signed(a[i], bits);
    let wide = |i: usize| if is_signed { i128::from(s(i)) } else { i128::from(u(i)) };
    let product = || wide(0) * wide(1);
    let amount = |i: usize| a[i] as u32;
    let result = match (op[0], op.get(1).copied().unwrap_or("")) {
        ("add", _) => u(0).wrapping_add(u(1)),
        ("sub", _) => u(0).wrapping_sub(u(1)),
        ("mul", "wide") => return Ok(truncate(product() as u64, 2 * bits)),
        ("mad", "wide") => return Ok(truncate((product() as u64).wrapping_add(a[2]), 2 * bits)),
        ("mul", "hi") => (product() >> bits) as u64,
        ("mad", "hi") => ((product() >> bits) as u64).wrapping_add(u(2)),
        ("mul", _) => product() as u64,
        ("mad", _) => (product() as u64).wrapping_add(u(2)),
        ("div", _) if wide(1) == 0 => return Err("division by zero".into()),
        ("rem", _) if wide(1) == 0 => return Err("division by zero".into()),
        ("div", _) => (wide(0) / wide(1)) as u64,
        ("rem", _) => (wide(0) % wide(1)) as u64,
        ("min", _) => wide(0).min(wide(1)) as u64,
        ("max", _) => wide(0).max(wide(1)) as u64,
        ("neg", _) => s(0).wrapping_neg() as u64,
        ("abs", _) => s(0).unsigned_abs(),
        ("and", _) => a[0] & a[1],
        ("or", _) => a[0] | a[1],
        ("xor", _) => a[0] ^ a[1],
        ("not", _) => !a[0],
        ("cnot", _) => u64::from(u(0) == 0),
        ("shl", _) => {
            if amount(1) >= bits {
                0
            } else {
                a[0] << amount(1)
            }
        }
        ("shr", _) if is_signed => (s(0) >> amount(1).min(bits - 1)) as u64,
        ("shr", _) => {
            if amount(1) >= bits {
                0
            } else {
                u(0) >> amount(1)
            }
        }
        ("shf", way) => {
            let both = truncate(a[1], 32) << 32 | truncate(a[0], 32);
            let by = if op.contains(&"wrap") { amount(2) & 31 } else { amount(2).min(32) };
            if way == "l" { (u128::from(both) << by >> 32) as u64 } else { both >> by }
        }
        ("popc", _) => u64::from(u(0).count_ones()),
        ("clz", _) => u64::from(u(0).leading_zeros() - (64 - bits)),
        ("brev", _) => u(0).reverse_bits() >> (64 - bits),
        ("bfi", _) => {
            let (at, len) = (amount(2) & 0xff, amount(3) & 0xff);
            let mask = truncate(truncate(u64::MAX, len).checked_shl(at).unwrap_or(0), bits);
            a[0].checked_shl(at).unwrap_or(0) & mask | a[1] & !mask
        }
        ("bfe", _) => {
            let (at, len) = (amount(1) & 0xff, amount(2) & 0xff);
            let field = truncate(u(0).checked_shr(at).unwrap_or(0), len);
            if is_signed && len > 0 { signed(field, len) as u64 } else { field }
        }
        ("prmt", _) => {
            let bytes = (a[1] << 32 | truncate(a[0], 32)).to_le_bytes();
            (0..4).fold(0, |word, i| {
                let pick = a[2] >> (4 * i);
                let byte = bytes[(pick & 7) as usize];
                let byte = if pick & 8 != 0 { 0u8.wrapping_sub(byte >> 7) } else { byte };
                word | u64::from(byte) << (8 * i)
            })
        }
        ("lop3", _) => (0..32).fold(0, |word, i| {
            let at = (a[0] >> i & 1) << 2 | (a[1] >> i & 1) << 1 | (a[2] >> i & 1);
            word | (a[3] >> at & 1) << i
        }),
        ("cvta", _) => a[0],
        _ => return Err(format!("instruction `{}` is not known here", op.join("."))),
    };
    Ok(truncate(result, bits))
}

fn compare(op: &[&str], ty: Type, a: &[u64]) -> Outcome<bool> {
    let (how, and) = (op[1], op.get(2).copied());
    let result = if is_float(ty) {
        let (x, y) = (float(a[0], ty), float(a[1], ty));
        let unordered = x.is_nan() || y.is_nan();
        match how {
            "num" => !unordered,
            "nan" => unordered,
            "eq" => x == y,
            "ne" => !unordered && x != y,
            "lt" => x < y,
            "le" => x <= y,
            "gt" => x > y,
            "ge" => x >= y,
            "equ" => unordered || x == y,
            "neu" => x != y,
            "ltu" => unordered || x < y,
            "leu" => unordered || x <= y,
            "gtu" => unordered || x > y,
            "geu" => unordered || x >= y,
            _ => return Err(format!("comparison `{how}`")),
        }
    } else {
        let bits = ty.bits();
        let order = match ty {
            Type::Signed(_) => signed(a[0], bits).cmp(&signed(a[1], bits)),
            _ => truncate(a[0], bits).cmp(&truncate(a[1], bits)),
        };
        match how {
            "eq" => order.is_eq(),
            "ne" => order.is_ne(),
            "lt" | "lo" => order.is_lt(),
            "le" | "ls" => order.is_le(),
            "gt" | "hi" => order.is_gt(),
            "ge" | "hs" => order.is_ge(),
            _ => return Err(format!("comparison `{how}`")),
        }
    };
    Ok(match (and, a.get(2)) {
        (Some("and"), Some(third)) => result && third & 1 != 0,
        (Some("or"), Some(third)) => result || third & 1 != 0,
        (Some("xor"), Some(third)) => result ^ (third & 1 != 0),
        _ => result,
    })
}

fn convert(op: &[&str], from: Type, value: u64) -> Outcome<u64> {
    let to = Type::parse(op[op.len() - 2]);
    let number = if is_float(from) { float(value, from) } else { 0.0 };
    let whole = |v: f64| match () {
        () if op.contains(&"rni") => v.round_ties_even(),
        () if op.contains(&"rmi") => v.floor(),
        () if op.contains(&"rpi") => v.ceil(),
        () if op.contains(&"rzi") => v.trunc(),
        () => v,
    };
    Ok(match (is_float(from), is_float(to)) {
        (true, true) => {
            let v = whole(number);
            let v = if op.contains(&"sat") { v.clamp(0.0, 1.0) } else { v };
            let v = if op.contains(&"relu") { v.max(0.0) } else { v };
            word(v, to)
        }
        // Rust's casts clamp and make NaN 0, as the GPU's conversions do.
        (true, false) => {
            let (v, bits) = (whole(number), to.bits());
            match to {
                Type::Signed(_) if bits < 64 => {
                    let most = (1i64 << (bits - 1)) - 1;
                    truncate((v as i64).clamp(-most - 1, most) as u64, bits)
                }
                Type::Signed(_) => v as i64 as u64,
                _ => (v as u64).min(truncate(u64::MAX, bits)),
            }
        }
        (false, true) => match from {
            Type::Signed(bits) if to == Type::F32 => u64::from((signed(value, bits) as f32).to_bits()),
            Type::Signed(bits) => word(signed(value, bits) as f64, to),
            _ if to == Type::F32 => u64::from((truncate(value, from.bits()) as f32).to_bits()),
            _ => word(truncate(value, from.bits()) as f64, to),
        },
        (false, false) => match from {
            Type::Signed(bits) => truncate(signed(value, bits) as u64, to.bits()),
            _ => truncate(truncate(value, from.bits()), to.bits()),
        },
    })
}
