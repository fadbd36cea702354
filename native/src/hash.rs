//! The hashes of the format (docs/spec/envelope.md, "Cryptographic functions").

use blake2::Blake2bMac;
use blake2::digest::array::ArraySize;
use blake2::digest::consts::{U32, U64};
use blake2::digest::typenum::{IsLessOrEqual, True};
use blake2::digest::{FixedOutput, KeyInit, Update};
use ring::digest;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// A label, padded to 16 bytes.
pub type Label = [u8; 16];

/// The label of a part's keys.
pub const PART: &Label = b"xkm1/part\0\0\0\0\0\0\0";
/// The label of a view's keys.
pub const VIEW: &Label = b"xkm1/view\0\0\0\0\0\0\0";
/// The label of K, the key of a wrap.
pub const WRAP: &Label = b"xkm1/wrap\0\0\0\0\0\0\0";
/// The label under which drawn bytes are mixed.
pub const HEDGE: &Label = b"xkm1/hedge\0\0\0\0\0\0";

/// 32 secret bytes, wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// A keyed hash with 64 bytes of result, begun; it wipes its state when dropped.
pub type Hash = Blake2bMac<U64>;

fn begin<Size>(label: &Label, key: &[u8]) -> Result<Blake2bMac<Size>, Fault>
where
    Size: ArraySize + IsLessOrEqual<U64, Output = True>,
{
    let mut hash = Blake2bMac::<Size>::new_from_slice(key).map_err(|_| Fault)?;
    hash.update(label);
    Ok(hash)
}

/// Begin a hash with 64 bytes of result under a label and a key.
pub fn begin_64(label: &Label, key: &[u8]) -> Result<Hash, Fault> {
    begin::<U64>(label, key)
}

/// 64 secret bytes, wiped when dropped.
pub type Double = Zeroizing<[u8; 64]>;

/// End a hash.
pub fn finish_64(hash: Hash) -> Double {
    Zeroizing::new(hash.finalize_fixed().into())
}

/// `split64(x)`.
pub fn split_64(both: &Double) -> Result<(Secret, Secret), Fault> {
    let (left, right) = both.split_at_checked(32).ok_or(Fault)?;
    Ok((secret(left)?, secret(right)?))
}

/// `split64(H(label, data, key, 64))`.
pub fn hash_64(label: &Label, key: &[u8], data: &[&[u8]]) -> Result<(Secret, Secret), Fault> {
    let mut hash = begin_64(label, key)?;
    for piece in data {
        hash.update(piece);
    }
    split_64(&finish_64(hash))
}

/// `H(label, data, key, 32)`.
pub fn hash_32(label: &Label, key: &[u8], data: &[&[u8]]) -> Result<Secret, Fault> {
    let mut hash = begin::<U32>(label, key)?;
    for piece in data {
        hash.update(piece);
    }
    Ok(Zeroizing::new(hash.finalize_fixed().into()))
}

/// Copy 32 secret bytes.
pub fn secret(bytes: &[u8]) -> Result<Secret, Fault> {
    let mut copy = Zeroizing::new([0; 32]);
    if bytes.len() != copy.len() {
        return Err(Fault);
    }
    copy.copy_from_slice(bytes);
    Ok(copy)
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    result
}
