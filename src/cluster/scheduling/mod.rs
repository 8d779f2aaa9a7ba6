//! Who runs when.
//!
//! A scheduler is asked whenever something has happened, once for all that happened at a moment, and
//! answers with [`ClusterAction`]s. It drafts them on a [`Draft`](crate::cluster::view::Draft), which
//! knows what would be free and asks the placement for gangs. A scheduler knows the true remaining
//! work of no job, only its user's estimate; it never holds the run.
//!
//! Ties that a paper leaves open go to the job that came first.
//!
//! To add one, write its file and list it here; the conformance tests will find it.

mod drf;
mod easy_backfill;
mod fifo;
pub mod gavel_max_min;
mod goodput_adaptive;
mod las;
mod preemptive;
mod sjf;
mod srtf;

use crate::cluster::{ClusterAction, ClusterView};
use crate::registry;

registry! {
    /// `scheduler:` of a cluster workload.
    pub enum ClusterSchedulerSpec: ClusterScheduler {
        /// in the order of arrival, the first blocks
        "fifo" => Fifo(fifo::Fifo),
        /// FIFO that fills gaps without delaying the first (Lifka)
        "easy_backfill" => EasyBackfill(easy_backfill::EasyBackfill),
        /// shortest job first
        "sjf" => Sjf(sjf::Sjf),
        /// shortest remaining time first, preempting
        "srtf" => Srtf(srtf::Srtf),
        /// least attained service in queues (Tiresias)
        "las" => Las(las::Las),
        /// dominant resource fairness (Ghodsi et al.)
        "drf" => Drf(drf::Drf),
        /// max-min throughput over kinds of device, a linear program (Gavel)
        "gavel_max_min" => GavelMaxMin(gavel_max_min::GavelMaxMin),
        /// gangs grow and shrink to the sum of goodputs (after Pollux)
        "goodput_adaptive" => GoodputAdaptive(goodput_adaptive::GoodputAdaptive),
    }
}

/// Decides who runs.
///
/// Contract: only waiting jobs are started, on gangs that are free after what was decided before them,
/// with a number of devices that the job works with; only running jobs are preempted; it asks to be
/// woken later than now. While jobs wait and nothing runs on a machine that works, it starts one, or
/// asks to be woken.
pub trait ClusterScheduler {
    /// What should be done now.
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction>;

    /// Why its parameters would not do, with the parameter's name and what would.
    fn admits(&self) -> Result<(), String> {
        Ok(())
    }
}
