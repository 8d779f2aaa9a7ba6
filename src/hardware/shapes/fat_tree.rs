//! The k-ary fat tree: edge, aggregation and core switches with k ports each.
//!
//! Al-Fares, Loukissas and Vahdat, "A Scalable, Commodity Data Center Network Architecture",
//! SIGCOMM 2008, section 3.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, product, sane_oversubscription};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;

/// k pods of k/2 edge and k/2 aggregation switches, (k/2)² core switches, k³/4 devices.
///
/// Aggregation switch j of every pod is joined to core switches j·k/2 … (j + 1)·k/2 − 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FatTree {
    /// Ports of each switch; even.
    pub k: u64,
    /// From each device to its edge switch.
    pub link: LinkSpec,
    /// How much more bandwidth the devices have than the links above the edge switches.
    pub oversubscription: f64,
}

impl Default for FatTree {
    fn default() -> Self {
        FatTree { k: 4, link: LinkSpec::new(LinkClass::Ethernet, 12.5e9, 1_000), oversubscription: 1.0 }
    }
}

impl Shape for FatTree {
    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = sane_oversubscription(self.oversubscription).into_iter().collect();
        if self.k < 2 || !self.k.is_multiple_of(2) {
            let message = format!("a switch of a fat tree has an even number of ports, not {}", self.k);
            problems.push(Problem::at("k", message));
        }
        problems
    }

    fn facts(&self) -> ShapeFacts {
        let k = self.k;
        let devices = product(&[k, k / 2, k / 2]);
        ShapeFacts {
            devices,
            // As many cables at each of the three levels as there are devices, each two links.
            links: devices.saturating_mul(6),
            diameter: 6,
            // Half of the pods on each side: each core switch loses half of its k cables.
            bisection: Some(self.link.bandwidth.scaled(devices as f64 / 2.0 / self.oversubscription)),
        }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let half = self.k / 2;
        let up = self.link.widened(1.0 / self.oversubscription);
        let pods: Vec<Vec<VertexId>> = (0..self.k).map(|pod| self.lay_out_pod(pod, device, to)).collect();
        for column in 0..half {
            for row in 0..half {
                let core = to.add_switch(format!("core{}", column * half + row));
                for aggregation in &pods {
                    to.connect(aggregation[column as usize], core, up);
                }
            }
        }
    }
}

impl FatTree {
    /// Adds a pod and returns its aggregation switches.
    fn lay_out_pod(&self, pod: u64, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) -> Vec<VertexId> {
        let half = self.k / 2;
        let up = self.link.widened(1.0 / self.oversubscription);
        let aggregation: Vec<VertexId> =
            (0..half).map(|at| to.add_switch(format!("pod{pod}/aggregation{at}"))).collect();
        for edge in 0..half {
            let switch = to.add_switch(format!("pod{pod}/edge{edge}"));
            for at in 0..half {
                let node = to.add_node();
                let name = format!("device{}", (pod * half + edge) * half + at);
                let vertex = to.add_device(name, device, node);
                to.connect(vertex, switch, self.link);
            }
            for &above in &aggregation {
                to.connect(switch, above, up);
            }
        }
        aggregation
    }
}
