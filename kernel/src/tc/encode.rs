//! Requests of traffic control, as bytes (`include/uapi/linux/pkt_sched.h`, `pkt_cls.h`, `tc_act/tc_mirred.h`).

use super::{BUCKET_HANDLE, INGRESS, INGRESS_HANDLE, ROOT, TokenBucket, kinds};
use crate::netlink::{Attributes, Request, flags};

pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;
pub(super) const TCA_TBF_PARMS: u16 = 1;
pub(super) const TCA_TBF_RATE64: u16 = 4;
pub(super) const TCA_U32_CLASSID: u16 = 1;
pub(super) const TCA_U32_SEL: u16 = 5;
pub(super) const TCA_U32_ACT: u16 = 7;
pub(super) const TCA_ACT_KIND: u16 = 1;
pub(super) const TCA_ACT_OPTIONS: u16 = 2;
pub(super) const TCA_MIRRED_PARMS: u16 = 2;
/// `TCA_EGRESS_REDIR`.
pub(super) const EGRESS_REDIRECT: u32 = 1;

/// `TC_ACT_STOLEN`: the packet is not this path's any more.
const STOLEN: u32 = 4;
/// `TC_U32_TERMINAL`: a match ends the search.
const TERMINAL: u8 = 1;
/// `1:1`, the class that the reference plugin's filter names; an ingress discipline has no classes.
const CLASS: u32 = 0x0001_0001;
/// Priority 1 and `ETH_P_ALL` (3, in network order).
const FIRST_OF_ALL_PROTOCOLS: u32 = (1 << 16) | (3_u16.to_be() as u32);

/// `struct tcmsg`.
pub(super) fn header(link: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    // The family and three bytes of padding come first.
    [0, link, handle, parent, info].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn create(operation: String, kind: u16, mut payload: Vec<u8>, attributes: &Attributes) -> Request {
    payload.extend(attributes.as_bytes());
    Request { operation, kind, flags: flags::CREATE | flags::EXCLUSIVE, payload }
}

pub(super) fn token_bucket(link: u32, bucket: &TokenBucket) -> Request {
    let mut attributes = Attributes::new();
    attributes.string(TCA_KIND, "tbf").nested(TCA_OPTIONS, |options| {
        options.bytes(TCA_TBF_PARMS, &parameters(bucket));
        if u32::try_from(bucket.rate).is_err() {
            options.bytes(TCA_TBF_RATE64, &bucket.rate.to_ne_bytes());
        }
    });
    let TokenBucket { rate, buffer, limit } = bucket;
    let operation =
        format!("limit link {link} to {rate} bytes/s (buffer {buffer} ticks, limit {limit} bytes)");
    create(operation, kinds::NEW_QDISC, header(link, BUCKET_HANDLE, ROOT, 0), &attributes)
}

/// `struct tc_tbf_qopt`: two times `struct tc_ratespec` (three words, the last is the rate), limit, buffer, `mtu`.
fn parameters(bucket: &TokenBucket) -> Vec<u8> {
    let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    let words = [0, 0, rate, 0, 0, 0, bucket.limit, bucket.buffer, 0];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(super) fn ingress(link: u32) -> Request {
    let mut attributes = Attributes::new();
    attributes.string(TCA_KIND, "ingress");
    let operation = format!("look at packets that arrive by link {link}");
    create(operation, kinds::NEW_QDISC, header(link, INGRESS_HANDLE, INGRESS, 0), &attributes)
}

/// A filter of the kind `u32`, because kernels without `matchall` are about.
pub(super) fn redirect(link: u32, target: u32) -> Request {
    let mut attributes = Attributes::new();
    attributes.string(TCA_KIND, "u32").nested(TCA_OPTIONS, |options| {
        options.u32(TCA_U32_CLASSID, CLASS).bytes(TCA_U32_SEL, &everything()).nested(
            TCA_U32_ACT,
            |actions| {
                actions.nested(1, |action| {
                    action.string(TCA_ACT_KIND, "mirred").nested(TCA_ACT_OPTIONS, |parameters| {
                        parameters.bytes(TCA_MIRRED_PARMS, &mirred(target));
                    });
                });
            },
        );
    });
    let operation = format!("redirect packets that arrive by link {link} to link {target}");
    create(operation, kinds::NEW_FILTER, header(link, 0, INGRESS_HANDLE, FIRST_OF_ALL_PROTOCOLS), &attributes)
}

/// `struct tc_u32_sel` with one key that asks for no bit.
fn everything() -> Vec<u8> {
    const SELECTOR: usize = 16;
    const KEY: usize = 16;
    let mut bytes = vec![0; SELECTOR + KEY];
    bytes[0] = TERMINAL;
    // Offset shift at 1, number of keys at 2.
    bytes[2] = 1;
    bytes
}

/// `struct tc_mirred`: index, capabilities, action, two counters, then what is done and where.
fn mirred(target: u32) -> Vec<u8> {
    let words = [0, 0, STOLEN, 0, 0, EGRESS_REDIRECT, target];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(super) fn delete(link: u32, parent: u32) -> Request {
    let operation = format!("remove the queueing discipline at {parent:x} of link {link}");
    Request { operation, kind: kinds::DELETE_QDISC, flags: 0, payload: header(link, 0, parent, 0) }
}
