# cython: language_level=3
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled core: train networks on rows, run them forward, fuse pairs of them.

A network is one flat vector, layer after layer: the coefficients, of shape (fan_in, fan_out) in C order, then the
intercepts.  Nothing here knows of estimators, partitions or rounds.  All loops run without the GIL.
"""
from cpython.exc cimport PyErr_CheckSignals
from libc.float cimport DBL_EPSILON, FLT_EPSILON
from libc.math cimport fabs, log1p, exp as c_exp, pow as c_pow, sqrt as c_sqrt
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cython cimport floating
from scipy.linalg.cython_blas cimport dgemm, sgemm

import numpy as np


# Loops in C, and what is chosen by name


# The macros of _loops.h choose the function for float or double by their pointer arguments.
cdef extern from "_loops.h" nogil:
    int ACT_IDENTITY, ACT_TANH, ACT_LOGISTIC, ACT_RELU
    void prefetch(const void *start, Py_ssize_t n_bytes)
    void add_rows(...)
    void update_rows(...)
    void update_drifting_rows(...)
    void dot_rows(...)
    void scale(...)
    void add_scaled(...)
    void activate(...)
    void times_derivative(...)
    double softmax(...)
    void momentum_step(...)
    void adam_step(...)
    void soft_threshold(...)
    double sum_of_squares(...)
    double sum_of_absolutes(...)
    Py_ssize_t count_unequal(...)
    Py_ssize_t differences(...)
    void fuse_pair(...)
    bint has_zero(...)
    bint copy_columns(...)
    bint sum_shares(...)
    void add_share(...)
    void mix_in(...)
    void mix_in_rest(...)
    void mix_in_shares(...)
    void mean_step(...)
    void follow_step(...)
    void scaled_sum(...)
    double squared_spread(...)

cdef enum Output:
    SOFTMAX
    BINARY_LOGISTIC
    SQUARED_TANH
    SQUARED_IDENTITY

cdef enum Solver:
    PLAIN_SGD
    MOMENTUM
    ADAM

cdef enum:
    # From this many rows on, a matrix product through BLAS beats row by row.
    BLAS_ROWS = 4
    # How many sparse rows ahead to fetch, as shuffled rows lie anywhere in memory.
    AHEAD = 4
    # Values of a batch to each of a layer's inputs from which on a pending drift is put into its coefficients.
    LAZY_ENTRIES = 2
    # Rows to a chunk of the forward pass.
    CHUNK = 256
    # Bytes of all networks that fusion works on at a time, and the bounds for those of one network.
    FUSION_CACHE = 262144
    LEAST_BLOCK = 1024
    MOST_BLOCK = 8192

ACTIVATIONS = {"identity": ACT_IDENTITY, "logistic": ACT_LOGISTIC, "tanh": ACT_TANH, "relu": ACT_RELU}
OUTPUTS = {"softmax": SOFTMAX, "logistic": BINARY_LOGISTIC, "tanh": SQUARED_TANH, "identity": SQUARED_IDENTITY}


# Networks, peers and rows


cdef struct Layer:
    Py_ssize_t fan_in
    Py_ssize_t fan_out
    Py_ssize_t offset  # of the coefficients in the flat vector; the intercepts follow them


cdef struct Network:
    Py_ssize_t n_layers
    Layer *layers
    int activation
    int output
    void **activations  # per layer, (buffer_rows, fan_out)


cdef struct Input:
    bint sparse
    const void *values  # dense: (n_samples, n_features); sparse: CSR data
    const int32_t *indices
    const int64_t *indptr
    # Where not NULL, sparse rows hold what they deviate from this row by, as in standardised one-hot columns.
    const void *offset
    const void *offset_dots  # of the offset with each row's deviations
    double offset_square


cdef struct Batch:
    Py_ssize_t n_rows
    const int32_t *rows  # which of the input's
    const int32_t *rows_end  # of those that are to follow in turn
    const void *values  # of dense rows, side by side, where BLAS is to be used; else NULL


cdef struct Peer:
    void *weights
    void *first_moments  # NULL, as the next, where the solver has none
    void *second_moments
    const void *drift  # what is added to the gradient of each step, or NULL
    int64_t *n_steps
    double learning_rate
    double rate  # of the step at hand
    double loss  # summed over the rows so far


cdef struct Pending:
    # What a step does to all rows of the first layer's coefficients W is put off on sparse input: while V is stored,
    # W = scale * V + outer(offset, along) + drifted * drift, and the centers are offset V and offset drift.
    double scale
    void *along
    void *center
    const void *drift  # of these coefficients
    double drifted
    void *drift_center


cdef struct Training:
    const Network *network
    const Input *x
    int solver
    bint nesterov
    double momentum
    double beta_1
    double beta_2
    double epsilon
    double l1
    double l2
    const int32_t *target  # class indices
    const void *values  # under identity outputs, what they should be, (n_samples, n_outputs)
    const void *sample_weight  # NULL where all rows weigh 1
    void *batch  # (buffer_rows, n_features): the rows of one batch, for BLAS
    void *delta  # (buffer_rows, widest layer), twice
    void *next_delta
    void *gradient  # of the largest layer
    Pending pending


# The forward pass


cdef inline void gemm(bint trans_a, bint trans_b, int m, int n, int k, double alpha, const floating *a, int lda,
                      const floating *b, int ldb, double beta, floating *c, int ldc) noexcept nogil:
    """Column-major C = alpha op(A) op(B) + beta C; a C-ordered array is its own transpose here."""
    cdef char ta = b"T" if trans_a else b"N"
    cdef char tb = b"T" if trans_b else b"N"
    cdef floating alpha_ = <floating> alpha
    cdef floating beta_ = <floating> beta
    if floating is float:
        sgemm(&ta, &tb, &m, &n, &k, &alpha_, <float *> a, &lda, <float *> b, &ldb, &beta_, c, &ldc)
    else:
        dgemm(&ta, &tb, &m, &n, &k, &alpha_, <double *> a, &lda, <double *> b, &ldb, &beta_, c, &ldc)


cdef void input_layer(const Layer *layer, const floating *coefs, const Input *x, const Batch *batch,
                      const Pending *pending, floating *z) noexcept nogil:
    """z = X W + b for the rows of a batch; ``pending`` is NULL where the coefficients are W itself."""
    cdef Py_ssize_t i, k, row, n = layer.fan_out, d = layer.fan_in
    cdef const floating *values = <const floating *> x.values
    cdef const floating *intercepts = coefs + d * n
    cdef const int32_t *no_index = NULL
    if batch.values != NULL:
        dense_layer(layer, coefs, <const floating *> batch.values, batch.n_rows, z)
        return
    memset(z, 0, batch.n_rows * n * sizeof(floating))
    for i in range(batch.n_rows):
        row = batch.rows[i]
        if x.sparse:
            if pending != NULL and pending.drifted != 0:
                add_drifted(n, x, row, pending, z + i * n)
            add_rows(x.indptr[row + 1] - x.indptr[row], x.indices + x.indptr[row], values + x.indptr[row], coefs, n,
                     z + i * n)
            if pending != NULL:
                add_pending(n, x, row, pending, z + i * n)
            if batch.rows + i + AHEAD < batch.rows_end:
                # Written out, since gcc drops the call of a function that only prefetches.
                row = batch.rows[i + AHEAD]
                k = x.indptr[row + 1] - x.indptr[row]
                prefetch(x.indices + x.indptr[row], k * sizeof(int32_t))
                prefetch(values + x.indptr[row], k * sizeof(floating))
        else:
            add_rows(d, no_index, values + row * d, coefs, n, z + i * n)
        add_scaled(n, 1.0, intercepts, z + i * n)


cdef void add_drifted(Py_ssize_t n, const Input *x, Py_ssize_t row, const Pending *pending,
                      floating *z) noexcept nogil:
    """z = what the pending drift adds to the row times V"""
    cdef const floating *values = <const floating *> x.values
    add_rows(x.indptr[row + 1] - x.indptr[row], x.indices + x.indptr[row], values + x.indptr[row],
             <const floating *> pending.drift, n, z)
    if x.offset != NULL:
        add_scaled(n, 1.0, <const floating *> pending.drift_center, z)
    scale(n, pending.drifted / pending.scale, z)


cdef void add_pending(Py_ssize_t n, const Input *x, Py_ssize_t row, const Pending *pending,
                      floating *z) noexcept nogil:
    """Turn a row's deviations times V into the row times W."""
    cdef double dot
    if x.offset != NULL:
        add_scaled(n, 1.0, <const floating *> pending.center, z)
    if pending.scale != 1:
        scale(n, pending.scale, z)
    if x.offset != NULL:
        dot = (<const floating *> x.offset_dots)[row] + x.offset_square
        add_scaled(n, dot, <const floating *> pending.along, z)


cdef void dense_layer(const Layer *layer, const floating *coefs, const floating *a, Py_ssize_t n_rows,
                      floating *z) noexcept nogil:
    """z = a W + b"""
    cdef Py_ssize_t i, n = layer.fan_out, d = layer.fan_in
    cdef const int32_t *no_index = NULL
    for i in range(n_rows):
        memcpy(z + i * n, coefs + d * n, n * sizeof(floating))
    if n_rows >= BLAS_ROWS:
        gemm(False, False, n, n_rows, d, 1, coefs, n, a, d, 1, z, n)
    else:
        for i in range(n_rows):
            add_rows(d, no_index, a + i * d, coefs, n, z + i * n)


cdef void forward(const Network *network, const Input *x, const Batch *batch, const Pending *pending,
                  const floating *weights) noexcept nogil:
    """Fill the activations of every layer; those of the last stay as they enter the output function."""
    cdef Py_ssize_t l
    cdef const Layer *layer
    cdef floating *z
    for l in range(network.n_layers):
        layer = network.layers + l
        z = <floating *> network.activations[l]
        if l == 0:
            input_layer(layer, weights, x, batch, pending, z)
        else:
            dense_layer(layer, weights + layer.offset, <floating *> network.activations[l - 1], batch.n_rows, z)
        if l < network.n_layers - 1:
            activate(network.activation, batch.n_rows * layer.fan_out, z)


# Outputs and losses


cdef double output_row(int output, Py_ssize_t n, floating *z) noexcept nogil:
    """Apply the output function to one row, in place; returns log(sum(exp(z))) for softmax."""
    if output == SOFTMAX:
        return softmax(n, z)
    if output != SQUARED_IDENTITY:
        activate(ACT_LOGISTIC if output == BINARY_LOGISTIC else ACT_TANH, n, z)
    return 0


cdef double output_delta(int output, Py_ssize_t n, int32_t target, floating *z, floating *delta) noexcept nogil:
    """The loss of one row and its derivative by the last layer's input, which z holds."""
    cdef double loss = 0, error, logit
    cdef Py_ssize_t k
    if output == SOFTMAX:
        logit = z[target]
        loss = output_row(output, n, z) - logit
        memcpy(delta, z, n * sizeof(floating))
        delta[target] -= 1
    elif output == BINARY_LOGISTIC:
        logit = -z[0] if target else z[0]
        loss = (logit if logit > 0 else 0) + log1p(c_exp(-logit if logit > 0 else logit))
        output_row(output, n, z)
        delta[0] = z[0] - target
    else:
        output_row(output, n, z)
        for k in range(n):
            error = z[k] - (target if n == 1 else <int> (target == k))
            loss += 0.5 * error * error
            delta[k] = <floating> (error * (1 - <double> z[k] * z[k]))
    return loss


cdef double residual(Py_ssize_t n, const floating *values, const floating *z, floating *delta) noexcept nogil:
    """The loss of one row and its derivative by the last layer's input, which z holds, under identity outputs.

    As MLPRegressor's, the loss is a mean over outputs but the derivative is not.
    """
    cdef double loss = 0, error
    cdef Py_ssize_t k
    for k in range(n):
        error = <double> z[k] - values[k]
        loss += 0.5 * error * error
        delta[k] = <floating> error
    return loss / n


cdef double loss_of(const Training *t, Py_ssize_t row, floating *z, floating *delta) noexcept nogil:
    """The weighted loss of one row of X and its derivative by the last layer's input, which z holds."""
    cdef const Network *network = t.network
    cdef Py_ssize_t n = network.layers[network.n_layers - 1].fan_out
    cdef double loss, weight
    if network.output == SQUARED_IDENTITY:
        loss = residual(n, <const floating *> t.values + row * n, z, delta)
    else:
        loss = output_delta(network.output, n, t.target[row], z, delta)
    if t.sample_weight != NULL:
        weight = (<const floating *> t.sample_weight)[row]
        loss *= weight
        scale(n, weight, delta)
    return loss


# What is pending on the first layer's coefficients


cdef void apply_pending(Training *t, floating *coefs) noexcept nogil:
    """Turn V into W; ``reset_pending`` must follow before the next step."""
    cdef Py_ssize_t n = t.network.layers.fan_out, d = t.network.layers.fan_in
    cdef const int32_t *no_index = NULL
    if t.x.offset != NULL:
        update_rows(d, no_index, <const floating *> t.x.offset, t.pending.scale, 1.0,
                    <const floating *> t.pending.along, n, coefs)
    elif t.pending.scale != 1:
        scale(d * n, t.pending.scale, coefs)
    if t.pending.drifted != 0:
        add_scaled(d * n, t.pending.drifted, <const floating *> t.pending.drift, coefs)


cdef void reset_pending(Training *t, const floating *coefs) noexcept nogil:
    """Start from coefficients that are W, with nothing pending."""
    t.pending.scale, t.pending.drifted = 1, 0
    if t.x.offset != NULL:
        memset(t.pending.along, 0, t.network.layers.fan_out * sizeof(floating))
        offset_times(t, coefs, <floating *> t.pending.center)


cdef void offset_times(const Training *t, const floating *coefs, floating *center) noexcept nogil:
    """center = offset coefs"""
    cdef const int32_t *no_index = NULL
    memset(center, 0, t.network.layers.fan_out * sizeof(floating))
    add_rows(t.network.layers.fan_in, no_index, <const floating *> t.x.offset, coefs, t.network.layers.fan_out, center)


cdef void apply_drift(Training *t, floating *coefs) noexcept nogil:
    """Put the pending drift into V, which leaves W as it is."""
    cdef double factor = t.pending.drifted / t.pending.scale
    add_scaled(t.network.layers.fan_in * t.network.layers.fan_out, factor, <const floating *> t.pending.drift, coefs)
    if t.x.offset != NULL:
        add_scaled(t.network.layers.fan_out, factor, <const floating *> t.pending.drift_center,
                   <floating *> t.pending.center)
    t.pending.drifted = 0


# The backward pass and the optimiser's step


cdef void layer_gradient(const Training *t, const Peer *peer, const Layer *layer, const Batch *batch,
                         const floating *a, floating *delta) noexcept nogil:
    """Mean gradient of one layer plus its drift, into t.gradient; ``a`` is NULL where the input is read from X."""
    cdef Py_ssize_t i, n = layer.fan_out, d = layer.fan_in, size = layer.fan_in * layer.fan_out
    cdef const int32_t *no_index = NULL
    cdef floating *gradient = <floating *> t.gradient
    cdef bint by_blas = a != NULL and batch.n_rows >= BLAS_ROWS
    memset(gradient + size, 0, n * sizeof(floating))
    scale(batch.n_rows * n, 1.0 / batch.n_rows, delta)
    for i in range(batch.n_rows):
        add_scaled(n, 1.0, delta + i * n, gradient + size)
    if peer.drift != NULL:
        memcpy(gradient, <const floating *> peer.drift + layer.offset, size * sizeof(floating))
    elif not by_blas:
        memset(gradient, 0, size * sizeof(floating))
    if by_blas:
        gemm(False, True, n, d, batch.n_rows, 1, delta, n, a, d, 0 if peer.drift == NULL else 1, gradient, n)
    else:
        if a == NULL and t.x.offset != NULL:
            update_rows(d, no_index, <const floating *> t.x.offset, 1.0, 1.0, gradient + size, n, gradient)
        for i in range(batch.n_rows):
            if a != NULL:
                update_rows(d, no_index, a + i * d, 1.0, 1.0, delta + i * n, n, gradient)
            else:
                update_by_row(t.x, batch.rows[i], d, 1.0, 1.0, delta + i * n, n, gradient)
    if peer.drift != NULL:
        add_scaled(n, 1.0, <const floating *> peer.drift + layer.offset + size, gradient + size)


cdef void update_by_row(const Input *x, Py_ssize_t row, Py_ssize_t d, double decay, double factor,
                        const floating *delta, Py_ssize_t n, floating *W) noexcept nogil:
    """W = decay * W + factor * outer(row of X, delta), in those rows of W that a sparse row has values for."""
    cdef const floating *values = <const floating *> x.values
    cdef const int32_t *no_index = NULL
    if x.sparse:
        update_rows(x.indptr[row + 1] - x.indptr[row], x.indices + x.indptr[row], values + x.indptr[row], decay,
                    factor, delta, n, W)
    else:
        update_rows(d, no_index, values + row * d, decay, factor, delta, n, W)


cdef void sgd_update(Training *t, const Peer *peer, const Layer *layer, const Batch *batch, const floating *a,
                     const floating *delta) noexcept nogil:
    """One plain SGD step of one layer without forming the gradient."""
    cdef Py_ssize_t i, n = layer.fan_out, d = layer.fan_in
    cdef double step = -peer.rate / batch.n_rows, decay = 1 - peer.rate * t.l2 / batch.n_rows
    cdef const int32_t *no_index = NULL
    cdef const floating *values = <const floating *> t.x.values
    cdef const floating *row
    cdef const floating *drift = NULL
    cdef floating *coefs = <floating *> peer.weights + layer.offset
    for i in range(batch.n_rows):
        add_scaled(n, step, delta + i * n, coefs + d * n)
    if peer.drift != NULL:
        drift = <const floating *> peer.drift + layer.offset
        add_scaled(n, -peer.rate, drift + d * n, coefs + d * n)
    if a != NULL and batch.n_rows >= BLAS_ROWS:
        gemm(False, True, n, d, batch.n_rows, step, delta, n, a, d, decay, coefs, n)
        if drift != NULL:
            add_scaled(d * n, -peer.rate, drift, coefs)
    elif a == NULL and t.x.sparse:
        lazy_sgd_update(t, peer, batch, step, decay, delta, coefs)
    else:
        for i in range(batch.n_rows):
            row = a + i * d if a != NULL else values + batch.rows[i] * d
            if i == 0 and drift != NULL:
                update_drifting_rows(d, row, decay, step, delta, n, -peer.rate, drift, coefs)
            else:
                update_rows(d, no_index, row, decay if i == 0 else 1.0, step, delta + i * n, n, coefs)


cdef void lazy_sgd_update(Training *t, const Peer *peer, const Batch *batch, double step, double decay,
                          const floating *delta, floating *coefs) noexcept nogil:
    """One plain SGD step of the first layer's coefficients on sparse input.

    It touches only the rows of W that the batch's features have; what is due to all of them, the weight decay (kept
    as a common factor, as in scikit-learn's SGD), the offset's share and the drift, is left pending.
    """
    cdef Py_ssize_t i, row, n = t.network.layers.fan_out, d = t.network.layers.fan_in
    t.pending.scale *= decay
    if peer.drift != NULL:
        t.pending.drifted = decay * t.pending.drifted - peer.rate
    if t.x.offset != NULL:
        scale(n, decay, <floating *> t.pending.along)
    if not 1e-3 < t.pending.scale <= 1:
        apply_pending(t, coefs)
        reset_pending(t, coefs)
    for i in range(batch.n_rows):
        row = batch.rows[i]
        update_by_row(t.x, row, d, 1.0, step / t.pending.scale, delta + i * n, n, coefs)
        if t.x.offset != NULL:
            add_scaled(n, step, delta + i * n, <floating *> t.pending.along)
            add_scaled(n, step / t.pending.scale * (<const floating *> t.x.offset_dots)[row], delta + i * n,
                       <floating *> t.pending.center)


cdef void solver_step(const Training *t, const Peer *peer, Py_ssize_t start, Py_ssize_t n, double l2,
                      const floating *gradient) noexcept nogil:
    """Step n weights from ``start`` by momentum or Adam; their loss includes l2 / 2 times their squares."""
    cdef floating *weights = <floating *> peer.weights + start
    cdef floating *first_moment = <floating *> peer.first_moments + start
    if t.solver == MOMENTUM:
        momentum_step(n, peer.rate, t.momentum, t.nesterov, l2, gradient, weights, first_moment)
    else:
        adam_step(n, peer.rate, t.beta_1, t.beta_2, t.epsilon, l2, gradient, weights, first_moment,
                  <floating *> peer.second_moments + start)


cdef void update_layer(Training *t, const Peer *peer, const Layer *layer, const Batch *batch, const floating *a,
                       floating *delta) noexcept nogil:
    """One step of one layer; ``a`` is its input, NULL where that is read from X."""
    cdef Py_ssize_t size = layer.fan_in * layer.fan_out
    cdef floating *coefs = <floating *> peer.weights + layer.offset
    cdef floating *gradient = <floating *> t.gradient
    if t.solver == PLAIN_SGD:
        sgd_update(t, peer, layer, batch, a, delta)
    else:
        layer_gradient(t, peer, layer, batch, a, delta)
        solver_step(t, peer, layer.offset, size, t.l2 / batch.n_rows, gradient)
        solver_step(t, peer, layer.offset + size, layer.fan_out, 0, gradient + size)
    if t.l1 != 0:
        if layer.offset == 0:
            apply_pending(t, coefs)
        soft_threshold(size, peer.learning_rate * t.l1 / batch.n_rows, coefs)
    if layer.offset == 0 and (t.l1 != 0 or t.solver != PLAIN_SGD):
        reset_pending(t, coefs)


cdef void backward(Training *t, const Peer *peer, const Batch *batch, floating *delta,
                   floating *next_delta) noexcept nogil:
    """Propagate ``delta`` from the last layer to the first, updating each layer once its delta has passed it."""
    cdef Py_ssize_t i, l, n, d
    cdef const Layer *layer
    cdef const floating *a
    cdef const floating *coefs
    for l in range(t.network.n_layers - 1, -1, -1):
        layer = t.network.layers + l
        n, d = layer.fan_out, layer.fan_in
        a = <const floating *> batch.values
        if l > 0:
            a = <const floating *> t.network.activations[l - 1]
            coefs = <const floating *> peer.weights + layer.offset
            if batch.n_rows >= BLAS_ROWS:
                gemm(True, False, d, batch.n_rows, n, 1, coefs, n, delta, n, 0, next_delta, d)
            else:
                for i in range(batch.n_rows):
                    dot_rows(d, coefs, n, delta + i * n, next_delta + i * d)
            times_derivative(t.network.activation, batch.n_rows * d, a, next_delta)
        update_layer(t, peer, layer, batch, a, delta)
        delta, next_delta = next_delta, delta


cdef Py_ssize_t n_entries(const Input *x, const Batch *batch) noexcept nogil:
    """How many values the sparse rows of a batch have."""
    cdef Py_ssize_t i, total = 0
    for i in range(batch.n_rows):
        total += x.indptr[batch.rows[i] + 1] - x.indptr[batch.rows[i]]
    return total


cdef void train_batch(Training *t, Peer *peer, const Batch *batch, floating *delta) noexcept nogil:
    """Add the rows' loss, then take one optimiser step; ``delta`` is t.delta."""
    cdef Py_ssize_t i, last = t.network.n_layers - 1, n_outputs = t.network.layers[last].fan_out
    cdef floating *outputs = <floating *> t.network.activations[last]
    if t.pending.drifted != 0 and n_entries(t.x, batch) > LAZY_ENTRIES * t.network.layers.fan_in:
        apply_drift(t, <floating *> peer.weights)
    forward(t.network, t.x, batch, &t.pending, <const floating *> peer.weights)
    for i in range(batch.n_rows):
        peer.loss += loss_of(t, batch.rows[i], outputs + i * n_outputs, delta + i * n_outputs)
    peer.n_steps[0] += 1
    peer.rate = peer.learning_rate
    if t.solver == ADAM:
        peer.rate = peer.learning_rate * c_sqrt(1 - c_pow(t.beta_2, <double> peer.n_steps[0])) / (
            1 - c_pow(t.beta_1, <double> peer.n_steps[0]))
    backward(t, peer, batch, delta, <floating *> t.next_delta)


cdef void train_rows(Training *t, Peer *peer, const int32_t *rows, Py_ssize_t n_rows, Py_ssize_t batch_size,
                     floating *delta) noexcept nogil:
    """Take one optimiser step for each ``batch_size`` of the rows; ``delta`` is t.delta."""
    cdef Py_ssize_t start = 0, i, d = t.network.layers.fan_in
    cdef const floating *values = <const floating *> t.x.values
    cdef floating *side_by_side = <floating *> t.batch
    cdef floating *coefs = <floating *> peer.weights
    cdef Batch batch
    batch.rows_end = rows + n_rows
    reset_pending(t, coefs)
    t.pending.drift = peer.drift
    if peer.drift != NULL and t.x.offset != NULL:
        offset_times(t, <const floating *> peer.drift, <floating *> t.pending.drift_center)
    while start < n_rows:
        batch.n_rows, batch.rows, batch.values = min(batch_size, n_rows - start), rows + start, NULL
        if batch.n_rows >= BLAS_ROWS and not t.x.sparse:
            batch.values = side_by_side
            for i in range(batch.n_rows):
                memcpy(side_by_side + i * d, values + batch.rows[i] * d, d * sizeof(floating))
        train_batch(t, peer, &batch, delta)
        start += batch.n_rows
    apply_pending(t, coefs)


cdef double penalty_of(const Training *t, const floating *weights) noexcept nogil:
    """The penalty of a network's coefficients; NaN or infinity where a weight is not finite."""
    cdef Py_ssize_t l, size
    cdef const Layer *layer
    cdef double total = 0
    for l in range(t.network.n_layers):
        layer = t.network.layers + l
        size = layer.fan_in * layer.fan_out
        total += 0.5 * t.l2 * sum_of_squares(size, weights + layer.offset)
        total += 0 * sum_of_squares(layer.fan_out, weights + layer.offset + size)  # NaN if one is not finite
        if t.l1 != 0:
            total += t.l1 * sum_of_absolutes(size, weights + layer.offset)
    return total


# Arrays' memory


cdef const void *readable(array, bint single) except? NULL:
    """Where an array's data begin, its dtype and memory order once checked; NULL for None and empty arrays."""
    cdef const float[::1] singles
    cdef const double[::1] doubles
    if array is None or array.size == 0:
        return NULL
    if not array.flags.c_contiguous:
        raise ValueError("array must be C-contiguous")
    if single:
        singles = array.reshape(-1)
        return &singles[0]
    doubles = array.reshape(-1)
    return &doubles[0]


cdef void *writable(array, bint single) except? NULL:
    """As ``readable``, for an array that is to be changed."""
    if array is not None and not array.flags.writeable:
        raise ValueError("array must not be read-only")
    return <void *> readable(array, single)


cdef const void *matrix(array, bint single, Py_ssize_t *stride) except? NULL:
    """Where an array of shape (n_networks, n_parameters) begins, and how many numbers lie from a row to the next."""
    cdef const float[:, :] singles
    cdef const double[:, :] doubles
    if array is None or array.size == 0:
        return NULL
    if (array.shape[1] > 1 and array.strides[1] != array.itemsize) or array.strides[0] % array.itemsize:
        raise ValueError("each row of the array must be contiguous")
    stride[0] = array.strides[0] // array.itemsize
    if single:
        singles = array
        return &singles[0, 0]
    doubles = array
    return &doubles[0, 0]


cdef void *writable_matrix(array, bint single, Py_ssize_t *stride) except? NULL:
    """As ``matrix``, for an array that is to be changed."""
    if array is not None and not array.flags.writeable:
        raise ValueError("array must not be read-only")
    return <void *> matrix(array, single, stride)


# Networks run forward, from Python


def check_csr(X, indptr):
    """Raise ValueError unless a CSR array's indices stay within it, as its arrays may have been replaced."""
    if not (len(indptr) == X.shape[0] + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all() and
            indptr.max() <= min(len(X.indices), len(X.data))):
        raise ValueError("X must be a valid CSR array, whose indptr rises from 0 to the number of its entries")
    if X.nnz and not 0 <= X.indices.min() <= X.indices.max() < X.shape[1]:
        raise ValueError(f"X must have column indices from 0 to {X.shape[1] - 1}")


cdef class Forward:
    """The forward pass of networks of one shape over all rows of X.

    Parameters
    ----------
    network : object with layer_sizes, activation and output
        The shape shared by all networks.
    X : ndarray (C order) or CSR array of shape (n_samples, n_features), dtype float32 or float64
    buffer_rows : int
        Rows that the buffers hold and that one matrix product takes.
    """

    cdef Network network
    cdef Input x
    cdef bint single
    cdef Py_ssize_t n_samples
    cdef Py_ssize_t n_parameters
    cdef Py_ssize_t buffer_rows
    cdef int32_t[::1] rows  # those of the chunk in the buffers
    cdef list owned  # what the pointers point into

    def __cinit__(self, network, X, *args, Py_ssize_t buffer_rows=CHUNK, **kwargs):
        if X.shape[1] != network.layer_sizes[0]:
            raise ValueError(f"X must have {network.layer_sizes[0]} columns, got {X.shape[1]}")
        self.owned = []
        self.single = X.dtype == np.float32
        self.n_samples = X.shape[0]
        self.buffer_rows = buffer_rows
        self.rows = np.empty(buffer_rows, np.int32)
        self.own_network(network)
        if isinstance(X, np.ndarray):
            self.x.values = self.own(X)
        else:
            self.own_csr(X)

    def __dealloc__(self):
        free(self.network.layers)
        free(self.network.activations)

    cdef int own_network(self, network) except -1:
        cdef Py_ssize_t l, offset = 0
        sizes = network.layer_sizes
        self.network.n_layers = len(sizes) - 1
        self.network.layers = <Layer *> malloc(self.network.n_layers * sizeof(Layer))
        self.network.activations = <void **> malloc(self.network.n_layers * sizeof(void *))
        if self.network.layers == NULL or self.network.activations == NULL:
            raise MemoryError
        self.network.activation = ACTIVATIONS[network.activation]
        self.network.output = OUTPUTS[network.output]
        for l in range(self.network.n_layers):
            self.network.layers[l] = Layer(sizes[l], sizes[l + 1], offset)
            self.network.activations[l] = self.buffer(self.buffer_rows * sizes[l + 1])
            offset += (sizes[l] + 1) * sizes[l + 1]
        self.n_parameters = offset
        return 0

    cdef int own_csr(self, X) except -1:
        # SciPy lets the three arrays be views with strides, which are copied here.
        ends, columns = np.require(X.indptr, np.int64, "CA"), np.require(X.indices, np.int32, "CA")
        check_csr(X, ends)
        cdef const int64_t[::1] indptr = ends
        cdef const int32_t[::1] indices = columns
        self.owned += [ends, columns]
        self.x.sparse = True
        self.x.values = self.own(np.require(X.data, requirements="CA"))
        self.x.indptr = &indptr[0]
        self.x.indices = &indices[0] if indices.shape[0] else NULL
        return 0

    cdef const void *own(self, array) except? NULL:
        self.owned.append(array)
        return readable(array, self.single)

    cdef void *own_writable(self, array) except? NULL:
        self.owned.append(array)
        return writable(array, self.single)

    cdef void *buffer(self, Py_ssize_t size) except NULL:
        return self.own_writable(np.empty(max(size, 1), np.float32 if self.single else np.float64))

    def outputs(self, weights):
        """What a network answers to each row of X.

        Parameters
        ----------
        weights : ndarray of shape (n_parameters,)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            The activations of the last layer.
        """
        cdef Py_ssize_t n_outputs = self.network.layers[self.network.n_layers - 1].fan_out
        if weights.size != self.n_parameters:
            raise ValueError(f"weights must have {self.n_parameters} entries, got {weights.size}")
        result = np.empty((self.n_samples, n_outputs), weights.dtype)
        cdef const void *w = readable(weights, self.single)
        cdef void *out = writable(result, self.single)
        with nogil:
            if self.single:
                forward_all(self, <const float *> w, <float *> out)
            else:
                forward_all(self, <const double *> w, <double *> out)
        return result


cdef void forward_all(Forward self, const floating *weights, floating *out) noexcept nogil:
    """Run a network forward over all rows of X, a chunk at a time."""
    cdef Py_ssize_t start = 0, i, last = self.network.n_layers - 1
    cdef Py_ssize_t n_outputs = self.network.layers[last].fan_out
    cdef floating *z = <floating *> self.network.activations[last]
    cdef Batch batch
    batch.rows = batch.rows_end = &self.rows[0]
    while start < self.n_samples:
        batch.n_rows, batch.values = min(self.buffer_rows, self.n_samples - start), NULL
        if batch.n_rows >= BLAS_ROWS and not self.x.sparse:
            batch.values = <const floating *> self.x.values + start * self.network.layers.fan_in
        for i in range(batch.n_rows):
            self.rows[i] = <int32_t> (start + i)
        forward(&self.network, &self.x, &batch, NULL, weights)
        for i in range(batch.n_rows):
            output_row(self.network.output, n_outputs, z + i * n_outputs)
        memcpy(out + start * n_outputs, z, batch.n_rows * n_outputs * sizeof(floating))
        start += batch.n_rows


# Peers trained, from Python


def check_plan(plan, n_networks, n_samples, buffer_rows):
    """Raise ValueError unless a trainer's plan stays within the networks, the rows of X and the buffers."""
    lengths = np.diff(plan.ends)
    if not (len(plan.peers) == len(lengths) == len(plan.batch_sizes) and plan.ends[0] == 0 and
            lengths.sum() == len(plan.rows)):
        raise ValueError("plan must have an entry of peers and batch_sizes for each part of its rows")
    for name, values, least, most in (("peers", plan.peers, 0, n_networks - 1), ("rows", plan.rows, 0, n_samples - 1),
                                      ("batch_sizes", plan.batch_sizes, 1, buffer_rows),
                                      ("parts", lengths, 0, len(plan.rows))):
        if len(values) and not least <= values.min() <= values.max() <= most:
            raise ValueError(f"plan must have {name} from {least} to {most}, got {values}")


def check_state(state, drift, solver, n_parameters):
    """Raise ValueError unless a trainer's state has what it needs of each peer, the moments where the solver does."""
    if not len(state.n_steps) == len(state.learning_rates) == len(state.losses) == len(state.weights):
        raise ValueError("state must have an entry for each network")
    if state.weights.shape[1] != n_parameters:
        raise ValueError(f"weights must have {n_parameters} columns, got {state.weights.shape[1]}")
    if (solver != PLAIN_SGD and state.first_moments is None) or (solver == ADAM and state.second_moments is None):
        raise ValueError("moments must not be None for this solver")
    for array in (state.first_moments, state.second_moments, drift):
        if array is None:
            continue
        if array.shape != state.weights.shape or array.dtype != state.weights.dtype:
            raise ValueError(f"moments and drift must have the weights' shape {state.weights.shape} and dtype "
                             f"{state.weights.dtype}, got {array.shape} and {array.dtype}")
        if len(array) > 1 and array.strides != state.weights.strides:
            raise ValueError("weights, moments and drift must lie alike in memory")


cdef class Trainer(Forward):
    """Trains networks of one shape, the peers, each on rows of X of its own.

    Parameters
    ----------
    network, X
        As for Forward.
    target : int32 ndarray of shape (n_samples,), or ndarray of shape (n_samples, n_outputs) under identity outputs
        Class indices, or the outputs to be learnt.
    sample_weight : ndarray of shape (n_samples,) or None
    optimizer : object with solver, momentum, nesterovs_momentum, beta_1, beta_2, epsilon, l1 and l2
    state : object with weights, first_moments, second_moments, n_steps, learning_rates and losses
        Arrays with an entry per network; the first three, of shape (n_networks, n_parameters), lie alike in memory.
        Training changes all but the learning rates in place.  Moments that the solver does not use may be None.
    plan : object with peers, rows, ends and batch_sizes
        Which networks are to be trained on what: peers[k], in steps of batch_sizes[k] rows, on those of X that are
        rows[ends[k]:ends[k + 1]], in their order, which the caller may change between steps.  int64, and int32 rows.
    offset : ndarray of shape (n_features,) or None
        With sparse X, a row that is to be added to each of its rows.
    drift : ndarray of shape (n_networks, n_parameters) or None
        What is added to the mean gradient of each step, for each network; lies as the weights in memory.  The caller
        may change it between calls of ``train``.
    buffer_rows : int
        Rows that the buffers hold: the largest batch.
    """

    cdef Training training
    cdef void *weights
    cdef void *first_moments
    cdef void *second_moments
    cdef const void *drift
    cdef Py_ssize_t stride  # bytes from one peer's weights to the next one's, and so for the moments
    cdef int64_t[::1] n_steps
    cdef const double[::1] learning_rates
    cdef double[::1] losses
    cdef const int64_t[::1] peers
    cdef const int32_t[::1] peer_rows
    cdef const int64_t[::1] ends
    cdef const int64_t[::1] batch_sizes

    def __cinit__(self, network, X, target, sample_weight, optimizer, state, plan, *, offset=None,
                  drift=None, Py_ssize_t buffer_rows):
        check_plan(plan, len(state.weights), self.n_samples, buffer_rows)
        self.training.network, self.training.x = &self.network, &self.x
        self.set_optimizer(optimizer)
        check_state(state, drift, self.training.solver, self.n_parameters)
        self.own_target(target, sample_weight)
        self.own_buffers(buffer_rows)
        if offset is not None:
            self.own_offset(X, offset)
        self.own_state(state, drift)
        self.peers, self.peer_rows, self.ends, self.batch_sizes = plan.peers, plan.rows, plan.ends, plan.batch_sizes

    cdef int set_optimizer(self, optimizer) except -1:
        cdef Training *t = &self.training
        t.solver = ADAM if optimizer.solver == "adam" else MOMENTUM if optimizer.momentum > 0 else PLAIN_SGD
        t.nesterov = optimizer.nesterovs_momentum
        t.momentum, t.beta_1, t.beta_2 = optimizer.momentum, optimizer.beta_1, optimizer.beta_2
        t.epsilon, t.l1, t.l2 = optimizer.epsilon, optimizer.l1, optimizer.l2
        return 0

    cdef int own_target(self, target, sample_weight) except -1:
        cdef const int32_t[::1] classes
        if len(target) != self.n_samples or (sample_weight is not None and len(sample_weight) != self.n_samples):
            raise ValueError(f"target and sample_weight must have an entry for each of the {self.n_samples} rows of X")
        if self.network.output == SQUARED_IDENTITY:
            self.training.values = self.own(target)
        else:
            classes = target
            self.training.target = &classes[0]
            self.owned.append(classes)
        self.training.sample_weight = self.own(sample_weight)
        return 0

    cdef int own_buffers(self, Py_ssize_t buffer_rows) except -1:
        cdef Py_ssize_t l, widest = 0, largest = 0
        cdef Training *t = &self.training
        cdef Layer layer
        for l in range(self.network.n_layers):
            layer = self.network.layers[l]
            widest = max(widest, max(layer.fan_in if l else 0, layer.fan_out))
            largest = max(largest, (layer.fan_in + 1) * layer.fan_out)
        t.batch = NULL if self.x.sparse else self.buffer(buffer_rows * self.network.layers.fan_in)
        t.delta = self.buffer(buffer_rows * widest)
        t.next_delta = self.buffer(buffer_rows * widest)
        t.gradient = NULL if t.solver == PLAIN_SGD else self.buffer(largest)
        t.pending.along = self.buffer(self.network.layers.fan_out)
        t.pending.center = self.buffer(self.network.layers.fan_out)
        t.pending.drift_center = self.buffer(self.network.layers.fan_out)
        return 0

    cdef int own_offset(self, X, offset) except -1:
        self.x.offset = self.own(offset)
        self.x.offset_dots = self.own(X @ offset)
        self.x.offset_square = np.square(offset, dtype=np.float64).sum()  # whose order no BLAS threads change
        return 0

    cdef int own_state(self, state, drift) except -1:
        cdef Py_ssize_t stride = 0
        self.weights = self.own_matrix(state.weights)
        self.first_moments = self.own_matrix(state.first_moments)
        self.second_moments = self.own_matrix(state.second_moments)
        self.owned.append(drift)
        self.drift = matrix(drift, self.single, &stride)
        self.stride = state.weights.strides[0]
        self.n_steps, self.learning_rates, self.losses = state.n_steps, state.learning_rates, state.losses
        return 0

    cdef void *own_matrix(self, array) except? NULL:
        cdef Py_ssize_t stride = 0
        self.owned.append(array)
        return writable_matrix(array, self.single, &stride)

    cdef Peer peer(self, Py_ssize_t number) noexcept:
        cdef Py_ssize_t shift = number * self.stride
        cdef Peer peer
        peer.weights = <char *> self.weights + shift
        peer.first_moments = NULL if self.first_moments == NULL else <char *> self.first_moments + shift
        peer.second_moments = NULL if self.second_moments == NULL else <char *> self.second_moments + shift
        peer.drift = NULL
        if self.drift != NULL:
            peer.drift = <const char *> self.drift + shift
        peer.n_steps = &self.n_steps[number]
        peer.learning_rate = peer.rate = self.learning_rates[number]
        peer.loss = 0
        return peer

    def train(self, Py_ssize_t start, Py_ssize_t stop, double[::1] penalties=None):
        """Take the peers' optimiser steps from ``start`` to ``stop``, as far as each one's rows reach.

        Adds each row's loss, measured before the step that it takes part in, to its peer's losses.  Where
        ``penalties`` is given, its k-th entry becomes the penalty of peers[k], taken while its weights are still in
        the cache.
        """
        cdef Py_ssize_t k, first, last
        if not 0 <= start <= stop:
            raise ValueError(f"start and stop must be steps in their order, got {start} and {stop}")
        if penalties is not None and penalties.shape[0] != self.peers.shape[0]:
            raise ValueError(f"penalties must have {self.peers.shape[0]} entries, got {penalties.shape[0]}")
        for k in range(self.peers.shape[0]):
            first = min(self.ends[k] + start * self.batch_sizes[k], self.ends[k + 1])
            last = min(self.ends[k] + stop * self.batch_sizes[k], self.ends[k + 1])
            if first < last:
                self.train_peer(k, first, last)
            if penalties is not None:
                penalties[k] = self.penalty(self.peers[k])
            PyErr_CheckSignals()

    cdef void train_peer(self, Py_ssize_t k, Py_ssize_t first, Py_ssize_t last) noexcept:
        """Train peers[k] on its rows from ``first`` to ``last``."""
        cdef Training *t = &self.training
        cdef Peer peer = self.peer(self.peers[k])
        cdef Py_ssize_t size = self.batch_sizes[k]
        with nogil:
            if self.single:
                train_rows(t, &peer, &self.peer_rows[first], last - first, size, <float *> t.delta)
            else:
                train_rows(t, &peer, &self.peer_rows[first], last - first, size, <double *> t.delta)
        self.losses[self.peers[k]] += peer.loss

    cpdef double penalty(self, Py_ssize_t peer):
        """l2 / 2 times the squares of the coefficients of network ``peer``, plus l1 times their magnitudes.

        NaN or infinity where a weight or an intercept has left the finite numbers.
        """
        cdef const char *weights = <const char *> self.weights + peer * self.stride
        cdef double total
        with nogil:
            if self.single:
                total = penalty_of(&self.training, <const float *> weights)
            else:
                total = penalty_of(&self.training, <const double *> weights)
        return total


# Fusion


cdef void fuse_columns(floating *weights, Py_ssize_t stride, Py_ssize_t n, const int32_t *pairs, Py_ssize_t n_pairs,
                       double rate, bint simultaneous, bint zero_rule) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n_pairs):
        if pairs[2 * k] != pairs[2 * k + 1]:
            fuse_pair(n, rate, simultaneous, zero_rule, weights + pairs[2 * k] * stride,
                      weights + pairs[2 * k + 1] * stride)


cdef Py_ssize_t block_width(Py_ssize_t n_networks, bint single) noexcept:
    """How many columns of all networks fusion works on at a time, so that a round's pairs meet in the cache."""
    cdef Py_ssize_t n_bytes = min(max(FUSION_CACHE // n_networks, LEAST_BLOCK), MOST_BLOCK)
    return n_bytes // LEAST_BLOCK * LEAST_BLOCK // <Py_ssize_t> (sizeof(float) if single else sizeof(double))


def n_blocks(weights):
    """How many blocks of columns fusion works on, one after another."""
    cdef Py_ssize_t width = block_width(weights.shape[0], weights.dtype == np.float32)
    return (weights.shape[1] + width - 1) // width


def fuse(weights, const int32_t[:, ::1] pairs, double rate, bint simultaneous, Py_ssize_t part=0, Py_ssize_t n_parts=1,
         double[:, ::1] spread=None, bint zero_rule=True):
    """Algorithm 1 on one of ``n_parts`` parts of the columns of ``weights``, pair after pair, in place.

    Parts consist of whole blocks, so that the rounding of a column does not depend on their number.  Where ``spread``,
    of shape (n_blocks(weights), 2), is given, its rows become the blocks' squared spread before and after.  Without
    ``zero_rule``, zeros are averaged as any other weights.
    """
    cdef Py_ssize_t n_networks = weights.shape[0], n_parameters = weights.shape[1], n_pairs = pairs.shape[0]
    cdef bint single = weights.dtype == np.float32, once = spread is None and 2 * n_pairs <= n_networks + 1
    # Columns that are used once, as those of random pairs, gain nothing from all networks' being in the cache.
    cdef Py_ssize_t width = block_width(1 if once else n_networks, single), stride = 0, block, start, n
    cdef Py_ssize_t total = (n_parameters + width - 1) // width
    cdef void *w = writable_matrix(weights, single, &stride)
    cdef const int32_t *first_pair = &pairs[0, 0] if n_pairs else NULL
    if spread is not None and spread.shape[0] != total:
        raise ValueError(f"spread must have {total} rows, got {spread.shape[0]}")
    with nogil:
        for block in range(part * total // n_parts, (part + 1) * total // n_parts):
            start = block * width
            n = min(width, n_parameters - start)
            if spread is not None:
                spread[block, 0] = spread_of(w, single, start, n, n_networks, stride)
            if single:
                fuse_columns(<float *> w + start, stride, n, first_pair, n_pairs, rate, simultaneous, zero_rule)
            else:
                fuse_columns(<double *> w + start, stride, n, first_pair, n_pairs, rate, simultaneous, zero_rule)
            if spread is not None:
                spread[block, 1] = spread_of(w, single, start, n, n_networks, stride)


cdef struct Shares:
    # Row i of a matrix has shares[k] of networks[k] for starts[i] <= k < starts[i + 1].
    const int32_t *starts
    const int32_t *networks
    const double *shares
    Py_ssize_t n_rows


cdef floating add_nonzero(const Shares *matrix, Py_ssize_t row, const floating *weights, Py_ssize_t stride,
                          Py_ssize_t n, floating *sum, floating *total) noexcept nogil:
    """Sum n columns by a row's shares, and the shares of what is not 0; returns the total of all."""
    cdef Py_ssize_t k
    cdef floating whole = 0
    memset(sum, 0, n * sizeof(floating))
    memset(total, 0, n * sizeof(floating))
    for k in range(matrix.starts[row], matrix.starts[row + 1]):
        whole += <floating> matrix.shares[k]
        add_share(n, matrix.shares[k], weights + matrix.networks[k] * stride, sum, total)
    return whole


cdef double rounding_of(const Shares *matrix, Py_ssize_t row, double rate, bint single) noexcept nogil:
    """Up to which size a total of a row's shares is but rounding; 0 where none is negative, so that none cancel out."""
    cdef Py_ssize_t k, first = matrix.starts[row], stop = matrix.starts[row + 1]
    cdef double size = 0, epsilon = FLT_EPSILON if single else DBL_EPSILON
    cdef bint cancel = rate > 0.5
    for k in range(first, stop):
        size += fabs(matrix.shares[k])
        cancel |= matrix.shares[k] < 0
    return (stop - first + 4) * epsilon * (fabs(1 - 2 * rate) + 2 * rate * size) if cancel else 0


cdef void mix_alike(floating *weights, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t n_networks, const Shares *matrix,
                    double rate, bint zero_rule, floating *buffer) noexcept nogil:
    """Mix n columns of networks that all take the same shares; ``buffer`` holds 2 * n numbers."""
    cdef Py_ssize_t i, k = 0, n_shares = matrix.starts[1]
    cdef floating *sum = buffer
    cdef floating *total = sum + n
    cdef floating whole
    cdef double rounding
    cdef bint zeros = sum_shares(n_shares, matrix.networks, matrix.shares, <const floating *> weights, stride, n, sum)
    for i in range(n_networks):
        if k < n_shares and matrix.networks[k] == i:
            k += 1
        else:
            zeros |= has_zero(n, <const floating *> weights + i * stride)
    zeros &= zero_rule
    if not zeros:
        mix_in(n_networks, 1 - 2 * rate, 2 * rate, <const floating *> sum, stride, n, weights)
        return
    whole = add_nonzero(matrix, 0, <const floating *> weights, stride, n, sum, total)
    rounding = rounding_of(matrix, 0, rate, floating is float)
    for i in range(n_networks):
        mix_in_rest(n, 1 - 2 * rate, 2 * rate, <double> whole, rounding, <const floating *> sum,
                    <const floating *> total, weights + i * stride)


cdef void mix_each(floating *weights, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t n_networks, const Shares *matrix,
                   double rate, bint zero_rule, floating *buffer) noexcept nogil:
    """Mix n columns of networks that take shares of their own; ``buffer`` holds (n_networks + 2) * n numbers."""
    cdef Py_ssize_t i, start
    cdef floating *old = buffer
    cdef floating *sum = old + n_networks * n
    cdef floating *total = sum + n
    cdef floating whole
    cdef double rounding
    cdef bint zeros = copy_columns(n_networks, <const floating *> weights, stride, n, old)
    zeros &= zero_rule
    for i in range(n_networks):
        if zeros:
            whole = add_nonzero(matrix, i, <const floating *> old, n, n, sum, total)
            rounding = rounding_of(matrix, i, rate, floating is float)
            mix_in_rest(n, 1 - 2 * rate, 2 * rate, <double> whole, rounding, <const floating *> sum,
                        <const floating *> total, weights + i * stride)
        else:
            start = matrix.starts[i]
            mix_in_shares(matrix.starts[i + 1] - start, matrix.networks + start, matrix.shares + start, 1 - 2 * rate,
                          2 * rate, <const floating *> old, n, weights + i * stride)


cdef void mix_columns(floating *weights, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t n_networks, const Shares *matrix,
                      double rate, bint zero_rule, floating *buffer) noexcept nogil:
    if matrix.n_rows == 1:
        mix_alike(weights, stride, n, n_networks, matrix, rate, zero_rule, buffer)
    else:
        mix_each(weights, stride, n, n_networks, matrix, rate, zero_rule, buffer)


def mix(weights, const int32_t[::1] starts, const int32_t[::1] networks, const double[::1] shares, double rate,
        Py_ssize_t part=0, Py_ssize_t n_parts=1, double[:, ::1] spread=None, bint zero_rule=True):
    """Mix all networks at once by (1 - 2 rate) I + 2 rate W, on one of ``n_parts`` parts of the columns, in place.

    W's row i has shares[k] of networks[k], in ascending order, for starts[i] <= k < starts[i + 1]; a single row is that
    of all networks.  In an element's mean zeros count for nothing, unless all are zero; where the shares of the rest
    cancel out, its weight stays.  The other arguments are those of ``fuse``.
    """
    cdef Py_ssize_t n_networks = weights.shape[0], n_parameters = weights.shape[1]
    cdef bint single = weights.dtype == np.float32
    cdef Py_ssize_t width = block_width(n_networks, single), stride = 0, block, start, n
    cdef Py_ssize_t total = (n_parameters + width - 1) // width
    cdef void *w = writable_matrix(weights, single, &stride)
    cdef Shares matrix = [&starts[0], &networks[0], &shares[0], starts.shape[0] - 1]
    space = np.empty((2 if matrix.n_rows == 1 else n_networks + 2) * width, weights.dtype)
    cdef void *buffer = writable(space, single)
    if spread is not None and spread.shape[0] != total:
        raise ValueError(f"spread must have {total} rows, got {spread.shape[0]}")
    with nogil:
        for block in range(part * total // n_parts, (part + 1) * total // n_parts):
            start = block * width
            n = min(width, n_parameters - start)
            if spread is not None:
                spread[block, 0] = spread_of(w, single, start, n, n_networks, stride)
            if single:
                mix_columns(<float *> w + start, stride, n, n_networks, &matrix, rate, zero_rule, <float *> buffer)
            else:
                mix_columns(<double *> w + start, stride, n, n_networks, &matrix, rate, zero_rule, <double *> buffer)
            if spread is not None:
                spread[block, 1] = spread_of(w, single, start, n, n_networks, stride)


cdef double spread_of(const void *weights, bint single, Py_ssize_t start, Py_ssize_t n, Py_ssize_t n_networks,
                      Py_ssize_t stride) noexcept nogil:
    """Sum, over networks and n columns from ``start``, of the squared distance from the column's mean."""
    if single:
        return squared_spread(n, n_networks, stride, <const float *> weights + start)
    return squared_spread(n, n_networks, stride, <const double *> weights + start)


def disagreement(weights):
    """Root mean square, over networks, of the Euclidean distance of their weights from the consensus."""
    cdef Py_ssize_t n_networks = weights.shape[0], n_parameters = weights.shape[1], stride = 0
    cdef bint single = weights.dtype == np.float32
    cdef const void *w = matrix(weights, single, &stride)
    cdef double total
    with nogil:
        total = spread_of(w, single, 0, n_parameters, n_networks, stride)
    return c_sqrt(total / n_networks)


# Drift from round to round


cdef struct Rows:
    # A row of numbers for each network.
    void *first
    Py_ssize_t stride


cdef Rows rows_like(array, weights) except *:
    """An array of numbers for each weight; of NULL where it is None."""
    cdef Rows rows
    if array is not None and (array.shape != weights.shape or array.dtype != weights.dtype):
        raise ValueError(f"arrays that go with weights of shape {weights.shape} and dtype {weights.dtype} must have "
                         f"these too, got {array.shape} and {array.dtype}")
    rows.stride = 0
    rows.first = writable_matrix(array, weights.dtype == np.float32, &rows.stride)
    return rows


cdef inline floating *at(const Rows *rows, Py_ssize_t network, Py_ssize_t column, floating *like) noexcept nogil:
    """Where a network's numbers begin from a column on, of the dtype that ``like`` points to."""
    return <floating *> rows.first + network * rows.stride + column


cdef void take_mean_steps(const double[::1] rates, Py_ssize_t column, Py_ssize_t n, const Rows *weights,
                          const Rows *starts, const Rows *drift, const Rows *corrections, Py_ssize_t width,
                          floating *steps) noexcept nogil:
    """Take each network's mean step off its correction, in n columns; its drift where it has taken no step."""
    cdef Py_ssize_t i
    cdef floating *step
    for i in range(rates.shape[0]):
        step = steps + i * width
        if rates[i] == 0:
            memcpy(step, at(drift, i, column, step), n * sizeof(floating))
            add_scaled(n, -1.0, <const floating *> step, at(corrections, i, column, step))
        else:
            mean_step(n, 1 / rates[i], <const floating *> at(starts, i, column, step),
                      <const floating *> at(weights, i, column, step), step, at(corrections, i, column, step))


cdef void add_mixed_steps(Py_ssize_t n_networks, Py_ssize_t column, Py_ssize_t n, Py_ssize_t width, floating *steps,
                          const Rows *corrections) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n_networks):
        add_scaled(n, 1.0, <const floating *> steps + i * width, at(corrections, i, column, steps))


def track(weights, starts, const double[::1] rates, drift, corrections, mix):
    """Add to each correction what a round's mixing changes in the mean step, (starts - weights) / rates.

    ``mix`` mixes some columns of all networks in place.  Where a network's rates are 0, its drift counts as its step.
    Columns are worked on in blocks that the cache holds.
    """
    cdef Py_ssize_t n_networks = weights.shape[0], n_parameters = weights.shape[1], column = 0, n
    cdef bint single = weights.dtype == np.float32
    cdef Py_ssize_t n_bytes = max(FUSION_CACHE // (2 * n_networks), LEAST_BLOCK)
    cdef Py_ssize_t width = n_bytes // <Py_ssize_t> (sizeof(float) if single else sizeof(double))
    cdef Rows w = rows_like(weights, weights), s = rows_like(starts, weights), d = rows_like(drift, weights)
    cdef Rows c = rows_like(corrections, weights)
    if rates.shape[0] != n_networks:
        raise ValueError(f"rates must have {n_networks} entries, got {rates.shape[0]}")
    steps = np.empty((n_networks, width), weights.dtype)
    cdef void *buffer = writable(steps, single)
    while column < n_parameters:
        n = min(width, n_parameters - column)
        with nogil:
            if single:
                take_mean_steps(rates, column, n, &w, &s, &d, &c, width, <float *> buffer)
            else:
                take_mean_steps(rates, column, n, &w, &s, &d, &c, width, <double *> buffer)
        mix(steps[:, :n])
        with nogil:
            if single:
                add_mixed_steps(n_networks, column, n, width, <float *> buffer, &c)
            else:
                add_mixed_steps(n_networks, column, n, width, <double *> buffer, &c)
        column += n


cdef void follow_rows(const double[::1] keep, const double[::1] gain, Py_ssize_t n, const Rows *weights,
                      const Rows *starts, const Rows *velocities, floating *like) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(keep.shape[0]):
        follow_step(n, keep[i], gain[i], <const floating *> at(weights, i, 0, like), at(starts, i, 0, like),
                    at(velocities, i, 0, like))


def follow(weights, starts, const double[::1] keep, const double[::1] gain, velocities):
    """After a round, make each velocity = keep * velocity + gain * (start - weights), and the weights the starts."""
    cdef Rows w = rows_like(weights, weights), s = rows_like(starts, weights), v = rows_like(velocities, weights)
    cdef Py_ssize_t n_networks = weights.shape[0], n_parameters = weights.shape[1]
    cdef bint single = weights.dtype == np.float32
    if not keep.shape[0] == gain.shape[0] == n_networks:
        raise ValueError(f"keep and gain must have {n_networks} entries, got {keep.shape[0]} and {gain.shape[0]}")
    with nogil:
        if single:
            follow_rows(keep, gain, n_parameters, &w, &s, &v, <float *> NULL)
        else:
            follow_rows(keep, gain, n_parameters, &w, &s, &v, <double *> NULL)


cdef void sum_rows(Py_ssize_t n_networks, Py_ssize_t n, double factor, const Rows *x, const Rows *y, const Rows *z,
                   floating *like) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n_networks):
        scaled_sum(n, factor, <const floating *> at(x, i, 0, like), <const floating *> at(y, i, 0, like),
                   at(z, i, 0, like))


def write_drift(corrections, velocities, double momentum, drift):
    """Make each drift = correction + momentum * velocity."""
    cdef Rows c = rows_like(corrections, drift), v = rows_like(velocities, drift), d = rows_like(drift, drift)
    cdef Py_ssize_t n_networks = drift.shape[0], n_parameters = drift.shape[1]
    cdef bint single = drift.dtype == np.float32
    with nogil:
        if single:
            sum_rows(n_networks, n_parameters, momentum, &v, &c, &d, <float *> NULL)
        else:
            sum_rows(n_networks, n_parameters, momentum, &v, &c, &d, <double *> NULL)


# Rows as deviations from one


def count_deviations(X, offset):
    """How many values of each row differ from the offset's, as an int64 array."""
    cdef Py_ssize_t i, n_rows = X.shape[0], n = X.shape[1]
    cdef bint single = X.dtype == np.float32
    cdef const void *x = readable(X, single)
    cdef const void *y = readable(offset, single)
    cdef int64_t[::1] counts = np.empty(n_rows, np.int64)
    with nogil:
        for i in range(n_rows):
            if single:
                counts[i] = count_unequal(n, <const float *> x + i * n, <const float *> y)
            else:
                counts[i] = count_unequal(n, <const double *> x + i * n, <const double *> y)
    return np.asarray(counts)


def deviations(X, offset, Py_ssize_t n_deviations):
    """The values that differ from the offset's, less these, row after row, and their columns."""
    cdef Py_ssize_t i, k = 0, n = X.shape[1], n_rows = X.shape[0]
    cdef bint single = X.dtype == np.float32
    cdef const void *x = readable(X, single)
    cdef const void *y = readable(offset, single)
    values = np.empty(n_deviations + 1, X.dtype)  # one more, which `differences` needs room for
    cdef void *v = writable(values, single)
    cdef int32_t[::1] columns = np.empty(n_deviations + 1, np.int32)
    with nogil:
        for i in range(n_rows):
            if single:
                k += differences(n, <const float *> x + i * n, <const float *> y, <float *> v + k, &columns[k])
            else:
                k += differences(n, <const double *> x + i * n, <const double *> y, <double *> v + k, &columns[k])
    return values[:n_deviations], np.asarray(columns)[:n_deviations]
