//! A safe wrapper over DPDK 22.11 (feature `dpdk`): the environment ([`eal`]), pools of buffers ([`mempool`]), Ethernet devices
//! ([`ethdev`]), packets ([`mbuf`]). Bindings are `dpdk-sys`'s; the port drivers on top are `port::dpdk`.

pub mod eal;
pub mod ethdev;
pub mod mbuf;
pub mod mempool;
