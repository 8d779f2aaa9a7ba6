//! What jobs ask for and bring.

use crate::cluster::KindId;
use crate::cluster::speed::Speed;
use crate::ids::{DeviceId, NodeId};
use crate::units::{SimDuration, SimTime};

/// A whole device, in the thousandths in which shares of one are counted.
pub const WHOLE: u16 = 1000;

/// A job: a gang of devices for as long as its work takes.
#[derive(Debug, Clone)]
pub struct Job {
    /// What it is called in its trace.
    pub name: String,
    /// Whose it is: the tenant that fair schedulers are fair to.
    pub user: String,
    /// When it asks.
    pub arrival: SimTime,
    /// What it asks for.
    pub demand: Demand,
    /// How long it takes at speed 1.
    pub work: SimDuration,
    /// How long its user says it takes at speed 1; what schedulers that need it are told.
    pub estimate: SimDuration,
    /// The kinds of device that it can run on, the one it likes best first.
    pub kinds: Vec<KindId>,
    /// How fast it works where.
    pub speed: Speed,
    /// Its share relative to other jobs, where a scheduler has shares.
    pub weight: f64,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    /// Devices; none for a job that needs only its host.
    pub devices: u32,
    /// Of each device, in thousandths; [`WHOLE`] unless a single device is shared.
    pub share: u16,
    /// Thousandths of a CPU core, over all devices.
    pub cpu_milli: u64,
    /// Host memory in MiB, over all devices.
    pub memory_mib: u64,
    /// Whether all devices must be in one node.
    pub one_node: bool,
}

impl Demand {
    /// Whole devices, wherever they are, and nothing of their hosts.
    pub const fn devices(devices: u32) -> Self {
        Demand { devices, share: WHOLE, cpu_milli: 0, memory_mib: 0, one_node: false }
    }

    /// The parts that it may be placed in: one a device, or one in all without devices.
    pub fn pieces(&self) -> u32 {
        self.devices.max(1)
    }

    /// CPU of a piece, rounded up.
    pub fn cpu_of_piece(&self) -> u64 {
        self.cpu_milli.div_ceil(u64::from(self.pieces()))
    }

    /// Memory of a piece, rounded up.
    pub fn memory_of_piece(&self) -> u64 {
        self.memory_mib.div_ceil(u64::from(self.pieces()))
    }

    /// Devices in thousandths.
    pub fn milli(&self) -> u64 {
        u64::from(self.devices) * u64::from(self.share)
    }
}

impl Job {
    /// What it asks for with `devices` devices instead: an elastic job's host demand goes with them.
    pub fn demand_of(&self, devices: u32) -> Demand {
        match self.demand {
            demand if devices == demand.devices => demand,
            demand => {
                let pieces = u64::from(devices.max(1));
                Demand {
                    devices,
                    cpu_milli: demand.cpu_of_piece() * pieces,
                    memory_mib: demand.memory_of_piece() * pieces,
                    ..demand
                }
            }
        }
    }
}

/// The devices that a job holds, all of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gang {
    /// Which kind.
    pub kind: KindId,
    /// Its devices by node, nodes in order. A job without devices has one node and none of its devices.
    pub parts: Vec<(NodeId, Vec<DeviceId>)>,
}

impl Gang {
    /// Its devices.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.parts.iter().flat_map(|(_, devices)| devices.iter().copied())
    }

    /// How many devices it has.
    pub fn size(&self) -> u32 {
        self.parts.iter().map(|(_, devices)| devices.len() as u32).sum()
    }

    /// How many nodes it spans.
    pub fn nodes(&self) -> usize {
        self.parts.len()
    }
}
