//! ChaCha20-Poly1305 (RFC 8439) under one key.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::fault::Fault;
use crate::hash::Secret;

/// A nonce.
pub type NonceBytes = [u8; 12];

/// The nonce for keys that encrypt only once.
pub const ZERO_NONCE: &NonceBytes = &[0; 12];

/// Bytes of an authentication tag.
pub const TAG_SIZE: usize = 16;

/// The cipher under one key, which is wiped when this is dropped.
///
/// ring's own key object, which does not wipe itself, exists only on the stack during a call.
pub struct Aead(Secret);

impl Aead {
    /// Take a key.
    pub const fn new(key: Secret) -> Self {
        Self(key)
    }

    fn cipher(&self) -> Result<LessSafeKey, Fault> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.0.as_slice()).map_err(|_| Fault)?;
        Ok(LessSafeKey::new(key))
    }

    /// Encrypt `text || tag` in place: the last 16 bytes receive the tag.
    pub fn seal(&self, nonce: &NonceBytes, aad: &[u8], place: &mut [u8]) -> Result<(), Fault> {
        let size = place.len().checked_sub(TAG_SIZE).ok_or(Fault)?;
        let (text, tag) = place.split_at_mut_checked(size).ok_or(Fault)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let made = self
            .cipher()?
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
            .map_err(|_| Fault)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    /// Decrypt `sealed` into `text`, 16 bytes shorter; return whether it is authentic.
    ///
    /// If it is not, `text` has undefined bytes, and must be discarded.
    pub fn open(&self, nonce: &NonceBytes, aad: &[u8], sealed: &[u8], text: &mut [u8]) -> bool {
        let Some((ciphertext, tag)) = sealed.split_at_checked(text.len()) else {
            return false;
        };
        let (Ok(tag), Ok(cipher)) = (tag.try_into(), self.cipher()) else {
            return false;
        };
        text.copy_from_slice(ciphertext);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        cipher.open_in_place_separate_tag(nonce, Aad::from(aad), tag, text, 0..).is_ok()
    }
}
