//! A topology as a drawing: devices as squares, switches as discs, links by class and width.

use crate::hardware::{DeviceKind, LinkClass, Topology, Vertex};
use crate::ids::{Id, VertexId};
use crate::report::figure::{EdgeKind, Graph, GraphEdge, GraphVertex, Hue, Quantity, Svg, VertexKind};

/// The drawing.
pub(super) fn drawing(topology: &Topology) -> Svg {
    let mut specs: Vec<(&str, DeviceKind)> =
        topology.devices().iter().map(|device| (device.spec.name.as_str(), device.spec.kind)).collect();
    specs.sort_unstable();
    specs.dedup();
    let devices = specs.iter().map(|&(name, kind)| VertexKind {
        name: name.to_owned(),
        hue: device_hue(kind),
        round: false,
    });
    let switches = VertexKind { name: "switches and cards".into(), hue: Hue::Muted, round: true };
    let kind_of = |vertex: VertexId| match topology.vertex(vertex) {
        Vertex::Device(device) => {
            let name = topology.devices()[*device].spec.name.as_str();
            specs.iter().position(|&(spec, _)| spec == name).expect("every spec is listed")
        }
        Vertex::Switch { .. } => specs.len(),
    };
    let vertex = |(vertex, place): (VertexId, &crate::hardware::Position)| GraphVertex {
        name: topology.vertex_name(vertex).to_owned(),
        kind: kind_of(vertex),
        x: place.x,
        y: place.y,
    };
    Graph {
        title: topology.name().to_owned(),
        kinds: devices.chain([switches]).collect(),
        vertices: topology.positions().enumerate().map(vertex).collect(),
        edge_kinds: LinkClass::ALL
            .map(|class| EdgeKind { name: class.to_string(), hue: link_hue(class) })
            .to_vec(),
        edges: topology
            .links()
            .iter()
            .map(|link| GraphEdge {
                from: link.from.index(),
                to: link.to.index(),
                kind: LinkClass::ALL
                    .iter()
                    .position(|&class| class == link.class)
                    .expect("every class is listed"),
                weight: link.bandwidth.get(),
            })
            .collect(),
        weight: Quantity::Si("B/s"),
    }
    .draw()
}

fn device_hue(kind: DeviceKind) -> Hue {
    Hue::Series(match kind {
        DeviceKind::Gpu => 0,
        DeviceKind::Cpu => 2,
        DeviceKind::Fpga => 1,
        DeviceKind::Tpu => 3,
        DeviceKind::Npu => 8,
    })
}

fn link_hue(class: LinkClass) -> Hue {
    match class {
        LinkClass::Nvlink => Hue::Series(9),
        LinkClass::Pcie => Hue::Series(7),
        LinkClass::Infiniband => Hue::Series(5),
        LinkClass::Ethernet => Hue::Series(4),
        LinkClass::Ici => Hue::Series(3),
        LinkClass::OnChip | LinkClass::Cxl => Hue::Series(8),
        LinkClass::Other => Hue::Muted,
    }
}
