//! Names that members give themselves and their questions.

use super::wire::Dialect;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Six random characters, or sixteen hexadecimal digits, as Node's adapters make them.
pub(super) fn random_id(dialect: Dialect) -> String {
    match dialect {
        Dialect::Classic => {
            (0..6).map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 64)])).collect()
        }
        Dialect::Sharded => format!("{:016x}", rand::random::<u64>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_nodes_and_differ() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| random_id(Dialect::Classic)).collect();
        assert!(ids.len() > 990);
        assert!(ids.iter().all(|id| id.len() == 6 && id.bytes().all(|byte| ALPHABET.contains(&byte))));
        let id = random_id(Dialect::Sharded);
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}
