//! Which megaflows a new flow entry can touch, without looking at each of them.
//!
//! The visits of one table whose bits are known in the same places (in practice: one megaflow mask) form a *group*, and each word of their
//! flows is a *column*. A new entry is compared with a column at a time: 64 visits a step, and only in words that both sides know. A word
//! that all visits of a group agree on is stored once and decides about the whole group.
//!
//! If nothing of it differs, the whole group is found at once. Many new entries of one mask are looked for together: each visit is held against a hash
//! table of them.
//!
//! **Cost**: about a nanosecond for each visit of a group that is not ruled out as a whole; 8 bytes for each word that differs within the
//! group, and some 20 more.

use crate::api::BridgeId;
use crate::flow::{mix, Flow, WORDS};
use crate::rule::RuleCore;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use std::sync::{Arc, LazyLock};

/// A megaflow, and which of its visits.
pub type Member = ((u32, u32), u32);

/// What a new entry may touch.
pub enum Found {
    /// One megaflow.
    One((u32, u32)),
    /// All megaflows of a group.
    Group(u32),
}

/// New entries of one mask from which on they are looked for together.
pub const TOGETHER: usize = 8;

/// One word of the flows of a group.
enum Column {
    Same(u64),
    Each(Vec<u64>),
}

struct Group {
    table: (BridgeId, u8),
    fixed: Flow,
    /// Who holds it: it stays while anybody does.
    users: u32,
    families: HashSet<u32>,
    /// Words that have fixed bits, with their columns.
    columns: Vec<(usize, Column)>,
    /// Lowest priority at which a new entry changes what a visit found.
    bars: Vec<u16>,
    lowest_bar: u16,
    /// At least the highest of them.
    highest_bar: u16,
    members: Vec<Member>,
}

impl Group {
    fn push(&mut self, flow: &Flow, bar: u16, who: Member) {
        let n = self.members.len();
        for (w, c) in &mut self.columns {
            let v = flow.0[*w];
            match c {
                Column::Same(x) if n == 0 => *x = v,
                Column::Same(x) if *x == v => {}
                Column::Same(x) => {
                    let mut each = vec![*x; n];
                    each.push(v);
                    *c = Column::Each(each);
                }
                Column::Each(each) => each.push(v),
            }
        }
        self.lowest_bar = if n == 0 { bar } else { self.lowest_bar.min(bar) };
        self.highest_bar = if n == 0 { bar } else { self.highest_bar.max(bar) };
        self.bars.push(bar);
        self.members.push(who);
    }
    fn find(&self, id: u32, r: &RuleCore, found: &mut dyn FnMut(Found)) {
        if r.priority < self.lowest_bar {
            return;
        }
        let mut tests: SmallVec<[(&[u64], u64, u64); 8]> = SmallVec::new();
        for (w, value) in r.mask().words.iter().zip(&r.values) {
            let w = usize::from(*w);
            let bits = r.mask().mask.0[w] & self.fixed.0[w];
            if bits == 0 {
                continue;
            }
            match self.columns.iter().find(|(x, _)| *x == w).map(|(_, c)| c) {
                Some(Column::Same(x)) if (x ^ value) & bits != 0 => return,
                Some(Column::Each(each)) => tests.push((each, value & bits, bits)),
                _ => {}
            }
        }
        if tests.is_empty() && r.priority >= self.highest_bar {
            return found(Found::Group(id));
        }
        let n = self.members.len();
        for base in (0..n).step_by(64) {
            let end = n.min(base + 64);
            // Nearly always none: that is found out without a branch.
            if let Some((column, value, bits)) = tests.first() {
                if !column[base..end].iter().fold(false, |any, x| any | (x & bits == *value)) {
                    continue;
                }
            }
            let mut hits = u64::MAX >> (64 - (end - base));
            for (column, value, bits) in &tests {
                let equal = column[base..end].iter().rev();
                hits &= equal.fold(0u64, |h, x| h << 1 | u64::from(x & bits == *value));
                if hits == 0 {
                    break;
                }
            }
            while hits != 0 {
                let i = base + hits.trailing_zeros() as usize;
                hits &= hits - 1;
                if self.bars[i] <= r.priority {
                    found(Found::One(self.members[i].0));
                }
            }
        }
    }

    /// The same for entries of one mask, all of them at once.
    fn find_together(&self, id: u32, rules: &[&Arc<RuleCore>], found: &mut dyn FnMut(Found)) {
        if rules.len() < TOGETHER || self.members.len() < 64 {
            return rules.iter().for_each(|r| self.find(id, r, found));
        }
        // Words that both sides know: those all visits agree on rule entries out, the others are hashed.
        let mask = rules[0].mask();
        let (mut same, mut each) = (Vec::new(), Vec::new());
        for (i, w) in mask.words.iter().enumerate() {
            let w = usize::from(*w);
            let bits = mask.mask.0[w] & self.fixed.0[w];
            match self.columns.iter().find(|(x, _)| *x == w && bits != 0).map(|(_, c)| c) {
                Some(Column::Same(x)) => same.push((i, *x, bits)),
                Some(Column::Each(column)) => each.push((i, column, bits)),
                None => {}
            }
        }
        let may = |r: &&&Arc<RuleCore>| {
            r.priority >= self.lowest_bar && same.iter().all(|(i, x, bits)| (r.values[*i] ^ x) & bits == 0)
        };
        let rules = rules.iter().filter(may);
        if each.is_empty() {
            if let Some(r) = rules.max_by_key(|r| r.priority) {
                self.find(id, r, found);
            }
            return;
        }
        // Highest priority by hash, behind bits that rule out nearly all visits.
        let mut wanted: HashMap<u64, u16> = HashMap::new();
        let mut bits_of = [0u64; 1024];
        for r in rules {
            let h = each.iter().fold(0, |h, (i, _, bits)| mix(h, r.values[*i] & bits));
            bits_of[h as usize / 64 % 1024] |= 1 << (h % 64);
            let p = wanted.entry(h).or_default();
            *p = r.priority.max(*p);
        }
        if wanted.is_empty() {
            return;
        }
        for (n, (bar, member)) in self.bars.iter().zip(&self.members).enumerate() {
            let h = each.iter().fold(0, |h, (_, column, bits)| mix(h, column[n] & bits));
            if bits_of[h as usize / 64 % 1024] >> (h % 64) & 1 != 0
                && wanted.get(&h).is_some_and(|p| bar <= p)
            {
                found(Found::One(member.0));
            }
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Columns {
    by_mask: HashMap<((BridgeId, u8), Flow), u32>,
    by_table: HashMap<(BridgeId, u8), Vec<u32>>,
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
}

impl Columns {
    fn at(&mut self, id: u32) -> Option<&mut Group> {
        self.groups.get_mut(id as usize)?.as_mut()
    }

    /// The group of visits of a table with these bits known; held by a family until [`Columns::release`].
    pub fn hold(&mut self, table: (BridgeId, u8), fixed: &Flow, family: u32) -> u32 {
        let id = match self.by_mask.get(&(table, *fixed)) {
            Some(id) => *id,
            None => {
                let words = (0..WORDS).filter(|w| fixed.0[*w] != 0);
                let columns = words.map(|w| (w, Column::Same(0))).collect();
                let g = Group {
                    table,
                    fixed: *fixed,
                    users: 0,
                    families: HashSet::new(),
                    columns,
                    bars: Vec::new(),
                    lowest_bar: 0,
                    highest_bar: 0,
                    members: Vec::new(),
                };
                let id = self.free.pop().unwrap_or_else(|| {
                    self.groups.push(None);
                    self.groups.len() as u32 - 1
                });
                self.groups[id as usize] = Some(g);
                self.by_mask.insert((table, *fixed), id);
                self.by_table.entry(table).or_default().push(id);
                id
            }
        };
        if let Some(g) = self.at(id) {
            g.users += 1;
            g.families.insert(family);
        }
        id
    }

    /// A family lets go of a group, as of all its groups. It has taken its members out.
    pub fn release(&mut self, id: u32, family: u32) {
        let Some(g) = self.at(id) else { return };
        g.users -= 1;
        g.families.remove(&family);
        if g.users > 0 {
            return;
        }
        let (table, fixed) = (g.table, g.fixed);
        self.groups[id as usize] = None;
        self.free.push(id);
        self.by_mask.remove(&(table, fixed));
        if let Some(list) = self.by_table.get_mut(&table) {
            list.retain(|x| *x != id);
        }
    }

    /// Adds a visit to a group; its position there.
    pub fn push(&mut self, id: u32, flow: &Flow, bar: u16, who: Member) -> u32 {
        let Some(g) = self.at(id) else { return 0 };
        g.push(flow, bar, who);
        g.members.len() as u32 - 1
    }

    /// Takes a visit out of a group; who has its position now, if anybody.
    pub fn remove(&mut self, id: u32, pos: u32) -> Option<Member> {
        let (g, pos) = (self.at(id)?, pos as usize);
        for (_, c) in &mut g.columns {
            if let Column::Each(each) = c {
                each.swap_remove(pos);
            }
        }
        g.bars.swap_remove(pos);
        g.members.swap_remove(pos);
        g.members.get(pos).copied()
    }

    fn of(&self, table: (BridgeId, u8)) -> impl Iterator<Item = (u32, &Group)> {
        let ids = self.by_table.get(&table).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.groups[*id as usize].as_ref()?)))
    }

    /// The families that hold a group.
    pub fn families(&self, id: u32) -> impl ExactSizeIterator<Item = u32> + '_ {
        static NONE: LazyLock<HashSet<u32>> = LazyLock::new(HashSet::new);
        self.groups[id as usize].as_ref().map_or(&*NONE, |g| &g.families).iter().copied()
    }

    /// The members of a group, one by one.
    pub fn members(&self, id: u32) -> &[Member] {
        self.groups[id as usize].as_ref().map_or(&[], |g| &g.members)
    }

    /// Visits of a table.
    pub fn visits(&self, table: (BridgeId, u8)) -> usize {
        self.of(table).map(|(_, g)| g.members.len()).sum()
    }

    /// Calls `found` with each megaflow that a new entry of a bridge may touch, some perhaps more than once.
    pub fn find(&self, bridge: BridgeId, r: &RuleCore, found: &mut dyn FnMut(Found)) {
        self.of((bridge, r.table)).for_each(|(id, g)| g.find(id, r, found));
    }

    /// The same for new entries of one table that have one mask.
    pub fn find_together(&self, bridge: BridgeId, rules: &[&Arc<RuleCore>], found: &mut dyn FnMut(Found)) {
        let Some(first) = rules.first() else { return };
        self.of((bridge, first.table)).for_each(|(id, g)| g.find_together(id, rules, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::match_to_flow;
    use crate::rule::Interner;
    use openflow::msg::FlowModFlags;
    use openflow::{Field, Match};
    use std::collections::BTreeSet;

    const TABLE: (BridgeId, u8) = (BridgeId(1), 0);

    fn rule(int: &mut Interner, dst: u32, mask: u32, port: Option<u16>, priority: u16) -> Arc<RuleCore> {
        let mut m = Match::new().with(Field::EthType, 0x0800);
        m = m.with_masked(Field::Ipv4Dst, (dst & mask).into(), mask.into());
        if let Some(p) = port {
            m = m.with(Field::IpProto, 6).with(Field::TcpDst, p.into());
        }
        let place = int.place(&m).expect("known fields");
        Arc::new(place.rule(0, priority, 0, (0, 0), FlowModFlags::empty(), 0))
    }

    /// What is found, by member; a group stands for its members.
    fn members(c: &Columns, find: impl FnOnce(&mut dyn FnMut(Found))) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        find(&mut |f| match f {
            Found::One((_, slot)) => drop(all.insert(slot)),
            Found::Group(g) => {
                all.extend(c.groups[g as usize].iter().flat_map(|g| &g.members).map(|m| m.0 .1))
            }
        });
        all
    }

    #[test]
    fn entries_looked_for_together_are_found_as_one_by_one() {
        let (mut c, mut int) = (Columns::default(), Interner::default());
        let mut n = 0u32;
        let mut random = |below: u32| {
            n = mix(n.into(), 1) as u32;
            (n >> 4) % below
        };
        // Two groups: whole addresses and ports, and prefixes alone. All are IPv4.
        for (mask, port) in [(u32::MAX, true), (0xffff_ff00, false)] {
            let at = |dst: u32, p: u16| {
                let mut m = Match::new().with(Field::EthType, 0x0800);
                m = m.with_masked(Field::Ipv4Dst, (dst & mask).into(), mask.into());
                m = if port { m.with(Field::IpProto, 6).with(Field::TcpDst, p.into()) } else { m };
                match_to_flow(&m).expect("known fields")
            };
            let g = c.hold(TABLE, &at(0, 0).1, 7);
            for i in 0..300 {
                let flow = at(random(1 << 12), random(4) as u16).0;
                c.push(g, &flow, random(3) as u16 * 100, ((0, i + 1000 * u32::from(port)), 0));
            }
        }
        for round in 0..60 {
            let mask = [u32::MAX, 0xffff_fff0, 0xffff_ff00, 0xff00_0000][random(4) as usize];
            let port = (random(2) == 0).then(|| random(4) as u16);
            let list: Vec<_> = (0..TOGETHER as u32 + random(100))
                .map(|_| rule(&mut int, random(1 << 12), mask, port, random(4) as u16 * 100))
                .collect();
            let list: Vec<_> = list.iter().collect();
            let together = members(&c, |f| c.find_together(TABLE.0, &list, f));
            let each = list.iter().flat_map(|r| members(&c, |f| c.find(TABLE.0, r, f))).collect();
            assert_eq!(together, each, "round {round}");
            assert!(!together.is_empty());
        }
    }
}
