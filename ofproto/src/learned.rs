//! What learn actions add: how many there may be (`limit`), and which go with the flow entry that learned them (`delete_learned`).
//!
//! A worker decides whether a packet's flow is learned, since `result_dst` tells the rest of the translation; the control thread adds it some time
//! later. So that both count the same, a place is kept for the flow from the worker's yes until the tables that hold it are published.

use crate::api::BridgeId;
use crate::flow::{mix, Flow};
use crate::rule::RuleCore;
use openflow::msg::FlowMod;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// The flow entries of a table that have a cookie: what a limit counts, and what is deleted with the last entry that learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LearnedSet {
    /// The table.
    pub table: u8,
    /// The cookie.
    pub cookie: u64,
}

impl LearnedSet {
    /// The set that a rule is in.
    pub fn of(r: &RuleCore) -> Self {
        Self { table: r.table, cookie: r.cookie }
    }
}

/// Names a flow entry of a table by its match and priority.
pub fn name_of(value: &Flow, mask: &Flow, priority: u16) -> u64 {
    let words = value.0.iter().zip(&mask.0).enumerate().filter(|(_, (_, m))| **m != 0);
    words.fold(priority.into(), |h, (i, (v, m))| mix(mix(mix(h, i as u64), *m), v & m))
}

/// A flow entry that a learn action asks for.
#[derive(Debug, Clone)]
pub struct Learned<E> {
    /// As a request to add it.
    pub flow: FlowMod,
    /// Most entries of its set, 0 for no limit.
    pub limit: u32,
    /// Its name, if there is a limit: see [`name_of`].
    pub name: u64,
    /// The flow entry whose action it was; `None`: a packet-out's.
    pub by: Option<E>,
}

impl<E> Learned<E> {
    /// The set it belongs to.
    pub fn set(&self) -> LearnedSet {
        LearnedSet { table: self.flow.table_id.0, cookie: self.flow.cookie }
    }
}

/// What comes of a learn action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is learned, or is there already.
    Yes,
    /// The limit is reached.
    Full,
    /// The control thread is too far behind: not this time.
    Busy,
}

#[derive(Default)]
struct Room {
    /// Entries in the tables as published, if an entry of them has a limit for this set.
    there: Option<usize>,
    /// Names of those to come.
    asked: HashSet<u64>,
}

impl Room {
    /// Nobody has to do with the set any more.
    fn is_idle(&self) -> bool {
        self.there.is_none() && self.asked.is_empty()
    }
}

#[derive(Default)]
struct Books {
    rooms: HashMap<(BridgeId, LearnedSet), Room>,
    /// Handled by control, to be in (or not in) the next version.
    done: Vec<(BridgeId, LearnedSet, u64)>,
}

impl Books {
    /// Ends the keeping of a place.
    fn free(&mut self, bridge: BridgeId, set: LearnedSet, name: u64) {
        if let Some(room) = self.rooms.get_mut(&(bridge, set)) {
            room.asked.remove(&name);
            if room.is_idle() {
                self.rooms.remove(&(bridge, set));
            }
        }
    }
}

/// How full the sets are that have a limit. Locked for a hash operation.
#[derive(Default)]
pub struct Rooms(Mutex<Books>);

impl Rooms {
    /// Whether one more of a set may be learned; then a place is kept, if `keep`. `None`: no entry of the tables has a limit for this set, so
    /// nobody counts it (only packet-outs learn it); to be asked again with its entries `counted`.
    pub fn ask(
        &self,
        bridge: BridgeId,
        set: LearnedSet,
        name: u64,
        limit: u32,
        keep: bool,
        counted: Option<usize>,
    ) -> Option<bool> {
        let mut books = self.0.lock();
        let room = books.rooms.get(&(bridge, set));
        if room.is_some_and(|r| r.asked.contains(&name)) {
            return Some(true);
        }
        let there = room.and_then(|r| r.there).or(counted)?;
        let free = there + room.map_or(0, |r| r.asked.len()) < limit as usize;
        if free && keep {
            books.rooms.entry((bridge, set)).or_default().asked.insert(name);
        }
        Some(free)
    }
    /// It did not come to pass.
    pub fn give_back(&self, bridge: BridgeId, set: LearnedSet, name: u64) {
        self.0.lock().free(bridge, set, name);
    }
    /// Control has done what was asked: the next version shows it.
    pub fn done(&self, bridge: BridgeId, set: LearnedSet, name: u64) {
        self.0.lock().done.push((bridge, set, name));
    }
    /// Publishes a version, by `store`, and with it what it holds of sets whose number changed (`None`: they have no limit any more).
    pub fn publish(&self, counts: Vec<(BridgeId, LearnedSet, Option<usize>)>, store: impl FnOnce()) {
        let mut books = self.0.lock();
        store();
        for (bridge, set, n) in counts {
            let room = books.rooms.entry((bridge, set)).or_default();
            room.there = n;
            if room.is_idle() {
                books.rooms.remove(&(bridge, set));
            }
        }
        for (bridge, set, name) in std::mem::take(&mut books.done) {
            books.free(bridge, set, name);
        }
    }
    /// Forgets a bridge.
    pub fn forget(&self, bridge: BridgeId) {
        self.0.lock().rooms.retain(|(b, _), _| *b != bridge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::BridgeChecks;
    use crate::group::GroupTable;
    use crate::meter::MeterTable;
    use crate::table::{Effect, FlowTables};
    use openflow::text::{parse_flow, NoNames};
    use openflow::TableId;

    #[test]
    fn a_place_is_kept_until_the_flow_is_published() {
        let (rooms, bridge, set) = (Rooms::default(), BridgeId(1), LearnedSet { table: 1, cookie: 5 });
        let ask = |name| rooms.ask(bridge, set, name, 2, true, None);
        assert_eq!(ask(1), None, "nobody counts");
        rooms.publish(vec![(bridge, set, Some(0))], || {});
        assert_eq!((ask(1), ask(2), ask(3), ask(1)), (Some(true), Some(true), Some(false), Some(true)));
        // The first is in the tables, but not published.
        rooms.done(bridge, set, 1);
        assert_eq!(ask(3), Some(false));
        rooms.publish(vec![(bridge, set, Some(1))], || {});
        assert_eq!(ask(3), Some(false));
        rooms.give_back(bridge, set, 2);
        assert_eq!(rooms.ask(bridge, set, 3, 2, false, None), Some(true), "asked, and no place kept");
        assert_eq!((ask(4), ask(3)), (Some(true), Some(false)));
        rooms.publish(vec![(bridge, set, None)], || {});
        assert_eq!(ask(3), None);
    }

    #[test]
    fn places_of_packet_outs_are_kept_although_no_entry_has_a_limit() {
        let (rooms, bridge, set) = (Rooms::default(), BridgeId(1), LearnedSet { table: 1, cookie: 5 });
        let ask = |name, there| rooms.ask(bridge, set, name, 3, true, there);
        assert_eq!((ask(1, None), ask(1, Some(1)), ask(2, Some(1))), (None, Some(true), Some(true)));
        assert_eq!((ask(3, None), ask(3, Some(1)), ask(2, Some(1))), (None, Some(false), Some(true)));
        // An entry has a limit now: its count is right, and what was asked for counts still.
        rooms.publish(vec![(bridge, set, Some(2))], || {});
        assert_eq!(ask(3, None), Some(false));
        rooms.done(bridge, set, 1);
        rooms.done(bridge, set, 2);
        rooms.publish(vec![(bridge, set, Some(2))], || {});
        assert_eq!(ask(3, None), Some(true));
        rooms.give_back(bridge, set, 3);
        rooms.publish(vec![(bridge, set, None)], || {});
        assert_eq!((ask(4, None), ask(4, Some(2))), (None, Some(true)));
        // Nothing is left when it is in the tables.
        rooms.done(bridge, set, 4);
        rooms.publish(Vec::new(), || {});
        assert!(rooms.0.lock().rooms.is_empty());
    }

    #[test]
    fn what_goes_with_its_learner_comes_back_with_it() {
        let (groups, meters) = (GroupTable::default(), MeterTable::new(Default::default()));
        let checks = BridgeChecks::new(&groups, &meters);
        let mut t = FlowTables::new();
        let learner =
            "actions=learn(table=1,cookie=0x5,limit=9,delete_learned,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])";
        let add = |t: &mut FlowTables, text: &str| {
            let f = parse_flow(text, openflow::msg::FlowModCommand::ADD, &NoNames).expect(text);
            t.flow_mod(&f, 0, &checks).expect(text)
        };
        add(&mut t, "table=1,cookie=0x5,in_port=1,actions=drop");
        let set = LearnedSet { table: 1, cookie: 5 };
        add(&mut t, learner);
        assert_eq!(t.take_recounted(), [(set, Some(1))]);
        add(&mut t, "table=1,cookie=0x5,in_port=2,actions=drop");
        assert_eq!(t.take_recounted(), [(set, Some(2))]);
        for _ in 0..2 {
            let del = FlowMod {
                command: openflow::msg::FlowModCommand::DELETE,
                table_id: TableId(0),
                ..FlowMod::default()
            };
            let effects = t.flow_mod(&del, 0, &checks).expect("a delete");
            assert!(effects.iter().all(|e| matches!(e, Effect::Removed(_))));
            assert_eq!((effects.len(), t.total()), (3, 0));
            assert_eq!(t.take_recounted(), [(set, None)]);
            t.undo(effects);
            assert_eq!((t.len(0), t.len(1)), (1, 2));
            assert_eq!(t.take_recounted(), [(set, Some(2))]);
        }
    }
}
