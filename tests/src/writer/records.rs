//! What requests are made of, and the small generator of chance behind them.

use serde_json::{Map, Value, json};

/// A record without its id: what a restored server is held against, bit by bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The vector; compared by bits.
    pub vector: Vec<f32>,
    /// The document.
    pub document: String,
    /// The metadata.
    pub metadata: Map<String, Value>,
}

impl Record {
    /// What differs from `other`, in a word; nothing when they are equal.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let bits = |record: &Self| record.vector.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if bits(self) != bits(other) {
            Some("vector")
        } else if self.document != other.document {
            Some("document")
        } else if self.metadata != other.metadata {
            Some("metadata")
        } else {
            None
        }
    }
}

/// `count` records of `dimension` numbers, the same for the same seed.
#[must_use]
pub fn synthetic(seed: u64, count: usize, dimension: usize) -> Vec<Record> {
    const WORDS: [&str; 12] = [
        "kelp", "rock", "storm", "tide", "anchor", "holdfast", "blade", "stipe", "current", "swell", "reef",
        "spore",
    ];
    let mut random = Random::new(seed);
    (0..count)
        .map(|n| {
            let vector = (0..dimension).map(|_| random.unit() * 2.0 - 1.0).collect();
            let words: Vec<&str> =
                (0..20 + random.below(40)).map(|_| WORDS[random.below(WORDS.len())]).collect();
            // A server's parser rounds long fractions to a neighbour; eighths are exact in every parser.
            #[allow(clippy::cast_precision_loss, reason = "a number below 1000")]
            let score = random.below(1000) as f64 / 8.0;
            let metadata = json!({
                "source": format!("synthetic-{n}"), "page": random.below(1000), "score": score,
                "reviewed": random.below(2) == 0,
            });
            let metadata = metadata.as_object().cloned().unwrap_or_default();
            Record { vector, document: words.join(" "), metadata }
        })
        .collect()
}

/// SplitMix64: enough for tests, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("a number below a usize is one")
    }

    /// A number from zero to below one.
    pub fn unit(&mut self) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "24 bits fit into an f32 exactly")]
        let value = (self.next() >> 40) as f32 / (1u32 << 24) as f32;
        value
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
