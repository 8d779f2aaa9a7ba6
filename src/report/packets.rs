//! What happened to packets, as rows: what is dropped, marked or paused is shown.

use crate::network::Counters;
use crate::report::table::grouped;
use crate::units::Bytes;

/// Names and values; only what happened at all.
pub fn rows(counters: &Counters) -> Vec<(String, String)> {
    let mut rows = vec![(
        "packets".to_owned(),
        format!("{} sent, {} links crossed", grouped(counters.packets), grouped(counters.hops)),
    )];
    let mut row = |name: &str, happened: u64, value: String| {
        if happened > 0 {
            rows.push((format!("  {name}"), value));
        }
    };
    let queue = Bytes(counters.longest_queue_bytes);
    let before = counters.longest_queue.map_or(String::new(), |link| format!(" before {link}"));
    row("longest queue", counters.longest_queue_bytes, format!("{queue}{before}"));
    row("marked", counters.marked_packets, grouped(counters.marked_packets));
    row("notifications", counters.notifications, grouped(counters.notifications));
    row("pauses", counters.pauses, grouped(counters.pauses));
    row(
        "dropped",
        counters.dropped_packets,
        format!("{} ({})", grouped(counters.dropped_packets), Bytes(counters.dropped_bytes)),
    );
    row("sent again", counters.resent_bytes, Bytes(counters.resent_bytes).to_string());
    rows
}
