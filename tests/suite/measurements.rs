//! The shipped devices against published measurements (`tests/validation/`).

use trainyard::collective::AlgorithmSpec;
use trainyard::compute::{ComputeSpec, calibrate};
use trainyard::hardware::DeviceSpec;
use trainyard::validation::collectives::{self, CollectiveRow};
use trainyard::validation::kernels::{self, KernelRow};
use trainyard::validation::training;
use trainyard::validation::{Group, Summary};

const HELD_OUT: f64 = 0.3;

fn device(name: &str) -> DeviceSpec {
    let path = format!("{}/topologies/devices/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap())
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn table() -> Vec<KernelRow> {
    let path = format!("{}/tests/validation/kernels.csv", env!("CARGO_MANIFEST_DIR"));
    kernels::read(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn tile() -> ComputeSpec {
    ComputeSpec::from_name("tile").unwrap()
}

/// Median absolute error of the shapes that no fit has seen, by device and kind of kernel.
#[test]
fn kernels_that_no_fit_saw_are_predicted_within_ten_percent() {
    let rows: Vec<KernelRow> = table().into_iter().filter(|row| row.is_held_out(HELD_OUT)).collect();
    let devices = [device("a100_80gb_sxm"), device("h100_sxm")];
    let report = kernels::predict(&rows, &devices, &tile());
    assert_eq!(report.skipped, []);
    assert!(report.rows.len() > 400, "{} rows", report.rows.len());
    assert!(report.summary.all.median_absolute_percent < 6.0, "{:?}", report.summary.all);
    for (name, group) in &report.summary.by_device {
        assert!(group.median_absolute_percent < 7.0, "{name}: {group:?}");
        assert!(group.bias_percent.abs() < 3.0, "{name}: {group:?}");
    }
    for op in ["gemm", "attention_prefill"] {
        let of_op = |id: &str| rows.iter().any(|row| row.id == id && row.op == op);
        let group = Group::of(report.rows.iter().filter(|row| of_op(&row.id)));
        assert!(group.median_absolute_percent < 7.0, "{op}: {group:?}");
    }
}

/// The files' constants are what `calibrate` finds: searching again from them finds nothing that is
/// better by more than the rounding to four digits.
#[test]
fn the_shipped_constants_are_what_calibration_finds() {
    let rows = table();
    for name in ["a100_80gb_sxm", "h100_sxm"] {
        let device = device(name);
        let (samples, skipped) = kernels::samples(&rows, &device, HELD_OUT);
        assert_eq!(skipped, []);
        let seen: Vec<KernelRow> = rows
            .iter()
            .filter(|row| device.is_called(&row.device) && !row.is_held_out(HELD_OUT))
            .cloned()
            .collect();
        let shipped = Summary::of(&kernels::predict(&seen, std::slice::from_ref(&device), &tile()).rows).all;
        let fitted = calibrate::fit(&device, &*tile(), &samples).seen;
        let gain = shipped.mean_absolute_percent - fitted.mean;
        assert!(gain < 0.3, "{name}: shipped {shipped:?}, fitted {fitted:?}");
    }
}

/// The roofline knows no waves, no latencies and no library: it is what the tile model has to beat.
#[test]
fn the_tile_model_is_nearer_than_the_roofline() {
    let rows = table();
    let devices = [device("a100_80gb_sxm"), device("h100_sxm")];
    let error = |model: &str| {
        let model = ComputeSpec::from_name(model).unwrap();
        kernels::predict(&rows, &devices, &model).summary.all.median_absolute_percent
    };
    let (tile, roofline) = (error("tile"), error("roofline"));
    assert!(2.0 * tile < roofline, "tile {tile} %, roofline {roofline} %");
}

fn collective_table() -> Vec<CollectiveRow> {
    let path = format!("{}/tests/validation/collectives.csv", env!("CARGO_MANIFEST_DIR"));
    collectives::read(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of_class<'a>(
    rows: &[CollectiveRow],
    report: &'a collectives::CollectiveReport,
    keep: impl Fn(&CollectiveRow) -> bool,
) -> Vec<&'a trainyard::validation::Comparison> {
    assert_eq!(rows.len(), report.rows.len());
    rows.iter().zip(&report.rows).filter(|(row, _)| keep(row)).map(|(_, compared)| compared).collect()
}

/// Groups of four devices were not fitted to: neither their sizes nor any of their kinds.
#[test]
fn large_collectives_that_no_fit_saw_are_predicted_within_eight_percent() {
    let rows = collective_table();
    let devices = [device("a100_80gb_sxm"), device("h100_sxm")];
    let report = collectives::predict(&rows, &devices, &AlgorithmSpec::from_name("auto").unwrap());
    assert_eq!(report.skipped, []);
    for name in ["a100_80gb_sxm", "h100_80gb_sxm"] {
        let unseen = |row: &CollectiveRow| row.is_held_out() && row.device == name;
        let large = Group::of(of_class(&rows, &report, |row| unseen(row) && row.is_large()));
        let small = Group::of(of_class(&rows, &report, |row| unseen(row) && !row.is_large()));
        println!("{name}: large {large:?}, small {small:?}");
        assert!(large.rows >= 24 && large.median_absolute_percent < 5.0, "{name}: {large:?}");
        assert!(small.rows >= 50 && small.median_absolute_percent < 10.0, "{name}: {small:?}");
    }
    println!("{:?}", report.by_size);
}

/// Bare links know no protocol: they are what the calibrated constants have to beat.
#[test]
fn protocols_are_nearer_than_bare_links() {
    let rows = collective_table();
    let devices = [device("a100_80gb_sxm"), device("h100_sxm")];
    let error = |name: &str| {
        let algorithm = AlgorithmSpec::from_name(name).unwrap();
        collectives::predict(&rows, &devices, &algorithm).summary.all.median_absolute_percent
    };
    let (auto, ring) = (error("auto"), error("ring"));
    assert!(4.0 * auto < ring, "auto {auto} %, ring on bare links {ring} %");
}

/// Published training steps, which calibrate the host of eager software and the sustained clock.
#[test]
fn published_training_steps_are_predicted() {
    let path = format!("{}/tests/validation/train.csv", env!("CARGO_MANIFEST_DIR"));
    let rows = training::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    let report = training::predict(&rows, &[device("a100_80gb_sxm")], |_| ());
    assert_eq!(report.skipped, []);
    let all = &report.summary.all;
    assert!(all.median_absolute_percent < 6.0 && all.bias_percent.abs() < 2.0, "{all:?}");
    for row in report.rows.iter().filter(|row| row.id.starts_with("korthikanti")) {
        assert!(row.error_percent.abs() < 5.0, "{row:?}");
    }
}
