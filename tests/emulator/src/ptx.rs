//! PTX text to instructions: what nvcc and candle's kernels use of the language, nothing else.

use std::collections::HashMap;

/// A file of PTX.
#[derive(Debug)]
pub struct Module {
    kernels: HashMap<String, Kernel>,
}

/// One `.entry`.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Offset and size of each parameter in the parameter block, bytes.
    pub params: Vec<(usize, usize)>,
    pub(crate) registers: usize,
    pub(crate) shared: usize,
    pub(crate) local: usize,
    pub(crate) code: Vec<Instruction>,
}

/// One instruction, its operation still in words: `ld.global.v4.u32` is `["ld", "global", "v4", "u32"]`.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<(bool, usize)>,
    pub(crate) op: Vec<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) ty: Type,
    pub(crate) args: Vec<Operand>,
}

/// How a step meets an instruction: alone, with its warp, with its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lane,
    Warp,
    Barrier,
    Branch,
    End,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Register(usize),
    Value(u64),
    Special(Special),
    Address {
        base: Option<usize>,
        offset: u64,
    },
    Vector(Vec<Operand>),
    Label(usize),
    /// `_`: a result that nobody wants.
    Sink,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Pred,
    Bits(u32),
    Unsigned(u32),
    Signed(u32),
    F16,
    BF16,
    F16x2,
    BF16x2,
    F32,
    F64,
    None,
}

impl Type {
    pub(crate) fn parse(word: &str) -> Self {
        let width = |w: &str| w.parse().unwrap_or(0);
        match word {
            "pred" => Self::Pred,
            "f16" => Self::F16,
            "bf16" => Self::BF16,
            "f16x2" => Self::F16x2,
            "bf16x2" => Self::BF16x2,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "b8" | "b16" | "b32" | "b64" => Self::Bits(width(&word[1..])),
            "u8" | "u16" | "u32" | "u64" => Self::Unsigned(width(&word[1..])),
            "s8" | "s16" | "s32" | "s64" => Self::Signed(width(&word[1..])),
            _ => Self::None,
        }
    }

    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::Bits(n) | Self::Unsigned(n) | Self::Signed(n) => n,
            Self::F16 | Self::BF16 => 16,
            Self::F32 | Self::F16x2 | Self::BF16x2 => 32,
            Self::F64 => 64,
            Self::None => 0,
        }
    }
}

impl Module {
    /// Reads a file of PTX.
    ///
    /// # Errors
    /// What could not be read; an unknown instruction is told only when it is reached.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut symbols = HashMap::new();
        let mut shared = 0;
        let mut kernels = HashMap::new();
        let text: String =
            text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        let mut rest = text.as_str();
        while let Some(at) = rest.find(".entry") {
            for line in rest[..at].lines().filter(|l| l.contains(".shared")) {
                declare(line, &mut symbols, &mut shared);
            }
            let head = &rest[at + 6..];
            let (open, close) = (find(head, '(')?, find(head, ')')?);
            let name = head[..open].trim().to_owned();
            let body = &head[close + find(&head[close..], '{')? + 1..];
            let end = matching(body)?;
            let mut reader = Reader::new(&head[open + 1..close], symbols.clone(), shared)?;
            reader.body(&body[..end]).map_err(|e| format!("{name}: {e}"))?;
            kernels.insert(name, reader.kernel);
            rest = &body[end..];
        }
        Ok(Self { kernels })
    }

    /// A kernel by its name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }
}

impl Kernel {
    /// The parameter block of a launch.
    ///
    /// # Errors
    /// Arguments of another number or size than the parameters.
    pub fn pack(&self, arguments: &[&[u8]]) -> Result<Vec<u8>, String> {
        let sizes: Vec<usize> = arguments.iter().map(|a| a.len()).collect();
        if !self.params.iter().map(|(_, size)| *size).eq(sizes.iter().copied()) {
            return Err(format!("arguments of {sizes:?} bytes for parameters of {:?}", self.params));
        }
        let mut block = vec![0u8; self.params.last().map_or(0, |(at, size)| at + size)];
        for ((at, size), argument) in self.params.iter().zip(arguments) {
            block[*at..at + size].copy_from_slice(argument);
        }
        Ok(block)
    }
}

fn find(text: &str, what: char) -> Result<usize, String> {
    text.find(what).ok_or_else(|| format!("no `{what}` where one must be"))
}

/// Where the brace that is open at the start closes.
fn matching(text: &str) -> Result<usize, String> {
    let mut depth = 1;
    for (i, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return Ok(i);
        }
    }
    Err("a brace stays open".into())
}

/// `.shared .align 16 .b8 name[20480]`: gives the name its place.
fn declare(line: &str, symbols: &mut HashMap<String, u64>, used: &mut usize) {
    let words: Vec<&str> = line.trim().trim_end_matches(';').split_whitespace().collect();
    let align =
        words.iter().position(|w| *w == ".align").and_then(|i| words[i + 1].parse().ok()).unwrap_or(8);
    let Some(last) = words.last() else { return };
    let (name, count) = last.split_once('[').unwrap_or((last, "1]"));
    let each =
        words.iter().map(|w| Type::parse(w.trim_start_matches('.')).bits()).max().unwrap_or(8) as usize / 8;
    *used = used.next_multiple_of(align);
    symbols.insert(name.to_owned(), *used as u64);
    *used += count.trim_end_matches(']').parse().unwrap_or(0) * each.max(1);
}

struct Reader {
    kernel: Kernel,
    registers: HashMap<String, usize>,
    symbols: HashMap<String, u64>,
    labels: HashMap<String, usize>,
}

impl Reader {
    fn new(params: &str, mut symbols: HashMap<String, u64>, shared: usize) -> Result<Self, String> {
        let (mut used, mut places) = (0, Vec::new());
        for param in params.split(',').filter(|p| !p.trim().is_empty()) {
            let words: Vec<&str> =
                param.split_whitespace().filter(|w| ![".param", ".ptr", ".global"].contains(w)).collect();
            declare(&words.join(" "), &mut symbols, &mut used);
            let name = words.last().and_then(|w| w.split('[').next()).unwrap_or("");
            let place = *symbols.get(name).ok_or("a parameter without a name")? as usize;
            places.push((place, used - place));
        }
        Ok(Self {
            kernel: Kernel { params: places, shared, ..Kernel::default() },
            registers: HashMap::new(),
            symbols,
            labels: HashMap::new(),
        })
    }

    fn body(&mut self, text: &str) -> Result<(), String> {
        let mut statements = Vec::new();
        let mut current = String::new();
        for c in text.chars() {
            match c {
                // A brace at the start of a statement opens or closes a scope; within one it is a vector.
                '{' | '}' if current.trim().is_empty() => current.clear(),
                ':' if current.trim().starts_with('$') || current.trim().starts_with("L_") => {
                    self.labels.insert(current.trim().to_owned(), statements.len());
                    current.clear();
                }
                ';' => {
                    let statement = current.trim().to_owned();
                    current.clear();
                    if statement.starts_with(".shared") {
                        declare(&statement, &mut self.symbols, &mut self.kernel.shared);
                    } else if statement.starts_with(".local") {
                        declare(&statement, &mut self.symbols, &mut self.kernel.local);
                    } else if !statement.starts_with('.') && !statement.is_empty() {
                        statements.push(statement);
                    }
                }
                _ => current.push(c),
            }
        }
        for statement in statements {
            let instruction = self.instruction(&statement)?;
            self.kernel.code.push(instruction);
        }
        self.kernel.registers = self.registers.len();
        Ok(())
    }

    fn instruction(&mut self, text: &str) -> Result<Instruction, String> {
        let (guard, text) = match text.strip_prefix('@') {
            Some(rest) => {
                let (name, rest) =
                    rest.split_once(char::is_whitespace).ok_or("a guard without an instruction")?;
                (Some((name.starts_with('!'), self.register(name.trim_start_matches('!')))), rest.trim())
            }
            None => (None, text),
        };
        let (op, args) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        // The words live as long as the program: a few kilobytes per module.
        let op: Vec<&'static str> = String::leak(op.to_owned()).split('.').collect();
        let kind = match op[0] {
            "shfl" | "mma" | "ldmatrix" | "vote" | "activemask" => Kind::Warp,
            "bar" | "barrier" if op.get(1) != Some(&"warp") => Kind::Barrier,
            "bra" => Kind::Branch,
            "ret" | "exit" => Kind::End,
            "membar" | "fence" | "bar" | "pragma" => Kind::Nothing,
            _ => Kind::Lane,
        };
        let ty = Type::parse(op[op.len() - 1]);
        let args = split(args).iter().map(|a| self.operand(a)).collect::<Result<_, _>>()?;
        Ok(Instruction { guard, op, kind, ty, args })
    }

    fn register(&mut self, name: &str) -> usize {
        let next = self.registers.len();
        *self.registers.entry(name.to_owned()).or_insert(next)
    }

    fn operand(&mut self, text: &str) -> Result<Operand, String> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('{') {
            let inner = split(inner.trim_end_matches('}'));
            return Ok(Operand::Vector(inner.iter().map(|a| self.operand(a)).collect::<Result<_, _>>()?));
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.trim_end_matches(']');
            let (base, offset) = inner.split_once('+').unwrap_or((inner, "0"));
            let offset = number(offset.trim()).ok_or_else(|| format!("offset `{offset}`"))?;
            return Ok(match self.operand(base)? {
                Operand::Register(base) => Operand::Address { base: Some(base), offset },
                Operand::Value(place) => Operand::Address { base: None, offset: place.wrapping_add(offset) },
                other => return Err(format!("address {other:?}")),
            });
        }
        if let Some(value) = number(text) {
            return Ok(Operand::Value(value));
        }
        if let Some(value) = self.symbols.get(text) {
            return Ok(Operand::Value(*value));
        }
        if let Some(to) = self.labels.get(text) {
            return Ok(Operand::Label(*to));
        }
        let axis = |s: &str| ["x", "y", "z"].iter().position(|a| s.ends_with(&format!(".{a}")));
        Ok(match (text.split('.').next().unwrap_or(""), axis(text)) {
            ("_", _) => Operand::Sink,
            ("%tid", Some(i)) => Operand::Special(Special::Thread(i)),
            ("%ntid", Some(i)) => Operand::Special(Special::Threads(i)),
            ("%ctaid", Some(i)) => Operand::Special(Special::Block(i)),
            ("%nctaid", Some(i)) => Operand::Special(Special::Blocks(i)),
            ("%laneid", _) => Operand::Special(Special::Lane),
            ("WARP_SZ", _) => Operand::Value(32),
            // `%p|%q`: shfl's second result is its predicate.
            (name, _) if name.contains('|') => {
                let (value, valid) = name.split_once('|').unwrap_or((name, ""));
                Operand::Vector(vec![self.operand(value)?, self.operand(valid)?])
            }
            ("", _) => return Err("an empty operand".into()),
            (name, _) => Operand::Register(self.register(name)),
        })
    }
}

/// Splits at commas outside of braces and brackets.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        depth += i32::from("{[".contains(c)) - i32::from("}]".contains(c));
        match (c, depth) {
            (',', 0) => parts.push(String::new()),
            _ => parts.last_mut().into_iter().for_each(|p| p.push(c)),
        }
    }
    parts.retain(|p| !p.trim().is_empty());
    parts
}

fn number(text: &str) -> Option<u64> {
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    match text.as_bytes() {
        [b'0', b'f' | b'F' | b'd' | b'D', ..] if text.len() > 2 => hex(&text[2..]),
        [b'0', b'x' | b'X', ..] => hex(text[2..].trim_end_matches('U')),
        [b'-' | b'0'..=b'9', ..] => {
            let text = text.trim_end_matches('U');
            text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(|v| v as u64))
        }
        _ => None,
    }
}
