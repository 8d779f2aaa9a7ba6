//! Every compute model on every shipped device: laws that all keep.

use trainyard::compute::{ComputeSpec, Kernel, Limiter, Memo, Pass};
use trainyard::hardware::{DeviceSpec, Precision};
use trainyard::units::{Bytes, Flops};

fn devices() -> Vec<DeviceSpec> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/devices");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read =
        |path: &std::path::PathBuf| serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    files.iter().map(read).collect()
}

/// One kernel of each kind and pass, small and large.
fn kernels(precision: Precision) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for pass in [Pass::Forward, Pass::InputGradient, Pass::WeightGradient] {
        for (m, n, k) in [(1, 1, 1), (1, 4096, 4096), (100, 300, 70), (4096, 12_288, 4096)] {
            kernels.push(Kernel::Gemm { batch: 2, m, n, k, precision, pass });
            let (groups, tokens, busiest) = (8, 8 * m, 3 * m);
            kernels.push(Kernel::GroupedGemm { groups, tokens, busiest, n, k, precision, pass });
        }
        for (m, n, k) in [(1_u64, 1_u64, 1_u64), (1, 4096, 4096), (4096, 12_288, 4096)] {
            let (four_bits, half) = (Bytes((n * k).div_ceil(2)), precision.bytes_of(n * k));
            for (weights, unpack, pattern) in [(four_bits, 4, None), (half, 0, Some((2, 4)))] {
                kernels.push(Kernel::PackedGemm { m, n, k, precision, weights, unpack, pattern });
            }
        }
        for (queries, keys) in [(1, 1), (1, 8192), (100, 300), (4096, 4096)] {
            let (batch, heads, kv_heads, head_dim, causal) = (2, 32, 8, 128, true);
            let pass = if pass == Pass::Forward { pass } else { Pass::InputGradient };
            kernels.push(Kernel::Attention {
                batch,
                heads,
                kv_heads,
                head_dim,
                queries,
                keys,
                causal,
                pass,
                precision,
            });
        }
        for (rows, width) in [(1, 8), (4096, 8192)] {
            kernels.push(Kernel::Norm { rows, width, precision, pass });
            kernels.push(Kernel::Softmax { rows, width, precision, pass });
            kernels.push(Kernel::Embedding { tokens: rows, width, precision, pass });
        }
    }
    for elements in [1, 1 << 26] {
        let (inputs, outputs) = (2, 1);
        kernels.push(Kernel::Elementwise { elements, inputs, outputs, flops_per_element: 8, precision });
        kernels.push(Kernel::Scalar { elements, inputs, outputs, accesses: 4, precision });
        kernels.push(Kernel::adam_w(elements));
        kernels.push(Kernel::Copy { bytes: Bytes(elements) });
        kernels.push(Kernel::Quantise { elements, from: Precision::Bf16, to: Precision::F8 });
        kernels.push(Kernel::Work { flops: Flops(elements), bytes: Bytes(elements), precision });
    }
    kernels
}

fn each_admitted(mut check: impl FnMut(&ComputeSpec, &DeviceSpec, Precision)) {
    let mut admitted = 0;
    for device in devices() {
        for name in ComputeSpec::NAMES {
            let model = ComputeSpec::from_name(name).unwrap();
            for precision in [Precision::F32, Precision::Bf16, Precision::F8] {
                if model.admits(&device, precision).is_ok() {
                    check(&model, &device, precision);
                    admitted += 1;
                }
            }
        }
    }
    assert!(admitted > 200, "{admitted}");
}

/// PHYSICS: the roofline bounds all; a measured table alone may say otherwise, and an empty one
/// answers with the roofline and says so.
#[test]
fn no_model_beats_the_roofline_on_any_device() {
    let roofline = ComputeSpec::from_name("roofline").unwrap();
    each_admitted(|model, device, precision| {
        for kernel in kernels(precision) {
            let bound = roofline.cost(&kernel, device);
            let cost = model.cost(&kernel, device);
            let what =
                format!("{} on {} by {}: {cost:?}, roofline {bound:?}", kernel, device.name, model.name());
            assert!(bound.cycles <= cost.cycles, "{what}");
            assert!(bound.bytes <= cost.bytes, "{what}");
            assert_eq!(bound.flops, cost.flops, "{what}");
            assert_eq!(cost.limiter == Limiter::Outside, model.name() == "table", "{what}");
            let parts = cost.parts;
            assert!(
                [parts.launch, parts.compute, parts.memory, parts.cache, parts.exposed]
                    .iter()
                    .all(|part| *part >= 0.0),
                "{what}"
            );
        }
    });
}

/// A large product keeps any device busy mostly with arithmetic: no model is absurdly far from the peak.
#[test]
fn large_products_come_near_the_peak() {
    each_admitted(|model, device, precision| {
        let kernel = Kernel::Gemm { batch: 1, m: 8192, n: 8192, k: 8192, precision, pass: Pass::Forward };
        let bound = ComputeSpec::from_name("roofline").unwrap().cost(&kernel, device).cycles.0 as f64;
        let ratio = model.cost(&kernel, device).cycles.0 as f64 / bound;
        // A T4 sustains 0.39 of its peak on its 70 W.
        assert!(ratio < 2.6, "{} at {precision} by {}: {ratio}", device.name, model.name());
    });
}

#[test]
fn answers_are_pure_and_remembered() {
    let devices = devices();
    let mut memo = Memo::new(ComputeSpec::from_name("native").unwrap());
    let model = ComputeSpec::from_name("native").unwrap();
    for _ in 0..2 {
        for device in &devices {
            for kernel in kernels(Precision::Bf16) {
                if model.admits(device, Precision::Bf16).is_ok() {
                    assert_eq!(memo.cost(&kernel, device), model.cost(&kernel, device));
                }
            }
        }
    }
    // Kernels of one shape listed twice are one.
    let distinct: std::collections::BTreeSet<Kernel> = kernels(Precision::Bf16).into_iter().collect();
    let admitting = devices.iter().filter(|device| model.admits(device, Precision::Bf16).is_ok()).count();
    assert_eq!(memo.computed(), distinct.len() * admitting);
}
