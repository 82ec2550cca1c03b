//! From bits a second to the kernel's token bucket, with the reference plugin's arithmetic.

use kernel::tc::TokenBucket;

use super::limits::Limit;

/// How long a packet may wait, in seconds.
const LATENCY: f64 = 0.025;
/// Ticks of traffic control in a microsecond; the same in every kernel since 2.6.31 (`PSCHED_SHIFT`).
const TICKS: f64 = 15.625;
/// No packet is larger. A bucket or a queue that cannot hold one would let nothing through.
const LARGEST_PACKET: u32 = 65_536;

impl Limit {
    fn rate_bytes(&self) -> u64 {
        self.rate / 8
    }

    fn burst_bytes(&self) -> u32 {
        u32::try_from(self.burst / 8).unwrap_or(u32::MAX)
    }

    /// The token bucket of this limit.
    ///
    /// The reference plugin's numbers overflow with the burst that kubelet sends (4 Gbit) and a low rate. What is left
    /// then is taken too, so that its CHECK agrees, unless no packet would pass.
    pub(super) fn bucket(&self) -> TokenBucket {
        let wrapped = self.wrapped_bucket();
        let mut bucket = wrapped;
        if self.limit_wraps() && wrapped.limit < LARGEST_PACKET {
            bucket.limit = u32::MAX;
        }
        if self.buffer_wraps() && bytes_of(&wrapped) < u64::from(LARGEST_PACKET) {
            bucket.buffer = u32::MAX;
        }
        bucket
    }

    /// True if the burst takes so short at the rate that no byte fits in what the kernel counts with (64 ns).
    pub(super) fn holds_nothing(&self) -> bool {
        bytes_of(&self.bucket()) == 0
    }

    /// The token bucket that the reference plugin makes.
    pub(super) fn wrapped_bucket(&self) -> TokenBucket {
        let waiting = low_bits(as_float(self.rate_bytes()) * LATENCY);
        TokenBucket {
            rate: self.rate_bytes(),
            buffer: low_bits(f64::from(low_bits(self.microseconds())) * TICKS),
            limit: waiting.wrapping_add(self.burst_bytes()),
        }
    }

    /// How long the burst takes at the rate.
    fn microseconds(&self) -> f64 {
        f64::from(self.burst_bytes()) * 1e6 / as_float(self.rate_bytes())
    }

    fn buffer_wraps(&self) -> bool {
        self.microseconds() * TICKS > f64::from(u32::MAX)
    }

    fn limit_wraps(&self) -> bool {
        as_float(self.rate_bytes()) * LATENCY + f64::from(self.burst_bytes()) > f64::from(u32::MAX)
    }
}

/// How many bytes the buffer of a bucket holds.
fn bytes_of(bucket: &TokenBucket) -> u64 {
    let bytes = u128::from(bucket.buffer) * 64 * u128::from(bucket.rate) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "the reference computes with the same rounding")]
fn as_float(number: u64) -> f64 {
    number as f64
}

/// Rounds down and keeps the low 32 bits, as the reference's conversion does where it overflows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is lost is lost in the reference too; see `Limit::bucket`"
)]
fn low_bits(number: f64) -> u32 {
    number as i64 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: u64, burst: u64) -> TokenBucket {
        Limit { rate, burst }.bucket()
    }

    #[test]
    fn numbers_are_those_of_the_reference() {
        // As `tc` showed them after the reference plugin 1.1.1.
        assert_eq!(bucket(8000, 80), TokenBucket { rate: 1000, buffer: 156_250, limit: 35 });
        assert_eq!(bucket(16_000, 80), TokenBucket { rate: 2000, buffer: 78_125, limit: 60 });
        // kubelet's burst with 100 Mbit/s.
        let kubelet = bucket(100_000_000, 0xffff_ffff);
        assert_eq!((kubelet.buffer, kubelet.limit), (671_088_625, 312_500 + 536_870_911));
    }

    #[test]
    fn an_overflow_is_that_of_the_reference_as_long_as_packets_pass() {
        // 429 s worth of ticks do not fit 32 bits.
        let limit = Limit { rate: 10_000_000, burst: 0xffff_ffff };
        assert_eq!(limit.bucket(), limit.wrapped_bucket());
        assert_eq!(limit.bucket().buffer, low_bits(429_496_728.0 * 15.625));
        for rate in (8..200_000).chain((200_000..1_000_000_000).step_by(9_973)) {
            let bucket = bucket(rate, 0xffff_ffff);
            assert!(bytes_of(&bucket) >= 65_536 || bucket.buffer == u32::MAX, "{rate}: {bucket:?}");
        }
    }

    #[test]
    fn a_queue_that_could_hold_no_packet_for_an_overflow_is_made_large() {
        let largest = Limit { rate: 8_000_000, burst: ((1 << 32) - 2) * 8 };
        assert_eq!(largest.wrapped_bucket().limit, 24_998);
        assert_eq!(largest.bucket().limit, u32::MAX);
    }
}
