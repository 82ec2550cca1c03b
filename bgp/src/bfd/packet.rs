//! Control packets (RFC 5880 §4.1). Without authentication: neither `kube-router` nor the routers beside it ask for it.

use std::fmt;
use std::time::Duration;

/// The octets of a packet without authentication.
const LENGTH: usize = 24;
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The state of a session (RFC 5880 §4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Held down by an administrator.
    AdminDown,
    /// No packets come.
    #[default]
    Down,
    /// Packets come; the other end does not know yet that ours come too.
    Init,
    /// Both ends hear each other.
    Up,
}

impl State {
    fn from_number(number: u8) -> Self {
        match number & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session left the state Up last (RFC 5880 §4.1). Numbers without a name are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// It never did.
    pub const NONE: Self = Self(0);
    /// No packet came for the detection time.
    pub const TIME_EXPIRED: Self = Self(1);
    /// The other end said so.
    pub const NEIGHBOR_SIGNALED: Self = Self(3);
    /// An administrator said so.
    pub const ADMIN_DOWN: Self = Self(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            number => return write!(f, "diagnostic {number}"),
        })
    }
}

/// A control packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The sender's state.
    pub state: State,
    /// Why it is not Up, or was not.
    pub diagnostic: Diagnostic,
    /// It asks for an answer with `is_final`.
    pub poll: bool,
    /// It answers a packet with `poll`.
    pub is_final: bool,
    /// The sender wants no periodic packets while both ends are Up.
    pub demand: bool,
    /// How many packets may be lost; at least 1.
    pub multiplier: u8,
    /// The sender's number of the session; never 0.
    pub my_discriminator: u32,
    /// The receiver's number of the session, 0 if the sender does not know it.
    pub your_discriminator: u32,
    /// How often the sender would like to send; microseconds on the wire.
    pub desired_min_tx: Duration,
    /// How often it can receive; zero for "send none".
    pub required_min_rx: Duration,
}

/// Why a packet is dropped (RFC 5880 §6.8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short, or its length field is wrong.
    #[error("its length is wrong")]
    Length,
    /// Not version 1.
    #[error("version {0} is not known")]
    Version(u8),
    /// It asks for authentication, which is not configured here.
    #[error("it is authenticated, and this end is not")]
    Authenticated,
    /// For point-to-multipoint sessions only.
    #[error("its multipoint bit is set")]
    Multipoint,
    /// A field that must not be 0 is.
    #[error("its {0} is 0")]
    Zero(&'static str),
    /// Both bits of a poll sequence.
    #[error("it both asks and answers (poll and final)")]
    PollAndFinal,
}

impl Control {
    /// Reads a packet.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let packet: &[u8; LENGTH] = octets.first_chunk().ok_or(Malformed::Length)?;
        let [first, second, multiplier, length, ..] = *packet;
        if first >> 5 != VERSION {
            return Err(Malformed::Version(first >> 5));
        }
        if usize::from(length) < LENGTH || usize::from(length) > octets.len() {
            return Err(Malformed::Length);
        }
        let has = |bit: u8| second & bit != 0;
        if has(MULTIPOINT) {
            return Err(Malformed::Multipoint);
        }
        if has(AUTHENTICATED) {
            return Err(Malformed::Authenticated);
        }
        if has(POLL) && has(FINAL) {
            return Err(Malformed::PollAndFinal);
        }
        let word = |at: usize| {
            packet
                .get(at..at + 4)
                .and_then(|octets| octets.first_chunk())
                .map_or(0, |o| u32::from_be_bytes(*o))
        };
        let control = Self {
            state: State::from_number(second >> 6),
            diagnostic: Diagnostic(first & 0x1f),
            poll: has(POLL),
            is_final: has(FINAL),
            demand: has(DEMAND),
            multiplier,
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_min_tx: Duration::from_micros(word(12).into()),
            required_min_rx: Duration::from_micros(word(16).into()),
        };
        control.check()
    }

    fn check(self) -> Result<Self, Malformed> {
        if self.multiplier == 0 {
            return Err(Malformed::Zero("detection multiplier"));
        }
        if self.my_discriminator == 0 {
            return Err(Malformed::Zero("discriminator"));
        }
        // Without our number it can only be from the beginning of a session.
        if self.your_discriminator == 0 && matches!(self.state, State::Init | State::Up) {
            return Err(Malformed::Zero("discriminator of this end"));
        }
        Ok(self)
    }

    /// The packet on the wire. It never asks for echo packets, and says that we live and die with the daemon (C bit 0).
    pub fn encode(&self) -> [u8; LENGTH] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX).to_be_bytes();
        let mut packet = [0; LENGTH];
        packet[0] = VERSION << 5 | self.diagnostic.0 & 0x1f;
        packet[1] = self.state.number() << 6
            | bit(self.poll, POLL)
            | bit(self.is_final, FINAL)
            | bit(self.demand, DEMAND);
        packet[2] = self.multiplier;
        packet[3] = 24;
        packet[4..8].copy_from_slice(&self.my_discriminator.to_be_bytes());
        packet[8..12].copy_from_slice(&self.your_discriminator.to_be_bytes());
        packet[12..16].copy_from_slice(&micros(self.desired_min_tx));
        packet[16..20].copy_from_slice(&micros(self.required_min_rx));
        packet
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn controls() -> impl Strategy<Value = Control> {
        let numbers = (1..=u8::MAX, 1..=u32::MAX, 1..=u32::MAX, any::<u32>(), any::<u32>());
        (0..4_u8, 0..32_u8, 0..3_u8, any::<bool>(), numbers).prop_map(
            |(state, diagnostic, sequence, demand, (multiplier, mine, yours, tx, rx))| Control {
                state: State::from_number(state),
                diagnostic: Diagnostic(diagnostic),
                poll: sequence == 1,
                is_final: sequence == 2,
                demand,
                multiplier,
                my_discriminator: mine,
                your_discriminator: yours,
                desired_min_tx: Duration::from_micros(tx.into()),
                required_min_rx: Duration::from_micros(rx.into()),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(control in controls()) {
            prop_assert_eq!(Control::decode(&control.encode()), Ok(control));
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(control) = Control::decode(&octets) {
                prop_assert_eq!(Control::decode(&control.encode()), Ok(control));
            }
        }
    }

    /// The first packet of a session as BIRD 2 sends it.
    const FIRST: [u8; 24] = [
        0x20, 0x40, 5, 24, 0x4c, 0x11, 0x88, 0x0a, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0, 0x27, 0x10, 0, 0,
        0, 0,
    ];

    #[test]
    fn a_packet_of_a_router_is_read() {
        let control = Control::decode(&FIRST).unwrap();
        assert_eq!((control.state, control.multiplier), (State::Down, 5));
        assert_eq!(control.desired_min_tx, Duration::from_secs(1));
        assert_eq!(control.required_min_rx, Duration::from_millis(10));
    }

    #[test]
    fn what_rfc_5880_drops_is_refused_with_the_reason() {
        let with = |at: usize, octet: u8| {
            let mut packet = FIRST;
            packet[at] = octet;
            Control::decode(&packet)
        };
        assert_eq!(with(0, 0x00), Err(Malformed::Version(0)));
        assert_eq!(with(1, 0x41), Err(Malformed::Multipoint));
        assert_eq!(with(1, 0x44), Err(Malformed::Authenticated));
        assert_eq!(with(1, 0x70), Err(Malformed::PollAndFinal));
        assert_eq!(with(1, 0xc0), Err(Malformed::Zero("discriminator of this end")));
        assert_eq!(with(2, 0), Err(Malformed::Zero("detection multiplier")));
        assert_eq!(with(3, 23), Err(Malformed::Length));
        assert_eq!(with(3, 25), Err(Malformed::Length));
        assert_eq!(Control::decode(&FIRST[..23]), Err(Malformed::Length));
    }
}
