//! Names that members give themselves and their questions.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Six random characters, as Node's adapter makes them.
pub(super) fn random_id() -> String {
    (0..6).map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 64)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_nodes_and_differ() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| random_id()).collect();
        assert!(ids.len() > 990);
        assert!(ids.iter().all(|id| id.len() == 6 && id.bytes().all(|byte| ALPHABET.contains(&byte))));
    }
}
