//! Ranks that share sequences, and every product of axes: what they compute is what one device computes, and what
//! they send and keep is what the formulas say.

use trainyard::config::TrainingScenario;
use trainyard::ids::{Id, Rank};
use trainyard::metrics::{Part, TrainingRecord, TrainingRecorder};
use trainyard::rng::{RngExt, Seed, Stream};
use trainyard::training;
use trainyard::training::context::ContextSpec;

use crate::runs::{Losses, scenario, train};

/// Two steps of plain gradient descent on a network that every mesh of up to 16 ranks can hold.
const SMALL: [&str; 9] = [
    "model.gpt={layers: 8, hidden: 16, heads: 8, sequence: 16, vocabulary: 256}",
    "training.optimizer={sgd: {learning_rate: 0.5}}",
    "training.gradient_clipping=0.5",
    "training.global_batch=16",
    "training.micro_batch=1",
    "training.steps=2",
    "training.evaluate_every=0",
    "training.bucket=16 KiB",
    "parallel={}",
];

fn small(changes: &[String]) -> Option<TrainingScenario> {
    let changes: Vec<&str> = SMALL.into_iter().chain(changes.iter().map(String::as_str)).collect();
    scenario("gpt_3d", &changes).ok()
}

/// Sums in another order change a gradient by some 1e-7 of the numbers that are summed, which cancel to some
/// hundredth of their size; 1e-4 of the norm of each parameter's change is well above that, and far below what a
/// token, a micro-batch or a rank left out would make. A weight itself is rounded by up to 6e-8 of it.
#[track_caller]
fn same(found: &Losses, alone: &Losses, start: &[f32], what: &str) {
    for (found, alone) in found.training.iter().zip(&alone.training) {
        assert!(((found - alone) / alone).abs() < 2e-6, "{what}: a loss of {found}, not {alone}");
    }
    for replica in &found.weights {
        let mut at = 0;
        for ((parameter, found), (_, alone)) in replica.iter().zip(&alone.weights[0]) {
            let start = &start[at..at + found.len()];
            at += found.len();
            let norm = |of: &dyn Fn(usize) -> f32| {
                (0..found.len()).map(|i| f64::from(of(i)).powi(2)).sum::<f64>().sqrt()
            };
            let (off, change) = (norm(&|i| found[i] - alone[i]), norm(&|i| alone[i] - start[i]));
            let rounding = 2e-7 * norm(&|i| start[i]);
            assert!(
                off <= 1e-4 * change + rounding,
                "{what}: {} is {off:e} of {change:e} off",
                parameter.name
            );
        }
    }
}

fn start() -> Vec<f32> {
    let scenario = small(&[]).unwrap();
    let state = scenario.state();
    let values = scenario.values(&state).unwrap();
    state.weights(&scenario.plan, &values, 0).into_iter().flat_map(|(_, weights)| weights).collect()
}

/// A mesh of 2 to 16 ranks with what goes with it; not all of them are allowed.
fn draw(stream: &mut Stream) -> Vec<String> {
    fn one<'o>(stream: &mut Stream, of: &[&'o str]) -> &'o str {
        of[stream.random_range(0..of.len())]
    }
    let (mut axes, mut ranks) = ([1, 1, 1, 1], 1);
    while ranks < 2 {
        axes = [0; 4].map(|_: u32| 1 << stream.random_range(0..3));
        ranks = axes.iter().product();
        if ranks > 16 {
            ranks = 0;
        }
    }
    let schedules = ["gpipe", "one_f_one_b", "interleaved", "zb_h1", "zb_h2", "zb_v", "dual_pipe"];
    // Every scheme, and the orders of a ring.
    let orders = ["{ring: {order: contiguous}}", "{ring: {order: striped}}"];
    let schemes = [ContextSpec::NAMES, &orders].concat();
    let [data, pipeline, context, tensor] = axes;
    let overlap = stream.random_range(0..3) == 0;
    vec![
        format!("parallel.data={data}"),
        format!("parallel.pipeline={pipeline}"),
        format!("parallel.context={context}"),
        format!("parallel.tensor={tensor}"),
        format!("parallel.context_scheme={}", one(stream, &schemes)),
        format!("parallel.schedule={}", one(stream, &schedules)),
        format!("parallel.zero={}", one(stream, &["0", "0", "1", "2", "3"])),
        format!("parallel.sequence_parallel={}", one(stream, &["false", "true"])),
        format!("parallel.tensor_overlap={overlap}"),
        format!("training.micro_batch={}", if overlap { 2 } else { 1 }),
        format!("recompute={}", one(stream, &["none", "selective", "full", "{blocks: 1}"])),
    ]
}

#[test]
fn random_meshes_train_as_one_device_does() {
    let (alone, start) = (train(&small(&[]).unwrap()), start());
    let mut stream = Seed(5).stream("meshes");
    let (mut tried, mut shared) = (0, 0);
    while tried < 32 {
        let changes = draw(&mut stream);
        // What a product forbids is refused with a reason, which other tests look at.
        let Some(scenario) = small(&changes) else { continue };
        tried += 1;
        shared += u32::from(scenario.plan.mesh.context > 1);
        same(&train(&scenario), &alone, &start, &changes.join(" "));
    }
    assert!(shared > 10, "{shared} of {tried} meshes share sequences");
}

/// Replicas that step alone still sum the gradients of those who share their sequences.
#[test]
fn replicas_that_step_alone_share_sequences_too() {
    let sync = "parallel.sync={parameter_averaging: {every: 1}}".to_owned();
    let start = start();
    let plain = train(&small(&["parallel.data=2".to_owned(), sync.clone()]).unwrap());
    for (context, tensor) in [(2, 1), (4, 2)] {
        let mesh = [format!("parallel.context={context}"), format!("parallel.tensor={tensor}"), sync.clone()];
        let changes = [&mesh[..], &["parallel.data=2".to_owned()]].concat();
        same(&train(&small(&changes).unwrap()), &plain, &start, &changes.join(" "));
    }
}

/// Narrow formats round what travels too; the loss stays what it is in f32 but for the bits that are lost.
#[test]
fn narrow_formats_go_round_the_ring() {
    let alone = train(&small(&[]).unwrap());
    for (precision, share) in [("bf16", 4e-3), ("fp16", 1e-3), ("fp8", 6e-2)] {
        for scheme in ["ring", "ulysses"] {
            let changes = [
                "parallel.context=4".to_owned(),
                format!("parallel.context_scheme={scheme}"),
                format!("training.precision={precision}"),
            ];
            let found = train(&small(&changes).unwrap());
            for (found, alone) in found.training.iter().zip(&alone.training) {
                let off = ((found - alone) / alone).abs();
                assert!(off < share, "{precision} {scheme}: {off}");
            }
        }
    }
}

/// Timed alone.
fn record(changes: &[&str], fold: &str) -> (TrainingScenario, TrainingRecord) {
    let fold = format!("fold={fold}");
    let always = ["numeric=false", "training.steps=1", "training.gradient_clipping=null", &fold];
    let scenario = scenario("gpt_context", &[&always[..], changes].concat())
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.render()));
    let (plan, state) = (&scenario.plan, scenario.state());
    let mut recorder = TrainingRecorder::new(plan.simulated_ranks().collect(), 1, 0, |_| ());
    training::run(plan, &state, &*scenario.compute, scenario.network_model(), None, &mut recorder).unwrap();
    (scenario, recorder.finish())
}

fn moved(record: &TrainingRecord, kind: &str) -> u64 {
    record.traffic.by_collective().get(kind).map_or(0, |bytes| bytes.get())
}

const ALONE: [&str; 5] = [
    "parallel.data=1",
    "parallel.tensor=1",
    "training.precision=bf16",
    "training.global_batch=8",
    "training.micro_batch=2",
];

/// A rank has M = 2·b·(s/n)·h numbers of keys and values. Forward n − 1 of n rounds pass them on; backward n − 1
/// do so again, and the gradients go all n hops home: n·(3n − 2)·M in all for a layer and a micro-batch, and
/// n·(n − 1)·M more where the forward pass is made twice. Ulysses carries (n − 1)/n of q, k, v and o, 4·b·s·h
/// numbers over all ranks, forward and backward. Numbers are two bytes wide.
#[test]
fn bytes_on_the_wire_are_those_of_the_formulas() {
    let (b, s, h, layers, micro_batches) = (2, 128, 64, 2, 4);
    let sizes = "model.gpt={layers: 2, hidden: 64, heads: 8, sequence: 128, vocabulary: 256}";
    for n in [2, 4, 8] {
        let context = format!("parallel.context={n}");
        let run = |changes: &[&str]| record(&[&ALONE[..], &[&context, sizes], changes].concat(), "never").1;
        let m = 2 * b * (s / n) * h * 2 * layers * micro_batches;
        for order in ["zigzag", "striped", "contiguous"] {
            let scheme = format!("parallel.context_scheme={{ring: {{order: {order}}}}}");
            assert_eq!(moved(&run(&[&scheme]), "send-receive"), n * (3 * n - 2) * m, "{order}");
        }
        let twice = moved(&run(&["recompute=selective"]), "send-receive");
        assert_eq!(twice, n * (3 * n - 2) * m + n * (n - 1) * m);
        let whole = 4 * b * s * h * 2 * layers * micro_batches;
        let across = run(&["parallel.context_scheme=ulysses"]);
        assert_eq!(moved(&across, "all-to-all"), 2 * whole * (n - 1) / n);
        assert_eq!(moved(&across, "send-receive"), 0);
    }
}

/// What a layer keeps for its backward pass is of a rank's own tokens: an n-th. A token's row in bf16 has 16 widths
/// (x and n of both norms, q, k, v and o, a and h four wide each), two numbers of f32 for each norm and one for each
/// head. Beside that there is the head of the network and what is at work: less than an eighth. Ulysses keeps o once
/// more, in the order of heads.
#[test]
fn activations_fall_with_the_ranks_that_share_a_sequence() {
    let peak = |n: u32, scheme: &str| {
        let (context, scheme) =
            (format!("parallel.context={n}"), format!("parallel.context_scheme={scheme}"));
        let long = "model.gpt={layers: 16, hidden: 64, heads: 8, sequence: 512, vocabulary: 256}";
        let (_, record) = record(&[&ALONE[..], &[&context, &scheme, long]].concat(), "never");
        let peak = record.memory.unwrap().fullest().1;
        peak.of(trainyard::trace::MemoryUse::Activations).get()
    };
    for n in [2, 4, 8] {
        let rows = 2 * 512 / u64::from(n);
        for (scheme, widths) in [("ring", 16), ("ulysses", 17)] {
            let kept = 16 * rows * (widths * 64 * 2 + (4 + 8) * 4);
            let found = peak(n, scheme);
            assert!((kept..kept + kept / 8).contains(&found), "{scheme} of {n}: {found} for {kept}");
        }
    }
}

/// At 64 Ki tokens attention is most of the work. Contiguous parts leave the last of n ranks with 2n − 1 of the n²
/// halves of blocks, 2 − 1/n times the mean; zigzag and striped ones with the mean.
#[test]
fn a_balanced_ring_is_faster() {
    let n = 4;
    let long = "model.gpt={layers: 2, hidden: 512, heads: 4, sequence: 65536, vocabulary: 256}";
    let run = |order: &str| {
        let scheme = format!("parallel.context_scheme={{ring: {{order: {order}}}}}");
        let always = ["parallel.context=4", "training.global_batch=1", "training.micro_batch=1"];
        let (_, record) = record(&[&ALONE[..], &always, &[long, &scheme]].concat(), "auto");
        let breakdown = record.breakdowns.into_iter().next().unwrap();
        let compute: Vec<f64> =
            breakdown.ranks().map(|rank| breakdown.of(rank, Part::Compute).seconds()).collect();
        (record.steps[0].duration.seconds(), compute)
    };
    let (contiguous, uneven) = run("contiguous");
    assert!(uneven.is_sorted(), "{uneven:?}");
    for order in ["zigzag", "striped"] {
        let (balanced, even) = run(order);
        let spread = even[n - 1] / even[0];
        assert!((0.97..1.03).contains(&spread), "{order}: {even:?}");
        let gain = contiguous / balanced;
        assert!((1.4..1.76).contains(&gain), "{order}: {gain}");
    }
}

/// Folded over replicas and tensor ranks, and over context ranks where these do the same: the same step, bytes and
/// memory as with every rank simulated.
#[test]
fn folded_steps_are_those_of_every_rank() {
    for (changes, ranks) in [
        (vec![], 4),
        (vec!["parallel.context_scheme=ulysses"], 1),
        (vec!["parallel.pipeline=2", "parallel.data=1", "parallel.sequence_parallel=true"], 8),
        (vec!["parallel.zero=1", "parallel.data=4", "parallel.context=4", "parallel.tensor=1"], 4),
        (vec!["parallel.zero={stage: 3, group: 2}", "parallel.tensor=1", "parallel.context=2"], 2),
        (vec!["parallel.tensor_overlap=true"], 4),
    ] {
        let ((scenario, folded), (_, full)) = (record(&changes, "auto"), record(&changes, "never"));
        assert_eq!(scenario.plan.simulated_ranks().count(), ranks, "{changes:?}");
        assert_eq!(folded.traffic.by_collective(), full.traffic.by_collective(), "{changes:?}");
        let peak = |record: &TrainingRecord| record.memory.as_ref().unwrap().fullest().1.total;
        assert_eq!(peak(&folded), peak(&full), "{changes:?}");
        let seconds = |record: &TrainingRecord| record.steps[0].duration.seconds();
        let gap = 1.0 - seconds(&folded) / seconds(&full);
        assert!((-1e-12..5e-3).contains(&gap), "{changes:?}: {gap:e}");
    }
}

/// What passes between context ranks and is not hidden is theirs in the breakdown; parts sum to the step.
#[test]
fn exposed_context_is_told() {
    for scheme in ["ring", "ulysses"] {
        let scheme = format!("parallel.context_scheme={scheme}");
        let (_, record) = record(&[&scheme], "never");
        let breakdown = &record.breakdowns[0];
        let first = Rank::from_index(0);
        assert!(breakdown.of(first, Part::ExposedContext).seconds() > 0.0, "{scheme}");
        let total: f64 = Part::ALL.into_iter().map(|part| breakdown.of(first, part).seconds()).sum();
        assert!((total / breakdown.step().seconds() - 1.0).abs() < 1e-9);
    }
}

/// Two halves of a micro-batch hide what tensor ranks exchange of each other, at the price of more kernels.
#[test]
fn halves_hide_what_tensor_ranks_exchange() {
    let run = |overlap: bool| {
        let overlap = format!("parallel.tensor_overlap={overlap}");
        let wide = "model.gpt={layers: 4, hidden: 8192, heads: 64, sequence: 2048, vocabulary: 256}";
        let mesh = ["parallel.data=1", "parallel.context=1", "parallel.tensor=8", "training.precision=bf16"];
        let batch = ["training.global_batch=4", "training.micro_batch=4"];
        let (_, record) = record(&[&mesh[..], &batch, &[wide, &overlap]].concat(), "never");
        let breakdown = record.breakdowns.into_iter().next().unwrap();
        let part = |part| breakdown.mean_seconds(part);
        (breakdown.step().seconds(), part(Part::ExposedTensor), part(Part::Compute))
    };
    let ((plain, exposed, compute), (halved, less, more)) = (run(false), run(true));
    assert!(less < 0.5 * exposed, "{less} of {exposed}");
    assert!(halved < plain, "{halved} instead of {plain}");
    assert!(more >= compute, "{more} instead of {compute}");
}

#[test]
fn what_cannot_share_a_sequence_is_told() {
    let wrong = |changes: &[&str]| match scenario("gpt_context", changes) {
        Ok(_) => panic!("{changes:?} is right"),
        Err(mistakes) => mistakes.render(),
    };
    for (changes, what) in [
        (vec!["parallel.context=0"], "`context` is at least 1"),
        (vec!["parallel.context=3", "parallel.data=1"], "128 tokens does not divide into 6 parts"),
        (
            vec!["parallel.context=8", "parallel.data=1", "parallel.context_scheme=ulysses"],
            "context 8 × tensor 2 ranks do not divide 8 heads",
        ),
        (vec!["parallel.context=8"], "data 2 × pipeline 1 × context 8 × tensor 2 = 32 ranks"),
        (vec!["parallel.context_scheme=rings"], "did you mean `ring`?"),
        (vec!["parallel.context_scheme={ring: {order: zig}}"], "zigzag"),
        (vec!["software=eager"], "merges blocks by their log-sum-exp"),
        (
            vec!["parallel.zero={stage: 1, group: 3}"],
            "groups of 3 do not divide 8 context ranks of all replicas",
        ),
        (vec!["parallel.tensor_overlap=true", "training.micro_batch=1"], "have no two halves"),
        (
            vec![
                "parallel.data=1",
                "parallel.tensor=1",
                "parallel.sync=parameter_server",
                "training.gradient_clipping=null",
            ],
            "workers of parameter servers",
        ),
    ] {
        let rendered = wrong(&changes);
        assert!(rendered.contains(what), "{what:?} is not in:\n{rendered}");
    }
    let mlp = match scenario("mlp_wine", &["parallel.context=2"]) {
        Ok(_) => panic!("an mlp has no sequences"),
        Err(mistakes) => mistakes.render(),
    };
    assert!(mlp.contains("only a gpt has sequences"), "{mlp}");
}
