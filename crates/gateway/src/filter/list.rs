//! The list filter (PC-22): an answer shows what its reader may call or could be allowed to, and nothing else.
//!
//! By content, whatever its type says (SCOPE-17). Items are passed on as they stand or left out; nothing is printed anew.

mod kept;
mod page;

pub(crate) use kept::Lists;

use crate::decide::pins::Look;
use crate::known::tasks::Tasks;
use crate::message::answer::UpstreamFailure;
use page::Page;
use portcullis_domain::policy::{ServerPolicy, Standpoint};
use portcullis_domain::principal::Principal;

/// Why an answer is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// It is no JSON-RPC message, or one that readers could read differently.
    Garbled,
    /// Its lists hold more items than are looked at.
    TooManyItems,
}

impl From<Undecodable> for UpstreamFailure {
    fn from(undecodable: Undecodable) -> Self {
        match undecodable {
            Undecodable::Garbled => Self::Garbled,
            Undecodable::TooManyItems => Self::TooManyItems,
        }
    }
}

/// Who reads a list, and by which policy.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    pub(crate) policy: &'a ServerPolicy,
    pub(crate) principal: &'a Principal,
    /// Of which a list of tasks shows the reader's own.
    pub(crate) tasks: &'a Tasks,
    /// Without arguments: what only those can forbid is shown.
    pub(crate) standpoint: Standpoint,
    /// PC-33: what is not as it was approved is left out, and remembered.
    pub(crate) look: &'a Look<'a>,
}

/// The message, with every list in its result filtered. Messages without a result are passed on as they are.
pub(crate) fn filtered(message: &[u8], reader: &Reader<'_>) -> Result<Vec<u8>, Undecodable> {
    let text = std::str::from_utf8(message).map_err(|_| Undecodable::Garbled)?;
    let page = Page::read(text)?;
    let shown = page.shown(text, reader);
    Ok(page.written(message, &shown, None))
}
