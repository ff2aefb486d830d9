//! Which door may be open: loopback, or a locked one, or one to a network that is named.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::config::GatewayConfig;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// Why the gateway does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Everything could be read and changed on the way.
    #[error(
        "{listen} can be reached from other machines, and what goes over it could be read and changed on the way: give it a certificate ([tls]), or name the private or VPN interface it belongs to (interface), or listen on 127.0.0.1"
    )]
    Plain { listen: SocketAddr },
    #[error(
        "{listen} is no address of a private network, so naming the interface {interface} is not enough: give it a certificate ([tls])"
    )]
    NotPrivate {
        listen: SocketAddr,
        interface: String,
    },
    /// Anybody could come in, and nobody would be asked who they are.
    #[error(
        "{listen} can be reached from other machines, and nobody would be asked who they are: add a key ([[key]]), [jwt], client certificates ([tls] client_ca) or addresses ([access] allow_from), or say that strangers may come in ([access] anonymous = true)"
    )]
    Strangers { listen: SocketAddr },
    #[error(
        "cannot listen on {listen}: another program uses this port; stop it, or choose another one with --listen"
    )]
    InUse { listen: SocketAddr },
    #[error(
        "cannot listen on {listen}, interface {interface}: {cause}; is that the interface's name, and is it up?"
    )]
    Interface {
        listen: SocketAddr,
        interface: String,
        cause: std::io::Error,
    },
    #[error("cannot listen on {listen}: {cause}")]
    Other {
        listen: SocketAddr,
        cause: std::io::Error,
    },
}

pub(crate) async fn bind(config: &GatewayConfig) -> Result<TcpListener, ListenError> {
    may_listen(config)?;
    let listen = config.listen;
    let other = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::InUse { listen },
        _ => ListenError::Other { listen, cause },
    };
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(other)?;
    socket.set_reuseaddr(true).map_err(other)?;
    if let Some(interface) = &config.interface {
        bind_to(&socket, interface).map_err(|cause| ListenError::Interface {
            listen,
            interface: interface.clone(),
            cause,
        })?;
    }
    socket.bind(listen).map_err(other)?;
    socket.listen(BACKLOG).map_err(other)
}

#[cfg(target_os = "linux")]
fn bind_to(socket: &TcpSocket, interface: &str) -> std::io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_: &TcpSocket, _: &str) -> std::io::Result<()> {
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "only Linux binds to an interface",
    ))
}

pub(crate) fn may_listen(config: &GatewayConfig) -> Result<(), ListenError> {
    let listen = config.listen;
    if listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let knows_clients = config
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    match (&config.tls, &config.interface) {
        (Some(_), _) => {}
        (None, None) => return Err(ListenError::Plain { listen }),
        (None, Some(interface)) => {
            if !is_private(listen.ip()) {
                return Err(ListenError::NotPrivate {
                    listen,
                    interface: interface.clone(),
                });
            }
            // The network is the lock: whoever is in it may come in.
            return Ok(());
        }
    }
    if config.access.asks() || knows_clients || config.access.anonymous {
        return Ok(());
    }
    Err(ListenError::Strangers { listen })
}

/// Whether an address is of a private network, or of all networks of an interface.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_private()
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::TlsFiles;
    use crate::gateway::access::Access;

    fn config(listen: &str) -> GatewayConfig {
        GatewayConfig {
            listen: listen.parse().unwrap(),
            ..GatewayConfig::default()
        }
    }

    fn with_tls(listen: &str) -> GatewayConfig {
        GatewayConfig {
            tls: Some(TlsFiles {
                certificate: "c".into(),
                key: "k".into(),
                client_ca: None,
            }),
            ..config(listen)
        }
    }

    #[test]
    fn a_door_without_a_lock_is_opened_on_loopback_only() {
        for listen in [
            "0.0.0.0:0",
            "8.8.8.8:0",
            "10.0.0.1:0",
            "[::]:0",
            "[fd00::1]:0",
        ] {
            let error = may_listen(&config(listen)).unwrap_err();
            assert!(matches!(error, ListenError::Plain { .. }), "{error}");
            assert!(error.to_string().contains("[tls]"), "{error}");
        }
        for listen in ["127.0.0.1:0", "127.8.8.8:0", "[::1]:0"] {
            assert!(may_listen(&config(listen)).is_ok());
        }
    }

    #[test]
    fn a_private_interface_that_is_named_needs_no_lock_and_a_public_address_does() {
        let on = |listen: &str| GatewayConfig {
            interface: Some("wg0".to_owned()),
            ..config(listen)
        };
        assert!(may_listen(&on("10.8.0.1:0")).is_ok());
        assert!(may_listen(&on("100.64.0.1:0")).is_ok());
        assert!(may_listen(&on("[fd00::1]:0")).is_ok());
        let error = may_listen(&on("8.8.8.8:0")).unwrap_err();
        assert!(matches!(error, ListenError::NotPrivate { .. }), "{error}");
    }

    #[test]
    fn a_locked_door_to_everywhere_asks_who_comes_unless_told_not_to() {
        let error = may_listen(&with_tls("0.0.0.0:0")).unwrap_err();
        assert!(matches!(error, ListenError::Strangers { .. }), "{error}");
        let anonymous = GatewayConfig {
            access: Access {
                anonymous: true,
                ..Access::default()
            },
            ..with_tls("0.0.0.0:0")
        };
        assert!(may_listen(&anonymous).is_ok());
        let by_address = GatewayConfig {
            access: Access {
                allow_from: vec!["192.0.2.0/24".parse().unwrap()],
                ..Access::default()
            },
            ..with_tls("0.0.0.0:0")
        };
        assert!(may_listen(&by_address).is_ok());
    }

    #[tokio::test]
    async fn a_port_in_use_and_an_interface_that_is_not_there_are_said_in_a_sentence() {
        let taken = bind(&config("127.0.0.1:0")).await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = bind(&config(&address)).await.unwrap_err();
        assert!(error.to_string().contains("--listen"), "{error}");
        let nowhere = GatewayConfig {
            interface: Some("nosuchinterface".to_owned()),
            ..config("127.0.0.1:0")
        };
        let error = bind(&nowhere).await.unwrap_err();
        assert!(matches!(error, ListenError::Interface { .. }), "{error}");
    }
}
