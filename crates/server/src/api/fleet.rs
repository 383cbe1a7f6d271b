//! The fleet: plan, apply, export.

use super::error::Refusal;
use super::operator::LocalOperator;

pub(super) async fn export(_: LocalOperator) -> Result<(), Refusal> {
    Ok(())
}
pub(super) async fn plan(_: LocalOperator) -> Result<(), Refusal> {
    Ok(())
}
pub(super) async fn apply(_: LocalOperator) -> Result<(), Refusal> {
    Ok(())
}
