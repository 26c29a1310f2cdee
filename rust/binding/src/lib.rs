//! The extension module `dnn._core`: converts, detaches from the interpreter, calls, maps the error.
//!
//! No formula, no loop over numbers, no default value: those are above and below. `python/dnn/_core.pyi` has the types.

mod convert;
mod function;
mod network;
mod observer;
mod prediction;
mod rows;
mod shared;
mod signals;

use dnn_core::{Isa, Purpose};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

/// The instruction sets of this machine, fastest first.
#[pyfunction]
fn available_isas() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}

/// The instruction set that is used when nobody asks; `DNN_ISA` is obeyed.
#[pyfunction]
fn default_isa() -> PyResult<&'static str> {
    Isa::preferred().map(Isa::name).map_err(convert::isa_error)
}

/// ValueError where there is no instruction set of this name, or not on this machine.
#[pyfunction]
fn check_isa(name: &str) -> PyResult<()> {
    Isa::named(name).map(|_| ()).map_err(convert::isa_error)
}

/// How many numbers of bfloat16 stand for a factor of a large product while training with `precision="medium"`, with
/// `"high"`, and with `"highest"`; 0 where factors stay as they are.
#[pyfunction]
fn bf16_factors() -> PyResult<(usize, usize, usize)> {
    let isa = Isa::preferred().map_err(convert::isa_error)?;
    let medium = if isa == Isa::SCALAR { 0 } else { isa.with_bf16().parts() };
    Ok((medium, isa.with_split().parts(), isa.with_whole().parts()))
}

/// Tells a child process that threads of its parent are not there.
#[pyfunction]
fn forked() {
    signals::forked();
}

/// The features of this processor that matter here.
#[pyfunction]
fn cpu_features() -> Vec<&'static str> {
    dnn_core::cpu_features()
}

/// Values of an array (rows, columns) that are NaN or infinite: how many, and the row and column of the first.
#[pyfunction]
fn non_finite(py: Python<'_>, array: convert::Source<'_>, n_threads: usize) -> PyResult<Option<dnn_core::NonFinite>> {
    array.non_finite(py, n_threads)
}

/// A permutation of `range(n)` that depends on the seed alone.
#[pyfunction]
fn shuffled(py: Python<'_>, n: u32, seed: u64) -> PyResult<Bound<'_, PyArray1<i64>>> {
    let order = convert::detached(py, || {
        let count = n as usize;
        let mut order = dnn_core::collected(0..n, count, "the order of the rows")?;
        dnn_core::shuffle(&mut order, &mut dnn_core::stream(seed, Purpose::Split, 0));
        dnn_core::collected(order.into_iter().map(i64::from), count, "the order of the rows")
    })?;
    Ok(order.map_err(convert::error)?.into_pyarray(py))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("version", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<rows::Rows>()?;
    module.add_class::<network::Network>()?;
    module.add_class::<network::Compiled>()?;
    module.add_class::<prediction::Scalings>()?;
    module.add_function(wrap_pyfunction!(available_isas, module)?)?;
    module.add_function(wrap_pyfunction!(default_isa, module)?)?;
    module.add_function(wrap_pyfunction!(check_isa, module)?)?;
    module.add_function(wrap_pyfunction!(bf16_factors, module)?)?;
    module.add_function(wrap_pyfunction!(cpu_features, module)?)?;
    module.add_function(wrap_pyfunction!(forked, module)?)?;
    module.add_function(wrap_pyfunction!(non_finite, module)?)?;
    module.add_function(wrap_pyfunction!(shuffled, module)?)
}
