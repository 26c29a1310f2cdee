"""Classification with the estimator: in a pipeline, cross-validated, with a class that is rare.

Everything is scikit-learn's but the network; `class_weight="balanced"` makes each class count the same.
"""

import dnn
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import recall_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    # A tenth of the rarer class is kept: 21 rows of it against 357.
    kept = np.concatenate([np.flatnonzero(y == 1), np.flatnonzero(y == 0)[::10]])
    x, y = x[kept], y[kept]

    for class_weight in (None, "balanced"):
        model = make_pipeline(
            StandardScaler(),
            dnn.MLPClassifier((32,), class_weight=class_weight, max_iter=40, tol=0.02, random_state=1),
        )
        accuracy = cross_val_score(model, x, y, cv=3).mean()
        rare = recall_score(y, cross_val_predict(model, x, y, cv=3), pos_label=0)
        print(f"class_weight={class_weight!s:9} accuracy {accuracy:.3f}, of the rare class found {rare:.2f}")


if __name__ == "__main__":
    main()
