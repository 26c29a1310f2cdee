"""Early stopping with an own validation set, by a score of one's own choice; a callback looks on.

The rows for validation come from another time than those for training, as they will in use: a random share of
the training rows, which scikit-learn's MLP would take, could not tell.
"""

import dnn
import numpy as np


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    drift = np.linspace(0, 1, 600)
    y = x[:, 0] * x[:, 1] + drift * x[:, 2] + rng.normal(0, 0.2, 600)
    past, recent, future = slice(0, 400), slice(400, 500), slice(500, 600)

    epochs = []
    model = dnn.MLPRegressor(
        hidden_layer_sizes=(64, 64),
        learning_rate_init=0.003,
        early_stopping=True,
        scoring="neg_mean_absolute_error",
        n_iter_no_change=15,
        max_iter=500,
        callbacks=[lambda epoch, logs: epochs.append(logs["validation_score"])],
        random_state=1,
    )
    model.fit(x[past], y[past], X_val=x[recent], y_val=y[recent])
    print(f"stopped after {model.n_iter_} epochs; the best was number {int(np.argmax(epochs)) + 1}")
    print("the scores are the callback's:", epochs == model.validation_scores_)
    print(f"R^2 on later rows: {model.score(x[future], y[future]):.2f}")


if __name__ == "__main__":
    main()
