//! Meters: token buckets that drop or remark. `now` is an argument.
//!
//! A bucket is kept as its *theoretical arrival time* (GCRA): one atomic number, so that all workers share a meter without a lock.
//! A packet passes a band while the bucket is not empty, and takes its whole cost then (the bucket may go into debt by one packet),
//! so the long-run rate is exact whatever the packet sizes. As OpenFlow 1.3 "Meter Bands" says: of the bands that are exceeded, the one with the
//! highest rate acts. Buckets of lower rates are not charged for what it acts on (as RFC 2698 has it for two rates): what a band lets pass is
//! its rate, however much a higher band drops.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a band does to packets above its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BandKind {
    /// Drop.
    Drop,
    /// Raise the drop precedence within an assured-forwarding class by this much (RFC 2597).
    DscpRemark {
        /// Steps.
        prec_level: u8,
    },
}

/// One band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandConfig {
    /// What it does.
    pub kind: BandKind,
    /// Kilobits (or packets) per second.
    pub rate: u32,
    /// Kilobits (or packets) of burst; 0: a default of a tenth of a second.
    pub burst: u32,
}

/// One meter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeterConfig {
    /// Rates are packets per second rather than kilobits per second.
    pub pktps: bool,
    /// Bands; none: all pass.
    pub bands: Vec<BandConfig>,
}

/// Totals of a band or meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterCount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Statistics of a meter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeterStats {
    /// All that came in.
    pub input: MeterCount,
    /// What each band acted on.
    pub bands: Vec<MeterCount>,
}

/// What a meter says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on as it is.
    Pass,
    /// Ends here.
    Drop,
    /// Goes on with a higher drop precedence.
    Remark {
        /// Steps.
        prec_level: u8,
    },
}

#[derive(Debug, Default)]
struct Count {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn add(&self, bytes: u64) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn get(&self) -> MeterCount {
        MeterCount {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Time inside a meter: 1/256 ns.
const TICKS_PER_NS: u64 = 256;

#[derive(Debug)]
struct Band {
    config: BandConfig,
    /// Ticks that one unit (bit or packet) costs, in 32.32 fixed point.
    cost: u128,
    /// Ticks of burst.
    burst: u64,
    arrival: AtomicU64,
    count: Count,
}

/// A meter at work, shared by all workers.
#[derive(Debug)]
pub struct Meter {
    pktps: bool,
    bands: Vec<Band>,
    /// Indices of `bands`, the highest rate first.
    order: Vec<usize>,
    input: Count,
}

impl Meter {
    /// A full bucket in each band.
    pub fn new(config: &MeterConfig) -> Self {
        let bands = config.bands.iter().map(|b| {
            let units_per_s = u128::from(b.rate) * if config.pktps { 1 } else { 1000 };
            let ticks_per_s = u128::from(1_000_000_000 * TICKS_PER_NS);
            let cost = (ticks_per_s << 32).checked_div(units_per_s).unwrap_or(u128::from(u64::MAX) << 16);
            let burst = match (b.burst, b.rate) {
                (_, 0) => 0,
                (0, _) => (ticks_per_s / 10) as u64,
                (n, _) => {
                    let units = u128::from(n) * if config.pktps { 1 } else { 1000 };
                    u64::try_from((units * cost) >> 32).unwrap_or(u64::MAX / 4)
                }
            };
            Band { config: *b, cost, burst, arrival: AtomicU64::new(0), count: Count::default() }
        });
        let bands: Vec<Band> = bands.collect();
        let mut order: Vec<usize> = (0..bands.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(bands[*i].config.rate));
        Self { pktps: config.pktps, bands, order, input: Count::default() }
    }

    /// Passes a packet of `bytes` at `now_ns` of a clock that never goes back.
    pub fn pass(&self, bytes: usize, now_ns: u64) -> Verdict {
        self.input.add(bytes as u64);
        let now = now_ns.saturating_mul(TICKS_PER_NS).max(1);
        let units = if self.pktps { 1 } else { bytes as u128 * 8 };
        let exceeded = self.order.iter().map(|i| &self.bands[*i]).find(|b| {
            let ticks = u64::try_from((units * b.cost) >> 32).unwrap_or(u64::MAX / 4);
            b.config.rate == 0
                || b.arrival
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |a| {
                        // An empty bucket is one whose arrival time is a full burst ahead.
                        (a <= now.saturating_add(b.burst)).then(|| a.max(now).saturating_add(ticks))
                    })
                    .is_err()
        });
        let Some(b) = exceeded else { return Verdict::Pass };
        b.count.add(bytes as u64);
        match b.config.kind {
            BandKind::Drop => Verdict::Drop,
            BandKind::DscpRemark { prec_level } => Verdict::Remark { prec_level },
        }
    }

    /// Counters now.
    pub fn stats(&self) -> MeterStats {
        MeterStats { input: self.input.get(), bands: self.bands.iter().map(|b| b.count.get()).collect() }
    }
}

/// The DSCP after `prec_level` steps towards a higher drop precedence: only AF classes 1 to 4 have one, at most 3.
pub fn remark_dscp(dscp: u8, prec_level: u8) -> u8 {
    let (class, prec) = (dscp >> 3, (dscp >> 1) & 3);
    if dscp & 1 != 0 || !(1..=4).contains(&class) || prec == 0 {
        return dscp;
    }
    (class << 3) | ((prec.saturating_add(prec_level)).min(3) << 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(pktps: bool, bands: &[(BandKind, u32, u32)]) -> Meter {
        let bands = bands.iter().map(|&(kind, rate, burst)| BandConfig { kind, rate, burst }).collect();
        Meter::new(&MeterConfig { pktps, bands })
    }

    /// Offers `n` packets at equal distances over `secs`; how many pass untouched.
    fn offer(m: &Meter, n: u64, secs: u64, bytes: usize) -> u64 {
        (0..n).filter(|i| m.pass(bytes, 1 + i * secs * 1_000_000_000 / n) == Verdict::Pass).count() as u64
    }

    #[test]
    fn a_drop_band_is_accurate_within_two_percent() {
        for (rate, bytes) in [(1000, 64), (1000, 1500), (100_000, 700), (10_000_000, 1500)] {
            let m = meter(false, &[(BandKind::Drop, rate, 0)]);
            let secs = 30;
            let offered = u64::from(rate) * 1000 * secs * 2 / (bytes as u64 * 8);
            let n = offered.min(3_000_000);
            let secs = secs * n / offered.max(1);
            if secs < 6 {
                continue;
            }
            let bits = offer(&m, n, secs, bytes) * bytes as u64 * 8;
            let want = u64::from(rate) * 1000 * secs;
            assert!(bits.abs_diff(want) * 50 <= want, "rate {rate} size {bytes}: {bits} of {want}");
        }
        let m = meter(true, &[(BandKind::Drop, 1000, 0)]);
        let passed = offer(&m, 20_000, 10, 64);
        assert!(passed.abs_diff(10_000) <= 200, "{passed}");
        assert_eq!(m.stats().bands[0].packets, 20_000 - passed);
        assert_eq!(m.stats().input.bytes, 20_000 * 64);
    }

    #[test]
    fn the_highest_exceeded_band_acts() {
        let m = meter(true, &[(BandKind::DscpRemark { prec_level: 1 }, 100, 1), (BandKind::Drop, 200, 1)]);
        let (mut pass, mut remark, mut drop) = (0, 0, 0);
        for i in 0..4000u64 {
            match m.pass(64, 1 + i * 2_500_000) {
                Verdict::Pass => pass += 1,
                Verdict::Remark { .. } => remark += 1,
                Verdict::Drop => drop += 1,
            }
        }
        assert!(
            (990..1020).contains(&pass) && (980..1020).contains(&remark) && (1980..2020).contains(&drop),
            "{pass} {remark} {drop}"
        );
    }

    #[test]
    fn remarking_stays_within_the_af_class() {
        assert_eq!(remark_dscp(10, 1), 12);
        assert_eq!(remark_dscp(10, 9), 14);
        assert_eq!(remark_dscp(14, 1), 14);
        assert_eq!(remark_dscp(0, 1), 0);
        assert_eq!(remark_dscp(46, 1), 46);
    }
}
