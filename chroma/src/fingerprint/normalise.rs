//! What becomes of a cosine vector: hnswlib stores it divided by its length, and answers the product of the two.

/// The vector that a server answers for a raw one. Plain order of operations, all in 32 bits, as the published 1.x wheels
/// do it; a build that sums in another order differs in the last bit of some vectors.
pub(super) fn as_answered(raw: &mut [f32]) {
    let mut square = 0.0f32;
    for value in raw.iter() {
        square += value * value;
    }
    let length = square.sqrt();
    let factor = 1.0 / (length + 1e-30);
    for value in raw {
        *value = *value * factor * length;
    }
}
