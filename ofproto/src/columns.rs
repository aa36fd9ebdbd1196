//! Which megaflows a new flow entry can touch, without looking at each of them.
//!
//! The visits of one table whose bits are known in the same places (in practice: one megaflow mask) form a *group*, and each word of their
//! flows is a *column*. A new entry is compared with a column at a time: 64 visits a step, and only in words that both sides know. A word
//! that all visits of a group agree on is stored once and decides about the whole group.
//!
//! **Cost**: about a nanosecond for each visit of a group that is not ruled out as a whole; 8 bytes for each word that differs within the
//! group, and some 20 more.

use crate::api::BridgeId;
use crate::flow::{Flow, WORDS};
use crate::rule::RuleCore;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// A megaflow, and which of its visits.
pub type Member = ((u32, u32), u32);

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
    /// Words that have fixed bits, with their columns.
    columns: Vec<(usize, Column)>,
    /// Lowest priority at which a new entry changes what a visit found.
    bars: Vec<u16>,
    lowest_bar: u16,
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
        self.bars.push(bar);
        self.members.push(who);
    }
    fn find(&self, r: &RuleCore, found: &mut dyn FnMut((u32, u32))) {
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
        let n = self.members.len();
        for base in (0..n).step_by(64) {
            let end = n.min(base + 64);
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
                    found(self.members[i].0);
                }
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

    /// The group of visits of a table with these bits known; held until [`Columns::release`].
    pub fn hold(&mut self, table: (BridgeId, u8), fixed: &Flow) -> u32 {
        let id = match self.by_mask.get(&(table, *fixed)) {
            Some(id) => *id,
            None => {
                let words = (0..WORDS).filter(|w| fixed.0[*w] != 0);
                let columns = words.map(|w| (w, Column::Same(0))).collect();
                let (bars, members) = (Vec::new(), Vec::new());
                let g = Group { table, fixed: *fixed, users: 0, columns, bars, lowest_bar: 0, members };
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
        }
        id
    }

    /// Lets go of a group. Whoever does has taken its members out.
    pub fn release(&mut self, id: u32) {
        let Some(g) = self.at(id) else { return };
        g.users -= 1;
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

    fn of(&self, table: (BridgeId, u8)) -> impl Iterator<Item = &Group> {
        self.by_table.get(&table).into_iter().flatten().filter_map(|id| self.groups[*id as usize].as_ref())
    }

    /// Visits of a table.
    pub fn visits(&self, table: (BridgeId, u8)) -> usize {
        self.of(table).map(|g| g.members.len()).sum()
    }

    /// Calls `found` with each megaflow that a new entry of a bridge may touch, some perhaps more than once.
    pub fn find(&self, bridge: BridgeId, r: &RuleCore, found: &mut dyn FnMut((u32, u32))) {
        self.of((bridge, r.table)).for_each(|g| g.find(r, found));
    }
}
