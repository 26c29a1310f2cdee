"""Regression with the estimator: numbers and activations of layers are found by a search."""

import dnn
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    x, y = load_diabetes(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y / 100, random_state=1)

    model = make_pipeline(
        StandardScaler(), dnn.MLPRegressor(hidden_width=16, alpha=1.0, max_iter=200, tol=1e-3, random_state=1)
    )
    grid = {
        "mlpregressor__n_hidden_layers": [1, 2],
        "mlpregressor__activation": ["tanh", "silu"],
    }
    search = GridSearchCV(model, grid, cv=3).fit(x_train, y_train)
    print("best:", {name.partition("__")[2]: value for name, value in search.best_params_.items()})
    print(f"R^2 on rows it has not seen: {search.score(x_test, y_test):.2f}")


if __name__ == "__main__":
    main()
