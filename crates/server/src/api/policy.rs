//! `policy explain`: what the one decision would be.

use super::error::Refusal;
use super::operator::LocalOperator;

pub(super) async fn explain(_: LocalOperator) -> Result<(), Refusal> {
    Ok(())
}
