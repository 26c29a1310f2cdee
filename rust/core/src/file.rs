//! The model file: tensors in the safetensors layout, the rest as JSON in its header.
//!
//! In: a model and a text of the caller's. Out: bytes, the same for the same model. A file is written beside its place,
//! flushed to disk and renamed, so that a crash leaves the old file or the new one, never half of one. Its header has a
//! checksum of all bytes, so that numbers that changed on the way are never taken for weights.

use crate::checksum;
use crate::error::Error;
use crate::memory::{collected, room};
use crate::model::Model;
use crate::optimizer::Optimizer;
use crate::pairs::Pairs;
use crate::params::Params;
use crate::plan::Plan;
use crate::progress::{Progress, Saved};
use crate::running::Running;
use dnn_kernels::Real;
use dnn_spec::{OptimizerSpec, Spec};
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// Of the file, in its header. Another layout gets another number.
const VERSION: u32 = 3;

/// What is read as well: files of version 2 have no checksum.
const OLDEST: u32 = 2;

/// What stands before the eight digits of the checksum, as the header of the layout has it: JSON in a JSON string. The
/// entry is among the first of ours, before any text of the caller's.
const BEFORE_CHECKSUM: &[u8] = br#"\"crc32\":\""#;

/// In the place of the digits while the checksum is found, which can't cover itself.
const NO_CHECKSUM: &str = "00000000";

/// The header's entry "dnn".
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    /// Of the file, these digits being zeros.
    #[serde(default)]
    crc32: Option<String>,
    spec: Spec,
    n_inputs: usize,
    optimizer: Option<OptimizerSpec>,
    steps: u64,
    /// Nadam's; 1 for the others.
    #[serde(default = "one")]
    product: f64,
    epochs: u64,
    /// Pairs of L-BFGS.
    #[serde(default)]
    pairs: usize,
    batches: u64,
    /// How far training has come.
    #[serde(default)]
    progress: Option<Saved>,
    extra: String,
}

/// For files from before there was a Nadam.
fn one() -> f64 {
    1.0
}

/// The model, its optimizer and `extra` as bytes.
///
/// # Errors
/// [`Error::Invalid`] where the header does not fit the layout.
pub fn to_bytes<T: Real>(model: &Model<T>, extra: &str) -> Result<Vec<u8>, Error> {
    let header = Header {
        version: VERSION,
        crc32: Some(NO_CHECKSUM.to_owned()),
        spec: model.spec.clone(),
        n_inputs: model.plan.n_inputs,
        optimizer: model.optimizer.as_ref().map(|optimizer| optimizer.spec),
        steps: model.optimizer.as_ref().map_or(0, |optimizer| optimizer.steps),
        product: model.optimizer.as_ref().map_or(1.0, |optimizer| optimizer.product),
        epochs: model.epochs,
        pairs: model.optimizer.as_ref().and_then(|optimizer| optimizer.pairs.as_ref()).map_or(0, Pairs::len),
        batches: model.running.batches,
        progress: Some(model.progress.to_saved()),
        extra: extra.to_owned(),
    };
    let mut tensors = Vec::new();
    for (prefix, params) in stores(model) {
        for (name, array) in names(&model.plan, &prefix).into_iter().zip(params.to_arrays(&model.plan)?) {
            let mut bytes = room(array.len() * size_of::<T>(), format_args!("the bytes of {name}"))?;
            array.iter().for_each(|&x| push_number(x, &mut bytes));
            tensors.push((name, array.shape().to_vec(), bytes));
        }
    }
    let dtype = if T::NAME == "float32" { Dtype::F32 } else { Dtype::F64 };
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        let view = TensorView::new(dtype, shape.clone(), bytes).map_err(|error| Error::invalid(error.to_string()))?;
        views.push((name, view));
    }
    let header = serde_json::to_string(&header).map_err(|error| Error::invalid(error.to_string()))?;
    // The crate takes as much memory as it needs, and the process ends where there is none: it is asked for before.
    let names: usize = tensors.iter().map(|(name, ..)| name.len() + 200).sum();
    let numbers: usize = tensors.iter().map(|(_, _, bytes)| bytes.len()).sum();
    drop(room::<u8>(numbers + names + 2 * header.len(), "the bytes of a model")?);
    let info = HashMap::from([("dnn".to_owned(), header)]);
    let mut bytes = serialize(views, Some(info)).map_err(|error| Error::invalid(error.to_string()))?;
    let digits = digits_of(&bytes).expect("the header has an entry for the checksum");
    let checksum = format!("{:08x}", checksum::crc32(&[&bytes]));
    bytes[digits].copy_from_slice(checksum.as_bytes());
    Ok(bytes)
}

/// Where the digits of the checksum stand; `None` where there is none.
fn digits_of(bytes: &[u8]) -> Option<Range<usize>> {
    let start =
        bytes.windows(BEFORE_CHECKSUM.len()).position(|found| found == BEFORE_CHECKSUM)? + BEFORE_CHECKSUM.len();
    let digits = start..start + NO_CHECKSUM.len();
    (digits.end <= bytes.len()).then_some(digits)
}

/// Whether `told`, the checksum in the header, is that of the bytes.
fn is_whole(bytes: &[u8], told: &str) -> bool {
    digits_of(bytes).is_some_and(|Range { start, end }| {
        let found = checksum::crc32(&[&bytes[..start], NO_CHECKSUM.as_bytes(), &bytes[end..]]);
        told.as_bytes() == &bytes[start..end] && told == format!("{found:08x}")
    })
}

/// A model from [`to_bytes`], or `None` where it holds numbers of another type; and the text of the caller's.
///
/// # Errors
/// [`Error::Invalid`] where the bytes are not those of a model: cut off, changed, or of another program.
pub fn from_bytes<T: Real>(bytes: &[u8]) -> Result<Option<(Model<T>, String)>, Error> {
    let broken = |what: String| Error::Invalid(format!("this is not a model file of dnn: {what}"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
    let header = metadata.metadata().as_ref().and_then(|info| info.get("dnn"));
    let header = header.ok_or_else(|| broken("its header has no entry \"dnn\"".to_owned()))?;
    let header = serde_json::from_str::<serde_json::Value>(header).map_err(|error| broken(error.to_string()))?;
    let version = header["version"].as_u64();
    let Some(version) = version.filter(|version| (OLDEST.into()..=VERSION.into()).contains(version)) else {
        return Err(broken(format!("it has version {version:?}, this program reads versions {OLDEST} to {VERSION}")));
    };
    let header: Header = serde_json::from_value(header).map_err(|error| broken(error.to_string()))?;
    let name = if header.spec.dtype == dnn_spec::Dtype::Float32 { "float32" } else { "float64" };
    if name != T::NAME {
        return Ok(None);
    }
    let is_told = header.crc32.is_some() || version == u64::from(OLDEST);
    if !is_told || header.crc32.as_ref().is_some_and(|told| !is_whole(bytes, told)) {
        return Err(Error::invalid("it is damaged: bytes have changed since it was saved, its checksum does not fit"));
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
    let plan = Plan::new::<T>(&header.spec, header.n_inputs)?;
    let read = |prefix: &str| -> Result<Params<T>, Error> {
        let mut arrays: Vec<ArrayD<T>> = Vec::new();
        for name in names(&plan, prefix) {
            let tensor = tensors.tensor(&name).map_err(|error| broken(error.to_string()))?;
            let bytes = tensor.data().chunks_exact(size_of::<T>());
            let count = bytes.len();
            let numbers = collected(bytes.map(number_from_bytes), count, format_args!("the numbers of {name}"))?;
            let array = ArrayD::from_shape_vec(tensor.shape().to_vec(), numbers);
            arrays.push(array.map_err(|_| broken(format!("{name} does not hold {}", T::NAME)))?);
        }
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        let mut params = Params::zeroed(&plan)?;
        params.set_arrays(&plan, &views)?;
        Ok(params)
    };
    let params = read("")?;
    let optimizer = match header.optimizer {
        None => None,
        Some(spec) => {
            let mut optimizer = Optimizer::new(spec, &plan)?;
            if !(0.0..=1.0).contains(&header.product) {
                return Err(broken(format!("the product of its momenta is {}", header.product)));
            }
            (optimizer.steps, optimizer.product) = (header.steps, header.product);
            for (prefix, memory) in memories(&mut optimizer) {
                if memory.is_some() {
                    let numbers = read(prefix)?;
                    // Means of squares: an optimizer takes their root.
                    if matches!(prefix, "second." | "largest.") && numbers.iter().any(|&x| x < T::ZERO) {
                        return Err(broken(format!("{prefix} holds a mean of squares below 0")));
                    }
                    *memory = Some(numbers);
                }
            }
            if let Some(pairs) = &mut optimizer.pairs {
                for i in 0..header.pairs {
                    let (s, y) = (read(&format!("s{i}."))?, read(&format!("y{i}."))?);
                    let kept = pairs.push(plan.isa, 0.0, |to_s, to_y| (*to_s, *to_y) = (s, y));
                    if !kept {
                        return Err(broken(format!("the pair {i} of L-BFGS does not curve upwards")));
                    }
                }
            }
            Some(optimizer)
        }
    };
    let running = Running { batches: header.batches };
    let progress = header.progress.clone().map(|saved| Progress::from_saved(saved, read)).transpose()?;
    let progress = progress.unwrap_or_default();
    let Header { spec, epochs, extra, .. } = header;
    Ok(Some((Model { spec, plan, params, running, optimizer, epochs, progress }, extra)))
}

/// Writes [`to_bytes`] to a file, all or nothing.
///
/// # Errors
/// [`Error::File`].
pub fn save<T: Real>(model: &Model<T>, extra: &str, path: &Path) -> Result<(), Error> {
    let bytes = to_bytes(model, extra)?;
    crate::write::write(path, &bytes).map_err(|error| Error::File(path.to_owned(), error))
}

/// The parameters and the memories of the optimizer, with the prefix of their names.
fn stores<T: Real>(model: &Model<T>) -> Vec<(String, &Params<T>)> {
    let mut stores = vec![(String::new(), &model.params)];
    if let Some(optimizer) = &model.optimizer {
        let memories = [
            ("first.", &optimizer.first),
            ("second.", &optimizer.second),
            ("largest.", &optimizer.largest),
            ("mean.", &optimizer.mean),
        ];
        stores.extend(memories.into_iter().filter_map(|(name, memory)| Some((name.to_owned(), memory.as_ref()?))));
        for (i, (s, y)) in optimizer.pairs.iter().flat_map(Pairs::in_order).enumerate() {
            stores.extend([(format!("s{i}."), s), (format!("y{i}."), y)]);
        }
    }
    stores.extend(model.progress.others().map(|(name, other)| (name.to_owned(), other)));
    stores
}

fn memories<T: Real>(optimizer: &mut Optimizer<T>) -> [(&'static str, &mut Option<Params<T>>); 4] {
    [
        ("first.", &mut optimizer.first),
        ("second.", &mut optimizer.second),
        ("largest.", &mut optimizer.largest),
        ("mean.", &mut optimizer.mean),
    ]
}

/// The names of the arrays of a store, in the order of [`Params::to_arrays`].
fn names(plan: &Plan, prefix: &str) -> Vec<String> {
    let of = |layer: &crate::plan::Layer| {
        let name = layer.name.clone();
        layer.arrays().into_iter().map(move |(array, _)| format!("{prefix}layer{name}.{array}"))
    };
    plan.layers.iter().flat_map(of).collect()
}

/// Little endian, as the layout wants. A float32 passes through float64 unchanged.
fn push_number<T: Real>(x: T, to: &mut Vec<u8>) {
    if T::NAME == "float32" {
        to.extend_from_slice(&(x.to_f64() as f32).to_le_bytes());
    } else {
        to.extend_from_slice(&x.to_f64().to_le_bytes());
    }
}

fn number_from_bytes<T: Real>(bytes: &[u8]) -> T {
    let mut eight = [0u8; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    T::from_f64(if T::NAME == "float32" {
        let [a, b, c, d, ..] = eight;
        f64::from(f32::from_le_bytes([a, b, c, d]))
    } else {
        f64::from_le_bytes(eight)
    })
}
