//! What tasks compute, for those who want more than the time.

use crate::ids::{DataId, DeviceId, TaskId};

/// Told what happens in simulated order: inputs are read when a task begins, and what it makes becomes
/// visible when it is done.
///
/// Contract of the caller: a task begins on a device only when each of its inputs was made there or has
/// arrived there since; what a failed device held is asked for no more.
pub trait Values {
    /// A task starts on a device.
    fn begin(&mut self, task: TaskId, device: DeviceId);

    /// It is done.
    fn finish(&mut self, task: TaskId, device: DeviceId);

    /// Its device has failed under it.
    fn abort(&mut self, task: TaskId, device: DeviceId);

    /// Data has come from one device to another.
    fn arrive(&mut self, data: DataId, from: DeviceId, to: DeviceId);

    /// A device has failed: what it held is gone.
    fn fail(&mut self, device: DeviceId);
}

/// Nothing is computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoValues;

impl Values for NoValues {
    fn begin(&mut self, _: TaskId, _: DeviceId) {}
    fn finish(&mut self, _: TaskId, _: DeviceId) {}
    fn abort(&mut self, _: TaskId, _: DeviceId) {}
    fn arrive(&mut self, _: DataId, _: DeviceId, _: DeviceId) {}
    fn fail(&mut self, _: DeviceId) {}
}
