//! Directories and ports: leased, swept, kept.

use eidos_sandbox::{PortLease, ScratchDir};

#[test]
fn a_dropped_directory_is_gone_unless_it_was_kept() {
    let plain = ScratchDir::create("test").unwrap();
    let kept = ScratchDir::create("test").unwrap();
    kept.keep();
    let (gone, stays) = (plain.path().to_owned(), kept.path().to_owned());
    assert_ne!(gone, stays);
    drop((plain, kept));
    assert!(!gone.exists() && stays.exists());
    std::fs::remove_dir_all(stays).unwrap();
}

#[test]
fn a_leased_port_is_leased_once() {
    let leases: Vec<PortLease> = (0..50).map(|_| PortLease::take().unwrap()).collect();
    let mut ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
    // Below the ports that the kernel gives to outgoing connections.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    assert!(ports.iter().all(|port| *port < lowest), "{ports:?} and {range}");
}
