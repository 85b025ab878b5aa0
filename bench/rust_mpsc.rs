// Rust's std::sync::mpsc under the load of mailbox_bench: prints messages per second.
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

struct Message {
    sender: u64,
    number: u64,
    _payload: [u64; 6],
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (senders, per_sender) = (arguments[0], arguments[1]);
    let (tx, rx) = mpsc::channel::<Message>();
    let start = Arc::new(Barrier::new(senders as usize + 1));
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let (tx, start) = (tx.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                for number in 0..per_sender {
                    tx.send(Message { sender, number, _payload: [0; 6] }).unwrap();
                }
            })
        })
        .collect();
    drop(tx);
    start.wait();
    let begin = Instant::now();
    let mut next = vec![0u64; senders as usize];
    for message in rx {
        assert_eq!(message.number, next[message.sender as usize]);
        next[message.sender as usize] += 1;
    }
    let elapsed = begin.elapsed().as_secs_f64();
    for thread in threads {
        thread.join().unwrap();
    }
    println!("{}", (senders * per_sender) as f64 / elapsed);
}
