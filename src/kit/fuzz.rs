//! Mutated texts for tests: the same seed gives the same bytes everywhere.

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// That of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..3 {
            random.number();
        }
        random
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from((self.number() >> 11) % end).unwrap_or(0)
    }

    /// One of some.
    pub fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// One of the `seeds` after some changes: `words` put in, pieces taken out, doubled or exchanged, bits turned.
#[must_use]
pub fn mutated(random: &mut Random, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(9) {
            0..=2 => drop(bytes.splice(at..at, random.of(words).bytes())),
            3 => drop(bytes.splice(at..end, random.of(words).bytes())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            6 => {
                let copy = bytes[at..end].to_vec();
                let there = random.below(bytes.len() + 1);
                bytes.splice(there..there, copy);
            }
            7 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let to = from + random.below(other.len() - from + 1);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            // A word that is there becomes another one.
            _ => {
                let word = random.of(words);
                let there = memchr::memmem::find(&bytes, word.as_bytes());
                if let Some(there) = there.filter(|_| !word.is_empty()) {
                    bytes.splice(there..there + word.len(), random.of(words).bytes());
                }
            }
        }
    }
    bytes
}

/// What is cut at some places of its own choice.
#[must_use]
pub fn cut<'b>(random: &mut Random, bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = (0..random.below(8)).map(|_| random.below(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}
