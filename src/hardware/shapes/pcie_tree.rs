//! Devices on PCIe switches that share their way up to the processors.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, links_of, product};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;
use crate::units::Bandwidth;

/// One node without a fast switch: what two devices of different switches exchange shares the
/// uplinks with everybody else's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PcieTree {
    /// Processors; each two are joined.
    pub sockets: u64,
    /// PCIe switches of a socket.
    pub switches: u64,
    /// Devices of a switch.
    pub switch_devices: u64,
    /// From a device to its switch.
    pub link: LinkSpec,
    /// From a switch to its socket's root complex.
    pub uplink: LinkSpec,
    /// Between two sockets.
    pub socket_link: LinkSpec,
}

/// PCIe 4.0 x16 and one 16-lane xGMI or UPI link's worth between the sockets.
impl Default for PcieTree {
    fn default() -> Self {
        PcieTree {
            sockets: 2,
            switches: 2,
            switch_devices: 2,
            link: LinkSpec::new(LinkClass::Pcie, 31.5e9, 400),
            uplink: LinkSpec::new(LinkClass::Pcie, 31.5e9, 400),
            socket_link: LinkSpec::new(LinkClass::Other, 36e9, 150),
        }
    }
}

impl Shape for PcieTree {
    fn problems(&self) -> Vec<Problem> {
        at_least(&[
            ("sockets", self.sockets, 1),
            ("switches", self.switches, 1),
            ("switch_devices", self.switch_devices, 1),
        ])
    }

    fn facts(&self) -> ShapeFacts {
        let switches = product(&[self.sockets, self.switches]);
        let devices = product(&[switches, self.switch_devices]);
        let diameter = match (self.sockets > 1, self.switches > 1, self.switch_devices > 1) {
            (true, ..) => 5,
            (false, true, _) => 4,
            (false, false, true) => 2,
            (false, false, false) => 0,
        };
        let trees = devices.saturating_add(switches).saturating_mul(2);
        let links = trees.saturating_add(product(&[self.sockets, self.sockets - 1]));
        ShapeFacts { devices, links, diameter, bisection: self.bisection() }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let node = to.add_node();
        let roots: Vec<VertexId> =
            (0..self.sockets).map(|socket| to.add_switch(format!("socket{socket}"))).collect();
        let mut count = 0;
        for (socket, &root) in roots.iter().enumerate() {
            to.processors_at(node, root);
            for peer in &roots[socket + 1..] {
                to.connect(root, *peer, self.socket_link);
            }
            for switch in 0..self.switches {
                let switch = to.add_switch(format!("socket{socket}/pcie{switch}"));
                to.connect(switch, root, self.uplink);
                for _ in 0..self.switch_devices {
                    let vertex = to.add_device(format!("device{count}"), device, node);
                    to.connect(vertex, switch, self.link);
                    count += 1;
                }
            }
        }
    }
}

impl PcieTree {
    /// One or two sockets. Two are parted at the link between them or at one's uplinks, whichever
    /// is less; one has half of its switches, or of its only switch's devices, on each side.
    fn bisection(&self) -> Option<Bandwidth> {
        let branch = self.uplink.bandwidth.get().min(self.link.bandwidth.get() * self.switch_devices as f64);
        match (self.sockets, self.switches) {
            (1, 1) => links_of(self.switch_devices / 2, self.link.bandwidth),
            (1, switches) if switches % 2 == 0 => links_of(switches / 2, Bandwidth::per_second(branch)),
            (2, switches) => {
                let uplinks = branch * switches as f64;
                Some(Bandwidth::per_second(uplinks.min(self.socket_link.bandwidth.get())))
            }
            _ => None,
        }
    }
}
