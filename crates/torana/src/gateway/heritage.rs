//! Sockets that are there when we start: passed by a service manager, or by
//! the gateway we take over from.

use super::sockets::net_address;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use torana_config::model::ListenAddress;
use torana_control::{notice, service_manager};
use torana_net::hand_over;
use torana_net::inherit::{Passed, is_at, passed_by_service_manager};
use torana_net::listen::{self, Listener};

/// Where the gateway is that we take over from.
#[derive(Clone, Debug)]
pub(crate) enum Predecessor {
    /// It listens for us there.
    At(PathBuf),
    /// It has started us, and is at the other end of standard input.
    Parent,
}

/// What a socket is for.
#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    /// Requests; the listener of this name, at this address.
    Listener(&'a str, &'a ListenAddress),
    /// The admin interface.
    Admin(&'a ListenAddress),
    /// Handing over.
    Upgrade(&'a Path),
}

impl Role<'_> {
    /// How one gateway tells the next.
    pub(super) fn label(self) -> String {
        match self {
            Role::Listener(_, address) => format!("listener {address}"),
            Role::Admin(address) => format!("admin {address}"),
            Role::Upgrade(path) => format!("upgrade {}", path.display()),
        }
    }

    /// Whether a service manager means it by this name.
    fn is_named(self, name: &str) -> bool {
        match self {
            Role::Listener(own, _) => own == name,
            Role::Admin(_) => name == "admin",
            // The next gateway would have to find it in our place.
            Role::Upgrade(_) => false,
        }
    }

    fn address(self) -> listen::ListenAddress {
        match self {
            Role::Listener(_, address) | Role::Admin(address) => net_address(address),
            Role::Upgrade(path) => listen::ListenAddress::Unix(path.to_owned()),
        }
    }
}

/// Sockets nobody has claimed yet.
#[derive(Default)]
pub(super) struct Heritage {
    sockets: Vec<Inherited>,
    /// Who waits for us to serve.
    predecessor: Option<UnixStream>,
}

struct Inherited {
    is_from_predecessor: bool,
    /// A predecessor's label, or a service manager's name.
    name: Option<String>,
    listener: Listener,
}

impl Heritage {
    /// Everything there is.
    ///
    /// # Errors
    /// What was promised is not there, or of no use.
    pub(super) fn collect(predecessor: Option<&Predecessor>) -> io::Result<Heritage> {
        let mut heritage = Heritage::default();
        for Passed { name, listener } in passed_by_service_manager()? {
            heritage.sockets.push(Inherited { is_from_predecessor: false, name, listener });
        }
        let Some(predecessor) = predecessor else { return Ok(heritage) };
        let (stream, sockets) = ask(predecessor).map_err(|error| {
            let from = match predecessor {
                Predecessor::At(path) => format!("from the gateway at {}", path.display()),
                Predecessor::Parent => "from the process that has started this one".to_owned(),
            };
            io::Error::new(error.kind(), format!("cannot take over {from}: {error}"))
        })?;
        for (label, listener) in sockets {
            heritage.sockets.push(Inherited { is_from_predecessor: true, name: Some(label), listener });
        }
        heritage.predecessor = Some(stream);
        Ok(heritage)
    }

    /// The sockets for this role, by name or by address; none if it has to be
    /// bound anew.
    pub(super) fn claim(&mut self, role: Role<'_>) -> Vec<Listener> {
        let (label, address) = (role.label(), role.address());
        let is_meant = |inherited: &mut Inherited| {
            let is_named = inherited
                .name
                .as_ref()
                .is_some_and(|name| if inherited.is_from_predecessor { *name == label } else { role.is_named(name) });
            is_named || is_at(&inherited.listener, &address)
        };
        self.sockets.extract_if(.., is_meant).map(|inherited| inherited.listener).collect()
    }

    /// Says what nobody has claimed, closes it, tells the service manager that
    /// we serve, and lets the predecessor end.
    pub(super) fn settle(self) {
        for inherited in &self.sockets {
            let at = inherited.listener.local_addr().map_or_else(|_| "somewhere".to_owned(), |at| at.to_string());
            let from = if inherited.is_from_predecessor { "the gateway before" } else { "the service manager" };
            notice::warn(&format!("nothing is configured for the socket at {at} that {from} has passed"));
        }
        let Some(predecessor) = self.predecessor else { return service_manager::ready() };
        // Before the other one ends, or its end would be taken for ours.
        service_manager::ready_instead();
        if let Err(error) = hand_over::taken(&predecessor) {
            notice::warn(&format!("the gateway before is gone already: {error}"));
        }
    }
}

fn ask(predecessor: &Predecessor) -> io::Result<(UnixStream, Vec<(String, Listener)>)> {
    let stream = match predecessor {
        Predecessor::At(path) => UnixStream::connect(path)?,
        Predecessor::Parent => UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?),
    };
    hand_over::check_peer(&stream)?;
    let sockets = hand_over::take(&stream)?;
    Ok((stream, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(name: Option<&str>, is_from_predecessor: bool) -> (Inherited, ListenAddress) {
        let any = listen::ListenAddress::Socket(([127, 0, 0, 1], 0).into());
        let listener = listen::bind(&any, true).unwrap();
        let at = listener.local_addr().unwrap().to_string().parse().unwrap();
        (Inherited { is_from_predecessor, name: name.map(str::to_owned), listener }, at)
    }

    #[test]
    fn sockets_are_claimed_by_name_or_address_and_only_once() {
        let anywhere: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let (named, _) = inherited(Some("web"), false);
        let (admin, _) = inherited(Some("admin"), false);
        let (unnamed, at) = inherited(None, false);
        let (handed, _) = inherited(Some("listener 127.0.0.1:0"), true);
        let (handed_too, _) = inherited(Some("listener 127.0.0.1:0"), true);
        let mut heritage = Heritage { sockets: vec![named, admin, unnamed, handed, handed_too], predecessor: None };
        assert_eq!(heritage.claim(Role::Admin(&anywhere)).len(), 1);
        assert_eq!(heritage.claim(Role::Listener("other", &at)).len(), 1);
        assert_eq!(heritage.claim(Role::Listener("other", &at)).len(), 0);
        // Its own by name, and both sockets of the gateway before by address as written.
        assert_eq!(heritage.claim(Role::Listener("web", &anywhere)).len(), 3);
        assert!(heritage.sockets.is_empty());
    }
}
