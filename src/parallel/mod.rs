//! Which rank holds which part: the mesh of data × pipeline × context × tensor ranks, its groups,
//! the tokens of each sequence, and the devices that ranks are placed on.
//!
//! It knows no schedules, no time and no models.

mod mesh;
mod partition;
mod tokens;

pub use mesh::{Axis, Coordinates, Mesh};
pub use partition::partition_by_cost;
pub use tokens::{Sight, TokenOrder, Tokens};
