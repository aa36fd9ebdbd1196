//! What each flow table can do (OpenFlow 1.3.5, "Table Features"): told truly, changed by a set, and held against flow-mods.
//!
//! All tables begin with the same abilities ([`Abilities::all`], one allocation for 254 tables): everything the switch can. A set narrows them;
//! the tables it does not name leave the pipeline. A property that a set leaves out stays at everything, as the specification allows more
//! than was asked for. Actions and fields of experimenters are not restricted by a list that names everything of the specification.

use crate::{check, fields};
use openflow::field::{Field, Maskable, CLASS_BASIC, FIELDS, NICIRA_EXPERIMENTER};
use openflow::msg::multipart::{
    ActionId, InstructionId, OxmId, PropBody, TableFeatureProp, TableFeatures, TablePropType,
};
use openflow::msg::{FlowMod, TableMod};
use openflow::num::FixedStr;
use openflow::{Action, Instruction, Match, OfpError, Oxm, TableId};
use std::sync::{Arc, LazyLock};

/// Tables of a bridge, numbered from 0.
pub const TABLES: u8 = 254;
pub use crate::table::MAX_ENTRIES;
/// `OFPTC_DEPRECATED_MASK`: the only bits of a table's configuration that may be set, without effect.
const CONFIG_MASK: u32 = 3;
/// `OFPAT_*` of OpenFlow 1.3.
const ACTION_TYPES: [u16; 16] = [0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];
/// Bit of an [`ActionSet`] for actions of experimenters.
const EXPERIMENTER: u32 = 63;
/// Instructions 1 to 6.
const ALL_INSTRUCTIONS: u8 = 0b0111_1110;

/// Set of fields: bit `Field as usize`.
type FieldSet = u128;
/// Set of action types.
type ActionSet = u64;

/// What flow entries (or the table-miss entry) of a table may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entries {
    instructions: u8,
    next: [u64; 4],
    write_actions: ActionSet,
    apply_actions: ActionSet,
    write_fields: FieldSet,
    apply_fields: FieldSet,
}

/// What a table can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    name: Option<FixedStr<32>>,
    metadata_match: u64,
    metadata_write: u64,
    max_entries: u32,
    matches: FieldSet,
    masks: FieldSet,
    wildcards: FieldSet,
    normal: Entries,
    miss: Entries,
}

const fn bit(f: Field) -> FieldSet {
    1 << f as usize
}
/// Fields that packets can be matched on; those of them that can be masked; those that can be set; those of the specification.
static MATCHABLE: LazyLock<FieldSet> = LazyLock::new(|| set_of(|f| fields::loc(f).is_some()));
static MASKABLE: LazyLock<FieldSet> =
    LazyLock::new(|| set_of(|f| f.def().maskable == Maskable::Any) & *MATCHABLE);
static SETTABLE: LazyLock<FieldSet> = LazyLock::new(|| set_of(check::set_field_may) & *MATCHABLE);
static STANDARD: LazyLock<FieldSet> = LazyLock::new(|| set_of(|f| f.def().class == CLASS_BASIC));
static EVERYTHING: LazyLock<Arc<Abilities>> = LazyLock::new(|| Arc::new(Abilities::all()));

fn set_of(p: impl Fn(Field) -> bool) -> FieldSet {
    assert!(FIELDS.len() <= 128);
    FIELDS.iter().filter(|d| p(d.field)).fold(0, |s, d| s | bit(d.field))
}
fn members(set: FieldSet) -> impl Iterator<Item = Field> {
    FIELDS.iter().map(|d| d.field).filter(move |f| set & bit(*f) != 0)
}
fn all_actions() -> ActionSet {
    ACTION_TYPES.iter().fold(1 << EXPERIMENTER, |s, t| s | 1 << t)
}

/// The type of an action as sent on the wire.
fn action_type(a: &Action) -> u32 {
    match a {
        Action::Output { .. } => 0,
        Action::CopyTtlOut => 11,
        Action::CopyTtlIn => 12,
        Action::SetMplsTtl(_) => 15,
        Action::DecMplsTtl => 16,
        Action::PushVlan(_) => 17,
        Action::PopVlan => 18,
        Action::PushMpls(_) => 19,
        Action::PopMpls(_) => 20,
        Action::SetQueue(_) => 21,
        Action::Group(_) => 22,
        Action::SetNwTtl(_) => 23,
        Action::DecNwTtl => 24,
        Action::SetField(Oxm::Known(f)) if f.mask.is_none() => 25,
        Action::PushPbb(_) => 26,
        Action::PopPbb => 27,
        _ => EXPERIMENTER,
    }
}

impl Entries {
    fn all() -> Self {
        Self {
            instructions: ALL_INSTRUCTIONS,
            next: [u64::MAX; 4],
            write_actions: all_actions(),
            apply_actions: all_actions(),
            write_fields: *SETTABLE,
            apply_fields: *SETTABLE,
        }
    }
    fn leads_to(&self, t: TableId) -> bool {
        self.next[t.0 as usize / 64] >> (t.0 % 64) & 1 != 0
    }
    fn check_actions(list: &[Action], types: ActionSet, fields: FieldSet) -> Result<(), OfpError> {
        for a in list {
            if types >> action_type(a) & 1 == 0 {
                return Err(OfpError::OFPBAC_BAD_TYPE);
            }
            match a {
                Action::SetField(Oxm::Known(f)) | Action::RegLoad2(Oxm::Known(f))
                    if *SETTABLE & !fields & bit(f.field) != 0 =>
                {
                    return Err(OfpError::OFPBAC_BAD_SET_TYPE);
                }
                _ => {}
            }
        }
        Ok(())
    }
    fn check(&self, list: &[Instruction], metadata_write: u64) -> Result<(), OfpError> {
        for i in list {
            if i.kind() > 6 || self.instructions >> i.kind() & 1 == 0 {
                return Err(OfpError::OFPBIC_UNSUP_INST);
            }
            match i {
                Instruction::GotoTable(t) if !self.leads_to(*t) => {
                    return Err(OfpError::OFPBIC_BAD_TABLE_ID);
                }
                Instruction::WriteMetadata { mask, .. } if mask & !metadata_write != 0 => {
                    return Err(OfpError::OFPBIC_UNSUP_METADATA_MASK);
                }
                Instruction::WriteActions(l) => {
                    Self::check_actions(l, self.write_actions, self.write_fields)?;
                }
                Instruction::ApplyActions(l) => {
                    Self::check_actions(l, self.apply_actions, self.apply_fields)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Abilities {
    /// Everything the switch can do.
    pub fn all() -> Self {
        Self {
            name: None,
            metadata_match: u64::MAX,
            metadata_write: u64::MAX,
            max_entries: MAX_ENTRIES,
            matches: *MATCHABLE,
            masks: *MASKABLE,
            wildcards: *MATCHABLE,
            normal: Entries::all(),
            miss: Entries::all(),
        }
    }

    /// Holds a match and instructions against what the table can do.
    fn check(&self, m: &Match, priority: u16, list: &[Instruction]) -> Result<(), OfpError> {
        let is_miss = priority == 0 && m.fields.is_empty();
        if is_miss {
            return self.miss.check(list, self.metadata_write);
        }
        for o in &m.fields {
            let Oxm::Known(f) = o else { return Err(OfpError::OFPBMC_BAD_FIELD) };
            if self.matches & bit(f.field) == 0 {
                return Err(OfpError::OFPBMC_BAD_FIELD);
            }
            if f.mask.is_some() && self.masks & bit(f.field) == 0 {
                return Err(OfpError::OFPBMC_BAD_MASK);
            }
            if f.field == Field::Metadata && f.full_mask() & !u128::from(self.metadata_match) != 0 {
                return Err(OfpError::OFPBMC_BAD_MASK);
            }
        }
        // A field that cannot be left out must be there, unless the packets meant do not have it.
        let must = self.matches & !self.wildcards;
        if members(must).any(|f| m.get(f).is_none() && m.satisfies(f.def().prereq)) {
            return Err(OfpError::OFPBMC_BAD_WILDCARDS);
        }
        self.normal.check(list, self.metadata_write)
    }
}

/// The tables behind table `own`, where a goto can lead.
fn above(own: usize) -> [u64; 4] {
    std::array::from_fn(|w| (0..64).filter(|b| w * 64 + b > own).fold(0, |m, b| m | 1 << b))
}
/// The set bits of `next` that a property lists.
fn parse_next(own: u8, list: &[TableId]) -> Result<[u64; 4], OfpError> {
    let mut next = [0; 4];
    for t in list {
        if t.0 <= own || t.0 >= TABLES {
            return Err(OfpError::OFPTFFC_BAD_ARGUMENT);
        }
        next[t.0 as usize / 64] |= 1 << (t.0 % 64);
    }
    Ok(next)
}
fn parse_instructions(ids: &[InstructionId]) -> Result<u8, OfpError> {
    let one = |s, i: &InstructionId| match i.kind {
        k @ 1..=6 => Ok(s | 1 << k),
        _ => Err(OfpError::OFPTFFC_BAD_ARGUMENT),
    };
    ids.iter().try_fold(0, one)
}
fn parse_actions(ids: &[ActionId]) -> Result<ActionSet, OfpError> {
    let nicira = NICIRA_EXPERIMENTER.to_be_bytes();
    let one = |s, a: &ActionId| match a.kind {
        0xffff if a.data.get(..4) == Some(&nicira) => Ok(s | 1 << EXPERIMENTER),
        k if ACTION_TYPES.contains(&k) => Ok(s | 1 << k),
        _ => Err(OfpError::OFPTFFC_BAD_ARGUMENT),
    };
    let set = ids.iter().try_fold(0, one)?;
    let is_all = set | 1 << EXPERIMENTER == all_actions();
    Ok(if is_all { all_actions() } else { set })
}
/// Fields listed, and those of them with the mask bit. `may`: fields that can be listed.
fn parse_fields(ids: &[OxmId], may: FieldSet) -> Result<(FieldSet, FieldSet), OfpError> {
    let (mut set, mut masked) = (0, 0);
    for id in ids {
        if !id.has_right_length() {
            return Err(OfpError::OFPTFFC_BAD_LEN);
        }
        let f = id.field().filter(|f| may & bit(*f) != 0).ok_or(OfpError::OFPTFFC_BAD_ARGUMENT)?;
        set |= bit(f);
        if id.has_mask() {
            masked |= bit(f);
        }
    }
    if set & *STANDARD == may & *STANDARD {
        set |= may;
        masked |= may & !*STANDARD;
    }
    Ok((set, masked & *MASKABLE))
}

impl Abilities {
    /// What a set asks for.
    fn parse(t: &TableFeatures) -> Result<Self, OfpError> {
        if t.config & !CONFIG_MASK != 0 || t.max_entries > MAX_ENTRIES {
            return Err(OfpError::OFPTFFC_BAD_ARGUMENT);
        }
        let mut a = Abilities {
            name: Some(t.name),
            metadata_match: t.metadata_match,
            metadata_write: t.metadata_write,
            max_entries: t.max_entries,
            ..Abilities::all()
        };
        let mut seen = Vec::with_capacity(t.properties.len());
        for p in &t.properties {
            if seen.contains(&p.kind) {
                return Err(OfpError::OFPTFFC_BAD_TYPE);
            }
            seen.push(p.kind);
            a.parse_property(t.table_id.0, p)?;
        }
        // "If a property has no _MISS variant, it is the same for the table-miss entry."
        let given = |k: TablePropType| seen.contains(&k);
        if !given(TablePropType::INSTRUCTIONS_MISS) {
            a.miss.instructions = a.normal.instructions;
        }
        if !given(TablePropType::NEXT_TABLES_MISS) {
            a.miss.next = a.normal.next;
        }
        if !given(TablePropType::WRITE_ACTIONS_MISS) {
            a.miss.write_actions = a.normal.write_actions;
        }
        if !given(TablePropType::APPLY_ACTIONS_MISS) {
            a.miss.apply_actions = a.normal.apply_actions;
        }
        if !given(TablePropType::WRITE_SETFIELD_MISS) {
            a.miss.write_fields = a.normal.write_fields;
        }
        if !given(TablePropType::APPLY_SETFIELD_MISS) {
            a.miss.apply_fields = a.normal.apply_fields;
        }
        // Only fields that can be matched can be left out.
        a.wildcards &= a.matches;
        Ok(a)
    }

    fn parse_property(&mut self, own: u8, p: &TableFeatureProp) -> Result<(), OfpError> {
        let e = if p.kind.0 & 1 == 0 { &mut self.normal } else { &mut self.miss };
        match (p.kind, &p.body) {
            (TablePropType::INSTRUCTIONS | TablePropType::INSTRUCTIONS_MISS, PropBody::Instructions(l)) => {
                e.instructions = parse_instructions(l)?;
            }
            (TablePropType::NEXT_TABLES | TablePropType::NEXT_TABLES_MISS, PropBody::NextTables(l)) => {
                e.next = parse_next(own, l)?;
            }
            (TablePropType::WRITE_ACTIONS | TablePropType::WRITE_ACTIONS_MISS, PropBody::Actions(l)) => {
                e.write_actions = parse_actions(l)?;
            }
            (TablePropType::APPLY_ACTIONS | TablePropType::APPLY_ACTIONS_MISS, PropBody::Actions(l)) => {
                e.apply_actions = parse_actions(l)?;
            }
            (TablePropType::MATCH, PropBody::Oxms(l)) => {
                (self.matches, self.masks) = parse_fields(l, *MATCHABLE)?;
            }
            (TablePropType::WILDCARDS, PropBody::Oxms(l)) => {
                self.wildcards = parse_fields(l, *MATCHABLE)?.0;
            }
            (TablePropType::WRITE_SETFIELD | TablePropType::WRITE_SETFIELD_MISS, PropBody::Oxms(l)) => {
                e.write_fields = parse_fields(l, *SETTABLE)?.0;
            }
            (TablePropType::APPLY_SETFIELD | TablePropType::APPLY_SETFIELD_MISS, PropBody::Oxms(l)) => {
                e.apply_fields = parse_fields(l, *SETTABLE)?.0;
            }
            _ => return Err(OfpError::OFPTFFC_BAD_TYPE),
        }
        Ok(())
    }

    /// The properties of table `own` in a pipeline of `present` tables.
    fn properties(&self, own: u8, present: &[u64; 4]) -> Vec<TableFeatureProp> {
        let next = |e: &Entries| {
            let to = |t: &u8| e.leads_to(TableId(*t)) && present[*t as usize / 64] >> (t % 64) & 1 != 0;
            PropBody::NextTables((own + 1..TABLES).filter(to).map(TableId).collect())
        };
        let instructions = |e: &Entries| {
            let ids = (1..=6).filter(|k| e.instructions >> k & 1 != 0);
            PropBody::Instructions(ids.map(|kind| InstructionId { kind, data: Vec::new() }).collect())
        };
        // Experimenters' actions are not listed (some controllers stumble over them); see the module's head.
        let actions = |s: ActionSet| {
            let ids = ACTION_TYPES.iter().filter(|t| s >> **t & 1 != 0);
            PropBody::Actions(ids.map(|t| ActionId { kind: *t, data: Vec::new() }).collect())
        };
        let oxms = |s: FieldSet, masks: FieldSet| {
            let id = |f: Field| OxmId::new(f, masks & bit(f) != 0);
            PropBody::Oxms(members(s).map(id).collect())
        };
        use TablePropType as T;
        let (n, m) = (&self.normal, &self.miss);
        let mut list = vec![
            (T::INSTRUCTIONS, instructions(n)),
            (T::NEXT_TABLES, next(n)),
            (T::WRITE_ACTIONS, actions(n.write_actions)),
            (T::APPLY_ACTIONS, actions(n.apply_actions)),
            (T::MATCH, oxms(self.matches, self.masks)),
            (T::WILDCARDS, oxms(self.wildcards, 0)),
            (T::WRITE_SETFIELD, oxms(n.write_fields, 0)),
            (T::APPLY_SETFIELD, oxms(n.apply_fields, 0)),
        ];
        if n != m {
            list.extend([
                (T::INSTRUCTIONS_MISS, instructions(m)),
                (T::NEXT_TABLES_MISS, next(m)),
                (T::WRITE_ACTIONS_MISS, actions(m.write_actions)),
                (T::APPLY_ACTIONS_MISS, actions(m.apply_actions)),
                (T::WRITE_SETFIELD_MISS, oxms(m.write_fields, 0)),
                (T::APPLY_SETFIELD_MISS, oxms(m.apply_fields, 0)),
            ]);
        }
        list.sort_by_key(|(kind, _)| kind.0);
        list.into_iter().map(|(kind, body)| TableFeatureProp { kind, body }).collect()
    }
}

/// Takes the fields out of a set's lists of settable ones that no set-field action may name. Switches of before 2026-12 told in_port among them, so
/// that a set of that time, which was right then, may name it.
pub fn without_unsettable(set: &mut [TableFeatures]) {
    use TablePropType as T;
    for p in set.iter_mut().flat_map(|t| &mut t.properties) {
        let lists_settable = matches!(
            p.kind,
            T::WRITE_SETFIELD | T::WRITE_SETFIELD_MISS | T::APPLY_SETFIELD | T::APPLY_SETFIELD_MISS
        );
        if let (true, PropBody::Oxms(list)) = (lists_settable, &mut p.body) {
            list.retain(|id| id.field().is_none_or(check::set_field_may));
        }
    }
}

/// The abilities and settings of all tables of a bridge. A clone shares them.
#[derive(Debug, Clone)]
pub struct TableShapes {
    tables: Arc<Vec<Option<Arc<Abilities>>>>,
    config: Arc<[u8; TABLES as usize]>,
    shaped: bool,
}

impl Default for TableShapes {
    fn default() -> Self {
        Self {
            tables: Arc::new(vec![Some(EVERYTHING.clone()); TABLES as usize]),
            config: Arc::new([0; TABLES as usize]),
            shaped: false,
        }
    }
}

impl TableShapes {
    /// Whether a table is in the pipeline.
    pub fn exists(&self, t: TableId) -> bool {
        self.get(t).is_some()
    }
    fn get(&self, t: TableId) -> Option<&Abilities> {
        self.tables.get(t.0 as usize)?.as_deref()
    }
    /// Flow entries that fit in a table.
    pub fn max_entries(&self, t: TableId) -> u32 {
        self.get(t).map_or(0, |a| a.max_entries)
    }
    /// Gives a table room for fewer entries, by configuration.
    pub fn limit(&mut self, t: TableId, max_entries: u32) {
        if let Some(Some(a)) = Arc::make_mut(&mut self.tables).get_mut(t.0 as usize) {
            Arc::make_mut(a).max_entries = max_entries.min(MAX_ENTRIES);
        }
    }
    /// The tables of the pipeline.
    pub fn tables(&self) -> impl Iterator<Item = TableId> + '_ {
        (0..TABLES).map(TableId).filter(|t| self.exists(*t))
    }
    fn present(&self) -> [u64; 4] {
        let mut p = [0; 4];
        self.tables().for_each(|t| p[t.0 as usize / 64] |= 1 << (t.0 % 64));
        p
    }

    /// Holds a flow-mod that adds or changes flow entries of `table` against what that table can do. Costs next to nothing while no set
    /// narrowed anything.
    ///
    /// # Errors
    /// `OFPFMFC_BAD_TABLE_ID`, or what of the match, instructions or actions the table cannot do.
    pub fn check(&self, table: TableId, m: &FlowMod) -> Result<(), OfpError> {
        let a = self.get(table).ok_or(OfpError::OFPFMFC_BAD_TABLE_ID)?;
        for i in &m.instructions {
            match i {
                Instruction::GotoTable(t) if *t <= table || !self.exists(*t) => {
                    return Err(OfpError::OFPBIC_BAD_TABLE_ID);
                }
                _ => {}
            }
        }
        if self.shaped {
            a.check(&m.matching, m.priority, &m.instructions)?;
        }
        Ok(())
    }

    /// Answer to `OFPMP_TABLE_FEATURES`: the tables of the pipeline.
    pub fn features(&self) -> Vec<TableFeatures> {
        let present = self.present();
        // All of the default tables share their lists but for the next tables.
        let one = |t: TableId| {
            let a = self.get(t)?;
            let name = a.name.unwrap_or_else(|| format!("table{t}").as_str().into());
            Some(TableFeatures {
                table_id: t,
                name,
                metadata_match: a.metadata_match,
                metadata_write: a.metadata_write,
                config: self.config[t.0 as usize].into(),
                max_entries: a.max_entries,
                properties: a.properties(t.0, &present),
            })
        };
        self.tables().filter_map(one).collect()
    }

    /// Changes the pipeline to the tables of a (whole, not empty) set. Returns the tables whose flow entries must go, without a
    /// FLOW_REMOVED: those that left and those that can do less or more than before.
    ///
    /// # Errors
    /// `OFPTFFC_*`, with nothing changed.
    pub fn set(&mut self, request: &[TableFeatures]) -> Result<Vec<TableId>, OfpError> {
        let mut tables: Vec<Option<Abilities>> = vec![None; TABLES as usize];
        let mut config = [0; TABLES as usize];
        for t in request {
            let i = t.table_id.0 as usize;
            if i >= TABLES.into() || tables[i].is_some() {
                return Err(OfpError::OFPTFFC_BAD_TABLE);
            }
            tables[i] = Some(Abilities::parse(t)?);
            config[i] = (t.config & CONFIG_MASK) as u8;
        }
        if tables[0].is_none() {
            // Every packet begins there.
            return Err(OfpError::OFPTFFC_BAD_TABLE);
        }
        // Where nothing can lead whatever is asked, nothing is lost or gained: there all bits are set.
        let (before, mut after) = (self.present(), [0u64; 4]);
        for i in (0..tables.len()).filter(|i| tables[*i].is_some()) {
            after[i / 64] |= 1 << (i % 64);
        }
        for (own, a) in tables.iter_mut().enumerate() {
            let Some(a) = a else { continue };
            for (w, above) in above(own).into_iter().enumerate() {
                a.normal.next[w] |= !(after[w] & above);
                a.miss.next[w] |= !(after[w] & above);
            }
        }
        let tables: Vec<_> = tables.into_iter().map(|a| a.map(Arc::new)).collect();
        // A name is no ability. Which tables a table leads to is: what it led to may have left.
        let same = |i: usize| match (&self.tables[i], &tables[i]) {
            (Some(a), Some(b)) => {
                let led = |next: &[u64; 4], there: &[u64; 4], w: usize| next[w] & there[w] & above(i)[w];
                let same = |a: &Entries, b: &Entries| {
                    (0..4).all(|w| led(&a.next, &before, w) == led(&b.next, &after, w))
                };
                same(&a.normal, &b.normal)
                    && same(&a.miss, &b.miss)
                    && Abilities { name: b.name, ..(**a).clone() } == **b
            }
            (a, b) => a.is_none() && b.is_none(),
        };
        let changed = (0..TABLES as usize).filter(|&i| !same(i));
        let changed = changed.map(|i| TableId(i as u8)).collect();
        self.shaped = true;
        self.tables = Arc::new(tables);
        self.config = Arc::new(config);
        Ok(changed)
    }

    /// Does what a table-mod asks: the bits it can set are kept and told, and have had no effect since OpenFlow 1.3.
    ///
    /// # Errors
    /// `OFPTMFC_*`.
    pub fn table_mod(&mut self, m: &TableMod) -> Result<(), OfpError> {
        if m.table_id != TableId::ALL && !self.exists(m.table_id) {
            return Err(OfpError::OFPTMFC_BAD_TABLE);
        }
        if m.config & !CONFIG_MASK != 0 {
            return Err(OfpError::OFPTMFC_BAD_CONFIG);
        }
        let config = Arc::make_mut(&mut self.config);
        match m.table_id {
            TableId::ALL => config.fill(m.config as u8),
            t => config[t.0 as usize] = m.config as u8,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
