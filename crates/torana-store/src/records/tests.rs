//! Keys over their lives, and what becomes of them when the file is gone.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of the test's own, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Dir(std::env::temp_dir().join(format!("torana-records-{}-{count}", std::process::id())))
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn found(records: &Records, key: &str) -> Result<Option<(String, bool)>, Unavailable> {
    let found = records.key(&key::digest_of(key))?;
    Ok(found.map(|(key, consumer)| (consumer.to_string(), key.revoked)))
}

const NOW: u64 = 1_800_000_000;

#[test]
fn what_was_made_and_taken_back_is_there_again_after_opening() {
    let dir = Dir::new();
    let records = Records::open(&dir.0);
    let shop = ConsumerRecord { name: "shop".into(), active: true, plan: Some("gold".into()), ..Default::default() };
    records.put_consumer(&shop).unwrap();
    let one = records.create_key("shop", Some("laptop"), None, NOW).unwrap();
    let two = records.create_key("shop", None, Some(NOW + 60), NOW + 1).unwrap();
    records.revoke_key("shop", &one.record.id, NOW + 2).unwrap();
    assert_eq!(records.revoke_key("others", &two.record.id, NOW), Err(NotDone::NoKey), "not of this consumer");
    for records in [&records, &Records::open(&dir.0)] {
        assert_eq!(found(records, &one.key), Ok(Some(("shop".into(), true))));
        assert_eq!(found(records, &two.key), Ok(Some(("shop".into(), false))));
        assert_eq!(found(records, &format!("{}x", two.key)), Ok(None));
        assert_eq!(records.consumer("shop").unwrap().plan.as_deref(), Some("gold"));
        let listed: Vec<_> = records.keys(Some("shop")).unwrap().into_iter().map(|key| (key.id, key.revoked)).collect();
        assert_eq!(listed, [(one.record.id.clone(), Some(NOW + 2)), (two.record.id.clone(), None)]);
    }
    let bytes = fs::read(dir.file()).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&one.record.id) && !holds(&one.key) && !holds(&two.key), "only digests are kept");
    assert_eq!(fs::metadata(dir.file()).unwrap().mode() & 0o777, 0o600);
    assert!(!format!("{one:?} {records:?} {:?}", records.keys(None)).contains(&one.key));
}

#[test]
fn a_rotated_key_goes_on_for_as_long_as_was_asked() {
    let dir = Dir::new();
    let records = Records::open(&dir.0);
    let old = records.create_key("shop", Some("ci"), None, NOW).unwrap();
    let new = records.rotate_key("shop", &old.record.id, None, 3600, NOW + 10).unwrap();
    assert_eq!((new.record.name.as_deref(), new.record.replaces.as_ref()), (Some("ci"), Some(&old.record.id)));
    let [first, second] = records.keys(Some("shop")).unwrap().try_into().unwrap();
    assert_eq!((first.expires, second.expires), (Some(NOW + 3610), None));
    let again = records.rotate_key("shop", &old.record.id, None, 7200, NOW + 20).unwrap();
    assert_eq!(records.keys(None).unwrap()[0].expires, Some(NOW + 3610), "no longer for being replaced twice");
    let revoked = records.revoke_key("shop", &again.record.id, NOW).unwrap();
    let rotated = records.rotate_key("shop", &revoked.id, None, 0, NOW + 30);
    assert_eq!(rotated.unwrap_err(), NotDone::NoKey, "what was taken back is not made new");
}

#[test]
fn without_its_file_no_key_is_found_until_it_is_back() {
    let dir = Dir::new();
    let records = Records::open(&dir.0);
    assert_eq!(records.look(), None, "not made yet is not lost");
    let one = records.create_key("shop", None, None, NOW).unwrap();
    assert_eq!(records.look(), None);
    let aside = dir.0.join("aside");
    fs::rename(dir.file(), &aside).unwrap();
    assert!(matches!(records.look(), Some(Change::Lost(_))));
    assert_eq!((found(&records, &one.key), records.look()), (Err(Unavailable), None));
    assert!(matches!(records.create_key("shop", None, None, NOW), Err(NotDone::Unavailable(_))));
    assert!(!dir.file().exists(), "an empty file would forget what was taken back");
    fs::rename(&aside, dir.file()).unwrap();
    assert_eq!(records.look(), Some(Change::Found));
    assert_eq!(found(&records, &one.key), Ok(Some(("shop".into(), false))));
    // Gone between two looks: noticed by who writes.
    fs::remove_file(dir.file()).unwrap();
    assert!(matches!(records.create_key("shop", None, None, NOW), Err(NotDone::Unavailable(_))));
    assert_eq!(found(&records, &one.key), Err(Unavailable));
}

#[test]
fn a_file_that_is_broken_or_held_is_lost_with_a_reason() {
    let dir = Dir::new();
    let records = Records::open(&dir.0);
    let one = records.create_key("shop", None, None, NOW).unwrap();
    let held = Database::open(dir.file()).unwrap();
    let second = Records::open(&dir.0);
    assert!(second.lost().is_some_and(|why| why.contains("open")), "{:?}", second.lost());
    drop(held);
    assert_eq!(second.look(), Some(Change::Found));
    assert_eq!(found(&second, &one.key), Ok(Some(("shop".into(), false))));
    fs::write(dir.file(), b"this is no database, however long it may be").unwrap();
    assert!(matches!(second.look(), Some(Change::Lost(why)) if why.contains(FILE)));
    assert!(Records::open(&dir.0).lost().is_some());
}

#[test]
fn two_gateways_see_what_the_other_does() {
    let dir = Dir::new();
    let (one, two) = (Records::open(&dir.0), Records::open(&dir.0));
    let key = one.create_key("shop", None, None, NOW).unwrap();
    assert_eq!(two.look(), None);
    assert_eq!(found(&two, &key.key), Ok(Some(("shop".into(), false))));
    two.revoke_key("shop", &key.record.id, NOW).unwrap();
    // Without a look in between: what another has written is not undone.
    let other = one.create_key("shop", None, None, NOW + 1).unwrap();
    assert_eq!(found(&one, &key.key), Ok(Some(("shop".into(), true))));
    assert_eq!(one.keys(None).unwrap().len(), 2);
    two.look();
    assert!(found(&two, &other.key).unwrap().is_some());
}

/// A key that was taken back would count for as long as nothing else changes.
#[test]
fn a_change_that_leaves_the_file_looking_the_same_is_seen() {
    let dir = Dir::new();
    let (one, other) = (Records::open(&dir.0), Records::open(&dir.0));
    let shop = ConsumerRecord { name: "shop".into(), active: true, ..Default::default() };
    one.put_consumer(&shop).unwrap();
    let key = one.create_key("shop", None, None, NOW).unwrap();
    assert_eq!(other.look(), None);
    let before = fs::metadata(dir.file()).unwrap();
    one.revoke_key("shop", &key.record.id, NOW + 1).unwrap();
    // As on a file system that keeps whole seconds.
    File::options().write(true).open(dir.file()).unwrap().set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(dir.file()).unwrap();
    assert_eq!((before.len(), before.ino(), before.modified().ok()), (after.len(), after.ino(), after.modified().ok()));
    assert_eq!(found(&other, &key.key), Ok(Some(("shop".into(), false))));
    other.look();
    assert_eq!(found(&other, &key.key), Ok(Some(("shop".into(), true))));
}

#[test]
fn a_file_that_was_left_alone_is_not_read_again() {
    let dir = Dir::new();
    let records = Records::open(&dir.0);
    let shop = ConsumerRecord { name: "shop".into(), active: true, ..Default::default() };
    records.put_consumer(&shop).unwrap();
    let age = |seconds| {
        let file = File::options().write(true).open(dir.file()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    let state = || Arc::as_ptr(&records.state.load_full()).addr();
    age(10);
    records.look();
    let settled = state();
    assert_eq!((records.look(), state()), (None, settled));
    age(0);
    records.look();
    assert_ne!(state(), settled);
}

#[test]
fn a_consumer_goes_with_its_keys_or_without() {
    let dir = Dir::new();
    let records = Records::open(&dir.0);
    for name in ["a", "b"] {
        records.put_consumer(&ConsumerRecord { name: name.into(), active: true, ..Default::default() }).unwrap();
        records.create_key(name, None, None, NOW).unwrap();
    }
    records.remove_consumer("a", true).unwrap();
    records.remove_consumer("b", false).unwrap();
    assert_eq!(records.remove_consumer("b", false), Err(NotDone::NoConsumer));
    let left: Vec<_> = records.keys(None).unwrap().into_iter().map(|key| key.consumer).collect();
    assert_eq!(left, ["b"]);
}

#[test]
fn a_network_that_cannot_be_read_lets_nobody_in() {
    let record =
        ConsumerRecord { name: "a".into(), active: true, ips: vec!["10.0.0.0/88".into()], ..Default::default() };
    let known = Known::of(Vec::new(), vec![record]);
    assert!(!known.consumers["a"].active);
}
