"""A new task on the features of a MobileNet: is a handwritten digit odd or even?

The small network that ships with mininet was trained to name digits. Here it only makes features, one row of
numbers per picture, on which scikit-learn's logistic regression learns another task within a second. The same
regression on the bare pixels is the yardstick::

    python docs/examples/digits_features.py

It needs scikit-learn, which also holds the digits. The split is that of ``train_digits.py`` beside this file:
neither the network nor the regression has seen the held-out quarter. (A cross-validation within the other
three quarters would flatter the features, because the network was trained on those very pictures.)
"""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from train_digits import load_data

from mininet import MobileNetFeatures


def main() -> dict[str, float]:
    """Learn odd and even from features and from pixels; print and return the held-out accuracy of each."""
    data = load_data()
    learn, held_out = (
        images.reshape(len(images), -1) for images in (data.train_images, data.held_out_images)
    )
    pipelines = {
        "features": make_pipeline(
            MobileNetFeatures(weights="digits", image_shape=(32, 32)),
            StandardScaler(),
            LogisticRegression(max_iter=1000),
        ),
        "pixels": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }
    accuracy = {}
    for name, pipeline in pipelines.items():
        pipeline.fit(learn, data.train_labels % 2)
        wrong = int((pipeline.predict(held_out) != data.held_out_labels % 2).sum())
        accuracy[name] = 1 - wrong / len(held_out)
        print(f"held-out accuracy on {name}: {accuracy[name]:.4f} ({wrong} errors of {len(held_out)})")
    return accuracy


if __name__ == "__main__":
    main()
