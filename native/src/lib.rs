//! The native core of xkeymsg: seals and opens xkm1 envelopes (docs/native.md).
//!
//! The Python package decides who may send, what is fresh and what is released; it gives this
//! module the time of a message. An envelope that does not open here is opened in Python, which
//! says why.

mod aead;
mod fault;
mod hash;
mod key;
mod open;
mod seal;
mod session;
mod wire;

/// The module `xkeymsg_native`.
#[pyo3::pymodule]
mod xkeymsg_native {
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyList, PyTuple};

    #[pymodule_export]
    use crate::key::Key;
    #[pymodule_export]
    use crate::session::Session;

    /// The format, and the version of this interface: `xkeymsg.native` accepts no other.
    #[pymodule_export]
    const INTERFACE: &str = "xkm1 2";
    /// The version of the distribution.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Assemble an envelope from given numbers, as `xkeymsg.envelope.seal.assemble` does.
    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "a list cannot be borrowed as a slice")]
    fn assemble<'py>(
        plan: &Bound<'py, PyTuple>,
        nonce: [u8; 12],
        created_ms: u64,
        contents: &Bound<'py, PyList>,
        keys: Vec<Vec<u8>>,
        signer: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let keys =
            keys.iter().map(|key| crate::hash::secret(key)).collect::<Result<Vec<_>, _>>()?;
        let route = crate::seal::Route::read(plan)?;
        crate::seal::assemble(&route, &nonce, created_ms, contents, &keys, signer)
    }
}
