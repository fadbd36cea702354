//! Opens an envelope, from its tags to the plaintexts (docs/spec/envelope.md, "Opening order",
//! steps 5 to 10).
//!
//! All bytes are hostile until the wrap has verified, and those of a malicious sender after it. Each
//! check returns None at once; Python then opens the envelope again, and raises the error.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::aead::{Aead, NonceBytes, TAG_SIZE, ZERO_NONCE};
use crate::fault::Fault;
use crate::hash::{Label, PART, Secret, VIEW, hash_64, secret, sha256};
use crate::seal::{
    COMMIT_SIZE, GRANT_SIZE, PART_OVERHEAD, SIGNATURE_SIZE, VIEW_OVERHEAD, WRAP_SIZE, unlocked,
};
use crate::wire::{Reader, bin_header};

/// Bytes of a tag.
const TAG: usize = 8;

/// A part with the fields of a document, and one with its metadata, without padding.
const FIELDS: u8 = 1;
const METADATA: u8 = 3;
/// Added to the type of a padded part.
const PADDED: u8 = 16;

/// The most elements of an envelope that a reader opens.
#[derive(Clone, Copy, Default)]
pub struct Most {
    /// Recipients.
    pub recipients: usize,
    /// Views.
    pub views: usize,
    /// Parts.
    pub parts: usize,
}

/// An envelope with the head that was read from it.
pub struct Envelope<'a> {
    /// All bytes.
    pub bytes: &'a [u8],
    /// The end of the head, where the tags begin.
    pub head_end: usize,
    /// E.
    pub ephemeral: &'a [u8],
    /// The nonce of the message.
    pub nonce: &'a NonceBytes,
    /// Whether the head names an identity, which a signature requires.
    pub signable: bool,
    /// The limits of the reader.
    pub most: Most,
}

/// The type of a part, and the place of its commitment and ciphertext.
struct Part {
    kind: u8,
    place: Range<usize>,
}

/// The elements between the tags and the wraps.
struct Body {
    views: Vec<Range<usize>>,
    parts: Vec<Part>,
    signature: Range<usize>,
    signed_end: usize,
    metadata: bool,
}

/// The places that the tags determine.
struct Outline {
    /// The position of the own tag.
    position: usize,
    body: Range<usize>,
    wraps: usize,
}

impl Envelope<'_> {
    /// Check tags and the header of the wraps (E-30 to E-34), and find a tag (E-35).
    fn outline(&self, tag: &[u8], others: &[u8]) -> Option<Outline> {
        let mut reader = Reader::new(self.bytes, self.head_end, self.bytes.len());
        let span = reader.bin(self.most.recipients.checked_mul(TAG)?)?;
        let (tags, rest) = self.bytes.get(span)?.as_chunks::<TAG>();
        if !rest.is_empty() || !tags.is_sorted_by(|one, next| one < next) {
            return None;
        }
        // By halving: a reader can have many keys, and anybody can write a thousand tags.
        let position = tags.binary_search(tag.try_into().ok()?).ok()?;
        let (others, _) = others.as_chunks::<TAG>();
        if others.iter().any(|other| tags.binary_search(other).is_ok()) {
            return None;
        }
        let size = tags.len().checked_mul(WRAP_SIZE)?;
        let (header, length) = bin_header(size).ok()?;
        let wraps = self.bytes.len().checked_sub(size)?;
        let end = wraps.checked_sub(length)?;
        if end < reader.at || self.bytes.get(end..wraps)? != header.get(..length)? {
            return None;
        }
        Some(Outline { position, body: reader.at..end, wraps })
    }

    /// Open the wrap (E-37); return the index of the view, and a key.
    fn unwrap(&self, py: Python<'_>, outline: &Outline, aead: &Aead) -> Option<(u8, Secret)> {
        let covered = self.bytes.get(..outline.wraps)?;
        let transcript = unlocked(py, covered.len(), || sha256(covered));
        let start = outline.position.checked_mul(WRAP_SIZE)?.checked_add(outline.wraps)?;
        let wrap = self.bytes.get(start..start.checked_add(WRAP_SIZE)?)?;
        let mut grant = Zeroizing::new([0; GRANT_SIZE]);
        if !aead.open(self.nonce, &transcript, wrap, grant.as_mut_slice()) {
            return None;
        }
        let (index, key) = grant.split_first()?;
        Some((*index, secret(key).ok()?))
    }

    /// Parse the body (E-41 to E-50).
    fn body(&self, span: &Range<usize>) -> Option<Body> {
        let mut reader = Reader::new(self.bytes, span.start, span.end);
        let count = reader.array(self.most.views)?;
        let views: Vec<_> = (0..count).map(|_| reader.bin(usize::MAX)).collect::<Option<_>>()?;
        let count = reader.array(self.most.parts)?;
        let parts: Vec<_> = (0..count).map(|_| self.part(&mut reader)).collect::<Option<_>>()?;
        let signed_end = reader.at;
        let signature = reader.bin(SIGNATURE_SIZE)?;
        let signed = signature.len() == SIGNATURE_SIZE;
        if reader.at != span.end || !(signature.is_empty() || signed && self.signable) {
            return None;
        }
        let metadata = check_together(&views, &parts)?;
        Some(Body { views, parts, signature, signed_end, metadata })
    }

    fn part(&self, reader: &mut Reader<'_>) -> Option<Part> {
        let span = reader.bin(usize::MAX)?;
        let kind = *self.bytes.get(span.start)?;
        let known = matches!(kind, 0..=3 | 16..=19);
        (known && span.len() >= PART_OVERHEAD)
            .then(|| Some(Part { kind, place: span.start.checked_add(1)?..span.end }))?
    }

    /// Check the commitment of `commitment || ciphertext`; return the ciphertext and its cipher.
    fn committed(
        &self,
        label: &Label,
        index: usize,
        key: &Secret,
        place: &Range<usize>,
    ) -> Option<(Aead, &[u8])> {
        let data = [self.ephemeral, self.nonce, &[u8::try_from(index).ok()?]];
        let (key, expected) = hash_64(label, key.as_slice(), &data).ok()?;
        let (commitment, sealed) = self.bytes.get(place.clone())?.split_at_checked(COMMIT_SIZE)?;
        bool::from(commitment.ct_eq(expected.as_slice())).then(|| (Aead::new(key), sealed))
    }

    /// Open a part (E-55, E-56).
    fn open_part<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        key: &Secret,
        place: &Range<usize>,
    ) -> Option<Bound<'py, PyBytes>> {
        let (aead, sealed) = self.committed(PART, index, key, place)?;
        let size = sealed.len().checked_sub(TAG_SIZE)?;
        PyBytes::new_with(py, size, |text| {
            let opened = unlocked(py, size, || aead.open(ZERO_NONCE, &[], sealed, text));
            if opened { Ok(()) } else { Err(Fault.into()) }
        })
        .ok()
    }

    /// Open a view, and return the granted parts and their keys (E-52 to E-54).
    fn open_view(&self, body: &Body, index: usize, key: &Secret) -> Option<Vec<(usize, Secret)>> {
        let (aead, sealed) = self.committed(VIEW, index, key, body.views.get(index)?)?;
        let mut list = Zeroizing::new(vec![0; sealed.len().checked_sub(TAG_SIZE)?]);
        if !aead.open(ZERO_NONCE, &[], sealed, list.as_mut_slice()) {
            return None;
        }
        let grants = list.chunks_exact(GRANT_SIZE);
        // With room for all: a vector that grows leaves copies of the keys in freed memory.
        let mut granted = Vec::with_capacity(grants.len());
        let (mut next, mut fields, mut metadata) = (0, false, false);
        for grant in grants {
            let (number, key) = grant.split_first()?;
            let number = usize::from(*number);
            let kind = body.parts.get(number).filter(|_| number >= next)?.kind & !PADDED;
            next = number.checked_add(1)?;
            granted.push((number, secret(key).ok()?));
            if kind == FIELDS { fields = true } else { metadata = true }
        }
        (fields && (metadata || !body.metadata)).then_some(granted)
    }
}

/// Check the rules across elements; return whether there is metadata (E-43, E-44, E-48).
fn check_together(views: &[Range<usize>], parts: &[Part]) -> Option<bool> {
    for view in views {
        let list = view.len().checked_sub(VIEW_OVERHEAD)?;
        let count = list.checked_div(GRANT_SIZE)?;
        if !list.is_multiple_of(GRANT_SIZE) || count < 1 || count > parts.len() {
            return None;
        }
    }
    if views.is_empty() != (parts.len() <= 1) {
        return None;
    }
    let of = |wanted: u8| parts.iter().filter(|part| part.kind & !PADDED == wanted).count();
    let (fields, metadata) = (of(FIELDS), of(METADATA));
    let payload = parts.len() == 1 && fields == 0 && metadata == 0;
    let document = fields > 0 && metadata <= 1 && fields.checked_add(metadata)? == parts.len();
    (payload || document).then_some(metadata == 1)
}

/// Return the `PartType` of a known type of part.
fn kind_of(py: Python<'_>, kind: u8) -> PyResult<&Py<PyAny>> {
    static KINDS: PyOnceLock<Vec<Option<Py<PyAny>>>> = PyOnceLock::new();
    let kinds = KINDS.get_or_try_init(py, || {
        let kinds = py.import("xkeymsg.envelope.frame")?.getattr("KINDS")?.cast_into::<PyDict>()?;
        (0..=METADATA | PADDED)
            .map(|kind| Ok(kinds.get_item(kind)?.map(Bound::unbind)))
            .collect::<PyResult<_>>()
    })?;
    Ok(kinds.get(usize::from(kind)).and_then(Option::as_ref).ok_or(Fault)?)
}

/// Return the fields of a `Body`, and of each `FramePart` in it: plain tuples, which take a third
/// of the time.
fn fields_of<'py>(py: Python<'py>, body: &Body) -> PyResult<Bound<'py, PyTuple>> {
    let spans = |range: &Range<usize>| (range.start, range.end);
    let views = PyTuple::new(py, body.views.iter().map(spans))?;
    let part = |part: &Part| {
        let kind = kind_of(py, part.kind)?;
        (kind, part.kind >= PADDED, part.place.start, part.place.end).into_pyobject(py)
    };
    let parts = match body.parts.as_slice() {
        [single] => (part(single)?,).into_pyobject(py)?,
        several => PyTuple::new(py, several.iter().map(part).collect::<PyResult<Vec<_>>>()?)?,
    };
    (views, parts, spans(&body.signature), body.signed_end, body.metadata).into_pyobject(py)
}

/// Open an envelope; return its body and the granted plaintexts, or None.
pub fn open<'py>(
    py: Python<'py>,
    envelope: &Envelope<'_>,
    aead: &Aead,
    tag: &[u8],
    others: &[u8],
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let Some((body, opened)) = opened(py, envelope, aead, tag, others) else {
        return Ok(None);
    };
    let granted = PyDict::new(py);
    for (number, text) in opened {
        granted.set_item(number, text)?;
    }
    (fields_of(py, &body)?, granted).into_pyobject(py).map(Some)
}

type Opened<'py> = (Body, Vec<(usize, Bound<'py, PyBytes>)>);

fn opened<'py>(
    py: Python<'py>,
    envelope: &Envelope<'_>,
    aead: &Aead,
    tag: &[u8],
    others: &[u8],
) -> Option<Opened<'py>> {
    let outline = envelope.outline(tag, others)?;
    let (index, key) = envelope.unwrap(py, &outline, aead)?;
    let body = envelope.body(&outline.body)?;
    if let ([], [part], 0) = (body.views.as_slice(), body.parts.as_slice(), index) {
        let text = envelope.open_part(py, 0, &key, &part.place)?;
        return Some((body, vec![(0, text)]));
    }
    let texts = envelope
        .open_view(&body, usize::from(index), &key)?
        .iter()
        .map(|(number, key)| {
            let place = &body.parts.get(*number)?.place;
            Some((*number, envelope.open_part(py, *number, key, place)?))
        })
        .collect::<Option<Vec<_>>>()?;
    Some((body, texts))
}
