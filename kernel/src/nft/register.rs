//! The registers of the kernel's virtual machine (`enum nft_registers`).

/// Where an expression reads or leaves a value.
///
/// The sixteen 32-bit words have two names each in the kernel; it reports the wide one where there is one, and so
/// does `Register::number`, so that what is written reads back equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// The verdict.
    Verdict,
    /// Beginning at this word, 0 to 15; longer values take the words that follow.
    Word(u8),
}

/// Words in a 128-bit register.
const WIDE: u32 = 4;
/// `NFT_REG32_00`.
const FIRST_NARROW: u32 = 8;

impl Register {
    /// The first word, which most rules need alone.
    pub const FIRST: Register = Register::Word(0);

    pub(super) fn number(self) -> u32 {
        match self {
            Register::Verdict => 0,
            Register::Word(word) if u32::from(word) % WIDE == 0 => 1 + u32::from(word) / WIDE,
            Register::Word(word) => FIRST_NARROW + u32::from(word),
        }
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        let word = match number {
            0 => return Some(Register::Verdict),
            1..=4 => (number - 1) * WIDE,
            8..=23 => number - FIRST_NARROW,
            _ => return None,
        };
        u8::try_from(word).ok().map(Register::Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_the_kernel_numbering() {
        for word in 0..16 {
            let register = Register::Word(word);
            assert_eq!(Register::from_number(register.number()), Some(register));
        }
        assert_eq!(Register::Word(4).number(), 2);
        assert_eq!(Register::from_number(7), None);
    }
}
