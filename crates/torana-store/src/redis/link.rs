//! A worker's connection to the server.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use torana_core::store::StoreError;

/// What all connections of a store have in common.
pub(super) struct Settings {
    client: redis::Client,
    timeout: Duration,
    connect_timeout: Duration,
    /// What all keys begin with.
    pub(super) prefix: Box<str>,
    /// Tells this process from others that use the same keys.
    pub(super) holder: u64,
}

impl Settings {
    pub(super) fn new(client: redis::Client, timeout: Duration, connect_timeout: Duration, prefix: &str) -> Settings {
        // Random: a process that starts anew is another one.
        let holder = RandomState::new().build_hasher().finish();
        Settings { client, timeout, connect_timeout, prefix: prefix.into(), holder }
    }
}

/// How long a store is left alone after the first failure; twice as long after
/// each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// At most so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

thread_local! {
    /// The links of this worker; a handful.
    static LINKS: RefCell<Vec<(Weak<Settings>, Rc<Link>)>> = const { RefCell::new(Vec::new()) };
}

/// One worker's connection to one store.
pub(super) struct Link {
    state: RefCell<State>,
    changed: Notify,
    /// How long to pause after the next failure.
    pause: Cell<Duration>,
}

enum State {
    /// Nobody has asked yet.
    Fresh,
    /// For the first time: worth waiting for.
    Connecting,
    /// After a failure: nobody waits for that.
    Reconnecting(Box<str>),
    Up(MultiplexedConnection),
    Down {
        until: Instant,
        why: Box<str>,
    },
}

impl Link {
    /// This worker's link to the store.
    pub(super) fn of(settings: &Arc<Settings>) -> Rc<Link> {
        LINKS.with_borrow_mut(|links| {
            if let Some((_, link)) = links.iter().find(|(known, _)| std::ptr::eq(known.as_ptr(), &**settings)) {
                return Rc::clone(link);
            }
            // Stores of plans that are gone: their connections end here.
            links.retain(|(known, _)| known.strong_count() > 0);
            let link = Rc::new(Link {
                state: RefCell::new(State::Fresh),
                changed: Notify::new(),
                pause: Cell::new(FIRST_PAUSE),
            });
            links.push((Arc::downgrade(settings), Rc::clone(&link)));
            link
        })
    }

    /// Runs `command` over the connection, within the time there is.
    pub(super) async fn run<T, F>(
        self: &Rc<Self>,
        settings: &Arc<Settings>,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let work = async {
            let connection = self.connection(settings).await?;
            command(connection).await.map_err(|error| self.judge(&error))
        };
        tokio::time::timeout(settings.timeout, work).await.unwrap_or_else(|_| {
            // Still connecting is no reason to give that up.
            if matches!(*self.state.borrow(), State::Up(_)) {
                self.fail("it did not answer in time");
            }
            Err(StoreError::Timeout)
        })
    }

    async fn connection(self: &Rc<Self>, settings: &Arc<Settings>) -> Result<MultiplexedConnection, StoreError> {
        loop {
            let next = match &*self.state.borrow() {
                State::Up(connection) => return Ok(connection.clone()),
                State::Reconnecting(why) => return Err(StoreError::Unreachable(why.clone())),
                State::Down { until, why } if Instant::now() < *until => {
                    return Err(StoreError::Unreachable(why.clone()));
                }
                State::Down { why, .. } => Some(State::Reconnecting(why.clone())),
                State::Fresh => Some(State::Connecting),
                State::Connecting => None,
            };
            if let Some(next) = next {
                self.state.replace(next);
                self.connect(settings);
            } else {
                self.changed.notified().await;
            }
        }
    }

    /// Connects beside the requests.
    fn connect(self: &Rc<Self>, settings: &Arc<Settings>) {
        let (link, settings) = (Rc::clone(self), Arc::clone(settings));
        tokio::task::spawn_local(async move {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.connect_timeout))
                // Requests have a time of their own.
                .set_response_timeout(None);
            match settings.client.get_multiplexed_async_connection_with_config(&config).await {
                Ok(connection) => {
                    link.pause.set(FIRST_PAUSE);
                    link.state.replace(State::Up(connection));
                }
                Err(error) => link.fail(&error.to_string()),
            }
            link.changed.notify_waiters();
        });
    }

    /// Whether the connection is to blame for an error.
    fn judge(&self, error: &RedisError) -> StoreError {
        let why: Box<str> = error.to_string().into();
        if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            self.fail(&why);
            return StoreError::Unreachable(why);
        }
        StoreError::Refused(why)
    }

    /// Gives up the connection, and the store for a while. Many requests fail
    /// with one connection; that is one failure.
    fn fail(&self, why: &str) {
        if matches!(*self.state.borrow(), State::Down { .. }) {
            return;
        }
        let pause = self.pause.get();
        self.pause.set((pause * 2).min(LONGEST_PAUSE));
        // Workers and gateways do not come back all at once.
        let jitter = RandomState::new().build_hasher().finish() % 1000;
        let pause = pause / 2 + pause.mul_f64(f64::from(u32::try_from(jitter).unwrap_or(0)) / 2000.0);
        self.state.replace(State::Down { until: Instant::now() + pause, why: why.into() });
    }
}
