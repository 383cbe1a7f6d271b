//! Secrets have two types: `Plain` is shown once and cannot be stored, `Hashed` is stored and cannot be shown (PC-43, PC-44).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use std::fmt;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// What a secret is for. The prefix makes a leaked one recognisable, to scanners and to our own test of PC-43.
pub trait Kind {
    /// `pc`, a letter and an underscore.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}
            impl Kind for $name {
                const PREFIX: &'static str = $prefix;
            }
        )*

        /// How everything begins that we make and that opens something; refresh tokens too, which have a module of their own.
        pub const PREFIXES: &[&str] = &[crate::refresh::PREFIX, $($prefix),*];
    };
}

/// Whether `text` is a secret that we made, as its beginning says.
pub fn is_ours(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Whether a secret that we made may stand anywhere in `text`.
pub fn may_hold_ours(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| text.contains(prefix))
}

kinds! {
    /// An authorization code.
    AuthorizationCode = "pcc_";
    /// The cookie of a signed-in browser.
    BrowserSession = "pci_";
    /// `state` of a sign-in at a third party.
    ConnectState = "pcx_";
    /// The secret of an agent or a confidential client.
    ClientSecret = "pcs_";
    /// With which a gateway that is to run alone comes for its identity, once.
    Enrolment = "pce_";
    /// A password that we made.
    GeneratedPassword = "pcp_";
}

/// A secret in clear: of 256 random bits, or of 100 where a person types it.
pub struct Plain<K: Kind> {
    text: Zeroizing<String>,
    kind: PhantomData<K>,
}

impl<K: Kind> Plain<K> {
    /// A new secret.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut random = Zeroizing::new([0; 32]);
        rng.fill_bytes(random.as_mut());
        let body = Zeroizing::new(format!("{}{}", K::PREFIX, URL_SAFE_NO_PAD.encode(random.as_ref())));
        let text = Zeroizing::new(format!("{}{}", *body, checksum(body.as_bytes())));
        Self { text, kind: PhantomData }
    }

    /// The secret itself: to hand it over, never to log it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The form to store.
    pub fn hashed(&self) -> Hashed<K> {
        Hashed::of(&self.text)
    }
}

impl Plain<GeneratedPassword> {
    /// A new password, short enough to be typed: 100 random bits in 20 characters that cannot be taken for one another.
    pub fn generate_typable(rng: &mut impl CryptoRng) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut random = Zeroizing::new([0; 20]);
        rng.fill_bytes(random.as_mut());
        let characters = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        let prefix = GeneratedPassword::PREFIX.chars();
        Self { text: Zeroizing::new(prefix.chain(characters).collect()), kind: PhantomData }
    }
}

impl<K: Kind> fmt::Debug for Plain<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}…", K::PREFIX)
    }
}

/// The SHA-256 of a high-entropy secret: looked up and compared instead of the secret (no salt needed at 256 bits).
pub struct Hashed<K: Kind> {
    bytes: [u8; 32],
    kind: PhantomData<K>,
}

impl<K: Kind> Hashed<K> {
    /// Hashes what a caller presented, whatever it is.
    pub fn of(presented: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, presented.as_bytes()).as_ref());
        Self { bytes, kind: PhantomData }
    }

    /// As stored.
    pub fn from_stored(bytes: [u8; 32]) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// To store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Equality in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.bytes, &other.bytes).is_ok()
    }
}

impl<K: Kind> Clone for Hashed<K> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, kind: PhantomData }
    }
}

impl<K: Kind> fmt::Debug for Hashed<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hashed({})", K::PREFIX)
    }
}

/// Six characters by which a scanner tells a real secret from a look-alike.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, bytes).as_ref()[..6]);
    text.truncate(6);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn pc_43_secrets_do_not_show_in_debug() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let secret = Plain::<ClientSecret>::generate(&mut rng);
        assert_eq!(format!("{secret:?}"), "pcs_…");
        assert_eq!(secret.reveal().len(), 4 + 43 + 6);
        assert!(secret.hashed().matches(&Hashed::of(secret.reveal())));
        assert!(!secret.hashed().matches(&Plain::<ClientSecret>::generate(&mut rng).hashed()));
    }

    #[test]
    fn pc_43_every_kind_of_secret_is_known_by_its_beginning() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let made = [
            Plain::<AuthorizationCode>::generate(&mut rng).reveal().to_owned(),
            Plain::<BrowserSession>::generate(&mut rng).reveal().to_owned(),
            Plain::<ConnectState>::generate(&mut rng).reveal().to_owned(),
            Plain::<ClientSecret>::generate(&mut rng).reveal().to_owned(),
            Plain::<Enrolment>::generate(&mut rng).reveal().to_owned(),
            Plain::generate_typable(&mut rng).reveal().to_owned(),
            "pcr_x".to_owned(),
        ];
        assert_eq!(made.len(), PREFIXES.len());
        for secret in made {
            assert!(is_ours(&secret) && may_hold_ours(&format!("a_{secret}")));
        }
        assert!(!is_ours("a_pcs_x") && !is_ours("opaque") && !may_hold_ours("pcs"));
    }

    #[test]
    fn a_password_can_be_typed_and_recognised() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let [one, two] = [(); 2].map(|()| Plain::generate_typable(&mut rng));
        let random = one.reveal().strip_prefix("pcp_").unwrap();
        assert_eq!(random.len(), 20);
        assert!(random.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
        assert!(one.reveal() != two.reveal());
    }
}
