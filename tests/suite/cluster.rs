//! Clusters against shared vectors and real traces.

use trainyard::cluster::job::Job;
use trainyard::cluster::machine::Host;
use trainyard::cluster::placement::PlacementSpec;
use trainyard::cluster::scheduling::ClusterSchedulerSpec;
use trainyard::cluster::scheduling::gavel_max_min::MaxMin;
use trainyard::cluster::speed::{NoProfiles, Speed};
use trainyard::cluster::{self, Checkpoint, ClusterPlan, Demand, KindId, Machine};
use trainyard::rng::Seed;
use trainyard::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// The shared vectors; nothing, with a message, where they are absent.
fn vectors() -> Option<serde_json::Value> {
    let text = std::fs::read_to_string("../shared/vectors/scheduling.json");
    match text {
        Ok(text) => Some(serde_json::from_str(&text).expect("vectors are JSON")),
        Err(_) => {
            eprintln!("skipped: ../shared/vectors/scheduling.json is absent");
            None
        }
    }
}

fn numbers(row: &serde_json::Value) -> Vec<u64> {
    row.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

/// Five gangs on eight devices under strict FIFO and strict SJF.
#[test]
fn gangs_start_as_in_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    let cases = &vectors["gang_jobs_8gpu"];
    let rows: Vec<Vec<u64>> = cases["jobs_arr_dur_gpus"].as_array().unwrap().iter().map(numbers).collect();
    let seconds = |count: u64| SimDuration::from_picos(count * PICOS_PER_SECOND);
    let job = |row: &Vec<u64>| Job {
        name: String::new(),
        user: String::new(),
        arrival: SimTime::ZERO + seconds(row[0]),
        demand: Demand::devices(row[2] as u32),
        work: seconds(row[1]),
        estimate: seconds(row[1]),
        kinds: vec![KindId(0)],
        speed: Speed::Same,
        weight: 1.0,
    };
    let mut machine = Machine::new("eight");
    machine.add_node("node", "gpu", 8, Host::PLENTY);
    for (case, scheduler) in [("fifo_strict", "fifo"), ("sjf_strict", "sjf")] {
        let plan = ClusterPlan {
            machine: machine.clone(),
            jobs: rows.iter().map(job).collect(),
            scheduler: ClusterSchedulerSpec::from_name(scheduler).unwrap(),
            placement: PlacementSpec::from_name("packed").unwrap(),
            checkpoint: Checkpoint::default(),
            failures: None,
            seed: Seed(1),
        };
        let outcome = cluster::run(&plan, &NoProfiles).unwrap();
        let whole = |at: SimTime| at.picos() / PICOS_PER_SECOND;
        let starts: Vec<u64> = outcome.jobs.iter().map(|job| whole(job.start)).collect();
        assert_eq!(starts, numbers(&cases[case]["start"]), "{case}");
        let spent = outcome.jobs.iter().zip(&rows).map(|(job, row)| whole(job.finish) - row[0]);
        let mean = spent.sum::<u64>() as f64 / rows.len() as f64;
        assert_eq!(mean, cases[case]["avgJCT"].as_f64().unwrap(), "{case}");
        let makespan = outcome.jobs.iter().map(|job| whole(job.finish)).max();
        assert_eq!(makespan, cases[case]["makespan"].as_u64(), "{case}");
    }
}

/// A number written as `13/31`.
fn fraction(text: &serde_json::Value) -> f64 {
    let text = text.as_str().unwrap();
    match text.split_once('/') {
        Some((over, under)) => over.parse::<f64>().unwrap() / under.parse::<f64>().unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Gavel's linear program on the cases that were solved exactly.
#[test]
fn gavels_program_gives_the_allocations_of_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    for case in vectors["gavel_lp"].as_array().unwrap() {
        let floats = |row: &serde_json::Value| -> Vec<f64> {
            row.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let speeds: Vec<Vec<f64>> = case["T"].as_array().unwrap().iter().map(floats).collect();
        let ones = vec![1.0; speeds.len()];
        let workers = floats(&case["workers"]);
        let answer = MaxMin { speeds: &speeds, scales: ones.clone(), weights: ones, workers }.solve();
        assert!((answer.objective - fraction(&case["maxmin_perf_objective"])).abs() < 1e-9, "{answer:?}");
        for (row, expected) in answer.fractions.iter().zip(case["alloc"].as_array().unwrap()) {
            for (found, expected) in row.iter().zip(expected.as_array().unwrap()) {
                assert!((found - fraction(expected)).abs() < 1e-9, "{answer:?}");
            }
        }
    }
}
