//! The machine that a row of a table was measured on, as far as the table says.
//!
//! Within a node devices stand on one switch, joined to it by all their ports to peers, or by their PCIe
//! slot where they have none or the table says so. Between nodes each has a network card as fast as its
//! slot's generation had them, on a rail-optimised network.

use std::sync::Arc;

use crate::hardware::shapes::{Rail, ShapeSpec};
use crate::hardware::{DeviceSpec, LinkClass, LinkSpec, Topology};
use crate::units::{Bandwidth, SimDuration};

/// From an accelerator to the switch or back (unverified; the protocols' steps are fitted on top).
const PORT_LATENCY: SimDuration = SimDuration::from_nanos(250);

/// How many devices there are and how they are joined.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// All of them.
    pub(super) devices: u32,
    /// Those of a node.
    pub(super) node_devices: u32,
    /// What the table says of their links, as [`plain`](super::cells::plain) words.
    pub(super) link: String,
}

impl Place {
    /// From the numbers that a table gives; nodes are of eight where it gives none.
    pub(super) fn of(devices: u32, nodes: Option<u32>, node_devices: Option<u32>, link: &str) -> Place {
        let by_nodes = nodes.filter(|nodes| *nodes > 0).map(|nodes| devices.div_ceil(nodes));
        let node_devices = by_nodes.or(node_devices).unwrap_or(8).clamp(1, devices.max(1));
        Place { devices, node_devices, link: super::cells::plain(link) }
    }

    /// How many nodes they stand in.
    pub(super) fn nodes(&self) -> u32 {
        self.devices.div_ceil(self.node_devices.max(1))
    }

    /// From a device to the others of its node.
    fn ports(&self, device: &DeviceSpec) -> Option<LinkSpec> {
        let slot = || device.host.map(|host| LinkSpec { class: LinkClass::Pcie, ..host });
        if self.link.contains("pci") { slot().or(device.peers) } else { device.peers.or_else(slot) }
    }

    /// Devices on one switch.
    ///
    /// # Errors
    /// When nothing is known of the device's links.
    pub(super) fn board(&self, device: &DeviceSpec) -> Result<Topology, String> {
        let ports =
            self.ports(device).ok_or_else(|| format!("`{}` says nothing of its links", device.name))?;
        let port = LinkSpec { latency: PORT_LATENCY, ..ports };
        let spec = Arc::new(device.clone());
        let mut builder = Topology::builder("board");
        let node = builder.add_node();
        let switch = builder.add_switch("switch");
        for index in 0..self.devices {
            let vertex = builder.add_device(format!("device{index}"), &spec, node);
            builder.connect(vertex, switch, port);
        }
        builder.build().map_err(|error| error.to_string())
    }

    /// Nodes with a card for each device.
    ///
    /// # Errors
    /// When there are no devices.
    pub(super) fn rails(&self, device: &DeviceSpec) -> Result<Topology, String> {
        let rail = Rail {
            nodes: u64::from(self.nodes()),
            node_devices: u64::from(self.node_devices),
            scale_up: self.ports(device).unwrap_or(Rail::default().scale_up),
            host: device.host.unwrap_or(Rail::default().host),
            network: self.card(device),
            ..Rail::default()
        };
        let built = ShapeSpec::Rail(rail).build("nodes of the table", &Arc::new(device.clone()));
        built.map_err(|problems| {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
        })
    }

    /// The slot's generation decides the card: 3.0 has EDR or 100 Gbit/s Ethernet, 4.0 HDR, 5.0 NDR (the
    /// DGX-1, DGX A100 and DGX H100 of NVIDIA's reference architectures), unless the table names another.
    fn card(&self, device: &DeviceSpec) -> LinkSpec {
        let named = [("ndr", 50.0), ("hdr", 25.0), ("edr", 12.5), ("xdr", 100.0), ("fdr", 6.8)];
        let rates =
            [("800g", 100.0), ("400g", 50.0), ("200g", 25.0), ("100g", 12.5), ("25g", 3.125), ("10g", 1.25)];
        let said = named.into_iter().chain(rates).find(|(word, _)| self.link.contains(word));
        let gigabytes = said.map_or_else(
            || match device.host.map_or(0.0, |host| host.bandwidth.get() / 1e9) {
                slow if slow < 20.0 => 12.5,
                middle if middle < 40.0 => 25.0,
                _ => 50.0,
            },
            |(_, gigabytes)| gigabytes,
        );
        LinkSpec { bandwidth: Bandwidth::per_second(gigabytes * 1e9), ..Rail::default().network }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_from_what_a_table_gives() {
        let place = |devices, nodes, each| Place::of(devices, nodes, each, "");
        assert_eq!((place(16, None, None).nodes(), place(16, None, None).node_devices), (2, 8));
        assert_eq!((place(16, Some(4), None).nodes(), place(16, Some(4), None).node_devices), (4, 4));
        assert_eq!((place(2, Some(1), Some(8)).nodes(), place(2, None, None).node_devices), (1, 2));
        assert_eq!(place(64, None, Some(4)).nodes(), 16);
    }

    #[test]
    fn cards_follow_the_slot_unless_the_table_names_them() {
        let mut device = crate::compute::support::fitted_a100();
        device.host = Some(LinkSpec::new(LinkClass::Pcie, 31.5e9, 400));
        let card = |link: &str| Place::of(16, None, None, link).card(&device).bandwidth.get() / 1e9;
        assert_eq!((card("nvlink3"), card("IB NDR"), card("ethernet-100G")), (25.0, 50.0, 12.5));
    }
}
