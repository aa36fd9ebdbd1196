//! Ports: the devices that packets come from and go to.

pub mod counters;
pub mod monitor;
pub mod netlink;
pub mod offload;
pub mod sys;
