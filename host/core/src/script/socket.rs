//! Sockets that give each packet of a device to a program. Imports nothing of the crate.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// A socket, whose program runs as long as it is open.
pub(super) struct Socket(#[expect(dead_code, reason = "It is only held, and closed at the end.")] OwnedFd);

/// The reason why a program cannot be attached to a device.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("not permitted to open a packet socket; run ipft as root, or with CAP_NET_RAW")]
    Permission,
    #[error("there is no device '{0}' in this network namespace; `ip link` lists them")]
    NoDevice(String),
    #[error("cannot {doing}: {error}")]
    Other { doing: &'static str, error: io::Error },
}

/// All protocols (include/uapi/linux/if_ether.h).
const EVERY_PROTOCOL: u16 = 3;

/// Attaches a program to all packets of a device, as they are sent and received.
pub(super) fn attach(device: &str, program: BorrowedFd<'_>) -> Result<Socket, SocketError> {
    let other = |doing| move |error: io::Error| SocketError::Other { doing, error };
    // Without a protocol it receives nothing, so that the program sees the first packet.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(|error| match error {
        rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => SocketError::Permission,
        error => other("open a packet socket")(error.into()),
    })?;
    let index = netdevice::name_to_index(&socket, device).map_err(|_| SocketError::NoDevice(device.to_owned()))?;
    let index = i32::try_from(index).map_err(|_| SocketError::NoDevice(device.to_owned()))?;

    let descriptor = program.as_raw_fd();
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const descriptor).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result != 0 {
        return Err(other("attach the program to the socket")(io::Error::last_os_error()));
    }
    // SAFETY: all-zero is valid for this struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = EVERY_PROTOCOL.to_be();
    address.sll_ifindex = index;
    // SAFETY: the address is of the size that is given, and outlives the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(Socket(socket)),
        _ => Err(other("bind the socket to the device")(io::Error::last_os_error())),
    }
}
