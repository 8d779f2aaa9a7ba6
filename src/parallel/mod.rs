//! Which rank holds which part: the mesh of data × pipeline × context × tensor ranks, its groups, and
//! the devices that ranks are placed on.
//!
//! It knows no schedules, no time and no models.

mod mesh;
mod partition;

pub use mesh::{Axis, Coordinates, Mesh};
pub use partition::partition_by_cost;
