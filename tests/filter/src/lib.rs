//! Compares the filter's compiler with libpcap, which tcpdump uses. Only its tests link libpcap (`libpcap-dev`); the
//! program does not.

pub mod expressions;
pub mod libpcap;
pub mod machine;
pub mod packets;
pub mod random;

use std::net::{IpAddr, Ipv4Addr};

use ipft_core::filter::Names;

/// Resolves one name, which libpcap finds in /etc/hosts.
pub struct TestNames;

impl Names for TestNames {
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        match host {
            "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            _ => Err("no such host".to_owned()),
        }
    }
}
