//! K, the key of a wrap: seals for one recipient, or opens for this reader.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::aead::{Aead, NonceBytes, TAG_SIZE};
use crate::fault::{Fault, caught};
use crate::hash::secret;
use crate::open::{Envelope, open};

pyo3::import_exception!(cryptography.exceptions, InvalidTag);

/// A ChaCha20-Poly1305 key, wiped when the object is freed; neither copied nor pickled.
#[pyclass(frozen, module = "xkeymsg_native")]
pub struct Key(Aead);

impl From<Aead> for Key {
    fn from(aead: Aead) -> Self {
        Self(aead)
    }
}

impl Key {
    /// Return the cipher.
    pub const fn aead(&self) -> &Aead {
        &self.0
    }
}

fn nonce_of(bytes: &[u8]) -> Result<&NonceBytes, Fault> {
    bytes.try_into().map_err(|_| Fault)
}

#[pymethods]
impl Key {
    /// Take 32 bytes.
    #[new]
    fn new(key: &[u8]) -> PyResult<Self> {
        Ok(Self(Aead::new(secret(key)?)))
    }

    /// Encrypt: the result is 16 bytes longer.
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        nonce: &[u8],
        data: &[u8],
        aad: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let nonce = nonce_of(nonce)?;
        let size = data.len().checked_add(TAG_SIZE).ok_or(Fault)?;
        PyBytes::new_with(py, size, |place| {
            place.get_mut(..data.len()).ok_or(Fault)?.copy_from_slice(data);
            Ok(self.0.seal(nonce, aad, place)?)
        })
    }

    /// Decrypt a short buffer, or raise `cryptography.exceptions.InvalidTag`.
    fn decrypt<'py>(
        &self,
        py: Python<'py>,
        nonce: &[u8],
        data: &Bound<'py, PyAny>,
        aad: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (nonce, data) = (nonce_of(nonce)?, &PyBuffer::<u8>::get(data)?.to_vec(py)?);
        let size = data.len().checked_sub(TAG_SIZE).ok_or_else(|| InvalidTag::new_err(()))?;
        PyBytes::new_with(py, size, |text| {
            if self.0.open(nonce, aad, data, text) { Ok(()) } else { Err(InvalidTag::new_err(())) }
        })
    }

    /// Open an envelope under this key, from the tags to the plaintexts.
    ///
    /// Args are the envelope, the end of its head, E, the nonce, the tag of this key, tags that must
    /// not be among those of the envelope, whether it may be signed, and the most recipients, views
    /// and parts. Return None if the envelope does not open; why, the caller finds out in Python.
    #[expect(clippy::too_many_arguments, reason = "each is a value of one message")]
    fn open<'py>(
        &self,
        py: Python<'py>,
        envelope: &[u8],
        head_end: usize,
        ephemeral: &[u8],
        nonce: &[u8],
        tag: &[u8],
        others: &[u8],
        signable: bool,
        most: (usize, usize, usize),
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let nonce = nonce_of(nonce)?;
        let envelope = Envelope { bytes: envelope, head_end, ephemeral, nonce, signable, most };
        caught(|| open(py, &envelope, &self.0, tag, others)).or_else(|_: PyErr| Ok(None))
    }

    #[expect(clippy::unused_self, reason = "Python's protocol")]
    fn __repr__(&self) -> &'static str {
        "<Key>"
    }

    #[expect(clippy::unused_self, reason = "Python's protocol")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("a key cannot be pickled or copied"))
    }
}
