//! Flits through routers, cycle by cycle.
//!
//! A flow is cut into packets and these into flits. Each router has a buffer for each virtual channel
//! of each input. The head of a packet is given a virtual channel of its next link, then its flits
//! cross the switch one by one, each when it is granted its turn and there is a credit for it: a place
//! in the buffer at the other end. Both allocators are separable and round-robin ([iSLIP](islip)).
//!
//! The machine and its timing are those of BookSim 2's input-queued router without speculation and
//! with look-ahead routing (Jiang et al., "A Detailed and Flexible Cycle-Accurate Network-on-Chip
//! Simulator", ISPASS 2013; Dally and Towles, "Principles and Practices of Interconnection Networks",
//! 2004, chapters 16 to 19): a virtual channel in one cycle, the switch in the next, then one cycle
//! across it and one along the shortest link; so that h routers and L flits take
//! 4h + 2 + (L − 1) cycles when nothing else moves.
//!
//! The clock is that of the fastest link, which moves one flit a cycle; slower links move them less
//! often. A hop takes the latency of its link, at least four cycles. Where devices forward (mesh,
//! torus), each is a router with one port in and one out of its own; elsewhere devices are the ends of
//! their links.
//!
//! Routes are the topology's: in meshes and tori one dimension after the other. So that no circle of
//! full buffers can form, packets whose route has [descended](crate::network::LinkTable::order)
//! (crossed a dateline) may use virtual channels that the others may not. With a single virtual channel
//! a torus can deadlock, as it would.

mod islip;
mod model;
mod router;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::network::{LinkTable, NetworkFidelity, NetworkModel};
use crate::units::Bytes;

pub use model::FlitNetwork;

/// Input-queued routers with virtual channels and credits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "Written")]
pub struct Flit {
    /// The bytes of a flit, which the fastest link moves in a cycle.
    pub flit: Bytes,
    /// The most flits of a packet.
    pub packet: u32,
    /// Virtual channels of each link.
    pub vcs: u32,
    /// Flits that the buffer of a virtual channel holds, beside those that a link of more than a cycle
    /// has on it.
    pub buffer: u32,
    /// Cycles that a router takes to see a credit.
    pub credit_delay: u32,
    /// Rounds of granting and accepting in a cycle.
    pub iterations: u32,
    /// Ports into the switch of each input, among which its virtual channels are dealt out.
    pub input_speedup: u32,
}

/// BookSim 2's defaults, with the credit delay of its examples.
impl Default for Flit {
    fn default() -> Self {
        Flit {
            flit: Bytes(32),
            packet: 16,
            vcs: 16,
            buffer: 8,
            credit_delay: 2,
            iterations: 2,
            input_speedup: 1,
        }
    }
}

impl NetworkFidelity for Flit {
    fn model(&self, links: &LinkTable) -> Box<dyn NetworkModel> {
        Box::new(FlitNetwork::new(self, links))
    }
}

impl Flit {
    fn is_sane(&self) -> Result<(), String> {
        if !(1..=4096).contains(&self.flit.get()) {
            return Err(format!("a `flit` has 1 to 4096 bytes, not {}", self.flit.get()));
        }
        let counts = [
            ("packet", self.packet, 1 << 16),
            ("vcs", self.vcs, 64),
            ("buffer", self.buffer, 1 << 16),
            ("iterations", self.iterations, 64),
            ("input_speedup", self.input_speedup, self.vcs),
        ];
        for (key, value, most) in counts {
            if value == 0 || value > most {
                return Err(format!("`{key}` is a number from 1 to {most}, not {value}"));
            }
        }
        if self.credit_delay > 1 << 16 {
            return Err(format!("a `credit_delay` is at most {} cycles, not {}", 1 << 16, self.credit_delay));
        }
        Ok(())
    }
}

/// The same as it is written, before it is known to be sane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    flit: Bytes,
    packet: u32,
    vcs: u32,
    buffer: u32,
    credit_delay: u32,
    iterations: u32,
    input_speedup: u32,
}

impl Default for Written {
    fn default() -> Self {
        let Flit { flit, packet, vcs, buffer, credit_delay, iterations, input_speedup } = Flit::default();
        Written { flit, packet, vcs, buffer, credit_delay, iterations, input_speedup }
    }
}

impl TryFrom<Written> for Flit {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { flit, packet, vcs, buffer, credit_delay, iterations, input_speedup } = written;
        let flit = Flit { flit, packet, vcs, buffer, credit_delay, iterations, input_speedup };
        flit.is_sane().map(|()| flit)
    }
}
