"""The data sets of the examples, downloaded from OpenML (and kept in its cache) by the openml client."""

import numpy as np

IDS = {"breast-w": 15, "splice": 46, "vowel": 307, "mnist_784": 554, "CIFAR_10": 40927, "segment": 40984}


def load_frame(name):
    """Load a data set as OpenML has it.

    Parameters
    ----------
    name : str
        A key of IDS.

    Returns
    -------
    X : pandas.DataFrame
    y : ndarray of int
        Indices into the target's categories, in the order in which OpenML declares them.
    """
    try:
        import openml
    except ImportError:
        raise SystemExit("The data sets need the openml client: pip install 'skfusion[openml]'") from None
    try:
        dataset = openml.datasets.get_dataset(
            IDS[name], download_data=True, download_qualities=False, download_features_meta_data=True
        )
        X, y, _, _ = dataset.get_data(target=dataset.default_target_attribute)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SystemExit(f"Cannot download {name}, data set {IDS[name]} of OpenML: {reason}") from None
    return X, y.cat.codes.to_numpy(np.int64)


def load_arrays(name, dtype="float32", n_rows=None):
    """Load the numeric columns of a data set.

    Parameters
    ----------
    name : str
        A key of IDS.
    dtype : dtype, default="float32"
    n_rows : int or None, default=None
        How many rows, from the first on; None means all.

    Returns
    -------
    X : ndarray of shape (n_rows, n_columns), in C order
    y : ndarray of int
    """
    X, y = load_frame(name)
    return np.ascontiguousarray(X.select_dtypes("number")[:n_rows], dtype=dtype), y[:n_rows]
