//! What several tests need.

use torana_core::head::Fields;

/// SplitMix64: the same messages in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    pub(crate) fn mutate(&mut self, message: &mut Vec<u8>) {
        const ODD: &[u8] = b"\r\n\t :;,\0\x7f\x80\xff\"<>{}|\\^`#%aA0\x1f\x0b";
        for _ in 0..self.roll(4) {
            let at = self.roll(message.len());
            let odd = ODD[self.roll(ODD.len())];
            match self.roll(4) {
                0 => message[at] = odd,
                1 => message.insert(at, odd),
                2 => drop(message.remove(at)),
                _ => message.truncate(at.max(1)),
            }
            if message.is_empty() {
                message.push(b'G');
            }
        }
    }
}

/// What can be compared.
pub(crate) fn shown(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.text.to_vec(), value.to_vec())).collect()
}
