//! Every flow as if it were alone: α + n/β on its route.
//!
//! α is the sum of the route's latencies, 1/β the time per byte of its narrowest link (Hockney, "The
//! communication challenge for MPP", Parallel Computing 20(3), 1994). Links can fail and change; they
//! are never shared.

use serde::{Deserialize, Serialize};

use crate::network::clockwork::{Clockwork, Sharing};
use crate::network::paths::{PathId, Paths};
use crate::network::rates::{Rate, Weight};
use crate::network::{LinkTable, NetworkFidelity, NetworkModel};

/// α–β on the route, no sharing.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Analytic {}

impl NetworkFidelity for Analytic {
    fn model(&self, links: &LinkTable) -> Box<dyn NetworkModel> {
        Box::new(Clockwork::new(Unshared, links))
    }
}

/// Every flow has the whole of its narrowest link.
#[derive(Debug)]
struct Unshared;

impl Sharing for Unshared {
    fn share(&mut self, paths: &mut Paths, changed: &mut Vec<PathId>) {
        changed.extend_from_slice(paths.changed_paths());
        for &link in paths.changed_links() {
            changed.extend(paths.crossing(link));
        }
        for &path in &*changed {
            let narrowest = paths[path].route.iter().map(|&link| paths.capacity(link)).min();
            paths[path].level = narrowest.unwrap_or(Rate::ZERO);
        }
    }

    fn weight(&self, _asked: f64) -> Weight {
        Weight::ONE
    }
}
