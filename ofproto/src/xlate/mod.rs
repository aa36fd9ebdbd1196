//! Translation: one packet through the tables, once, giving datapath actions and every bit of the packet that mattered.
//!
//! *What it answers*: for a [`Flow`], the datapath actions, the mask of bits looked at ("un-wildcarded"), what is to be credited
//! (flow entries, groups, buckets ...), and which tables were visited with what (for repair after a change).
//!
//! *How*: a machine with a stack of `Step`s. A table lookup pushes the entry's instructions, an action list pushes what its
//! actions ask for. Since all that is left to do always stands on the stack, *freezing* (see below) is taking the stack, and no
//! input makes us recurse.
//!
//! *Masks.* A bit too many in the mask is slow, a bit too few is wrong. Lookups report the bits they needed; of these only such count
//! as still hold what the packet brought (`Xlate::known` holds the bits that actions made constant since). Fields that move (VLAN and
//! MPLS push and pop) are un-wildcarded whole before they move.
//!
//! *Rewrites* are collected in `flow` and `pending` and become one [`DpAction::Set`] when the packet is next sent or restructured.
//! The patch holds every bit an action set, also where this packet had that value already: others of the megaflow may not.
//!
//! *Freezing.* After `pop_mpls` (or `pop_pbb`, or a meter that remarks) the headers below are not in the key. If more is to be done, the
//! rest of the stack is frozen under a recirculation id, the datapath parses the packet again and comes back with that id.
//!
//! *Limits*: [`MAX_LOOKUPS`], [`MAX_ACTIONS`], [`MAX_STACK`], [`MAX_WORK`]; past them the packet is dropped under a reason of [`REASONS`].

mod actions;
mod normal;

use crate::api::BridgeId;
use crate::flow::{pipe, Flow};
use crate::learned::{Answer, Learned, LearnedSet};
use crate::rule::each_action;
use datapath::flow_key::{off, FlowKey, FlowMask};
use datapath::{DpAction, DpMeterId, KeyPatch, PortId};
use openflow::msg::PacketInReason;
use openflow::{Action, GroupId, Instruction, Match, MeterId, PortNo, TableId};
use smallvec::{smallvec, SmallVec};
use std::sync::Arc;

/// Table lookups of one translation at most: the first, and 4096 by resubmits, gotos and outputs to TABLE.
pub const MAX_LOOKUPS: usize = 4097;
/// Datapath actions of one translation at most.
pub const MAX_ACTIONS: usize = 4096;
/// Steps on the stack at most.
pub const MAX_STACK: usize = 16 * 1024;
/// Steps and OpenFlow actions of one translation at most, also if nothing comes of them.
pub const MAX_WORK: usize = 128 * 1024;
/// Values that `push` puts on the stack at most.
pub const MAX_STACKED: usize = 4096;
/// Nested groups, patch ports, and resubmits to the same or an earlier table at most. (Those to later tables end by themselves.)
pub const MAX_DEPTH: u16 = 64;

macro_rules! reasons {
    ($($name:ident $word:literal $text:literal,)*) => {
        /// Why translation drops a packet; `as u16` indexes [`REASONS`].
        #[allow(missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        #[repr(u16)]
        pub enum Reason { $($name,)* }
        /// Word and sentence of each reason.
        pub const REASONS: &[(&str, &str)] = &[$(($word, $text),)*];
    };
}
reasons! {
    NoOutput "no_output" "The matching flow entries send it nowhere.",
    TableMiss "table_miss" "No flow entry matched, and the table has no table-miss entry.",
    PortNoRecv "port_no_recv" "The port it came in by is configured NO_RECV or PORT_DOWN.",
    OutputBlocked "output_blocked" "The output port is down or configured NO_FWD.",
    NoSuchPort "no_such_port" "The output port does not exist.",
    InputPort "input_port" "It would leave by the port it came in by (output:IN_PORT is the way to do that).",
    Fragment "fragment" "It is a fragment, and the switch is configured to drop those (OFPC_FRAG_DROP).",
    InvalidTtl "invalid_ttl" "Its TTL was 0 or 1 and had to be decremented.",
    NoBucket "no_live_bucket" "The group has no live bucket.",
    NoSuchGroup "no_such_group" "The group does not exist.",
    TooManyLookups "too_many_lookups" "It was looked up in tables too often (a loop of resubmits?).",
    TooDeep "too_deep" "Groups, resubmits or patch ports are nested too deeply.",
    TooManyActions "too_many_actions" "The flow entries make too many actions of it.",
    StackTooDeep "stack_too_deep" "The flow entries push too many values on the stack.",
    RecircGone "recirc_gone" "What was to be done after parsing it again is not known any more.",
    ReservedMulticast "reserved_multicast" "A bridge does not forward this address (IEEE 802.1D, 01:80:c2:00:00:0x).",
    UnknownInPort "unknown_in_port" "The port it came in by belongs to no bridge.",
    Unsupported "unsupported" "An action that this switch does not execute.",
    ControlBehind "control_behind" "A kind of packet not seen before, while the control thread is too far behind with those before it.",
    SlowpathMeter "slowpath_meter" "It needed a translation, and the bridge's meter SLOWPATH allows no more of them.",
    NoPacketIn "no_packet_in" "Only a controller would have got it, and the port is configured NO_PACKET_IN.",
}

/// A flow entry as translation sees it. Cheap to clone.
pub trait Entry: Clone {
    /// Whether it is this very entry, with the same instructions.
    fn is(&self, other: &Self) -> bool;
    /// Its instructions.
    fn instructions(&self) -> &[Instruction];
    /// Its priority.
    fn priority(&self) -> u16;
    /// Its cookie.
    fn cookie(&self) -> u64;
    /// Matches everything at priority 0.
    fn is_table_miss(&self) -> bool;
    /// The match, for traces.
    fn describe(&self) -> String;
}

/// Whether two lists are the same entry's, or nobody's.
pub fn same_entry<E: Entry>(a: Option<&E>, b: Option<&E>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// A group as translation sees it. Cheap to clone.
pub trait GroupView: Clone {
    /// How buckets are chosen.
    fn kind(&self) -> openflow::group::GroupType;
    /// Its buckets.
    fn buckets(&self) -> &[openflow::group::Bucket];
    /// What the liveness of its buckets depends on.
    fn watched(&self) -> &[crate::group::Watch];
    /// The bucket a select group takes for a flow; sets the bits it looked at. `None`: no live bucket.
    fn select(&self, flow: &Flow, wc: &mut Flow) -> Option<usize>;
    /// The first live bucket of a fast-failover group.
    fn failover(&self) -> Option<usize>;
}

/// A port as translation sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortView {
    /// Its OpenFlow number.
    pub number: PortNo,
    /// Where packets go.
    pub target: PortTarget,
    /// PORT_DOWN or NO_RECV.
    pub no_recv: bool,
    /// PORT_DOWN, NO_FWD, or its link is down.
    pub no_fwd: bool,
    /// NO_PACKET_IN.
    pub no_packet_in: bool,
    /// `OFPPS_LIVE`: its link is up, and it is not PORT_DOWN.
    pub live: bool,
}

/// What is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortTarget {
    /// A port of the datapath.
    Datapath(PortId),
    /// A patch port: the peer's bridge and number; `None` if it has no peer.
    Patch(Option<(BridgeId, PortNo)>),
}

/// What a controller is to get (the frame aside).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punt {
    /// Whose controllers.
    pub bridge: BridgeId,
    /// Controllers with this id.
    pub controller_id: u16,
    /// Why.
    pub reason: PacketInReason,
    /// Table of the entry.
    pub table: TableId,
    /// Its cookie.
    pub cookie: u64,
    /// Bytes wanted; 0xffff all.
    pub max_len: u16,
    /// `in_port` and pipeline fields.
    pub metadata: Match,
    /// Data of the controller action.
    pub userdata: Vec<u8>,
}

/// What a bridge in fail-mode standalone does while no controller is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standalone {
    /// Only what the tables say.
    #[default]
    No,
    /// No controller is configured: what table 0 has no entry for is NORMAL.
    Misses,
    /// The controllers are lost: every packet is NORMAL; the tables wait for them.
    All,
}

/// The tables and what belongs to them, at one version: what translation reads, and where it leaves side effects.
pub trait World {
    /// Flow entries.
    type Entry: Entry;
    /// Groups.
    type Group: GroupView;
    /// An empty vector for the visits of a translation: its memory may be another's of before.
    fn room(&self) -> Vec<Visit<Self::Entry>> {
        Vec::new()
    }
    /// The entry that matches in a table; sets in `wc` the bits it looked at.
    fn lookup(&self, bridge: BridgeId, table: u8, flow: &Flow, wc: &mut Flow) -> Option<Self::Entry>;
    /// A group.
    fn group(&self, bridge: BridgeId, id: GroupId) -> Option<Self::Group>;
    /// The datapath's meter and whether it may rewrite DSCP.
    fn meter(&self, bridge: BridgeId, id: MeterId) -> Option<(DpMeterId, bool)>;
    /// A port by number.
    fn port(&self, bridge: BridgeId, number: PortNo) -> Option<PortView>;
    /// All ports of a bridge, LOCAL among them.
    fn ports(&self, bridge: BridgeId) -> Vec<PortView>;
    /// Name of a bridge, for traces.
    fn bridge_name(&self, bridge: BridgeId) -> String;
    /// Whether fragments are dropped.
    fn drop_fragments(&self, bridge: BridgeId) -> bool;
    /// What a bridge does by itself, for want of a controller.
    fn standalone(&self, _bridge: BridgeId) -> Standalone {
        Standalone::No
    }
    /// Whether a port is live (link up, not down by configuration).
    fn live(&self, bridge: BridgeId, number: PortNo) -> bool {
        self.port(bridge, number).is_some_and(|p| p.live)
    }
    /// Where NORMAL knows an address to be.
    fn mac_lookup(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6]) -> Option<PortNo>;
    /// NORMAL saw an address.
    fn mac_learn(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6], port: PortNo);
    /// What comes of a flow entry that a learn action asks for; it is added if there may be `side_effects`.
    fn learn(&self, bridge: BridgeId, what: &Arc<Learned<Self::Entry>>, side_effects: bool) -> Answer;
    /// The token that stands for a punt.
    fn punt(&self, punt: Punt) -> u64;
    /// The recirculation id that stands for what is left to do (not 0); `None` if there is no room.
    fn freeze(&self, rest: Frozen<Self::Entry>) -> Option<u32>;
}

/// What translation must be told to credit when packets take this way.
#[derive(Clone)]
pub enum Credit<E, G> {
    /// A flow entry.
    Entry(BridgeId, TableId, E),
    /// A lookup that found nothing.
    Miss(BridgeId, TableId),
    /// A group, and the bucket (index) taken; once a bucket.
    Bucket(BridgeId, GroupId, G, usize),
    /// A group was entered.
    Group(BridgeId, GroupId, G),
    /// Received by (`true`) or sent to a patch port.
    Patch(BridgeId, PortNo, bool),
    /// NORMAL sees this address for as long as packets come.
    Mac(BridgeId, u16, [u8; 6], PortNo),
    /// A learn action refreshes its flow.
    Learn(BridgeId, Arc<Learned<E>>),
    /// TCP packets with FIN or RST: the timeouts of an entry are no longer than these, idle and hard, of which 0 says nothing.
    Fin(BridgeId, E, u16, u16),
}

/// A table visit: what the answer of this table depends on.
#[derive(Clone)]
pub struct Visit<E> {
    /// Bridge.
    pub bridge: BridgeId,
    /// Table.
    pub table: u8,
    /// The flow as it was looked up.
    pub flow: Flow,
    /// Bits of it that actions had made constant; of the others those in the final mask are fixed.
    pub known: Flow,
    /// What was found.
    pub entry: Option<E>,
}

/// Other things the answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dep {
    /// NORMAL's knowledge of an address.
    Mac(BridgeId, u16, [u8; 6]),
    /// The set or state of ports of a bridge (flooding).
    Ports(BridgeId),
    /// One port (there or not, its state).
    Port(BridgeId, PortNo),
    /// A group.
    Group(BridgeId, GroupId),
    /// A meter.
    Meter(BridgeId, MeterId),
    /// Whether more of a set may be learned.
    LearnRoom(BridgeId, LearnedSet),
    /// That a flow entry of a set is there, by its name.
    Learned(BridgeId, LearnedSet, u64),
}

/// The answer.
pub struct Outcome<W: World> {
    /// Bits of the key that it depends on.
    pub mask: FlowMask,
    /// Datapath actions; empty: drop.
    pub actions: Vec<DpAction>,
    /// Why it is dropped if it is.
    pub reason: Reason,
    /// Whom to credit.
    pub credits: SmallVec<[Credit<W::Entry, W::Group>; 4]>,
    /// Tables visited.
    pub visits: Vec<Visit<W::Entry>>,
    /// What else it depends on.
    pub deps: SmallVec<[Dep; 4]>,
    /// May be cached (no limit was hit, no error that the next packet might not meet).
    pub cacheable: bool,
}

/// Where an action list comes from: tells packet-ins their table and cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Table of the entry; 0xff for none (packet-out, bundle).
    pub table: TableId,
    /// Cookie of the entry; all ones for none.
    pub cookie: u64,
    /// The entry is a table-miss entry: its packet-ins are what NO_PACKET_IN is about.
    pub is_miss: bool,
    /// By way of a group.
    pub in_group: bool,
    /// Executed as part of the action set, at the end of the pipeline.
    pub in_action_set: bool,
}

impl Origin {
    /// A packet-out's.
    pub const NONE: Origin = Origin {
        table: TableId(0xff),
        cookie: u64::MAX,
        is_miss: false,
        in_group: false,
        in_action_set: false,
    };
    /// An entry's own actions.
    fn of(table: u8, e: &impl Entry) -> Self {
        Self { table: TableId(table), cookie: e.cookie(), is_miss: e.is_table_miss(), ..Self::NONE }
    }
    /// The table of the flow entry that the actions stand in, for actions that begin there: an action set and a packet-out begin at the first one.
    fn current_table(&self) -> u8 {
        if self.in_action_set || self.table == Self::NONE.table {
            0
        } else {
            self.table.0
        }
    }
    /// Why a controller gets what an output to CONTROLLER sends. A table miss is what the table-miss entry "directly sends" (OpenFlow 1.3.5,
    /// "Table-miss"), not what one of its groups does.
    fn reason(&self) -> PacketInReason {
        if self.is_miss && !self.in_group {
            PacketInReason::NO_MATCH
        } else {
            PacketInReason::ACTION
        }
    }
}

/// An action list: part of an entry, that of a clone action of an entry, or its own.
#[derive(Clone)]
enum List<E> {
    Of(E, usize),
    Clone(Arc<(E, Vec<Action>)>),
    Own(Arc<[Action]>),
}

impl<E: Entry> List<E> {
    fn get(&self) -> &[Action] {
        match self {
            List::Clone(c) => &c.1,
            List::Own(a) => a,
            List::Of(e, i) => match &e.instructions()[*i] {
                Instruction::ApplyActions(a) | Instruction::WriteActions(a) => a,
                _ => &[],
            },
        }
    }
    /// The entry that the actions stand in.
    fn owner(&self) -> Option<&E> {
        match self {
            List::Of(e, _) => Some(e),
            List::Clone(c) => Some(&c.0),
            List::Own(_) => None,
        }
    }
    /// Whether the same is done from these indexes on: by the same entry, if an action says something of its entry.
    fn is_as(&self, from: usize, other: &Self, other_from: usize) -> bool {
        let rest = &self.get()[from..];
        let mut names_entry = false;
        each_action(rest, &mut |a| names_entry |= matches!(a, Action::Learn(_) | Action::FinTimeout { .. }));
        rest == &other.get()[other_from..] && (!names_entry || same_entry(self.owner(), other.owner()))
    }
}

/// Something still to be done. The last pushed is done first.
#[derive(Clone)]
enum Step<E> {
    /// Look up in a table, and do as the entry says.
    Table(u8),
    /// As [`Step::Table`], but a miss is no drop; looked up with another in_port, perhaps.
    Resubmit(u8, Option<PortNo>),
    /// Actions of a list from an index on.
    Actions(List<E>, usize, Origin),
    /// Instructions of an entry after its actions: write-actions, metadata, goto.
    Rest(E, u8),
    /// Execute the action set (end of a pipeline).
    ActionSet,
    /// Actions of a bucket with this index, on a copy.
    Bucket(usize, Arc<[Action]>, Origin),
    /// Send out by a port.
    Send(PortNo),
    /// End of a copy: everything as it was before.
    EndCopy(Copied, Box<Saved>),
    /// End of something nested in what is this deep.
    Leave(Depth),
}

/// What a copy of the packet is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// A `clone` action: `exit` in it ends what is around it, too.
    Clone,
    /// A bucket: it keeps the packet and its pipeline fields from what is around it, but not the stack of `push` and `pop`.
    Bucket,
    /// A patch port.
    Patch,
}

/// How deep in groups, resubmits and patch ports we are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Depth {
    /// All of them: how far traces are indented.
    shown: u16,
    /// Those that count for [`MAX_DEPTH`].
    counted: u16,
}

/// State that a copy of the packet has for itself.
#[derive(Clone)]
struct Saved {
    bridge: BridgeId,
    flow: Flow,
    known: Flow,
    pending: Flow,
    extra_vlans: Vec<(u16, u16)>,
    action_set: ActionSet,
    last: Origin,
    stack: Vec<(u128, u16)>,
    queue: (Option<u32>, Option<u32>),
    reparse: bool,
    depth: Depth,
}

/// What is left to do for a packet after the datapath parsed it again.
#[derive(Clone)]
pub struct Frozen<E> {
    bridge: BridgeId,
    steps: Vec<Step<E>>,
    pipeline: [u64; 12],
    action_set: ActionSet,
    last: Origin,
    stack: Vec<(u128, u16)>,
    queue: Option<u32>,
    depth: Depth,
}

impl<E: Entry> PartialEq for Frozen<E> {
    fn eq(&self, o: &Self) -> bool {
        let step = |a: &Step<E>, b: &Step<E>| match (a, b) {
            (Step::Table(a), Step::Table(b)) => a == b,
            (Step::Resubmit(a, p), Step::Resubmit(b, q)) => (a, p) == (b, q),
            (Step::Actions(a, i, x), Step::Actions(b, j, y)) => x == y && a.is_as(*i, b, *j),
            (Step::Rest(a, i), Step::Rest(b, j)) => i == j && a.instructions() == b.instructions(),
            (Step::Bucket(i, a, x), Step::Bucket(j, b, y)) => (i, a, x) == (j, b, y),
            (Step::Send(a), Step::Send(b)) => a == b,
            (Step::Leave(a), Step::Leave(b)) => a == b,
            (Step::ActionSet, Step::ActionSet) => true,
            _ => false,
        };
        self.bridge == o.bridge
            && self.pipeline == o.pipeline
            && self.queue == o.queue
            && self.depth == o.depth
            && self.stack == o.stack
            && self.action_set.0 == o.action_set.0
            && self.last == o.last
            && self.steps.len() == o.steps.len()
            && self.steps.iter().zip(&o.steps).all(|(a, b)| step(a, b))
    }
}

impl<E: Entry> Frozen<E> {
    /// Equal frozen states have equal hashes.
    pub fn hash(&self) -> u64 {
        let start = u64::from(self.bridge.0) << 32 | self.steps.len() as u64;
        self.pipeline.iter().fold(start, |h, w| crate::flow::mix(h, *w))
    }
    /// The entries that it holds on to.
    pub fn entries(&self) -> impl Iterator<Item = &E> {
        self.steps.iter().filter_map(|s| match s {
            Step::Actions(list, ..) => list.owner(),
            Step::Rest(e, ..) => Some(e),
            _ => None,
        })
    }
}

/// OpenFlow 1.3.5, "Action Set": at most one action of each type, executed in the specification's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ActionSet(Vec<Action>);

/// Whether an action has a place in an action set.
pub(crate) fn may_be_in_set(a: &Action) -> bool {
    ActionSet::rank(a).is_some()
}

impl ActionSet {
    /// Position in the order of execution; `None`: not for action sets.
    fn rank(a: &Action) -> Option<u8> {
        Some(match a {
            Action::CopyTtlIn => 0,
            Action::PopPbb => 1,
            Action::PopVlan => 2,
            Action::PopMpls(_) => 3,
            Action::PushMpls(_) => 4,
            Action::PushPbb(_) => 5,
            Action::PushVlan(_) => 6,
            Action::CopyTtlOut => 7,
            Action::DecMplsTtl => 8,
            Action::DecNwTtl | Action::DecTtlCntIds(_) => 9,
            Action::SetNwTtl(_) => 10,
            Action::SetMplsTtl(_) => 11,
            Action::SetField(_) | Action::RegLoad2(_) | Action::RegLoad { .. } | Action::RegMove { .. } => 12,
            Action::SetTunnel(_) => 13,
            Action::SetQueue(_) => 14,
            Action::Group(_) => 15,
            Action::Output { .. } => 16,
            Action::Resubmit { .. } => 17,
            _ => return None,
        })
    }
    fn same_slot(a: &Action, b: &Action) -> bool {
        use openflow::Oxm;
        match (a, b) {
            (Action::SetField(Oxm::Known(x)), Action::SetField(Oxm::Known(y))) => x.field == y.field,
            (Action::RegLoad { dst: x, .. }, Action::RegLoad { dst: y, .. }) => x == y,
            (Action::RegMove { dst: x, .. }, Action::RegMove { dst: y, .. }) => x == y,
            (Action::RegLoad2(Oxm::Known(x)), Action::RegLoad2(Oxm::Known(y))) => {
                x.field == y.field && x.mask == y.mask
            }
            _ => Self::rank(a) == Self::rank(b) && Self::rank(a) != Some(12),
        }
    }
    fn write(&mut self, a: &Action) {
        if Self::rank(a).is_none() {
            return;
        }
        // What a move may have read of a field set before it stays.
        let moved = self.0.iter().rposition(|b| matches!(b, Action::RegMove { .. })).map_or(0, |i| i + 1);
        let mut i = 0;
        self.0.retain(|b| {
            i += 1;
            !Self::same_slot(a, b) || i <= moved && Self::rank(b) == Some(12)
        });
        self.0.push(a.clone());
    }
    /// The list to execute: the specification's order; a group makes an output moot, and either of them a resubmit.
    fn take(&mut self) -> Vec<Action> {
        let mut v = std::mem::take(&mut self.0);
        v.sort_by_key(Self::rank);
        if v.iter().any(|a| matches!(a, Action::Group(_))) {
            v.retain(|a| !matches!(a, Action::Output { .. }));
        }
        if v.iter().any(|a| matches!(a, Action::Group(_) | Action::Output { .. })) {
            v.retain(|a| !matches!(a, Action::Resubmit { .. }));
        }
        v
    }
    fn output(&self) -> u32 {
        let group = self.0.iter().any(|a| matches!(a, Action::Group(_)));
        match self
            .0
            .iter()
            .find_map(|a| if let Action::Output { port, .. } = a { Some(port.0) } else { None })
        {
            Some(p) if !group => p,
            _ => PortNo::UNSET.0,
        }
    }
}

/// Follows a translation, for people.
pub trait Listener {
    /// The pipeline of a bridge starts.
    fn bridge(&mut self, depth: u16, name: &str);
    /// A table was looked up; `what` describes the entry, or says that there is none.
    fn table(&mut self, depth: u16, table: u8, what: &str);
    /// Something is done.
    fn action(&mut self, depth: u16, what: &str);
    /// Something worth saying.
    fn note(&mut self, depth: u16, what: &str);
}

/// What to translate.
pub struct Input<'l> {
    /// The bridge.
    pub bridge: BridgeId,
    /// The packet with its OpenFlow in_port.
    pub flow: Flow,
    /// A real packet: learn from it.
    pub side_effects: bool,
    /// Who wants to follow.
    pub listener: Option<&'l mut dyn Listener>,
}

/// A translation under way.
pub struct Xlate<'w, 'l, W: World> {
    world: &'w W,
    listener: Option<&'l mut dyn Listener>,
    side_effects: bool,
    /// The bridge we are in.
    bridge: BridgeId,
    /// The packet now.
    flow: Flow,
    /// The packet as it came.
    start: Flow,
    /// Bits looked at, of those the packet brought.
    wc: Flow,
    /// Bits of `flow` that do not come from the packet any more.
    known: Flow,
    /// Bits set since the last commit.
    pending: Flow,
    /// Tags below the two that a key holds (tci, tpid).
    extra_vlans: Vec<(u16, u16)>,
    action_set: ActionSet,
    /// The entry matched last in this bridge: whose packet-ins the action set's are.
    last: Origin,
    stack: Vec<(u128, u16)>,
    /// Queue wanted, and queue in force in the datapath.
    queue: (Option<u32>, Option<u32>),
    /// Headers below were not parsed: before anything looks at them, freeze.
    reparse: bool,
    steps: SmallVec<[Step<W::Entry>; 6]>,
    /// Action lists under construction; the last is the current copy's.
    out: SmallVec<[Vec<DpAction>; 2]>,
    n_actions: usize,
    lookups: usize,
    work: usize,
    depth: Depth,
    reason: Option<Reason>,
    cacheable: bool,
    credits: SmallVec<[Credit<W::Entry, W::Group>; 4]>,
    visits: Vec<Visit<W::Entry>>,
    deps: SmallVec<[Dep; 4]>,
}

impl<'w, 'l, W: World> Xlate<'w, 'l, W> {
    fn new(world: &'w W, input: Input<'l>) -> Self {
        let mut wc = Flow::ZERO;
        wc.put(off::IN_PORT, 4, 0xffff_ffff);
        wc.put(off::RECIRC_ID, 4, 0xffff_ffff);
        let mut known = Flow::ZERO;
        for w in &mut known.0[datapath::flow_key::KEY_BYTES / 8..] {
            *w = u64::MAX; // the pipeline's own fields never come from the packet
        }
        let mut flow = input.flow;
        flow.put(pipe::ACTSET_OUTPUT, 4, PortNo::UNSET.0.into());
        Self {
            world,
            listener: input.listener,
            side_effects: input.side_effects,
            bridge: input.bridge,
            start: flow,
            flow,
            wc,
            known,
            pending: Flow::ZERO,
            extra_vlans: Vec::new(),
            action_set: ActionSet::default(),
            last: Origin::NONE,
            stack: Vec::new(),
            queue: (None, None),
            reparse: false,
            steps: SmallVec::new(),
            out: smallvec![Vec::new()],
            n_actions: 0,
            lookups: 0,
            work: 0,
            depth: Depth::default(),
            reason: None,
            cacheable: true,
            credits: SmallVec::new(),
            visits: world.room(),
            deps: SmallVec::new(),
        }
    }

    /// A packet that came in by a port: through the tables from table 0.
    pub fn packet(world: &'w W, input: Input<'l>) -> Outcome<W> {
        let mut x = Self::new(world, input);
        x.enter_bridge();
        x.run()
    }

    /// A packet that comes back with a recirculation id. `flow` holds the packet; the pipeline's fields come from `rest`.
    pub fn resume(world: &'w W, mut input: Input<'l>, rest: &Frozen<W::Entry>) -> Outcome<W> {
        input.bridge = rest.bridge;
        let n = datapath::flow_key::KEY_BYTES / 8;
        input.flow.0[n..].copy_from_slice(&rest.pipeline);
        let mut x = Self::new(world, input);
        x.flow.0[n..].copy_from_slice(&rest.pipeline);
        x.steps = rest.steps.iter().cloned().collect();
        x.action_set = rest.action_set.clone();
        x.last = rest.last;
        x.stack = rest.stack.clone();
        x.queue = (rest.queue, None);
        x.depth = rest.depth;
        x.run()
    }

    /// Actions of a packet-out. The mask means nothing then.
    pub fn packet_out(world: &'w W, input: Input<'l>, actions: &[Action]) -> Outcome<W> {
        let mut x = Self::new(world, input);
        x.steps.push(Step::ActionSet);
        x.steps.push(Step::Actions(List::Own(actions.into()), 0, Origin::NONE));
        x.run()
    }

    /// Starts the pipeline of the current bridge (input checks, table 0).
    fn enter_bridge(&mut self) {
        if self.listener.is_some() {
            let name = self.world.bridge_name(self.bridge);
            let depth = self.depth.shown;
            self.tell(|l| l.bridge(depth, &name));
        }
        let in_port = PortNo(self.flow.in_port());
        self.deps.push(Dep::Port(self.bridge, in_port));
        if self.world.port(self.bridge, in_port).is_some_and(|p| p.no_recv) {
            return self.end(Reason::PortNoRecv);
        }
        if self.world.drop_fragments(self.bridge) {
            self.look(off::IP_FRAG, 1, 0xff);
            if self.flow.byte(off::IP_FRAG) != 0 {
                return self.end(Reason::Fragment);
            }
        }
        if self.world.standalone(self.bridge) == Standalone::All {
            self.note("no controller is connected: NORMAL for all packets (fail-mode standalone)");
            return self.push_normal();
        }
        self.steps.push(Step::ActionSet);
        self.steps.push(Step::Table(0));
    }
    fn push_normal(&mut self) {
        let normal = Action::Output { port: PortNo::NORMAL, max_len: 0 };
        self.steps.push(Step::Actions(List::Own(vec![normal].into()), 0, Origin::NONE));
    }

    fn tell(&mut self, f: impl FnOnce(&mut dyn Listener)) {
        if let Some(l) = &mut self.listener {
            f(&mut **l);
        }
    }
    fn note(&mut self, what: &str) {
        let d = self.depth.shown;
        self.tell(|l| l.note(d, what));
    }

    /// The packet (this copy of it) goes no further for this reason; what is left of the stack goes on.
    fn end(&mut self, why: Reason) {
        if self.listener.is_some() {
            self.note(&format!("dropped: {}", REASONS[why as usize].1));
        }
        self.reason.get_or_insert(why);
    }
    /// A limit was hit: nothing of this packet is sent.
    fn abort(&mut self, why: Reason) {
        self.end(why);
        self.reason = Some(why);
        self.steps.clear();
        self.out = smallvec![Vec::new()];
        self.cacheable = false;
    }

    /// Un-wildcards bits of `n` bytes at `at`.
    fn look(&mut self, at: usize, n: usize, bits: u128) {
        let mut m = Flow::ZERO;
        m.put(at, n, bits);
        self.look_mask(&m);
    }
    fn look_mask(&mut self, m: &Flow) {
        for i in 0..m.0.len() {
            self.wc.0[i] |= m.0[i] & !self.known.0[i];
        }
    }

    fn emit(&mut self, a: DpAction) {
        self.n_actions += 1;
        if self.n_actions > MAX_ACTIONS {
            return self.abort(Reason::TooManyActions);
        }
        if let Some(v) = self.out.last_mut() {
            v.push(a);
        }
    }

    /// Makes one patch of all rewrites since the last.
    fn commit(&mut self) {
        let mut mask = self.pending.key();
        self.pending = Flow::ZERO;
        // Not headers: ports, recirculation, tunnel, marks.
        for w in [0, 6, 7, 19, 20, 21, 22, 23] {
            mask.0[w] = 0;
        }
        if mask != FlowKey::ZERO {
            let value = self.flow.key().masked(&mask);
            self.emit(DpAction::Set(Box::new(KeyPatch { value, mask })));
        }
    }

    fn run(&mut self) -> Outcome<W> {
        while let Some(step) = self.steps.pop() {
            if self.steps.len() > MAX_STACK {
                self.abort(Reason::TooManyActions);
                break;
            }
            if !self.works() {
                break;
            }
            match step {
                Step::Table(t) => self.table(t, None),
                Step::Resubmit(t, port) => self.table(t, Some(port)),
                Step::Actions(list, at, origin) => self.actions(list, at, origin),
                Step::Rest(e, table) => self.rest(&e, table),
                Step::ActionSet => {
                    let list = self.action_set.take();
                    if !list.is_empty() {
                        self.note_set(&list);
                        let origin = Origin { in_action_set: true, ..self.last };
                        self.steps.push(Step::Actions(List::Own(list.into()), 0, origin));
                    }
                }
                Step::Bucket(i, list, origin) => self.bucket(i, list, origin),
                Step::Send(p) => self.send(p),
                Step::EndCopy(what, s) => self.end_copy(what, *s),
                Step::Leave(depth) => self.depth = depth,
            }
        }
        while self.out.len() > 1 {
            let inner = self.out.pop().unwrap_or_default();
            self.join(inner);
        }
        let mut actions = self.out.pop().unwrap_or_default();
        trim(&mut actions);
        let mask = self.wc.key();
        let reason = self.reason.unwrap_or(Reason::NoOutput);
        Outcome {
            mask,
            actions,
            reason,
            credits: std::mem::take(&mut self.credits),
            visits: std::mem::take(&mut self.visits),
            deps: std::mem::take(&mut self.deps),
            cacheable: self.cacheable,
        }
    }

    /// Counts a step or an action; `false` once there were too many, and the translation is over.
    fn works(&mut self) -> bool {
        self.work += 1;
        if self.work > MAX_WORK {
            self.abort(Reason::TooManyActions);
        }
        self.work <= MAX_WORK
    }

    fn note_set(&mut self, list: &[Action]) {
        if self.listener.is_some() {
            let text = format!("action set: {}", openflow::text::print_actions(list));
            self.note(&text);
        }
    }

    /// Looks up in a table. `resubmit`: for a resubmit, and the in_port it gives.
    fn table(&mut self, table: u8, resubmit: Option<Option<PortNo>>) {
        if self.reparse {
            self.steps.push(resubmit.map_or(Step::Table(table), |port| Step::Resubmit(table, port)));
            return self.freeze();
        }
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return self.abort(Reason::TooManyLookups);
        }
        let set_output = self.action_set.output();
        self.flow.put(pipe::ACTSET_OUTPUT, 4, set_output.into());
        // For the lookup alone: the actions found see the packet's in_port.
        let in_port = self.flow.in_port();
        if let Some(port) = resubmit.flatten() {
            self.flow.put(pipe::IN_PORT, 4, port.0.into());
        }
        let resubmit = resubmit.is_some();
        let mut looked = Flow::ZERO;
        let entry = self.world.lookup(self.bridge, table, &self.flow, &mut looked);
        self.look_mask(&looked);
        let visit =
            Visit { bridge: self.bridge, table, flow: self.flow, known: self.known, entry: entry.clone() };
        self.visits.push(visit);
        self.flow.put(pipe::IN_PORT, 4, in_port.into());
        let d = self.depth.shown;
        let Some(e) = entry else {
            self.tell(|l| l.table(d, table, "No match."));
            self.credits.push(Credit::Miss(self.bridge, TableId(table)));
            if !resubmit && table == 0 && self.world.standalone(self.bridge) == Standalone::Misses {
                self.note("no controller is configured: NORMAL (fail-mode standalone)");
                self.push_normal();
            } else if !resubmit {
                // OpenFlow 1.3.5, "Table-miss": dropped, whatever the action set holds.
                self.action_set.0.clear();
                self.end(Reason::TableMiss);
            }
            return;
        };
        if self.listener.is_some() {
            let sep = if e.is_table_miss() { "" } else { ", " };
            let cookie = if e.cookie() == 0 { String::new() } else { format!(", cookie {:#x}", e.cookie()) };
            let text = format!("{}{sep}priority {}{cookie}", e.describe(), e.priority());
            self.tell(|l| l.table(d, table, &text));
        }
        self.credits.push(Credit::Entry(self.bridge, TableId(table), e.clone()));
        let origin = Origin::of(table, &e);
        self.last = origin;
        // Instructions are executed in the specification's order: meter, apply, clear, write, metadata, goto.
        let apply = e.instructions().iter().position(|i| matches!(i, Instruction::ApplyActions(_)));
        let has_rest = e
            .instructions()
            .iter()
            .any(|i| !matches!(i, Instruction::ApplyActions(_) | Instruction::Meter(_)));
        if has_rest {
            self.steps.push(Step::Rest(e.clone(), table));
        }
        if let Some(i) = apply {
            self.steps.push(Step::Actions(List::Of(e.clone(), i), 0, origin));
        }
        for i in e.instructions() {
            if let Instruction::Meter(id) = i {
                self.meter(*id);
            }
        }
    }

    fn meter(&mut self, id: MeterId) {
        let d = self.depth.shown;
        self.tell(|l| l.action(d, &format!("meter:{id}")));
        self.deps.push(Dep::Meter(self.bridge, id));
        if let Some((dp, remarks)) = self.world.meter(self.bridge, id) {
            self.commit();
            self.emit(DpAction::Meter(dp));
            // The DSCP that follows is the meter's to say.
            self.reparse |= remarks;
        }
    }

    fn rest(&mut self, e: &W::Entry, table: u8) {
        let list = e.instructions();
        let d = self.depth.shown;
        if list.iter().any(|i| matches!(i, Instruction::ClearActions)) {
            self.tell(|l| l.action(d, "clear_actions"));
            self.action_set.0.clear();
        }
        for i in list {
            if let Instruction::WriteActions(a) = i {
                if self.listener.is_some() {
                    let text = format!("write_actions({})", openflow::text::print_actions(a));
                    self.tell(|l| l.action(d, &text));
                }
                for a in a {
                    if !self.works() {
                        return;
                    }
                    self.action_set.write(a);
                    if self.action_set.0.len() > MAX_ACTIONS {
                        return self.abort(Reason::TooManyActions);
                    }
                }
            }
        }
        for i in list {
            if let Instruction::WriteMetadata { metadata, mask } = i {
                self.tell(|l| l.action(d, &format!("write_metadata:{metadata:#x}/{mask:#x}")));
                let old = self.flow.get(pipe::METADATA, 8) as u64;
                self.flow.put(pipe::METADATA, 8, (old & !mask | metadata & mask).into());
            }
        }
        for i in list {
            if let Instruction::GotoTable(t) = i {
                self.tell(|l| l.action(d, &format!("goto_table:{t}")));
                if t.0 > table {
                    self.steps.push(Step::Table(t.0));
                }
            }
        }
    }

    /// Begins a copy of the packet; what `steps` (first to be done first) do to it is undone after them.
    fn copy(&mut self, what: Copied, steps: Vec<Step<W::Entry>>) {
        let saved = Saved {
            bridge: self.bridge,
            flow: self.flow,
            known: self.known,
            pending: self.pending,
            extra_vlans: self.extra_vlans.clone(),
            action_set: self.action_set.clone(),
            last: self.last,
            stack: self.stack.clone(),
            queue: self.queue,
            reparse: self.reparse,
            depth: self.depth,
        };
        self.steps.push(Step::EndCopy(what, Box::new(saved)));
        self.steps.extend(steps.into_iter().rev());
        self.out.push(Vec::new());
    }

    fn end_copy(&mut self, what: Copied, s: Saved) {
        let inner = self.out.pop().unwrap_or_default();
        if self.out.is_empty() {
            self.out.push(Vec::new());
        }
        self.join(inner);
        let Saved {
            bridge,
            flow,
            known,
            pending,
            extra_vlans,
            action_set,
            last,
            stack,
            queue,
            reparse,
            depth,
        } = s;
        (self.bridge, self.flow, self.known, self.pending) = (bridge, flow, known, pending);
        (self.extra_vlans, self.action_set, self.last) = (extra_vlans, action_set, last);
        if what != Copied::Bucket {
            self.stack = stack;
        }
        (self.queue, self.reparse, self.depth) = (queue, reparse, depth);
    }

    /// Adds the actions of a copy to those of the packet it is a copy of.
    fn join(&mut self, mut inner: Vec<DpAction>) {
        trim(&mut inner);
        let harmless = |a: &DpAction| {
            matches!(
                a,
                DpAction::Output(_) | DpAction::Userspace(_) | DpAction::Clone(_) | DpAction::Trunc(_)
            )
        };
        if let Some(outer) = self.out.last_mut() {
            if inner.iter().all(harmless) {
                outer.append(&mut inner);
            } else {
                outer.push(DpAction::Clone(inner));
            }
        }
    }

    /// Has the packet parsed again: the steps of this copy that are left are done when it comes back.
    fn freeze(&mut self) {
        let from = self.steps.iter().rposition(|s| matches!(s, Step::EndCopy(..))).map_or(0, |i| i + 1);
        let steps: Vec<_> = self.steps.drain(from..).collect();
        if steps.iter().all(|s| matches!(s, Step::Leave(_)))
            || steps.iter().all(|s| matches!(s, Step::ActionSet | Step::Leave(_)))
                && self.action_set.0.is_empty()
        {
            return; // nothing is left to do
        }
        self.commit();
        let mut pipeline = [0; 12];
        pipeline.copy_from_slice(&self.flow.0[datapath::flow_key::KEY_BYTES / 8..]);
        let rest = Frozen {
            bridge: self.bridge,
            steps,
            pipeline,
            action_set: self.action_set.clone(),
            last: self.last,
            stack: self.stack.clone(),
            queue: self.queue.0,
            depth: self.depth,
        };
        match self.world.freeze(rest) {
            Some(id) => {
                self.note(&format!("the packet is parsed again, and goes on as recirc({id:#x})"));
                self.emit(DpAction::Recirc(id));
            }
            None => self.abort(Reason::RecircGone),
        }
    }

    /// One nesting more; `false` past the limit: a loop of resubmits or patch ports, whose copies so far are not sent either.
    fn deeper(&mut self) -> bool {
        if self.depth.counted >= MAX_DEPTH {
            self.abort(Reason::TooDeep);
            return false;
        }
        self.nest(1);
        true
    }
    /// One nesting more, that counts for so many.
    fn nest(&mut self, counted: u16) {
        self.steps.push(Step::Leave(self.depth));
        self.depth.shown += 1;
        self.depth.counted += counted;
    }
}

/// Takes away what has no effect at the end of a list: rewrites after which nothing is sent.
fn trim(actions: &mut Vec<DpAction>) {
    while let Some(a) = actions.last() {
        match a {
            DpAction::Output(_) | DpAction::Userspace(_) | DpAction::Recirc(_) | DpAction::Meter(_) => break,
            DpAction::Clone(v) if !v.is_empty() => break,
            _ => drop(actions.pop()),
        }
    }
    // A copy at the very end needs none.
    if matches!(actions.last(), Some(DpAction::Clone(_))) {
        if let Some(DpAction::Clone(v)) = actions.pop() {
            actions.extend(v);
        }
    }
}
