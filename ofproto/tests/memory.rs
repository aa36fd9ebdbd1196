//! Bytes that a flow entry takes, counted where they are asked for: the goal is 256 of resident memory in all, and that wants a good part of
//! it left for what an allocator adds.

use ofproto::conn::bundled::Bundled;
use ofproto::table::{Checks, FlowTables};
use openflow::msg::{FlowMod, FlowModCommand, Message, OfMessage};
use openflow::{Action, Field, GroupId, Instruction, Match, MeterId, PortNo, TableId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;
static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: all is the system allocator's; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        LIVE.fetch_add(l.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        LIVE.fetch_sub(l.size() as isize, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(p, l) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Any;
impl Checks for Any {
    fn group_exists(&self, _: GroupId) -> bool {
        true
    }
    fn meter_exists(&self, _: MeterId) -> bool {
        true
    }
    fn port_ok(&self, _: PortNo) -> bool {
        true
    }
    fn max_table(&self) -> u8 {
        254
    }
}

fn flow(i: u32) -> FlowMod {
    FlowMod {
        priority: 100,
        matching: Match::new()
            .with(Field::EthType, 0x0800)
            .with(Field::IpProto, 6)
            .with(Field::Ipv4Dst, (0x0a00_0000 + i).into())
            .with(Field::TcpDst, (i % 1000 + 1).into()),
        instructions: vec![Instruction::ApplyActions(vec![Action::Output {
            port: PortNo(i % 4 + 1),
            max_len: 0,
        }])]
        .into(),
        ..FlowMod::default()
    }
}

fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// One test, since all of a process is counted.
#[test]
fn a_flow_entry_is_small_and_leaves_nothing_behind() {
    const N: u32 = 100_000;
    let mut t = FlowTables::new();
    let before = live();
    for i in 0..N {
        t.flow_mod(&flow(i), 0, &Any).expect("taken");
    }
    let each = (live() - before) / N as isize;
    // About the worst number of entries for a trie: its leaves have just split.
    assert!(each <= 216, "{each} bytes a flow entry");
    // A published version that the next changes do not share with it.
    let published = t.tables.clone();
    for i in 0..100 {
        t.flow_mod(&flow(N + i), 0, &Any).expect("taken");
    }
    drop(published);
    let all = FlowMod { command: FlowModCommand::DELETE, table_id: TableId::ALL, ..FlowMod::default() };
    assert_eq!(t.flow_mod(&all, 0, &Any).expect("taken").len(), N as usize + 100);
    let left = (live() - before) / N as isize;
    assert!(left <= 1, "{left} bytes a flow entry are left");

    // A bundle holds little more than the bytes of its messages.
    let message = OfMessage::new(1u32, Message::FlowMod(flow(7))).to_bytes().expect("short");
    let before = live();
    let mut b = Bundled::default();
    (0..N).for_each(|_| b.push(&message));
    let held = (live() - before) / N as isize;
    assert!(held <= message.len() as isize * 9 / 8, "{held} bytes for a message of {}", message.len());
    drop(b);
    assert!(live() - before < 4096);
}
