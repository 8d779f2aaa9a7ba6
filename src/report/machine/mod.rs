//! A topology as a table and a drawing.

mod figures;

use crate::hardware::Topology;
use crate::report::table::facts;
use crate::report::writer::Artefact;
use crate::units::Bandwidth;

/// Larger machines are described but not drawn vertex by vertex.
const MOST_VERTICES: usize = 2_000;

/// The drawing.
pub fn artefacts(topology: &Topology) -> Vec<Artefact> {
    if topology.graph().node_count() > MOST_VERTICES {
        return Vec::new();
    }
    vec![Artefact::text(format!("{}.svg", topology.name()), figures::drawing(topology).as_str())]
}

/// What a topology comes to, as aligned text.
pub fn table(topology: &Topology) -> String {
    let about = topology.describe();
    let mut rows: Vec<(String, String)> = vec![("nodes".into(), about.nodes.to_string())];
    for (spec, count) in &about.specs {
        rows.push((format!("devices: {spec}"), count.to_string()));
    }
    rows.push(("switches and cards".into(), about.switches.to_string()));
    for (class, count) in &about.links {
        let rates: Vec<f64> = topology
            .links()
            .iter()
            .filter(|link| link.class == *class)
            .map(|link| link.bandwidth.get())
            .collect();
        let (low, high) = rates.iter().fold((f64::INFINITY, 0.0_f64), |(l, h), r| (l.min(*r), h.max(*r)));
        let rate = Bandwidth::per_second(high).to_string();
        let rate = if low < high { format!("{} to {rate}", Bandwidth::per_second(low)) } else { rate };
        rows.push((format!("links: {class}"), format!("{count} directed, {rate} each")));
    }
    let bisection = topology.bisection_bandwidth().map_or("none: one device".to_owned(), |b| b.to_string());
    let bound = if about.bisection_exact { "" } else { " (at most; the cut between first and second half)" };
    rows.push(("bisection bandwidth".into(), format!("{bisection}{bound}")));
    rows.push(("diameter".into(), format!("{} links", about.diameter)));
    for (hops, count) in &about.hops {
        rows.push((format!("routes of {hops} links"), count.to_string()));
    }
    facts(&about.name, &rows, &[])
}
