/* What the machine itself can do, which the benchmarks hold the kernels against: bytes read from memory, and operations
 * on whole numbers of eight bits, in a second. Nothing of a model is computed here. */
#include "product.h"

#include <omp.h>

#ifdef __x86_64__
#include "simd.h"

enum { LINE = 64, STREAMS = 4 };

/* All lines of a piece of memory, as several streams side by side: hardware prefetches each. */
static uint32_t read_piece(const char *from, int64_t lines)
{
    const int64_t each = lines / STREAMS;
    __m512i seen[STREAMS] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t i = 0; i < each; i++)
        for (int s = 0; s < STREAMS; s++)
            seen[s] = _mm512_xor_si512(seen[s], _mm512_load_si512(from + (s * each + i) * LINE));
    for (int64_t i = each * STREAMS; i < lines; i++)
        seen[0] = _mm512_xor_si512(seen[0], _mm512_load_si512(from + i * LINE));
    for (int s = 1; s < STREAMS; s++)
        seen[0] = _mm512_xor_si512(seen[0], seen[s]);
    return (uint32_t)_mm512_reduce_add_epi32(seen[0]);
}

/* Seconds that so many threads take to read memory once. `from` begins at a multiple of 64; the last `bytes` % 64 are left
 * out. Negative where the processor has no AVX-512. */
double thread_kernels_read(const void *from, int64_t bytes, int threads)
{
    if (!has_vnni())
        return -1;
    const int64_t lines = bytes / LINE;
    uint32_t seen = 0;
    double began = 0, ended = 0;
#pragma omp parallel num_threads(threads) reduction(^ : seen)
    {
        const int64_t first = lines * omp_get_thread_num() / omp_get_num_threads();
        const int64_t last = lines * (omp_get_thread_num() + 1) / omp_get_num_threads();
#pragma omp barrier
#pragma omp master
        began = omp_get_wtime();
        seen ^= read_piece((const char *)from + first * LINE, last - first);
#pragma omp barrier
#pragma omp master
        ended = omp_get_wtime();
    }
    /* The sum is used, so that no compiler leaves the reads out. */
    __asm__ volatile("" : : "r"(seen));
    return ended - began;
}

/* ------------------------------------------------------------------------------------------------ operations */

#define ADD(i) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #i "\n\t"
#define CLEAR(i) "vpxord %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n\t"
#define TWELVE(each) \
    each(0) each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8) each(9) each(10) each(11)

/* Sums that do not wait for each other, of numbers that stay in registers: 12 products of 64 by 64 a round. */
static void add_by_vnni(int64_t rounds)
{
    __asm__ volatile(TWELVE(CLEAR) CLEAR(30) CLEAR(31)
                     "1:\n\t" TWELVE(ADD) "dec %0\n\t"
                     "jnz 1b"
                     : "+r"(rounds)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm30", "xmm31");
}

#ifdef __linux__
/* Palette 1, all eight tiles whole: 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} whole_tiles = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Six products of whole tiles a round. */
static void add_by_amx(int64_t rounds)
{
    __asm__ volatile("ldtilecfg %1\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"
                     "1:\n\t"
                     "tdpbssd %%tmm7, %%tmm6, %%tmm0\n\ttdpbssd %%tmm7, %%tmm6, %%tmm1\n\t"
                     "tdpbssd %%tmm7, %%tmm6, %%tmm2\n\ttdpbssd %%tmm7, %%tmm6, %%tmm3\n\t"
                     "tdpbssd %%tmm7, %%tmm6, %%tmm4\n\ttdpbssd %%tmm7, %%tmm6, %%tmm5\n\t"
                     "dec %0\n\t"
                     "jnz 1b\n\t"
                     "tilerelease"
                     : "+r"(rounds)
                     : "m"(whole_tiles)
                     : "cc", "memory");
}
#else
static void add_by_amx(int64_t rounds) { (void)rounds; }
#endif

/* Multiplications and additions of 8-bit numbers that so many threads do in a second, by the instruction of a path; `rounds`
 * times what the functions above do in each. Negative where the processor, or the system, does not permit it. */
double thread_kernels_peak(int path, int threads, int64_t rounds)
{
    const bool by_amx = path == PATH_AMX;
    if (rounds <= 0 || !(by_amx ? amx_permitted() : path == PATH_VNNI && has_vnni()))
        return -1;
    const double each = by_amx ? 6.0 * 2 * 16 * 16 * 64 : 12.0 * 2 * 64;
    double began = 0, ended = 0;
    int count = 1;
#pragma omp parallel num_threads(threads)
    {
#pragma omp barrier
#pragma omp master
        {
            began = omp_get_wtime();
            count = omp_get_num_threads();
        }
        by_amx ? add_by_amx(rounds) : add_by_vnni(rounds);
#pragma omp barrier
#pragma omp master
        ended = omp_get_wtime();
    }
    return each * (double)rounds * count / (ended - began);
}

#else

double thread_kernels_read(const void *from, int64_t bytes, int threads) { return (void)from, (void)bytes, (void)threads, -1; }
double thread_kernels_peak(int path, int threads, int64_t rounds) { return (void)path, (void)threads, (void)rounds, -1; }

#endif
