//! A sender's session: its ephemeral key, its counter and its limits.

use std::cmp::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blake2::digest::Update;
use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::aead::{Aead, NonceBytes};
use crate::fault::{Fault, caught};
use crate::hash::{
    Double, HEDGE, Hash, Secret, WRAP, begin_64, finish_64, hash_32, secret, split_64,
};
use crate::key::Key;
use crate::seal::assemble;

pyo3::import_exception!(xkeymsg.envelope.session, SessionEndedError);
pyo3::import_exception!(xkeymsg.errors, BadKeyError);

/// Messages of a session (E-22).
const MAX_COUNTER: u32 = 1 << 20;

/// Random bytes for the nonce and the first key, and those that are mixed for two further keys.
const FIRST_DRAW: usize = 40;
const NEXT_DRAW: usize = 64;

/// What must not outlive the session; each field wipes itself when dropped.
struct Secrets {
    ephemeral: StaticSecret,
    /// Begun with the secret of the session, which is mixed into everything drawn (E-27).
    hedge: Hash,
    /// The last counter taken.
    counter: u32,
    /// When the session ends, in seconds of the caller's monotonic clock.
    ends: f64,
}

impl Secrets {
    /// Mix random bytes with the session's secret and the clock.
    fn mix(&self, random: &[u8], now_ns: u64, position: u32) -> Double {
        let mut hash = self.hedge.clone();
        hash.update(random);
        hash.update(&now_ns.to_be_bytes());
        hash.update(&position.to_be_bytes());
        finish_64(hash)
    }
}

/// The secrets of a session in one process; neither copied nor pickled.
///
/// It ends with `end`, at its time, with its last counter, and in a forked child: then its secrets
/// are wiped, except in the child, where they are unused.
#[pyclass(frozen, module = "xkeymsg_native")]
pub struct Session {
    public: PublicKey,
    process: u32,
    secrets: Mutex<Option<Secrets>>,
}

impl Session {
    /// Lock the secrets. No lock is held while Python code runs, so that no fork leaves one behind.
    fn lock(&self) -> PyResult<MutexGuard<'_, Option<Secrets>>> {
        if std::process::id() != self.process {
            return Err(SessionEndedError::new_err(()));
        }
        Ok(self.secrets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Take the next counter; return a nonce and `count` keys (E-23, E-26).
    fn draw(
        &self,
        count: usize,
        now_ns: u64,
        monotonic: f64,
        random: &[u8],
    ) -> PyResult<(NonceBytes, Vec<Secret>)> {
        let mut lock = self.lock()?;
        let over = lock.as_ref().is_some_and(|secrets| {
            let due = secrets.ends.partial_cmp(&monotonic) != Some(Ordering::Greater);
            due || secrets.counter >= MAX_COUNTER
        });
        if over {
            *lock = None; // wipes them; `Option::take` would leave the bytes in their place
        }
        let secrets = lock.as_mut().ok_or_else(|| SessionEndedError::new_err(()))?;
        secrets.counter = secrets.counter.saturating_add(1);
        let (first, rest) = random.split_at_checked(FIRST_DRAW).ok_or(Fault)?;
        let drawn = secrets.mix(first, now_ns, 0);
        let (tail, key) = drawn.split_at_checked(8).ok_or(Fault)?;
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().zip(secrets.counter.to_be_bytes().iter().chain(tail)) {
            *to = *from;
        }
        // With room for all: a vector that grows leaves copies of the keys in freed memory.
        let pairs = rest.len().div_ceil(NEXT_DRAW);
        let mut keys = Vec::with_capacity(pairs.saturating_mul(2).saturating_add(1));
        keys.push(secret(key.get(..32).ok_or(Fault)?)?);
        for (position, random) in (1..).step_by(NEXT_DRAW).zip(rest.chunks(NEXT_DRAW)) {
            let (one, two) = split_64(&secrets.mix(random, now_ns, position))?;
            keys.extend([one, two]);
        }
        drop(lock);
        keys.truncate(count);
        if keys.len() == count { Ok((nonce, keys)) } else { Err(Fault.into()) }
    }
}

#[pymethods]
impl Session {
    /// Begin a session that ends at a time of the monotonic clock.
    ///
    /// `secret` is e, for test vectors, and `hedge` what is mixed into drawn bytes, for tests.
    #[new]
    #[pyo3(signature = (ends, secret=None, hedge=None))]
    fn new(ends: f64, secret: Option<&[u8]>, hedge: Option<&[u8]>) -> PyResult<Self> {
        let ephemeral = StaticSecret::from(*given_or_drawn(secret)?);
        let public = PublicKey::from(&ephemeral);
        let hedge = begin_64(HEDGE, given_or_drawn(hedge)?.as_slice())?;
        let secrets = Secrets { ephemeral, hedge, counter: 0, ends };
        Ok(Self { public, process: std::process::id(), secrets: Mutex::new(Some(secrets)) })
    }

    /// E, the public ephemeral key.
    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.public.as_bytes())
    }

    /// Whether the session has ended.
    #[getter]
    fn ended(&self) -> bool {
        self.lock().map_or(true, |secrets| secrets.is_none())
    }

    /// Wipe the secrets.
    fn end(&self) {
        if let Ok(mut secrets) = self.lock() {
            *secrets = None;
        }
    }

    /// Derive K for a recipient from its key R and the pair's `auth_key`.
    fn wrap_key(&self, recipient: [u8; 32], auth_key: &[u8]) -> PyResult<Key> {
        let lock = self.lock()?;
        let secrets = lock.as_ref().ok_or_else(|| SessionEndedError::new_err(()))?;
        let shared = secrets.ephemeral.diffie_hellman(&PublicKey::from(recipient));
        drop(lock);
        if !shared.was_contributory() {
            return Err(BadKeyError::new_err("a shared secret is all zeros"));
        }
        let data: [&[u8]; 3] = [shared.as_bytes(), self.public.as_bytes(), &recipient];
        Ok(Key::from(Aead::new(hash_32(WRAP, auth_key, &data)?)))
    }

    /// Take the next counter, draw a nonce and keys, and assemble an envelope.
    ///
    /// `random` are 40 fresh random bytes, and 32 for each key after the first.
    #[expect(clippy::too_many_arguments, reason = "each is a value of one message")]
    fn seal<'py>(
        &self,
        plan: &Bound<'py, PyTuple>,
        now_ns: u64,
        monotonic: f64,
        random: &[u8],
        contents: &Bound<'py, PyList>,
        keys: usize,
        sign: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        caught(|| {
            let (nonce, keys) = self.draw(keys, now_ns, monotonic, random)?;
            assemble(plan, &nonce, now_ns / 1_000_000, contents, &keys, sign)
        })
    }

    #[expect(clippy::unused_self, reason = "Python's protocol")]
    fn __repr__(&self) -> &'static str {
        "<Session>"
    }

    #[expect(clippy::unused_self, reason = "Python's protocol")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("a session cannot be pickled or copied"))
    }
}

fn given_or_drawn(given: Option<&[u8]>) -> PyResult<Secret> {
    let mut drawn = Secret::default();
    match given {
        Some(given) => drawn = secret(given)?,
        None => getrandom::fill(drawn.as_mut_slice())
            .map_err(|_| PyOSError::new_err("the system has no random bytes"))?,
    }
    Ok(drawn)
}
