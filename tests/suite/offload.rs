//! What hosts keep for their devices: the same numbers, less memory, and the time of the copies.

use trainyard::config::TrainingScenario;
use trainyard::ids::Rank;
use trainyard::metrics::{TrainingRecord, TrainingRecorder};
use trainyard::trace::MemoryUse;
use trainyard::training;

use crate::runs::{scenario, train};

const SMALL: [&str; 5] = [
    "model.gpt={layers: 4, hidden: 16, heads: 2, sequence: 8, vocabulary: 256}",
    "training.steps=3",
    "training.evaluate_every=0",
    "training.micro_batch=1",
    "training.global_batch=4",
];

fn small(changes: &[&str]) -> TrainingScenario {
    let changes: Vec<&str> = SMALL.iter().chain(changes).copied().collect();
    scenario("gpt_3d", &changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

fn timed(scenario: &TrainingScenario) -> TrainingRecord {
    let plan = &scenario.plan;
    let mut recorder = TrainingRecorder::new(plan.simulated_ranks().collect(), plan.steps, 0, |_| {});
    let network = scenario.network_model();
    training::run(plan, &scenario.state(), &*scenario.compute, network, None, &mut recorder).unwrap();
    recorder.finish()
}

const OPTIMIZER: &str = "training.offload.optimizer=true";
const ACTIVATIONS: &str = "training.offload.activations=true";

/// Weights and losses are those without offloading, whatever else is done, and the devices hold less. (Whether it
/// takes longer depends: a host steps some pieces while the device is still at work on others.)
#[test]
fn offloading_changes_no_number() {
    for mesh in [
        &["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1"][..],
        &["parallel.data=1", "parallel.pipeline=2", "parallel.tensor=2", "recompute=full"],
        &["parallel.data=2", "parallel.pipeline=2", "parallel.tensor=1"],
        &["parallel.data=4", "parallel.pipeline=1", "parallel.tensor=1", "parallel.zero=1"],
        &["parallel.data=2", "parallel.pipeline=1", "parallel.tensor=2", "parallel.zero=2"],
        &["parallel.data=2", "parallel.pipeline=2", "parallel.tensor=1", "parallel.zero=3", "recompute=full"],
        &["parallel.data=2", "parallel.pipeline=2", "parallel.tensor=1", "training.precision=bf16"],
    ] {
        let plain = train(&small(mesh));
        let before = timed(&small(mesh));
        for offload in [&[OPTIMIZER][..], &[ACTIVATIONS], &[OPTIMIZER, ACTIVATIONS]] {
            let changes = [mesh, offload].concat();
            let found = train(&small(&changes));
            // A host adds the gradients of micro-batches where a device's product adds to what is there: other
            // roundings, which Adam's steps of 1e-4 and less take up. Activations come back as they went.
            let within = if offload.contains(&OPTIMIZER) { 1e-4 } else { 0.0 };
            for (a, b) in found.training.iter().zip(&plain.training) {
                assert!((a - b).abs() <= within, "{changes:?}: {a} for {b}");
            }
            for (replica, expected) in found.weights.iter().zip(&plain.weights) {
                for ((parameter, a), (_, b)) in replica.iter().zip(expected) {
                    let apart = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                    assert!(apart <= within, "{changes:?}: {} by {apart}", parameter.name);
                }
            }
            let after = timed(&small(&changes));
            let peak = |record: &TrainingRecord| record.memory.as_ref().unwrap().fullest().1;
            // What is computed again holds most while it is: keeping inputs elsewhere may change nothing then.
            let again = mesh.contains(&"recompute=full") && !offload.contains(&OPTIMIZER);
            let (less, most) = (peak(&after).total, peak(&before).total);
            assert!(less < most || again, "{changes:?}: {less} after {most}");
            if offload.contains(&OPTIMIZER) {
                assert_eq!(peak(&after).of(MemoryUse::Optimizer).get(), 0, "{changes:?}");
            }
        }
    }
}

/// Over a link so slow that nothing else counts, a step takes what crosses it: one way the gradients and what
/// blocks save, the other way the same activations and the weights. Gradients of the head go first, so that the
/// last of them and the first of the weights overlap but for the first piece.
#[test]
fn a_slow_host_link_decides_the_step() {
    let topology = |rate: &str| {
        format!(
            "topology={{name: slow, devices: [{{name: gpu0, device: h100_sxm}}, {{name: cpu0, device: epyc_7763, \
             node: n}}], links: [{{between: [gpu0, cpu0], bandwidth: {rate}, latency: 1 us}}]}}"
        )
        .replace("device: h100_sxm", "device: h100_sxm, node: n")
    };
    let one = ["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1", "numeric=false"];
    let steps = ["training.steps=1", "training.gradient_clipping=null", "training.micro_batch=4"];
    let run = |rate: &str, more: &[&str]| {
        let topology = topology(rate);
        timed(&small(&[&one[..], &steps, &[topology.as_str()], more].concat()))
    };
    let seconds = |record: &TrainingRecord| record.steps[0].duration.seconds();
    let moved = |record: &TrainingRecord| {
        record.traffic.by_collective().values().map(|bytes| bytes.as_f64()).sum::<f64>()
    };
    let plain = seconds(&run("1 MB/s", &[]));
    // Activations cross down and then, each after it has gone down, up: twice their bytes, but for what comes up
    // while the last go down.
    let held = run("1 MB/s", &[ACTIVATIONS]);
    let bytes = moved(&held);
    let took = seconds(&held) - plain;
    assert!(took <= bytes / 1e6 * 1.01 && took > bytes / 1e6 * 0.7, "{took} s for {bytes} bytes");
    // Gradients down, weights up: between one way's time, when they overlap, and both ways' one after the other.
    let stepped = run("1 MB/s", &[OPTIMIZER]);
    let (bytes, took) = (moved(&stepped), seconds(&stepped) - plain);
    assert!(took <= bytes / 1e6 * 1.01 && took >= bytes / 2e6, "{took} s for {bytes} bytes");
    let parameters = 4.0 * small(&one).plan.model.parameter_count() as f64;
    assert!((bytes - 2.0 * parameters).abs() < 1.0, "{bytes} bytes are not {parameters} each way");
    // Ten times the rate, a tenth of the time.
    let faster = seconds(&run("10 MB/s", &[OPTIMIZER])) - plain;
    assert!((took / faster - 10.0).abs() < 0.5, "{took} and {faster}");
}

/// A processor steps the parts of its ranks at once, each with its share of the cores.
#[test]
fn ranks_share_their_processor() {
    let one = small(&["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1", OPTIMIZER]);
    let eight = small(&["parallel.data=2", "parallel.pipeline=2", "parallel.tensor=2", OPTIMIZER]);
    for scenario in [one, eight] {
        let plan = &scenario.plan;
        let host = plan.placement[plan.host_of(Rank(0))];
        assert!(plan.mesh.all().all(|rank| plan.placement[plan.host_of(rank)] == host));
        assert_eq!(plan.topology.devices()[host].spec.name, "epyc_7763");
        assert!(scenario.notes.iter().any(|note| note.contains("show no processor of their own")));
    }
}

/// Buffers that come and go take as much more room as is allowed for; what stays takes none.
#[test]
fn fragmentation_is_allowed_for() {
    let scenario = small(&["training.fragmentation=0.25", "numeric=false"]);
    let peak = timed(&scenario).memory.unwrap().fullest().1;
    let coming = peak.of(MemoryUse::Activations) + peak.of(MemoryUse::Buffers);
    assert_eq!(scenario.plan.lost_between(&peak.by_use).get(), (coming.as_f64() * 0.25).ceil() as u64);
}

#[test]
fn what_hosts_cannot_keep_is_refused() {
    for (changes, sentence) in [
        (&["training.offload.host=h100_sxm", OPTIMIZER][..], "a host is a processor"),
        (&["training.offload.host=nothing", OPTIMIZER], "nothing"),
        (&["parallel.schedule=pipedream", OPTIMIZER], "keeps versions of the weights on the devices"),
        (&["parallel.schedule=zb_h1", "parallel.data=1", OPTIMIZER], "puts weight gradients off"),
        (&["parallel.sync=gossip", OPTIMIZER], "hosts step by summed gradients"),
        (&["training.fragmentation=2"], "is a share from 0 to 1"),
    ] {
        let all: Vec<&str> = SMALL.iter().chain(changes).copied().collect();
        let said = scenario("gpt_3d", &all).map(|_| ()).unwrap_err().render();
        assert!(said.contains(sentence), "{changes:?}: {said}");
    }
}
