//! The Redis engine against a real server, which each test starts for itself.

#![allow(clippy::unwrap_used, reason = "a test fails where it is wrong")]

use bytes::Bytes;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use torana_core::store::memory::MemoryCounters;
use torana_core::store::quota::{Algorithm, Quota};
use torana_core::store::vectors::{START, Step, VECTORS, Vector};
use torana_core::store::{Counters, Heard, Store, StoreError, StoreKind, Take};
use torana_core::testing::{show_diagnostics, written};
use torana_store::redis::Redis;

/// A server on a Unix socket in a directory of its own, killed on drop.
struct Server {
    child: Child,
    dir: PathBuf,
}

impl Server {
    fn start() -> Server {
        Server::with(&[])
    }

    /// With more arguments.
    fn with(arguments: &[&'static str]) -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torana-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let mut server = Server { child: Server::spawn(&dir, arguments), dir };
        server.wait();
        server
    }

    fn spawn(dir: &PathBuf, arguments: &[&str]) -> Child {
        Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "s"])
            .args(arguments)
            .current_dir(dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian: redis-server)")
    }

    fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(self.dir.join("s")).is_err() {
            assert!(Instant::now() < end, "the server does not start");
            std::thread::yield_now();
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = fs::remove_file(self.dir.join("s"));
    }

    fn restart(&mut self) {
        self.child = Server::spawn(&self.dir, &[]);
        self.wait();
    }

    fn config(&self) -> String {
        // As patient as a busy machine needs.
        format!(r#""url": "unix://{}/s", "timeout": "10s""#, self.dir.display())
    }

    fn store(&self) -> Arc<dyn Store> {
        store(&format!("{{ {} }}", self.config()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn store(config: &str) -> Arc<dyn Store> {
    built(config).unwrap_or_else(|problems| panic!("{problems}"))
}

fn built(config: &str) -> Result<Arc<dyn Store>, String> {
    let written = written(config);
    let config = written.decode().map_err(|problems| show_diagnostics(&problems))?;
    Redis::build(config, &written).map_err(|problems| show_diagnostics(&problems))
}

/// Runs on a thread as a worker's is.
fn on_worker<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap()
        .block_on(future)
}

fn quota(algorithm: Algorithm, amount: u64, period: Duration) -> Quota {
    Quota::new("q", algorithm, amount, period, amount, Duration::ZERO).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

fn asks<'a>(key: &'a str, quotas: &'a [Quota]) -> Take<'a> {
    Take { scope: "test", key: key.as_bytes(), quotas, cost: 1, up_to: 1, now: 0 }
}

#[test]
fn the_script_takes_the_steps_of_all_vectors() {
    let server = Server::start();
    let written = written(&format!("{{ {} }}", server.config()));
    let redis = Redis::open(&written.decode().unwrap()).unwrap().with_time_of_take();
    on_worker(async {
        for vector in VECTORS {
            let mut taken = Vec::new();
            for take in steps(vector) {
                taken.push(redis.take(&take.take()).get().await.unwrap());
            }
            let mut taken = taken.into_iter();
            vector.run(|_| taken.next().unwrap());
        }
    });
}

/// A [`Take`] that owns what it is about.
struct Owned {
    key: String,
    quotas: Vec<Quota>,
    cost: u64,
    up_to: u64,
    now: u64,
}

impl Owned {
    fn take(&self) -> Take<'_> {
        let (cost, up_to, now) = (self.cost, self.up_to, self.now);
        Take { scope: "vectors", key: self.key.as_bytes(), quotas: &self.quotas, cost, up_to, now }
    }
}

fn steps(vector: &Vector) -> Vec<Owned> {
    let step = |step: &Step| {
        let now = START + step.at * 1000;
        let (cost, up_to) = step.cost;
        Owned { key: vector.name.to_owned(), quotas: vector.quotas(), cost, up_to, now }
    };
    vector.steps.iter().map(step).collect()
}

#[test]
fn memory_and_the_script_agree_on_thousands_of_random_steps() {
    let server = Server::start();
    let written = written(&format!("{{ {} }}", server.config()));
    let redis = Redis::open(&written.decode().unwrap()).unwrap().with_time_of_take();
    let mut random = 42_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let algorithms = [Algorithm::Bucket, Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::SlidingLog];
    let (mut granted, mut refused) = (0, 0);
    on_worker(async {
        for case in 0..150 {
            let quotas: Vec<Quota> = (0..=draw(3))
                .map(|number| {
                    let algorithm = algorithms[usize::try_from(draw(4)).unwrap()];
                    let (amount, burst) = (1 + draw(30), 1 + draw(20));
                    let period = Duration::from_micros(1 + draw(5_000_000));
                    let delay = Duration::from_micros(draw(2) * draw(1_000_000));
                    Quota::new(&format!("q{number}"), algorithm, amount, period, burst, delay).unwrap()
                })
                .collect();
            let memory = MemoryCounters::new(1);
            let mut now = 1_700_000_000_000_000 + draw(1_000_000_000);
            let key = case.to_string();
            for step in 0..40 {
                now += draw(3) * draw(400_000);
                let cost = 1 + draw(4);
                let take = Take { scope: "s", key: key.as_bytes(), quotas: &quotas, cost, up_to: cost + draw(3), now };
                let here = memory.take_now(&take);
                let there = redis.take(&take).get().await.unwrap();
                assert_eq!(
                    (here.granted, here.standings),
                    (there.granted, there.standings),
                    "case {case}, step {step}: {quotas:?}"
                );
                if here.granted > 0 { granted += 1 } else { refused += 1 }
            }
        }
    });
    assert!(granted > 1000 && refused > 1000, "{granted} and {refused}");
}

#[test]
fn workers_together_get_exactly_the_limit_by_the_servers_time() {
    let server = Server::start();
    let quotas = [quota(Algorithm::SlidingWindow, 100, HOUR), quota(Algorithm::SlidingLog, 5000, HOUR)];
    let passed: u64 = std::thread::scope(|scope| {
        let worker = || {
            on_worker(async {
                let store = server.store();
                let calls = (0..50).map(|_| store.counters().take(&asks("one", &quotas)).get());
                let mut passed = 0;
                for call in calls.map(tokio::task::spawn_local).collect::<Vec<_>>() {
                    passed += call.await.unwrap().unwrap().granted;
                }
                passed
            })
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}

#[test]
fn places_are_given_back() {
    let server = Server::start();
    let quotas = [quota(Algorithm::Concurrency, 2, HOUR)];
    on_worker(async {
        let store = server.store();
        let counters = store.counters();
        let first = counters.take(&asks("k", &quotas)).get().await.unwrap();
        let second = counters.take(&asks("k", &quotas)).get().await.unwrap();
        assert_eq!((first.granted, second.granted), (1, 1));
        assert_eq!(counters.take(&asks("k", &quotas)).get().await.unwrap().granted, 0);
        counters.release(&asks("k", &quotas), first.ticket);
        // Over the same connection, so in order: the place is free by then.
        tokio::task::yield_now().await;
        assert_eq!(counters.take(&asks("k", &quotas)).get().await.unwrap().granted, 1);
        assert_eq!(counters.take(&asks("k", &quotas)).get().await.unwrap().granted, 0);
    });
}

#[test]
fn all_keys_of_a_decision_are_on_one_node_of_a_cluster() {
    // One node with all slots: it refuses commands whose keys are in several.
    let server = Server::with(&["--cluster-enabled", "yes"]);
    let mut connection =
        redis::Client::open(format!("unix://{}/s", server.dir.display())).unwrap().get_connection().unwrap();
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec(&mut connection).unwrap();
    let crossing = || redis::cmd("MSET").arg(&["a", "1", "b", "2"]).to_owned();
    let quotas = [Algorithm::Bucket, Algorithm::SlidingLog, Algorithm::SlidingWindow, Algorithm::Concurrency]
        .map(|algorithm| quota(algorithm, 5, HOUR));
    on_worker(async {
        let store = server.store();
        let end = Instant::now() + Duration::from_secs(20);
        // It takes a moment until the cluster has found out that it is whole.
        while store.blobs().get(b"x").get().await.is_err() {
            assert!(Instant::now() < end, "the cluster does not come up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refused = crossing().exec(&mut connection).unwrap_err();
        assert!(refused.to_string().contains("slot"), "{refused}");
        for key in ["a", "b", "c", "d", "e"] {
            let taken = store.counters().take(&asks(key, &quotas)).get().await.unwrap();
            assert_eq!(taken.granted, 1);
            store.counters().release(&asks(key, &quotas), taken.ticket);
            store.blobs().put(key.as_bytes(), Bytes::from_static(b"v"), HOUR, &["t", "u"]).get().await.unwrap();
        }
        store.blobs().delete_tagged("t").get().await.unwrap();
        assert_eq!(store.blobs().get(b"c").get().await, Ok(None));
    });
}

#[test]
fn bytes_are_kept_for_their_time_and_deleted_by_key_tag_and_prefix() {
    let server = Server::start();
    on_worker(async {
        let store = server.store();
        let blobs = store.blobs();
        let value = || Bytes::from_static(b"v\0\xff");
        let get = async |key: &str| blobs.get(key.as_bytes()).get().await.unwrap();
        assert_eq!(get("a").await, None);
        for (key, tags) in
            [("a", &["x", "y"][..]), ("b", &["x"]), ("c", &["y"]), ("p*/1", &[]), ("p*/2", &[]), ("pq/3", &[])]
        {
            blobs.put(key.as_bytes(), value(), HOUR, tags).get().await.unwrap();
        }
        assert_eq!(get("a").await, Some(value()));
        blobs.delete_tagged("x").get().await.unwrap();
        assert_eq!((get("a").await, get("b").await, get("c").await), (None, None, Some(value())));
        blobs.delete(b"c").get().await.unwrap();
        assert_eq!(get("c").await, None);
        blobs.delete_prefix(b"p*/").get().await.unwrap();
        assert_eq!((get("p*/1").await, get("p*/2").await, get("pq/3").await), (None, None, Some(value())));

        assert_eq!(blobs.add(b"n", value(), HOUR).get().await.unwrap(), None);
        assert_eq!(blobs.add(b"n", Bytes::from_static(b"w"), HOUR).get().await.unwrap(), Some(value()));
        blobs.put(b"short", value(), Duration::from_millis(1), &[]).get().await.unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while get("short").await.is_some() {
            assert!(Instant::now() < end, "it is kept for ever");
        }
    });
}

#[test]
fn a_server_that_dies_costs_nothing_and_is_found_again() {
    let mut server = Server::start();
    let quotas = [quota(Algorithm::FixedWindow, 1_000_000, HOUR)];
    on_worker(async {
        let store = server.store();
        let ask = async || store.counters().take(&asks("k", &quotas)).get().await;
        assert_eq!(ask().await.unwrap().granted, 1);
        server.kill();
        assert!(matches!(ask().await, Err(StoreError::Unreachable(_))));
        // While it is left alone an answer takes no time: hundreds of
        // questions are over before the shortest pause is.
        let started = Instant::now();
        for _ in 0..200 {
            assert!(matches!(ask().await, Err(StoreError::Unreachable(_))));
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        server.restart();
        let end = Instant::now() + Duration::from_secs(30);
        while ask().await.is_err() {
            assert!(Instant::now() < end, "it is not found again");
            tokio::task::yield_now().await;
        }
        // It has forgotten the script too.
        assert_eq!(ask().await.unwrap().granted, 1);
    });
}

#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    let dir = std::env::temp_dir().join(format!("torana-store-hang-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.join("s")).unwrap();
    let quotas = [quota(Algorithm::FixedWindow, 5, HOUR)];
    on_worker(async {
        let store = store(&format!(r#"{{ "url": "unix://{}/s", "timeout": "30ms" }}"#, dir.display()));
        let started = Instant::now();
        let answer = store.counters().take(&asks("k", &quotas)).get().await;
        assert_eq!(answer, Err(StoreError::Timeout));
        assert!(started.elapsed() >= Duration::from_millis(30));
    });
    drop(listener);
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn mistakes_are_said_and_secrets_are_not() {
    let wrong = |config: &str| built(config).err().unwrap();
    let shown = wrong(r#"{ "url": "redis://user:hunter2@h" }"#);
    assert!(shown.starts_with("error store.url:") && !shown.contains("hunter2"), "{shown}");
    assert!(wrong(r#"{ "url": "http://h" }"#).contains("`http://h` is no URL of a Redis"));
    assert!(wrong(r#"{ "url": "redis://h", "timeout": "0s" }"#).starts_with("error config.zero_timeout"));
    assert!(wrong(r#"{ "url": "rediss://h", "ca": "nonsense" }"#).starts_with("error store.ca"));
    assert!(wrong(r#"{ "urll": "redis://h" }"#).contains("did you mean `url`"));
    let written = written(r#"{ "url": "redis://h", "password": "hunter2" }"#);
    let redis = Redis::open(&written.decode().unwrap()).unwrap();
    assert!(!format!("{redis:?}").contains("hunter2"));
}

#[test]
fn words_are_heard_in_order_and_what_is_missing_is_noticed() {
    let mut server = Server::start();
    let store = store(&format!("{{ {}, \"prefix\": \"p:\" }}", server.config()));
    let one = |record: &'static str| Bytes::from_static(record.as_bytes());
    on_worker(async {
        let journal = store.journal();
        let hear = async |from| journal.hear(b"topic", from).get().await.unwrap();
        assert_eq!(hear(0).await, Heard::default(), "nothing was said");
        let mut positions = Vec::new();
        for record in ["a", "b", "c"] {
            positions.push(journal.tell(b"topic", one(record)).get().await.unwrap());
        }
        journal.tell(b"other", one("x")).get().await.unwrap();
        assert!(positions.is_sorted() && positions[0] > 0);
        let all: Vec<_> = positions.iter().copied().zip(["a", "b", "c"].map(one)).collect();
        assert_eq!(hear(0).await, Heard { records: all.clone(), has_gap: false, has_more: false });
        let rest = Heard { records: all[1..].to_vec(), has_gap: false, has_more: false };
        assert_eq!(hear(positions[0]).await, rest);
        assert_eq!(hear(positions[2]).await, Heard::default());
        assert!(hear(positions[0] - 1).await.has_gap, "of what it does not know");
        // Much, in parts.
        for _ in 0..1200 {
            journal.tell(b"topic", one("more")).get().await.unwrap();
        }
        let (mut from, mut count) = (0, 0);
        loop {
            let heard = hear(from).await;
            assert!(!heard.has_gap);
            count += heard.records.len();
            from = heard.records.last().unwrap().0;
            if !heard.has_more {
                break;
            }
        }
        assert_eq!(count, 1203);
        // All is lost.
        server.kill();
        server.restart();
        while journal.hear(b"topic", from).get().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(hear(from).await, Heard { has_gap: true, ..Heard::default() });
        let next = journal.tell(b"topic", one("d")).get().await.unwrap();
        assert!(next > from && hear(from).await.has_gap);
        assert_eq!(hear(0).await.records, [(next, one("d"))]);
    });
}
