//! What a cluster run comes to, in numbers.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

use crate::cluster::{ClusterOutcome, ClusterPlan, Reason};
use crate::ids::Id;
use crate::units::PICOS_PER_SECOND;

/// The outcome of a cluster run, for people and machines.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterSummary {
    /// What the workload is called.
    pub name: String,
    /// Who decided when.
    pub scheduler: &'static str,
    /// Who decided where.
    pub placement: &'static str,
    /// The machine.
    pub machine: String,
    /// Its devices.
    pub devices: usize,
    /// How many jobs there were; all are done.
    pub jobs: usize,
    /// Until the last was done.
    pub simulated_time_s: f64,
    /// From the first arrival until the last job was done.
    pub makespan_s: f64,
    /// Job completion times: from arrival to the end.
    pub jct_s: Spread,
    /// From arrival to the first start.
    pub queueing_s: Spread,
    /// In all: completion time less the time that devices were held.
    pub waiting_s: Spread,
    /// max(1, JCT / max(time alone on the machine, 10 s)): Feitelson's bounded slowdown.
    pub bounded_slowdown: Spread,
    /// Share of the devices' time until the end that jobs held them.
    pub utilization: f64,
    /// Shares of the devices' time: at work (and not undone), waiting for checkpoints, undone by failures,
    /// idle, and out of service. They sum to 1.
    pub device_time: IndexMap<&'static str, f64>,
    /// How fragmented the machine was.
    pub fragmentation: Fragmentation,
    /// How evenly jobs were treated.
    pub fairness: Fairness,
    /// Why jobs waited, in job-seconds.
    pub pending_s: IndexMap<&'static str, f64>,
    /// The most jobs that waited at once.
    pub pending_peak: u32,
    /// Times that the scheduler stopped a job.
    pub preemptions: u64,
    /// Times that a job lost a device.
    pub failures: u64,
    /// By user, the one with most jobs first; at most twenty.
    pub users: Vec<UserSummary>,
    /// Rows of the trace that were left out.
    pub skipped_rows: usize,
    /// Shapes of gangs for which training was timed.
    pub trained_shapes: usize,
    /// Times that the scheduler was asked.
    pub decisions: u64,
    /// Events processed.
    pub events: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// How a quantity is spread over jobs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Its mean.
    pub mean: f64,
    /// Half of the jobs have at most so much (nearest rank).
    pub p50: f64,
    /// Nine in ten.
    pub p90: f64,
    /// Ninety-nine in a hundred.
    pub p99: f64,
    /// The most.
    pub max: f64,
}

/// How fragmented the machine was.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Fragmentation {
    /// Of the time that devices were idle, the share in which they sat in nodes that were partly used.
    pub scattered_idle: f64,
    /// Of the time that jobs waited, the share in which enough devices were free but not together.
    pub waiting: f64,
    /// Stays of gangs that spanned more nodes than they had to.
    pub spread_gangs: f64,
}

/// How evenly jobs were treated.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Fairness {
    /// Jain's index of the jobs' bounded slowdowns: 1 when all are alike, 1/n when one has it all.
    pub jain_slowdown: f64,
    /// Jain's index of the users' mean bounded slowdowns.
    pub jain_users: f64,
    /// ρ = JCT / time on an equal share: Mahajan et al., "Themis", NSDI 2020. The share is that of a machine
    /// divided among as many jobs as were there on average.
    pub finish_time_fairness: Spread,
    /// Share of jobs with ρ above 1: they would have fared better alone on their share.
    pub unfair: f64,
}

/// What became of a user's jobs.
#[derive(Debug, Clone, Serialize)]
pub struct UserSummary {
    /// Who.
    pub user: String,
    /// How many jobs.
    pub jobs: usize,
    /// Devices × hours held.
    pub device_hours: f64,
    /// Mean completion time.
    pub mean_jct_s: f64,
    /// Mean bounded slowdown.
    pub mean_slowdown: f64,
}

/// Below it a job's slowdown says little (Feitelson and Rudolph, JSSPP 1998, take 10 s).
const SHORT: f64 = 10.0;
const MOST_USERS: usize = 20;

impl ClusterSummary {
    /// The numbers of a run.
    pub fn new(
        name: &str,
        plan: &ClusterPlan,
        outcome: &ClusterOutcome,
        skipped_rows: usize,
        trained_shapes: usize,
        notes: &[String],
    ) -> Self {
        let jobs = || plan.jobs.iter().zip(outcome.jobs.iter());
        let jct: Vec<f64> = jobs().map(|(job, record)| record.finish.since(job.arrival).seconds()).collect();
        let queueing = jobs().map(|(job, record)| record.start.since(job.arrival).seconds()).collect();
        let waiting =
            jobs().zip(&jct).map(|((_, record), jct)| (jct - record.held.seconds()).max(0.0)).collect();
        let slowdown: Vec<f64> = jobs()
            .zip(&jct)
            .map(|((_, record), jct)| (jct / record.alone.seconds().max(SHORT)).max(1.0))
            .collect();
        let end = outcome.jobs.iter().map(|record| record.finish).max().unwrap_or_default();
        let device_time = device_time(plan, outcome, end.seconds());
        let mut pending_s: IndexMap<&'static str, f64> =
            Reason::ALL.into_iter().map(|reason| (reason.name(), 0.0)).collect();
        for (&(_, reason), &waited) in &outcome.waited {
            pending_s[reason.name()] += waited as f64 / PICOS_PER_SECOND as f64;
        }
        ClusterSummary {
            name: name.to_owned(),
            scheduler: plan.scheduler.name(),
            placement: plan.placement.name(),
            machine: plan.machine.to_string(),
            devices: plan.machine.devices(),
            jobs: plan.jobs.len(),
            simulated_time_s: end.seconds(),
            makespan_s: end
                .since(plan.jobs.iter().map(|job| job.arrival).min().unwrap_or_default())
                .seconds(),
            utilization: device_time["work"] + device_time["overhead"] + device_time["lost"],
            device_time,
            fragmentation: fragmentation(plan, outcome, &pending_s),
            fairness: fairness(plan, outcome, &jct, &slowdown),
            pending_s,
            pending_peak: outcome.samples.iter().map(|sample| sample.pending).max().unwrap_or(0),
            preemptions: outcome.jobs.iter().map(|record| u64::from(record.preemptions)).sum(),
            failures: outcome.jobs.iter().map(|record| u64::from(record.failures)).sum(),
            users: users(plan, outcome, &jct, &slowdown),
            skipped_rows,
            trained_shapes,
            decisions: outcome.decisions,
            events: outcome.events,
            notes: notes.to_vec(),
            jct_s: Spread::of(jct),
            queueing_s: Spread::of(queueing),
            waiting_s: Spread::of(waiting),
            bounded_slowdown: Spread::of(slowdown),
        }
    }
}

impl Spread {
    /// How these numbers are spread; all zero when there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Spread { mean: 0.0, p50: 0.0, p90: 0.0, p99: 0.0, max: 0.0 };
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let at = (share * values.len() as f64).ceil() as usize;
            values[at.clamp(1, values.len()) - 1]
        };
        Spread { mean, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: rank(1.0) }
    }
}

/// Shares of the devices' time until the end.
fn device_time(plan: &ClusterPlan, outcome: &ClusterOutcome, end: f64) -> IndexMap<&'static str, f64> {
    let whole = (plan.machine.devices() as f64 * end).max(f64::MIN_POSITIVE);
    let (mut held, mut overhead, mut lost) = (0.0, 0.0, 0.0);
    for stay in &outcome.stays {
        let devices = stay.devices.len() as f64 * f64::from(plan.jobs[stay.job].demand.share) / 1000.0;
        held += devices * stay.end.since(stay.start).seconds();
        overhead += devices * stay.begins.since(stay.start).seconds();
        lost += devices * stay.lost.seconds();
    }
    let down: f64 = outcome.outages.iter().map(|outage| outage.end.since(outage.start).seconds()).sum();
    let idle = (whole - held - down).max(0.0);
    [("work", held - overhead - lost), ("overhead", overhead), ("lost", lost), ("idle", idle), ("down", down)]
        .map(|(part, time)| (part, time / whole))
        .into_iter()
        .collect()
}

fn fragmentation(
    plan: &ClusterPlan,
    outcome: &ClusterOutcome,
    pending: &IndexMap<&'static str, f64>,
) -> Fragmentation {
    let (mut idle, mut scattered) = (0.0, 0.0);
    for pair in outcome.samples.windows(2) {
        let length = pair[1].at.since(pair[0].at).seconds();
        idle += f64::from(pair[0].idle) * length;
        scattered += f64::from(pair[0].scattered) * length;
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    // The fewest nodes that a gang of this size could have, by the largest node of its kind.
    let mut spread = 0_u32;
    for stay in outcome.stays.iter().filter(|stay| !stay.devices.is_empty()) {
        let kind = plan.machine.nodes()[stay.nodes[0]].kind;
        let nodes = plan.machine.nodes_of(kind).iter();
        let largest = nodes.map(|&node| plan.machine.nodes()[node].devices.len()).max().unwrap_or(1).max(1);
        spread += u32::from(stay.nodes.len() > stay.devices.len().div_ceil(largest));
    }
    Fragmentation {
        scattered_idle: share(scattered, idle),
        waiting: share(pending[Reason::Fragmented.name()], pending.values().sum()),
        spread_gangs: share(f64::from(spread), outcome.stays.len() as f64),
    }
}

fn fairness(plan: &ClusterPlan, outcome: &ClusterOutcome, jct: &[f64], slowdown: &[f64]) -> Fairness {
    let devices = plan.machine.devices().max(1) as f64;
    let rho: Vec<f64> = plan
        .jobs
        .iter()
        .zip(outcome.jobs.iter())
        .zip(jct)
        .map(|((job, record), jct)| {
            // On 1/N of the machine a job that needs more of it takes that much longer.
            let stretch = (job.demand.milli() as f64 / 1000.0 * record.company / devices).max(1.0);
            jct / (record.alone.seconds() * stretch)
        })
        .collect();
    // Picoseconds of rounding do not make a job unfairly treated.
    let unfair = rho.iter().filter(|&&rho| rho > 1.0 + 1e-9).count() as f64 / rho.len().max(1) as f64;
    let mut of_users: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (job, slowdown) in plan.jobs.iter().zip(slowdown) {
        let (sum, jobs) = of_users.entry(&job.user).or_default();
        *sum += slowdown;
        *jobs += 1.0;
    }
    Fairness {
        jain_slowdown: jain(slowdown.iter().copied()),
        jain_users: jain(of_users.values().map(|(sum, jobs)| sum / jobs)),
        finish_time_fairness: Spread::of(rho),
        unfair,
    }
}

/// (Σx)² / (n·Σx²): Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination", 1984.
fn jain(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum, squares) =
        values.fold((0.0, 0.0, 0.0), |(count, sum, squares), x| (count + 1.0, sum + x, squares + x * x));
    if squares > 0.0 { sum * sum / (count * squares) } else { 1.0 }
}

fn users(plan: &ClusterPlan, outcome: &ClusterOutcome, jct: &[f64], slowdown: &[f64]) -> Vec<UserSummary> {
    let mut all: BTreeMap<&str, UserSummary> = BTreeMap::new();
    for (id, job) in plan.jobs.enumerate() {
        let user = all.entry(&job.user).or_insert_with(|| UserSummary {
            user: job.user.clone(),
            jobs: 0,
            device_hours: 0.0,
            mean_jct_s: 0.0,
            mean_slowdown: 0.0,
        });
        user.jobs += 1;
        user.device_hours += outcome.jobs[id].held.seconds() / 3600.0 * job.demand.milli() as f64 / 1000.0;
        user.mean_jct_s += jct[id.index()];
        user.mean_slowdown += slowdown[id.index()];
    }
    let mut all: Vec<UserSummary> = all.into_values().collect();
    for user in &mut all {
        user.mean_jct_s /= user.jobs as f64;
        user.mean_slowdown /= user.jobs as f64;
    }
    all.sort_by(|a, b| b.jobs.cmp(&a.jobs).then_with(|| a.user.cmp(&b.user)));
    all.truncate(MOST_USERS);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest rank: of four numbers the second is the median, the fourth the 90th percentile.
    #[test]
    fn spreads_take_the_nearest_rank() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { mean: 2.5, p50: 2.0, p90: 4.0, p99: 4.0, max: 4.0 });
    }

    #[test]
    fn jains_index_is_one_when_all_are_alike_and_a_share_when_one_has_all() {
        assert_eq!(jain([3.0, 3.0, 3.0].into_iter()), 1.0);
        assert_eq!(jain([5.0, 0.0, 0.0, 0.0].into_iter()), 0.25);
    }
}
