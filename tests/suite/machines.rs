//! Every device and topology that is shipped, held against itself: figures agree, sources are cited,
//! topologies resolve and are what their names say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard::hardware::{DeviceNotFound, DeviceSpec, Precision, Topology, TopologySpec};
use trainyard::ids::{DeviceId, NodeId};

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).expect("a readable file name")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("# "), "{} begins with a line that describes it", path.display());
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn devices() -> BTreeMap<String, Arc<DeviceSpec>> {
    let files = yaml_files("topologies/devices");
    files.iter().map(|path| (stem(path).to_owned(), Arc::new(read::<DeviceSpec>(path)))).collect()
}

fn topology(path: &Path, devices: &BTreeMap<String, Arc<DeviceSpec>>) -> Topology {
    let spec: TopologySpec = read(path);
    assert_eq!(spec.name, stem(path), "a topology is called like its file");
    assert!(
        !spec.description.is_empty() && !spec.source.is_empty(),
        "{} has no description or source",
        spec.name
    );
    let lookup = |name: &str| {
        let found = devices.values().find(|device| device.is_called(name));
        found.cloned().ok_or_else(|| DeviceNotFound { why: format!("no device `{name}`"), help: None })
    };
    spec.resolve(&lookup).unwrap_or_else(|problems| panic!("{}: {problems:?}", spec.name))
}

#[test]
fn every_device_is_well_formed_and_cites_its_source() {
    for (stem, device) in devices() {
        assert_eq!(device.name, stem, "a device is called like its file");
        assert_eq!(device.mistakes(), [], "{stem}");
        assert!(device.source.len() > 20, "{stem} cites no source");
        assert!(device.power.is_some_and(|power| power.idle < power.busy), "{stem} draws less when idle");
        assert!(device.peak(Precision::F32).is_some(), "{stem} cannot compute in f32");
    }
}

#[test]
fn no_two_devices_share_a_name_or_an_alias() {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for (stem, device) in devices() {
        for name in device.aliases.iter().chain([&device.name]) {
            let other = owners.insert(name.clone(), stem.clone());
            assert_eq!(other, None, "`{name}` is also a name of {stem}");
        }
    }
}

/// Peak = SMs × flops per clock and SM × clock. Datasheets round to three digits, so 3 % is enough
/// to catch a sparse figure, a wrong clock or a wrong SM count.
#[test]
fn matrix_peaks_are_what_sms_and_clock_make() {
    let mut checked = 0;
    for device in devices().values() {
        let Some(gpu) = &device.gpu else { continue };
        for (precision, per_clk) in &gpu.matrix_per_clk {
            let peak = device.matrix_peak(*precision).unwrap_or_else(|| {
                panic!("{}: {precision} per clock is given, but not the peak", device.name)
            });
            let made = f64::from(gpu.sms) * *per_clk as f64 * device.clock.hertz() as f64;
            let error = (made / peak.get() - 1.0).abs();
            assert!(error < 0.03, "{}: {precision} {peak}, but SMs and clock make {made:.4e}", device.name);
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} rates were checked");
}

/// A systolic array makes 2 flops a cell and cycle, a processor 2 a lane, port, core and cycle.
#[test]
fn array_and_core_peaks_are_what_cells_and_clock_make() {
    for device in devices().values() {
        let clock = device.clock.hertz() as f64;
        if let Some(array) = &device.systolic {
            let cells = f64::from(array.rows) * f64::from(array.columns) * f64::from(array.arrays);
            let peak = device.matrix_peak(array.precision).expect("the array's own precision has a peak");
            let error = (2.0 * cells * clock / peak.get() - 1.0).abs();
            assert!(error < 0.03, "{}: {peak}, but the arrays make {:.4e}", device.name, 2.0 * cells * clock);
        }
        if let Some(cpu) = &device.cpu {
            let lanes = f64::from(cpu.cores * cpu.ports * cpu.lanes(Precision::F32));
            let peak = device.vector_peak(Precision::F32).expect("a processor computes in f32");
            let error = (2.0 * lanes * clock / peak.get() - 1.0).abs();
            assert!(error < 0.03, "{}: {peak}, but the cores make {:.4e}", device.name, 2.0 * lanes * clock);
        }
    }
}

#[test]
fn every_topology_resolves_and_can_be_described() {
    let devices = devices();
    let files = yaml_files("topologies");
    assert!(files.len() >= 7);
    for path in files {
        let topology = topology(&path, &devices);
        let description = topology.describe();
        assert_eq!(description.devices.values().sum::<usize>(), topology.devices().len());
        assert!(description.hops.keys().all(|hops| *hops <= description.diameter), "{}", topology.name());
        assert_eq!(topology.positions().len(), topology.graph().node_count());
    }
}

fn shipped(name: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("topologies/{name}.yaml"));
    topology(&path, &devices())
}

/// Two nodes of eight: half the machine is one node, whose eight cards of 50 GB/s are the cut.
#[test]
fn the_main_machine_has_two_nodes_of_eight() {
    let machine = shipped("hgx_h100_2x8");
    assert_eq!(machine.node_count(), 2);
    assert_eq!(machine.node_devices(NodeId(1)), (8..16).map(DeviceId).collect::<Vec<_>>());
    assert_eq!(machine.bisection_bandwidth().unwrap().get(), 400e9);
    assert_eq!(machine.diameter(), 6);
}

/// Google gives 1.6 TB/s for a pod of 16 × 16: the cut crosses 16 rings twice, 32 links of 50 GB/s.
#[test]
fn a_tpu_pod_has_its_published_bisection_bandwidth() {
    assert_eq!(shipped("tpu_v5e_16x16").bisection_bandwidth().unwrap().get(), 1.6e12);
}

/// 98,304 GPUs are built and asked for routes without a table of all pairs: an all-pairs table would
/// have 10^10 entries. A thousand routes across the machine are six links each.
#[test]
fn a_machine_of_a_hundred_thousand_devices_is_routed() {
    let machine = shipped("h100_12288x8");
    assert_eq!(machine.devices().len(), 98_304);
    // Half of 384 units on each side: 192 × 32 × 8 cards of 50 GB/s.
    assert_eq!(machine.bisection_bandwidth().unwrap().get(), 192.0 * 32.0 * 8.0 * 50e9);
    for step in 0..1_000 {
        let (from, to) = (DeviceId(step * 31), DeviceId(98_303 - step * 17));
        assert_eq!(machine.route(from, to, 0).len(), 6);
    }
}
