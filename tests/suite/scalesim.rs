//! The systolic closed form against SCALE-Sim v3, if it is installed.
//!
//! `TRAINYARD_PYTHON` names the interpreter that has it (`python3` otherwise); the script says what to
//! install. Without it the test says so and passes.

use std::io::Write;
use std::process::{Command, Stdio};

use trainyard::compute::systolic::folds::{Array, Beside, Folds};
use trainyard::hardware::device::Dataflow;

/// What the script exits with when SCALE-Sim is missing.
const MISSING: i32 = 77;

struct Case {
    rows: u64,
    columns: u64,
    dataflow: Dataflow,
    m: u64,
    n: u64,
    k: u64,
}

/// Square, wide and tall arrays; products smaller than, as large as and larger than them.
fn cases() -> Vec<Case> {
    let dataflows = [Dataflow::OutputStationary, Dataflow::WeightStationary, Dataflow::InputStationary];
    let arrays = [(32, 32), (8, 16), (16, 8)];
    let shapes = [(1, 1, 1), (33, 17, 9), (16, 16, 16), (40, 70, 30), (1, 64, 100)];
    let mut cases = Vec::new();
    for (rows, columns) in arrays {
        for dataflow in dataflows {
            cases.extend(shapes.map(|(m, n, k)| Case { rows, columns, dataflow, m, n, k }));
        }
    }
    cases
}

fn short(dataflow: Dataflow) -> &'static str {
    match dataflow {
        Dataflow::OutputStationary => "os",
        Dataflow::WeightStationary => "ws",
        Dataflow::InputStationary => "is",
    }
}

/// The cycles that SCALE-Sim prints for each case, or why there are none.
fn printed(cases: &[Case]) -> Result<Vec<u64>, String> {
    let python = std::env::var("TRAINYARD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scalesim/cycles.py");
    let mut child = Command::new(&python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{python}: {error}"))?;
    let lines: String = cases
        .iter()
        .map(|case| {
            let Case { rows, columns, dataflow, m, n, k } = case;
            format!("{rows} {columns} {} {m} {n} {k}\n", short(*dataflow))
        })
        .collect();
    // A script that lacks SCALE-Sim leaves before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(MISSING) {
        return Err(complaint);
    }
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8(output.stdout).expect("numbers");
    Ok(text.lines().map(|line| line.parse().expect("a number of cycles")).collect())
}

/// SCALE-Sim prints the index of the last cycle.
#[test]
fn folds_last_one_cycle_more_than_scale_sim_prints() {
    let cases = cases();
    let printed = match printed(&cases) {
        Ok(printed) => printed,
        Err(why) => return println!("skipped: SCALE-Sim is not installed ({})", why.trim()),
    };
    assert_eq!(printed.len(), cases.len());
    for (case, printed) in cases.iter().zip(printed) {
        let Case { rows, columns, dataflow, m, n, k } = *case;
        let array = Array { rows, columns, dataflow, preload_overlap: false };
        let cycles = Folds::of(&array, Beside::ALONE, m, n, k).cycles();
        assert_eq!(cycles, printed + 1, "{rows}x{columns} {} {m} {n} {k}", short(dataflow));
    }
}
