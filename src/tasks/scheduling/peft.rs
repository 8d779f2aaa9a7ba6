//! PEFT: predict earliest finish time.
//!
//! Arabnejad and Barbosa, "List Scheduling Algorithm for Heterogeneous Systems by an Optimistic Cost
//! Table", IEEE TPDS 25(3), 2014.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, IdVec, TaskId};
use crate::tasks::scheduling::draft::{first_max_by_key, place_ready};
use crate::tasks::scheduling::ranks::{Rank, RankScale};
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};
use crate::units::SimDuration;

/// Of the ready tasks, the one with the highest mean optimistic cost goes next, to the device on which
/// its finish plus its optimistic cost there is least, with insertion.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peft {}

/// What is left after each task, on each device that is alive and can do it.
type OptimisticCosts = IdVec<TaskId, IdVec<DeviceId, Option<SimDuration>>>;

impl TaskScheduler for Peft {
    fn plan(&self, view: &TaskView) -> Plan {
        let table = optimistic_costs(view);
        let scale = RankScale::of(view);
        let rank: IdVec<TaskId, Rank> = table.iter().map(|row| mean(row, scale)).collect();
        place_ready(*view, |draft| {
            let ready = draft.ready().iter().copied();
            let task = first_max_by_key(ready, |task| rank[task]).expect("a ready task");
            let optimistic = |device: DeviceId| table[task][device].expect("a device that can do it");
            (task, draft.best_by(task, Fit::Insert, |slot| slot.finish + optimistic(slot.device)))
        })
    }
}

/// OCT(tᵢ, pₖ) = max over successors tⱼ of min over devices p of
/// (OCT(tⱼ, p) + w(tⱼ, p) + c̄ᵢⱼ), with c̄ᵢⱼ = 0 when p = pₖ; nought for exits (equation 4).
fn optimistic_costs(view: &TaskView) -> OptimisticCosts {
    let devices = view.progress.free.len();
    let mut table: OptimisticCosts = IdVec::filled(IdVec::filled(None, devices), view.graph.len());
    for &task in view.graph.order().iter().rev() {
        for (device, _) in view.able(task) {
            let after = view.graph.outputs(task).map(|(_, data)| {
                let travel = view.communication.mean(data.payload);
                let on = |(other, time): (DeviceId, SimDuration)| {
                    let way = if other == device { SimDuration::ZERO } else { travel };
                    table[data.to][other].expect("a device that can do it") + time + way
                };
                // A successor that no live device can do has started already.
                view.able(data.to).map(on).min().unwrap_or(SimDuration::ZERO)
            });
            let most = after.max().unwrap_or(SimDuration::ZERO);
            table[task][device] = Some(most);
        }
    }
    table
}

/// rank_oct, the mean over devices (equation 5).
fn mean(row: &IdVec<DeviceId, Option<SimDuration>>, scale: RankScale) -> Rank {
    let count = row.iter().flatten().count().max(1);
    row.iter().flatten().map(|&cost| scale.rank(cost)).sum::<Rank>() / count as Rank
}
