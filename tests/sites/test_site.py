"""A site answers what it is asked, refuses what it cannot do, and survives whatever it is sent."""

import copy
import logging
import pickle
import re
import threading
import warnings
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows_at_sites import IMAGES, LABELS, NAMES_OF_ROWS, NUMBERS, PLAIN, WEIGHT, at_sites, classifier, sites_of, spied
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from skfusion import FusedMLPRegressor
from skfusion._background import vote
from skfusion.sites import Site, _work
from skfusion.sites._work import Work
from skfusion.sites.message import Message

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training"),
]


def requests_of(model, X, y):
    """A site, and what it was asked in a run, by kind the last message of each."""
    sites = spied(sites_of(X, y, NAMES_OF_ROWS, WEIGHT))
    with warnings.catch_warnings():  # as marks do not reach runs that are made when this module is imported
        warnings.simplefilter("ignore", ConvergenceWarning)
        at_sites(model, sites)
    return sites[0].site, {Message.decode(data).kind: Message.decode(data) for data in sites[0].requests}


SITE, REQUESTS = requests_of(classifier(early_stopping=True, class_weight="balanced", momentum=0.9), IMAGES, LABELS)
REGRESSION_SITE, OF_REGRESSION = requests_of(
    FusedMLPRegressor((6,), early_stopping=True, max_iter=2, learning_rate_init=0.01), PLAIN, NUMBERS
)


def answer(message, site=SITE):
    return Message.decode(site.answer(message.encode()))


def changed(message, content=None, arrays=None, **header):
    """A message with some of its plan, its content or its arrays replaced."""
    new = copy.deepcopy(dict(message.content))
    for path, value in (content or {}).items():
        *inner, last = path.split(".")
        place = new
        for name in inner:
            place = place[name]
        place[last] = value
    fields = dict(kind=message.kind, run=message.run, round=message.round, site=message.site) | header
    return Message(**fields, content=new, arrays={**message.arrays, **(arrays or {})})


def test_the_same_question_has_the_same_answer():
    for message in REQUESTS.values():
        first = SITE.answer(message.encode())
        for other in REQUESTS.values():
            SITE.answer(other.encode())
        assert SITE.answer(message.encode()) == first
        again = sites_of(IMAGES, LABELS, NAMES_OF_ROWS, WEIGHT)[0]  # another process, which has seen nothing yet
        assert again.answer(message.encode()) == first


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda site: pickle.loads(pickle.dumps(site))])
def test_a_copy_gives_the_same_answers(copied):
    data = TRAIN.encode()
    told = SITE.answer(data)
    assert copied(SITE).answer(data) == told


def test_what_was_trained_for_weights_that_stay_is_not_changed_by_the_next_training():
    trained = SITE.train_here(changed(REQUESTS["train"], run="stays"))
    assert SITE.run == "stays"
    before = {name: array.copy() for name, array in trained.items()}
    assert before.keys() == answer(REQUESTS["train"]).arrays.keys()
    SITE.train_here(changed(REQUESTS["train"], arrays={"weights": REQUESTS["train"].arrays["weights"] / 2}))
    for name, array in trained.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("train", [lambda site: site.answer(TRAIN.encode()), lambda site: site.train_here(TRAIN)])
def test_a_site_does_one_thing_at_a_time(train, monkeypatch):
    site, begun, go = copy.deepcopy(SITE), threading.Semaphore(0), threading.Event()

    def slow(work, state, segment):
        begun.release()
        assert go.wait(60)
        return state

    monkeypatch.setattr(Work, "train", slow)
    threads = [threading.Thread(target=train, args=(site,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=60)
    assert not begun.acquire(timeout=0.05)
    go.set()
    for thread in threads:
        thread.join(60)
    assert begun.acquire(timeout=60)


def test_a_message_is_answered_with_its_run_and_round():
    got = answer(changed(REQUESTS["train"], run="another", round=17))
    assert (got.kind, got.run, got.round, got.site) == ("train answered", "another", 17, "York")
    assert SITE.run == "another"
    assert answer(changed(REQUESTS["end"], run="another")).kind == "end answered"
    assert SITE.run is None


def test_the_end_of_another_run_does_not_end_this_one():
    site = copy.deepcopy(SITE)
    answer(changed(REQUESTS["train"], run="new"), site)
    assert answer(changed(REQUESTS["end"], run="old"), site).kind == "end answered"
    assert site.run == "new"


TRAIN, N_PARAMETERS = REQUESTS["train"], REQUESTS["train"].arrays["weights"].shape[1]
(N_ROWS,) = TRAIN.content["plan"]["lengths"]
NONE_HELD_OUT = np.packbits(np.zeros(N_ROWS - 1, bool))
ONE_ROW_LESS = changed(TRAIN, {"plan.lengths": [N_ROWS - 1]}, {"held_out_0": NONE_HELD_OUT})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (changed(TRAIN, site="Bath"), "the message is for site 'Bath', and has reached site 'York'"),
        (changed(TRAIN, kind="shutdown"), "'shutdown' is not a kind of message"),
        (changed(TRAIN, {"start": -1}), "steps must be from start to stop, at most .*, got -1"),
        (changed(TRAIN, {"start": 5, "stop": 3}), "steps must be from start to stop, .* got 5 and 3"),
        (changed(TRAIN, {"stop": 2**31}), "steps must be from start to stop, at most 2147483647, got 0 and 2147483648"),
        (changed(TRAIN, {"start": 2**62, "stop": 2**63 - 1}), "steps must be from start to stop, at most 2147483647"),
        (changed(TRAIN, {"last": 1}), "'last' must be bool, got 1"),
        (changed(TRAIN, {"plan": None}), "'plan' must be dict"),
        (changed(TRAIN, {"plan.peers": ["Bath"]}), "peer 'Bath' must have .* rows, as it had .*; it has 0"),
        (changed(TRAIN, {"plan.peers": ["York", "York"]}), "peers must be named once each"),
        (changed(TRAIN, {"plan.peers": []}), "peers must be named once each"),
        (changed(TRAIN, {"plan.lengths": [3]}), "'held_out_0' must be uint8 of shape"),
        (ONE_ROW_LESS, f"must have {N_ROWS - 1} rows, as it had .*; it has {N_ROWS}"),
        (changed(TRAIN, {"plan.lengths": []}), "peers must be named once each"),
        (changed(TRAIN, {"plan.n_networks": 0}), "n_networks must be at least 1, got 0"),
        (changed(TRAIN, {"plan.dtype": "float32"}), "'background' must be float32"),
        (changed(TRAIN, {"plan.layer_sizes": [12, 6, 4]}), r"a network with 4 outputs \(softmax\) does not match y"),
        (changed(TRAIN, {"plan.layer_sizes": [12, 6, 2]}), "a network with 2 outputs"),
        (changed(TRAIN, {"plan.output": "identity"}), r"a network with 3 outputs \(identity\) does not match y"),
        (changed(TRAIN, {"plan.output": "logistic"}), r"a network with 3 outputs \(logistic\) does not match y"),
        (changed(TRAIN, {"plan.layer_sizes": [12, 7, 3]}), "'weights' must be float64 of shape"),
        (changed(TRAIN, {"plan.layer_sizes": [12, 2**40, 3]}), "'weights' must be float64 of shape"),
        (changed(TRAIN, {"plan.layer_sizes": [11, 6, 3]}), "'background' must be float64 of shape"),
        (changed(TRAIN, {"plan.layer_sizes": [12]}), "layer_sizes must have from 2 to"),
        (changed(TRAIN, {"plan.layer_sizes": [12] * 1001}), "layer_sizes must have from 2 to 1000 entries, got 1001"),
        (changed(TRAIN, {"plan.activation": "cube"}), "activation must be one of"),
        (changed(TRAIN, {"plan.settings.batch_size": 0}), "batch_size must be at least 1, got 0"),
        (changed(TRAIN, {"plan.settings.momentum": 2}), r"momentum must be in \[0, 1\], got 2"),
        (changed(TRAIN, {"plan.settings.l1": -1}), r"l1 must be in \[0, inf\), got -1"),
        (changed(TRAIN, {"plan.settings.l2": None}), r"l2 must be a number in \[0, inf\), got None"),
        (changed(TRAIN, {"plan.settings.solver": "lbfgs"}), "solver must be one of"),
        (changed(TRAIN, {"plan.settings.solver": "adam"}), "'second_moments' must be"),
        (changed(TRAIN, {"plan.settings.dropout": 0.5}), "'dropout' is unknown to the site's skfusion, which must be"),
        (changed(TRAIN, {"plan.privacy": 1}), "'privacy' is unknown to the site's skfusion"),
        (changed(REQUESTS["describe"], {"medians": True}), "'medians' is unknown to the site's skfusion"),
        (changed(TRAIN, {"plan.peers": [[]]}), "peers must be named once each"),
        (changed(TRAIN, {"plan.classes": {"dtype": "int64", "values": [0, 1]}}), "'maxima' must be float64 of shape"),
        (
            changed(TRAIN, {"plan.classes": {"dtype": "int64", "values": [0, 1, 3]}}),
            "y must have only labels among the classes",
        ),
        (changed(TRAIN, arrays={"weights": np.ones((1, 3))}), "'weights' must be float64 of shape"),
        (changed(TRAIN, arrays={"weights": np.full((1, N_PARAMETERS), np.nan)}), "'weights' must be finite, got nan"),
        (changed(TRAIN, arrays={"scale": np.zeros(12)}), "'scale' must be positive"),
        (changed(TRAIN, arrays={"scale": np.full(12, 1e-320)}), "X must stay finite when the scaler is applied"),
        (changed(TRAIN, arrays={"maxima": np.zeros(3)}), "the largest weights in the plan do not match"),
        (changed(TRAIN, arrays={"relative_maxima": -np.ones(3)}), "the largest weights in the plan do not match"),
        (changed(TRAIN, arrays={"background": np.full(12, np.inf)}), "'background' must be finite"),
        (changed(TRAIN, arrays={"held_out_0": np.full(5, 255, np.uint8)}), "peer 'York' must have rows to train on"),
        (changed(REQUESTS["validate"], arrays={"networks": np.ones((1, 3))}), "'networks' must be float64 of shape"),
        (changed(REQUESTS["validate"], arrays={"networks": np.ones((0, N_PARAMETERS))}), "'networks' must be float64"),
        (changed(REQUESTS["count"], arrays={"candidate": np.ones(3)}), "'candidate' must be float64 of shape"),
        (
            changed(REQUESTS["describe"], {"classes": {"dtype": "str", "values": ["a"]}}),
            "y must have only labels among the class",
        ),
    ],
)
def test_what_a_site_cannot_do_is_refused(message, reason):
    got = answer(message)
    assert got.kind == "refused"
    assert (got.run, got.round, got.site) == (message.run, message.round, "York")
    assert re.search(reason, got.content["reason"])


def test_any_words_are_those_of_a_generator():
    assert answer(changed(TRAIN, arrays={"generators": np.full((1, 6), 2**64 - 1, np.uint64)})).kind == "train answered"


def test_the_background_is_that_of_rows_to_train_on():
    X = IMAGES[NAMES_OF_ROWS == "York"]
    rows = np.flatnonzero(np.unpackbits(TRAIN.arrays["held_out_0"], count=len(X)) == 0)
    assert len(rows) < len(X)
    deviate = X[rows] != REQUESTS["count"].arrays["candidate"]
    assert answer(REQUESTS["count"]).content["n_deviations"] == deviate.sum()
    (counts,) = answer(REQUESTS["vote"]).arrays["counts"]
    np.testing.assert_array_equal(counts, vote(X, rows, 3).counts)


def test_names_that_no_message_can_hold_are_refused():
    rows = pd.DataFrame(np.eye(2), columns=["a", "b" * 2**22])
    got = answer(changed(REQUESTS["describe"], site="Hull"), Site(rows, [0, 1], name="Hull"))
    assert got.kind == "refused"
    assert re.search(
        "header must have at most 4194304 bytes, got .*; shorten the names of columns", got.content["reason"]
    )


def test_labels_that_are_numbers_may_be_targets_of_regression():
    assert answer(changed(REQUESTS["describe"], {"labelled": False, "by_class": False})).kind == "describe answered"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"plan.layer_sizes": [5, 6, 3]}, r"a network with 3 outputs \(identity\) does not match y"),
        ({"plan.layer_sizes": [4, 6, 2]}, "X must be float64 with 4 features, as it was .* it is float64 with 5"),
        ({"plan.dtype": "float32"}, "X must be float32 with 5 features, as it was .* it is float64 with 5"),
        ({"plan.output": "softmax"}, r"a network with 2 outputs \(softmax\) does not match y"),
        ({"plan.classes": {"dtype": "int64", "values": [0, 1]}}, "y must hold class labels"),
    ],
)
def test_networks_that_do_not_suit_numbers_are_refused(content, reason):
    got = answer(changed(OF_REGRESSION["train"], content), REGRESSION_SITE)
    assert got.kind == "refused"
    assert re.search(reason, got.content["reason"])


def test_one_output_for_two_classes_is_not_softmax():
    site, requests = requests_of(classifier(), PLAIN, LABELS % 2)
    got = answer(changed(requests["train"], {"plan.output": "softmax"}), site)
    assert got.kind == "refused"
    assert "a network with 1 outputs (softmax) does not match y" in got.content["reason"]


def test_sparse_rows_are_no_deviations_from_a_background():
    site, requests = requests_of(classifier(), csr_array(PLAIN), LABELS)
    got = answer(changed(requests["train"], arrays={"background": np.ones(5)}), site)
    assert got.kind == "refused"
    assert "X must be dense, as it was when the run began" in got.content["reason"]


def test_more_deviations_than_sparse_rows_can_hold_are_refused(monkeypatch):
    monkeypatch.setattr(_work, "MAX_NONZEROS", 10)
    got = answer(TRAIN, sites_of(IMAGES, LABELS, NAMES_OF_ROWS, WEIGHT)[0])
    assert got.kind == "refused"
    assert "too many values differ from the background for sparse rows" in got.content["reason"]


@pytest.mark.parametrize(
    ("arrays", "others"),
    [
        ({}, {"relative_maxima": 2 * REQUESTS["train"].arrays["relative_maxima"]}),
        ({"mean": np.full(12, 0.5)}, {"scale": np.full(12, 0.5)}),
    ],
)
def test_a_plan_with_other_arrays_is_another_plan(arrays, others):
    one, other = changed(TRAIN, arrays=arrays), changed(TRAIN, arrays=others)
    fresh = sites_of(IMAGES, LABELS, NAMES_OF_ROWS, WEIGHT)[0].answer(other.encode())
    assert SITE.answer(one.encode()) != fresh
    assert SITE.answer(other.encode()) == fresh


def test_bytes_that_are_no_message_are_refused(caplog):
    got = Message.decode(SITE.answer(b"hello"))
    assert (got.kind, got.run) == ("refused", "")
    assert got.content["request"] == blake2b(b"hello", digest_size=16).hexdigest()
    assert "must begin with b'SKFUSION'" in got.content["reason"]
    assert "York: refused what it cannot read: the message must begin" in caplog.text
    with pytest.raises(TypeError, match="a message must be bytes, got 'hello'"):
        SITE.answer("hello")


json_values = st.none() | st.booleans() | st.integers(-3, 40) | st.floats(-2, 2) | st.sampled_from(["", "tanh", "York"])
small = st.recursive(json_values, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def leaves(content, prefix=""):
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")


@settings(max_examples=300)
@given(st.data())
def test_a_site_survives_requests_of_any_content(data):
    kind = data.draw(st.sampled_from(sorted(REQUESTS)))
    message = REQUESTS[kind]
    content, arrays = {}, {}
    if message.content:
        for path in data.draw(st.lists(st.sampled_from(sorted(leaves(message.content))), max_size=2)):
            if not any(path.startswith(other) or other.startswith(path) for other in content):
                content[path] = data.draw(small)
    if message.arrays:
        for name in data.draw(st.lists(st.sampled_from(sorted(message.arrays)), max_size=2)):
            array = message.arrays[name]
            shape = data.draw(st.sampled_from([array.shape, array.shape[1:], (*array.shape, 1)[:2], (0,)]))
            arrays[name] = np.resize(data.draw(st.sampled_from([array, -array, array * 0])), shape)
    got = answer(changed(message, content, arrays))
    assert got.kind in (f"{kind} answered", "refused")
    assert got.content.get("reason") != "it failed; the site's own log says why"


def test_a_site_tells_its_log_what_it_does(caplog):
    caplog.set_level(logging.INFO)
    at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS))
    for name in ("Bath", "Leeds", "York"):
        n_rows = (name == NAMES_OF_ROWS).sum()
        assert f"{name}: takes part in run" in caplog.text
        assert f"{name}: reports {n_rows} rows with 5 features" in caplog.text
        assert f"{name}: run " in caplog.text
    assert "give away" not in caplog.text


def test_a_site_tells_its_log_that_few_rows_are_not_hidden(caplog):
    ward = np.where(NAMES_OF_ROWS == "Bath", "A", "B")
    site = Site(PLAIN, LABELS, name="York", groups=np.r_[["C"], ward[1:]])
    content = {"labelled": True, "classes": None, "by_class": False, "moments": False, "collect": True}
    answer(Message("describe", "", 0, "York", content), site)
    assert caplog.messages == ["York: a peer has few rows (1), which sums and weights may give away"]


def test_a_label_that_is_no_class_is_told_to_the_sites_own_log_alone(caplog):
    site = Site(PLAIN[:2], ["Malignant", "benign"], name="York")
    content = {"labelled": True, "by_class": False, "moments": False, "collect": True}
    content["classes"] = {"dtype": "str", "values": ["benign", "malignant"]}
    got = answer(Message("describe", "", 0, "York", content), site)
    assert got.content == {"reason": "y must have only labels among the classes given to fit_sites, but has others"}
    assert "y must have only labels in ['benign', 'malignant'], got 'Malignant'" in caplog.text


@pytest.mark.parametrize(("n_rows", "n_labels"), [(21, 11), (21, 10), (20, 20)])
def test_labels_that_say_who_the_rows_are_stay_at_the_site(n_rows, n_labels):
    numbers_of_patients = np.arange(n_rows) % n_labels
    site = Site(np.ones((n_rows, 1)), numbers_of_patients, name="York")
    content = {"labelled": True, "classes": None, "by_class": False, "moments": False, "collect": True}
    got = answer(Message("describe", "", 0, "York", content), site)
    if n_labels == 11:
        assert got.content["reason"].startswith("y must have a few labels that rows share,")
        content["classes"] = {"dtype": "int64", "values": list(range(n_labels))}
        got = answer(Message("describe", "", 0, "York", content), site)
    assert got.kind == "describe answered"


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="name"):
        Site(PLAIN, LABELS)
    with pytest.raises(ValueError, match="a site's name must have"):
        Site(PLAIN, LABELS, name="../Bath")
    with pytest.raises(TypeError, match="gives_weights must be True or False, got 'no'"):
        Site(PLAIN, LABELS, name="Bath", gives_weights="no")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        Site(PLAIN, LABELS[:3], name="Bath")
    with pytest.raises(ValueError, match="y must be an array with an entry for each row, got None"):
        Site(PLAIN, None, name="Bath")
    labels = np.array(["a", "b", None], dtype=object)[LABELS]
    with pytest.raises(ValueError, match=r"y must be labels .* got labels of type NoneType, str"):
        Site(PLAIN, labels, name="Bath")
    with pytest.raises(ValueError, match="got NaN or infinity in columns"):
        Site(np.full_like(PLAIN, np.nan), LABELS, name="Bath")
    with pytest.raises(ValueError, match=r"^X must have at most 2147483647 rows .*, got shape \(90, 2147483648\)"):
        Site(csr_array((len(LABELS), 2**31)), LABELS, name="Bath")
