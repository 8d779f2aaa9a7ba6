//! Laws of preparation: the same bytes for any number of workers, nothing lost, textbook times.

use std::collections::BTreeMap;

use crate::ids::{Id, ShardId};
use crate::network::NetworkSpec;
use crate::preparation::clean::Cleaning;
use crate::preparation::corpus::Latin;
use crate::preparation::duplicates::Deduplication;
use crate::preparation::embedding::EmbeddingKeys;
use crate::preparation::packing::PackingSpec;
use crate::preparation::tokenizer::{Bpe, TokenizerChoice};
use crate::preparation::work::Work;
use crate::preparation::{
    Accelerator, Corpus, Offload, PreparationPlan, Sharing, StageKind, StageSpeed, Treatment, WorkerSpec, run,
};
use crate::rng::Seed;
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

fn plan(workers: u32) -> PreparationPlan {
    let latin = Latin { documents: 60, words: 60, ..Latin::default() };
    let documents = latin.write(Seed(1)).into_iter().map(|document| ("latin".to_owned(), document));
    let speed = StageSpeed {
        threads: 1,
        rate: Bandwidth::per_second(1e7),
        startup: SimDuration::from_micros(10),
        offload: None,
    };
    PreparationPlan {
        corpus: Corpus::of_documents(documents, Bytes(2048)),
        treatment: Treatment {
            cleaning: Cleaning::default(),
            deduplication: Deduplication::default(),
            tokenizer: TokenizerChoice::Bpe(Bpe { vocabulary: 400, min_frequency: 2 }),
            packing: PackingSpec::from_name("concatenate").unwrap(),
            sequence: 32,
            embedding: Some(EmbeddingKeys { dimension: 4 }),
        },
        workers,
        worker: WorkerSpec {
            cores: 16,
            memory: Bytes(1 << 30),
            disk: Bandwidth::per_second(1e9),
            network: Bandwidth::per_second(1e9),
            latency: SimDuration::from_micros(5),
        },
        pool: None,
        sharing: Sharing::Pull,
        queue: 2,
        speeds: StageKind::ALL.into_iter().map(|stage| (stage, speed)).collect(),
        network: NetworkSpec::from_name("fluid").unwrap(),
        seed: Seed(1),
    }
}

/// Neither workers nor their sharing, queues, threads or accelerators change a byte of what is made.
#[test]
fn the_output_is_the_same_for_any_number_of_workers() {
    let alone = run(&plan(1)).unwrap();
    for workers in 2..=8 {
        for sharing in [Sharing::Pull, Sharing::RoundRobin] {
            let mut plan = PreparationPlan { sharing, queue: workers % 3, ..plan(workers) };
            plan.speeds.get_mut(&StageKind::Clean).unwrap().threads = workers;
            plan.speeds.get_mut(&StageKind::Tokenize).unwrap().offload = Some(Offload {
                device: Accelerator::Gpu,
                link: Bandwidth::per_second(1e9),
                latency: SimDuration::from_micros(1),
            });
            let outcome = run(&plan).unwrap();
            assert_eq!(outcome.prepared, alone.prepared, "{workers} workers, {sharing:?}");
            assert_eq!(outcome.prepared.bytes(), alone.prepared.bytes());
        }
    }
}

/// Every shard is in every stage once; documents in are those kept and those left out; no stage of a
/// worker has more shards at a time than threads; nobody is faster than all workers' threads together.
#[test]
fn shards_and_documents_are_conserved() {
    for workers in [1, 3, 8] {
        let plan = plan(workers);
        let outcome = run(&plan).unwrap();
        for stage in plan.treatment.stages() {
            let mut seen: Vec<usize> = outcome
                .stays
                .iter()
                .filter(|stay| stay.stage == stage)
                .filter_map(|stay| stay.shard.map(Id::index))
                .collect();
            seen.sort_unstable();
            let wanted = if stage.gathers() { 0 } else { plan.corpus.shards.len() };
            assert_eq!(seen, (0..wanted).collect::<Vec<_>>(), "{}", stage.name());
        }
        let verdict = &outcome.prepared.verdict;
        let kept = verdict.kept.iter().filter(|&&kept| kept).count();
        assert_eq!(plan.corpus.documents(), kept + verdict.exact + verdict.near + verdict.empty);
        assert!(verdict.exact >= 6, "a tenth of sixty documents are copies");
        for (at, stay) in outcome.stays.iter().enumerate() {
            assert!(stay.start <= stay.end && stay.end <= stay.left);
            let together = outcome.stays[at + 1..]
                .iter()
                .filter(|other| other.worker == stay.worker && other.stage == stay.stage)
                .find(|other| other.start < stay.left && stay.start < other.left);
            assert_eq!(together, None, "one thread has one shard");
        }
    }
}

#[test]
fn n_workers_are_at_most_n_times_as_fast() {
    let alone = run(&plan(1)).unwrap().makespan;
    for workers in 2..=8 {
        let together = run(&plan(workers)).unwrap().makespan;
        assert!(together.picos() * u64::from(workers) >= alone.picos());
    }
}

/// Stages that gather nothing and take a fixed time each, whatever the bytes: read, clean, tokenize, pack
/// and write.
fn fixed(shards: usize, micros: [u64; 5], queue: u32) -> PreparationPlan {
    let documents = (0..shards).map(|at| ("text".to_owned(), format!("text {at}")));
    let mut plan = plan(1);
    plan.corpus = Corpus::of_documents(documents, Bytes(1));
    plan.treatment.deduplication = Deduplication { exact: false, near: false, ..Deduplication::default() };
    plan.treatment.tokenizer = TokenizerChoice::Bytes;
    plan.treatment.embedding = None;
    plan.queue = queue;
    // Bytes take less than a picosecond, which rounds up to one.
    plan.worker.disk = Bandwidth::per_second(1e18);
    let stages = plan.treatment.stages();
    assert_eq!(stages.len(), 5);
    let speed = |(stage, micros)| {
        let rate = Bandwidth::per_second(1e18);
        (stage, StageSpeed { threads: 1, rate, startup: SimDuration::from_micros(micros), offload: None })
    };
    plan.speeds = stages.into_iter().zip(micros).map(speed).collect::<BTreeMap<_, _>>();
    plan
}

/// Picoseconds that bytes add to a run: one for each disk, one for each stage of a shard.
const SLACK: u64 = 10_000;

fn close(measured: SimTime, micros: u64) {
    let wanted = SimTime::ZERO + SimDuration::from_micros(micros);
    assert!(measured >= wanted && measured.picos() - wanted.picos() < SLACK, "{measured}, not {wanted}");
}

/// One shard goes through one stage after the other: 1 + 2 + 3 + 4 + 5 = 15.
#[test]
fn a_lone_shard_takes_the_sum_of_its_stages() {
    close(run(&fixed(1, [1, 2, 3, 4, 5], 2)).unwrap().makespan, 15);
}

/// With all shards alike the slowest stage decides: Σ s + (n − 1) max s.
#[test]
fn a_pipeline_takes_its_sum_and_its_slowest_stage_for_each_further_shard() {
    close(run(&fixed(10, [1, 2, 7, 4, 5], 2)).unwrap().makespan, 19 + 9 * 7);
}

/// The flow shop with buffers of b: a shard leaves stage j when it is done and the shard b + 1 before it
/// has left stage j + 1's queue, that is, has started there:
/// C(i,j) = S(i,j) + p(j), D(i,j) = max(C(i,j), S(i−b−1, j+1)), S(i,j) = max(D(i,j−1), D(i−1,j)).
/// (Blocking flow shops: Hall and Sriskandarajah, Operations Research 44, 1996. With a free server behind
/// an empty queue a shard starts at once: S(i−b−1, j+1) is the moment in which its place becomes free.)
#[test]
fn bounded_queues_follow_the_recurrence_of_flow_shops() {
    for queue in 0..4_usize {
        for times in [[1, 2, 7, 4, 5], [9, 1, 1, 1, 9], [1, 3, 2, 8, 2], [5, 5, 5, 5, 5]] {
            let shards = 12;
            let outcome = run(&fixed(shards, times, queue as u32)).unwrap();
            let (mut start, mut left) = (vec![[0; 5]; shards], vec![[0; 5]; shards]);
            for i in 0..shards {
                // Later stages of earlier shards are known: they are computed shard by shard.
                for j in 0..5 {
                    let arrived = if j == 0 { 0 } else { left[i][j - 1] };
                    let free = if i == 0 { 0 } else { left[i - 1][j] };
                    start[i][j] = arrived.max(free);
                    let done = start[i][j] + times[j];
                    // Room: at most `queue` wait and one is served, so shard i − queue − 1 has left the
                    // queue, and where no queue is, the shard before has left the stage.
                    let room = match (j + 1 < 5, i.checked_sub(queue + 1)) {
                        (true, Some(before)) if queue > 0 => start[before][j + 1],
                        (true, Some(before)) => left[before][j + 1],
                        _ => 0,
                    };
                    left[i][j] = done.max(room);
                }
            }
            close(outcome.makespan, left[shards - 1][4]);
        }
    }
}

#[test]
fn what_does_not_fit_into_memory_is_a_failure() {
    let mut plan = plan(1);
    plan.worker.memory = Bytes(1000);
    assert!(run(&plan).unwrap_err().to_string().contains("worker 0 needs"));
}

/// What stands in `config::preparation::resolve`: run with `--ignored --nocapture` to measure again.
#[test]
#[ignore = "measures the machine it runs on"]
fn rates_of_this_machine() {
    let plan = plan(1);
    let mut work = Work::new(&plan.corpus, &plan.treatment, plan.seed);
    for stage in plan.treatment.stages() {
        let start = std::time::Instant::now();
        let shards: Vec<ShardId> = plan.corpus.shards.ids().collect();
        let bytes: Bytes = match stage.gathers() {
            true => work.all(stage).bytes_in,
            false => shards.into_iter().map(|shard| work.shard(stage, shard).bytes_in).sum(),
        };
        let rate = bytes.as_f64() / start.elapsed().as_secs_f64();
        println!("{}: {:.1} MB/s", stage.name(), rate / 1e6);
    }
}
