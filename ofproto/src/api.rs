//! What the daemon and the command socket know of the switch beside [`crate::conn::manager::Backend`]: names and settings.

use openflow::msg::multipart::Desc;
use openflow::PortNo;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A bridge of the switch; stays valid until the bridge is deleted and is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct BridgeId(pub u32);

/// Called (from any thread) when [`crate::switch::Switch::run`] has something to do. Must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What a bridge is made with.
#[derive(Debug, Clone, Serialize)]
pub struct BridgeConfig {
    /// Its name; `LOCAL` has it too.
    pub name: String,
    /// Datapath id.
    pub dpid: u64,
    /// Answer to `OFPMP_DESC`.
    pub desc: Desc,
    /// Behave like a learning switch while no controller is connected.
    pub standalone: bool,
    /// Seconds until NORMAL forgets an address.
    pub mac_aging_s: u32,
    /// Packets kept for controllers at most ([`crate::buffers`]); 0: none.
    pub n_buffers: u32,
    /// Tables that hold fewer entries than they could.
    pub tables: BTreeMap<u8, TableLimit>,
}

/// How many entries a table holds, and what happens beyond that (`Flow_Table` in OVS's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TableLimit {
    /// Most entries; `None`: as many as there can be.
    pub flow_limit: Option<u32>,
    /// An add to a full table takes the place of the entry that would end first by its timeouts (`overflow-policy=evict`), rather than being
    /// refused.
    pub evict: bool,
}

/// Whether what happens to a bridge's tables is gathered for a journal ([`crate::conn::manager::Backend::take_unasked`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Journaling {
    /// There is none.
    #[default]
    Off,
    /// One is replayed. What happened without being asked for is written there in so many words, so it does not happen by itself: no
    /// table is full, and a set of table features takes no entries away.
    Replay,
    /// It is.
    On,
}

impl TableLimit {
    /// Entries at most.
    pub fn most(&self) -> u32 {
        self.flow_limit.map_or(crate::table::MAX_ENTRIES, |n| n.min(crate::table::MAX_ENTRIES))
    }
}

impl BridgeConfig {
    /// A bridge with the usual settings.
    pub fn new(name: &str, dpid: u64) -> Self {
        let desc = Desc {
            mfr_desc: "ofswitch".into(),
            hw_desc: "user-space switch".into(),
            sw_desc: env!("CARGO_PKG_VERSION").into(),
            serial_num: "None".into(),
            dp_desc: name.into(),
        };
        Self {
            name: name.into(),
            dpid,
            desc,
            standalone: false,
            mac_aging_s: 300,
            n_buffers: 0,
            tables: BTreeMap::new(),
        }
    }
}

/// A port to be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PortSpec {
    /// Name, at most 15 bytes.
    pub name: String,
    /// OpenFlow number wanted; else the lowest free from 1.
    pub ofport: Option<PortNo>,
    /// `system`, `internal`, `patch`, `dpdk`, ... (DESIGN section 5).
    pub kind: String,
    /// Options of the kind: `peer` for patch, `devargs`, ...
    pub options: BTreeMap<String, String>,
}

/// Why a port or bridge cannot be had: one clear line for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// One cached decision, for `dump-megaflows`.
#[derive(Debug, Clone, Serialize)]
pub struct MegaflowDump {
    /// Worker that holds it.
    pub worker: u32,
    /// Key and mask in OVS's words.
    pub matching: String,
    /// Datapath actions in OVS's words, `drop` if none.
    pub actions: String,
    /// Packets handled.
    pub packets: u64,
    /// Bytes handled.
    pub bytes: u64,
    /// Milliseconds since last use; `None`: never used.
    pub used_ms: Option<u64>,
    /// A packet of its kind in OpenFlow's words, as `trace` reads them; only of those that were asked for by a flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
}

/// A megaflow and what it did since the last look.
#[derive(Debug, Clone, Serialize)]
pub struct BusyFlow {
    /// Worker that holds it.
    pub worker: u32,
    /// Key and mask in OVS's words.
    pub matching: String,
    /// Datapath actions in OVS's words, `drop` if none.
    pub actions: String,
    /// Packets handled since the last look.
    pub packets: u64,
    /// Bytes handled since the last look.
    pub bytes: u64,
}

/// Packets and bytes of each megaflow at the last look.
pub type Looked = std::collections::HashMap<(u32, u32, u64), (u64, u64)>;
