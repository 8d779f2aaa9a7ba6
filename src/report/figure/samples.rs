//! A picture of every kind and of its hard cases, for the tests; and to be looked at.

use crate::ids::Id;
use crate::report::figure::*;
use crate::trace::{Activity, MemoryUse};
use crate::units::{SimDuration, SimTime};

/// Names and pictures. New figures join the tests by joining this list.
pub(super) fn gallery() -> Vec<(&'static str, Svg)> {
    vec![
        ("line_loss", loss().draw()),
        ("line_logarithmic", bus_bandwidth().draw()),
        ("timeline_small", pipeline(2, 4).draw()),
        ("timeline_8_ranks", pipeline(8, 8).draw()),
        ("timeline_64_ranks", pipeline(64, 32).draw()),
        ("timeline_overlaps", overlaps().draw()),
        ("bars_ranks", breakdown(8, "rank").draw()),
        ("bars_plans", plans().draw()),
        ("waterfall", waterfall().draw()),
        ("bars_512", breakdown(512, "rank").draw()),
        ("heatmap_links", links(24, 300).draw()),
        ("heatmap_many", links(200, 1000).draw()),
        ("heatmap_ranks", traffic(8).draw()),
        ("heatmap_32_ranks", traffic(32).draw()),
        ("area_memory", memory(60, 80.0).draw()),
        ("area_far_capacity", memory(20_000, 800.0).draw()),
        ("scatter_validation", validation().draw()),
        ("scatter_pareto", pareto().draw()),
        ("scatter_roofline", roofline().draw()),
        ("cdf", latencies().draw()),
        ("histogram", histogram().draw()),
        ("histogram_staleness", staleness().draw()),
        ("graph_ring", ring().draw()),
        ("graph_tree", tree().draw()),
        ("graph_tasks", tasks().draw()),
    ]
}

/// Every kind without anything in it.
pub(super) fn empty_gallery() -> Vec<(&'static str, Svg)> {
    let number = || Axis::new("number", Quantity::Number);
    let title = || "Nothing <here> & \"there\"".to_owned();
    vec![
        (
            "line",
            LineChart { title: title(), x: number(), y: number(), series: vec![], references: vec![] }.draw(),
        ),
        ("timeline", Timeline::new(title(), SimTime::ZERO, SimTime::ZERO).draw()),
        (
            "bars",
            StackedBars { title: title(), value: number(), parts: vec![], bars: vec![], best: None }.draw(),
        ),
        (
            "waterfall",
            Waterfall { title: title(), value: number(), falls: vec![], whole: String::new() }.draw(),
        ),
        (
            "heatmap",
            Heatmap {
                title: title(),
                columns: Columns::Named("to".into(), vec![]),
                row_label: String::new(),
                rows: vec![],
                values: vec![],
                value: number(),
            }
            .draw(),
        ),
        (
            "area",
            AreaChart {
                title: title(),
                x: number(),
                y: number(),
                at: vec![],
                until: 0.0,
                layers: vec![],
                capacity: None,
            }
            .draw(),
        ),
        (
            "scatter",
            Scatter {
                title: title(),
                x: number(),
                y: number(),
                groups: vec![],
                curves: vec![],
                references: vec![],
                diagonal: None,
            }
            .draw(),
        ),
        ("cdf", Cdf { title: title(), x: number(), samples: vec![], references: vec![] }.draw()),
        ("histogram", Histogram { title: title(), x: number(), samples: vec![] }.draw()),
        (
            "graph",
            Graph {
                title: title(),
                kinds: vec![],
                vertices: vec![],
                edge_kinds: vec![],
                edges: vec![],
                weight: Quantity::Number,
            }
            .draw(),
        ),
    ]
}

/// A fixed sequence that looks random: Weyl's, between 0 and 1.
fn noise(index: usize) -> f64 {
    (index as f64 * 0.618_033_988_749_894_9).fract()
}

fn loss() -> LineChart {
    let curve = |name: &str, rate: f64| {
        let points: Vec<(f64, f64)> = (0..200)
            .map(|step| {
                let fall = 2.4 + 3.1 * (-(step as f64) * rate).exp();
                (step as f64 * 0.0123, fall + 0.25 * (noise(step * 7 + 3) - 0.5))
            })
            .collect();
        let smooth = Some(running_mean(&points, 15));
        Line { smooth, ..Line::new(name, points) }
    };
    LineChart {
        title: "Loss against simulated time".into(),
        x: Axis::new("simulated time", Quantity::Time),
        y: Axis::new("loss (nats per byte)", Quantity::Number),
        series: vec![
            curve("one_f_one_b, all_reduce", 0.03),
            curve("gpipe, all_reduce", 0.025),
            curve("one_f_one_b, local_sgd (every 8 steps) & <compressed>", 0.018),
        ],
        references: vec![
            Reference { name: "held-out target 2.6".into(), at: ReferenceAt::Y(2.6) },
            Reference { name: "warm-up ends".into(), at: ReferenceAt::X(0.35) },
        ],
    }
}

fn bus_bandwidth() -> LineChart {
    let curve = |name: &str, peak: f64, half: f64| {
        let points = (3..=30).map(|e| {
            let bytes = 2_f64.powi(e);
            (bytes, peak * bytes / (bytes + half))
        });
        Line::new(name, points.collect())
    };
    LineChart {
        title: "All-reduce on 16 GPUs".into(),
        x: Axis::new("message", Quantity::Bytes).logarithmic(),
        y: Axis::new("bus bandwidth", Quantity::Si("B/s")).logarithmic(),
        series: vec![
            curve("ring", 360e9, 6e7),
            curve("tree", 300e9, 1.4e7),
            Line { dashed: true, ..curve("direct", 200e9, 3e6) },
        ],
        references: vec![Reference { name: "NVLink 450 GB/s".into(), at: ReferenceAt::Y(450e9) }],
    }
}

/// A 1F1B-like picture: good enough to look at, not a schedule.
fn pipeline(ranks: usize, micro_batches: usize) -> Timeline {
    let streams = ["compute", "tensor comm", "data comm", "send"];
    let micros = |us: f64| SimTime::ZERO + SimDuration::from_seconds(us * 1e-6);
    let start = 12_345.0;
    let end = start + 30.0 * micro_batches as f64 + 16.0 * ranks as f64 + 120.0;
    let mut timeline =
        Timeline::new("One step, rank by rank and stream by stream", micros(start), micros(end));
    for rank in 0..ranks {
        for stream in streams {
            timeline.lanes.push(TimelineLane { group: format!("rank {rank}"), name: stream.into() });
        }
    }
    let mut add = |lane: usize, at: f64, lasts: f64, activity: Activity, label: String| {
        timeline.spans.push(TimelineSpan {
            lane,
            start: micros(at),
            end: micros(at + lasts),
            hue: Hue::Activity(activity),
            hint: format!("{} of micro-batch {label}", activity.name()),
            label,
        });
    };
    let mut sends = Vec::new();
    for rank in 0..ranks {
        let stage = rank % 8;
        for micro_batch in 0..micro_batches {
            let at = start + 8.0 * stage as f64 + 30.0 * micro_batch as f64;
            add(4 * rank, at, 9.0, Activity::Forward, micro_batch.to_string());
            for layer in 0..6 {
                add(4 * rank + 1, at + 1.5 * layer as f64, 0.4, Activity::TensorComm, String::new());
            }
            let back = at + 12.0;
            add(4 * rank, back, 10.5, Activity::BackwardInput, micro_batch.to_string());
            add(4 * rank, back + 10.5, 6.0, Activity::BackwardWeight, micro_batch.to_string());
            add(4 * rank + 3, at + 9.0, 3.0, Activity::PipelineComm, micro_batch.to_string());
            if rank + 1 < ranks && ranks <= 8 {
                sends.push((4 * rank + 3, at + 9.0, 4 * rank + 4, at + 12.0));
            }
        }
        let done = start + 8.0 * stage as f64 + 30.0 * micro_batches as f64;
        add(4 * rank + 2, done - 20.0, 46.0, Activity::DataComm, "bucket 0".into());
        add(4 * rank, done + 28.0, 14.0, Activity::Optimizer, "Adam".into());
    }
    timeline.arrows = sends
        .into_iter()
        .map(|(from, left, to, arrived)| TimelineArrow {
            from: (from, micros(left)),
            to: (to, micros(arrived)),
        })
        .collect();
    timeline.moments = vec![(micros(end - 20.0), "step ends".into())];
    timeline
}

/// Flows that share links, and tasks with names, in colours of their own.
fn overlaps() -> Timeline {
    let second = |s: f64| SimTime::ZERO + SimDuration::from_seconds(s);
    let mut timeline = Timeline::new("Jobs <on> devices & \"links\"", SimTime::ZERO, second(40.0 * 3600.0));
    for device in 0..6 {
        timeline.lanes.push(TimelineLane { group: String::new(), name: format!("node {device} (mixed)") });
    }
    for job in 0..60 {
        let start = 2200.0 * job as f64 + 4000.0 * noise(job);
        timeline.spans.push(TimelineSpan {
            lane: job * 5 % 6,
            start: second(start),
            end: second(start + 3000.0 + 20_000.0 * noise(3 * job + 1)),
            hue: Hue::Series(job),
            label: format!("job {job}"),
            hint: String::new(),
        });
    }
    timeline.moments = vec![(second(20.0 * 3600.0), "node 3 fails".into())];
    timeline
}

fn breakdown(bars: usize, name: &str) -> StackedBars {
    let parts = [
        ("compute", Hue::Compute),
        ("optimizer", Hue::Activity(Activity::Optimizer)),
        ("exposed tensor comm", Hue::Activity(Activity::TensorComm)),
        ("exposed data comm", Hue::Activity(Activity::DataComm)),
        ("exposed pipeline comm", Hue::Activity(Activity::PipelineComm)),
        ("bubble", Hue::Idle),
        ("never seen", Hue::Activity(Activity::ExpertComm)),
    ];
    let bar = |index: usize| {
        let compute = 6.2e-3 + 1e-3 * noise(index);
        let values = vec![compute, 3e-4, 9e-4, 1.1e-3, 2e-4 * noise(index * 3), 11e-3 - compute, 0.0];
        Bar { name: format!("{name} {index}"), values }
    };
    StackedBars {
        title: "Where the step went".into(),
        value: Axis::new("time", Quantity::Time),
        parts: parts.map(|(name, hue)| (name.to_owned(), hue)).to_vec(),
        bars: (0..bars).map(bar).collect(),
        best: None,
    }
}

fn waterfall() -> Waterfall {
    let fall = |name: &str, length: f64, hue| WaterfallBar { name: name.into(), length, hue };
    Waterfall {
        title: "Why step 7 takes 11 ms".into(),
        value: Axis::new("time", Quantity::Time),
        falls: vec![
            fall("model flops at peak", 2e-3, Hue::Compute),
            fall("kernels below peak", 4.2e-3, Hue::Activity(Activity::Backward)),
            fall("bubble", 3.1e-3, Hue::Idle),
            fall("tensor comm", 2e-6, Hue::Activity(Activity::TensorComm)),
            fall("pipeline comm", -0.3e-3, Hue::Activity(Activity::PipelineComm)),
            fall("data comm", 2e-3, Hue::Activity(Activity::DataComm)),
        ],
        whole: "the step".into(),
    }
}

fn plans() -> StackedBars {
    let mut bars = breakdown(5, "plan");
    let names = [
        "data 8",
        "data 4 × tensor 2",
        "data 2 × pipeline 2 × tensor 2, one_f_one_b, all_reduce, recompute: selective",
        "pipeline 4 × tensor 2, interleaved {virtual_stages: 2}, sync: all_reduce, ZeRO stage 1, fp8, with a name beyond reason",
        "tensor 8",
    ];
    for (bar, name) in bars.bars.iter_mut().zip(names) {
        bar.name = name.into();
    }
    for (index, bar) in bars.bars.iter_mut().enumerate() {
        bar.values[5] += 2e-3 * index as f64;
    }
    bars.best = Some(0);
    bars.title = "Step time of five plans".into();
    bars
}

fn links(rows: usize, columns: usize) -> Heatmap {
    let value = |row: usize, column: usize| {
        let wave = ((column as f64 / 23.0 + row as f64 / 3.0).sin() + 1.0) / 2.0;
        if column % 97 < 20 { 0.0 } else { (wave * noise(row + 1)).min(1.0) }
    };
    Heatmap {
        title: "Link utilisation".into(),
        columns: Columns::Over(Axis::new("time", Quantity::Time), 0.0, 11e-3),
        row_label: String::new(),
        rows: (0..rows).map(|row| format!("gpu{} → nvswitch0", row)).collect(),
        values: (0..rows).map(|row| (0..columns).map(|column| value(row, column)).collect()).collect(),
        value: Axis::new("share of bandwidth", Quantity::Percent).between(0.0, 1.0),
    }
}

fn traffic(ranks: usize) -> Heatmap {
    let bytes = |from: usize, to: usize| match from.abs_diff(to) {
        0 => f64::NAN,
        1 => 3.2e9,
        2 => 4e8,
        n if n == ranks - 1 => 3.2e9,
        n => 1e7 / n as f64,
    };
    Heatmap {
        title: "Bytes from rank to rank".into(),
        columns: Columns::Named("to".into(), (0..ranks).map(|rank| format!("rank {rank}")).collect()),
        row_label: "from".into(),
        rows: (0..ranks).map(|rank| format!("rank {rank}")).collect(),
        values: (0..ranks).map(|from| (0..ranks).map(|to| bytes(from, to)).collect()).collect(),
        value: Axis::new("bytes", Quantity::Bytes).logarithmic(),
    }
}

fn memory(moments: usize, capacity: f64) -> AreaChart {
    const GIB: f64 = 1073741824.0;
    let layer = |usage: MemoryUse, values: Vec<f64>| Layer {
        name: usage.name().into(),
        hue: Hue::Memory(usage),
        values,
    };
    let constant = |gib: f64| vec![gib * GIB; moments];
    let saw = (0..moments).map(|m| {
        let phase = (m as f64 / moments as f64 * 6.0).fract();
        GIB * (20.0 * (1.0 - (2.0 * phase - 1.0).abs()) + 2.0 * noise(m))
    });
    AreaChart {
        title: "Memory of the fullest rank".into(),
        x: Axis::new("time", Quantity::Time),
        y: Axis::new("memory", Quantity::Bytes),
        at: (0..moments).map(|m| 11e-3 * m as f64 / moments as f64).collect(),
        until: 11e-3,
        layers: vec![
            layer(MemoryUse::Parameters, constant(8.0)),
            layer(MemoryUse::Gradients, constant(8.0)),
            layer(MemoryUse::Optimizer, constant(24.0)),
            layer(MemoryUse::Activations, saw.collect()),
            layer(MemoryUse::Buffers, constant(1.2)),
        ],
        capacity: Some(("capacity of h100_sxm".into(), capacity * GIB)),
    }
}

fn point(x: f64, y: f64, label: &str) -> Point {
    Point { x, y, label: label.into() }
}

fn validation() -> Scatter {
    let group = |name: &str, offset: usize, spread: f64| PointGroup {
        name: name.into(),
        hue: None,
        points: (0..25)
            .map(|index| {
                let measured = 0.4 * 1.22_f64.powi(index as i32);
                let error = 1.0 + spread * (noise(index * 5 + offset) - 0.5);
                let label = if error > 1.12 { format!("{name} {index}") } else { String::new() };
                point(measured, measured * error, &label)
            })
            .collect(),
        join: Join::Apart,
    };
    Scatter {
        title: "Step time, measured and predicted".into(),
        x: Axis::new("measured", Quantity::Time).logarithmic(),
        y: Axis::new("predicted", Quantity::Time).logarithmic(),
        groups: vec![
            group("Megatron 2021", 1, 0.1),
            group("Korthikanti 2022", 2, 0.2),
            group("MLPerf", 4, 0.3),
        ],
        curves: vec![],
        references: vec![],
        diagonal: Some(vec![10.0, 25.0]),
    }
}

fn pareto() -> Scatter {
    let front: Vec<Point> = (0..9)
        .map(|index| {
            let days = 10.0 * 1.35_f64.powi(index);
            let dollars = 4.1e6 / (1.0 + f64::from(index) * 0.3);
            point(days, dollars, &format!("data {} × tensor 8 × pipeline {}", 128 >> index, 16 - index))
        })
        .collect();
    let others = (0..300).map(|index| {
        let x = 10.0 + 120.0 * noise(index);
        point(x, 1.5e6 + 4.5e6 * noise(index * 7 + 1) + 2e7 / x, "")
    });
    Scatter {
        title: "Plans for 300 billion tokens".into(),
        x: Axis::new("days to train", Quantity::Number),
        y: Axis::new("cost", Quantity::Si("$")),
        groups: vec![
            PointGroup { name: "Pareto front".into(), hue: None, points: front, join: Join::Stairs },
            PointGroup {
                name: "dominated".into(),
                hue: Some(Hue::Muted),
                points: others.collect(),
                join: Join::Apart,
            },
        ],
        curves: vec![],
        references: vec![],
        diagonal: None,
    }
}

fn roofline() -> Scatter {
    let roof = |name: &str, peak: f64, bandwidth: f64| {
        let points = [0.25, peak / bandwidth, 8192.0].map(|i: f64| (i, (i * bandwidth).min(peak))).to_vec();
        Line::new(name, points)
    };
    Scatter {
        title: "Roofline of h100_sxm".into(),
        x: Axis::new("arithmetic intensity", Quantity::Si("FLOP/B")).logarithmic(),
        y: Axis::new("rate", Quantity::Si("FLOP/s")).logarithmic(),
        groups: vec![PointGroup {
            name: "kernels of a step".into(),
            hue: None,
            points: vec![
                point(1400.0, 7.1e14, "gemm 4096³"),
                point(450.0, 6e14, "attention forward"),
                point(0.9, 2.6e12, "layer norm"),
                point(0.8, 2.4e12, "softmax"),
                point(0.4, 1.1e12, "optimizer"),
            ],
            join: Join::Apart,
        }],
        curves: vec![
            roof("bf16 tensor cores", 9.89e14, 3.35e12),
            Line { dashed: true, ..roof("f32", 6.7e13, 3.35e12) },
        ],
        references: vec![],
        diagonal: None,
    }
}

fn latencies() -> Cdf {
    let sample = |name: &str, scale: f64, n: usize| {
        Sample::new(name, (1..n).map(|i| scale * -(1.0 - i as f64 / n as f64).ln() + 0.04).collect())
    };
    Cdf {
        title: "Time to first token".into(),
        x: Axis::new("TTFT", Quantity::Time).logarithmic(),
        samples: vec![
            sample("static", 2.0, 19_366),
            sample("orca", 0.6, 19_366),
            sample("vllm_v1", 0.25, 900),
        ],
        references: vec![Reference { name: "SLO 1 s".into(), at: ReferenceAt::X(1.0) }],
    }
}

fn histogram() -> Histogram {
    let values = (0..4000).map(|i| (0..6).map(|k| noise(i * 13 + k * 101)).sum::<f64>() * 1e-3);
    Histogram {
        title: "Duration of a step".into(),
        x: Axis::new("step time", Quantity::Time),
        samples: vec![Sample::new("step", values.collect())],
    }
}

fn staleness() -> Histogram {
    let sample = |name: &str, most: f64| {
        Sample::new(name, (0..500).map(|i| (noise(i * 3) * noise(i * 7 + 2) * most).floor()).collect())
    };
    Histogram {
        title: "Staleness of gradients".into(),
        x: Axis::new("updates missed", Quantity::Number),
        samples: vec![sample("no straggler", 6.0), sample("rank 3 at half speed", 14.0)],
    }
}

fn kinds() -> Vec<VertexKind> {
    let kind = |name: &str, series: usize, round: bool| VertexKind {
        name: name.into(),
        hue: Hue::Series(series),
        round,
    };
    vec![kind("h100_sxm", 0, false), kind("switch", 4, true), kind("cpu", 2, false)]
}

fn edge(from: usize, to: usize, kind: usize, weight: f64) -> GraphEdge {
    GraphEdge { from, to, kind, weight }
}

fn edge_kinds() -> Vec<EdgeKind> {
    let kind = |name: &str, hue: Hue| EdgeKind { name: name.into(), hue };
    vec![kind("nvlink", Hue::Series(6)), kind("infiniband", Hue::Series(1))]
}

fn ring() -> Graph {
    let vertex = |index: usize| GraphVertex { name: format!("gpu{index}"), kind: 0, x: index as f64, y: 0.0 };
    let both = |a: usize, b: usize| [edge(a, b, 0, 50e9), edge(b, a, 0, 50e9)];
    Graph {
        title: "ring_8".into(),
        kinds: kinds(),
        vertices: (0..8).map(vertex).collect(),
        edge_kinds: edge_kinds(),
        edges: (0..8).flat_map(|index| both(index, (index + 1) % 8)).collect(),
        weight: Quantity::Si("B/s"),
    }
}

fn tree() -> Graph {
    let mut vertices = Vec::new();
    let mut edges = Vec::new();
    let mut both = |a: usize, b: usize, weight: f64| {
        let kind = usize::from(weight < 100e9);
        edges.push(edge(a, b, kind, weight));
        edges.push(edge(b, a, kind, weight));
    };
    for index in 0..16 {
        vertices.push(GraphVertex { name: format!("gpu{index}"), kind: 0, x: index as f64, y: 0.0 });
    }
    for node in 0..2 {
        vertices.push(GraphVertex {
            name: format!("nvswitch{node}"),
            kind: 1,
            x: 3.5 + 8.0 * node as f64,
            y: 1.5,
        });
        for gpu in 0..8 {
            both(8 * node + gpu, 16 + node, 450e9);
        }
    }
    for leaf in 0..8 {
        vertices.push(GraphVertex {
            name: format!("leaf{leaf}"),
            kind: 1,
            x: 2.0 * leaf as f64 + 0.5,
            y: 3.0,
        });
        both(leaf, 18 + leaf, 50e9);
        both(8 + leaf, 18 + leaf, 50e9);
    }
    vertices.push(GraphVertex { name: "cpu0".into(), kind: 2, x: 7.5, y: 1.5 });
    both(26, 16, 64e9);
    Graph {
        title: "hgx_h100_2x8".into(),
        kinds: kinds(),
        vertices,
        edge_kinds: edge_kinds(),
        edges,
        weight: Quantity::Si("B/s"),
    }
}

fn tasks() -> Graph {
    let place = |index: usize| (index % 5, index / 5);
    let vertices = (0..20).map(|index| {
        let (column, row) = place(index);
        GraphVertex {
            name: format!("t{}", crate::ids::TaskId::from_index(index).0),
            kind: 0,
            x: column as f64,
            y: 3.0 - row as f64,
        }
    });
    let edges = (0..15).flat_map(|index| {
        [(index, index + 5), (index, (index + 6).min(19))]
            .map(|(from, to)| edge(from, to, 0, 1e6 * (1.0 + 9.0 * noise(index))))
    });
    Graph {
        title: "A task graph".into(),
        kinds: vec![VertexKind { name: "task".into(), hue: Hue::Activity(Activity::Task), round: true }],
        vertices: vertices.collect(),
        edge_kinds: vec![EdgeKind { name: String::new(), hue: Hue::Muted }],
        edges: edges.collect(),
        weight: Quantity::Bytes,
    }
}
