//! Refresh tokens by derivation (PC-13, decision 3): one row per family, nothing stored per token.
//!
//! A token is `pcr_` and the base64url of family id (16 bytes), generation (4), key version (2) and a MAC (32) over
//! these, followed by a checksum for scanners. A successor can be derived again, and a retired generation is recognised
//! for as long as the family lives.

use crate::id::FamilyId;
use crate::seal::{Unsealable, derive};
use crate::secret::checksum;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroizing;

pub(crate) const PREFIX: &str = "pcr_";
const BODY: usize = 16 + 4 + 2;

/// Versioned root keys. The newest signs; old ones verify until their last family ends.
pub struct RefreshRoots {
    roots: BTreeMap<u16, Zeroizing<[u8; 32]>>,
}

/// A refresh token in clear.
pub struct RefreshToken(Zeroizing<String>);

impl RefreshToken {
    /// The token itself: to hand it over, never to log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("pcr_…")
    }
}

/// What a token says whose MAC was good. Whether it is still the current one is for the family to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Which family.
    pub family: FamilyId,
    /// Which of its tokens, counted from 0.
    pub generation: u32,
    /// Which root key made it.
    pub key_version: u16,
}

impl RefreshRoots {
    /// Root keys by version.
    pub fn new(roots: BTreeMap<u16, Zeroizing<[u8; 32]>>) -> Self {
        Self { roots }
    }

    /// The version that new families use.
    pub fn newest(&self) -> Option<u16> {
        self.roots.keys().next_back().copied()
    }

    /// The token of a generation. The same arguments give the same token.
    pub fn derive_token(&self, claimed: Claimed) -> Result<RefreshToken, Unsealable> {
        let body = body(claimed);
        let mac = hmac::sign(&self.key(claimed)?, &body);
        let encoded = Zeroizing::new(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode([body.as_slice(), mac.as_ref()].concat())
        ));
        let sum = checksum(encoded.as_bytes());
        Ok(RefreshToken(Zeroizing::new(format!("{}{sum}", *encoded))))
    }

    /// Reads a presented token. `None` for anything whose MAC is not ours: it reveals and changes nothing.
    pub fn verify(&self, presented: &str) -> Option<Claimed> {
        let (encoded, sum) = presented.split_at_checked(presented.len().checked_sub(6)?)?;
        if sum != checksum(encoded.as_bytes()) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded.strip_prefix(PREFIX)?).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        let claimed = Claimed {
            family: FamilyId::from_bytes(body[..16].try_into().ok()?),
            generation: u32::from_be_bytes(body[16..20].try_into().ok()?),
            key_version: u16::from_be_bytes(body[20..22].try_into().ok()?),
        };
        hmac::verify(&self.key(claimed).ok()?, body, mac).ok()?;
        Some(claimed)
    }

    fn key(&self, claimed: Claimed) -> Result<hmac::Key, Unsealable> {
        let root = self.roots.get(&claimed.key_version).ok_or(Unsealable)?;
        let key = derive(root.as_ref(), &[b"portcullis refresh", claimed.family.as_bytes()])?;
        Ok(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }
}

impl std::fmt::Debug for RefreshRoots {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RefreshRoots({:?})", self.roots.keys())
    }
}

fn body(claimed: Claimed) -> [u8; BODY] {
    let mut body = [0; BODY];
    body[..16].copy_from_slice(claimed.family.as_bytes());
    body[16..20].copy_from_slice(&claimed.generation.to_be_bytes());
    body[20..].copy_from_slice(&claimed.key_version.to_be_bytes());
    body
}

/// The row of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Who it is.
    pub id: FamilyId,
    /// Only this client may present its tokens.
    pub client_id: ClientId,
    /// The generation whose token has been handed out and not been used.
    pub generation: u32,
    /// When `generation` was made; `None` for the first.
    pub rotated_at: Option<Timestamp>,
    /// Ends if not used until then; moves with each use.
    pub idle_end: Timestamp,
    /// Ends then, whatever happens.
    pub absolute_end: Timestamp,
    /// Root key of its tokens.
    pub key_version: u16,
    /// Revoked families recognise their tokens, and refuse them.
    pub revoked: bool,
}

/// What to do with a presented token of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the current one: advance, if no one else does first.
    Advance,
    /// The immediate predecessor, in time, by the same client: hand out the same successor again.
    Repeat,
    /// Refuse, and revoke the family.
    Revoke(Reuse),
    /// Refuse; the family is unharmed.
    Refuse(RefreshRefusal),
}

/// Why a family dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// A generation that the row has not reached: the database was restored from an older state.
    AheadOfRow,
    /// A retired generation, outside the grace.
    Retired,
}

/// Why a token is refused without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshRefusal {
    /// Idle or absolute end.
    Expired,
    /// The family was revoked before.
    Revoked,
    /// It belongs to another client.
    WrongClient,
}

impl Family {
    /// Judges a token of `generation` presented by `client` at `now`. Pure: the store makes the advance conditional.
    pub fn judge(&self, generation: u32, client: &ClientId, now: Timestamp, grace: Duration) -> Judgement {
        if *client != self.client_id {
            return Judgement::Refuse(RefreshRefusal::WrongClient);
        }
        if self.revoked {
            return Judgement::Refuse(RefreshRefusal::Revoked);
        }
        if self.idle_end.has_passed(now) || self.absolute_end.has_passed(now) {
            return Judgement::Refuse(RefreshRefusal::Expired);
        }
        if generation == self.generation {
            return Judgement::Advance;
        }
        if generation > self.generation {
            return Judgement::Revoke(Reuse::AheadOfRow);
        }
        let is_predecessor = generation.checked_add(1) == Some(self.generation);
        // A clock before `rotated_at` is outside the grace: time that runs backwards proves nothing.
        let in_grace = self.rotated_at.is_some_and(|at| now >= at && now < at + grace);
        if is_predecessor && in_grace { Judgement::Repeat } else { Judgement::Revoke(Reuse::Retired) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const GRACE: Duration = Duration::from_secs(30);

    fn roots() -> RefreshRoots {
        RefreshRoots::new(BTreeMap::from([(1, Zeroizing::new([1; 32])), (2, Zeroizing::new([2; 32]))]))
    }

    fn claimed(generation: u32) -> Claimed {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        Claimed { family: FamilyId::generate(NOW, &mut rng), generation, key_version: 2 }
    }

    #[test]
    fn pc_13_a_successor_can_be_derived_again() {
        let token = roots().derive_token(claimed(7)).unwrap();
        assert_eq!(token.reveal(), roots().derive_token(claimed(7)).unwrap().reveal());
        assert_ne!(token.reveal(), roots().derive_token(claimed(8)).unwrap().reveal());
        assert_eq!(roots().verify(token.reveal()), Some(claimed(7)));
        assert_eq!(format!("{token:?}"), "pcr_…");
    }

    #[test]
    fn as_rt_11_tokens_cannot_be_forged_cut_or_spliced() {
        let token = roots().derive_token(claimed(7)).unwrap();
        let token = token.reveal();
        for at in 0..token.len() {
            let mut altered = token.as_bytes().to_vec();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(roots().verify(&String::from_utf8(altered).unwrap()), None, "{at}");
            assert_eq!(roots().verify(&token[..at]), None, "{at}");
        }
        let other = roots().derive_token(claimed(8)).unwrap();
        let spliced = format!("{}{}", &token[..40], &other.reveal()[40..]);
        assert_eq!(roots().verify(&spliced), None);
        assert_eq!(roots().verify("é"), None);
    }

    fn family() -> Family {
        Family {
            id: claimed(0).family,
            client_id: "cli_1".parse().unwrap(),
            generation: 5,
            rotated_at: Some(NOW),
            idle_end: NOW + Duration::from_secs(1000),
            absolute_end: NOW + Duration::from_secs(5000),
            key_version: 2,
            revoked: false,
        }
    }

    #[test]
    fn as_rt_02_04_05_judgements() {
        let client = "cli_1".parse().unwrap();
        let judge = |generation, seconds: i64| {
            let now = Timestamp::from_seconds(NOW.seconds() + seconds);
            family().judge(generation, &client, now, GRACE)
        };
        assert_eq!(judge(5, 10), Judgement::Advance);
        assert_eq!(judge(4, 29), Judgement::Repeat);
        assert_eq!(judge(4, 30), Judgement::Revoke(Reuse::Retired));
        assert_eq!(judge(4, -1), Judgement::Revoke(Reuse::Retired));
        assert_eq!(judge(3, 1), Judgement::Revoke(Reuse::Retired));
        assert_eq!(judge(6, 1), Judgement::Revoke(Reuse::AheadOfRow));
        assert_eq!(judge(5, 1000), Judgement::Refuse(RefreshRefusal::Expired));
        let other = "cli_2".parse().unwrap();
        assert_eq!(
            family().judge(3, &other, NOW, GRACE),
            Judgement::Refuse(RefreshRefusal::WrongClient),
            "AS-RT-06: unharmed"
        );
        let strict = family().judge(4, &client, NOW, Duration::ZERO);
        assert_eq!(strict, Judgement::Revoke(Reuse::Retired), "AS-RT-04: grace 0 is strict");
    }
}
