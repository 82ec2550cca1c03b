//! What the kernel tells of disciplines and filters.

use super::encode::{
    EGRESS_REDIRECT, TCA_ACT_KIND, TCA_ACT_OPTIONS, TCA_KIND, TCA_MIRRED_PARMS, TCA_OPTIONS, TCA_TBF_PARMS,
    TCA_TBF_RATE64, TCA_U32_ACT,
};
use super::{Qdisc, TokenBucket, kinds};
use crate::netlink::{AttributeReader, Message};

/// Length of `struct tcmsg`.
const HEADER: usize = 20;

/// A filter that sends packets to another link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The index of the link that gets them.
    pub target: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at * 4..at * 4 + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn attributes(message: &Message) -> AttributeReader<'_> {
    AttributeReader::new(message.payload.get(HEADER..).unwrap_or_default())
}

pub(super) fn qdiscs(messages: &[Message], link: u32) -> Vec<Qdisc> {
    let of_link = |message: &&Message| {
        // The index is the second word of the header.
        message.kind == kinds::NEW_QDISC && word(&message.payload, 1) == Some(link)
    };
    messages.iter().filter(of_link).filter_map(qdisc).collect()
}

/// The links that have a discipline of that kind.
pub(super) fn links_with(messages: &[Message], kind: &str) -> Vec<u32> {
    let of_kind = |message: &&Message| {
        message.kind == kinds::NEW_QDISC
            && attributes(message).find(TCA_KIND).is_some_and(|found| found.string() == kind)
    };
    messages.iter().filter(of_kind).filter_map(|message| word(&message.payload, 1)).collect()
}

fn qdisc(message: &Message) -> Option<Qdisc> {
    let kind = attributes(message).find(TCA_KIND)?.string();
    let token_bucket = if kind == "tbf" {
        attributes(message).find(TCA_OPTIONS).and_then(|options| token_bucket(&options.nested()))
    } else {
        None
    };
    Some(Qdisc { kind, token_bucket })
}

/// See `encode::parameters`.
fn token_bucket(options: &AttributeReader<'_>) -> Option<TokenBucket> {
    let parameters = options.find(TCA_TBF_PARMS)?.payload;
    let rate64 = options.find(TCA_TBF_RATE64).and_then(|attribute| attribute.u64().ok());
    Some(TokenBucket {
        rate: rate64.or_else(|| word(parameters, 2).map(u64::from))?,
        limit: word(parameters, 6)?,
        buffer: word(parameters, 7)?,
    })
}

pub(super) fn redirects(messages: &[Message]) -> Vec<Redirect> {
    let filters = messages.iter().filter(|message| message.kind == kinds::NEW_FILTER);
    filters.flat_map(redirects_of).collect()
}

fn redirects_of(message: &Message) -> Vec<Redirect> {
    if attributes(message).find(TCA_KIND).is_none_or(|kind| kind.string() != "u32") {
        return Vec::new();
    }
    let options = attributes(message).find(TCA_OPTIONS);
    let Some(actions) = options.and_then(|options| options.nested().find(TCA_U32_ACT)) else {
        return Vec::new();
    };
    actions.nested().flatten().filter_map(|action| redirect(&action.nested())).collect()
}

/// See `encode::mirred`.
fn redirect(action: &AttributeReader<'_>) -> Option<Redirect> {
    if action.find(TCA_ACT_KIND)?.string() != "mirred" {
        return None;
    }
    let parameters = action.find(TCA_ACT_OPTIONS)?.nested().find(TCA_MIRRED_PARMS)?.payload;
    let target = word(parameters, 6)?;
    (word(parameters, 5)? == EGRESS_REDIRECT).then_some(Redirect { target })
}
