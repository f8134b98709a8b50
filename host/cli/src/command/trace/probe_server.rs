//! The probe server: a TCP port that accepts connections once the trace is ready, so that a script or an orchestrator
//! can wait for it (`until nc -z 127.0.0.1 13720; do sleep 1; done`).
//!
//! It sends nothing and reads nothing: it accepts and closes. The address is bound before attaching, so that a busy
//! port fails early; connections are refused until [`ProbeServer::serve`]. This file imports nothing of the crate.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

/// Backlog of connections.
const BACKLOG: i32 = 128;

/// The reason why there is no probe server.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeServerError {
    /// Another process uses the port.
    #[error(
        "cannot serve probes on {0}: the address is in use; stop what listens there, or choose another port with \
         --probe-server-port"
    )]
    InUse(SocketAddr),
    /// The address is not one of this machine.
    #[error(
        "cannot serve probes on {0}: this machine (in this network namespace) has no such address; \
         --probe-server-address takes one of its own, or 0.0.0.0 for all"
    )]
    NoSuchAddress(SocketAddr),
    /// A port below 1024, without privileges.
    #[error("cannot serve probes on {0}: no permission; choose a port from 1024 up with --probe-server-port")]
    NotPermitted(SocketAddr),
    /// Anything else.
    #[error("cannot serve probes on {address}: {error}")]
    Other {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        error: io::Error,
    },
}

impl ProbeServerError {
    fn new(address: SocketAddr, errno: Errno) -> Self {
        match errno {
            Errno::ADDRINUSE => ProbeServerError::InUse(address),
            Errno::ADDRNOTAVAIL => ProbeServerError::NoSuchAddress(address),
            Errno::ACCESS => ProbeServerError::NotPermitted(address),
            errno => ProbeServerError::Other {
                address,
                error: errno.into(),
            },
        }
    }
}

/// A bound port that refuses connections.
#[derive(Debug)]
pub(super) struct ProbeServer {
    socket: OwnedFd,
    address: SocketAddr,
}

impl ProbeServer {
    /// Binds the address.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, ProbeServerError> {
        let socket = (|| {
            let family = if address.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = net::socket_with(family, SocketType::STREAM, flags, Some(net::ipproto::TCP))?;
            // Without it the connections of an earlier run, closed by ipft and now in TIME_WAIT, block the port for a
            // minute. A port with a listener is refused nevertheless.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            net::bind(&socket, &address)?;
            Ok(socket)
        })()
        .map_err(|errno| ProbeServerError::new(address, errno))?;
        Ok(ProbeServer { socket, address })
    }

    /// Accepts connections until the result is dropped. May fail although the address was bound: the kernel lets two
    /// sockets bind it while neither listens, and the second to listen fails.
    pub(super) fn serve(self) -> Result<Serving, ProbeServerError> {
        let fail = |error: io::Error| ProbeServerError::Other {
            address: self.address,
            error,
        };
        net::listen(&self.socket, BACKLOG).map_err(|errno| ProbeServerError::new(self.address, errno))?;
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| fail(e.into()))?);
        let thread = std::thread::Builder::new()
            .name("probe-server".into())
            .spawn({
                let end = Arc::clone(&end);
                move || accept_until(&self.socket, &end)
            })
            .map_err(fail)?;
        Ok(Serving {
            end,
            thread: Some(thread),
        })
    }
}

/// A port that accepts connections. Dropping it closes the port.
#[derive(Debug)]
pub(super) struct Serving {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Adding 1 to an eventfd that holds 0 cannot fail.
        let _ = rustix::io::write(&*self.end, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept_until(socket: &OwnedFd, end: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(end, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        if poll(&mut fds, None).is_err_and(|errno| errno != Errno::INTR) || !fds[0].revents().is_empty() {
            return;
        }
        match net::accept_with(socket, SocketFlags::CLOEXEC) {
            Ok(connection) => drop(connection),
            // The connection is gone already, or there was none: nothing to do.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            // Out of file descriptors or memory: the connection stays queued and the poll would return at once.
            Err(_) => {
                let pause = Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000_000,
                };
                let _ = poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&pause));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    /// Returns a port that was just free: the kernel chose it. Each test has its own loopback address, so that none
    /// uses another's port.
    fn free_address(host: &str) -> SocketAddr {
        TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
    }

    /// Tries until it works. Another test may be starting a process, which holds copies of our sockets until it
    /// executes its own program.
    fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(result) = attempt() {
                return result;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it never came true");
    }

    fn refused(address: SocketAddr) -> Option<()> {
        (TcpStream::connect(address).err()?.kind() == ErrorKind::ConnectionRefused).then_some(())
    }

    #[test]
    fn connections_are_accepted_only_during_the_trace() {
        let address = free_address("127.0.0.2");
        let server = eventually(|| ProbeServer::bind(address).ok());
        refused(address).unwrap();
        let serving = server.serve().unwrap();
        for _ in 0..3 {
            let mut connection = TcpStream::connect(address).unwrap();
            assert_eq!(
                connection.read(&mut [0; 16]).unwrap(),
                0,
                "the server closes and says nothing"
            );
        }
        drop(serving);
        eventually(|| refused(address));
    }

    #[test]
    fn the_port_can_be_taken_again_right_after_a_run() {
        let address = free_address("127.0.0.3");
        for _ in 0..3 {
            let serving = eventually(|| ProbeServer::bind(address).ok()?.serve().ok());
            let mut connection = TcpStream::connect(address).unwrap();
            assert_eq!(connection.read(&mut [0; 16]).unwrap(), 0);
            drop(serving);
        }
    }

    #[test]
    fn a_busy_port_is_refused_before_the_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = ProbeServer::bind(address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot serve probes on {address}: the address is in use; stop what listens there, or choose another \
                 port with --probe-server-port"
            )
        );
    }

    #[test]
    fn the_second_server_on_a_port_is_refused() {
        let address = free_address("127.0.0.4");
        let [first, second] = [(); 2].map(|()| eventually(|| ProbeServer::bind(address).ok()));
        let _serving = first.serve().unwrap();
        assert!(matches!(second.serve(), Err(ProbeServerError::InUse(a)) if a == address));
    }

    #[test]
    fn a_foreign_address_is_refused() {
        // TEST-NET-3: no machine has it.
        let error = ProbeServer::bind("203.0.113.1:13720".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ProbeServerError::NoSuchAddress(_)), "{error}");
    }
}
