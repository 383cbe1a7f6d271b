//! What `fuzz/` feeds with bytes, with what must hold whatever they are. Compiled for tests and for `cargo fuzz` only.

use crate::jwk::{JwkSet, KeySet};
use crate::jwt::{self, AccessClaims, SigningKey};
use crate::strict_json;
use std::sync::LazyLock;

const DEPTH: usize = 64;

/// What is taken is JSON, for every reader.
pub fn strict_json(text: &[u8]) {
    if strict_json::check(text, DEPTH).is_ok() {
        let value: serde_json::Value = serde_json::from_slice(text).expect("what is taken is JSON");
        // Readers agree where no name stands twice: what was printed from the one value is taken too.
        let printed = value.to_string();
        assert_eq!(strict_json::check(printed.as_bytes(), DEPTH), Ok(()), "{printed}");
    }
}

/// No text is a token of ours that was not signed by us.
pub fn jwt(text: &[u8]) {
    static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
        jwt::install_crypto();
        let der = SigningKey::generate_pkcs8().expect("a key");
        let key = SigningKey::public_jwk("k1", &der).expect("its public half");
        KeySet::new(&JwkSet { keys: vec![key] }).expect("a set of one")
    });
    let Ok(text) = std::str::from_utf8(text) else { return };
    let opened = jwt::open::<AccessClaims>(text, jwt::ACCESS_TOKEN_TYPE, &KEYS);
    assert!(opened.is_err(), "a key that nobody has signed this: {text}");
    let _names = jwt::unverified_names(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Every file of a corpus goes through its target.
    fn run(corpus: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "{}", folder.display());
        for file in files {
            target(&std::fs::read(file).unwrap());
        }
    }

    #[test]
    fn rpc_07_the_corpus_of_json() {
        run("strict_json", strict_json);
    }

    #[test]
    fn jwt_09_the_corpus_of_tokens() {
        run("jwt", jwt);
    }
}
