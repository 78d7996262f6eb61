//! The admin interface of a plan: its socket, and who may ask there.

use super::heritage::{Heritage, Role};
use super::sockets::{self, Sockets};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use std::io;
use torana_config::model::ListenAddress;
use torana_control::admin::{Place, Rules, Socket, TokenCheck};
use torana_net::listen::{self, Listener};
use torana_plane::plan::Admin;

/// What a new plan means for the admin interface.
pub(super) enum Change {
    /// Nothing.
    None,
    /// Other rules at the same address.
    Rules(Rules),
    /// Another address, or none.
    Place(Option<Opened>),
}

/// A socket of the admin interface, and the rules there.
pub(super) struct Opened {
    socket: Socket,
    rules: Rules,
    /// Another descriptor of it, to be handed over.
    spare: (ListenAddress, Listener),
}

impl Change {
    /// From `before` to `after`. A new address is bound; nothing else happens
    /// before [`make`](Change::make).
    pub(super) fn new(before: Option<&Admin>, after: Option<&Admin>) -> io::Result<Change> {
        Ok(match (before, after) {
            (before, after) if before == after => Change::None,
            (Some(before), Some(after)) if before.address == after.address => Change::Rules(rules(after)),
            (_, after) => Change::Place(after.map(|admin| open(admin, &mut Heritage::default())).transpose()?),
        })
    }

    pub(super) fn make(self, place: &Place, sockets: &mut Sockets) {
        match self {
            Change::None => {}
            Change::Rules(rules) => place.judge_by(rules),
            Change::Place(opened) => place.serve_on(serving(opened, sockets)),
        }
    }
}

/// What the interface serves on; where it is, is noted for whoever takes over.
pub(super) fn serving(opened: Option<Opened>, sockets: &mut Sockets) -> Option<(Socket, Rules)> {
    let (serving, spare) = opened.map(|Opened { socket, rules, spare }| ((socket, rules), spare)).unzip();
    sockets.set_admin(spare);
    serving
}

/// Listens where `admin` says, on a socket that is there or a new one.
pub(super) fn open(admin: &Admin, heritage: &mut Heritage) -> io::Result<Opened> {
    let listener = match heritage.claim(Role::Admin(&admin.address)).pop() {
        Some(inherited) => inherited,
        None => listen::bind(&sockets::net_address(&admin.address), false)?,
    };
    let spare = (admin.address.clone(), listener.try_clone()?);
    let socket = match listener {
        Listener::Tcp(tcp) => Socket::Tcp(tcp),
        Listener::Unix(unix) => Socket::Unix(unix),
    };
    Ok(Opened { socket, rules: rules(admin), spare })
}

fn rules(admin: &Admin) -> Rules {
    Rules {
        is_local: admin.address.is_local(),
        token: admin.token.as_deref().map(token_check),
        hosts: admin.hosts.clone(),
    }
}

/// Digests are compared: they are equally long, and how much of them is equal
/// says nothing about how much of the token is.
fn token_check(token: &str) -> TokenCheck {
    let wanted = digest(&SHA256, token.as_bytes());
    Box::new(move |shown| verify_slices_are_equal(digest(&SHA256, shown).as_ref(), wanted.as_ref()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(address: &str, token: Option<&str>) -> Admin {
        Admin { address: address.parse().unwrap(), token: token.map(Into::into), hosts: Vec::new(), revisions: 10 }
    }

    #[test]
    fn only_the_token_itself_is_the_token() {
        let is_token = token_check("0123456789abcdef");
        assert!(is_token(b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdeg", b"0123456789abcdef0", b"0123456789ABCDEF"] {
            assert!(!is_token(wrong));
        }
    }

    #[test]
    fn only_another_address_needs_another_socket() {
        let change = |before: Option<Admin>, after: Option<Admin>| {
            Change::new(before.as_ref(), after.as_ref()).map(|change| match change {
                Change::None => "none",
                Change::Rules(rules) if rules.token.is_some() => "token",
                Change::Rules(_) => "no token",
                Change::Place(Some(_)) => "place",
                Change::Place(None) => "nowhere",
            })
        };
        let here = |token| Some(admin("127.0.0.1:0", token));
        assert_eq!(change(here(None), here(None)).unwrap(), "none");
        assert_eq!(change(here(None), here(Some("a"))).unwrap(), "token");
        assert_eq!(change(here(Some("a")), here(Some("b"))).unwrap(), "token");
        assert_eq!(change(here(Some("a")), here(None)).unwrap(), "no token");
        assert_eq!(change(here(None), Some(admin("[::1]:0", None))).unwrap(), "place");
        assert_eq!(change(None, here(None)).unwrap(), "place");
        assert_eq!(change(here(None), None).unwrap(), "nowhere");
        assert!(!rules(&admin(":9901", Some("a"))).is_local);
    }
}
