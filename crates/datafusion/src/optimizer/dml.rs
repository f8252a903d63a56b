//! Changes of arrays that DataFusion's planner planned: MERGE, and in contexts that a store is registered on all others.
//!
//! INSERT becomes the [write node](crate::write), so that values are checked and rows keep their order; DELETE, UPDATE,
//! TRUNCATE and MERGE become the [edit node](crate::write::edit) over the statement's own input plan. They never reach
//! the table provider, which DataFusion would hand a list of filters that may be incomplete: `DELETE … WHERE row IN
//! (SELECT …)` arrives there with none at all, which means every row.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result, internal_err, not_impl_err, plan_datafusion_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::dml::{InsertOp, MergeIntoAction, MergeIntoClause, MergeIntoClauseKind, MergeIntoOp};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{
    DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Values, WriteOp, lit, when,
};
use datafusion::optimizer::AnalyzerRule;
use hyperslab_core::FieldSpec;
use hyperslab_store::{Array, Store};

use crate::ArrayTable;
use crate::catalog::only_read;
use crate::statement::typed;
use crate::table::{Origin, ROW};
use crate::write::edit::{Action, ArrayEdit, Edit};
use crate::write::{ArrayWrite, Report, WriteTarget, left_out};

/// The rule.
#[derive(Debug)]
pub(crate) struct ArrayDml;

impl AnalyzerRule for ArrayDml {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_down(|node| match &node {
            LogicalPlan::Dml(dml) => match rewrite(dml)? {
                Some(write) => Ok(Transformed::yes(write)),
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        });
        rewritten.map(|t| t.data)
    }

    fn name(&self) -> &str {
        "array_dml"
    }
}

fn rewrite(dml: &DmlStatement) -> Result<Option<LogicalPlan>> {
    let provider = source_as_provider(&dml.target).ok();
    let Some(table) = provider.as_ref().and_then(|p| p.downcast_ref::<ArrayTable>()) else { return Ok(None) };
    let Origin::Store { store, array, explicit: false } = table.origin() else {
        return not_impl_err!(
            "{} is not supported for {}: it is a file or a past version",
            dml.op.name(),
            dml.table_name
        );
    };
    if let Some((place, _)) = table.attachment() {
        return plan_err!("{}: {}", dml.op.name(), only_read(place));
    }
    match &dml.op {
        WriteOp::Insert(InsertOp::Append) => {
            let target = WriteTarget::append(store, array, Report::Count);
            let input = fields_of(&dml.input, &target.fields)?;
            ArrayWrite::plan(target, input).map(Some)
        }
        WriteOp::Delete => {
            if matches!(dml.input.as_ref(), LogicalPlan::Limit(_)) {
                return not_impl_err!("DELETE: LIMIT is not supported; leave it out");
            }
            if matches!(dml.input.as_ref(), LogicalPlan::TableScan(scan) if scan.filters.is_empty()) {
                // Without WHERE.
                return ArrayEdit::truncate(store, array).map(Some);
            }
            let input = dml.input.as_ref().clone();
            let rows = LogicalPlanBuilder::from(input).project([row_of(&dml.input)?])?.build()?;
            ArrayEdit::plan(store, array, Edit::Each(Action::Delete), rows).map(Some)
        }
        WriteOp::Update => update(store, array, dml).map(Some),
        WriteOp::Truncate => ArrayEdit::truncate(store, array).map(Some),
        WriteOp::MergeInto(op) => merge(store, array, dml, op).map(Some),
        op => not_impl_err!("{} is not supported for arrays: {}", op.name(), dml.table_name),
    }
}

/// The column `row` of a plan that reads one array.
fn row_of(input: &LogicalPlan) -> Result<Expr> {
    input.schema().qualified_field_with_unqualified_name(ROW).map(Expr::from)
}

/// UPDATE: the planner's projection has every column of the table. Those that are themselves stay; the others are what
/// was set, without the planner's silent casts.
fn update(store: &Store, array: &Array, dml: &DmlStatement) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(Projection { expr, input, schema, .. }) = dml.input.as_ref() else {
        return internal_err!("the input of an UPDATE is no projection");
    };
    let (mut values, mut fields) = (vec![row_of(input)?], vec![]);
    for (value, (_, column)) in expr.iter().zip(schema.iter()) {
        let value = value.clone().unalias();
        if matches!(&value, Expr::Column(c) if c.name == *column.name()) {
            continue;
        }
        match array.fields().iter().find(|f| f.name() == column.name()) {
            Some(field) => {
                values.push(without_cast(value).alias(field.name()));
                fields.push(field.clone());
            }
            None => return plan_err!("UPDATE {}: {} cannot be set", array.name(), column.name()),
        }
    }
    let rows = LogicalPlanBuilder::from(input.as_ref().clone()).project(values)?.build()?;
    ArrayEdit::plan(store, array, Edit::Each(Action::Update(fields)), rows)
}

/// The column with the number of the action of a merged row.
const ACTION: &str = "__action";

/// MERGE: the source joined to the array, each row with the number of the first clause that takes it, and the values of
/// each clause, which are computed for its rows only.
pub(crate) fn merge(store: &Store, array: &Array, dml: &DmlStatement, op: &MergeIntoOp) -> Result<LogicalPlan> {
    let inserts = op.clauses.iter().any(|c| c.kind != MergeIntoClauseKind::Matched);
    let kind = if inserts { JoinType::Left } else { JoinType::Inner };
    let target = LogicalPlanBuilder::scan(dml.table_name.clone(), Arc::clone(&dml.target), None)?.build()?;
    let row = row_of(&target)?;
    let joined = LogicalPlanBuilder::from(dml.input.as_ref().clone()).join_on(target, kind, [op.on.clone()])?;

    let mut numbers = Vec::new();
    let mut actions = Vec::new();
    let mut values = Vec::new();
    for (number, clause) in (0_i64..).zip(&op.clauses) {
        let applies = match clause.kind {
            MergeIntoClauseKind::Matched => row.clone().is_not_null(),
            MergeIntoClauseKind::NotMatched | MergeIntoClauseKind::NotMatchedByTarget => row.clone().is_null(),
            MergeIntoClauseKind::NotMatchedBySource => {
                return not_impl_err!(
                    "MERGE: WHEN NOT MATCHED BY SOURCE is not supported; use DELETE or UPDATE … WHERE"
                );
            }
        };
        let applies = clause.predicate.iter().cloned().fold(applies, Expr::and);
        numbers.push((Box::new(applies), Box::new(lit(number))));
        let (action, exprs) = action(array, clause)?;
        let chosen = Expr::Column(Column::from_name(ACTION)).eq(lit(number));
        for (i, (field, mut value)) in action.fields().iter().zip(exprs).enumerate() {
            typed(&mut value, field);
            let value = when(chosen.clone(), value).end()?;
            values.push(value.alias(format!("__{number}_{i}_{}", field.name())));
        }
        actions.push(action);
    }
    let number = Expr::Case(Case::new(None, numbers, None)).alias(ACTION);
    let columns = joined.schema().columns().into_iter().map(Expr::Column).chain([number]).collect::<Vec<_>>();
    let leading = [row, Expr::Column(Column::from_name(ACTION))];
    let rows = joined.project(columns)?.project(leading.into_iter().chain(values))?.build()?;
    // Rows that are inserted keep the order of the source where the join does.
    ArrayEdit::plan(store, array, Edit::Merge(actions), rows)
}

fn action(array: &Array, clause: &MergeIntoClause) -> Result<(Action, Vec<Expr>)> {
    let name = array.name();
    let field = |column: &String| match array.fields().iter().find(|f| f.name() == column) {
        Some(field) => Ok(field.clone()),
        None if column == ROW => plan_err!("MERGE INTO {name}: row is the position of a row and cannot be given"),
        None => plan_err!("MERGE INTO {name}: there is no field {column:?}"),
    };
    match (&clause.action, clause.kind == MergeIntoClauseKind::Matched) {
        (MergeIntoAction::Delete, true) => Ok((Action::Delete, vec![])),
        (MergeIntoAction::Update(assignments), true) => {
            let fields = assignments.iter().map(|(column, _)| field(column)).collect::<Result<_>>()?;
            Ok((Action::Update(fields), assignments.iter().map(|(_, value)| value.clone()).collect()))
        }
        (MergeIntoAction::Insert { columns, values }, false) => {
            if columns.is_empty() {
                return plan_err!("MERGE INTO {name}: INSERT needs its list of columns here");
            }
            columns.iter().try_for_each(|column| field(column).map(drop))?;
            let value = |f: &FieldSpec| {
                let at = columns.iter().position(|column| column == f.name());
                let given = at.and_then(|at| values.get(at)).cloned();
                given.map_or_else(|| left_out(f), |value| Ok(Some(value)))?.ok_or_else(|| {
                    plan_datafusion_err!(
                        "MERGE INTO {name}: INSERT gives no value for the field {:?}, which holds no NULL and has no \
                         default",
                        f.name()
                    )
                })
            };
            let values = array.fields().iter().map(value).collect::<Result<_>>()?;
            Ok((Action::Insert(array.fields().to_vec()), values))
        }
        (_, true) => plan_err!("MERGE INTO {name}: WHEN MATCHED takes UPDATE or DELETE"),
        (_, false) => plan_err!("MERGE INTO {name}: WHEN NOT MATCHED takes INSERT"),
    }
}

/// The array's fields from the input of an INSERT, which has the table's columns, `row` among them. The planner's
/// silent casts to the table's types are taken off: the write node's are checked.
fn fields_of(input: &LogicalPlan, fields: &[FieldSpec]) -> Result<LogicalPlan> {
    let missing = |f: &FieldSpec| plan_datafusion_err!("INSERT: there is no column for the field {:?}", f.name());
    let LogicalPlan::Projection(Projection { expr, input: source, .. }) = input else {
        let columns = fields.iter().map(|f| Expr::Column(Column::from_name(f.name())));
        return LogicalPlanBuilder::from(input.clone()).project(columns)?.build();
    };
    let exprs = fields.iter().map(|field| {
        let at = input.schema().index_of_column_by_name(None, field.name()).ok_or_else(|| missing(field))?;
        let value = expr.get(at).cloned().ok_or_else(|| missing(field))?.unalias();
        match without_cast(value) {
            // What the planner puts in for a field that the list of columns leaves out.
            Expr::Literal(value, _) if value.is_null() => match left_out(field)? {
                Some(value) => Ok(value.alias(field.name())),
                None => {
                    plan_err!("INSERT: field {:?} needs a value: it holds no NULL and has no default", field.name())
                }
            },
            value => Ok(value.alias(field.name())),
        }
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let source = match source.as_ref() {
        LogicalPlan::Values(Values { values, .. }) => {
            let rows = values.iter().map(|row| row.iter().cloned().map(without_cast).collect()).collect();
            LogicalPlanBuilder::values(rows)?
        }
        other => LogicalPlanBuilder::from(other.clone()),
    };
    source.project(exprs)?.build()
}

fn without_cast(value: Expr) -> Expr {
    match value {
        Expr::Cast(cast) => *cast.expr,
        other => other,
    }
}
