//! Serving against shared vectors and real traces.

use trainyard::ids::IdVec;
use trainyard::rng::Seed;
use trainyard::serving::batching::BatchingSpec;
use trainyard::serving::cost::Affine;
use trainyard::serving::kv::BlockPool;
use trainyard::serving::routing::RoutingSpec;
use trainyard::serving::{self, Replica, Request, Role, ServingPlan};
use trainyard::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// The shared vectors; nothing, with a message, where they are absent.
fn vectors() -> Option<serde_json::Value> {
    let text = std::fs::read_to_string("../shared/vectors/serving.json");
    match text {
        Ok(text) => Some(serde_json::from_str(&text).expect("vectors are JSON")),
        Err(_) => {
            eprintln!("skipped: ../shared/vectors/serving.json is absent");
            None
        }
    }
}

/// A, B and C with a step of 5 + 0.1·tokens ms, under chunked prefill and in static batches.
#[test]
fn requests_are_batched_as_in_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    let case = &vectors["continuous_batching_micro"];
    let ms = |count: u64| SimDuration::from_picos(count * PICOS_PER_SECOND / 1000);
    let rows = case["requests_arr_prompt_out"].as_object().unwrap();
    let request = |row: &serde_json::Value| {
        let number = |at: usize| row[at].as_u64().unwrap();
        let arrival = SimTime::ZERO + ms(number(0));
        Request { arrival, prompt: number(1) as u32, output: number(2) as u32 }
    };
    let requests: IdVec<_, Request> = rows.values().map(request).collect();
    let policies = [
        ("vllm_v1_chunk256", r#"{"vllm_v1": {"max_batched_tokens": 256}}"#),
        ("static_batch_AB_then_C", r#""static""#),
    ];
    for (key, written) in policies {
        let plan = ServingPlan {
            requests: requests.clone(),
            replicas: IdVec::filled(Replica { role: Role::Whole, devices: Vec::new() }, 1),
            pool: BlockPool::new(1000, 16),
            batching: serde_json::from_str::<BatchingSpec>(written).unwrap(),
            routing: RoutingSpec::from_name("round_robin").unwrap(),
            handover: None,
            seed: Seed(1),
        };
        let mut step = Affine { fixed: ms(5), per_token: SimDuration::from_micros(100) };
        let outcome = serving::run(&plan, &mut step, None).unwrap();
        for (id, name) in requests.ids().zip(rows.keys()) {
            let (request, record) = (&requests[id], &outcome.requests[id]);
            let is = |what: &str, found: SimDuration, times: u64| {
                if let Some(expected) = case[key][name][what].as_f64() {
                    let found = found.seconds() * 1e3 / times as f64;
                    assert!((found - expected).abs() < 1e-4, "{key}: {what} of {name} is {found} ms");
                }
            };
            is("TTFT", record.first_token.since(request.arrival), 1);
            is("E2E", record.finish.since(request.arrival), 1);
            is("TPOT", record.finish.since(record.first_token), u64::from(request.output) - 1);
        }
    }
}

/// What is said of a serving workload that is wrong; `files` are written beside it.
fn refused(serving: &str, files: &[(&str, &str)], changes: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().join("workload.yaml");
    std::fs::write(&path, format!("name: wrong\ntopology: hgx_h100_1x8\nserving:\n{serving}")).unwrap();
    let changes: Vec<trainyard::config::Override> =
        changes.iter().map(|change| change.parse().unwrap()).collect();
    match trainyard::config::load(&path, &changes) {
        Ok(_) => panic!("nothing is wrong with:\n{serving}"),
        Err(mistakes) => mistakes.render(),
    }
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

const SMALL: &str = "  model: {llama: {layers: 2, hidden: 64, heads: 4, vocabulary: 256, context: 128}}\n";
const LARGE: &str = "  model: {llama: {layers: 80, hidden: 8192, heads: 64, kv_heads: 8, ffn: 28672, vocabulary: 128256, context: 8192}}\n";

#[test]
fn a_request_longer_than_the_context_is_refused_where_it_stands() {
    let serving = SMALL.to_owned()
        + "  requests:\n    list:\n      - {prompt: 100, output: 29}\n      - {prompt: 100, output: 28}\n";
    let text = refused(&serving, &[], &[]);
    says(&text, &["a request of 129 tokens is longer than the context of 128", "workload.yaml:7:"]);
    assert_eq!(text.matches("error").count(), 1, "{text}");
}

#[test]
fn a_model_that_does_not_fit_says_what_would() {
    let serving = LARGE.to_owned() + "  requests: {list: [{prompt: 10, output: 5}]}\n";
    says(
        &refused(&serving, &[], &[]),
        &["the weights take", "of each device, which has", "`serving.tensor: 2` would fit"],
    );
}

/// Rows are named by line, with what was expected; those that can be left out are counted when that is asked for.
#[test]
fn rows_of_a_trace_that_are_wrong_are_named_by_line() {
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                 2023-11-16 18:15:46.6805900,20,10\n\
                 2023-11-16 18:15:47.0000000,many,10\n\
                 2023-11-16 18:15:40.0000000,20,10\n\
                 2023-11-16 18:15:48.0000000,500,10\n\
                 2023-11-16 18:15:49.0000000,20,10\n";
    let serving = SMALL.to_owned() + "  requests: {azure: trace.csv}\n";
    let text = refused(&serving, &[("trace.csv", azure)], &[]);
    says(
        &text,
        &[
            "trace.csv:3:",
            "line 3:",
            "`many`",
            "line 4:",
            "line 5:",
            "longer than the context",
            "--skip-bad-rows",
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.yaml");
    std::fs::write(folder.path().join("trace.csv"), azure).unwrap();
    std::fs::write(&path, format!("name: right\ntopology: hgx_h100_1x8\nserving:\n{serving}")).unwrap();
    let skip = ["skip_bad_rows=true".parse().unwrap()];
    let Ok(trainyard::config::Scenario::Serving(scenario)) = trainyard::config::load(&path, &skip) else {
        panic!("what is wrong can be left out")
    };
    assert_eq!((scenario.skipped_rows, scenario.plan.requests.len()), (3, 2));
    says(&scenario.notes.join("\n"), &["3 rows of `trace.csv` could not be used and were left out"]);
    let mooncake = "{\"timestamp\": 5, \"input_length\": 8, \"output_length\": 2, \"hash_ids\": [1]}\n\
                    {\"timestamp\": 3, \"input_length\": 8, \"output_length\": 2}\n\
                    not json\n";
    let serving = SMALL.to_owned() + "  requests: {mooncake: trace.jsonl}\n";
    says(&refused(&serving, &[("trace.jsonl", mooncake)], &[]), &["line 2:", "line 3:"]);
}

#[test]
fn replicas_are_of_one_kind_of_device() {
    let serving = SMALL.to_owned() + "  replicas: 4\n  requests: {list: [{prompt: 10, output: 5}]}\n";
    let text = refused(&serving, &[], &["topology=mixed_cpu_gpu_fpga"]);
    says(&text, &["replicas would be on devices of", "are alike: use no more, or another topology"]);
}

#[test]
fn prompts_need_a_trained_model_that_can_read_them() {
    let prompts = "  requests: {prompts: [{prompt: \"Sed ut\", output: 3}]}\n";
    says(
        &refused(&(SMALL.to_owned() + prompts), &[], &[]),
        &["only a trained model answers prompts", "model: {checkpoint: FILE.safetensors}"],
    );
    says(
        &refused(&("  model: trained\n".to_owned() + prompts), &[], &[]),
        &["nothing is trained in this workload"],
    );
    says(
        &refused(&("  model: {checkpoint: no.safetensors}\n".to_owned() + prompts), &[], &[]),
        &["there is no file `no.safetensors`", "--save FILE.safetensors"],
    );
}

fn trainyard(arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .args(["--no-report", "--format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program runs");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), json, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Prompts and answers of a summary, sorted.
fn answers_of(serving: &serde_json::Value) -> Vec<(String, String)> {
    let text = |answer: &serde_json::Value, key: &str| answer[key].as_str().unwrap().to_owned();
    let rows = serving["answers"].as_array().unwrap().iter();
    let mut all: Vec<_> = rows.map(|answer| (text(answer, "prompt"), text(answer, "answer"))).collect();
    all.sort();
    all
}

/// The answers of the workload that comes with trainyard, after a few steps of training, with some settings.
fn answers(settings: &[&str]) -> (Vec<(String, String)>, serde_json::Value) {
    let mut arguments = vec!["run", "workloads/serving_generation.yaml", "--set", "training.steps=20"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let (code, json, said) = trainyard(&arguments);
    assert_eq!(code, 0, "{settings:?}: {said}");
    (answers_of(&json["serving"]), json)
}

/// From the command line: every policy, chunks, blocks, preemption, ranks and stages, replicas and handing over give
/// the same words.
#[test]
fn real_prompts_are_answered_alike_under_every_policy() {
    let (expected, json) = answers(&[]);
    assert_eq!(expected.len(), 12);
    assert!(json["serving"]["preemptions"].as_u64().unwrap() > 0, "a workload that shows preemption");
    for settings in [
        vec!["serving.batching=static"],
        vec!["serving.batching=orca", "serving.tensor=4", "serving.pipeline=1"],
        vec!["serving.batching={vllm_v0: {watermark: 0}}", "serving.kv.block=1", "serving.kv.blocks=300"],
        vec!["serving.batching={vllm_v1: {max_batched_tokens: 5}}", "serving.pipeline=4", "serving.tensor=1"],
        vec!["serving.batching=sjf", "serving.replicas=2"],
        vec!["serving.disaggregation={prefill: 1, decode: 1}", "serving.kv.blocks=400"],
    ] {
        assert_eq!(answers(&settings).0, expected, "{settings:?}");
    }
    let drawn = |more: &[&str]| {
        let mut settings = vec!["serving.sampling={random: {temperature: 0.8}}"];
        settings.extend(more);
        answers(&settings).0
    };
    let one = drawn(&[]);
    assert!(one != expected);
    assert_eq!(one, drawn(&["serving.batching=static", "serving.tensor=1", "serving.pipeline=1"]));
}

/// What training saved, served by a workload of its own, says what it said when it had just been trained.
#[test]
fn a_saved_model_answers_as_the_trained_one() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("cicero.safetensors").display().to_string();
    let mut arguments = vec!["run", "workloads/serving_generation.yaml", "--set", "training.steps=20"];
    arguments.extend(["--save", &saved]);
    let (code, json, said) = trainyard(&arguments);
    assert_eq!(code, 0, "{said}");
    let path = folder.path().join("served.yaml");
    let text = "name: served\ntopology: hgx_h100_1x8\nserving:\n  model: {checkpoint: cicero.safetensors}\n  \
                requests:\n    prompts:\n      - {prompt: \"Epicurus\", output: 90}\n";
    std::fs::write(&path, text).unwrap();
    let (code, served, said) = trainyard(&["run", &path.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    let expected: Vec<_> =
        answers_of(&json["serving"]).into_iter().filter(|(prompt, _)| prompt == "Epicurus").collect();
    assert_eq!(answers_of(&served), expected);
}

/// Preparation, training and serving one after the other: each stage begins when the one before has ended, and the
/// answers are those that the saved weights give.
#[test]
fn stages_follow_each_other_on_one_clock() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("model.safetensors").display().to_string();
    let small = [
        "model.gpt={layers: 2, hidden: 16, heads: 2, sequence: 64, vocabulary: 512}",
        "preparation.corpus.latin.documents=40",
        "training.steps=4",
    ];
    let mut arguments = vec!["run", "workloads/prepare_train_serve.yaml", "--save", &saved];
    small.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let (code, json, said) = trainyard(&arguments);
    assert_eq!(code, 0, "{said}");
    let stages = json["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["preparation", "training", "serving"]);
    let at = |stage: usize, key: &str| stages[stage][key].as_f64().unwrap();
    assert_eq!(at(0, "start_s"), 0.0);
    assert_eq!(at(1, "start_s"), at(0, "end_s"));
    assert_eq!(at(2, "start_s"), at(1, "end_s"));
    assert!(
        (at(2, "end_s") - at(2, "start_s") - json["serving"]["simulated_time_s"].as_f64().unwrap()).abs()
            < 1e-12
    );
    assert_eq!(json["simulated_time_s"].as_f64().unwrap(), at(2, "end_s"));
    assert_eq!(json["serving"]["answers"].as_array().unwrap().len(), 6);
    assert_eq!(json["training"]["losses"].as_array().unwrap().len(), 4);
    // Alone, the saved model cannot read prompts: its tokens are the preparation's. That is said.
    let model = format!("serving.model={{checkpoint: {saved}}}");
    let (code, _, said) = trainyard(&[
        "run",
        "workloads/serving_generation.yaml",
        "--set",
        &model,
        "--set",
        "serving.tensor=1",
    ]);
    assert_eq!(code, 2, "{said}");
    says(&said, &["which alone can read prompts", "`preparation:`, `training:` and `serving:` together"]);
}
