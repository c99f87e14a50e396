//! Numbers from the front of a fuzzer's bytes, and the checksums that it cannot guess.

/// What is left of the bytes. Past their end everything is zero.
#[derive(Debug, Clone)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (front, rest) = self.0.split_at(N.min(self.0.len()));
        taken[..front.len()].copy_from_slice(front);
        self.0 = rest;
        taken
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    /// The next two, little endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// The next four.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// The next eight.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// The next `length`, or as many as there are.
    pub fn slice(&mut self, length: usize) -> Vec<u8> {
        let (front, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        front.to_vec()
    }
}

/// CRC-32C as ext4 has it: not inverted at the end.
pub fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}
