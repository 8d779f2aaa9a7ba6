//! Flows as fluids: max-min fair rates, found anew whenever a flow starts or ends.
//!
//! Congestion control is taken to reach its fair rates at once, and queues to be empty; the latency
//! of the route is paid once, by the last byte. RDMA networks do not favour short round trips as TCP
//! does, so flows share by their weights alone.

use serde::{Deserialize, Serialize};

use crate::network::clockwork::Clockwork;
use crate::network::maxmin::MaxMin;
use crate::network::{LinkTable, NetworkFidelity, NetworkModel};

/// Max-min fair flows.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fluid {}

impl NetworkFidelity for Fluid {
    fn model(&self, links: &LinkTable) -> Box<dyn NetworkModel> {
        Box::new(Clockwork::new(MaxMin::default(), links))
    }
}
