//! Nodes of accelerators on a fast switch, with one network card each, joined rail by rail.
//!
//! Card i of every node of a unit goes to leaf switch i of that unit, so accelerators of equal index
//! are one switch apart; the spine joins the leaves of all rails and units. NVIDIA, "DGX SuperPOD
//! Reference Architecture", network fabrics: 32 nodes, 8 leaf switches a scalable unit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, links_of, product, sane_oversubscription};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;
use crate::units::Bandwidth;

/// Rail-optimised nodes.
///
/// The switches of a node (four NVSwitch chips of an HGX H100) are one vertex: an accelerator
/// stripes every transfer over all of them. The cables from a leaf to a spine are one trunk. How
/// many ports a switch would need is not checked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rail {
    /// How many nodes.
    pub nodes: u64,
    /// Accelerators (and cards, and rails) of each node.
    pub node_devices: u64,
    /// Nodes that share one fast switch: 1, or the trays of a rack (18 of an NVL72).
    pub domain: u64,
    /// Nodes of a unit: as many cards hang on a leaf switch. The last unit may have fewer.
    pub unit: u64,
    /// Spine switches; each is joined to every leaf.
    pub spines: u64,
    /// How much more bandwidth the cards of a leaf have than its trunks to the spines.
    pub oversubscription: f64,
    /// From an accelerator to its node's fast switch: all its lanes together.
    pub scale_up: LinkSpec,
    /// From an accelerator to its card.
    pub host: LinkSpec,
    /// From a card to its leaf switch.
    pub network: LinkSpec,
}

/// An HGX H100: NVLink 4 (450 GB/s a direction), PCIe 5.0 x16, one NDR card of 400 Gbit/s each.
impl Default for Rail {
    fn default() -> Self {
        Rail {
            nodes: 2,
            node_devices: 8,
            domain: 1,
            unit: 32,
            spines: 4,
            oversubscription: 1.0,
            scale_up: LinkSpec::new(LinkClass::Nvlink, 450e9, 250),
            host: LinkSpec::new(LinkClass::Pcie, 63e9, 400),
            network: LinkSpec::new(LinkClass::Infiniband, 50e9, 600),
        }
    }
}

impl Shape for Rail {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = at_least(&[
            ("nodes", self.nodes, 1),
            ("node_devices", self.node_devices, 1),
            ("domain", self.domain, 1),
            ("unit", self.unit, 1),
            ("spines", self.spines, 1),
        ]);
        problems.extend(sane_oversubscription(self.oversubscription));
        if problems.is_empty() && !self.nodes.is_multiple_of(self.domain) {
            let message = format!("{} nodes do not fill domains of {}", self.nodes, self.domain);
            problems.push(Problem::at("nodes", message));
        }
        problems
    }

    fn facts(&self) -> ShapeFacts {
        let devices = product(&[self.nodes, self.node_devices]);
        // Accelerator and fast switch; accelerator and card; card and leaf; leaf and spine.
        let trunks = product(&[self.units(), self.node_devices, self.spines]);
        let diameter = if devices == 1 {
            0
        } else if self.domains() == 1 {
            2
        } else if self.units() == 1 && self.node_devices == 1 {
            // Accelerator, card, leaf, card, accelerator.
            4
        } else {
            6
        };
        ShapeFacts {
            devices,
            links: devices.saturating_mul(3).saturating_add(trunks).saturating_mul(2),
            diameter,
            bisection: self.bisection(),
        }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let mut leaves = Vec::new();
        let mut fast = None;
        for node in 0..self.nodes {
            if node % self.nodes_of_a_unit() == 0 {
                let unit = node / self.nodes_of_a_unit();
                leaves.extend(
                    (0..self.node_devices).map(|rail| to.add_switch(format!("unit{unit}/leaf{rail}"))),
                );
            }
            if node % self.domain == 0 {
                fast = Some(to.add_switch(format!("domain{}/switch", node / self.domain)));
            }
            let rails = &leaves[leaves.len() - self.node_devices as usize..];
            self.lay_out_node(node, fast.expect("node 0 begins a domain"), rails, device, to);
        }
        let trunk = self.network.widened(self.trunk_width());
        for spine in 0..self.spines {
            let spine = to.add_switch(format!("spine{spine}"));
            for &leaf in &leaves {
                to.connect(leaf, spine, trunk);
            }
        }
    }
}

impl Rail {
    fn lay_out_node(
        &self,
        node: u64,
        fast: VertexId,
        leaves: &[VertexId],
        device: &Arc<DeviceSpec>,
        to: &mut TopologyBuilder,
    ) {
        let id = to.add_node();
        for (rail, &leaf) in leaves.iter().enumerate() {
            let vertex = to.add_device(format!("node{node}/device{rail}"), device, id);
            let card = to.add_switch(format!("node{node}/nic{rail}"));
            to.connect(vertex, fast, self.scale_up);
            to.connect(vertex, card, self.host);
            to.connect(card, leaf, self.network);
        }
    }

    fn domains(&self) -> u64 {
        self.nodes / self.domain
    }

    fn units(&self) -> u64 {
        self.nodes.div_ceil(self.unit.max(1))
    }

    fn nodes_of_a_unit(&self) -> u64 {
        self.unit.min(self.nodes)
    }

    /// How many cards' bandwidth one trunk from leaf to spine carries.
    fn trunk_width(&self) -> f64 {
        self.nodes_of_a_unit() as f64 / (self.spines as f64 * self.oversubscription)
    }

    /// Half of the domains on each side. A unit on one side is cut at its trunks; a unit that is
    /// itself parted (the odd one out) loses the cards of half its nodes. No closed form is used
    /// where a domain would have to be parted, unless it is the only one.
    fn bisection(&self) -> Option<Bandwidth> {
        let devices = product(&[self.nodes, self.node_devices]);
        let network = self.network.bandwidth.get();
        let card = network.min(self.host.bandwidth.get());
        if self.domains() == 1 {
            // Every device of one half loses its lanes, and its way over card, leaf and spine.
            if !self.node_devices.is_multiple_of(2) || self.nodes > 1 {
                return None;
            }
            let each = self.scale_up.bandwidth.get() + card.min(network / self.oversubscription);
            return links_of(devices / 2, Bandwidth::per_second(each));
        }
        let parted_evenly =
            self.units().is_multiple_of(2) || (self.nodes_of_a_unit() / self.domain).is_multiple_of(2);
        let whole_units = self.nodes.is_multiple_of(self.nodes_of_a_unit())
            && self.nodes_of_a_unit().is_multiple_of(self.domain);
        if self.scale_up.bandwidth.get() < card || !parted_evenly || !whole_units {
            return None;
        }
        let unit_of_cards = card * self.nodes_of_a_unit() as f64;
        let unit_of_trunks = network * self.nodes_of_a_unit() as f64 / self.oversubscription;
        let whole = (self.units() / 2) as f64 * unit_of_cards.min(unit_of_trunks);
        let parted = (self.units() % 2) as f64 * unit_of_cards / 2.0;
        Some(Bandwidth::per_second((whole + parted) * self.node_devices as f64))
    }
}
