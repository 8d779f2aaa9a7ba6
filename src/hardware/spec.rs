//! A topology as it is written, and its resolution to the graph.
//!
//! Either a `shape:` with one `device:` in every place, or `devices:`, `switches:` and `links:` one
//! by one. Resolving gathers **all** problems, each with the path of the key at fault, so that the
//! door can point at its line.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::ShapeSpec;
use crate::hardware::topology::{Topology, TopologyBuilder, TopologyError};
use crate::ids::NodeId;
use crate::units::{Bandwidth, SimDuration};

/// Something wrong with what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key at fault, as serde_path_to_error writes it: `links[2].between[0]`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at `path`, without a cure to offer.
    pub fn at(path: &str, message: impl Into<String>) -> Self {
        Problem { path: path.to_owned(), message: message.into(), help: None }
    }

    /// With a cure to offer.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same problem, seen from the map whose key `outer` holds this one.
    pub fn within(mut self, outer: &str) -> Self {
        self.path = match (self.path.as_str(), outer) {
            ("", _) => outer.to_owned(),
            (_, "") => self.path,
            (inner, _) if inner.starts_with('[') => format!("{outer}{inner}"),
            (inner, _) => format!("{outer}.{inner}"),
        };
        self
    }
}

/// Why a device's name led to no spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNotFound {
    /// What is wrong: there is no such file, or it has mistakes of its own.
    pub why: String,
    /// What would do: the nearest name.
    pub help: Option<String>,
}

/// How a device's name becomes its spec; the door reads files, a test has a map.
pub type Lookup<'a> = dyn Fn(&str) -> Result<Arc<DeviceSpec>, DeviceNotFound> + 'a;

/// A topology file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologySpec {
    /// Its name; the file's name.
    pub name: String,
    /// What it is, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where its structure and figures come from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The device in every place of the shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceChoice>,
    /// A built-in shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<ShapeSpec>,
    /// Devices one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceEntry>,
    /// Names of switches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<String>,
    /// Links one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkEntry>,
    /// Whether traffic may pass through devices (shapes say so themselves).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub devices_forward: bool,
}

/// A device by name or in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DeviceChoice {
    /// By the name of its file under `topologies/devices/`, or an alias.
    Named(String),
    /// Written in place.
    Inline(Box<DeviceSpec>),
}

/// By hand and not `untagged`, so that a mistake in a device written in place is named.
impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> de::Visitor<'de> for Choice {
            type Value = DeviceChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device's name or its description")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<DeviceChoice, E> {
                Ok(DeviceChoice::Named(name.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<DeviceChoice, A::Error> {
                DeviceSpec::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|spec| DeviceChoice::Inline(Box::new(spec)))
            }
        }
        from.deserialize_any(Choice)
    }
}

/// A device in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Unique within the topology.
    pub name: String,
    /// What it is.
    pub device: DeviceChoice,
    /// Devices of one `node` share a machine; a device without one has a machine of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A link between two vertices named above.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// The two ends of a cable that carries traffic both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<[String; 2]>,
    /// Where a one-way link begins …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// … and where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The technology.
    #[serde(default = "other")]
    pub class: LinkClass,
    /// Bytes per second in each direction.
    pub bandwidth: Bandwidth,
    /// How long the first byte takes.
    #[serde(default)]
    pub latency: SimDuration,
}

fn other() -> LinkClass {
    LinkClass::Other
}

impl TopologySpec {
    /// The graph, or everything that is wrong.
    pub fn resolve(&self, lookup: &Lookup) -> Result<Topology, Vec<Problem>> {
        match &self.shape {
            Some(shape) => self.resolve_shape(shape, lookup),
            None => self.resolve_parts(lookup),
        }
    }

    fn resolve_shape(&self, shape: &ShapeSpec, lookup: &Lookup) -> Result<Topology, Vec<Problem>> {
        let mut problems = Vec::new();
        let parts = [
            ("devices", self.devices.is_empty()),
            ("switches", self.switches.is_empty()),
            ("links", self.links.is_empty()),
            ("devices_forward", !self.devices_forward),
        ];
        for (key, _) in parts.iter().filter(|(_, unused)| !unused) {
            problems.push(
                Problem::at(key, format!("`{key}` cannot stand beside `shape`, which makes its own"))
                    .help("write a shape with one `device`, or devices, switches and links one by one"),
            );
        }
        let device = match &self.device {
            None => {
                let message = format!("the {} has no `device` to put in its places", shape.name());
                problems.push(Problem::at("shape", message).help("add `device: h100_sxm`, for instance"));
                None
            }
            Some(choice) => {
                choice.find(lookup).map_err(|problem| problems.push(problem.within("device"))).ok()
            }
        };
        let path = format!("shape.{}", shape.name());
        problems.extend(shape.check().into_iter().map(|problem| problem.within(&path)));
        match device {
            Some(device) if problems.is_empty() => shape
                .build(&self.name, &device)
                .map_err(|wrong| wrong.into_iter().map(|problem| problem.within(&path)).collect()),
            _ => Err(problems),
        }
    }

    fn resolve_parts(&self, lookup: &Lookup) -> Result<Topology, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.device.is_some() {
            let message = "`device` fills the places of a `shape`, and there is none";
            problems.push(Problem::at("device", message).help("list the devices one by one under `devices`"));
        }
        if self.devices.is_empty() {
            let message = "the topology has no devices";
            problems
                .push(Problem::at("", message).help("add `shape` and `device`, or `devices` and `links`"));
        }
        let mut builder = Topology::builder(self.name.clone());
        if self.devices_forward {
            builder.devices_forward();
        }
        self.add_devices(&mut builder, lookup, &mut problems);
        self.add_switches(&mut builder, &mut problems);
        self.add_links(&mut builder, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        builder.build().map_err(|error| vec![self.locate(&error)])
    }

    fn add_devices(&self, to: &mut TopologyBuilder, lookup: &Lookup, problems: &mut Vec<Problem>) {
        let mut nodes: BTreeMap<&str, NodeId> = BTreeMap::new();
        for (at, entry) in self.devices.iter().enumerate() {
            let path = format!("devices[{at}]");
            let node = match &entry.node {
                Some(label) => *nodes.entry(label).or_insert_with(|| to.add_node()),
                None => to.add_node(),
            };
            if to.vertex_named(&entry.name).is_some() {
                problems.push(taken(&entry.name).within("name").within(&path));
            } else {
                // A device that is not found still stands, so that links to it are not also blamed.
                match entry.device.find(lookup) {
                    Ok(spec) => to.add_device(entry.name.clone(), &spec, node),
                    Err(problem) => {
                        problems.push(problem.within("device").within(&path));
                        to.add_switch(entry.name.clone())
                    }
                };
            }
        }
    }

    fn add_switches(&self, to: &mut TopologyBuilder, problems: &mut Vec<Problem>) {
        for (at, name) in self.switches.iter().enumerate() {
            if to.vertex_named(name).is_some() {
                problems.push(taken(name).within(&format!("switches[{at}]")));
            } else {
                to.add_switch(name.clone());
            }
        }
    }

    fn add_links(&self, to: &mut TopologyBuilder, problems: &mut Vec<Problem>) {
        let names: Vec<&str> = self
            .devices
            .iter()
            .map(|entry| entry.name.as_str())
            .chain(self.switches.iter().map(String::as_str))
            .collect();
        for (at, entry) in self.links.iter().enumerate() {
            match entry.ends() {
                Err(problem) => problems.push(problem.within(&format!("links[{at}]"))),
                Ok((ends, both_ways)) => {
                    let found = ends.map(|(key, name)| match to.vertex_named(name) {
                        Some(vertex) => Some(vertex),
                        None => {
                            problems.push(
                                unknown_vertex(name, &names).within(key).within(&format!("links[{at}]")),
                            );
                            None
                        }
                    });
                    match found {
                        [Some(a), Some(b)] if a == b => {
                            let message = format!("a link leads from `{}` to itself", ends[0].1);
                            problems.push(Problem::at(&format!("links[{at}]"), message));
                        }
                        [Some(a), Some(b)] if both_ways => {
                            to.connect(a, b, entry.link());
                        }
                        [Some(a), Some(b)] => {
                            to.connect_one_way(a, b, entry.link());
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Points at the device that cannot be reached.
    fn locate(&self, error: &TopologyError) -> Problem {
        let index_of = |name: &str| self.devices.iter().position(|entry| entry.name == name);
        match error {
            TopologyError::Unreachable { to, through_devices, .. } => {
                let path = index_of(to).map_or(String::new(), |at| format!("devices[{at}]"));
                let help = if *through_devices {
                    "join both to a switch, or set `devices_forward: true`"
                } else {
                    "add a link under `links`"
                };
                Problem::at(&path, error.to_string()).help(help)
            }
            _ => Problem::at("", error.to_string()),
        }
    }
}

impl DeviceChoice {
    fn find(&self, lookup: &Lookup) -> Result<Arc<DeviceSpec>, Problem> {
        match self {
            DeviceChoice::Inline(spec) => {
                let mistakes = spec.mistakes();
                mistakes.into_iter().next().map_or_else(|| Ok(Arc::new((**spec).clone())), Err)
            }
            DeviceChoice::Named(name) => lookup(name).map_err(|not_found| Problem {
                path: String::new(),
                message: not_found.why,
                help: not_found.help,
            }),
        }
    }
}

/// The key under which an end of a link is written, and the name written there.
type End<'a> = (&'static str, &'a str);

impl LinkEntry {
    /// The two ends, and whether traffic goes both ways.
    fn ends(&self) -> Result<([End<'_>; 2], bool), Problem> {
        match (&self.between, &self.from, &self.to) {
            (Some([a, b]), None, None) => Ok(([("between[0]", a), ("between[1]", b)], true)),
            (None, Some(from), Some(to)) => Ok(([("from", from), ("to", to)], false)),
            _ => Err(Problem::at("", "a link has either `between: [a, b]` or `from: a` and `to: b`")),
        }
    }

    fn link(&self) -> LinkSpec {
        LinkSpec { class: self.class, bandwidth: self.bandwidth, latency: self.latency }
    }
}

fn taken(name: &str) -> Problem {
    Problem::at("", format!("the name `{name}` is already taken"))
}

fn unknown_vertex(name: &str, names: &[&str]) -> Problem {
    let problem = Problem::at("", format!("there is no device or switch called `{name}`"));
    let nearest = names.iter().max_by(|a, b| {
        let likeness = |other: &str| strsim::jaro_winkler(name, other);
        likeness(a).total_cmp(&likeness(b))
    });
    match nearest {
        Some(nearest) if strsim::jaro_winkler(name, nearest) > 0.7 => {
            problem.help(format!("did you mean `{nearest}`?"))
        }
        _ => problem.help("name it under `devices` or `switches`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::support::device;
    use crate::ids::DeviceId;

    fn lookup(name: &str) -> Result<Arc<DeviceSpec>, DeviceNotFound> {
        match name {
            "test" => Ok(device()),
            _ => Err(DeviceNotFound {
                why: format!("no device `{name}`"),
                help: Some("did you mean `test`?".into()),
            }),
        }
    }

    fn resolve(text: &str) -> Result<Topology, Vec<Problem>> {
        let spec: TopologySpec = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"));
        spec.resolve(&lookup)
    }

    fn paths(text: &str) -> Vec<String> {
        resolve(text).expect_err("problems").into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_shape_is_filled_with_its_device() {
        let ring = resolve(r#"{"name": "r", "device": "test", "shape": {"ring": {"devices": 5}}}"#).unwrap();
        assert_eq!((ring.name(), ring.devices().len()), ("r", 5));
    }

    #[test]
    fn written_devices_and_links_make_the_graph() {
        let pair = resolve(
            r#"{"name": "pair", "switches": ["s"],
                "devices": [{"name": "a", "device": "test", "node": "n"}, {"name": "b", "device": "test", "node": "n"}],
                "links": [{"between": ["a", "s"], "bandwidth": "2 GB/s", "latency": "1 us"},
                          {"from": "s", "to": "b", "bandwidth": "1 GB/s"},
                          {"from": "b", "to": "a", "bandwidth": "3 GB/s"}]}"#,
        )
        .unwrap();
        assert_eq!((pair.node_count(), pair.links().len()), (1, 4));
        // a → s → b, and straight back.
        assert_eq!(pair.route(DeviceId(0), DeviceId(1), 0).len(), 2);
        assert_eq!(pair.route(DeviceId(1), DeviceId(0), 0).len(), 1);
        // One to the other: 1 GB/s over the switch; back 3 GB/s. Either may be the first half.
        assert_eq!(pair.bisection_bandwidth().unwrap().get(), 1e9);
    }

    #[test]
    fn all_problems_of_a_file_are_found_at_once_with_their_keys() {
        let found = resolve(
            r#"{"name": "bad", "switches": ["s", "a"],
                "devices": [{"name": "a", "device": "tset"}, {"name": "b", "device": "test"}, {"name": "b", "device": "test"}],
                "links": [{"between": ["a", "switch"], "bandwidth": "2 GB/s"},
                          {"from": "a", "bandwidth": "1 GB/s"},
                          {"between": ["s", "s"], "bandwidth": "1 GB/s"}]}"#,
        )
        .unwrap_err();
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "devices[0].device",
                "devices[2].name",
                "switches[1]",
                "links[0].between[1]",
                "links[1]",
                "links[2]"
            ]
        );
        assert_eq!(found[0].help.as_deref(), Some("did you mean `test`?"));
        assert_eq!(found[3].message, "there is no device or switch called `switch`");
    }

    #[test]
    fn a_shape_and_parts_do_not_mix() {
        let text = r#"{"name": "x", "shape": "ring", "switches": ["s"]}"#;
        assert_eq!(paths(text), ["switches", "shape"]);
        assert_eq!(paths(r#"{"name": "x", "device": "test"}"#), ["device", ""]);
        assert_eq!(
            paths(r#"{"name": "x", "device": "nope", "shape": {"torus": {"sizes": [0]}}}"#),
            ["device", "shape.torus.sizes[0]"]
        );
    }

    #[test]
    fn an_unreachable_device_is_pointed_at() {
        let text =
            r#"{"name": "x", "devices": [{"name": "a", "device": "test"}, {"name": "b", "device": "test"}]}"#;
        let problem = &resolve(text).unwrap_err()[0];
        assert_eq!(
            (problem.path.as_str(), problem.message.as_str()),
            ("devices[1]", "no links lead from `a` to `b`")
        );
    }

    #[test]
    fn a_device_written_in_place_is_checked_and_its_mistakes_named() {
        let inline = |clock: &str, source: &str| {
            format!(
                r#"{{"name": "x", "shape": "ring", "device": {{"name": "d", "kind": "npu", "source": "{source}", "clock": "{clock}",
                    "matrix": {{"bf16": "1 TFLOP/s"}}, "memory": {{"capacity": "1 GiB", "bandwidth": "1 TB/s"}}}}}}"#
            )
        };
        assert!(resolve(&inline("1 GHz", "made up")).is_ok());
        assert_eq!(paths(&inline("1 GHz", "")), ["device.source"]);
        let error = serde_json::from_str::<TopologySpec>(&inline("1 s", "made up")).unwrap_err();
        assert!(error.to_string().contains("`s` is not a unit of a clock frequency"), "{error}");
    }
}
