"""What the records of the benchmark are made of: texts, vectors, metadata. A seed decides all of it, and record `key` is the
same record whatever was made before it."""

import numpy as np

DIMENSIONS = 384
TOPICS = 200
VOCABULARY = 30_000
# A topic's own words take this share of its texts; the rest is the language that all topics share.
TOPICAL = 0.3
TOPIC_WORDS = 300

PARTS = [
    "b c ch d f g h j k l m n p r s sh st t tr v w".split(),
    "a e i o u ai ea io".split(),
    ["", "", "", "l", "n", "n", "r", "s", "t", "nd"],
]
SECTIONS = "cs.AI cs.CL cs.CV cs.DB cs.LG math.OC math.ST physics.comp-ph q-bio.NC stat.ML".split()


class Content:
    """Makes records. Vectors are unit vectors around their topic's centre, as an embedding model's are; texts are 80 to 230
    words with the frequencies of a natural language (Zipf), so that they compress as texts do."""

    def __init__(self, seed):
        self.seed = seed
        rng = np.random.default_rng([seed, 0])
        self.words = vocabulary(rng)
        weights = 1.0 / np.arange(2, VOCABULARY + 2) ** 1.05
        self.common = np.cumsum(weights / weights.sum())
        self.topics = rng.integers(500, VOCABULARY, size=(TOPICS, TOPIC_WORDS))
        self.centres = unit(rng.standard_normal((TOPICS, DIMENSIONS)))

    def record(self, key, version=0):
        """The record `key` in its `version`: (id, vector, text, metadata). A new version moves the vector and the changeable
        metadata; the text stays, as when documents are embedded or scored anew."""
        rng = np.random.default_rng([self.seed, 1, key])
        topic = int(rng.integers(TOPICS))
        text = self.text(rng, topic)
        metadata = {
            "source": f"arxiv/{2000 + key % 26:04d}/{key // 12:07d}.pdf",
            "title": text[: text.index(" ", 40)].capitalize(),
            "section": SECTIONS[topic % len(SECTIONS)],
            "chunk": key % 12,
        }
        rng = np.random.default_rng([self.seed, 2, key, version])
        metadata["score"] = float(rng.random())
        metadata["revised"] = 1_700_000_000 + version * 86_400 + int(rng.integers(86_400))
        vector = unit(self.centres[topic] + rng.standard_normal(DIMENSIONS) * 0.04).astype(np.float32)
        return f"doc-{key:08d}", vector, text, metadata

    def text(self, rng, topic):
        """One text, in sentences."""
        length = int(rng.integers(80, 231))
        common = np.searchsorted(self.common, rng.random(length))
        own = self.topics[topic][(rng.random(length) ** 2 * TOPIC_WORDS).astype(int)]
        words = [self.words[i] for i in np.where(rng.random(length) < TOPICAL, own, common)]
        end = 0
        while end < length:
            words[end] = words[end].capitalize()
            end += int(rng.integers(6, 25))
            words[min(end, length) - 1] += "."
        return " ".join(words)


def unit(vectors):
    """The vectors, each of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def vocabulary(rng):
    """Pronounceable words, the frequent ones short."""
    words = {}
    while len(words) < VOCABULARY:
        syllables = 1 if len(words) < 400 else 2 if len(words) < 10_000 else 3
        picks = rng.integers(1 << 30, size=(syllables, 3))
        words["".join(part[pick % len(part)] for row in picks for part, pick in zip(PARTS, row))] = None
    return list(words)
