//! Groups of routers, all to all within and between.
//!
//! Kim, Dally, Scott and Abts, "Technology-Driven, Highly-Scalable Dragonfly Topology", ISCA 2008.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, place_on_circle, product, radius_for};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;

/// g groups of a routers with p devices and h global ports each; one cable joins every two groups.
///
/// Global port q of a group (router ⌊q/h⌋) leads to the q-th other group, as in the paper's figure 5.
/// Routes are the shortest; Valiant's detours are the packet network's business.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dragonfly {
    /// g, at most a·h + 1.
    pub groups: u64,
    /// a, routers of a group.
    pub routers: u64,
    /// p, devices of a router.
    pub router_devices: u64,
    /// h, global ports of a router.
    pub global_ports: u64,
    /// From a device to its router.
    pub link: LinkSpec,
    /// Between two routers of a group.
    pub local: LinkSpec,
    /// Between two groups.
    pub global: LinkSpec,
}

/// The paper's example, p = h = 2, a = 4, g = 9: balanced, a = 2p = 2h.
impl Default for Dragonfly {
    fn default() -> Self {
        Dragonfly {
            groups: 9,
            routers: 4,
            router_devices: 2,
            global_ports: 2,
            link: LinkSpec::new(LinkClass::Ethernet, 25e9, 600),
            local: LinkSpec::new(LinkClass::Ethernet, 25e9, 300),
            global: LinkSpec::new(LinkClass::Ethernet, 25e9, 600),
        }
    }
}

impl Shape for Dragonfly {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = at_least(&[
            ("groups", self.groups, 1),
            ("routers", self.routers, 1),
            ("router_devices", self.router_devices, 1),
        ]);
        let most = product(&[self.routers, self.global_ports]).saturating_add(1);
        if self.groups > most {
            let message =
                format!("at most {most} groups are joined by the global ports, not {}", self.groups);
            problems.push(Problem::at("groups", message));
        }
        problems
    }

    fn facts(&self) -> ShapeFacts {
        let (g, a) = (self.groups, self.routers);
        let devices = product(&[g, a, self.router_devices]);
        let local = product(&[g, a, a - 1]);
        let global = product(&[g, g - 1]);
        // Device, router, (gateway, gateway of the other group,) router, device.
        let between_routers = match (g > 1, a > 1) {
            (true, true) => 3,
            (true, false) | (false, true) => 1,
            (false, false) => 0,
        };
        ShapeFacts {
            devices,
            links: devices.saturating_mul(2).saturating_add(local).saturating_add(global),
            diameter: if devices > 1 { 2 + between_routers } else { 0 },
            bisection: None,
        }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let groups: Vec<Vec<VertexId>> =
            (0..self.groups).map(|group| self.lay_out_group(group, device, to)).collect();
        for i in 0..self.groups {
            for j in i + 1..self.groups {
                let near = groups[i as usize][self.router_towards(i, j)];
                let far = groups[j as usize][self.router_towards(j, i)];
                to.connect(near, far, self.global);
            }
        }
    }
}

impl Dragonfly {
    /// The router of group `i` whose global port leads to group `j`.
    fn router_towards(&self, i: u64, j: u64) -> usize {
        let port = if j < i { j } else { j - 1 };
        (port / self.global_ports) as usize
    }

    fn lay_out_group(&self, group: u64, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) -> Vec<VertexId> {
        let routers: Vec<VertexId> =
            (0..self.routers).map(|router| to.add_switch(format!("group{group}/router{router}"))).collect();
        let (all, radius) = (self.groups * self.routers, radius_for(self.facts().devices));
        for (at, &router) in routers.iter().enumerate() {
            let number = group * self.routers + at as u64;
            place_on_circle(to, router, number as f64 / all as f64, radius);
            for peer in &routers[at + 1..] {
                to.connect(router, *peer, self.local);
            }
            for hung in 0..self.router_devices {
                let node = to.add_node();
                let vertex = to.add_device(format!("device{}", node.0), device, node);
                // A third of the way between routers stays free, so that the fans stay apart.
                let aside = (hung as f64 + 0.5) / self.router_devices as f64 - 0.5;
                place_on_circle(to, vertex, (number as f64 + aside / 1.5) / all as f64, radius + 1.5);
                to.connect(vertex, router, self.link);
            }
        }
        routers
    }
}
