//! Whether what members of registries ask of the rest is given: collectives, servers, hosts, pipelines that are
//! never emptied, compression.

use std::sync::Arc;

use crate::collective::Collective;
use crate::config::check::Check;
use crate::config::locate;
use crate::config::training::file::TrainingFile;
use crate::hardware::{DeviceKind, Precision, Topology};
use crate::ids::{DeviceId, IdVec};
use crate::model::Model;
use crate::training::TrainingPlan;
use crate::training::compression::CompressionSpec;
use crate::training::schedule::Pass;

impl Check<'_> {
    /// Whether the algorithm carries out what the axes exchange.
    pub(super) fn collectives(&mut self, plan: &TrainingPlan) {
        for (group, kind) in plan.collectives() {
            let group = group.into_iter().map(|rank| plan.placement[rank]);
            let call = Collective { kind, bytes: plan.bucket, group: group.collect() };
            if let Err(why) = plan.algorithm.admits(&call, &plan.topology) {
                self.wrong("parallel.collective", why, "");
                return;
            }
        }
    }

    /// Whether the replicas are of a kind that servers can serve.
    pub(super) fn servers(&mut self, plan: &TrainingPlan) {
        let Some(server) = plan.sync.server() else { return };
        let key = "parallel.sync.parameter_server";
        if server.servers == 0 {
            self.wrong(&format!("{key}.servers"), "somebody has to keep the model: at least 1", "");
        }
        if server.compensation.is_some_and(|lambda| !lambda.is_finite() || lambda < 0.0) {
            self.wrong(&format!("{key}.compensation"), "λ is a number from nought up", "");
        }
        if plan.precision == Precision::F16 {
            let why = "a server cannot leave out the steps that a scaled loss has made to overflow";
            self.wrong("training.precision", why, "use `precision: bf16`");
        }
        if plan.mesh.ranks() != plan.mesh.data || plan.schedule.copies() > 1 {
            let why = "workers of parameter servers are replicas on one device each";
            self.wrong(key, why, "set `pipeline`, `context` and `tensor` to 1, or use another `sync`");
        }
    }

    /// The topology with a processor beside every device, and which it is, where anything is kept on hosts.
    pub(super) fn hosts(
        &mut self,
        file: &TrainingFile,
        topology: Arc<Topology>,
    ) -> Option<(Arc<Topology>, IdVec<DeviceId, DeviceId>)> {
        let offload = &file.training.offload;
        if !offload.any() {
            return Some((topology, IdVec::new()));
        }
        if file.parallel.sync.server().is_some() {
            let why = "workers of parameter servers keep nothing that a host could keep for them yet";
            self.wrong("training.offload", why, "use another `sync`, or leave it out");
            return None;
        }
        let cpu = match locate::device(&offload.host) {
            Ok(cpu) if cpu.kind == DeviceKind::Cpu => cpu,
            Ok(other) => {
                let why = format!("a host is a processor, and `{}` is a {}", offload.host, other.kind);
                self.wrong("training.offload.host", why, "`trainyard list devices` shows what there is");
                return None;
            }
            Err(not_found) => {
                self.wrong("training.offload.host", not_found.why, &not_found.help.unwrap_or_default());
                return None;
            }
        };
        match topology.with_hosts(&cpu) {
            Ok(hosted) => {
                if hosted.added > 0 {
                    self.notes.push(format!(
                        "{} nodes show no processor of their own: `{}` stands in each, at the root of its PCIe tree or \
                         at its devices' host links",
                        hosted.added, cpu.name
                    ));
                }
                Some((Arc::new(hosted.topology), hosted.host_of))
            }
            Err(why) => {
                self.wrong("training.offload", why, "choose a topology with processors, or leave it out");
                None
            }
        }
    }

    /// Whether hosts can keep what they are asked to.
    pub(super) fn offload(&mut self, plan: &TrainingPlan) {
        if !(0.0..=1.0).contains(&plan.fragmentation) {
            let why = format!("a fragmentation allowance is a share from 0 to 1, not {}", plan.fragmentation);
            self.wrong("training.fragmentation", why, "`0.1` allows for a tenth more");
        }
        if !plan.offload.any() {
            return;
        }
        let key = "training.offload";
        if plan.schedule.stashing().is_some() {
            let why = format!("`{}` keeps versions of the weights on the devices", plan.schedule.name());
            self.wrong(key, why, "use a schedule that is emptied, or leave it out");
        }
        if plan.mesh.context > 1 || plan.parts() > 1 {
            let why = "hosts are not combined with context ranks or overlapped halves yet";
            self.wrong(key, why, "leave one of them out");
        }
        if !plan.offload.optimizer {
            return;
        }
        let key = "training.offload.optimizer";
        if plan.sync.name() != "all_reduce" {
            let why = format!("hosts step by summed gradients, which `{}` does not make", plan.sync.name());
            self.wrong(key, why, "use `sync: all_reduce`, or leave it out");
        }
        if plan.compression.name() != "none" {
            let why = format!("`{}` keeps what it has not sent on the devices", plan.compression.name());
            self.wrong(key, why, "use `compression: none`, or leave it out");
        }
        if plan.zero.shares() && plan.sharers() != plan.mesh.data {
            let why = "groups of replicas that share sum their shares on the devices";
            self.wrong(key, why, "let all replicas share: leave `group` out of `zero`");
        }
        let splits = || {
            let orders = plan.schedule.order(plan.shape());
            orders.iter().flatten().any(|op| op.pass == Pass::BackwardWeight)
        };
        if plan.sums_by_micro_batch() && plan.schedule.admits(plan.shape()).is_ok() && splits() {
            let why = format!(
                "`{}` puts weight gradients off, and these go to the host with their micro-batch",
                plan.schedule.name()
            );
            self.wrong(key, why, "use a schedule that does not split backward passes, or more replicas");
        }
    }

    /// Whether the pipeline can go on without being emptied.
    pub(super) fn stashing(&mut self, plan: &TrainingPlan) {
        if plan.schedule.stashing().is_none() {
            return;
        }
        let name = plan.schedule.name();
        if plan.sync.name() != "all_reduce" {
            let why = format!("`{name}` steps every stage by itself, which `{}` does not", plan.sync.name());
            self.wrong("parallel.sync", why, "use `sync: all_reduce`, or a schedule that is emptied");
        }
        if plan.mesh.context > 1 || plan.parts() > 1 {
            let why = format!("`{name}` is not combined with context ranks or overlapped halves yet");
            self.wrong("parallel.schedule", why, "use a schedule that is emptied, or leave them out");
        }
        if plan.zero.shares() {
            let why = format!("`{name}` keeps whole versions of the weights, which replicas cannot share");
            self.wrong("parallel.zero", why, "use `zero: 0`, or a schedule that is emptied");
        }
        if plan.compression.name() != "none" {
            let why = format!("`{name}` steps while other micro-batches are under way: gradients go whole");
            self.wrong("parallel.compression", why, "use `compression: none`, or a schedule that is emptied");
        }
        if plan.precision == Precision::F16 {
            let why = format!("`{name}` cannot leave out the steps that a scaled loss has made to overflow");
            self.wrong("training.precision", why, "use `precision: bf16`");
        }
        if plan.input.is_some() {
            let why = format!("`{name}` has no step that could wait for its input");
            self.wrong("preparation", why, "name other data, or use a schedule that is emptied");
        }
        if plan.clip.is_some() && plan.mesh.pipeline > 1 {
            self.notes.push(format!(
                "`{name}` steps stages at different times: each clips its gradients by the norm of its own"
            ));
        }
    }

    /// Whether gradients can be made small as they are asked to.
    pub(super) fn compression(&mut self, plan: &TrainingPlan) {
        if !matches!(plan.compression, CompressionSpec::None(_)) {
            let name = plan.compression.name();
            if let Some((key, why)) = plan.compression.mistake() {
                self.wrong(&format!("parallel.compression.{name}.{key}"), why, "");
            }
            if plan.sync.name() != "all_reduce" {
                let why = format!("`{}` exchanges no gradients that `{name}` could pack", plan.sync.name());
                self.wrong("parallel.compression", why, "use `sync: all_reduce`, or `compression: none`");
            }
            if plan.precision == Precision::F16 {
                let why = format!("`{name}` would keep what a scaled loss has made to overflow");
                self.wrong("parallel.compression", why, "use `precision: bf16`, or `compression: none`");
            }
            if plan.zero.shares() {
                let why =
                    format!("`{name}` packs gradients that every replica keeps, and `zero` shares them");
                self.wrong("parallel.compression", why, "use `zero: 0`, or `compression: none`");
            }
        }
    }

    /// What members of registries ask of the rest.
    pub(super) fn policies(&mut self, plan: &TrainingPlan, file: &TrainingFile) {
        let samples = plan.micro_batch / u64::from(plan.parts());
        let rows = samples * plan.model.tokens_per_sample() / u64::from(plan.mesh.context);
        self.overlap(plan);
        if plan.splits_rows() && !matches!(plan.model, Model::Gpt(_)) {
            self.wrong("parallel.sequence_parallel", "only a gpt has rows that tensor ranks can split", "");
        } else if plan.splits_rows() && !rows.is_multiple_of(u64::from(plan.mesh.tensor)) {
            let tensor = plan.mesh.tensor;
            let why =
                format!("{tensor} tensor ranks do not divide the {rows} rows that they work on together");
            self.wrong("parallel.sequence_parallel", why, "");
        }
        match plan.schedule.admits(plan.shape()) {
            Ok(()) => self.zero(plan),
            Err(why) => self.wrong("parallel.schedule", why, ""),
        }
        self.collectives(plan);
        self.compression(plan);
        self.servers(plan);
        self.stashing(plan);
        self.offload(plan);
        if plan.sync.period() == 0 {
            let key = format!("parallel.sync.{}.every", plan.sync.name());
            self.wrong(&key, "replicas meet after every step or more, not after every 0", "");
        }
        for &device in plan.placement.iter() {
            let spec = &plan.topology.devices()[device].spec;
            if let Err(why) = file.fidelity.compute.admits(spec, plan.precision) {
                self.wrong("fidelity.compute", why.to_string(), "");
                return;
            }
        }
    }
}
