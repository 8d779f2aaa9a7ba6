//! Devices for this room's tests: round numbers, so that expectations can be derived by hand.

use std::collections::BTreeMap;

use crate::hardware::device::Tile;
use crate::hardware::{DeviceKind, DeviceSpec, Precision, device};
use crate::units::{Bandwidth, Bytes, Clock, Cycles, FlopRate, SimDuration};

/// 1 GHz; matrix 100 TFLOP/s in bf16 and 50 in tf32, vector 10 TFLOP/s in f32; 1 TB/s: a cycle is
/// 100,000 matrix flops, 10,000 vector flops or 1,000 bytes.
pub fn round_device() -> DeviceSpec {
    DeviceSpec {
        name: "round".to_owned(),
        aliases: Vec::new(),
        kind: DeviceKind::Gpu,
        source: "made up for tests".to_owned(),
        clock: Clock::from_hertz(1_000_000_000),
        matrix: rates(&[(Precision::Bf16, 100e12), (Precision::Tf32, 50e12)]),
        sparsity: None,
        vector: rates(&[(Precision::F32, 10e12)]),
        memory: device::MemorySpec {
            capacity: Bytes(80_000_000_000),
            bandwidth: Bandwidth::per_second(1e12),
            technology: String::new(),
        },
        launch: SimDuration::from_micros(2),
        efficiency: device::Efficiency::default(),
        gpu: None,
        systolic: None,
        cpu: None,
        host: None,
        peers: None,
        communication: None,
        power: None,
        price: None,
    }
}

/// The units, clocks and sizes of an A100 SXM 80 GB, nothing fitted and no launch.
pub fn ideal_a100() -> DeviceSpec {
    let gpu = device::GpuSpec {
        sms: 108,
        matrix_per_clk: [(Precision::Bf16, 2048)].into(),
        vector_per_clk: [(Precision::F32, 128)].into(),
        l2: Bytes(40 << 20),
        l2_bytes_per_clk: 64.0,
        shared_memory: Bytes(164 << 10),
        prologue: Cycles(0),
        epilogue: Cycles(0),
        raster_group: 8,
        tiles: vec![Tile { m: 256, n: 128, k: 32, occupancy: 1 }],
        fitted: device::FittedGpu::default(),
        attention: device::AttentionSpec::default(),
    };
    DeviceSpec {
        name: "ideal_a100".to_owned(),
        clock: Clock::from_hertz(1_410_000_000),
        matrix: rates(&[(Precision::Bf16, 312e12), (Precision::Tf32, 156e12)]),
        vector: rates(&[(Precision::F32, 19.5e12)]),
        memory: device::MemorySpec { bandwidth: Bandwidth::per_second(2039e9), ..round_device().memory },
        launch: SimDuration::ZERO,
        gpu: Some(gpu),
        ..round_device()
    }
}

/// An A100 with every constant that is fitted away from its ideal, and the default tiles.
pub fn fitted_a100() -> DeviceSpec {
    let mut device = ideal_a100();
    device.name = "fitted_a100".to_owned();
    device.launch = SimDuration::from_nanos(2_600);
    device.efficiency.compute = 0.95;
    device.efficiency.memory = 0.9;
    let gpu = device.gpu.as_mut().expect("an A100 is a GPU");
    gpu.tiles = [(256, 128, 1), (128, 128, 2), (128, 64, 3), (64, 64, 4)]
        .map(|(m, n, occupancy)| Tile { m, n, k: 32, occupancy })
        .to_vec();
    gpu.l2_bytes_per_clk = 40.0;
    gpu.fitted = device::FittedGpu {
        gemm_memory: 0.8,
        narrow_compute: 0.9,
        throttle: 0.1,
        sustained_throttle: 0.0,
        exposed: 0.2,
        l2_shared_bytes_per_clk: Some(28.0),
        store_bytes_per_clk: Some(10.0),
        row_cycles: 1_000.0,
        accesses_per_clk: Some(4.5),
    };
    gpu.attention.rows = 64;
    gpu.attention.keys = 128;
    gpu.attention.efficiency = 0.6;
    gpu.attention.prologue = 1_000.0;
    gpu.attention.exposed = 0.6;
    device
}

fn rates(rates: &[(Precision, f64)]) -> BTreeMap<Precision, FlopRate> {
    rates.iter().map(|&(precision, rate)| (precision, FlopRate::per_second(rate))).collect()
}
