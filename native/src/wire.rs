//! The encodings of an envelope, each in its shortest form (docs/spec/envelope.md, "Encoding").

use std::ops::Range;

use crate::fault::Fault;

/// Return the header of a bin, and how many of its bytes count.
pub fn bin_header(size: usize) -> Result<([u8; 5], usize), Fault> {
    let size = u32::try_from(size).map_err(|_| Fault)?;
    let [a, b, c, d] = size.to_be_bytes();
    Ok(match size {
        0..=0xff => ([0xc4, d, 0, 0, 0], 2),
        0x100..=0xffff => ([0xc5, c, d, 0, 0], 3),
        _ => ([0xc6, a, b, c, d], 5),
    })
}

/// Return the header of an array of at most 65,535 items, and how many of its bytes count.
pub fn array_header(count: usize) -> Result<([u8; 3], usize), Fault> {
    let count = u16::try_from(count).map_err(|_| Fault)?;
    let [a, b] = count.to_be_bytes();
    Ok(if count < 16 { ([0x90 | b, 0, 0], 1) } else { ([0xdc, a, b], 3) })
}

/// Return the length of a bin of `size` bytes with its header.
pub fn bin_size(size: usize) -> Result<usize, Fault> {
    let (_, header) = bin_header(size)?;
    size.checked_add(header).ok_or(Fault)
}

/// Return the length of the header of an array.
pub fn array_size(count: usize) -> Result<usize, Fault> {
    Ok(array_header(count)?.1)
}

/// Writes an envelope into memory of its exact length.
pub struct Writer<'a> {
    memory: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Begin at the start of `memory`.
    pub const fn new(memory: &'a mut [u8]) -> Self {
        Self { memory, at: 0 }
    }

    /// Reserve the next `size` bytes, and return them to be filled.
    pub fn place(&mut self, size: usize) -> Result<&mut [u8], Fault> {
        let start = self.at;
        self.at = start.checked_add(size).ok_or(Fault)?;
        self.memory.get_mut(start..self.at).ok_or(Fault)
    }

    /// Write bytes.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.place(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Write the header of a bin.
    pub fn put_bin_header(&mut self, size: usize) -> Result<(), Fault> {
        let (header, count) = bin_header(size)?;
        self.put(header.get(..count).ok_or(Fault)?)
    }

    /// Write the header of an array.
    pub fn put_array_header(&mut self, count: usize) -> Result<(), Fault> {
        let (header, size) = array_header(count)?;
        self.put(header.get(..size).ok_or(Fault)?)
    }

    /// Return everything written.
    pub fn written(&self) -> Result<&[u8], Fault> {
        self.memory.get(..self.at).ok_or(Fault)
    }

    /// Check that the memory is full: the length was right.
    pub fn finish(self) -> Result<(), Fault> {
        if self.at == self.memory.len() { Ok(()) } else { Err(Fault) }
    }
}

/// Reads values from `data[at..end]`; returns None for all but the shortest form.
pub struct Reader<'a> {
    data: &'a [u8],
    /// The offset of the next value.
    pub at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Begin at an offset.
    pub const fn new(data: &'a [u8], at: usize, end: usize) -> Self {
        Self { data, at, end }
    }

    fn take(&mut self, size: usize) -> Option<Range<usize>> {
        let start = self.at;
        let end = start.checked_add(size).filter(|end| *end <= self.end)?;
        self.at = end;
        Some(start..end)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).and_then(|range| self.data.get(range.start)).copied()
    }

    /// Read a number of `width` bytes that is at least `least`.
    fn number(&mut self, width: usize, least: usize) -> Option<usize> {
        let bytes = self.take(width).and_then(|range| self.data.get(range))?;
        let value = bytes.iter().try_fold(0_usize, |value, byte| {
            value.checked_mul(256)?.checked_add(usize::from(*byte))
        })?;
        (value >= least).then_some(value)
    }

    /// Read a bin of at most `most` bytes, and return where its content is.
    pub fn bin(&mut self, most: usize) -> Option<Range<usize>> {
        let size = match self.byte()? {
            0xc4 => self.number(1, 0),
            0xc5 => self.number(2, 1 << 8),
            0xc6 => self.number(4, 1 << 16),
            _ => None,
        }?;
        if size > most { None } else { self.take(size) }
    }

    /// Read the header of an array of at most `most` items.
    pub fn array(&mut self, most: usize) -> Option<usize> {
        let count = match self.byte()? {
            short @ 0x90..=0x9f => Some(usize::from(short & 15)),
            0xdc => self.number(2, 16),
            0xdd => self.number(4, 1 << 16),
            _ => None,
        }?;
        (count <= most).then_some(count)
    }
}
