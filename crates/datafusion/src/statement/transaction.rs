//! BEGIN, COMMIT and ROLLBACK, which take effect at once: they concern the session.

use std::sync::Arc;

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Statement as Sql, TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};

use super::custom::AnyStatement;
use super::refuse_clauses;
use crate::transaction::OpenTransaction;

/// What is asked of the session's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Begin { read_only: bool },
    Commit,
    Rollback,
}

impl Control {
    /// What a statement asks; `None` for any other statement.
    pub(crate) fn of(statement: &AnyStatement) -> Result<Option<Self>> {
        let AnyStatement::Parsed(parsed) = statement else { return Ok(None) };
        let Parsed::Statement(sql) = parsed.as_ref() else { return Ok(None) };
        Ok(Some(match sql.as_ref() {
            Sql::StartTransaction {
                modes,
                begin: _,
                transaction: _,
                modifier,
                statements,
                exception,
                has_end_keyword,
            } => {
                refuse_clauses(
                    "BEGIN",
                    &[
                        ("DEFERRED, IMMEDIATE, EXCLUSIVE, TRY or CATCH", modifier.is_some()),
                        ("a block of statements", !statements.is_empty() || exception.is_some() || *has_end_keyword),
                    ],
                )?;
                Self::Begin { read_only: read_only(modes)? }
            }
            Sql::Commit { chain, end: _, modifier } => {
                refuse_clauses("COMMIT", &[("AND CHAIN", *chain), ("TRY or CATCH", modifier.is_some())])?;
                Self::Commit
            }
            Sql::Rollback { chain, savepoint } => {
                refuse_clauses("ROLLBACK", &[("AND CHAIN", *chain), ("TO a savepoint", savepoint.is_some())])?;
                Self::Rollback
            }
            _ => return Ok(None),
        }))
    }

    /// Does it.
    pub(crate) async fn run(self, session: &Arc<OpenTransaction>) -> Result<()> {
        match self {
            Self::Begin { read_only } => session.begin(read_only),
            Self::Commit => session.commit().await,
            Self::Rollback => session.rollback(),
        }
    }
}

fn read_only(modes: &[TransactionMode]) -> Result<bool> {
    use TransactionIsolationLevel as Level;
    let mut access = None;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(mode) => {
                if access.replace(mode).is_some_and(|other| other != mode) {
                    return plan_err!("BEGIN: READ ONLY and READ WRITE exclude each other");
                }
            }
            // A snapshot is at least as strong as these.
            TransactionMode::IsolationLevel(
                Level::ReadUncommitted | Level::ReadCommitted | Level::RepeatableRead | Level::Snapshot,
            ) => {}
            TransactionMode::IsolationLevel(level) => {
                return not_impl_err!(
                    "BEGIN: ISOLATION LEVEL {level} is not supported; a transaction is isolated by its snapshot \
                     (ISOLATION LEVEL SNAPSHOT)"
                );
            }
        }
    }
    Ok(access == Some(&TransactionAccessMode::ReadOnly))
}
