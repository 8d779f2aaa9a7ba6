//! What good service is.

use serde::{Deserialize, Serialize};

use crate::serving::{Request, RequestRecord};
use crate::units::SimDuration;

/// Limits. A request is served well when it keeps to every limit that is given.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slo {
    /// Time to the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<SimDuration>,
    /// Mean time of each further token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot: Option<SimDuration>,
    /// Time to the last token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2e: Option<SimDuration>,
}

impl Slo {
    /// Whether any limit is given.
    pub fn is_given(&self) -> bool {
        self.ttft.or(self.tpot).or(self.e2e).is_some()
    }

    /// Whether a request kept to every limit (vLLM's `--goodput`). An answer of one token has no TPOT.
    pub fn is_met(&self, request: &Request, record: &RequestRecord) -> bool {
        let within = |limit: Option<SimDuration>, time| limit.is_none_or(|limit| time <= limit);
        let further = u64::from(request.output) - 1;
        let decoding = record.finish.since(record.first_token);
        within(self.ttft, record.first_token.since(request.arrival))
            && within(self.e2e, record.finish.since(request.arrival))
            && self.tpot.is_none_or(|limit| decoding <= limit * further)
    }
}
