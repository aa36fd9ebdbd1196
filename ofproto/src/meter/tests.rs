use super::*;
use std::cell::RefCell;

#[derive(Default)]
struct Fake(RefCell<BTreeMap<u32, Meter>>);

impl Meters for Fake {
    fn set(&self, id: DpMeterId, config: &DpConfig) {
        self.0.borrow_mut().insert(id.0, Meter::new(config));
    }
    fn del(&self, id: DpMeterId) {
        self.0.borrow_mut().remove(&id.0);
    }
    fn stats(&self, id: DpMeterId) -> Option<DpStats> {
        self.0.borrow().get(&id.0).map(Meter::stats)
    }
}

const DROP: MeterBand = MeterBand::Drop { rate: 1000, burst_size: 77 };

fn meter(command: MeterModCommand, id: u32, flags: MeterFlags, bands: &[MeterBand]) -> MeterMod {
    MeterMod { command, flags, meter_id: MeterId(id), bands: bands.to_vec() }
}
fn add(id: u32, bands: &[MeterBand]) -> MeterMod {
    meter(MeterModCommand::ADD, id, MeterFlags::KBPS, bands)
}
fn table() -> MeterTable {
    MeterTable::new(Arc::default())
}

#[test]
fn faults_have_their_own_errors_and_change_nothing() {
    let mut t = table();
    let _ = t.apply(&add(1, &[DROP]), 0).unwrap();
    let kb = MeterFlags::KBPS;
    let unknown = MeterBand::Unknown { kind: 9, rate: 1, burst_size: 0, body: vec![] };
    let experimenter = MeterBand::Experimenter { rate: 1, burst_size: 0, experimenter: 1, body: vec![] };
    let cases = [
        (add(1, &[DROP]), OfpError::OFPMMFC_METER_EXISTS),
        (add(0, &[DROP]), OfpError::OFPMMFC_INVALID_METER),
        (add(0xffff_0001, &[DROP]), OfpError::OFPMMFC_INVALID_METER),
        (add(MeterId::ALL.0, &[DROP]), OfpError::OFPMMFC_INVALID_METER),
        (meter(MeterModCommand::MODIFY, 2, kb, &[DROP]), OfpError::OFPMMFC_UNKNOWN_METER),
        (meter(MeterModCommand::DELETE, 0, kb, &[]), OfpError::OFPMMFC_INVALID_METER),
        (meter(MeterModCommand(3), 1, kb, &[]), OfpError::OFPMMFC_BAD_COMMAND),
        (meter(MeterModCommand::ADD, 2, kb | MeterFlags::PKTPS, &[DROP]), OfpError::OFPMMFC_BAD_FLAGS),
        (meter(MeterModCommand::ADD, 2, MeterFlags(0x81), &[DROP]), OfpError::OFPMMFC_BAD_FLAGS),
        (add(2, &[DROP, unknown]), OfpError::OFPMMFC_BAD_BAND),
        (add(2, &[experimenter]), OfpError::OFPMMFC_BAD_BAND),
        (add(2, &[MeterBand::Drop { rate: 0, burst_size: 0 }]), OfpError::OFPMMFC_BAD_RATE),
        (
            meter(
                MeterModCommand::ADD,
                2,
                kb | MeterFlags::BURST,
                &[MeterBand::Drop { rate: 1, burst_size: 0 }],
            ),
            OfpError::OFPMMFC_BAD_BURST,
        ),
        (
            add(2, &[MeterBand::DscpRemark { rate: 1, burst_size: 0, prec_level: 0 }]),
            OfpError::OFPMMFC_BAD_BAND_VALUE,
        ),
        (add(2, &vec![DROP; 256]), OfpError::OFPMMFC_OUT_OF_BANDS),
    ];
    for (m, want) in cases {
        assert_eq!(t.apply(&m, 0).err(), Some(want), "{m:?}");
    }
    assert_eq!(t.len(), 1);
    assert_eq!(t.configs(MeterId(2)), Err(OfpError::OFPMMFC_UNKNOWN_METER));
}

#[test]
fn is_told_as_it_was_sent_though_burst_counts_only_when_asked() {
    let mut t = table();
    let m = add(5, &[DROP, MeterBand::DscpRemark { rate: 500, burst_size: 9, prec_level: 1 }]);
    let change = t.apply(&m, 0).unwrap();
    assert_eq!(change.set[0].1.bands.iter().map(|b| b.burst).collect::<Vec<_>>(), [0, 0]);
    let want = MeterConfig { flags: m.flags, meter_id: m.meter_id, bands: m.bands.clone() };
    assert_eq!(t.configs(MeterId::ALL), Ok(vec![want.clone()]));
    assert_eq!(t.configs(MeterId(5)), Ok(vec![want]));
    assert!(t.published()[&MeterId(5)].1, "it rewrites");
    let burst = meter(MeterModCommand::MODIFY, 5, MeterFlags::PKTPS | MeterFlags::BURST, &[DROP]);
    let change = t.apply(&burst, 0).unwrap();
    assert_eq!((change.set[0].1.pktps, change.set[0].1.bands[0].burst), (true, 77));
    assert_eq!(change.changed, [MeterId(5)], "it rewrites no more");
    let again = t.apply(&burst, 0).unwrap();
    assert!(again.changed.is_empty(), "rates need no new translation");
}

#[test]
fn counters_outlive_modification() {
    let (mut t, dp) = (table(), Fake::default());
    t.apply(&add(1, &[DROP]), 1_000_000_000).unwrap().execute(&dp);
    let id = t.published()[&MeterId(1)].0;
    dp.0.borrow()[&id.0].pass(100, 1);
    for _ in 0..2 {
        let m = meter(MeterModCommand::MODIFY, 1, MeterFlags::KBPS, &[DROP, DROP]);
        t.apply(&m, 2_000_000_000).unwrap().execute(&dp);
        dp.0.borrow()[&id.0].pass(10, 2);
    }
    let s = t.stats(MeterId(1), 3_500_000_000, &|_| 7, &dp).unwrap().remove(0);
    assert_eq!((s.packet_in_count, s.byte_in_count, s.flow_count, s.bands.len()), (3, 120, 7, 2));
    assert_eq!((s.duration_sec, s.duration_nsec), (2, 500_000_000));
}

#[test]
fn delete_all_takes_virtual_meters_too_and_numbers_are_not_used_again() {
    let (mut t, dp) = (table(), Fake::default());
    for id in [1, 2, MeterId::CONTROLLER.0, MeterId::SLOWPATH.0] {
        t.apply(&add(id, &[DROP]), 0).unwrap().execute(&dp);
    }
    let first = t.published()[&MeterId(1)].0;
    assert_eq!((t.published().len(), dp.0.borrow().len()), (2, 2));
    assert!(t.virtual_meter(MeterId::CONTROLLER).is_some() && t.virtual_meter(MeterId(1)).is_none());
    let old = t.clone();
    let change = t.apply(&meter(MeterModCommand::DELETE, MeterId::ALL.0, MeterFlags(0), &[]), 0).unwrap();
    assert_eq!(change.removed.len(), 4);
    change.execute(&dp);
    change.forget(&dp);
    assert!(t.is_empty() && t.published().is_empty() && dp.0.borrow().is_empty());
    assert_eq!((old.len(), old.published().len()), (4, 2), "a snapshot stays what it is");
    t.apply(&add(1, &[DROP]), 0).unwrap().execute(&dp);
    assert_ne!(t.published()[&MeterId(1)].0, first);
    assert_eq!(t.stats(MeterId::ALL, 0, &|_| 0, &dp).unwrap().len(), 1);
    let none = t.apply(&meter(MeterModCommand::DELETE, 99, MeterFlags(0), &[]), 0).unwrap();
    assert!(none.removed.is_empty());
}

#[test]
fn a_virtual_meter_limits_and_counts() {
    let mut t = table();
    let m = meter(
        MeterModCommand::ADD,
        MeterId::CONTROLLER.0,
        MeterFlags::PKTPS | MeterFlags::BURST,
        &[MeterBand::Drop { rate: 10, burst_size: 1 }],
    );
    let _ = t.apply(&m, 0).unwrap();
    let controller = t.virtual_meter(MeterId::CONTROLLER).unwrap();
    let passed = (0..100).filter(|_| controller.pass(64, 1) == datapath::meter::Verdict::Pass).count();
    assert!((1..=2).contains(&passed), "{passed}");
    let s = t.stats(MeterId::CONTROLLER, 0, &|_| 9, &Fake::default()).unwrap().remove(0);
    assert_eq!((s.packet_in_count, s.flow_count), (100, 0));
    assert_eq!(s.bands[0].packet_band_count, 100 - passed as u64);
}
