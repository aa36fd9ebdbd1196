//! Ports: the devices that packets come from and go to.

pub mod netlink;
pub mod offload;
pub mod sys;
