"""Messages come back as they were, and bytes that are none are refused."""

import json
import struct
import tracemalloc
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skfusion.sites import message as message_module
from skfusion.sites.message import DTYPES, MAGIC, VERSION, Message, MessageError, check_name

texts = st.text(st.characters(codec="utf-8"), max_size=8)
contents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
any_array = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays(np.dtype(dtype), array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4))
)
names = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=8)
messages = st.builds(
    Message,
    kind=names,
    run=names,
    round=st.integers(0, 2**40),
    site=names,
    content=st.dictionaries(texts, contents, max_size=3),
    arrays=st.dictionaries(texts, any_array, max_size=3),
)
WEIGHTS = Message("state", "2f1c", 3, "Bath", {"loss": 0.1}, {"weights": np.arange(6.0).reshape(2, 3)})


def with_header(header, rest=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<8sII", MAGIC, VERSION, len(text)) + text + rest


def header_of(arrays, **changes):
    return dict(kind="state", run="2f1c", round=0, site="Bath", content={}, arrays=arrays) | changes


@given(messages)
def test_message_comes_back_bit_for_bit(message):
    data = message.encode()
    again = Message.decode(data)
    for name in ("kind", "run", "round", "site", "content"):
        assert getattr(again, name) == getattr(message, name)
    assert list(again.arrays) == list(message.arrays)
    for name, array in message.arrays.items():
        assert (again.arrays[name].dtype, again.arrays[name].shape) == (array.dtype.newbyteorder("="), array.shape)
        assert again.arrays[name].tobytes() == array.tobytes()
    assert again.encode() == data


def test_a_message_that_nobody_would_read_is_not_written(monkeypatch):
    n_bytes = len(WEIGHTS.encode())
    monkeypatch.setattr(message_module, "MAX_BYTES", n_bytes)
    assert len(WEIGHTS.encode()) == n_bytes
    monkeypatch.setattr(message_module, "MAX_BYTES", n_bytes - 1)
    with pytest.raises(ValueError, match=f"at most {n_bytes - 1} bytes, got {n_bytes}; use a smaller network"):
        WEIGHTS.encode()


@pytest.mark.parametrize("data", [None, "SKFUSION", memoryview(b"SKFUSION")])
def test_a_message_is_bytes(data):
    with pytest.raises(TypeError, match="a message must be bytes, got "):
        Message.decode(data)


def test_layout_is_as_written_down():
    data = WEIGHTS.encode()
    header = (
        b'{"kind":"state","run":"2f1c","round":3,"site":"Bath","content":{"loss":0.1},'
        b'"arrays":[["weights","<f8",[2,3]]]}'
    )
    values = struct.pack("<6d", 0, 1, 2, 3, 4, 5)
    assert data == b"SKFUSION" + struct.pack("<II", 1, len(header)) + header + values


@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x.astype(">f8")])
def test_arrays_of_any_layout_and_byte_order_are_sent(view):
    array = view(np.arange(12.0).reshape(3, 4))
    message = Message("state", "", 0, "", arrays={"x": array})
    np.testing.assert_array_equal(Message.decode(message.encode()).arrays["x"], array)


def test_what_is_read_may_be_written_to():
    Message.decode(WEIGHTS.encode()).arrays["weights"][:] = 1


@settings(max_examples=200)
@given(st.data())
def test_changed_bytes_are_refused_or_read(data):
    good = data.draw(messages).encode()
    position = data.draw(st.integers(0, len(good)))
    removed = data.draw(st.integers(0, 4))
    bad = good[:position] + data.draw(st.binary(max_size=4)) + good[position + removed :]
    assert_refused_or_read(bad)


@given(st.binary(max_size=200))
@example(b"")
@example(MAGIC)
@example(with_header(b"[" * 10**5))
@example(with_header(b"[[],[]]"))
@example(with_header(b'{"kind":' + b"9" * 10**4 + b"}"))
@example(with_header(header_of([], content=float("nan"))))
@example(with_header(header_of([["x", "<f8", [2**31 - 1, 2**31 - 1]]])))
@example(with_header(header_of([["x", "<f8", [0, 2**31 - 1]]])))
@example(with_header(header_of([["x", "|O", [1]]]), bytes(8)))
@example(with_header(header_of([["x", "<f8", [-1]], ["y", "<f8", [2]]]), bytes(8)))
@example(with_header(header_of([["x", "<f8", [True]]]), bytes(8)))
@example(with_header(header_of([["x", "<f8", [1.0]]]), bytes(8)))
@example(with_header(header_of([["x", "<f8", [10**400]]]), bytes(8)))
def test_other_bytes_are_refused(data):
    assert_refused_or_read(data)
    assert_refused_or_read(with_header(data))


def assert_refused_or_read(data):
    """Whatever the bytes, with an error of ours at worst, and in memory of about their size."""
    tracemalloc.start()
    try:
        Message.decode(data)
    except MessageError as error:
        assert len(str(error)) < 500
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100 * len(data) + 100_000


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (WEIGHTS.encode()[:-1], "array 'weights' must be complete"),
        (WEIGHTS.encode() + b"!", "must end with its arrays, after 175 bytes; got 176"),
        (WEIGHTS.encode()[:50], "header must be complete"),
        (b"PK\x03\x04" + bytes(100), "must begin with b'SKFUSION', got b'PK"),
        (struct.pack("<8sII", MAGIC, 2, 0), "version 1, got 2"),
        (with_header({"kind": "state"}), "must have the entries kind, run, round, site, content, arrays, got {'kind'"),
        (with_header(header_of([], round="0")), "must have the entries"),
        (with_header(header_of([["x", "<f8"]])), "must have a name, a dtype and a shape"),
        (with_header(header_of([["x", "<f2", [1]]]), bytes(2)), "'x' must be of dtype .*, got '<f2'"),
        (with_header(header_of([["x", "<f8", [1, 1, 1]]]), bytes(8)), "'x' must have at most 2 dimensions"),
        (with_header(header_of([["x", "|u1", [1]]] * 2), bytes(2)), "'x' must be complete, and be there only once"),
        (with_header(b"{"), "must be JSON"),
        (with_header(header_of([], content={"loss": float("nan")})), "must be JSON: Out of range float values"),
        (with_header(json.dumps(header_of([])).replace("{}", '{"loss": 1e999}').encode()), "must be JSON: Out"),
        (with_header(header_of([], run="\ud800")), "must be JSON: 'utf-8' codec can't encode"),
        (with_header(header_of([], run="x" * 65)), "run must have at most 64 printable characters, got 'xxx"),
        (with_header(header_of([], kind="state\nBath: ")), r"kind must have .* characters, got 'state\\nBath: '"),
        (with_header(header_of([], site="\x1b[2J")), r"site must have .* characters, got '\\x1b\[2J'"),
    ],
)
def test_refusals_say_what_is_wrong(data, match):
    with pytest.raises(MessageError, match=match):
        Message.decode(data)


def test_what_is_too_long_is_refused(monkeypatch):
    data = WEIGHTS.encode()
    monkeypatch.setattr(message_module, "MAX_BYTES", len(data))
    assert Message.decode(data).kind == "state"
    with pytest.raises(MessageError, match="at most 175 bytes, got 176"):
        Message.decode(data + b"0")


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.ones(2, np.float16), np.ones((1, 1, 1))])
def test_other_arrays_are_not_sent(array):
    with pytest.raises(TypeError, match="array 'x' must be of dtype"):
        Message("state", "", 0, "", arrays={"x": array}).encode()


def test_what_is_no_json_is_not_sent():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Message("state", "", 0, "", {"loss": float("nan")}).encode()


def test_headers_that_would_be_refused_are_not_sent():
    with pytest.raises(ValueError, match="header must have at most 4194304 bytes"):
        Message("state", "", 0, "", {"names": "x" * 2**22}).encode()


@pytest.mark.parametrize(
    ("dtype", "shape", "match"),
    [
        (np.float32, (2, 3), "'x' must be float32 of shape \\(2, 3\\), got float64 of shape \\(2, 3\\)"),
        (np.float64, (3, 2), "must be float64 of shape \\(3, 2\\), got float64 of shape \\(2, 3\\)"),
        (np.float64, (2, 3), "must be finite, got inf"),
    ],
)
def test_arrays_that_are_not_as_they_should_be_are_refused(dtype, shape, match):
    message = Message("state", "", 0, "", arrays={"x": np.array([[0, 1, 2], [3, 4, np.inf]])})
    with pytest.raises(MessageError, match=match):
        message.array("x", dtype, shape)
    with pytest.raises(MessageError, match=r"'y' must be .*, got none"):
        message.array("y", dtype, shape)
    assert message.array("x", np.float64, (2, 3), finite=False) is message.arrays["x"]


def test_entries_that_are_not_as_they_should_be_are_refused():
    message = Message("state", "", 0, "", {"n": 3, "names": None, "long": "x" * 500})
    assert message.entry("n", int) == 3
    assert message.entry("names", list, type(None)) is None
    for name, types, match in [
        ("n", [str], "'n' must be str, got 3"),
        ("n", [bool], "must be bool"),
        ("m", [list, str], "'m' must be list or str, got None"),
        ("m", [type(None)], "'m' must be NoneType"),
        ("long", [int], r"got 'x+\.\.\.x+'"),
    ]:
        with pytest.raises(MessageError, match=match):
            message.entry(name, *types)


@pytest.mark.parametrize("name", ["Bath", "St Mary's", "Zürich", "ward 3", "a" * 64, "a..b", "100%", "京都"])
def test_names(name):
    assert check_name(name) == name
    assert type(check_name(np.str_(name))) is str


def test_a_name_may_be_typed_in_several_ways():
    assert check_name("Zu\u0308rich") == "Z\u00fcrich"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../Bath", "a/b", "a\\b", ".hidden", "Bath.", " Bath", "a\nb", "a\0", "a" * 65, "\ud800"]
)
def test_names_that_could_lead_elsewhere_are_refused(name):
    with pytest.raises(ValueError, match="a site's name must have 1 to 64 printable characters"):
        check_name(name)


def test_names_fit_into_names_of_files(tmp_path):
    longest = "Городская больница имени Боткина, ward 123456789012"
    assert len(check_name(longest).encode()) == 80
    (tmp_path / quote(longest)).mkdir()
    with pytest.raises(ValueError, match=r"at most 80 bytes in UTF-8; 'Городская .*' has 81"):
        check_name(longest + "2")


def test_names_are_strings():
    with pytest.raises(TypeError, match="a site's name must be a string, got 3"):
        check_name(3)
