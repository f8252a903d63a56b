//! `npy_info`, `npy_recover`, `npy_ensure_appendable`: what looks after `.npy` files that grow, as NpyAppendArray's tools.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use hyperslab_core::ByteOrder;

use super::arrays::{numbers, table, text};
use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};
use crate::maintenance::{Maintenance, NpyJob, NpyTask, shown};

pub(super) static NPY_INFO: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "npy_info",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "npy_info(path)",
        summary: "What the header and the length of a .npy file say: version, dtype, byte_order, fortran_order, shape, \
                  growth_axis (along which it can grow), header_bytes, expected_bytes and data_bytes of the data, \
                  appendable (room in the header; else `npy_ensure_appendable`) and needs_recovery (other bytes than \
                  the shape asks for; `npy_recover`).",
        example: "SELECT shape, growth_axis, appendable, needs_recovery FROM npy_info('examples/data/digits.npy')",
    },
    parameters: &[Parameter::required("path")],
    plan: info,
};

pub(super) static NPY_RECOVER: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "npy_recover",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "npy_recover(path, incomplete => 'drop' | 'zero')",
        summary: "Brings the shape of a .npy file that was left incomplete, by a crash during an append or a download \
                  that broke off, in line with the data that is there. A part of a row at the end is dropped, or filled \
                  up with zeros. A whole file is left as it is. Returns path, shape_before, shape, dropped_bytes and \
                  added_bytes. EXPLAIN does not run it.",
        example: "SELECT shape, dropped_bytes FROM npy_recover('examples/data/digits.npy', incomplete => 'drop')",
    },
    parameters: &[Parameter::required("path"), Parameter::required("incomplete")],
    plan: recover,
};

pub(super) static NPY_ENSURE_APPENDABLE: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "npy_ensure_appendable",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "npy_ensure_appendable(path[, in_place => false])",
        summary: "Sees to it that the header of a .npy file has room for any length, so that rows can be appended. The \
                  file is copied, or with in_place => true changed where it is, with a journal beside it; broken off, \
                  it is called again. Returns path and changed. EXPLAIN does not run it.",
        example: "SELECT changed FROM npy_ensure_appendable('examples/data/digits.npy')",
    },
    parameters: &[Parameter::required("path"), Parameter::named("in_place")],
    plan: ensure_appendable,
};

fn path(call: &mut Call<'_>) -> Result<PathBuf> {
    match call.text("path")? {
        Some(path) => Ok(PathBuf::from(path)),
        None => call.misused("the argument path is missing"),
    }
}

fn info(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let path = path(call)?;
    let info = hyperslab_formats::npy::npy_info(&path).map_err(to_datafusion)?;
    let text = |value: String| text(std::iter::once(value));
    let number = |value: u64| numbers(std::iter::once(Some(value)));
    let truth = |value: bool| Arc::new(BooleanArray::from(vec![value])) as ArrayRef;
    let order = match info.byte_order {
        ByteOrder::Little => "little",
        ByteOrder::Big => "big",
    };
    let columns = [
        ("path", text(path.display().to_string())),
        ("version", number(u64::from(info.version))),
        ("dtype", text(info.dtype)),
        ("byte_order", text(order.to_owned())),
        ("fortran_order", truth(info.fortran_order)),
        ("shape", text(shown(&info.shape))),
        ("growth_axis", numbers(std::iter::once(info.growth_axis.map(|axis| axis as u64)))),
        ("header_bytes", number(info.header_bytes)),
        ("expected_bytes", number(info.expected_bytes)),
        ("data_bytes", number(info.data_bytes)),
        ("appendable", truth(info.appendable)),
        ("needs_recovery", truth(info.needs_recovery)),
    ];
    table(&format!("npy_info({})", path.display()), columns.into_iter())
}

fn recover(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let path = path(call)?;
    let zero = match call.text("incomplete")?.map(|text| text.to_lowercase()).as_deref() {
        Some("drop") => false,
        Some("zero") => true,
        _ => return call.misused("incomplete is 'drop' or 'zero'"),
    };
    Maintenance::plan_npy(NpyJob { path, task: NpyTask::Recover { zero } })
}

fn ensure_appendable(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let path = path(call)?;
    let in_place = match call.argument("in_place").map(|expr| expr.to_string().to_lowercase()).as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return call.misused("in_place is true or false"),
    };
    Maintenance::plan_npy(NpyJob { path, task: NpyTask::EnsureAppendable { in_place } })
}
