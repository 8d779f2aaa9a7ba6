//! How many bytes moved: by collective, and over each link.

use std::collections::BTreeMap;

use crate::ids::LinkId;
use crate::trace::Carried;
use crate::units::Bytes;

/// Bytes moved, folded from payloads that arrived.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    by_collective: BTreeMap<&'static str, Bytes>,
    by_link: BTreeMap<LinkId, Bytes>,
}

impl Traffic {
    /// Takes a payload in: once for its collective, and once for every link that it crossed.
    pub fn carried(&mut self, carried: &Carried) {
        for &link in carried.route.iter() {
            *self.by_link.entry(link).or_default() += carried.bytes;
        }
        if let Some(collective) = carried.label.collective {
            *self.by_collective.entry(collective).or_default() += carried.bytes;
        }
    }

    /// Payload bytes by collective.
    pub fn by_collective(&self) -> &BTreeMap<&'static str, Bytes> {
        &self.by_collective
    }

    /// Bytes over each link that carried any.
    pub fn by_link(&self) -> &BTreeMap<LinkId, Bytes> {
        &self.by_link
    }
}
