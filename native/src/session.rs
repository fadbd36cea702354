//! A sender's session: its ephemeral key, its counter and its limits.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use blake2::digest::Update;
use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::aead::{Aead, NonceBytes};
use crate::fault::{Fault, caught};
use crate::hash::{
    Double, HEDGE, Hash, Secret, WRAP, begin_64, finish_64, hash_32, secret, split_64,
};
use crate::key::Key;
use crate::seal::{Route, assemble};

pyo3::import_exception!(xkeymsg.envelope.session, SessionEndedError);
pyo3::import_exception!(xkeymsg.errors, BadKeyError);

/// Messages of a session (E-22).
const MAX_COUNTER: u32 = 1 << 20;

/// Random bytes for the nonce and the first key, and those that are mixed for two further keys.
const FIRST_DRAW: usize = 40;
const NEXT_DRAW: usize = 64;
/// Of the first draw, the bytes for the nonce.
const NONCE_DRAW: usize = 8;

/// A plan and what was read from it: holding the plan keeps its address from being used again.
type Prepared = (Py<PyTuple>, Arc<Route>);

/// What must not outlive the session; each field wipes itself when dropped.
struct Secrets {
    ephemeral: StaticSecret,
    /// Begun with the secret of the session, which is mixed into everything drawn (E-27).
    hedge: Hash,
    /// The last counter taken.
    counter: u32,
}

/// Tells for how many seconds a session has existed.
enum Clock {
    System(Instant),
    /// A function for tests, and what it returned at the beginning.
    Given(Py<PyAny>, f64),
}

impl Clock {
    fn elapsed(&self, py: Python<'_>) -> PyResult<f64> {
        match self {
            Self::System(started) => Ok(started.elapsed().as_secs_f64()),
            Self::Given(clock, started) => Ok(clock.call0(py)?.extract::<f64>(py)? - started),
        }
    }
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
    clock: Clock,
    /// Seconds after which the session ends.
    lifetime: f64,
    secrets: Mutex<Option<Secrets>>,
    /// The route of the last message.
    last: Mutex<Option<Prepared>>,
}

impl Session {
    /// Check that this is the process in which the session began: a child shares its secrets.
    fn check(&self) -> PyResult<()> {
        let same = std::process::id() == self.process;
        if same { Ok(()) } else { Err(SessionEndedError::new_err(())) }
    }

    /// Lock the secrets, after `check`. No lock is held while Python code runs, so that no fork
    /// leaves one behind.
    fn locked(&self) -> MutexGuard<'_, Option<Secrets>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, Option<Secrets>>> {
        self.check().map(|()| self.locked())
    }

    /// Replace the last route, and free the one before without a lock.
    fn set_last(&self, route: Option<Prepared>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, route);
        drop(last);
        drop(before);
    }

    /// Return the route of a plan, after `check`; it is read again only after another one.
    fn route(&self, plan: &Bound<'_, PyTuple>) -> PyResult<Arc<Route>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, route)) = last.as_ref().filter(|(last, _)| last.is(plan)) {
            return Ok(Arc::clone(route));
        }
        drop(last);
        let route = Arc::new(Route::read(plan)?);
        self.set_last(Some((plan.clone().unbind(), Arc::clone(&route))));
        Ok(route)
    }

    /// Take the next counter; return a nonce and `count` keys (E-23, E-26).
    fn draw(
        &self,
        count: usize,
        now_ns: u64,
        elapsed: f64,
        random: &[u8],
    ) -> PyResult<(NonceBytes, Vec<Secret>)> {
        let mut lock = self.locked();
        let over = lock.as_ref().is_some_and(|secrets| {
            let due = self.lifetime.partial_cmp(&elapsed) != Some(Ordering::Greater);
            due || secrets.counter >= MAX_COUNTER
        });
        if over {
            *lock = None; // wipes them; `Option::take` would leave the bytes in their place
        }
        let secrets = lock.as_mut().ok_or_else(|| SessionEndedError::new_err(()))?;
        secrets.counter = secrets.counter.saturating_add(1);
        let (first, rest) = random.split_at_checked(FIRST_DRAW).ok_or(Fault)?;
        let drawn = secrets.mix(first, now_ns, 0);
        let (tail, key) = drawn.split_at_checked(NONCE_DRAW).ok_or(Fault)?;
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
    /// Begin a session that ends after `lifetime` seconds.
    ///
    /// `secret` is e, for test vectors. For tests, `hedge` is what is mixed into drawn bytes, and
    /// `clock` returns the seconds of a clock that cannot be set.
    #[new]
    #[pyo3(signature = (lifetime, secret=None, hedge=None, clock=None))]
    fn new(
        lifetime: f64,
        secret: Option<&[u8]>,
        hedge: Option<&[u8]>,
        clock: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let clock = match clock {
            None => Clock::System(Instant::now()),
            Some(clock) => {
                let started = clock.call0()?.extract()?;
                Clock::Given(clock.unbind(), started)
            }
        };
        let ephemeral = StaticSecret::from(*given_or_drawn(secret)?);
        let public = PublicKey::from(&ephemeral);
        let hedge = begin_64(HEDGE, given_or_drawn(hedge)?.as_slice())?;
        let secrets = Mutex::new(Some(Secrets { ephemeral, hedge, counter: 0 }));
        let (process, last) = (std::process::id(), Mutex::new(None));
        Ok(Self { public, process, clock, lifetime, secrets, last })
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
            drop(secrets);
            self.set_last(None);
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
    /// `random` are, for tests, the 40 random bytes, and 32 for each key after the first.
    #[pyo3(signature = (plan, now_ns, contents, signer, random=None))]
    fn seal<'py>(
        &self,
        plan: &Bound<'py, PyTuple>,
        now_ns: u64,
        contents: &Bound<'py, PyList>,
        signer: Option<&Bound<'py, PyAny>>,
        random: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        caught(|| {
            let elapsed = self.clock.elapsed(plan.py())?;
            self.check()?;
            let route = self.route(plan)?;
            let keys = contents.len().checked_add(route.views()).ok_or(Fault)?;
            let (nonce, keys) = match random {
                Some(random) => self.draw(keys, now_ns, elapsed, random),
                None if keys == 1 => self.draw(keys, now_ns, elapsed, drawn_for_one()?.as_slice()),
                None => self.draw(keys, now_ns, elapsed, &drawn_for(keys)?),
            }
            .inspect_err(|_| self.set_last(None))?;
            assemble(&route, &nonce, now_ns / 1_000_000, contents, &keys, signer)
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

/// Draw the random bytes of a message with this number of keys.
fn drawn_for(keys: usize) -> PyResult<Zeroizing<Vec<u8>>> {
    let size = keys.max(1).checked_mul(32).and_then(|size| size.checked_add(NONCE_DRAW));
    let mut drawn = Zeroizing::new(vec![0; size.ok_or(Fault)?]);
    fill(&mut drawn)?;
    Ok(drawn)
}

/// Draw the random bytes of a message with one key.
fn drawn_for_one() -> PyResult<Zeroizing<[u8; FIRST_DRAW]>> {
    let mut drawn = Zeroizing::new([0; FIRST_DRAW]);
    fill(drawn.as_mut_slice())?;
    Ok(drawn)
}

/// Fill memory with random bytes of the kernel, unbuffered.
fn fill(memory: &mut [u8]) -> PyResult<()> {
    getrandom::fill(memory).map_err(|_| PyOSError::new_err("the system has no random bytes"))
}

fn given_or_drawn(given: Option<&[u8]>) -> PyResult<Secret> {
    let mut drawn = Secret::default();
    match given {
        Some(given) => drawn = secret(given)?,
        None => fill(drawn.as_mut_slice())?,
    }
    Ok(drawn)
}
