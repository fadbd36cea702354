//! K, the key of a wrap: seals for one recipient, or opens for this reader.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::aead::{Aead, NonceBytes, TAG_SIZE};
use crate::fault::{Fault, caught};
use crate::hash::secret;
use crate::open::{Envelope, Most, open};

pyo3::import_exception!(cryptography.exceptions, InvalidTag);

/// A ChaCha20-Poly1305 key, wiped when the object is freed; neither copied nor pickled.
#[pyclass(frozen, module = "xkeymsg_native")]
pub struct Key {
    aead: Aead,
    /// The limits of the reader; none for a sender.
    most: Most,
}

impl From<Aead> for Key {
    fn from(aead: Aead) -> Self {
        Self { aead, most: Most::default() }
    }
}

impl Key {
    /// Return the cipher.
    pub const fn aead(&self) -> &Aead {
        &self.aead
    }
}

fn nonce_of(bytes: &[u8]) -> Result<&NonceBytes, Fault> {
    bytes.try_into().map_err(|_| Fault)
}

#[pymethods]
impl Key {
    /// Take 32 bytes, and the `Limits` of the reader.
    #[new]
    fn new(key: &[u8], limits: &Bound<'_, PyAny>) -> PyResult<Self> {
        let of = |name| limits.getattr(name)?.extract();
        let most = Most { recipients: of("recipients")?, views: of("views")?, parts: of("parts")? };
        Ok(Self { aead: Aead::new(secret(key)?), most })
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
            Ok(self.aead.seal(nonce, aad, place)?)
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
            if self.aead.open(nonce, aad, data, text) {
                Ok(())
            } else {
                Err(InvalidTag::new_err(()))
            }
        })
    }

    /// Open an envelope under this key, from the tags to the plaintexts.
    ///
    /// `located` is its tuple `Located`, `tag` the tag of this key; none of the tags `others` may be
    /// among those of the envelope. Return its `Body` and the plaintexts by part, or None if it does
    /// not open: Python then finds out why.
    fn open<'py>(
        &self,
        located: &Bound<'py, PyTuple>,
        tag: &[u8],
        others: &[u8],
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = located.py();
        let (bytes, head) = (located.get_borrowed_item(0)?, located.get_borrowed_item(2)?);
        let (bytes, head) = (bytes.cast::<PyBytes>()?, head.cast::<PyTuple>()?);
        let (ephemeral, nonce) = (head.get_borrowed_item(1)?, head.get_borrowed_item(2)?);
        let (ephemeral, nonce) = (ephemeral.cast::<PyBytes>()?, nonce.cast::<PyBytes>()?);
        let envelope = Envelope {
            bytes: bytes.as_bytes(),
            head_end: located.get_borrowed_item(3)?.extract()?,
            ephemeral: ephemeral.as_bytes(),
            nonce: nonce_of(nonce.as_bytes())?,
            signable: !head.get_borrowed_item(6)?.is_none(),
            most: self.most,
        };
        caught(|| open(py, &envelope, &self.aead, tag, others)).or_else(|_: PyErr| Ok(None))
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
