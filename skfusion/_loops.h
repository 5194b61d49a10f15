/* The innermost loops, written so that the compiler vectorises them.  `omp simd` has it done at -O2, as -O3 spends twice
 * the time on the code that Cython makes.
 *
 * This file includes itself once per dtype (REAL = float, double).  Each function is compiled for several
 * x86 instruction sets and the loader picks one, so that a portable build uses AVX2 and AVX-512 where present;
 * Cython has no way to say this, hence C.  SK_DISPATCH at the end chooses the dtype from the first pointer.
 */
#ifndef SKFUSION_LOOPS_H
#define SKFUSION_LOOPS_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* exp_float and its kind round by adding a large number, which is lost where sums are reordered or wider than their
 * type (16: only _Float16 is computed in a type of its own).  Divergence is seen by NaN. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "skfusion would learn wrong weights with -Ofast or -ffast-math: take them out of CFLAGS, or add -fno-fast-math"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "skfusion would learn wrong weights where float is computed as double (x87): add -msse2 -mfpmath=sse to CFLAGS"
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__GLIBC__)
#define PER_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PER_ISA
#endif
#define INLINED static inline __attribute__((always_inline))

/* The loop for a greatest number, `top`, that clang cannot vectorise, as a NaN might be among them, and says so. */
#if defined(__clang__)
#define SIMD_GREATEST
#else
#define SIMD_GREATEST _Pragma("omp simd reduction(max : top)")
#endif

enum { ACT_IDENTITY, ACT_TANH, ACT_LOGISTIC, ACT_RELU };

/* Ask for memory that is needed soon.  Inlined by all means, since gcc drops calls of functions that do no more. */
INLINED void prefetch(const void *start, Py_ssize_t n_bytes) {
    for (Py_ssize_t byte = 0; byte < n_bytes; byte += 64) __builtin_prefetch((const char *)start + byte);
}

/* exp by range reduction, x = n ln 2 + r, and a Taylor polynomial of exp(r).  Adding 1.5 * 2^mantissa-bits rounds
 * to the nearest integer and leaves it in the low bits, which vectorises where a conversion would not. */
INLINED float exp_float(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float magic = 12582912.0f;
    float shifted = x * 1.44269504f + magic;
    uint32_t bits; /* unsigned, as those of a NaN may wrap around below */
    memcpy(&bits, &shifted, sizeof bits);
    float n = shifted - magic;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    bits = (bits << 23) + 0x3f800000;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

INLINED double exp_double(double x) {
    x = x > 709.0 ? 709.0 : x;
    x = x < -708.0 ? -708.0 : x;
    const double magic = 6755399441055744.0;
    double shifted = x * 1.4426950408889634 + magic;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    double n = shifted - magic;
    double r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
    double p = 1.6059043836821613e-10;
    p = p * r + 2.0876756987868099e-9;
    p = p * r + 2.5052108385441719e-8;
    p = p * r + 2.7557319223985891e-7;
    p = p * r + 2.7557319223985891e-6;
    p = p * r + 2.4801587301587302e-5;
    p = p * r + 1.9841269841269841e-4;
    p = p * r + 1.3888888888888889e-3;
    p = p * r + 8.3333333333333333e-3;
    p = p * r + 4.1666666666666667e-2;
    p = p * r + 1.6666666666666667e-1;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    bits = (bits << 52) + 0x3ff0000000000000;
    double power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* tanh(x) = x P(x^2) / Q(x^2) near 0 (the continued fraction, cut off), where 1 - 2 / (exp(2x) + 1) would cancel. */
INLINED float tanh_float(float x) {
    float s = x * x;
    float near = x * (135135.0f + s * (17325.0f + s * (378.0f + s))) /
                 (135135.0f + s * (62370.0f + s * (3150.0f + s * 28.0f)));
    float far = 1.0f - 2.0f / (exp_float(2.0f * x) + 1.0f);
    return s < 1.0f ? near : far;
}

INLINED double tanh_double(double x) {
    double s = x * x;
    double near = x * (654729075.0 + s * (91891800.0 + s * (2837835.0 + s * (25740.0 + s * 55.0)))) /
                  (654729075.0 + s * (310134825.0 + s * (18918900.0 + s * (315315.0 + s * (1485.0 + s)))));
    double far = 1.0 - 2.0 / (exp_double(2.0 * x) + 1.0);
    return s < 0.36 ? near : far;
}

/* Bytes of a vector, and how many the loops over rows keep in registers. */
#define VECTOR_BYTES 32
#define BLOCK 10
#define EACH_VECTOR _Pragma("GCC unroll 16") for (int v = 0; v < n_vectors; v++)
#define BY_NUMBER(function, ...) \
    switch (n_vectors) { \
    case 1: function(1, __VA_ARGS__); break; \
    case 2: function(2, __VA_ARGS__); break; \
    case 3: function(3, __VA_ARGS__); break; \
    case 4: function(4, __VA_ARGS__); break; \
    case 5: function(5, __VA_ARGS__); break; \
    case 6: function(6, __VA_ARGS__); break; \
    case 7: function(7, __VA_ARGS__); break; \
    case 8: function(8, __VA_ARGS__); break; \
    case 9: function(9, __VA_ARGS__); break; \
    default: function(BLOCK, __VA_ARGS__); \
    }
/* Where rows are wider than a page, take `count` of them from `first` at a time, so that memory is read in runs and not
 * page after page, once for each block of columns. */
#define PAGE_BYTES 4096
#define ROWS_AT_ONCE 8
#define ROWS_AHEAD 4 /* how many rows ahead to fetch */
#define IN_RUNS(n_rows, n, call) \
    if ((n_rows) > ROWS_AT_ONCE && (n) * (Py_ssize_t)sizeof(REAL) > PAGE_BYTES) { \
        for (Py_ssize_t first = 0; first < (n_rows); first += ROWS_AT_ONCE) { \
            Py_ssize_t count = (n_rows) - first < ROWS_AT_ONCE ? (n_rows) - first : ROWS_AT_ONCE; \
            call; \
        } \
        return; \
    }
/* Run `call` for blocks of columns from `start`, and what follows the macro for a remainder narrower than a vector. */
#define FOR_BLOCKS(n, call) \
    Py_ssize_t start = 0; \
    while ((n) - start >= LANES) { \
        Py_ssize_t width = (n) - start <= BLOCK * LANES ? (n) - start : BLOCK * LANES; \
        int n_vectors = (int)((width + LANES - 1) / LANES); \
        call start += width; \
    } \
    if (start < (n))

#define REAL float
#define SIGNED int32_t /* as wide */
#define FN(name) name##_float
#include "_loops.h"
#undef REAL
#undef SIGNED
#undef FN
#define REAL double
#define SIGNED int64_t
#define FN(name) name##_double
#include "_loops.h"
#undef REAL
#undef SIGNED
#undef FN

#define SK_DISPATCH(name, pointer) \
    _Generic((pointer), float *: name##_float, const float *: name##_float, double *: name##_double, \
             const double *: name##_double)
#define add_rows(n_rows, index, value, W, n, z) SK_DISPATCH(add_rows, z)(n_rows, index, value, W, n, z)
#define update_rows(n_rows, index, value, decay, factor, delta, n, W) \
    SK_DISPATCH(update_rows, W)(n_rows, index, value, decay, factor, delta, n, W)
#define update_drifting_rows(n_rows, value, decay, factor, delta, n, step, drift, W) \
    SK_DISPATCH(update_drifting_rows, W)(n_rows, value, decay, factor, delta, n, step, drift, W)
#define dot_rows(n_rows, W, n, delta, out) SK_DISPATCH(dot_rows, out)(n_rows, W, n, delta, out)
#define scale(n, factor, x) SK_DISPATCH(scale, x)(n, factor, x)
#define add_scaled(n, factor, x, y) SK_DISPATCH(add_scaled, y)(n, factor, x, y)
#define activate(kind, n, z) SK_DISPATCH(activate, z)(kind, n, z)
#define times_derivative(kind, n, a, delta) SK_DISPATCH(times_derivative, delta)(kind, n, a, delta)
#define softmax(n, z) SK_DISPATCH(softmax, z)(n, z)
#define momentum_step(n, rate, momentum, nesterov, l2, g, w, v) \
    SK_DISPATCH(momentum_step, w)(n, rate, momentum, nesterov, l2, g, w, v)
#define adam_step(n, rate, beta_1, beta_2, epsilon, l2, g, w, m, v) \
    SK_DISPATCH(adam_step, w)(n, rate, beta_1, beta_2, epsilon, l2, g, w, m, v)
#define soft_threshold(n, threshold, w) SK_DISPATCH(soft_threshold, w)(n, threshold, w)
#define sum_of_squares(n, w) SK_DISPATCH(sum_of_squares, w)(n, w)
#define sum_of_absolutes(n, w) SK_DISPATCH(sum_of_absolutes, w)(n, w)
#define count_unequal(n, x, y) SK_DISPATCH(count_unequal, x)(n, x, y)
#define differences(n, x, y, values, columns) SK_DISPATCH(differences, values)(n, x, y, values, columns)
#define fuse_pair(n, rate, simultaneous, zero_rule, a, b) \
    SK_DISPATCH(fuse_pair, a)(n, rate, simultaneous, zero_rule, a, b)
#define has_zero(n, w) SK_DISPATCH(has_zero, w)(n, w)
#define copy_columns(n_rows, w, stride, n, copy) SK_DISPATCH(copy_columns, copy)(n_rows, w, stride, n, copy)
#define sum_shares(n_shares, networks, shares, weights, stride, n, sum) \
    SK_DISPATCH(sum_shares, sum)(n_shares, networks, shares, weights, stride, n, sum)
#define add_share(n, share, w, sum, total) SK_DISPATCH(add_share, sum)(n, share, w, sum, total)
#define mix_in(n_rows, keep, take, sum, stride, n, rows) \
    SK_DISPATCH(mix_in, rows)(n_rows, keep, take, sum, stride, n, rows)
#define mix_in_rest(n, keep, take, whole, rounding, sum, total, w) \
    SK_DISPATCH(mix_in_rest, w)(n, keep, take, whole, rounding, sum, total, w)
#define mix_in_shares(n_shares, networks, shares, keep, take, old, n, w) \
    SK_DISPATCH(mix_in_shares, w)(n_shares, networks, shares, keep, take, old, n, w)
#define mean_step(n, factor, start, w, step, correction) \
    SK_DISPATCH(mean_step, step)(n, factor, start, w, step, correction)
#define follow_step(n, keep, gain, w, start, velocity) \
    SK_DISPATCH(follow_step, start)(n, keep, gain, w, start, velocity)
#define scaled_sum(n, factor, x, y, z) SK_DISPATCH(scaled_sum, z)(n, factor, x, y, z)
#define squared_spread(n, n_rows, stride, w) SK_DISPATCH(squared_spread, w)(n, n_rows, stride, w)

/* What follows is the code that Cython makes, which calls these functions and gains nothing by more. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O1")
#endif

#else /* one dtype's functions */

/* A row is taken as vectors, the last of which ends with the row and so may overlap the one before: all are loaded
 * before any is stored, and where they overlap both store the same numbers.  Up to BLOCK vectors stay in registers
 * while the loop over rows runs; how many there are is a constant wherever the functions below are inlined. */
typedef REAL FN(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef SIGNED FN(mask) __attribute__((vector_size(VECTOR_BYTES)));
#define VECTOR FN(vector)
#define MASK FN(mask)
#define LANES ((Py_ssize_t)(VECTOR_BYTES / sizeof(REAL)))
#define AT(pointer, v) (*(VECTOR *)((pointer) + ((v) + 1 < n_vectors ? (v) * LANES : width - LANES)))

/* Ask for n numbers that are needed soon, unless they are enough for the processor to see them coming. */
INLINED void FN(fetch)(Py_ssize_t n, const REAL *row) {
    if (n * (Py_ssize_t)sizeof(REAL) < PAGE_BYTES) prefetch(row, n * sizeof(REAL));
}

INLINED void FN(add_rows_block)(
    int n_vectors, Py_ssize_t width, Py_ssize_t n_rows, const int32_t *index, const REAL *value, const REAL *W, Py_ssize_t n,
    REAL *z) {
    VECTOR even[BLOCK], odd[BLOCK];
    EACH_VECTOR even[v] = AT(z, v), odd[v] = (VECTOR){0};
    Py_ssize_t k = 0;
    if (n_vectors <= BLOCK / 2) { /* too few sums to keep the processor busy while one waits for the last */
        for (; k + 2 <= n_rows; k += 2) {
            const REAL *w = W + n * (index ? index[k] : k), *next_w = W + n * (index ? index[k + 1] : k + 1);
            EACH_VECTOR even[v] += value[k] * AT(w, v);
            EACH_VECTOR odd[v] += value[k + 1] * AT(next_w, v);
        }
    }
    for (; k < n_rows; k++) {
        const REAL *w = W + n * (index ? index[k] : k);
        EACH_VECTOR even[v] += value[k] * AT(w, v);
    }
    EACH_VECTOR even[v] += odd[v];
    EACH_VECTOR AT(z, v) = even[v];
}

INLINED void FN(update_rows_block)(
    int n_vectors, Py_ssize_t width, Py_ssize_t n_rows, const int32_t *index, const REAL *value, REAL decay,
    REAL factor, const REAL *delta, Py_ssize_t n, REAL *W) {
    VECTOR d[BLOCK], updated[BLOCK];
    EACH_VECTOR d[v] = factor * AT(delta, v);
    if (index) {
        for (Py_ssize_t k = 0; k < n_rows; k++) {
            REAL *w = W + n * index[k];
            EACH_VECTOR updated[v] = decay * AT(w, v) + value[k] * d[v];
            EACH_VECTOR AT(w, v) = updated[v];
        }
    } else {
        for (Py_ssize_t k = 0; k < n_rows; k++, W += n) {
            EACH_VECTOR updated[v] = decay * AT(W, v) + value[k] * d[v];
            EACH_VECTOR AT(W, v) = updated[v];
        }
    }
}

INLINED void FN(dot_rows_block)(
    int n_vectors, Py_ssize_t width, Py_ssize_t n_rows, const REAL *W, Py_ssize_t n, const REAL *delta, REAL *out) {
    VECTOR d[BLOCK];
    EACH_VECTOR d[v] = AT(delta, v);
    for (Py_ssize_t lane = 0; lane < n_vectors * LANES - width; lane++) d[n_vectors - 1][lane] = 0; /* counted twice */
    for (Py_ssize_t k = 0; k < n_rows; k++, W += n) {
        VECTOR sum = (VECTOR){0};
        EACH_VECTOR sum += d[v] * AT(W, v);
        REAL total = 0;
        for (int lane = 0; lane < LANES; lane++) total += sum[lane];
        out[k] += total;
    }
}

/* z += sum over k of value[k] * W[index[k], :], or of value[k] * W[k, :] where index is NULL. */
PER_ISA static void FN(add_rows)(
    Py_ssize_t n_rows, const int32_t *index, const REAL *value, const REAL *W, Py_ssize_t n, REAL *z) {
    IN_RUNS(n_rows, n, FN(add_rows)(count, index ? index + first : NULL, value + first, index ? W : W + n * first, n, z))
    FOR_BLOCKS(n, BY_NUMBER(FN(add_rows_block), width, n_rows, index, value, W + start, n, z + start)) {
        for (Py_ssize_t k = 0; k < n_rows; k++)
            for (Py_ssize_t j = start; j < n; j++) z[j] += value[k] * W[n * (index ? index[k] : k) + j];
    }
}

/* W[i, :] = decay * W[i, :] + factor * value[k] * delta for each k, with i = index[k], or k where index is NULL. */
PER_ISA static void FN(update_rows)(
    Py_ssize_t n_rows, const int32_t *index, const REAL *value, double decay, double factor, const REAL *delta, Py_ssize_t n,
    REAL *W) {
    IN_RUNS(n_rows, n, FN(update_rows)(count, index ? index + first : NULL, value + first, decay, factor, delta, n,
                                       index ? W : W + n * first))
    REAL c = (REAL)decay, f = (REAL)factor;
    FOR_BLOCKS(n, BY_NUMBER(FN(update_rows_block), width, n_rows, index, value, c, f, delta + start, n, W + start)) {
        for (Py_ssize_t k = 0; k < n_rows; k++) {
            REAL *w = W + n * (index ? index[k] : k);
            for (Py_ssize_t j = start; j < n; j++) w[j] = c * w[j] + value[k] * (f * delta[j]);
        }
    }
}

/* W[k, :] = decay * W[k, :] + factor * value[k] * delta + step * drift[k, :] for each k */
PER_ISA static void FN(update_drifting_rows)(
    Py_ssize_t n_rows, const REAL *value, double decay, double factor, const REAL *restrict delta, Py_ssize_t n,
    double step, const REAL *restrict drift, REAL *restrict W) {
    REAL c = (REAL)decay, s = (REAL)step;
    for (Py_ssize_t k = 0; k < n_rows; k++, W += n, drift += n) {
        REAL f = (REAL)factor * value[k];
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) W[j] = c * W[j] + f * delta[j] + s * drift[j];
    }
}

/* out[k] = W[k, :] . delta */
PER_ISA static void FN(dot_rows)(Py_ssize_t n_rows, const REAL *W, Py_ssize_t n, const REAL *delta, REAL *out) {
    IN_RUNS(n_rows, n, FN(dot_rows)(count, W + n * first, n, delta, out + first))
    memset(out, 0, n_rows * sizeof(REAL));
    FOR_BLOCKS(n, BY_NUMBER(FN(dot_rows_block), width, n_rows, W + start, n, delta + start, out)) {
        for (Py_ssize_t k = 0; k < n_rows; k++)
            for (Py_ssize_t j = start; j < n; j++) out[k] += W[k * n + j] * delta[j];
    }
}

PER_ISA static void FN(scale)(Py_ssize_t n, double factor, REAL *restrict x) {
    REAL f = (REAL)factor;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) x[j] *= f;
}

PER_ISA static void FN(add_scaled)(Py_ssize_t n, double factor, const REAL *restrict x, REAL *restrict y) {
    REAL f = (REAL)factor;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) y[j] += f * x[j];
}

PER_ISA static void FN(activate)(int kind, Py_ssize_t n, REAL *restrict z) {
    if (kind == ACT_TANH) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) z[j] = FN(tanh)(z[j]);
    } else if (kind == ACT_LOGISTIC) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) z[j] = 1 / (1 + FN(exp)(-z[j]));
    } else if (kind == ACT_RELU) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) z[j] = z[j] < 0 ? 0 : z[j];
    }
}

/* delta *= f'(z), from the activation a = f(z) */
PER_ISA static void FN(times_derivative)(int kind, Py_ssize_t n, const REAL *restrict a, REAL *restrict delta) {
    if (kind == ACT_TANH) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) delta[j] *= 1 - a[j] * a[j];
    } else if (kind == ACT_LOGISTIC) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) delta[j] *= a[j] * (1 - a[j]);
    } else if (kind == ACT_RELU) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) delta[j] = a[j] == 0 ? 0 : delta[j];
    }
}

/* z becomes softmax(z); returns log(sum(exp(z))) */
PER_ISA static double FN(softmax)(Py_ssize_t n, REAL *restrict z) {
    REAL top = z[0], sum = 0;
    SIMD_GREATEST
    for (Py_ssize_t j = 1; j < n; j++) top = z[j] > top ? z[j] : top;
#pragma omp simd reduction(+ : sum)
    for (Py_ssize_t j = 0; j < n; j++) sum += z[j] = FN(exp)(z[j] - top);
    REAL inverse = 1 / sum;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) z[j] *= inverse;
    return (double)top + log((double)sum);
}

PER_ISA static void FN(momentum_step)(
    Py_ssize_t n, double rate, double momentum, int nesterov, double l2, const REAL *restrict g, REAL *restrict w,
    REAL *restrict v) {
    REAL r = (REAL)rate, m = (REAL)momentum, p = (REAL)l2, again = nesterov ? m : 1, direct = nesterov ? r : 0;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) {
        REAL slope = g[j] + p * w[j];
        v[j] = m * v[j] - r * slope;
        w[j] += again * v[j] - direct * slope;
    }
}

PER_ISA static void FN(adam_step)(
    Py_ssize_t n, double rate, double beta_1, double beta_2, double epsilon, double l2, const REAL *restrict g,
    REAL *restrict w, REAL *restrict m, REAL *restrict v) {
    REAL r = (REAL)rate, b1 = (REAL)beta_1, b2 = (REAL)beta_2, e = (REAL)epsilon, p = (REAL)l2;
    REAL c1 = (REAL)(1 - beta_1), c2 = (REAL)(1 - beta_2);
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) {
        REAL slope = g[j] + p * w[j];
        m[j] = b1 * m[j] + c1 * slope;
        v[j] = b2 * v[j] + c2 * slope * slope;
        w[j] -= r * m[j] / ((sizeof(REAL) == 4 ? (REAL)sqrtf((float)v[j]) : (REAL)sqrt((double)v[j])) + e);
    }
}

PER_ISA static void FN(soft_threshold)(Py_ssize_t n, double threshold, REAL *restrict w) {
    REAL t = (REAL)threshold;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) w[j] = w[j] > t ? w[j] - t : w[j] < -t ? w[j] + t : 0 * w[j];
}

PER_ISA static double FN(sum_of_squares)(Py_ssize_t n, const REAL *restrict w) {
    enum { STRIP = 1024 }; /* short enough that rounding in it does not matter */
    double total = 0;
    for (Py_ssize_t start = 0; start < n; start += STRIP) {
        Py_ssize_t stop = n - start < STRIP ? n : start + STRIP;
        REAL sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Py_ssize_t j = start; j < stop; j++) sum += w[j] * w[j];
        total += sum;
    }
    return total;
}

PER_ISA static double FN(sum_of_absolutes)(Py_ssize_t n, const REAL *restrict w) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Py_ssize_t j = 0; j < n; j++) sum += w[j] < 0 ? -w[j] : w[j];
    return sum;
}

/* How many of n numbers differ. */
PER_ISA static Py_ssize_t FN(count_unequal)(Py_ssize_t n, const REAL *x, const REAL *y) {
    Py_ssize_t count = 0;
#pragma omp simd reduction(+ : count)
    for (Py_ssize_t j = 0; j < n; j++) count += x[j] != y[j];
    return count;
}

/* Write the differences that are not 0 and their columns; returns how many there are.  Without a branch each is written,
 * to be overwritten if it is 0, so there must be room for one more. */
static Py_ssize_t FN(differences)(
    Py_ssize_t n, const REAL *x, const REAL *y, REAL *restrict values, int32_t *restrict columns) {
    Py_ssize_t count = 0;
    for (Py_ssize_t j = 0; j < n; j++) {
        values[count] = x[j] - y[j];
        columns[count] = (int32_t)j;
        count += x[j] != y[j];
    }
    return count;
}

/* Algorithm 1 on n weights of two networks; without the zero rule, zeros are averaged as any others. */
PER_ISA static void FN(fuse_pair)(
    Py_ssize_t n, double rate, int simultaneous, int zero_rule, REAL *restrict a, REAL *restrict b) {
    REAL f = (REAL)rate, keep = (REAL)(1 - rate), zero = zero_rule ? 0 : (REAL)NAN;
    if (simultaneous) {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) {
            REAL x = a[j], y = b[j];
            REAL new_x = keep * x + f * y, new_y = keep * y + f * x;
            REAL other = x == zero ? y : x;
            a[j] = x == zero || y == zero ? other : new_x;
            b[j] = x == zero || y == zero ? other : new_y;
        }
    } else {
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) {
            REAL x = a[j], y = b[j];
            REAL new_x = keep * x + f * y, new_y = keep * y + f * new_x;
            REAL other = x == zero ? y : x;
            a[j] = x == zero || y == zero ? other : new_x;
            b[j] = x == zero || y == zero ? other : new_y;
        }
    }
}

PER_ISA static int FN(has_zero)(Py_ssize_t n, const REAL *restrict w) {
    int found = 0;
#pragma omp simd reduction(| : found)
    for (Py_ssize_t j = 0; j < n; j++) found |= w[j] == 0;
    return found;
}

/* Copy n columns of rows that lie stride apart; returns whether a number in them is 0. */
PER_ISA static int FN(copy_columns)(
    Py_ssize_t n_rows, const REAL *w, Py_ssize_t stride, Py_ssize_t n, REAL *restrict copy) {
    int found = 0;
    for (Py_ssize_t i = 0; i < n_rows; i++, copy += n) {
        const REAL *restrict row = w + i * stride;
        if (i + ROWS_AHEAD < n_rows) FN(fetch)(n, row + ROWS_AHEAD * stride);
#pragma omp simd reduction(| : found)
        for (Py_ssize_t j = 0; j < n; j++) {
            copy[j] = row[j];
            found |= row[j] == 0;
        }
    }
    return found;
}

/* Add a network's share to the sum of n weights, and to the total of the shares where its weight is not 0. */
PER_ISA static void FN(add_share)(
    Py_ssize_t n, double share, const REAL *restrict w, REAL *restrict sum, REAL *restrict total) {
    REAL s = (REAL)share;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) {
        sum[j] += s * w[j];
        total[j] += w[j] == 0 ? 0 : s;
    }
}

/* w = keep * w + take * sum, for n columns of each of the rows w that lie stride apart. */
PER_ISA static void FN(mix_in)(
    Py_ssize_t n_rows, double keep, double take, const REAL *restrict sum, Py_ssize_t stride, Py_ssize_t n, REAL *rows) {
    REAL k = (REAL)keep, t = (REAL)take;
    for (Py_ssize_t i = 0; i < n_rows; i++) {
        REAL *restrict w = rows + i * stride;
        if (i + ROWS_AHEAD < n_rows) FN(fetch)(n, w + ROWS_AHEAD * stride);
#pragma omp simd
        for (Py_ssize_t j = 0; j < n; j++) w[j] = t * sum[j] + k * w[j];
    }
}

/* w = keep * w + take * sum, divided by the shares of what is not 0, where those are not all: `whole` is the total of
 * all shares, added up as they were.  Where nothing but zeros counts, or what counts cancels out but for `rounding`,
 * w stays as it was. */
PER_ISA static void FN(mix_in_rest)(
    Py_ssize_t n, double keep, double take, double whole, double rounding, const REAL *restrict sum,
    const REAL *restrict total, REAL *restrict w) {
    REAL k = (REAL)keep, t = (REAL)take, all = (REAL)whole, least = (REAL)rounding;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) {
        REAL mixed = k * w[j] + t * sum[j], shares = (w[j] == 0 ? 0 : k) + t * total[j];
        int none = shares <= least && -shares <= least;
        REAL of_those = none ? w[j] : mixed / (none ? 1 : shares);
        w[j] = total[j] == all && w[j] != 0 ? mixed : of_those;
    }
}

INLINED void FN(add_shares_block)(
    int n_vectors, Py_ssize_t width, Py_ssize_t n_shares, const int32_t *networks, const double *shares,
    const REAL *weights, Py_ssize_t stride, REAL *sum, int *found) {
    VECTOR total[BLOCK];
    MASK zeros = {0};
    EACH_VECTOR total[v] = AT(sum, v);
    for (Py_ssize_t k = 0; k < n_shares; k++) {
        const REAL *w = weights + stride * networks[k];
        REAL share = (REAL)shares[k];
        EACH_VECTOR total[v] += share * AT(w, v);
        EACH_VECTOR zeros |= (MASK)(AT(w, v) == (VECTOR){0});
    }
    EACH_VECTOR AT(sum, v) = total[v];
    for (int lane = 0; lane < LANES; lane++) *found |= zeros[lane] != 0;
}

/* Sum the shares of n columns of networks that lie stride apart, a few at a time; returns whether a weight is 0. */
PER_ISA static int FN(sum_shares)(
    Py_ssize_t n_shares, const int32_t *networks, const double *shares, const REAL *weights, Py_ssize_t stride,
    Py_ssize_t n, REAL *sum) {
    int found = 0;
    memset(sum, 0, n * sizeof(REAL));
    while (n_shares) {
        Py_ssize_t count = n_shares < ROWS_AT_ONCE ? n_shares : ROWS_AT_ONCE;
        for (Py_ssize_t k = count; k < n_shares && k < 2 * count; k++) FN(fetch)(n, weights + stride * networks[k]);
        FOR_BLOCKS(n, BY_NUMBER(FN(add_shares_block), width, count, networks, shares, weights + start, stride,
                                sum + start, &found)) {
            for (Py_ssize_t k = 0; k < count; k++) {
                const REAL *w = weights + stride * networks[k];
                for (Py_ssize_t j = start; j < n; j++) sum[j] += (REAL)shares[k] * w[j], found |= w[j] == 0;
            }
        }
        n_shares -= count, networks += count, shares += count;
    }
    return found;
}

INLINED void FN(mix_in_shares_block)(
    int n_vectors, Py_ssize_t width, Py_ssize_t n_shares, const int32_t *networks, const double *shares, REAL keep,
    REAL take, const REAL *old, Py_ssize_t n, REAL *w) {
    VECTOR sum[BLOCK];
    EACH_VECTOR sum[v] = (VECTOR){0};
    for (Py_ssize_t k = 0; k < n_shares; k++) {
        const REAL *row = old + n * networks[k];
        REAL share = (REAL)shares[k];
        EACH_VECTOR sum[v] += share * AT(row, v);
    }
    EACH_VECTOR sum[v] = take * sum[v] + keep * AT(w, v);
    EACH_VECTOR AT(w, v) = sum[v];
}

/* w = keep * w + take * (sum over k of shares[k] * old[networks[k], :]) */
PER_ISA static void FN(mix_in_shares)(
    Py_ssize_t n_shares, const int32_t *networks, const double *shares, double keep, double take, const REAL *old,
    Py_ssize_t n, REAL *w) {
    REAL kept = (REAL)keep, taken = (REAL)take;
    FOR_BLOCKS(n, BY_NUMBER(FN(mix_in_shares_block), width, n_shares, networks, shares, kept, taken, old + start, n,
                            w + start)) {
        for (Py_ssize_t j = start; j < n; j++) {
            REAL sum = 0;
            for (Py_ssize_t k = 0; k < n_shares; k++) sum += (REAL)shares[k] * old[n * networks[k] + j];
            w[j] = taken * sum + kept * w[j];
        }
    }
}

/* step = factor * (start - w), which is taken off the correction. */
PER_ISA static void FN(mean_step)(
    Py_ssize_t n, double factor, const REAL *restrict start, const REAL *restrict w, REAL *restrict step,
    REAL *restrict correction) {
    REAL f = (REAL)factor;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) {
        step[j] = f * (start[j] - w[j]);
        correction[j] -= step[j];
    }
}

/* velocity = keep * velocity + gain * (start - w), and then start = w. */
PER_ISA static void FN(follow_step)(
    Py_ssize_t n, double keep, double gain, const REAL *restrict w, REAL *restrict start, REAL *restrict velocity) {
    REAL k = (REAL)keep, g = (REAL)gain;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) {
        velocity[j] = k * velocity[j] + g * (start[j] - w[j]);
        start[j] = w[j];
    }
}

/* z = factor * x + y */
PER_ISA static void FN(scaled_sum)(
    Py_ssize_t n, double factor, const REAL *restrict x, const REAL *restrict y, REAL *restrict z) {
    REAL f = (REAL)factor;
#pragma omp simd
    for (Py_ssize_t j = 0; j < n; j++) z[j] = f * x[j] + y[j];
}

/* Sum over columns and rows of (w - column mean)^2, for n columns of n_rows rows that lie stride apart, in one pass:
 * with d = w - first row, it is the sum of d^2 less n_rows times that of mean(d)^2. */
PER_ISA static double FN(squared_spread)(Py_ssize_t n, Py_ssize_t n_rows, Py_ssize_t stride, const REAL *w) {
    enum { STRIP = 2048 };
    REAL sum[STRIP];
    double total = 0;
    for (Py_ssize_t start = 0; start < n; start += STRIP, w += STRIP) {
        Py_ssize_t width = n - start < STRIP ? n - start : STRIP;
        memset(sum, 0, sizeof sum);
        for (Py_ssize_t i = 1; i < n_rows; i++) {
            const REAL *restrict row = w + i * stride;
            REAL squares = 0;
            if (i + ROWS_AHEAD < n_rows) FN(fetch)(width, row + ROWS_AHEAD * stride);
#pragma omp simd reduction(+ : squares)
            for (Py_ssize_t j = 0; j < width; j++) {
                REAL d = row[j] - w[j];
                sum[j] += d;
                squares += d * d;
            }
            total += squares;
        }
        double of_means = 0;
#pragma omp simd reduction(+ : of_means)
        for (Py_ssize_t j = 0; j < width; j++) of_means += (double)sum[j] * sum[j];
        total -= of_means / n_rows;
    }
    return total < 0 ? 0 : total;
}

#undef VECTOR
#undef MASK
#undef LANES
#undef AT

#endif
