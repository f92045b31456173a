/* Included by the files that use AVX-512, after all else: what follows is compiled for processors that have it, and runs
 * only where `has_vnni` says so. The rest of the library runs anywhere. */
#ifndef THREAD_SIMD_H
#define THREAD_SIMD_H

#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")
#endif

#define INLINE __attribute__((always_inline)) static inline

/* e to the power of each number; 0 where the result is too small. */
INLINE __m512 exp_of(__m512 x)
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-126.0f * 0.693147181f));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* The hyperbolic tangent of each, to within 1e-7. */
INLINE __m512 tanh_of(__m512 x)
{
    const __m512 fall = exp_of(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-2.0f))), one = _mm512_set1_ps(1.0f);
    const __m512 size = _mm512_div_ps(_mm512_sub_ps(one, fall), _mm512_add_ps(one, fall));
    return _mm512_or_ps(size, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
}

/* SiLU, or GELU by its approximation with a hyperbolic tangent, of each number, times another one. */
INLINE __m512 gated(__m512 value, __m512 by, bool gelu)
{
    __m512 z = _mm512_sub_ps(_mm512_setzero_ps(), value);
    if (gelu) {
        const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(value, value), _mm512_set1_ps(0.044715f), _mm512_set1_ps(1.0f));
        z = _mm512_mul_ps(_mm512_mul_ps(z, _mm512_set1_ps(1.59576912f)), cubic);
        /* Beyond this the exponential is no longer a finite number. */
        z = _mm512_min_ps(z, _mm512_set1_ps(88.0f));
    }
    return _mm512_mul_ps(_mm512_div_ps(value, _mm512_add_ps(_mm512_set1_ps(1.0f), exp_of(z))), by);
}

#endif
