//! Pickle as data: the few opcodes that `torch.save` writes, read into plain values. Nothing is
//! imported or called; what a pickle would construct stays a name with its arguments.
//!
//! Containers lie in one list and refer to each other by index: shared references cost nothing, circular
//! ones are harmless, and neither memory nor stack can grow beyond the length of the file.

use std::collections::HashMap;

/// A value of the pickle; containers are indices into its nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// None, truth values, floats, byte strings: nothing that we read.
    Other,
    Int(i64),
    Text(&'a str),
    /// A class or function, module and name; never looked up.
    Global(&'a str, &'a str),
    Tuple(usize),
    List(usize),
    /// Keys and values in turn.
    Dict(usize),
    /// What calling the first item with the second would make.
    Call(usize),
    /// A reference out of the pickle (one item): torch's storages.
    Persistent(usize),
}

/// One pickle, read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    nodes: Vec<Vec<Value<'a>>>,
}

impl<'a> Pickle<'a> {
    /// The items of a container.
    pub(super) fn items(&self, value: Value<'a>) -> &[Value<'a>] {
        match value {
            Value::Tuple(i) | Value::List(i) | Value::Dict(i) | Value::Call(i) | Value::Persistent(i) => {
                &self.nodes[i]
            }
            _ => &[],
        }
    }

    /// The entries of a dictionary that have text for a key.
    pub(super) fn entries(&self, dict: Value<'a>) -> impl DoubleEndedIterator<Item = (&'a str, Value<'a>)> {
        let pairs = self.items(dict).chunks_exact(2);
        pairs.filter_map(|pair| match pair {
            [Value::Text(key), value] => Some((*key, *value)),
            _ => None,
        })
    }

    /// The value under a text key; the last one written counts.
    pub(super) fn get(&self, dict: Value<'a>, key: &str) -> Option<Value<'a>> {
        self.entries(dict).rfind(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// A tuple of sizes.
    pub(super) fn sizes(&self, tuple: Value<'a>) -> Option<Vec<usize>> {
        matches!(tuple, Value::Tuple(_)).then(|| self.items(tuple).iter().map(|v| v.size()).collect())?
    }

    /// Every container, whether or not the root leads to it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &[Value<'a>]> {
        self.nodes.iter().map(Vec::as_slice)
    }
}

impl Value<'_> {
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }
}

/// Reads one pickle from the front of `bytes` and moves `bytes` past it.
///
/// # Errors
/// The opcode that is not data, or where the stream breaks off.
pub(super) fn read<'a>(bytes: &mut &'a [u8]) -> Result<Pickle<'a>, String> {
    let total = bytes.len();
    let mut reader =
        Reader { bytes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), nodes: Vec::new() };
    loop {
        let at = total - reader.bytes.len();
        match reader.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                *bytes = reader.bytes;
                return Ok(Pickle { root, nodes: reader.nodes });
            }
            Err(what) => return Err(format!("pickle, byte {at}: {what}")),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    nodes: Vec<Vec<Value<'a>>>,
}

impl<'a> Reader<'a> {
    /// One opcode; the finished value at STOP.
    fn step(&mut self) -> Result<Option<Value<'a>>, String> {
        let opcode = self.uint::<1>()? as u8;
        let value = match opcode {
            b'.' => return self.pop().map(Some),
            // Protocol version and frame lengths say nothing about the value.
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'(' => {
                self.marks.push(self.stack.len());
                None
            }
            b'0' => {
                self.pop()?;
                None
            }
            b'N' | 0x88 | 0x89 => Some(Value::Other),
            b'G' => self.skip(8)?.or(Some(Value::Other)),
            b'K' => Some(Value::Int(self.uint::<1>()? as i64)),
            b'M' => Some(Value::Int(self.uint::<2>()? as i64)),
            b'J' => Some(Value::Int(i64::from(self.uint::<4>()? as u32 as i32))),
            0x8a => Some(self.long()?),
            b'X' => Some(self.text::<4>()?),
            0x8c => Some(self.text::<1>()?),
            0x8d => Some(self.text::<8>()?),
            b'U' | b'C' => self.raw::<1>().map(|_| Some(Value::Other))?,
            b'T' | b'B' => self.raw::<4>().map(|_| Some(Value::Other))?,
            b'c' => Some(Value::Global(self.line()?, self.line()?)),
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => Some(Value::Global(module, name)),
                _ => return Err("a global without a name".into()),
            },
            b')' => Some(Value::Tuple(self.node(Vec::new()))),
            b't' => Some(Value::Tuple(self.since_mark()?)),
            0x85..=0x87 => {
                let from =
                    self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or("the stack is empty")?;
                let items = self.stack.split_off(from);
                Some(Value::Tuple(self.node(items)))
            }
            b']' => Some(Value::List(self.node(Vec::new()))),
            b'l' => Some(Value::List(self.since_mark()?)),
            // Sets are kept like lists: nothing in them is a tensor.
            0x8f => Some(Value::List(self.node(Vec::new()))),
            b'}' => Some(Value::Dict(self.node(Vec::new()))),
            b'd' => Some(Value::Dict(self.since_mark()?)),
            b'a' => self.extend_last(1)?,
            b's' => self.extend_last(2)?,
            b'e' | b'u' | 0x90 => {
                let mark = self.mark()?;
                self.extend_last(self.stack.len() - mark)?
            }
            b'q' => self.remember::<1>()?,
            b'r' => self.remember::<4>()?,
            0x94 => {
                let last = self.last()?;
                self.memo.insert(self.memo.len() as u64, last);
                None
            }
            b'h' => Some(self.recall::<1>()?),
            b'j' => Some(self.recall::<4>()?),
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                Some(self.call(callable, arguments))
            }
            // The state of an object that we never made; a state dict's `_metadata`.
            b'b' => {
                self.pop()?;
                None
            }
            b'Q' => {
                let id = self.pop()?;
                Some(Value::Persistent(self.node(vec![id])))
            }
            other => return Err(format!("opcode {other:#04x} is none that torch.save writes for tensors")),
        };
        self.stack.extend(value);
        Ok(None)
    }

    fn node(&mut self, items: Vec<Value<'a>>) -> usize {
        self.nodes.push(items);
        self.nodes.len() - 1
    }

    fn last(&self) -> Result<Value<'a>, String> {
        self.stack.last().copied().ok_or_else(|| "the stack is empty".into())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn mark(&mut self) -> Result<usize, String> {
        self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(|| "no mark".into())
    }

    fn since_mark(&mut self) -> Result<usize, String> {
        let mark = self.mark()?;
        let items = self.stack.split_off(mark);
        Ok(self.node(items))
    }

    /// Moves the last `n` values into the list or dictionary below them. Into an object that we never
    /// made, they are dropped.
    fn extend_last(&mut self, n: usize) -> Result<Option<Value<'a>>, String> {
        let from = self.stack.len().checked_sub(n).ok_or("the stack is empty")?;
        let items = self.stack.split_off(from);
        match self.last()? {
            Value::Dict(_) if n % 2 == 1 => return Err("a key without a value".into()),
            Value::List(i) | Value::Dict(i) => self.nodes[i].extend(items),
            _ => {}
        }
        Ok(None)
    }

    fn remember<const N: usize>(&mut self) -> Result<Option<Value<'a>>, String> {
        let (key, value) = (self.uint::<N>()?, self.last()?);
        self.memo.insert(key, value);
        Ok(None)
    }

    fn recall<const N: usize>(&mut self) -> Result<Value<'a>, String> {
        let key = self.uint::<N>()?;
        self.memo.get(&key).copied().ok_or_else(|| format!("nothing was remembered under {key}"))
    }

    /// Ordered dictionaries are dictionaries; everything else stays unmade.
    fn call(&mut self, callable: Value<'a>, arguments: Value<'a>) -> Value<'a> {
        match callable {
            Value::Global("collections", "OrderedDict" | "defaultdict") => Value::Dict(self.node(Vec::new())),
            _ => Value::Call(self.node(vec![callable, arguments])),
        }
    }

    fn skip(&mut self, n: usize) -> Result<Option<Value<'a>>, String> {
        self.take(n).map(|_| None)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let left = self.bytes.len();
        let (taken, rest) =
            self.bytes.split_at_checked(n).ok_or_else(|| format!("needs {n} bytes, {left} are left"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn uint<const N: usize>(&mut self) -> Result<u64, String> {
        Ok(self.take(N)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn raw<const N: usize>(&mut self) -> Result<&'a [u8], String> {
        let length = self.uint::<N>()?;
        self.take(usize::try_from(length).map_err(|e| e.to_string())?)
    }

    fn text<const N: usize>(&mut self) -> Result<Value<'a>, String> {
        let bytes = self.raw::<N>()?;
        std::str::from_utf8(bytes).map(Value::Text).map_err(|e| e.to_string())
    }

    /// Little-endian two's complement; only torch's magic number is longer than eight bytes, and nobody
    /// reads its value here.
    fn long(&mut self) -> Result<Value<'a>, String> {
        let bytes = self.raw::<1>()?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let byte = |i: usize| bytes.get(i).copied().unwrap_or(fill);
        Ok(Value::Int(i64::from_le_bytes(std::array::from_fn(byte))))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.bytes.iter().position(|b| *b == b'\n').ok_or("a name does not end")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reduce_is_kept_as_a_name_and_never_called() {
        let mut bytes: &[u8] = b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R.";
        let pickle = read(&mut bytes).unwrap();
        let [callable, arguments] = pickle.items(pickle.root) else { panic!("no call") };
        assert_eq!(*callable, Value::Global("os", "system"));
        assert_eq!(pickle.items(*arguments), [Value::Text("echo")]);
    }

    #[test]
    fn references_that_would_double_a_thousand_times_cost_nothing() {
        let mut bytes = b"\x80\x02)".to_vec();
        for _ in 0..1000 {
            bytes.extend(b"q\0h\0\x86");
        }
        bytes.push(b'.');
        let pickle = read(&mut bytes.as_slice()).unwrap();
        assert_eq!(pickle.nodes().count(), 1001);
    }

    #[test]
    fn a_stream_cut_anywhere_is_an_error() {
        let whole = b"\x80\x02}q\0(X\x01\0\0\0aK\x01X\x01\0\0\0bM\0\x01u.";
        let pickle = read(&mut &whole[..]).unwrap();
        assert_eq!(pickle.get(pickle.root, "b"), Some(Value::Int(256)));
        for n in 0..whole.len() {
            read(&mut &whole[..n]).unwrap_err();
        }
    }

    #[test]
    fn an_unknown_opcode_names_its_place() {
        let error = read(&mut &b"\x80\x02Ifoo\n."[..]).unwrap_err();
        assert_eq!(error, "pickle, byte 2: opcode 0x49 is none that torch.save writes for tensors");
    }
}
