use super::*;
use proptest::prelude::*;

fn complete(input: &[u8]) -> (usize, Option<String>, Option<String>) {
    match parse(input) {
        Ok(Parsed::Complete { consumed, source, destination }) => {
            (consumed, source.map(|it| it.to_string()), destination.map(|it| it.to_string()))
        }
        other => panic!("{other:?}"),
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

fn inet() -> Vec<u8> {
    let mut body = vec![192, 0, 2, 7, 198, 51, 100, 1];
    body.extend(50_000_u16.to_be_bytes());
    body.extend(443_u16.to_be_bytes());
    body
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut tlv = vec![kind];
    tlv.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    tlv.extend(value);
    tlv
}

/// A header over IPv4 with these TLVs and, first among them, its checksum.
fn with_checksum(tlvs: &[u8]) -> Vec<u8> {
    let mut body = inet();
    body.extend(tlv(TLV_CRC32C, &[0; 4]));
    body.extend(tlvs);
    let mut header = v2(0x21, 0x11, &body);
    let hole = V2_FIXED + 12 + 3;
    let sum = crc32c(&header, hole).to_be_bytes();
    header[hole..hole + 4].copy_from_slice(&sum);
    header
}

#[test]
fn v1_over_ipv4() {
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\nGET / HTTP/1.1\r\n";
    assert_eq!(complete(line), (45, Some("192.0.2.7:50000".into()), Some("198.51.100.1:443".into())));
}

#[test]
fn v1_over_ipv6() {
    let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n";
    assert_eq!(complete(line), (46, Some("[2001:db8::7]:50000".into()), Some("[2001:db8::1]:443".into())));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 2\r\n";
    assert_eq!(complete(mapped).1.as_deref(), Some("192.0.2.7:1"));
    let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), MAX_V1);
    assert_eq!(complete(longest.as_bytes()), (MAX_V1, None, None));
}

#[test]
fn v1_unknown_keeps_the_peer() {
    assert_eq!(complete(b"PROXY UNKNOWN\r\nrest"), (15, None, None));
    assert_eq!(complete(b"PROXY UNKNOWN 1 2 nonsense  \r\n"), (30, None, None));
}

#[test]
fn v1_has_one_spelling() {
    let bad: &[&str] = &[
        "PROXY  TCP4 192.0.2.7 198.51.100.1 50000 443\r\n",
        "PROXY TCP4 192.0.2.7  198.51.100.1 50000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 443 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 443 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
        "PROXY TCP4 192.0.2.007 198.51.100.1 50000 443\r\n",
        "PROXY TCP4 192.0.7 198.51.100.1 50000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 050000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +5 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 00 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 50000 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 50000 443\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 50000 443\r\n",
        "PROXY TCP6 [2001:db8::7] [2001:db8::1] 50000 443\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 50000 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 50000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\rX",
        "PROXY UNKNOWN\nx\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY \u{e9}\r\n",
    ];
    for line in bad {
        assert_eq!(parse(line.as_bytes()), Err(ProxyError::MalformedV1), "{line:?}");
    }
}

#[test]
fn v1_is_bounded() {
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(&endless.as_bytes()[..MAX_V1 - 1]), Ok(Parsed::Partial));
    assert_eq!(parse(&endless.as_bytes()[..MAX_V1]), Err(ProxyError::MalformedV1));
    assert_eq!(parse(endless.as_bytes()), Err(ProxyError::MalformedV1));
    // The line feed would be byte 108.
    let late = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 15));
    assert_eq!(late.len(), MAX_V1 + 1);
    assert_eq!(parse(late.as_bytes()), Err(ProxyError::MalformedV1));
}

#[test]
fn anything_else_is_no_header() {
    for input in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"proxy ", b"PROXX", b"\r\n\r\n\0\r\nQUIT\r", b"\n"] {
        assert_eq!(parse(input), Err(ProxyError::NoHeader), "{input:?}");
    }
    assert_eq!(parse(b""), Ok(Parsed::Partial));
    assert_eq!(parse(b"\r\n\r\n"), Ok(Parsed::Partial));
}

#[test]
fn v2_over_ipv4_and_ipv6() {
    for family in [0x11, 0x12] {
        let expected = (28, Some("192.0.2.7:50000".into()), Some("198.51.100.1:443".into()));
        assert_eq!(complete(&v2(0x21, family, &inet())), expected);
    }
    let mut body = Vec::new();
    body.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    body.extend("::ffff:198.51.100.1".parse::<Ipv6Addr>().unwrap().octets());
    body.extend([0x1f, 0x90, 0, 80]);
    let expected = (52, Some("[2001:db8::7]:8080".into()), Some("198.51.100.1:80".into()));
    assert_eq!(complete(&v2(0x21, 0x21, &body)), expected);
}

#[test]
fn v2_without_addresses_keeps_the_peer() {
    assert_eq!(complete(&v2(0x20, 0x00, b"")), (16, None, None));
    // LOCAL: addresses, family and TLVs are discarded unread.
    assert_eq!(complete(&v2(0x20, 0x11, &inet())), (28, None, None));
    assert_eq!(complete(&v2(0x20, 0xff, &[0xff; 7])), (23, None, None));
    assert_eq!(complete(&v2(0x21, 0x00, b"anything")), (24, None, None));
    assert_eq!(complete(&v2(0x21, 0x31, &[b'/'; 216])), (232, None, None));
}

#[test]
fn v2_refuses_what_it_does_not_know() {
    for (command, family) in [(0x11, 0x11), (0x22, 0x11), (0x2f, 0x11), (0x21, 0x10), (0x21, 0x13), (0x21, 0x41)] {
        let header = v2(command, family, &inet());
        assert_eq!(parse(&header), Err(ProxyError::MalformedV2), "{command:x} {family:x}");
    }
    for short in [v2(0x21, 0x11, &inet()[..11]), v2(0x21, 0x21, &[0; 35]), v2(0x21, 0x31, &[0; 215])] {
        assert_eq!(parse(&short), Err(ProxyError::MalformedV2));
    }
}

#[test]
fn v2_is_bounded() {
    let longest = v2(0x20, 0, &[0; MAX_V2]);
    assert_eq!(complete(&longest).0, MAX_HEADER);
    // Refused on the length alone, before any of it is there.
    let longer = v2(0x21, 0x11, &[0; MAX_V2 + 1]);
    assert_eq!(parse(&longer[..V2_FIXED]), Err(ProxyError::TooLong));
}

#[test]
fn v2_skips_tlvs_and_checks_that_they_fit() {
    let with = |tlvs: &[u8]| v2(0x21, 0x11, &[&inet()[..], tlvs].concat());
    assert_eq!(complete(&with(&[tlv(0x02, b"host.example"), tlv(0x04, b"")].concat())).0, 28 + 15 + 3);
    for bad in [&b"\x04"[..], b"\x04\x00", b"\x04\x00\x01", b"\x04\xff\xff\x00", b"\x04\x00\x00\x04"] {
        assert_eq!(parse(&with(bad)), Err(ProxyError::MalformedV2), "{bad:?}");
    }
}

#[test]
fn v2_checksum() {
    // The check value of CRC-32C: RFC 3720 §B.4 and every catalogue of checksums.
    assert_eq!(crc32c(b"123456789", usize::MAX), 0xe306_9283);
    let good = with_checksum(&tlv(0x04, b"padding"));
    assert_eq!(complete(&good).0, good.len());
    for position in [17, 20, V2_FIXED + 15, good.len() - 1] {
        let mut bad = good.clone();
        bad[position] ^= 1;
        assert_eq!(parse(&bad), Err(ProxyError::Checksum), "byte {position}");
    }
    let twice = with_checksum(&tlv(TLV_CRC32C, &[0; 4]));
    assert_eq!(parse(&twice), Err(ProxyError::MalformedV2));
    let mut wrong_size = inet();
    wrong_size.extend(tlv(TLV_CRC32C, &[0; 3]));
    assert_eq!(parse(&v2(0x21, 0x11, &wrong_size)), Err(ProxyError::MalformedV2));
}

/// Headers of every kind.
fn samples() -> Vec<Vec<u8>> {
    vec![
        b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n".to_vec(),
        b"PROXY UNKNOWN what ever\r\n".to_vec(),
        v2(0x20, 0, b""),
        v2(0x21, 0x11, &inet()),
        v2(0x21, 0x21, &[7; 36]),
        v2(0x21, 0x31, &[7; 216]),
        with_checksum(&tlv(0x20, &[0; 40])),
    ]
}

#[test]
fn split_at_every_byte() {
    for header in samples() {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Parsed::Partial), "{header:?} cut at {end}");
        }
        let alone = parse(&header);
        assert_eq!(complete(&header).0, header.len());
        // What follows never changes the reading.
        for rest in [&b"\n"[..], b"\r\n", b"GET / HTTP/1.1\r\n\r\n", &header] {
            assert_eq!(parse(&[&header, rest].concat()), alone);
        }
    }
}

/// What is promised of every input: more bytes never take an answer back.
fn check_monotonic(input: &[u8]) {
    let mut decided = None;
    for end in 0..=input.len() {
        let answer = parse(&input[..end]);
        if let Ok(Parsed::Complete { consumed, source, destination }) = answer {
            assert!(consumed <= end && consumed <= MAX_HEADER);
            assert_eq!(source.is_some(), destination.is_some());
        }
        match decided {
            Some(decided) => assert_eq!(answer, decided),
            None if answer != Ok(Parsed::Partial) => decided = Some(answer),
            None => assert!(end < MAX_HEADER),
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_monotonic(&input);
    }

    #[test]
    fn mutated_headers(
        sample in 0..8_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut input = samples().swap_remove(sample);
        for (at, byte) in edits {
            let at = at.index(input.len());
            input[at] = byte;
        }
        input.extend(tail);
        check_monotonic(&input);
    }

    #[test]
    fn v1_says_what_was_written(source: SocketAddr, destination: SocketAddr) {
        prop_assume!(source.is_ipv4() == destination.is_ipv4());
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        let line = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
        let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
        prop_assert_eq!(parse(line.as_bytes()), Ok(Parsed::Complete {
            consumed: line.len(),
            source: Some(canonical(source)),
            destination: Some(canonical(destination)),
        }));
    }
}
