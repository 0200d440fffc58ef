//! Device memory, every access checked; and a block's shared memory, which also sees races.

use crate::order::{Order, Touched};

/// Global memory. Each allocation has a window of 4 GiB of addresses to itself, so a stray index meets nothing.
#[derive(Debug, Default)]
pub struct Heap {
    windows: Vec<Option<Window>>,
    pub(crate) order: Order,
}

#[derive(Debug)]
struct Window {
    bytes: Vec<u8>,
    touched: Touched,
}

impl Heap {
    /// `bytes` of memory that holds 0xA5, so that what was never written shows.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        self.windows.push(Some(Window { bytes: vec![0xa5; bytes], touched: Touched::default() }));
        (self.windows.len() as u64) << 32
    }

    /// Gives an allocation back.
    ///
    /// # Errors
    /// An address that no allocation starts at.
    pub fn free(&mut self, address: u64) -> Result<(), String> {
        let window = (address >> 32) as usize;
        match window.checked_sub(1).and_then(|i| self.windows.get_mut(i)).map(Option::take) {
            Some(Some(_)) if address as u32 == 0 => Ok(()),
            _ => Err(format!("free of {address:#x}, which is not allocated")),
        }
    }

    /// `len` bytes at an address.
    ///
    /// # Errors
    /// Anything outside of one live allocation.
    pub fn at(&mut self, address: u64, len: usize) -> Result<&mut [u8], String> {
        self.window(address, len).map(|(bytes, ..)| bytes)
    }

    /// The same for the operation at work, which reads or writes them.
    ///
    /// # Errors
    /// As [`at`](Self::at), and where nothing keeps this operation from running beside another on the same allocation.
    pub(crate) fn touch(&mut self, address: u64, len: usize, write: bool) -> Result<&mut [u8], String> {
        let (bytes, touched, order) = self.window(address, len)?;
        touched.by(order, write)?;
        Ok(bytes)
    }

    fn window(&mut self, address: u64, len: usize) -> Result<(&mut [u8], &mut Touched, &Order), String> {
        let window = (address >> 32) as usize;
        let Some(Some(Window { bytes, touched })) =
            window.checked_sub(1).and_then(|i| self.windows.get_mut(i))
        else {
            return Err(format!("access to {address:#x}, which is not allocated"));
        };
        let (start, size) = (address as u32 as usize, bytes.len());
        let bytes = bytes
            .get_mut(start..start + len)
            .ok_or_else(|| format!("access to bytes {start}..{} of an allocation of {size}", start + len))?;
        Ok((bytes, touched, &self.order))
    }
}

/// Who touched a byte since the last barrier.
#[derive(Clone, Copy, Default)]
struct Touch {
    epoch: u32,
    written_by: u32,
    read_by: u32,
}

const MANY: u32 = u32::MAX;
/// Whoever touches memory by an atomic operation: those do not race with each other.
pub(crate) const ATOMIC: u32 = u32::MAX - 2;

/// A block's shared memory.
pub(crate) struct Shared {
    bytes: Vec<u8>,
    touched: Vec<Touch>,
    epoch: u32,
}

impl Shared {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0xa5; bytes], touched: vec![Touch::default(); bytes], epoch: 1 }
    }

    /// All threads have met: what was written before may be read now.
    pub(crate) fn barrier(&mut self) {
        self.epoch += 1;
    }

    /// # Errors
    /// Beyond the block's memory, or touched by another thread since the last barrier where one of the two writes.
    pub(crate) fn at(
        &mut self,
        address: u64,
        len: usize,
        thread: u32,
        write: bool,
    ) -> Result<&mut [u8], String> {
        let start = address as usize;
        let size = self.bytes.len();
        if start + len > size {
            return Err(format!("access to bytes {start}..{} of {size} of shared memory", start + len));
        }
        let me = thread + 1;
        for touch in &mut self.touched[start..start + len] {
            if touch.epoch != self.epoch {
                *touch = Touch { epoch: self.epoch, ..Touch::default() };
            }
            let raced = touch.written_by != 0 && touch.written_by != me
                || write && touch.read_by != 0 && touch.read_by != me;
            if raced {
                return Err(format!(
                    "race: shared byte {start} is used by two threads without a barrier between"
                ));
            }
            match write {
                true => touch.written_by = me,
                false if touch.read_by == 0 || touch.read_by == me => touch.read_by = me,
                false => touch.read_by = MANY,
            }
        }
        Ok(&mut self.bytes[start..start + len])
    }
}
