//! Devices for this room's tests: round numbers, so that expectations can be derived by hand.

use std::collections::BTreeMap;

use crate::hardware::{DeviceKind, DeviceSpec, Precision, device};
use crate::units::{Bandwidth, Bytes, Clock, FlopRate, SimDuration};

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
        power: None,
        price: None,
    }
}

fn rates(rates: &[(Precision, f64)]) -> BTreeMap<Precision, FlopRate> {
    rates.iter().map(|&(precision, rate)| (precision, FlopRate::per_second(rate))).collect()
}
