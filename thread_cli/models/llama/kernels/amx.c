/* Products by AMX: 16 tokens by 16 rows by a block of 32 columns (or half of it) with one instruction.
 *
 * What a tile holds after a block are whole numbers, the same that VNNI adds up; they are rounded and added in the same
 * order, so that results have the same bits. The instructions are written here, not taken from the compiler: GCC 12 takes
 * the configuration for 8 bytes long and leaves out the stores of the rest, and its loads do not say that they read memory.
 * The same code runs, for tests, on tiles that plain C computes. */
#include "product.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simd.h"

enum { SUMS = 0, NUMBERS = 1, LEVELS = 2, HALF_NUMBERS = 3, HALF_LEVELS = 4 };

/* The shapes of the tiles, as the processor wants them (palette 1). */
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} configuration;

_Static_assert(sizeof(configuration) == 64, "the processor reads 64 bytes");

static const configuration shapes = {
    .palette = 1,
    .row_bytes = {[SUMS] = 64, [NUMBERS] = 32, [LEVELS] = 64, [HALF_NUMBERS] = 16, [HALF_LEVELS] = 64},
    .rows = {[SUMS] = 16, [NUMBERS] = 16, [LEVELS] = 8, [HALF_NUMBERS] = 16, [HALF_LEVELS] = 4},
};

bool has_amx(void)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 25 & 1))
        return false;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1))
        return false;
    /* The system saves the tiles when it changes from one thread to another. */
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return (low >> 17 & 3) == 3;
}

bool amx_permitted(void)
{
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return has_amx() && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

void amx_begin(enum path path)
{
    if (path == PATH_AMX)
        __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

void amx_end(enum path path)
{
    if (path == PATH_AMX)
        __asm__ volatile("tilerelease" : : : "memory");
}

/* ------------------------------------------------------------------------------------------------ one block */

#define LOAD(tile, at, pitch) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(at), "r"((int64_t)(pitch)) : "memory")

/* What 16 tokens' numbers, 32 bytes apart, come to with the levels of a block of 16 rows. */
INLINE void block_by_amx(const int part, const char *numbers, const int8_t *levels, int32_t *exact)
{
    __asm__ volatile("tilezero %%tmm0" : : : "memory");
    if (part == BLOCK) {
        LOAD(1, numbers, BLOCK);
        LOAD(2, levels, 64);
        __asm__ volatile("tdpbssd %%tmm2, %%tmm1, %%tmm0" : : : "memory");
    } else {
        LOAD(3, numbers, BLOCK);
        LOAD(4, levels, 64);
        __asm__ volatile("tdpbssd %%tmm4, %%tmm3, %%tmm0" : : : "memory");
    }
    __asm__ volatile("tilestored %%tmm0, (%0,%1,1)" : : "r"(exact), "r"((int64_t)64) : "memory");
}

INLINE void block_by_c(const int part, const char *numbers, const int8_t *levels, int32_t *exact)
{
    for (int token = 0; token < SIXTEEN; token++)
        for (int row = 0; row < ROWS; row++) {
            int sum = 0;
            for (int c = 0; c < part; c++)
                sum += ((const int8_t *)numbers)[token * BLOCK + c] * levels[c / 4 * 64 + row * 4 + c % 4];
            exact[token * ROWS + row] = sum;
        }
}

INLINE void scale_sums(const tile_work *w, const float *factors)
{
    for (int i = 0; i < w->count; i++) {
        float *sum = w->sums + i * ROWS;
        _mm512_store_ps(sum, _mm512_mul_ps(_mm512_load_ps(sum), _mm512_set1_ps(factors[i])));
    }
}

INLINE void add_block(const tile_work *w, const int group, const int32_t *exact, const float *factors, const float *at)
{
    const __m512 scale = _mm512_load_ps(at);
    for (int i = 0; i < w->count; i++) {
        const __m512 both = group == 1 ? _mm512_mul_ps(scale, _mm512_set1_ps(factors[i])) : scale;
        const __m512 number = _mm512_cvtepi32_ps(_mm512_load_si512(exact + i * ROWS));
        float *sum = w->sums + i * ROWS;
        _mm512_store_ps(sum, _mm512_fmadd_ps(number, both, _mm512_load_ps(sum)));
    }
}

INLINE void all_blocks(const tile_work *w, const bool real, const int group, const int part)
{
    _Alignas(64) int32_t exact[2][SIXTEEN * ROWS];
    const rounding *r = w->rounding;
    const int parts = BLOCK / part;
    const int64_t steps = w->blocks * parts;
    const float *scales = (const float *)(w->activations + SIXTEEN * r->scales);
    const float *ratios = (const float *)(w->activations + SIXTEEN * r->ratios);
    /* The tiles of the next step are computed while the sums of this one are added up. */
    for (int64_t step = 0; step <= steps; step++) {
        if (step < steps) {
            const char *numbers =
                w->activations + (w->first + step / parts) * SIXTEEN * BLOCK + step % parts * part;
            const int8_t *levels = w->levels + step * (part * ROWS);
            if (real)
                block_by_amx(part, numbers, levels, exact[step % 2]);
            else
                block_by_c(part, numbers, levels, exact[step % 2]);
        }
        if (step == 0)
            continue;
        const int64_t done = step - 1, block = w->first + done / parts;
        if (group > 1 && block > 0 && block % group == 0 && done % parts == 0)
            scale_sums(w, ratios + block / group * SIXTEEN);
        add_block(w, group, exact[done % 2], scales + block * SIXTEEN, w->scales + done * ROWS);
    }
    if (group > 1 && w->first + w->blocks == r->columns / BLOCK)
        scale_sums(w, scales + (r->groups - 1) * SIXTEEN);
}

void amx_multiply(enum path path, const tile_work *w)
{
    const bool real = path == PATH_AMX;
    if (w->rounding->group == 1)
        real ? all_blocks(w, true, 1, BLOCK) : all_blocks(w, false, 1, BLOCK);
    else if (w->rounding->part == BLOCK)
        real ? all_blocks(w, true, SUPER / BLOCK, BLOCK) : all_blocks(w, false, SUPER / BLOCK, BLOCK);
    else
        real ? all_blocks(w, true, SUPER / BLOCK, 16) : all_blocks(w, false, SUPER / BLOCK, 16);
}

#else

bool has_amx(void) { return false; }
bool amx_permitted(void) { return false; }
void amx_begin(enum path path) { (void)path; }
void amx_end(enum path path) { (void)path; }
void amx_multiply(enum path path, const tile_work *w) { (void)path, (void)w; }

#endif
