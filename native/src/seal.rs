//! Assembles an envelope from a prepared route (docs/spec/envelope.md, "Sealing order").

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::aead::{Aead, NonceBytes, TAG_SIZE, ZERO_NONCE};
use crate::fault::Fault;
use crate::hash::{Label, PART, Secret, VIEW, hash_64, sha256};
use crate::key::Key;
use crate::wire::{Writer, array_size, bin_size};

pyo3::import_exception!(xkeymsg.errors, LimitExceededError);

/// Bytes of a wrap: an index, a key and a tag.
pub const WRAP_SIZE: usize = 49;
/// Bytes of a commitment.
pub const COMMIT_SIZE: usize = 32;
/// Bytes of one grant in a view: an index and a key.
pub const GRANT_SIZE: usize = 33;
/// Type, commitment and tag of a part.
pub const PART_OVERHEAD: usize = 49;
/// Commitment and tag of a view.
pub const VIEW_OVERHEAD: usize = 48;
/// Bytes of a signature.
pub const SIGNATURE_SIZE: usize = 64;
/// From this many bytes on, a content is encrypted and hashed without the interpreter's lock.
pub const LARGE: usize = 1 << 16;

const UINT_64: u8 = 0xcf;
/// Bytes of an encoded time.
const TIME_SIZE: usize = 9;

/// Call a function, without the interpreter's lock if it works on many bytes.
pub fn unlocked<T: Send>(py: Python<'_>, size: usize, work: impl Send + FnOnce() -> T) -> T {
    if size < LARGE { work() } else { py.detach(work) }
}

/// A prepared route, read from the tuple `Plan` of `xkeymsg.envelope.seal`.
pub struct Route {
    ephemeral: Vec<u8>,
    before: Vec<u8>,
    between: Vec<u8>,
    wraps_header: Vec<u8>,
    unsigned: Vec<u8>,
    wraps: Vec<Py<Key>>,
    views: Vec<Vec<u8>>,
    order: Vec<u8>,
}

impl Route {
    /// Read a plan, which is immutable.
    pub fn read(plan: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let audience = tuple_at(plan, 3)?;
        Ok(Self {
            ephemeral: bytes_at(plan, 0)?,
            before: bytes_at(plan, 1)?,
            between: bytes_at(plan, 2)?,
            wraps_header: bytes_at(&audience, 2)?,
            unsigned: bytes_at(&audience, 3)?,
            wraps: tuple_at(&audience, 4)?
                .iter()
                .map(|wrap| Ok(wrap.cast_into::<Key>()?.unbind()))
                .collect::<PyResult<_>>()?,
            views: tuple_at(&audience, 5)?
                .iter()
                .map(|view| numbers(&view.cast_into::<PyTuple>()?))
                .collect::<PyResult<_>>()?,
            order: numbers(&tuple_at(&audience, 6)?)?,
        })
    }

    /// Return the number of views.
    pub const fn views(&self) -> usize {
        self.views.len()
    }

    /// Return the length of an envelope with these parts.
    fn length(&self, parts: &[Part<'_>], signed: bool) -> Result<usize, Fault> {
        let mut sum = Sum(0);
        sum.add(self.before.len())?;
        sum.add(size_of::<NonceBytes>())?;
        sum.add(TIME_SIZE)?;
        sum.add(self.between.len())?;
        for view in &self.views {
            sum.add(bin_size(view_size(view)?)?)?;
        }
        if !self.views.is_empty() {
            sum.add(array_size(parts.len())?)?;
        }
        for part in parts {
            sum.add(bin_size(part.size)?)?;
        }
        if signed {
            sum.add(bin_size(SIGNATURE_SIZE)?)?;
            sum.add(self.wraps_header.len())?;
        } else {
            sum.add(self.unsigned.len())?;
        }
        sum.add(self.wraps.len().checked_mul(WRAP_SIZE).ok_or(Fault)?)?;
        Ok(sum.0)
    }
}

/// The type and content of a part, and the length of what it becomes.
struct Part<'py> {
    kind: u8,
    content: Bound<'py, PyBytes>,
    size: usize,
}

impl<'py> Part<'py> {
    /// Read a pair, and check that its length can be encoded.
    fn read(item: Bound<'py, PyAny>) -> PyResult<Self> {
        let item = item.cast_into::<PyTuple>()?;
        let content = item.get_item(1)?.cast_into::<PyBytes>()?;
        let size = content.as_bytes().len().checked_add(PART_OVERHEAD).ok_or(Fault)?;
        if u32::try_from(size).is_err() {
            let what = "bytes or items of one value";
            return Err(LimitExceededError::new_err((what, size, u32::MAX)));
        }
        Ok(Self { kind: item.get_borrowed_item(0)?.extract()?, content, size })
    }

    fn content(&self) -> Content<'_> {
        Content { kind: self.kind, bytes: self.content.as_bytes(), size: self.size }
    }
}

/// A part without the interpreter's lock.
struct Content<'a> {
    kind: u8,
    bytes: &'a [u8],
    size: usize,
}

struct Sum(usize);

impl Sum {
    fn add(&mut self, size: usize) -> Result<(), Fault> {
        self.0 = self.0.checked_add(size).ok_or(Fault)?;
        Ok(())
    }
}

fn view_size(granted: &[u8]) -> Result<usize, Fault> {
    granted
        .len()
        .checked_mul(GRANT_SIZE)
        .and_then(|size| size.checked_add(VIEW_OVERHEAD))
        .ok_or(Fault)
}

fn bytes_at(tuple: &Bound<'_, PyTuple>, at: usize) -> PyResult<Vec<u8>> {
    Ok(tuple.get_item(at)?.cast_into::<PyBytes>()?.as_bytes().to_vec())
}

fn tuple_at<'py>(tuple: &Bound<'py, PyTuple>, at: usize) -> PyResult<Bound<'py, PyTuple>> {
    Ok(tuple.get_item(at)?.cast_into::<PyTuple>()?)
}

fn numbers(tuple: &Bound<'_, PyTuple>) -> PyResult<Vec<u8>> {
    tuple.iter().map(|number| number.extract()).collect()
}

/// Encrypts the views and parts of one message.
#[derive(Clone, Copy)]
struct Cipher<'a> {
    ephemeral: &'a [u8],
    nonce: &'a NonceBytes,
}

impl Cipher<'_> {
    fn keys(self, label: &Label, index: u8, key: &Secret) -> Result<(Aead, Secret), Fault> {
        let data = [self.ephemeral, self.nonce, &[index]];
        let (key, commitment) = hash_64(label, key.as_slice(), &data)?;
        Ok((Aead::new(key), commitment))
    }

    /// Write a part: its type, its commitment, and its content under a key used only here.
    fn put_part(
        self,
        writer: &mut Writer<'_>,
        index: u8,
        part: &Content<'_>,
        key: &Secret,
    ) -> Result<(), Fault> {
        let (aead, commitment) = self.keys(PART, index, key)?;
        writer.put_bin_header(part.size)?;
        writer.put(&[part.kind])?;
        writer.put(commitment.as_slice())?;
        let place = writer.place(part.bytes.len().checked_add(TAG_SIZE).ok_or(Fault)?)?;
        place.get_mut(..part.bytes.len()).ok_or(Fault)?.copy_from_slice(part.bytes);
        aead.seal(ZERO_NONCE, &[], place)
    }

    /// Write a view: its commitment, and the numbers and keys of the granted parts.
    fn put_view(
        self,
        writer: &mut Writer<'_>,
        index: u8,
        granted: &[u8],
        keys: &[Secret],
        key: &Secret,
    ) -> Result<(), Fault> {
        let (aead, commitment) = self.keys(VIEW, index, key)?;
        let size = view_size(granted)?;
        writer.put_bin_header(size)?;
        writer.put(commitment.as_slice())?;
        let place = writer.place(size.checked_sub(COMMIT_SIZE).ok_or(Fault)?)?;
        for (part, grant) in granted.iter().zip(place.chunks_exact_mut(GRANT_SIZE)) {
            put_grant(grant, *part, keys.get(usize::from(*part)).ok_or(Fault)?)?;
        }
        aead.seal(ZERO_NONCE, &[], place)
    }
}

/// Write an index and a key into the first 33 bytes of a place.
fn put_grant(place: &mut [u8], index: u8, key: &Secret) -> Result<(), Fault> {
    let (first, rest) = place.split_first_mut().ok_or(Fault)?;
    *first = index;
    rest.get_mut(..key.len()).ok_or(Fault)?.copy_from_slice(key.as_slice());
    Ok(())
}

/// Write a wrap for each recipient, in the order of their tags.
fn put_wraps(
    writer: &mut Writer<'_>,
    route: &Route,
    nonce: &NonceBytes,
    keys: &[Secret],
    transcript: &[u8],
) -> PyResult<()> {
    let mut views = route.order.iter();
    for wrap in &route.wraps {
        let index = if route.views.is_empty() { 0 } else { *views.next().ok_or(Fault)? };
        let place = writer.place(WRAP_SIZE)?;
        put_grant(place, index, keys.get(usize::from(index)).ok_or(Fault)?)?;
        wrap.get().aead().seal(nonce, transcript, place)?;
    }
    Ok(())
}

/// Sign a SHA-256, by `xkeymsg.envelope.seal.sign`.
fn sign<'py>(signer: &Bound<'py, PyAny>, digest: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    static SIGN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let sign = SIGN.import(signer.py(), "xkeymsg.envelope.seal", "sign")?;
    Ok(sign.call1((signer, PyBytes::new(signer.py(), digest)))?.cast_into()?)
}

/// Assemble an envelope: the same arguments make the same bytes.
///
/// `keys` are those of the parts, followed by one for each view.
pub fn assemble<'py>(
    route: &Route,
    nonce: &NonceBytes,
    created_ms: u64,
    contents: &Bound<'py, PyList>,
    keys: &[Secret],
    signer: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = contents.py();
    let parts = contents.iter().map(Part::read).collect::<PyResult<Vec<_>>>()?;
    let (of_parts, of_views) = keys.split_at_checked(parts.len()).ok_or(Fault)?;
    let shape = if route.views.is_empty() { 1 } else { parts.len() };
    if of_views.len() != route.views.len() || parts.len() != shape {
        return Err(Fault.into());
    }
    let length = route.length(&parts, signer.is_some())?;
    let cipher = Cipher { ephemeral: &route.ephemeral, nonce };
    PyBytes::new_with(py, length, |memory| {
        let mut writer = Writer::new(memory);
        writer.put(&route.before)?;
        writer.put(nonce)?;
        writer.put(&[UINT_64])?;
        writer.put(&created_ms.to_be_bytes())?;
        writer.put(&route.between)?;
        for ((index, granted), key) in route.views.iter().enumerate().zip(of_views) {
            let index = u8::try_from(index).map_err(|_| Fault)?;
            cipher.put_view(&mut writer, index, granted, of_parts, key)?;
        }
        if !route.views.is_empty() {
            writer.put_array_header(parts.len())?;
        }
        for ((index, part), key) in parts.iter().enumerate().zip(of_parts) {
            let index = u8::try_from(index).map_err(|_| Fault)?;
            let content = part.content();
            let size = content.bytes.len();
            unlocked(py, size, || cipher.put_part(&mut writer, index, &content, key))?;
        }
        if let Some(signer) = signer {
            let digest = unlocked(py, length, || Ok::<_, Fault>(sha256(writer.written()?)))?;
            let signature = sign(signer, &digest)?;
            writer.put_bin_header(SIGNATURE_SIZE)?;
            writer.put(signature.as_bytes())?;
            writer.put(&route.wraps_header)?;
        } else {
            writer.put(&route.unsigned)?;
        }
        let transcript = unlocked(py, length, || Ok::<_, Fault>(sha256(writer.written()?)))?;
        let granted = if route.views.is_empty() { of_parts } else { of_views };
        put_wraps(&mut writer, route, nonce, granted, &transcript)?;
        Ok(writer.finish()?)
    })
}
