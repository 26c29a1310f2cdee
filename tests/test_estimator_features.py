"""What the estimators have beside scikit-learn, and the company they keep: pipelines, frames, copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import joblib
import scipy.sparse
import sklearn
from models import same_bits
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def classifier(**settings: Any) -> dnn.MLPClassifier:
    return dnn.MLPClassifier(**{"hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 1, **settings})


def regressor(**settings: Any) -> dnn.MLPRegressor:
    return dnn.MLPRegressor(**{"hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 1, **settings})


def assert_same_weights(a: Any, b: Any) -> None:
    assert same_bits(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_)


# ---- more to choose from -----------------------------------------------------------------------------------


def test_class_weights_are_row_weights() -> None:
    by_class = classifier(class_weight={0: 3.0, 2: 0.5}).fit(X, Y)
    by_row = classifier().fit(X, Y, np.array([3.0, 1.0, 0.5])[Y])
    assert_same_weights(by_class, by_row)
    kept = slice(30, None)  # 20, 50 and 50 rows
    balanced = classifier(class_weight="balanced").fit(X[kept], Y[kept])
    assert_same_weights(balanced, classifier().fit(X[kept], Y[kept], (40 / np.array([20, 50, 50]))[Y[kept]]))


def test_one_activation_for_each_layer_and_scalars_for_searchers() -> None:
    both = classifier(hidden_layer_sizes=(8, 8), activation=["tanh", "relu"]).fit(X, Y)
    assert [layer.activation for layer in both._model.layers[:2]] == ["tanh", "relu"]
    scalars = classifier(n_hidden_layers=2, hidden_width=8, activation=["tanh", "relu"]).fit(X, Y)
    assert_same_weights(both, scalars)
    with pytest.raises(ValueError, match="activation has 2 entries, but the network has 1 hidden layer;"):
        classifier(activation=["tanh", "relu"]).fit(X, Y)


def test_dropout_teaches_otherwise_and_leaves_predictions_alone() -> None:
    plain, dropping = classifier().fit(X, Y), classifier(dropout=0.5).fit(X, Y)
    assert not np.array_equal(plain.coefs_[0], dropping.coefs_[0])
    assert_same_weights(dropping, classifier(dropout=[0.5]).fit(X, Y))
    np.testing.assert_array_equal(dropping.predict_proba(X), dropping.predict_proba(X))
    dropping.set_params(max_iter=300, learning_rate_init=0.01)
    assert dropping.fit(X, Y).score(X, Y) > 0.9


@pytest.mark.parametrize(
    "solver", [dnn.SGD(0.1, momentum=0.9), dnn.Adam(0.01, amsgrad=True), dnn.LBFGS(), "lbfgs"]
)
def test_solvers_are_optimizers_of_the_package(solver: Any) -> None:
    assert classifier(solver=solver, max_iter=60).fit(X, Y).score(X, Y) > 0.9


@pytest.mark.parametrize("loss", ["mse", "focal", dnn.CrossEntropy(), "hinge", "squared_hinge"])
def test_losses_of_the_package_teach_classes(loss: Any) -> None:
    model = classifier(loss=loss, max_iter=200, learning_rate_init=0.01).fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert hasattr(model, "predict_proba") == ("hinge" not in str(loss))
    if loss == dnn.CrossEntropy():
        return  # two classes have one sigmoid output
    assert classifier(loss=loss, max_iter=100, learning_rate_init=0.01).fit(X, Y > 0).score(X, Y > 0) > 0.9


@pytest.mark.parametrize("loss", ["mae", dnn.Huber(0.5), "log_cosh", "poisson", "gamma"])
def test_losses_of_the_package_teach_numbers(loss: Any) -> None:
    y = 1 + np.abs(X[:, 0] + X[:, 1])
    model = regressor(loss=loss, max_iter=300, learning_rate_init=0.01).fit(X, y)
    assert model.score(X, y) > 0.8
    assert model.out_activation_ == ("exp" if loss in ("poisson", "gamma") else "identity")


def test_several_quantiles_have_an_output_each_and_a_likelihood_gives_means() -> None:
    y = X[:, 0]
    three = regressor(loss=dnn.Quantile([0.1, 0.5, 0.9]), max_iter=200, learning_rate_init=0.01).fit(X, y)
    low, middle, high = three.predict(X).T
    assert low.mean() < middle.mean() < high.mean()
    means = regressor(loss=dnn.GaussianNLL(), max_iter=200, learning_rate_init=0.01).fit(X, y)
    assert means.predict(X).shape == y.shape
    assert means.score(X, y) > 0.8


def test_rows_of_ones_own_tell_when_to_stop_by_a_score_of_ones_own() -> None:
    train, held = slice(0, None, 2), slice(1, None, 2)
    model = classifier(
        early_stopping=True, scoring="neg_log_loss", max_iter=200, n_iter_no_change=3, tol=0.01
    )
    model.fit(X[train], Y[train], X_val=X[held], y_val=Y[held])
    assert model.n_iter_ < 200
    best = -sklearn.metrics.log_loss(Y[held], model.predict_proba(X[held]))
    assert best == pytest.approx(model.best_validation_score_) == max(model.validation_scores_)
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    drawn = classifier(early_stopping=True, scoring="f1_macro", max_iter=200, learning_rate_init=0.01)
    drawn.fit(X, names)
    assert drawn.best_validation_score_ > 0.8
    with pytest.raises(ValueError, match="X_val and y_val belong together"):
        model.fit(X, Y, X_val=X)


def test_partial_fits_stop_early_with_rows_to_validate_on() -> None:
    model = classifier(early_stopping=True, n_iter_no_change=3, tol=0.01)
    for _ in range(200):
        model.partial_fit(X, Y, classes=[0, 1, 2], X_val=X, y_val=Y)
        if model.stopped_:
            break
    assert 3 < len(model.validation_scores_) < 200
    assert model.score(X, Y) == model.best_validation_score_ == max(model.validation_scores_)


def test_callbacks_see_every_epoch_and_may_stop() -> None:
    seen: list[float] = []

    def look(epoch: int, logs: dict[str, float]) -> bool:
        seen.append(logs["loss"])
        return epoch == 4

    model = classifier(callbacks=[look]).fit(X, Y)
    assert model.n_iter_ == 5
    assert seen == model.loss_curve_


def test_a_time_limit_ends_training() -> None:
    start = time.perf_counter()
    model = classifier(max_time=0.2, max_iter=10**6, tol=0, n_iter_no_change=np.inf).fit(X, Y)
    assert model.n_iter_ < 10**6
    assert time.perf_counter() - start < 30  # machines of any speed


def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 40))
    a, b = (classifier(n_threads=n, hidden_layer_sizes=(120,)).fit(x, x[:, 0] > 0) for n in (1, 2))
    assert_same_weights(a, b)


def test_transform_gives_the_outputs_of_a_hidden_layer() -> None:
    model = classifier(hidden_layer_sizes=(8, 5), activation="tanh").fit(X, Y)
    first = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    np.testing.assert_allclose(model.transform(X, layer=0), first, rtol=1e-12, atol=1e-14)
    second = np.tanh(first @ model.coefs_[1] + model.intercepts_[1])
    np.testing.assert_allclose(model.transform(X), second, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="2 hidden layers"):
        model.transform(X, layer=2)


def test_weights_may_be_set_and_changed_in_place() -> None:
    model, other = classifier().fit(X, Y), classifier(random_state=2).fit(X, Y)
    model.coefs_, model.intercepts_ = other.coefs_, other.intercepts_
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    other.coefs_[0][:] = 0.0
    probabilities = other.predict_proba(X)
    np.testing.assert_array_equal(probabilities, np.tile(probabilities[0], (len(X), 1)))


# ---- the company they keep ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.csr_array])
def test_sparse_rows_teach_what_dense_ones_teach(make: Any) -> None:
    x = np.where(np.abs(X) < 0.5, 0.0, X)
    dense, sparse = classifier(early_stopping=True).fit(x, Y), classifier(early_stopping=True).fit(make(x), Y)
    assert_same_weights(dense, sparse)
    np.testing.assert_array_equal(dense.predict_proba(x), sparse.predict_proba(make(x)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_their_names(library: str) -> None:
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    names = ["a", "b", "c", "d"]
    frame = frames.DataFrame({name: X[:, at] for at, name in enumerate(names)})
    model = classifier(early_stopping=True).fit(frame, frames.Series(values=Y) if library == "polars" else Y)
    # Before 1.9 scikit-learn asks frames for `__dataframe__`, which polars 2 has given up.
    if SKLEARN >= (1, 9) or library == "pandas" or hasattr(frame, "__dataframe__"):
        assert list(model.feature_names_in_) == names
    assert_same_weights(model, classifier(early_stopping=True).fit(X, Y))
    model.set_output(transform=library)
    made = model.transform(frame)
    assert isinstance(made, frames.DataFrame)
    assert next(iter(made.columns)) == "mlpclassifier0"


@pytest.mark.parametrize("make", [classifier, regressor])
def test_copies_of_all_kinds_predict_the_same_and_live_apart(make: Any, tmp_path: Path) -> None:
    model = make(solver="sgd").fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    model.save(tmp_path / "model.dnn")
    copies = [
        copy.copy(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
        type(model).load(tmp_path / "model.dnn"),
    ]
    before = model.predict(X)
    for other in copies:
        np.testing.assert_array_equal(other.predict(X), before)
        assert other.get_params() == model.get_params()
        assert (other.loss_curve_, other.n_iter_, other.t_) == (model.loss_curve_, model.n_iter_, model.t_)
        other.partial_fit(X, Y)
        assert not np.array_equal(other.coefs_[0], model.coefs_[0])
        # With the state of the optimizer: they go on alike.
        assert_same_weights(other, copies[0])
    np.testing.assert_array_equal(model.predict(X), before)
    assert not hasattr(clone(model), "coefs_")


def test_files_keep_labels_and_settings_of_any_kind(tmp_path: Path) -> None:
    labels = np.array(["setosa", "versicolor", "virginica"], dtype=object)[Y]
    model = classifier(
        activation=[dnn.LeakyReLU(0.2)],
        solver=dnn.SGD(0.1, momentum=0.5),
        class_weight={"setosa": 2.0},
        n_iter_no_change=np.inf,
    ).fit(X, labels)
    model.save(tmp_path / "model.dnn")
    loaded = dnn.MLPClassifier.load(tmp_path / "model.dnn")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="it holds a MLPClassifier"):
        dnn.MLPRegressor.load(tmp_path / "model.dnn")
    with pytest.warns(UserWarning, match="callbacks"):
        model.set_params(callbacks=[print]).save(tmp_path / "model.dnn")


# scikit-learn 1.6's logistic regression passes what the SciPy of today warns of.
@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")
def test_searches_votes_and_calibration_work() -> None:
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=40, learning_rate_init=0.01))
    search = GridSearchCV(pipeline, {"mlpclassifier__n_hidden_layers": [1, 2]}, cv=2, n_jobs=2).fit(X, Y)
    assert search.best_score_ > 0.8
    assert (cross_val_predict(pipeline, X, Y, cv=3) == Y).mean() > 0.8
    assert CalibratedClassifierCV(pipeline, cv=2).fit(X, Y).score(X, Y) > 0.8
    vote = VotingClassifier([("a", pipeline), ("b", LogisticRegression())], voting="soft")
    assert vote.fit(X, Y).score(X, Y) > 0.8


def _threads_of_a_fit() -> tuple[int, int]:
    """How many threads a fit may use here, and how many of this process are there after it."""
    import os

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 100))
    before = len(os.listdir("/proc/self/task"))
    dnn.MLPClassifier((256, 256), max_iter=2).fit(x, x[:, 0] > 0)
    return dnn.get_num_threads(), 1 + len(os.listdir("/proc/self/task")) - before


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_two_jobs_of_a_search_have_no_more_threads_than_there_are_cores() -> None:
    cores = joblib.cpu_count()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(_threads_of_a_fit)() for _ in range(2))
    for may, runs in found:
        assert 1 <= runs <= may <= max(1, cores // 2)


class _Threads:
    """A callback that writes down, after each epoch, how many threads its process trains with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, epoch: int, logs: Any) -> None:
        import os

        # Our workers are called by their numbers; the thread that called `fit` works too.
        names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
        threads = 1 + sum(name.startswith("dnn-") for name in names)
        with open(self.folder / str(os.getpid()), "a") as file:
            file.write(f"{time.monotonic()} {threads}\n")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_a_search_of_two_jobs_never_trains_with_more_threads_than_there_are_cores(tmp_path: Path) -> None:
    cores = joblib.cpu_count()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 100))
    network = dnn.MLPClassifier((128,), max_iter=8, random_state=1, callbacks=[_Threads(tmp_path)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The widths are such that batches are shared out where there are threads to share them.
        search = GridSearchCV(
            network, {"hidden_layer_sizes": [(128,), (256, 128)]}, cv=3, n_jobs=2, refit=False
        )
        search.fit(x, x[:, 0] > 0)
    told = {
        file.name: [line.split() for line in file.read_text().splitlines()] for file in tmp_path.iterdir()
    }
    assert sum(map(len, told.values())) == 2 * 3 * 8
    # Threads are kept for the next fit: the most that any process has had.
    most = [max(int(threads) for _, threads in lines) for lines in told.values()]
    spans = [(float(lines[0][0]), float(lines[-1][0])) for lines in told.values()]
    assert len(most) <= 2
    assert sum(most) <= max(cores, len(most))
    if len(spans) == 2:
        assert max(start for start, _ in spans) < min(end for _, end in spans), "the jobs ran one by one"


def test_metadata_is_routed() -> None:
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        # Pipelines route what `score` takes from 1.8 on.
        made = make_pipeline(scaler, model) if SKLEARN >= (1, 8) else model
        result = cross_validate(made, X, Y, params={"sample_weight": weights})
    assert np.isfinite(result["test_score"]).all()


BAR = """
import dnn
from sklearn.callback import ProgressBar
from sklearn.datasets import load_iris
dnn.MLPClassifier(max_iter=3).set_callbacks(ProgressBar()).fit(*load_iris(return_X_y=True))
"""


def test_callbacks_of_scikit_learn_are_called() -> None:
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = classifier(max_iter=6).set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 6
    assert rows[-1]["accuracy"] == model.score(X, Y)


def test_the_progress_bar_of_scikit_learn_shows_a_fit() -> None:
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pytest.importorskip("rich", reason="scikit-learn's progress bar needs rich")
    bar = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BAR], capture_output=True, text=True, check=False, timeout=120
    )
    assert bar.returncode == 0, bar.stderr
    assert "MLPClassifier - fit" in bar.stdout
    assert "100%" in bar.stdout


def test_callbacks_of_scikit_learn_may_stop() -> None:
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

    class Stop:
        def setup(self, estimator: Any, context: Any) -> None: ...
        def teardown(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
            return True

    assert classifier().set_callbacks(Stop()).fit(X, Y).n_iter_ == 1


def test_estimators_train_with_a_scikit_learn_that_has_no_callbacks() -> None:
    # As before 1.9: the import fails.
    code = """
import sys
import sklearn.metrics, sklearn.model_selection, sklearn.neural_network
from sklearn.datasets import load_iris
sys.modules["sklearn.callback"] = None
import dnn
x, y = load_iris(return_X_y=True)
print(dnn.MLPClassifier(learning_rate_init=0.01, tol=0.01, random_state=1).fit(x, y).score(x, y) > 0.9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -1}, "alpha must be a finite number at least 0"),
        ({"solver": "adamm"}, "unknown solver 'adamm'; did you mean 'adam'"),
        ({"activation": "step"}, "derivative is zero"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be a whole number, 1 or more"),
        ({"hidden_layer_sizes": (5, 6), "n_hidden_layers": 3}, "needs hidden_width as well"),
        ({"class_weight": "even"}, "class_weight must be a dict, 'balanced' or None"),
        ({"max_iter": 0}, "max_iter must be"),
    ],
)
def test_parameters_are_refused_with_what_is_needed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**settings).fit(X, Y)


# ---- what callbacks and files are told ---------------------------------------------------------------------


def test_callbacks_are_told_how_many_epochs_there_will_be() -> None:
    class Told(dnn.Callback):
        def on_train_begin(self, logs: dict[str, float]) -> None:
            seen.append(dict(self.params))

    seen: list[dict[str, int]] = []
    classifier(max_iter=7, callbacks=[Told()]).fit(X, Y)
    classifier(max_iter=7, callbacks=[Told()]).partial_fit(X, Y, classes=[0, 1, 2])
    assert seen == [{"initial_epoch": 0, "epochs": 7}, {"initial_epoch": 0, "epochs": 1}]


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_classes_that_are_dates_come_back_from_a_file(tmp_path: Path, unit: str) -> None:
    dates = np.array(["2019-10-18", "2024-02-29", "1969-07-20"], f"datetime64[{unit}]")
    model = classifier().fit(X, dates[Y])
    model.save(tmp_path / "dates.dnn")
    loaded = dnn.MLPClassifier.load(tmp_path / "dates.dnn")
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.classes_, np.sort(dates))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_classes_that_no_file_holds_are_told(tmp_path: Path) -> None:
    from fractions import Fraction

    fractions = np.array([Fraction(1, 3), Fraction(2, 3)], dtype=object)
    model = classifier().fit(X[:100], Y[:100])
    model.classes_ = fractions
    with pytest.raises(TypeError, match=r"classes_ of the estimator has what a file can't hold \(Fraction"):
        model.save(tmp_path / "fractions.dnn")
    assert not (tmp_path / "fractions.dnn").exists()


def test_an_interrupt_that_reaches_a_callback_ends_training_like_any_other() -> None:
    def interrupt(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = classifier(callbacks=[interrupt]).fit(X, Y)
    assert model.n_iter_ == 4


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "model.dnn"
    with pytest.raises(FileNotFoundError) as raised:
        classifier().fit(X, Y).save(path)
    assert raised.value.filename == str(path)
