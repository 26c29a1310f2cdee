//! The model file: what goes in comes out, what is broken is told, what is there stays until the new one is whole.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, lbfgs, model, optimizers, sgd, spec, with};
use dnn_core::{
    Error, Idle, Look, Model, OptimizerSpec, Params, Real, Scalings, fit, from_bytes, predict, save, to_bytes,
};
use ndarray::Array2;
use std::fs;
use std::path::{Path, PathBuf};

/// A small model that has been trained for a while.
fn trained<T: Real>(optimizer: OptimizerSpec) -> Model<T> {
    let layers = vec![with(layer(3, "tanh"), "use_bias", false), layer(2, "leaky_relu")];
    let mut model = model::<T>(2, layers, "huber", optimizer);
    let task = Task::<T>::regression(10, 2, 2);
    let data = task.data(&model.plan);
    fit(&mut model, &data, None, &fit_spec(4, 3, 0.01), &mut Watcher::new()).expect("it trains");
    model
}

fn assert_same<T: Real>(a: &Model<T>, b: &Model<T>) {
    assert_eq!((&a.spec, a.epochs, bits(&a.params)), (&b.spec, b.epochs, bits(&b.params)));
    assert_eq!((&a.plan.loss, a.plan.n_inputs, a.plan.len), (&b.plan.loss, b.plan.n_inputs, b.plan.len));
    assert_eq!(a.optimizer.is_some(), b.optimizer.is_some());
    let plan = a.plan.clone();
    if let (Some(a), Some(b)) = (&a.optimizer, &b.optimizer) {
        assert_eq!((a.spec, a.steps), (b.spec, b.steps));
        // Without the padding, which some memories fill with a constant and a file leaves out.
        let numbers = |params: &Option<Params<T>>| {
            let arrays = |params: &Params<T>| params.to_arrays(&plan).expect("it fits");
            params
                .as_ref()
                .map(|params| arrays(params).iter().flatten().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&a.first), numbers(&b.first));
        assert_eq!(numbers(&a.second), numbers(&b.second));
        assert_eq!(numbers(&a.largest), numbers(&b.largest));
        assert_eq!((numbers(&a.mean), a.product.to_bits()), (numbers(&b.mean), b.product.to_bits()));
    }
}

fn read<T: Real>(bytes: &[u8]) -> (Model<T>, String) {
    from_bytes(bytes).expect("bytes of a model").expect("of this type")
}

fn round_trip<T: Real>() {
    for optimizer in optimizers() {
        let model = trained::<T>(optimizer);
        assert_eq!((model.epochs, model.optimizer.as_ref().map(|optimizer| optimizer.steps)), (3, Some(9)));
        let extra = "{\"text\": \"Grüße, \\\"quoted\\\"\\n\"}";
        let bytes = to_bytes(&model, extra).expect("it fits");
        let (copy, text) = read::<T>(&bytes);
        assert_same(&model, &copy);
        assert_eq!(text, extra);
        assert_eq!(to_bytes(&copy, extra).expect("it fits"), bytes, "the same model gives the same bytes");
    }
}

#[test]
fn a_model_comes_back_bit_for_bit_with_its_optimizer_and_its_epochs() {
    round_trip::<f32>();
    round_trip::<f64>();
}

#[test]
fn a_model_that_was_never_compiled_comes_back_as_it_was() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(3, "relu"), layer(4, "softmax")]), 5).expect("it fits");
    let (copy, _) = read::<f32>(&to_bytes(&model, "").expect("it fits"));
    assert_same(&model, &copy);
}

#[test]
fn training_goes_on_from_a_file_as_if_it_had_not_stopped() {
    for optimizer in optimizers().into_iter().chain([lbfgs(2, 0.0, 0.0)]) {
        let mut model = trained::<f32>(optimizer);
        let (mut copy, _) = read::<f32>(&to_bytes(&model, "").expect("it fits"));
        let task = Task::<f32>::regression(10, 2, 2);
        for model in [&mut model, &mut copy] {
            let data = task.data(&model.plan);
            fit(model, &data, None, &fit_spec(4, 2, 0.01), &mut Watcher::new()).expect("it trains");
        }
        assert_same(&model, &copy);
    }
}

#[test]
fn a_file_of_the_other_type_is_none() {
    let (narrow, wide) = (trained::<f32>(adam(false)), trained::<f64>(adam(false)));
    let (narrow, wide) = (to_bytes(&narrow, "").expect("it fits"), to_bytes(&wide, "").expect("it fits"));
    assert!(from_bytes::<f64>(&narrow).expect("a model").is_none());
    assert!(from_bytes::<f32>(&wide).expect("a model").is_none());
}

#[test]
fn every_prefix_of_a_file_is_an_error() {
    let bytes = to_bytes(&trained::<f32>(adam(true)), "extra").expect("it fits");
    for end in 0..bytes.len() {
        let message = match from_bytes::<f32>(&bytes[..end]) {
            Err(Error::Invalid(message)) => message,
            other => panic!("{end} of {} bytes: {:?}", bytes.len(), other.map(|_| "no error")),
        };
        assert!(message.starts_with("this is not a model file of dnn: "), "{end} bytes: {message}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(from_bytes::<f32>(&longer).is_err(), "a byte too many");
}

#[test]
fn any_flipped_bit_of_a_file_is_an_error() {
    let bytes = to_bytes(&trained::<f32>(adam(true)), "extra").expect("it fits");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(from_bytes::<f32>(&flipped).is_err() || of_other_type(&flipped), "bit {bit} of byte {at}");
        }
    }
    // A damaged number is told as such.
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let error = from_bytes::<f32>(&flipped).expect_err("damaged").to_string();
    assert_eq!(error, "it is damaged: bytes have changed since it was saved, its checksum does not fit");
}

/// Whether the bytes are taken for those of a model of float64, which they are not then.
fn of_other_type(bytes: &[u8]) -> bool {
    matches!(from_bytes::<f32>(bytes), Ok(None)) && from_bytes::<f64>(bytes).is_err()
}

#[test]
fn a_file_whose_checksum_was_taken_out_is_damaged_and_one_from_before_there_were_any_is_read() {
    let model = trained::<f32>(adam(false));
    let bytes = to_bytes(&model, "").expect("it fits");
    let error = from_bytes::<f32>(&edited(&bytes, "crc32", "crc33")).expect_err("damaged").to_string();
    assert!(error.starts_with("it is damaged"), "{error}");
    assert_same(&model, &read::<f32>(&before_checksums(&bytes)).0);
}

/// What may come of broken bytes: an error, another type, or a model that works.
fn error_or_valid(bytes: &[u8]) {
    if let Ok(Some((model, extra))) = from_bytes::<f32>(bytes) {
        assert!(model.params.iter().all(|x| x.is_finite()));
        let (n_in, n_out) = (model.plan.n_inputs, model.plan.n_outputs());
        let mut out = Array2::zeros((3, n_out));
        let (idle, x) = (Idle::new(), Array2::ones((3, n_in)));
        predict(&model.plan, &model.params, &idle, &Scalings::default(), x.view(), out.view_mut(), 1, Look::First)
            .expect("it predicts");
        to_bytes(&model, &extra).expect("it can be saved");
    }
}

#[test]
fn any_flipped_bit_of_a_file_without_checksum_is_an_error_or_a_valid_model() {
    for optimizer in [sgd(0.0), adam(true), lbfgs(2, 0.0, 0.0)] {
        let bytes = before_checksums(&to_bytes(&trained::<f32>(optimizer), "extra").expect("it fits"));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                error_or_valid(&flipped);
            }
        }
    }
}

#[test]
fn bytes_of_anything_else_are_an_error() {
    for bytes in [&b""[..], b"\0", b"hello, this is a text and no model", &[0xff; 64], &[0; 64]] {
        assert!(from_bytes::<f32>(bytes).is_err(), "{bytes:?}");
    }
    // A header that promises more than there is, and one of the layout without our entry.
    let with_header = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    for header in ["{}", "{\"__metadata__\":{}}", "{\"__metadata__\":{\"dnn\":\"{}\"}}", "[]", "{\"__metadata__\":3}"] {
        let error = from_bytes::<f32>(&with_header(header)).expect_err("no model");
        assert!(error.to_string().starts_with("this is not a model file of dnn: "), "{error}");
    }
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(from_bytes::<f32>(&endless).is_err());
}

/// The header of a file with one text in the place of another, and the tensors.
fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).expect("JSON");
    assert!(header.contains(from), "{from} in {header}");
    let mut header = header.replacen(from, to, 1);
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
}

/// The same file as it was before files had checksums: what is wrong with it is found where it is used.
fn before_checksums(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.windows(5).position(|found| found == b"crc32").expect("a checksum");
    let entry = std::str::from_utf8(&bytes[start - 2..start + 21]).expect("JSON");
    let old = edited(&edited(bytes, entry, ""), "\\\"version\\\":3", "\\\"version\\\":2");
    assert!(from_bytes::<f32>(&old).is_ok(), "it is read");
    old
}

#[test]
fn a_file_of_another_version_says_which_one_is_read() {
    let bytes = to_bytes(&trained::<f32>(sgd(0.0)), "").expect("it fits");
    let error = from_bytes::<f32>(&edited(&bytes, "\\\"version\\\":3", "\\\"version\\\":4")).expect_err("too new");
    let expected = "this is not a model file of dnn: it has version Some(4), this program reads versions 2 to 3";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_header_that_does_not_fit_its_tensors_is_an_error() {
    let bytes = before_checksums(&to_bytes(&trained::<f32>(adam(false)), "").expect("it fits"));
    for (from, to) in [
        ("\\\"n_inputs\\\":2", "\\\"n_inputs\\\":3"),
        ("\\\"n_inputs\\\":2", "\\\"n_inputs\\\":0"),
        ("\\\"n_inputs\\\":2", "\\\"n_inputs\\\":-2"),
        ("\\\"n_inputs\\\":2", "\\\"n_inputs\\\":18446744073709551615"),
        ("\\\"units\\\":3", "\\\"units\\\":4"),
        ("\\\"units\\\":3", "\\\"units\\\":4000000000000000000"),
        ("\\\"use_bias\\\":false", "\\\"use_bias\\\":true"),
        ("\\\"beta_1\\\":0.9", "\\\"beta_1\\\":1.5"),
        ("\\\"amsgrad\\\":false", "\\\"amsgrad\\\":true"),
        ("layer1.weights", "layer1.weighty"),
    ] {
        assert!(from_bytes::<f32>(&edited(&bytes, from, to)).is_err(), "{from} -> {to}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_in_weights_and_in_the_memory_of_the_optimizer() {
    let model = trained::<f32>(adam(false));
    let bytes = before_checksums(&to_bytes(&model, "").expect("it fits"));
    let stores = 3;
    let numbers = stores * model.plan.n_parameters();
    let first = bytes.len() - 4 * numbers;
    for number in 0..numbers {
        let mut broken = bytes.clone();
        broken[first + 4 * number..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = from_bytes::<f32>(&broken).expect_err("NaN").to_string();
        assert!(error.contains("NaN or infinite"), "{error}");
    }
}

/// One more epoch, from bytes that may be refused instead.
fn trains_on(bytes: &[u8], what: &str) {
    let Ok(Some((mut model, _))) = from_bytes::<f32>(bytes) else { return };
    let task = Task::<f32>::regression(10, 2, 2);
    let data = task.data(&model.plan);
    fit(&mut model, &data, None, &fit_spec(4, 1, 0.01), &mut Watcher::new()).expect("it trains");
    assert!(model.params.iter().all(|x| x.is_finite()), "{what}");
}

#[test]
fn counts_at_the_end_of_their_range_are_refused_or_trained_on() {
    let bytes = before_checksums(&to_bytes(&trained::<f32>(adam(false)), "").expect("it fits"));
    for (from, to) in [
        ("\\\"steps\\\":9", "\\\"steps\\\":18446744073709551615"),
        ("\\\"epochs\\\":3", "\\\"epochs\\\":18446744073709551615"),
    ] {
        trains_on(&edited(&bytes, from, to), to);
    }
}

#[test]
fn a_mean_of_squares_below_zero_is_refused_or_trained_on() {
    let model = trained::<f32>(adam(false));
    let bytes = before_checksums(&to_bytes(&model, "").expect("it fits"));
    let numbers = 3 * model.plan.n_parameters();
    for number in 0..numbers {
        // The sign of one number: of a weight, of a mean gradient, or of a mean square.
        let mut flipped = bytes.clone();
        flipped[bytes.len() - 4 * numbers + 4 * number + 3] ^= 0x80;
        trains_on(&flipped, &format!("number {number} of {numbers}"));
    }
}

/// An empty folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("file-{name}-{}", std::process::id()));
    // What an earlier run left, if it was killed.
    let _not_there = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder to try in");
    folder
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_saved_model_is_its_bytes_and_nothing_is_left_beside_it() {
    let (folder, model) = (folder("save"), trained::<f32>(adam(true)));
    let path = folder.join("model.dnn");
    for extra in ["first", "second, over the first"] {
        save(&model, extra, &path).expect("a folder of ours");
        assert_eq!(fs::read(&path).expect("it is there"), to_bytes(&model, extra).expect("it fits"));
        assert_eq!(names_in(&folder), ["model.dnn"]);
    }
    fs::remove_dir_all(folder).expect("ours");
}

#[test]
fn a_file_that_can_not_be_written_leaves_the_old_one() {
    let (folder, model) = (folder("blocked"), trained::<f32>(sgd(0.0)));
    let path = folder.join("model.dnn");
    fs::write(&path, "the old file").expect("a folder of ours");
    // Folders stand wherever the new file could be written; the numbers count what this process has saved.
    for number in 0..1000 {
        let in_the_way = folder.join(format!("model.dnn.{}-{number}.tmp", std::process::id()));
        fs::create_dir(&in_the_way).expect("a folder of ours");
    }
    assert!(matches!(save(&model, "", &path), Err(Error::File(..))));
    assert_eq!(fs::read(&path).expect("it is there"), b"the old file");
    fs::remove_dir_all(folder).expect("ours");
}

#[test]
fn an_unwritable_folder_leaves_the_old_file() {
    let (folder, model) = (folder("readonly"), trained::<f32>(sgd(0.0)));
    let path = folder.join("model.dnn");
    fs::write(&path, "the old file").expect("a folder of ours");
    let writable = fs::metadata(&folder).expect("it is there").permissions();
    let mut read_only = writable.clone();
    read_only.set_readonly(true);
    fs::set_permissions(&folder, read_only).expect("ours");
    let saved = save(&model, "", &path);
    fs::set_permissions(&folder, writable).expect("ours");
    // An administrator may write anywhere: then the new file is there, whole.
    let expected = if saved.is_ok() { to_bytes(&model, "").expect("it fits") } else { b"the old file".to_vec() };
    assert_eq!(fs::read(&path).expect("it is there"), expected);
    assert_eq!(names_in(&folder), ["model.dnn"]);
    fs::remove_dir_all(folder).expect("ours");
}

#[test]
fn a_rename_that_fails_leaves_what_was_there_and_nothing_beside_it() {
    let (folder, model) = (folder("rename"), trained::<f32>(sgd(0.0)));
    // A folder with something in it can't be replaced by a file.
    let path = folder.join("model.dnn");
    fs::create_dir(&path).expect("a folder of ours");
    fs::write(path.join("inside"), "kept").expect("a folder of ours");
    assert!(matches!(save(&model, "", &path), Err(Error::File(..))));
    assert_eq!(fs::read(path.join("inside")).expect("it is there"), b"kept");
    assert_eq!(names_in(&folder), ["model.dnn"]);
    assert!(matches!(save(&model, "", &folder.join("nowhere").join("model.dnn")), Err(Error::File(..))));
    fs::remove_dir_all(folder).expect("ours");
}
