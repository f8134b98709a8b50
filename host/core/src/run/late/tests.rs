use super::*;

/// A trace's end of the line, and the other one; there is no process.
fn late() -> (Late, UnixStream) {
    let (socket, other) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    let late = Late {
        socket,
        process: None,
        received: Vec::new(),
        over: false,
        verbose: false,
        losses: [0; 2],
        attached: 0,
        skipped: Vec::new(),
    };
    (late, other)
}

fn line(reported: &Reported) -> Vec<u8> {
    let mut line = serde_json::to_vec(reported).unwrap();
    line.push(b'\n');
    line
}

#[test]
fn functions_are_known_before_the_process_continues() {
    let (mut late, mut other) = late();
    let reported = line(&Reported::Functions(vec![("nf_nat_packet".into(), "nf_nat".into(), 7)]));
    let (first, rest) = reported.split_at(9);
    other.write_all(first).unwrap();
    late.receive(|_| panic!("half a line"));
    other.write_all(rest).unwrap();
    other.set_nonblocking(true).unwrap();
    let mut learnt = Vec::new();
    late.receive(|new| {
        let mut byte = [0];
        assert!(other.read(&mut byte).is_err(), "reported to go on too early");
        learnt.extend(new);
        0x0102
    });
    assert_eq!(learnt.len(), 1);
    assert_eq!((learnt[0].name.as_str(), learnt[0].address), ("nf_nat_packet", 7));
    let mut answer = [0; 6];
    assert_eq!(other.read(&mut answer).unwrap(), 5);
    assert_eq!(answer, [KNOWN, 2, 1, 0, 0, 0]);
}

#[test]
fn what_was_attached_and_lost_later_is_counted() {
    let (mut late, mut other) = late();
    let skipped = ("gone".to_owned(), "nf_nat".to_owned(), "why".to_owned());
    for reported in [
        Reported::Attached {
            modules: vec![("nf_nat".into(), 11), ("dummy".into(), 2)],
            skipped: vec![skipped],
        },
        Reported::Losses(3, 0),
    ] {
        other.write_all(&line(&reported)).unwrap();
    }
    drop(other);
    late.receive(|_| panic!("no function is new"));
    assert_eq!((late.attached, late.skipped.len(), late.over), (13, 1, true));
    let losses = late.losses();
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].kind, losses[0].count), (LossKind::Recursion, 3));
}

#[test]
fn nonsense_from_the_other_process_is_its_end() {
    let (mut late, mut other) = late();
    other.write_all(b"{\"Losses\":[1]}\n\xff\n").unwrap();
    late.receive(|_| panic!("no function is new"));
    assert!(late.over);
    assert!(late.losses().is_empty());
}
