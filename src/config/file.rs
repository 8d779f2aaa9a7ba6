//! The keys that workloads of every trade share: what may be written, and what it is when it is not.
//!
//! Keys are a stable interface.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::compute::ComputeSpec;
use crate::config::{Source, locate};
use crate::hardware::TopologySpec;
use crate::network::NetworkSpec;
use crate::rng::Seed;

/// `topology:`, by name or written out.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TopologyChoice {
    /// A file under `topologies/`, or a path.
    Named(String),
    /// Written out in place.
    Inline(Box<TopologySpec>),
}

impl TopologyChoice {
    /// The same as seen from the working folder, by those who are not beside the file that names it.
    pub(super) fn found(&self, named_in: &Source) -> TopologyChoice {
        match self {
            TopologyChoice::Named(name) => TopologyChoice::Named(locate::from_here(name, named_in)),
            TopologyChoice::Inline(_) => self.clone(),
        }
    }
}

/// By hand, because serde's untagged enums forget which key was wrong.
impl<'de> Deserialize<'de> for TopologyChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = TopologyChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a topology, or one written out")
            }
            fn visit_str<E>(self, name: &str) -> Result<TopologyChoice, E> {
                Ok(TopologyChoice::Named(name.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TopologyChoice, A::Error> {
                let spec = TopologySpec::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TopologyChoice::Inline(Box::new(spec)))
            }
        }
        from.deserialize_any(Choice)
    }
}

/// `fidelity:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fidelity {
    /// How kernels are costed.
    pub compute: ComputeSpec,
    /// How flows share links.
    pub network: NetworkSpec,
}

impl Default for Fidelity {
    fn default() -> Self {
        Fidelity {
            compute: ComputeSpec::from_name("roofline").expect("a listed compute model"),
            network: NetworkSpec::from_name("fluid").expect("a listed network model"),
        }
    }
}

/// `seed:` where none is given.
pub fn first_seed() -> Seed {
    Seed(1)
}
