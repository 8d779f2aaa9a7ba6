//! Traces as they are published, and what is said of rows that cannot be used.

use crate::cluster::machine::Host;
use crate::cluster::readers::{
    Csv, Gavel, Openb, OpenbNodes, Philly, Reading, Throughputs, Tiresias, TraceFormat,
};
use crate::cluster::support::{at, machine, s};
use crate::cluster::{Demand, KindId, Machine};

fn bad(reading: &Reading) -> Vec<(u64, &str)> {
    reading.bad.iter().map(|row| (row.line, row.why.as_str())).collect()
}

#[test]
fn philly_is_sorted_and_counted_from_its_first_job() {
    let text = "timestamp,duration,num_gpus,gpu_time,vc\n\
                2017-10-09 00:01:00,66.0,1,66.0,b\n\
                2017-10-09 00:00:30,10.0,4,40.0,a\n";
    let reading = Philly::default().read(text, &machine(&[4]));
    assert!(reading.bad.is_empty(), "{:?}", reading.bad);
    let [first, second] = &reading.jobs[..] else { panic!("two jobs") };
    assert_eq!(
        (first.arrival, first.work, first.demand, first.user.as_str()),
        (at(0), s(10), Demand::devices(4), "a")
    );
    assert_eq!((second.arrival, second.name.as_str()), (at(30), "job 1"));
}

#[test]
fn bad_rows_are_named_with_their_line_and_what_was_expected() {
    let text = "timestamp,duration,num_gpus\n\
                2017-10-09 00:01:00,66.0,one\n\
                \n\
                2017-10-09 00:02:00,0,1\n\
                yesterday,1,1\n\
                2017-10-09 00:02:00,1\n\
                2017-10-09 00:02:00,1,1\n\
                2017-10-09 00:01:59,1,1\n";
    let reading = Philly { ordered: true }.read(text, &machine(&[4]));
    assert_eq!(reading.jobs.len(), 1);
    assert_eq!(
        bad(&reading),
        [
            (2, "expected a whole number of devices in `num_gpus`, found `one`"),
            (4, "expected more than 0 and less than 18403200 seconds (213 days), found 0 in `duration`"),
            (5, "expected a moment like `2017-10-09 07:01:55` in `timestamp`, found `yesterday`"),
            (6, "expected 3 fields, found 2"),
            (
                8,
                "expected rows in order of arrival: this one arrives at 1507507319, but line 7 at 1507507320"
            ),
        ]
    );
    let row = &reading.bad[4];
    assert_eq!(&text[row.span.clone()], "2017-10-09 00:01:59,1,1");
}

#[test]
fn a_header_without_what_is_needed_is_fatal() {
    let reading = Tiresias::default().read("job_id,gpus\n1,2\n", &machine(&[4]));
    assert_eq!(reading.bad.len(), 1);
    assert!(
        reading.bad[0].fatal
            && reading.bad[0]
                .why
                .ends_with("`num_gpu`, `submit_time`, `duration`, `model_name` are not there")
    );
}

#[test]
fn openb_pods_share_gpus_and_count_their_host() {
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,P100\nn1,96000,524288,8,G2\n";
    let machine = OpenbNodes::default().read("openb", nodes).unwrap();
    assert_eq!(machine.to_string(), "`openb` (2 P100, 8 G2 in 2 nodes)");
    let pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
                a,6000,12288,1,460,,LS,Running,5,105,15\n\
                b,8000,1024,8,1000,G2|P100,BE,Running,5,25,5\n\
                c,8000,1024,1,1000,,BE,Pending,6,25,\n\
                d,8000,1024,0,0,A10,BE,Running,7,25,7\n";
    let reading = Openb::default().read(pods, &machine);
    assert_eq!(bad(&reading), [(5, "expected kinds of device among P100, G2, found `A10`")]);
    let [a, b] = &reading.jobs[..] else { panic!("two jobs") };
    assert_eq!((a.work, a.demand.share, a.demand.cpu_milli), (s(90), 460, 6000));
    assert_eq!((b.work, &b.kinds), (s(20), &vec![KindId(1), KindId(0)]));
    assert_eq!(reading.notes, ["1 pods were never scheduled and have no length: left out"]);
}

/// 120 steps at 4 a second on the fast kind take 30 s; on the slow one, at 1 a second, four times as long; spread
/// over nodes of the fast kind, at 2 a second, twice as long.
#[test]
fn gavels_work_is_steps_at_the_fastest_kind() {
    let table = r#"{"fast": {"('LM', 2)": {"null": 4.0, "('LM', 2)": [1.0, 1.0]}}, "fast_unconsolidated": {"('LM', 2)": {"null": 2.0}},
        "slow": {"('LM', 2)": {"null": 1.0}}, "absent": {"('LM', 2)": {"null": 100.0}}}"#;
    let throughputs = Throughputs::read(table).unwrap();
    let mut machine = Machine::new("two");
    machine.add_node("s", "slow_device", 4, Host::PLENTY);
    machine.add_node("f", "fast", 4, Host::PLENTY);
    let row = |kind: &str| format!("{kind}\tpython\tlm\t-n\t1\t120\t2\t1\t-1.0\t0\n");
    let reading = Gavel { throughputs }.read(&(row("LM") + &row("GAN")), &machine);
    assert_eq!(bad(&reading).len(), 1);
    let job = &reading.jobs[0];
    assert_eq!((job.work, &job.kinds), (s(30), &vec![KindId(1), KindId(0)]));
    let crate::cluster::speed::Speed::Table(table) = &job.speed else { panic!("a table") };
    assert_eq!((table.together.as_slice(), table.apart.as_slice()), (&[0.25, 1.0][..], &[0.25, 0.5][..]));
}

#[test]
fn a_table_of_your_own_may_rename_its_columns() {
    let csv: Csv =
        serde_json::from_str(r#"{"columns": {"arrival": "submitted", "devices": "gpus"}}"#).unwrap();
    let text = "submitted,duration,gpus,user,estimate,share,kinds\n1.5,10,1,me,20,500,gpu\n";
    let reading = csv.read(text, &machine(&[4]));
    assert!(reading.bad.is_empty(), "{:?}", reading.bad);
    let job = &reading.jobs[0];
    assert_eq!((job.arrival, job.work, job.estimate, job.demand.share), (at(0), s(10), s(20), 500));
}
