"""What changes in peers as they train, as plain arrays that travel and are kept."""

from dataclasses import fields, replace

import numpy as np

from skfusion.sites.message import MessageError

# What the coordinator knows of a peer that stays at its site.
TOLD = ("n_steps", "samples_seen", "learning_rates", "losses", "generators")
_MAY_DIVERGE = "losses"  # which is how training shows that it has
_N_WORDS = 4  # of an SFC64 generator, beside a buffered half of one


def pack(state):
    """Return peers' state as arrays by name.

    Parameters
    ----------
    state : PeerState

    Returns
    -------
    dict of str to ndarray
    """
    arrays = {field.name: getattr(state, field.name) for field in fields(state)}
    arrays["generators"] = np.array([_words(generator) for generator in state.generators])
    return {name: array for name, array in arrays.items() if array is not None}


def unpack(message, like):
    """Return peers' state from the arrays of a message.

    Parameters
    ----------
    message : Message
    like : PeerState
        Of the same number of peers, with the arrays that there must be.

    Returns
    -------
    PeerState

    Raises
    ------
    MessageError
        If an array is missing, of another dtype or shape, or not finite, unless the losses tell why.
    """
    arrays = {}
    for field in fields(like):
        expected = getattr(like, field.name)
        if field.name == "generators":
            words = message.array("generators", np.uint64, (len(expected), _N_WORDS + 2))
            arrays["generators"] = [_generator(of_peer) for of_peer in words]
        elif expected is not None:
            arrays[field.name] = message.array(field.name, expected.dtype, expected.shape, finite=False)
    _check_finite(arrays)
    return replace(like, **arrays)


def _check_finite(arrays):
    """Raise MessageError if a peer is not finite although its loss is."""
    honest = np.isfinite(arrays["losses"])
    for name, array in arrays.items():
        if name not in (_MAY_DIVERGE, "generators") and not np.isfinite(array[honest]).all():
            raise MessageError(f"array {name!r} must be finite where the losses are")


def _words(generator):
    state = generator.bit_generator.state
    rest = np.array([state["has_uint32"], state["uinteger"]], np.uint64)  # a list would make all of it float64
    return np.append(state["state"]["state"], rest)


def _generator(words):
    generator = np.random.Generator(np.random.SFC64(0))
    generator.bit_generator.state = {
        "bit_generator": "SFC64",
        "state": {"state": words[:_N_WORDS]},
        "has_uint32": int(words[_N_WORDS]) & 1,
        "uinteger": int(words[_N_WORDS + 1]) & 0xFFFFFFFF,
    }
    return generator


def without_drift(state):
    """Return peers' state without what training takes as given, which a site need not send back."""
    return replace(state, drift=None)
