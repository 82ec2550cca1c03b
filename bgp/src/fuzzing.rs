//! The reading of what a peer sends, as functions for a fuzzer (`fuzz/`, `cargo lab fuzz`). The first octet says what
//! was agreed, because that changes how the rest is read.

use crate::packet::frame::{Frame, Framer, Kind};
use crate::packet::{Context, Message, Open, Update, encode_update, encode_withdrawals};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// The targets by name. Each panics if what was read breaks a promise.
pub const TARGETS: &[(&str, Target)] = &[("bgp_stream", stream), ("bgp_open", open), ("bgp_update", update)];

/// What can be said in both ways of reading.
const MODERN: Context = Context { four_octet_as: true, extended_next_hop: true, internal: true };

fn context(octet: u8) -> Context {
    Context { four_octet_as: octet & 1 != 0, extended_next_hop: octet & 2 != 0, internal: octet & 4 != 0 }
}

/// A stream of messages, which are the same wherever it was split.
fn stream(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let whole = frames([data]);
    let middle = data.len() / 2;
    assert_eq!(whole, frames([&data[..middle], &data[middle..]]));
    for (kind, body) in &whole {
        let _ = read(*kind, body, context(*first)).map_err(|notification| notification.to_string());
    }
}

fn frames<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Kind, Vec<u8>)> {
    let mut framer = Framer::default();
    let mut frames = Vec::new();
    for part in parts {
        framer.push(part);
        while let Ok(Some(frame)) = framer.take() {
            frames.push((frame.kind, frame.body.to_vec()));
        }
    }
    frames
}

/// An OPEN, which is read again as it was written.
fn open(data: &[u8]) {
    let Ok(Message::Open(open)) = read(Kind::Open, data, MODERN) else { return };
    // What we write has few capabilities, which fit into the short form of the parameters.
    let restart = open.capabilities.graceful_restart.as_ref().map_or(0, |restart| restart.families.len());
    if restart <= 8 && open.capabilities.long_lived.len() <= 8 {
        assert_eq!(again::<Open>(&open.encode(), Message::into_open), open);
    }
}

/// An UPDATE: what of it is taken is read again as it was written.
fn update(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let Ok(Message::Update(update)) = read(Kind::Update, data, context(*first)) else { return };
    for reach in &update.reach {
        let messages = encode_update(&update.attributes, reach.next_hop, &reach.prefixes, MODERN);
        let mut prefixes = Vec::new();
        for message in messages.iter().flatten() {
            let mut once = again::<Update>(message, Message::into_update);
            assert_eq!((&once.attributes, &once.faults), (&update.attributes, &Vec::new()));
            assert_eq!(once.reach.len(), 1);
            assert_eq!(once.reach[0].next_hop, reach.next_hop);
            prefixes.append(&mut once.reach[0].prefixes);
        }
        assert!(messages.is_none() || prefixes == reach.prefixes);
    }
    for family in prefix::Family::BOTH {
        let gone: Vec<_> =
            update.withdrawn.iter().filter(|prefix| prefix.family() == family).copied().collect();
        let read = encode_withdrawals(&gone);
        let read = read.iter().flat_map(|message| again::<Update>(message, Message::into_update).withdrawn);
        assert!(read.eq(gone.iter().copied()));
    }
}

fn read(kind: Kind, body: &[u8], context: Context) -> Result<Message, crate::packet::Notification> {
    Message::decode(Frame { kind, body }, context)
}

/// Reads one message that we have written.
fn again<T>(bytes: &[u8], take: impl Fn(Message) -> Option<T>) -> T {
    let frames = frames([bytes]);
    assert_eq!(frames.len(), 1, "{bytes:?}");
    let (kind, body) = &frames[0];
    let message = read(*kind, body, MODERN);
    match message.map(take) {
        Ok(Some(message)) => message,
        other => unreachable!("{:?} of {bytes:?}", other.err()),
    }
}

impl Message {
    fn into_open(self) -> Option<Open> {
        if let Message::Open(open) = self { Some(open) } else { None }
    }

    fn into_update(self) -> Option<Update> {
        if let Message::Update(update) = self { Some(*update) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_once_is_not_found_again() {
        for (name, target) in TARGETS {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
            let mut seeds = 0;
            for file in std::fs::read_dir(&folder).unwrap() {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                seeds += 1;
            }
            assert!(seeds > 0, "{name} has no seeds");
        }
    }
}
