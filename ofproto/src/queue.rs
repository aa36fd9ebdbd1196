//! Queues of ports as people write them (options of a port) and as OpenFlow shows them (1.3.5, "Queue Configuration Messages").
//!
//! `max-rate=100M` limits the port; `queue3-min-rate=20M` and `queue3-max-rate=50M` make queue 3. Bits per second, as `ovs-vsctl` has
//! them, with k, M or G if you like. The work is done by [`datapath::queue`].

use crate::bridge::duration;
use datapath::queue::{QueueConfig, QueueStats as DpStats, Rates};
use openflow::msg::multipart::queue::OFPQ_ALL;
use openflow::msg::multipart::QueueStats;
use openflow::msg::{PacketQueue, QueueProp};
use openflow::PortNo;
use std::collections::BTreeMap;

/// Highest number of a queue.
pub const MAX_QUEUE: u32 = 254;

/// Whether `set_queue` may name it: a queue that some port could have.
pub fn can_exist(queue: u32) -> bool {
    queue <= MAX_QUEUE
}

/// Bits per second.
///
/// # Errors
/// What is no rate, and what would be one.
pub fn rate(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.trim().as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let n = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    n.filter(|n| (8_000..=1 << 42).contains(n)).ok_or_else(|| {
        format!("{text:?} is not a rate in bits per second from 8k on, such as 50000000 or 50M")
    })
}

/// The queue and the kind of rate that an option of a port is about; `None`: the option is about something else.
fn part(key: &str) -> Option<Result<(Option<u8>, bool), String>> {
    let (queue, which) = match key.strip_prefix("queue") {
        None => (None, key),
        Some(rest) => {
            let (n, which) = rest.split_once('-')?;
            match n.parse::<u32>() {
                Ok(n) if can_exist(n) => (Some(n as u8), which),
                _ => return Some(Err(format!("{key}: queues are numbered 0 to {MAX_QUEUE}"))),
            }
        }
    };
    match (queue, which) {
        (_, "max-rate") => Some(Ok((queue, false))),
        (Some(_), "min-rate") => Some(Ok((queue, true))),
        _ => None,
    }
}

/// Whether an option of a port is about queues.
pub fn is_option(key: &str) -> bool {
    part(key).is_some()
}

/// What the options of a port say about queues.
///
/// # Errors
/// One line: which option, and what would be right.
pub fn parse(options: &BTreeMap<String, String>) -> Result<QueueConfig, String> {
    let mut c = QueueConfig::default();
    for (k, v) in options {
        let Some(part) = part(k) else { continue };
        let (queue, is_min) = part?;
        let bps = rate(v).map_err(|e| format!("{k}={v}: {e}"))?;
        match queue {
            None => c.max_bps = bps,
            Some(q) => {
                let r = c.queues.entry(q).or_default();
                *(if is_min { &mut r.min_bps } else { &mut r.max_bps }) = bps;
            }
        }
    }
    if let Some((q, r)) = c.queues.iter().find(|(_, r)| r.max_bps != 0 && r.min_bps > r.max_bps) {
        return Err(format!("queue {q}: its min-rate {} is above its max-rate {}", r.min_bps, r.max_bps));
    }
    let promised: u64 = c.queues.values().map(|r| r.min_bps).sum();
    if c.max_bps != 0 && promised > c.max_bps {
        return Err(format!(
            "the queues' min-rates add up to {promised}, and the port's max-rate is {}: lower them, or raise max-rate",
            c.max_bps
        ));
    }
    Ok(c)
}

/// A queue's options: what `set-queue PORT QUEUE min-rate=.. max-rate=..` puts in the place of those before.
///
/// # Errors
/// One line for a person.
pub fn set_options(
    options: &BTreeMap<String, String>,
    queue: Option<u8>,
    words: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, String> {
    let mut new = options.clone();
    new.retain(|k, _| !matches!(part(k), Some(Ok((q, _))) if q == queue));
    for (k, v) in words {
        match (queue, *k) {
            (Some(q), "min-rate" | "max-rate") => new.insert(format!("queue{q}-{k}"), (*v).into()),
            (None, "max-rate") => new.insert("max-rate".into(), (*v).into()),
            _ => return Err(format!("{k}={v}: a queue has min-rate and max-rate, a port max-rate")),
        };
    }
    parse(&new)?;
    Ok(new)
}

/// A queue as QUEUE_GET_CONFIG shows it: rates in tenths of a per cent of the port's.
pub fn describe(port: PortNo, port_bps: u64, id: u8, r: &Rates) -> PacketQueue {
    // 1.3.5, "ofp_queue_prop_min_rate": in 1/10 of a percent; above 1000 it is off.
    let part = |bps: u64| match (bps, port_bps) {
        (0, _) | (_, 0) => 0xffff,
        (b, p) => (u128::from(b) * 1000).div_ceil(u128::from(p)).min(1000) as u16,
    };
    let mut properties = Vec::new();
    if r.min_bps != 0 {
        properties.push(QueueProp::MinRate(part(r.min_bps)));
    }
    if r.max_bps != 0 {
        properties.push(QueueProp::MaxRate(part(r.max_bps)));
    }
    PacketQueue { queue_id: id.into(), port, properties }
}

/// Counters as controllers see them.
pub fn stats(port: PortNo, id: u8, s: &DpStats, created_ns: u64, now_ns: u64) -> QueueStats {
    let (duration_sec, duration_nsec) = duration(created_ns, now_ns);
    QueueStats {
        port_no: port,
        queue_id: id.into(),
        tx_bytes: s.tx_bytes,
        tx_packets: s.tx_packets,
        tx_errors: s.tx_errors,
        duration_sec,
        duration_nsec,
    }
}

/// Whether a statistics request for `wanted` means queue `id`.
pub fn is_wanted(wanted: u32, id: u8) -> bool {
    wanted == OFPQ_ALL || wanted == u32::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[(&str, &str)]) -> BTreeMap<String, String> {
        words.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn options_become_queues_and_nonsense_says_what_would_be_right() {
        let c = parse(&options(&[
            ("max-rate", "100M"),
            ("queue1-min-rate", "20000000"),
            ("queue1-max-rate", "50M"),
            ("queue2-max-rate", "64k"),
            ("peer", "x"),
        ]))
        .unwrap();
        assert_eq!(c.max_bps, 100_000_000);
        assert_eq!(c.queues[&1], Rates { min_bps: 20_000_000, max_bps: 50_000_000 });
        assert_eq!(c.queues[&2].max_bps, 64_000);
        for (bad, needle) in [
            (&[("max-rate", "fast")][..], "such as 50000000 or 50M"),
            (&[("queue255-max-rate", "1M")], "0 to 254"),
            (&[("queue1-min-rate", "2M"), ("queue1-max-rate", "1M")], "is above its max-rate"),
            (&[("max-rate", "1M"), ("queue1-min-rate", "2M")], "add up to 2000000"),
        ] {
            let e = parse(&options(bad)).unwrap_err();
            assert!(e.contains(needle), "{e}");
        }
        assert!(
            is_option("queue7-min-rate")
                && is_option("max-rate")
                && !is_option("queues")
                && !is_option("n_rxq")
        );
        let more =
            set_options(&options(&[("queue1-max-rate", "1M")]), Some(1), &[("min-rate", "9k")]).unwrap();
        assert_eq!(more, options(&[("queue1-min-rate", "9k")]));
    }

    #[test]
    fn rates_are_shown_in_tenths_of_a_per_cent_of_the_port() {
        let q = describe(PortNo(1), 1_000_000_000, 3, &Rates { min_bps: 250_000_000, max_bps: 0 });
        assert_eq!(q.properties, [QueueProp::MinRate(250)]);
    }
}
