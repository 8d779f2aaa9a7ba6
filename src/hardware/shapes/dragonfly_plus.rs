//! Groups of leaf and spine switches, all to all between the groups' spines.
//!
//! Shpiner et al., "Dragonfly+: Low Cost Topology for Scaling Datacenters", HiPINEB 2017.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, place_on_circle, product, radius_for};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;

/// Groups in which every leaf is joined to every spine; one cable joins every two groups.
///
/// Global port q of a group (spine ⌊q/h⌋) leads to the q-th other group.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DragonflyPlus {
    /// How many groups, at most spines × global ports + 1.
    pub groups: u64,
    /// Leaf switches of a group.
    pub leaves: u64,
    /// Spine switches of a group.
    pub spines: u64,
    /// Devices of a leaf.
    pub leaf_devices: u64,
    /// Global ports of a spine.
    pub global_ports: u64,
    /// From a device to its leaf.
    pub link: LinkSpec,
    /// From a leaf to a spine of its group.
    pub local: LinkSpec,
    /// Between two groups.
    pub global: LinkSpec,
}

impl Default for DragonflyPlus {
    fn default() -> Self {
        DragonflyPlus {
            groups: 5,
            leaves: 2,
            spines: 2,
            leaf_devices: 2,
            global_ports: 2,
            link: LinkSpec::new(LinkClass::Infiniband, 25e9, 600),
            local: LinkSpec::new(LinkClass::Infiniband, 25e9, 300),
            global: LinkSpec::new(LinkClass::Infiniband, 25e9, 600),
        }
    }
}

impl Shape for DragonflyPlus {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = at_least(&[
            ("groups", self.groups, 1),
            ("leaves", self.leaves, 1),
            ("spines", self.spines, 1),
            ("leaf_devices", self.leaf_devices, 1),
        ]);
        let most = product(&[self.spines, self.global_ports]).saturating_add(1);
        if self.groups > most {
            let message =
                format!("at most {most} groups are joined by the global ports, not {}", self.groups);
            problems.push(Problem::at("groups", message));
        }
        problems
    }

    fn facts(&self) -> ShapeFacts {
        let g = self.groups;
        let devices = product(&[g, self.leaves, self.leaf_devices]);
        let local = product(&[2, g, self.leaves, self.spines]);
        let global = product(&[g, g - 1]);
        let diameter = match (g > 1, self.leaves > 1, self.leaf_devices > 1) {
            // Device, leaf, spine, spine of the other group, leaf, device.
            (true, ..) => 5,
            (false, true, _) => 4,
            (false, false, true) => 2,
            (false, false, false) => 0,
        };
        let links = devices.saturating_mul(2).saturating_add(local).saturating_add(global);
        ShapeFacts { devices, links, diameter, bisection: None }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let groups: Vec<Vec<VertexId>> =
            (0..self.groups).map(|group| self.lay_out_group(group, device, to)).collect();
        for i in 0..self.groups {
            for j in i + 1..self.groups {
                let near = groups[i as usize][self.spine_towards(i, j)];
                let far = groups[j as usize][self.spine_towards(j, i)];
                to.connect(near, far, self.global);
            }
        }
    }
}

impl DragonflyPlus {
    /// The spine of group `i` whose global port leads to group `j`.
    fn spine_towards(&self, i: u64, j: u64) -> usize {
        let port = if j < i { j } else { j - 1 };
        (port / self.global_ports) as usize
    }

    /// Adds a group and returns its spines.
    fn lay_out_group(&self, group: u64, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) -> Vec<VertexId> {
        let spines: Vec<VertexId> =
            (0..self.spines).map(|spine| to.add_switch(format!("group{group}/spine{spine}"))).collect();
        let radius = radius_for(self.facts().devices);
        let turn =
            |at: u64, of: u64| (group as f64 + (at as f64 + 0.5) / of as f64 / 1.2) / self.groups as f64;
        for (at, &spine) in spines.iter().enumerate() {
            place_on_circle(to, spine, turn(at as u64, self.spines), radius);
        }
        for leaf in 0..self.leaves {
            let switch = to.add_switch(format!("group{group}/leaf{leaf}"));
            place_on_circle(to, switch, turn(leaf, self.leaves), radius + 1.5);
            for at in 0..self.leaf_devices {
                let node = to.add_node();
                let vertex = to.add_device(format!("device{}", node.0), device, node);
                let place = leaf * self.leaf_devices + at;
                place_on_circle(to, vertex, turn(place, self.leaves * self.leaf_devices), radius + 3.0);
                to.connect(vertex, switch, self.link);
            }
            for &spine in &spines {
                to.connect(switch, spine, self.local);
            }
        }
        spines
    }
}
