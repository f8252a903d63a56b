//! `read_npy`, `read_safetensors`, …: an array file as a table, whatever its extension.

use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::LogicalPlan;
use hyperslab_formats::Format;

use super::{Call, Parameter, TableFunction};
use crate::error::to_datafusion;
use crate::functions::{FunctionDoc, FunctionKind};

/// The prefix of the functions' names; the format's name follows.
const READ: &str = "read_";

pub(super) static READ_NPY: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_npy",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_npy(path)",
        summary: "A .npy file, or those that a glob matches, as a table of row and value, read in place. FROM \
                  'file.npy' is the same.",
        example: "SELECT count(*) FROM read_npy('examples/data/digits.npy')",
    },
    parameters: &[Parameter::required("path")],
    plan,
};

pub(super) static READ_NPZ: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_npz",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_npz(path[, name])",
        summary: "An array of NumPy's .npz as a table of row and value (a structured dtype has a column for each field); \
                  without its name the list of those that are there: name, dtype, shape, bytes. FROM 'file.npz::name' \
                  and FROM 'file.npz' are the same.",
        example: "SELECT max(value) FROM read_npz('examples/data/digits.npz', 'labels')",
    },
    parameters: &[Parameter::required("path"), Parameter::optional("name")],
    plan,
};

pub(super) static READ_SAFETENSORS: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_safetensors",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_safetensors(path[, tensor])",
        summary: "A tensor of a .safetensors file as a table of row and value, read in place; without its name the \
                  list of those that are there: name, dtype, shape, bytes. FROM 'file.safetensors::tensor' and FROM \
                  'file.safetensors' are the same.",
        example: "SELECT max(value) FROM read_safetensors('examples/data/digits.safetensors', 'labels')",
    },
    parameters: &[Parameter::required("path"), Parameter::optional("tensor")],
    plan,
};

pub(super) static READ_TORCH: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_torch",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_torch(path[, tensor])",
        summary: "A tensor of a .pt or .pth file as a table of row and value, read in place where its elements follow each \
                  other; without its name the list of those that are there: name, dtype, shape, bytes. Nothing in the \
                  file's pickle is run. FROM 'file.pt::tensor' and FROM 'file.pt' are the same.",
        example: "SELECT max(value) FROM read_torch('examples/data/digits.pt', 'labels')",
    },
    parameters: &[Parameter::required("path"), Parameter::optional("tensor")],
    plan,
};

pub(super) static READ_NUMPACK: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_numpack",
        aliases: &["read_npk"],
        kind: FunctionKind::Table,
        signature: "read_numpack(path[, array])",
        summary: "An array of a NumPack store, a folder or a package, as a table of row and value, without the rows that \
                  were deleted; without its name the list of those that are there: name, dtype, shape, bytes. FROM \
                  'folder.npk::array', FROM 'package.npkg::array' and FROM 'folder.npk' are the same.",
        example: "SELECT max(value) FROM read_numpack('examples/data/digits.npkg', 'labels')",
    },
    parameters: &[Parameter::required("path"), Parameter::optional("array")],
    plan,
};

pub(super) static READ_HDF5: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_hdf5",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_hdf5(path[, dataset])",
        summary: "A dataset of an HDF5 file as a table of row and value (a compound has a column for each member); \
                  without its name the list of those that are there: name, dtype, shape, bytes. FROM \
                  'file.h5::/group/dataset' and FROM 'file.h5' are the same.",
        example: "SELECT max(value) FROM read_hdf5('examples/data/digits.h5', '/digits/labels')",
    },
    parameters: &[Parameter::required("path"), Parameter::optional("dataset")],
    plan,
};

pub(super) static READ_ZARR: TableFunction = TableFunction {
    doc: FunctionDoc {
        name: "read_zarr",
        aliases: &[],
        kind: FunctionKind::Table,
        signature: "read_zarr(path[, array])",
        summary: "An array of a Zarr folder or of a zip archive of one, version 2 or 3, as a table of row and value; \
                  without its name the list of those that are there: name, dtype, shape, bytes. FROM \
                  'folder.zarr::group/array', FROM 'archive.zarr.zip::group/array' and FROM 'folder.zarr' are the same.",
        example: "SELECT max(value) FROM read_zarr('examples/data/digits.zarr', 'labels')",
    },
    parameters: &[Parameter::required("path"), Parameter::optional("array")],
    plan,
};

fn plan(call: &mut Call<'_>) -> Result<LogicalPlan> {
    let Some(format) = call.name().strip_prefix(READ) else { return internal_err!("{} reads no file", call.name()) };
    let format = Format::named(format).map_err(to_datafusion)?;
    let Some(mut path) = call.text("path")? else { return call.misused("the argument path is missing") };
    for name in ["name", "tensor", "dataset", "array"] {
        if let Some(entry) = call.text(name)? {
            path = format!("{path}::{entry}");
        }
    }
    Ok(super::call::file(&path, Some(format))?.plan)
}
