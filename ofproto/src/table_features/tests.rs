use super::*;
use openflow::wire::{Reader, Writer};
use openflow::{OxmField, PortNo};
use TablePropType as T;

fn table(id: u8, properties: Vec<(T, PropBody)>) -> TableFeatures {
    let properties = properties.into_iter().map(|(kind, body)| TableFeatureProp { kind, body }).collect();
    TableFeatures {
        table_id: TableId(id),
        name: "t".into(),
        metadata_match: u64::MAX,
        metadata_write: u64::MAX,
        config: 3,
        max_entries: 100,
        properties,
    }
}
fn oxms(fields: &[Field]) -> PropBody {
    // As os-ken and Ryu send them: the header's length is 0.
    let id = |f: &Field| OxmId { header: OxmId::new(*f, false).header & !0xff, experimenter: 0 };
    PropBody::Oxms(fields.iter().map(id).collect())
}
fn actions(kinds: &[u16]) -> PropBody {
    PropBody::Actions(kinds.iter().map(|kind| ActionId { kind: *kind, data: vec![] }).collect())
}
fn instructions(kinds: &[u16]) -> PropBody {
    PropBody::Instructions(kinds.iter().map(|kind| InstructionId { kind: *kind, data: vec![] }).collect())
}
fn flow(matching: Match, instructions: Vec<Instruction>) -> FlowMod {
    FlowMod { matching, instructions: instructions.into(), ..FlowMod::default() }
}
fn output() -> Action {
    Action::Output { port: PortNo(1), max_len: 0 }
}

#[test]
fn all_254_tables_tell_what_they_can_and_it_survives_the_wire() {
    let s = TableShapes::default();
    let all = s.features();
    assert_eq!(all.len(), 254);
    let p = |t: &TableFeatures, k| t.properties.iter().find(|p| p.kind == k).map(|p| p.body.clone());
    assert_eq!(p(&all[252], T::NEXT_TABLES), Some(PropBody::NextTables(vec![TableId(253)])));
    assert_eq!(p(&all[253], T::NEXT_TABLES), Some(PropBody::NextTables(vec![])));
    let Some(PropBody::Oxms(matches)) = p(&all[0], T::MATCH) else { panic!() };
    let standard = matches.iter().filter(|o| o.header >> 16 == u32::from(CLASS_BASIC)).count();
    assert_eq!(standard, 41, "all fields of the specification, and pbb_uca of 1.4");
    assert_eq!(p(&all[0], T::APPLY_ACTIONS), Some(actions(&ACTION_TYPES)));
    for t in &all {
        let mut b = bytes::BytesMut::new();
        t.emit(&mut Writer::new(&mut b));
        assert_eq!(TableFeatures::parse(&mut Reader::new(&b)).as_ref(), Ok(t));
    }
}

#[test]
fn a_set_of_what_was_told_changes_nothing() {
    let mut s = TableShapes::default();
    let before = s.features();
    assert_eq!(s.set(&before), Ok(vec![]));
    assert_eq!(s.features(), before);
    let nicira = flow(Match::new(), vec![Instruction::ApplyActions(vec![Action::Exit, output()])]);
    assert_eq!(s.check(TableId(9), &nicira), Ok(()));
}

#[test]
fn faults_of_a_set_have_their_own_errors_and_change_nothing() {
    let bad_instruction = PropBody::Instructions(vec![InstructionId { kind: 7, data: vec![] }]);
    let exp = PropBody::Experimenter { experimenter: 1, exp_type: 1, data: vec![] };
    let cases: Vec<(Vec<TableFeatures>, OfpError)> = vec![
        (vec![table(0, vec![]), table(254, vec![])], OfpError::OFPTFFC_BAD_TABLE),
        (vec![table(0, vec![]), table(0, vec![])], OfpError::OFPTFFC_BAD_TABLE),
        (vec![table(1, vec![])], OfpError::OFPTFFC_BAD_TABLE),
        (vec![TableFeatures { config: 4, ..table(0, vec![]) }], OfpError::OFPTFFC_BAD_ARGUMENT),
        (vec![TableFeatures { max_entries: u32::MAX, ..table(0, vec![]) }], OfpError::OFPTFFC_BAD_ARGUMENT),
        (vec![table(0, vec![(T::INSTRUCTIONS, bad_instruction)])], OfpError::OFPTFFC_BAD_ARGUMENT),
        (vec![table(0, vec![(T::APPLY_ACTIONS, actions(&[5]))])], OfpError::OFPTFFC_BAD_ARGUMENT),
        (vec![table(0, vec![(T::MATCH, oxms(&[Field::NshSi]))])], OfpError::OFPTFFC_BAD_ARGUMENT),
        (
            vec![table(0, vec![(T::APPLY_SETFIELD, oxms(&[Field::InPhyPort]))])],
            OfpError::OFPTFFC_BAD_ARGUMENT,
        ),
        (
            vec![table(0, vec![(T::NEXT_TABLES, PropBody::NextTables(vec![TableId(0)]))])],
            OfpError::OFPTFFC_BAD_ARGUMENT,
        ),
        (vec![table(0, vec![(T(9), PropBody::Unknown(vec![]))])], OfpError::OFPTFFC_BAD_TYPE),
        (vec![table(0, vec![(T::EXPERIMENTER, exp)])], OfpError::OFPTFFC_BAD_TYPE),
        (vec![table(0, vec![(T::MATCH, oxms(&[])), (T::MATCH, oxms(&[]))])], OfpError::OFPTFFC_BAD_TYPE),
    ];
    let mut s = TableShapes::default();
    for (request, want) in cases {
        assert_eq!(s.set(&request), Err(want), "{request:?}");
    }
    assert_eq!(s.tables().count(), 254);
}

#[test]
fn a_set_shapes_the_pipeline() {
    let mut s = TableShapes::default();
    let vlan = table(
        3,
        vec![
            (T::INSTRUCTIONS, instructions(&[1, 2, 4])),
            (T::NEXT_TABLES, PropBody::NextTables(vec![TableId(5), TableId(9)])),
            (T::APPLY_ACTIONS, actions(&[0, 25])),
            (T::MATCH, oxms(&[Field::InPort, Field::VlanVid, Field::EthDst])),
            (T::WILDCARDS, oxms(&[Field::VlanVid, Field::EthDst])),
            (T::APPLY_SETFIELD, oxms(&[Field::VlanVid])),
            (T::INSTRUCTIONS_MISS, instructions(&[1])),
        ],
    );
    let vlan = TableFeatures { metadata_write: 0xff, ..vlan };
    let gone = s.set(&[table(0, vec![]), vlan, table(5, vec![])]).unwrap();
    assert_eq!(gone.len(), 254, "253 lost entries or left, and a limit of 100 is a change for all");
    assert_eq!(s.tables().collect::<Vec<_>>(), [TableId(0), TableId(3), TableId(5)]);
    assert_eq!((s.max_entries(TableId(3)), s.max_entries(TableId(4))), (100, 0));
    let told = s.features();
    let next = told[1].properties.iter().find(|p| p.kind == T::NEXT_TABLES).unwrap();
    assert_eq!(next.body, PropBody::NextTables(vec![TableId(5)]), "9 is not in the pipeline");
    assert!(told[1].properties.iter().any(|p| p.kind == T::INSTRUCTIONS_MISS));

    let t = TableId(3);
    let port = || Match::new().with(Field::InPort, 1);
    let apply = |a| vec![Instruction::ApplyActions(vec![a])];
    let set = |f, v| Action::SetField(OxmField::exact(f, v).into());
    let metadata = |mask| vec![Instruction::WriteMetadata { metadata: 0, mask }];
    let goto = |t| vec![Instruction::GotoTable(TableId(t))];
    let cases = [
        (flow(port(), apply(output())), Ok(())),
        (flow(port(), apply(set(Field::VlanVid, 0x1001))), Ok(())),
        (flow(port(), goto(5)), Ok(())),
        (flow(port(), goto(9)), Err(OfpError::OFPBIC_BAD_TABLE_ID)),
        (flow(port(), goto(3)), Err(OfpError::OFPBIC_BAD_TABLE_ID)),
        (flow(port(), metadata(0xff)), Ok(())),
        (flow(port(), metadata(0x100)), Err(OfpError::OFPBIC_UNSUP_METADATA_MASK)),
        (flow(port(), vec![Instruction::ClearActions]), Err(OfpError::OFPBIC_UNSUP_INST)),
        (flow(port(), apply(Action::PopVlan)), Err(OfpError::OFPBAC_BAD_TYPE)),
        (flow(port(), apply(Action::Exit)), Err(OfpError::OFPBAC_BAD_TYPE)),
        (flow(port(), apply(set(Field::EthDst, 1))), Err(OfpError::OFPBAC_BAD_SET_TYPE)),
        (flow(port().with(Field::EthType, 0x800), vec![]), Err(OfpError::OFPBMC_BAD_FIELD)),
        (flow(port().with_masked(Field::EthDst, 2, 2), vec![]), Err(OfpError::OFPBMC_BAD_MASK)),
        (flow(Match::new().with(Field::EthDst, 2), vec![]), Err(OfpError::OFPBMC_BAD_WILDCARDS)),
        // The table-miss entry is always possible, with its own abilities.
        (FlowMod { priority: 0, ..flow(Match::new(), goto(5)) }, Ok(())),
        (FlowMod { priority: 0, ..flow(Match::new(), apply(output())) }, Err(OfpError::OFPBIC_UNSUP_INST)),
    ];
    for (m, want) in cases {
        assert_eq!(s.check(t, &m), want, "{m:?}");
    }
    assert_eq!(s.check(TableId(4), &flow(port(), vec![])), Err(OfpError::OFPFMFC_BAD_TABLE_ID));
    assert_eq!(s.check(TableId(0), &flow(port(), goto(4))), Err(OfpError::OFPBIC_BAD_TABLE_ID));
    let again = s.features();
    assert_eq!(s.set(&again), Ok(vec![]), "told and set again, it is the same");
}

#[test]
fn a_table_mod_is_kept_and_told() {
    let mut s = TableShapes::default();
    let old = s.clone();
    s.table_mod(&TableMod { table_id: TableId::ALL, config: 3 }).unwrap();
    s.table_mod(&TableMod { table_id: TableId(1), config: 1 }).unwrap();
    assert_eq!(s.features()[..2].iter().map(|t| t.config).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(old.features()[0].config, 0);
    let bad = |id, config| TableMod { table_id: TableId(id), config };
    assert_eq!(s.table_mod(&bad(254, 0)), Err(OfpError::OFPTMFC_BAD_TABLE));
    assert_eq!(s.table_mod(&bad(0, 4)), Err(OfpError::OFPTMFC_BAD_CONFIG));
}
