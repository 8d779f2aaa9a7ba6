//! Small cases, followed by hand. A step takes 5 ms and 0.1 ms a token.

use crate::serving::tests::{plan, ran, requests, times};

const ABC: [[u32; 3]; 3] = [[0, 100, 4], [0, 300, 3], [12, 50, 2]];

/// 100 + 156 of 256 tokens: 30.6; then 1 + 144 + 50: 55.1; then 3 decodes: 60.4; then 2: 65.6.
#[test]
fn vllm_v1_fills_its_budget_with_decodes_first() {
    let outcome = ran(&plan(requests(&ABC), r#"{"vllm_v1": {"max_batched_tokens": 256}}"#, 1000));
    assert_eq!(times(&outcome), [[306, 656], [551, 656], [551, 604]]);
    assert_eq!(outcome.replicas.iter().next().unwrap().steps, 4);
}

/// 400 tokens: 45; C arrived meanwhile and goes alone, before decodes: 55; then 3 decodes: 60.3, after
/// which C has its second token; then 2: 65.5; then A alone: 70.6.
#[test]
fn vllm_v0_prefills_before_it_decodes() {
    let outcome = ran(&plan(requests(&ABC), r#""vllm_v0""#, 1000));
    assert_eq!(times(&outcome), [[450, 706], [450, 655], [550, 603]]);
}

/// 400 tokens: 45; then C joins the decodes of A and B: 5 + 0.1·52 = 10.2; 55.2; then 3 decodes: 60.5,
/// after which B and C are done; then A alone: 65.6.
#[test]
fn orca_mixes_whole_prompts_with_decodes() {
    let outcome = ran(&plan(requests(&ABC), r#""orca""#, 1000));
    assert_eq!(times(&outcome), [[450, 656], [450, 605], [552, 605]]);
}

/// 400 tokens: 45; two steps of 2: 55.4; A alone: 60.5; only then C: 70.5 and 75.6.
#[test]
fn a_static_batch_is_done_before_the_next() {
    let outcome = ran(&plan(requests(&ABC), r#""static""#, 1000));
    assert_eq!(times(&outcome), [[450, 605], [450, 554], [705, 756]]);
}

/// Two wait when the first is done, one seat: the shorter goes first although it came later.
#[test]
fn the_shortest_waiting_request_is_admitted_first() {
    let rows = [[0, 100, 1], [1, 200, 1], [2, 50, 1]];
    let outcome = ran(&plan(requests(&rows), r#"{"sjf": {"max_requests": 1}}"#, 1000));
    assert_eq!(times(&outcome), [[150, 150], [500, 500], [250, 250]]);
}

/// Seven blocks for two prompts of 48 (three blocks each). Both prefilled at 14.6. The next token needs
/// a fourth block each: A gets the last; B, admitted last, is preempted, and as soon as A is done
/// (14.6 + 2 · 5.1 = 24.8) computes its 48 + 1 tokens anew: 9.9, 34.7, and then one more: 39.8.
#[test]
fn whoever_came_last_is_preempted_and_computed_anew() {
    for policy in [r#""vllm_v1""#, r#"{"vllm_v0": {"watermark": 0}}"#] {
        let outcome = ran(&plan(requests(&[[0, 48, 3], [0, 48, 3]]), policy, 7));
        assert_eq!(times(&outcome), [[146, 248], [146, 398]], "{policy}");
        let preemptions: Vec<u32> = outcome.requests.iter().map(|record| record.preemptions).collect();
        assert_eq!(preemptions, [0, 1], "{policy}");
        assert_eq!(outcome.recomputed, 48, "{policy}");
    }
}

/// Orca reserves ⌈(48 + 3 − 1)/16⌉ = 4 of 7 blocks for A: B waits until A is done, at 9.8 + 2 · 5.1.
#[test]
fn orca_reserves_slots_for_the_whole_answer() {
    let outcome = ran(&plan(requests(&[[0, 48, 3], [0, 48, 3]]), r#""orca""#, 7));
    assert_eq!(times(&outcome), [[98, 200], [298, 400]]);
}

/// Room for eight blocks, of which a share of a quarter is kept: B's three are not to be had beside A's.
#[test]
fn vllm_v0_keeps_some_blocks_free() {
    let outcome = ran(&plan(requests(&[[0, 48, 1], [0, 48, 1]]), r#"{"vllm_v0": {"watermark": 0.3}}"#, 7));
    assert_eq!(times(&outcome), [[98, 98], [196, 196]]);
}
