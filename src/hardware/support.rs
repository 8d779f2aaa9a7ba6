//! What this room's tests share.

use std::sync::Arc;

use crate::hardware::device::DeviceSpec;

/// The plainest device there is.
pub(super) fn device() -> Arc<DeviceSpec> {
    let text = r#"{"name": "test", "kind": "gpu", "source": "made up", "clock": "1 GHz",
        "matrix": {"bf16": "1 TFLOP/s"}, "memory": {"capacity": "1 GiB", "bandwidth": "1 TB/s"}}"#;
    Arc::new(serde_json::from_str(text).expect("a device"))
}
