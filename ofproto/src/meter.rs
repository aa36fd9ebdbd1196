//! Meter tables (OpenFlow 1.3.5, "Meter Table"): what meter-mods do to them, and which meter of the datapath does the work.
//!
//! [`MeterTable::apply`] only changes the table and says what is to be done to the datapath; [`MeterChange::execute`] does it. So a bundle
//! can be tried on a clone (an `Arc` each) and thrown away. Numbers of datapath meters are never used again: a megaflow that still names a
//! meter just deleted never meets a stranger.
//!
//! The virtual meters SLOWPATH and CONTROLLER have no datapath meter: whoever sends packets to the slow path or to controllers asks
//! [`MeterTable::virtual_meter`], which takes no lock.

use crate::group::Counts;
use datapath::meter::{BandConfig, BandKind, Meter, MeterConfig as DpConfig, MeterStats as DpStats};
use datapath::{Datapath, DpMeterId};
use openflow::meter::{MeterBand, MeterFlags};
use openflow::msg::multipart::{MeterBandStats, MeterConfig, MeterFeatures, MeterFlags32, MeterStats};
use openflow::msg::{MeterMod, MeterModCommand};
use openflow::{MeterId, OfpError};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// Meters of a bridge at most, the virtual ones included.
pub const MAX_METERS: usize = 1 << 16;
/// Bands of a meter at most.
pub const MAX_BANDS: usize = 255;

/// Where a meter does its work.
#[derive(Debug, Clone)]
enum Place {
    Datapath(DpMeterId),
    /// A virtual meter's own buckets.
    Own(Arc<Meter>),
}

#[derive(Debug, Clone)]
struct Entry {
    /// Exactly as sent.
    flags: MeterFlags,
    bands: Vec<MeterBand>,
    place: Place,
    created_ns: u64,
    /// What came in before the last modification (the datapath counts from then).
    before: Arc<Counts>,
}

/// What workers need of the meters of a bridge: the datapath's meter, and whether it rewrites DSCP.
pub type MeterMap = HashMap<MeterId, (DpMeterId, bool)>;

/// All meters of a bridge. A clone shares everything.
#[derive(Debug, Clone)]
pub struct MeterTable {
    map: Arc<BTreeMap<MeterId, Entry>>,
    published: Arc<MeterMap>,
    ids: Arc<AtomicU32>,
}

/// What a meter-mod means for flow entries and for the datapath.
#[derive(Debug, Default)]
#[must_use = "the datapath knows nothing of it until `execute`"]
pub struct MeterChange {
    /// Meters whose users must be translated again (they are new, or began or ceased to rewrite).
    pub changed: Vec<MeterId>,
    /// Meters that are gone: flow entries that use them go too.
    pub removed: Vec<MeterId>,
    set: Vec<(DpMeterId, DpConfig, Arc<Counts>)>,
    gone: Vec<DpMeterId>,
    /// What undoes it in the table, for [`MeterTable::put_back`].
    pub before: Before,
}

/// Meters as they were before a change, and as workers read them.
#[derive(Debug, Default)]
pub struct Before(Vec<(MeterId, Option<Entry>, Option<(DpMeterId, bool)>)>);

/// The datapath's meters; [`Datapath`] but for tests.
pub trait Meters {
    /// Makes or replaces a meter.
    fn set(&self, id: DpMeterId, config: &DpConfig);
    /// Removes one.
    fn del(&self, id: DpMeterId);
    /// Counters since it was set.
    fn stats(&self, id: DpMeterId) -> Option<DpStats>;
}

impl Meters for Datapath {
    fn set(&self, id: DpMeterId, config: &DpConfig) {
        self.set_meter(id, config);
    }
    fn del(&self, id: DpMeterId) {
        self.del_meter(id);
    }
    fn stats(&self, id: DpMeterId) -> Option<DpStats> {
        self.meter_stats(id)
    }
}

impl MeterChange {
    /// Does to the datapath what was done to the table. Meters that are gone keep working until [`MeterChange::forget`]: call that
    /// when no megaflow names them any more.
    pub fn execute(&self, dp: &dyn Meters) {
        for (id, config, before) in &self.set {
            if let Some(s) = dp.stats(*id) {
                before.credit(s.input.packets, s.input.bytes);
            }
            dp.set(*id, config);
        }
    }
    /// Frees the datapath meters of those that are gone.
    pub fn forget(&self, dp: &dyn Meters) {
        self.gone.iter().for_each(|id| dp.del(*id));
    }
}

fn is_virtual(id: MeterId) -> bool {
    id == MeterId::SLOWPATH || id == MeterId::CONTROLLER
}

/// The datapath's words for a meter. Bands are checked already.
fn dp_config(flags: MeterFlags, bands: &[MeterBand]) -> DpConfig {
    let bands = bands.iter().filter_map(|b| {
        let kind = match b {
            MeterBand::Drop { .. } => BandKind::Drop,
            MeterBand::DscpRemark { prec_level, .. } => BandKind::DscpRemark { prec_level: *prec_level },
            _ => return None,
        };
        let (rate, burst) = b.rate_burst();
        // Without OFPMF_BURST the field means nothing, whatever it holds.
        let burst = if flags.contains(MeterFlags::BURST) { burst } else { 0 };
        Some(BandConfig { kind, rate, burst })
    });
    DpConfig { pktps: flags.contains(MeterFlags::PKTPS), bands: bands.collect() }
}

fn rewrites(bands: &[MeterBand]) -> bool {
    bands.iter().any(|b| matches!(b, MeterBand::DscpRemark { .. }))
}

fn check(m: &MeterMod) -> Result<(), OfpError> {
    if (m.meter_id.0 == 0 || m.meter_id.0 > MeterId::MAX.0) && !is_virtual(m.meter_id) {
        return Err(OfpError::OFPMMFC_INVALID_METER);
    }
    if m.flags.unknown() != 0 || m.flags.contains(MeterFlags::KBPS | MeterFlags::PKTPS) {
        return Err(OfpError::OFPMMFC_BAD_FLAGS);
    }
    if m.bands.len() > MAX_BANDS {
        return Err(OfpError::OFPMMFC_OUT_OF_BANDS);
    }
    for b in &m.bands {
        match b {
            MeterBand::Drop { .. } | MeterBand::DscpRemark { .. } => {}
            _ => return Err(OfpError::OFPMMFC_BAD_BAND),
        }
        let (rate, burst) = b.rate_burst();
        if rate == 0 {
            return Err(OfpError::OFPMMFC_BAD_RATE);
        }
        if m.flags.contains(MeterFlags::BURST) && burst == 0 {
            return Err(OfpError::OFPMMFC_BAD_BURST);
        }
        // Zero steps would do nothing; more than RFC 2597 has end at its highest.
        if matches!(b, MeterBand::DscpRemark { prec_level: 0, .. }) {
            return Err(OfpError::OFPMMFC_BAD_BAND_VALUE);
        }
    }
    Ok(())
}

impl MeterTable {
    /// No meters. `ids` numbers the meters of the datapath, which all bridges share.
    pub fn new(ids: Arc<AtomicU32>) -> Self {
        Self { map: Arc::default(), published: Arc::default(), ids }
    }
    /// Number of meters.
    pub fn len(&self) -> usize {
        self.map.len()
    }
    /// None.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
    /// Whether a meter exists.
    pub fn contains(&self, id: MeterId) -> bool {
        self.map.contains_key(&id)
    }
    /// What workers read; shared.
    pub fn published(&self) -> Arc<MeterMap> {
        self.published.clone()
    }
    /// The buckets of SLOWPATH or CONTROLLER, if the controller made that meter.
    pub fn virtual_meter(&self, id: MeterId) -> Option<Arc<Meter>> {
        match &self.map.get(&id)?.place {
            Place::Own(m) => Some(m.clone()),
            Place::Datapath(_) => None,
        }
    }

    /// Does what a meter-mod asks, to the table.
    ///
    /// # Errors
    /// `OFPMMFC_*`, with nothing changed.
    pub fn apply(&mut self, m: &MeterMod, now_ns: u64) -> Result<MeterChange, OfpError> {
        let mut change = MeterChange::default();
        match m.command {
            MeterModCommand::ADD => {
                check(m)?;
                if self.map.contains_key(&m.meter_id) {
                    return Err(OfpError::OFPMMFC_METER_EXISTS);
                }
                if self.map.len() >= MAX_METERS {
                    return Err(OfpError::OFPMMFC_OUT_OF_METERS);
                }
                let place = if is_virtual(m.meter_id) {
                    Place::Own(Arc::new(Meter::new(&dp_config(m.flags, &m.bands))))
                } else {
                    Place::Datapath(DpMeterId(self.ids.fetch_add(1, Ordering::Relaxed)))
                };
                self.store(m, place, now_ns, Arc::default(), &mut change);
            }
            MeterModCommand::MODIFY => {
                check(m)?;
                let Some(old) = self.map.get(&m.meter_id).cloned() else {
                    return Err(OfpError::OFPMMFC_UNKNOWN_METER);
                };
                let mut before = old.before;
                let place = match old.place {
                    Place::Datapath(id) => Place::Datapath(id),
                    Place::Own(meter) => {
                        // A sum of its own, so that undoing finds the old one as it was.
                        let (s, (packets, bytes)) = (meter.stats().input, before.get());
                        before = Arc::default();
                        before.credit(packets + s.packets, bytes + s.bytes);
                        Place::Own(Arc::new(Meter::new(&dp_config(m.flags, &m.bands))))
                    }
                };
                self.store(m, place, old.created_ns, before, &mut change);
            }
            MeterModCommand::DELETE => {
                let all = m.meter_id == MeterId::ALL;
                if !all && (m.meter_id.0 == 0 || m.meter_id.0 > MeterId::MAX.0) && !is_virtual(m.meter_id) {
                    return Err(OfpError::OFPMMFC_INVALID_METER);
                }
                // One that is not there is no error, as with flow entries and groups.
                let gone: Vec<MeterId> = if all {
                    self.map.keys().copied().collect()
                } else {
                    self.contains(m.meter_id).then_some(m.meter_id).into_iter().collect()
                };
                if !gone.is_empty() {
                    let (map, published) = (Arc::make_mut(&mut self.map), Arc::make_mut(&mut self.published));
                    for id in &gone {
                        let e = map.remove(id);
                        if let Some(Entry { place: Place::Datapath(dp), .. }) = e {
                            change.gone.push(dp);
                        }
                        change.before.0.push((*id, e, published.remove(id)));
                    }
                }
                change.removed = gone;
            }
            _ => return Err(OfpError::OFPMMFC_BAD_COMMAND),
        }
        Ok(change)
    }

    fn store(
        &mut self,
        m: &MeterMod,
        place: Place,
        created_ns: u64,
        before: Arc<Counts>,
        change: &mut MeterChange,
    ) {
        let seen = self.published.get(&m.meter_id).copied();
        let old = self.map.get(&m.meter_id).cloned();
        change.before.0.push((m.meter_id, old, seen));
        if let Place::Datapath(dp) = place {
            let seen = (dp, rewrites(&m.bands));
            if self.published.get(&m.meter_id) != Some(&seen) {
                Arc::make_mut(&mut self.published).insert(m.meter_id, seen);
                change.changed.push(m.meter_id);
            }
            change.set.push((dp, dp_config(m.flags, &m.bands), before.clone()));
        }
        let entry = Entry { flags: m.flags, bands: m.bands.clone(), place, created_ns, before };
        Arc::make_mut(&mut self.map).insert(m.meter_id, entry);
    }

    /// Undoes a change; the latest first.
    pub fn put_back(&mut self, before: Before) {
        let (map, published) = (Arc::make_mut(&mut self.map), Arc::make_mut(&mut self.published));
        for (id, entry, seen) in before.0 {
            match entry {
                Some(e) => map.insert(id, e),
                None => map.remove(&id),
            };
            match seen {
                Some(s) => published.insert(id, s),
                None => published.remove(&id),
            };
        }
    }

    /// The meters that a request means.
    fn asked(&self, id: MeterId) -> Result<Vec<(MeterId, &Entry)>, OfpError> {
        if id == MeterId::ALL {
            return Ok(self.map.iter().map(|(id, e)| (*id, e)).collect());
        }
        let e = self.map.get(&id).ok_or(OfpError::OFPMMFC_UNKNOWN_METER)?;
        Ok(vec![(id, e)])
    }

    /// Answer to `OFPMP_METER_CONFIG`.
    ///
    /// # Errors
    /// `OFPMMFC_UNKNOWN_METER`.
    pub fn configs(&self, id: MeterId) -> Result<Vec<MeterConfig>, OfpError> {
        let config = |(meter_id, e): (MeterId, &Entry)| MeterConfig {
            flags: e.flags,
            meter_id,
            bands: e.bands.clone(),
        };
        Ok(self.asked(id)?.into_iter().map(config).collect())
    }

    /// Answer to `OFPMP_METER`. `flows` counts the flow entries that use a meter.
    ///
    /// # Errors
    /// `OFPMMFC_UNKNOWN_METER`.
    pub fn stats(
        &self,
        id: MeterId,
        now_ns: u64,
        flows: &dyn Fn(MeterId) -> u32,
        dp: &dyn Meters,
    ) -> Result<Vec<MeterStats>, OfpError> {
        let stats = |(meter_id, e): (MeterId, &Entry)| {
            let now = match &e.place {
                Place::Datapath(d) => dp.stats(*d).unwrap_or_default(),
                Place::Own(m) => m.stats(),
            };
            let (packets, bytes) = e.before.get();
            let age = now_ns.saturating_sub(e.created_ns);
            let band = |i: usize| now.bands.get(i).copied().unwrap_or_default();
            MeterStats {
                meter_id,
                flow_count: if is_virtual(meter_id) { 0 } else { flows(meter_id) },
                packet_in_count: packets + now.input.packets,
                byte_in_count: bytes + now.input.bytes,
                duration_sec: (age / 1_000_000_000) as u32,
                duration_nsec: (age % 1_000_000_000) as u32,
                bands: (0..e.bands.len())
                    .map(|i| MeterBandStats {
                        packet_band_count: band(i).packets,
                        byte_band_count: band(i).bytes,
                    })
                    .collect(),
            }
        };
        Ok(self.asked(id)?.into_iter().map(stats).collect())
    }
}

/// Answer to `OFPMP_METER_FEATURES`.
pub fn features() -> MeterFeatures {
    MeterFeatures {
        max_meter: MAX_METERS as u32,
        band_types: 1 << 1 | 1 << 2,
        capabilities: MeterFlags32::all(),
        max_bands: MAX_BANDS as u8,
        max_color: 0,
    }
}

#[cfg(test)]
mod tests;
