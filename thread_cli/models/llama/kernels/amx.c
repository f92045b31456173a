/* Products by AMX: 16 tokens by 16 rows by a block of 32 columns (or half of it) with one instruction.
 *
 * After a block, a tile holds whole numbers, the same as VNNI's; they are rounded and added in the same
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

/* Two tiles of each kind, so that one block can begin while the one before it is still under way. */
enum { RESULTS = 0, NUMBERS = 2, LEVELS = 4 };

/* The shapes of the tiles, as the processor wants them (palette 1). */
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} configuration;

_Static_assert(sizeof(configuration) == 64, "the processor reads 64 bytes");

/* For so many tokens (8 or 16), and blocks of so many columns (32 or 16). */
#define SHAPES(tokens, part)                                                                                                \
    {.palette = 1,                                                                                                         \
     .row_bytes = {[RESULTS] = 64, 64, [NUMBERS] = part, part, [LEVELS] = 64, 64},                                         \
     .rows = {[RESULTS] = tokens, tokens, [NUMBERS] = tokens, tokens, [LEVELS] = part / 4, part / 4}}

static const configuration shapes[] = {SHAPES(16, 32), SHAPES(8, 32), SHAPES(16, 16), SHAPES(8, 16)};

/* Which of them this thread has loaded; -1 for none. */
static __thread int loaded = -1;

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

/* Have the tiles of this thread in one of the shapes. */
static void load_shapes(int wanted)
{
    if (wanted == loaded)
        return;
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes[wanted]));
    loaded = wanted;
}

void amx_end(void)
{
    if (loaded >= 0)
        __asm__ volatile("tilerelease" : : : "memory");
    loaded = -1;
}

/* ------------------------------------------------------------------------------------------------ one block */

#define LOAD(tile, at, pitch) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(at), "r"((int64_t)(pitch)) : "memory")
#define STORE(tile, at) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(at), "r"((int64_t)64) : "memory")

/* Exact sums, i32 [tokens][16 rows]: the tokens' numbers, i8 [tokens][32], times the levels of a block, i8 [part / 4][16][4]; by
 * the first tiles or the second. */
INLINE void block_by_amx(const bool second, const char *numbers, const int8_t *levels, int32_t *exact)
{
    if (!second) {
        __asm__ volatile("tilezero %%tmm0" : : : "memory");
        LOAD(2, numbers, BLOCK);
        LOAD(4, levels, 64);
        __asm__ volatile("tdpbssd %%tmm4, %%tmm2, %%tmm0" : : : "memory");
        STORE(0, exact);
    } else {
        __asm__ volatile("tilezero %%tmm1" : : : "memory");
        LOAD(3, numbers, BLOCK);
        LOAD(5, levels, 64);
        __asm__ volatile("tdpbssd %%tmm5, %%tmm3, %%tmm1" : : : "memory");
        STORE(1, exact);
    }
}

/* The same in plain C. */
INLINE void block_by_c(const int tokens, const int part, const char *numbers, const int8_t *levels, int32_t *exact)
{
    for (int token = 0; token < tokens; token++)
        for (int row = 0; row < ROWS; row++) {
            int sum = 0;
            for (int c = 0; c < part; c++)
                sum += ((const int8_t *)numbers)[token * BLOCK + c] * levels[c / 4 * 64 + row * 4 + c % 4];
            exact[token * ROWS + row] = sum;
        }
}

/* ------------------------------------------------------------------------------------------------ all blocks */

/* Begin a step, a part of a block: its exact sums, i32 [tokens][16]. */
INLINE void start_step(const tile_work *w, const bool real, const int tokens, const int part, int64_t step, int32_t *exact,
                       const bool second)
{
    const int parts = BLOCK / part;
    const char *numbers = w->activations + (w->first + step / parts) * SIXTEEN * BLOCK + step % parts * part;
    const int8_t *levels = w->levels + step * (part * ROWS);
    if (real)
        block_by_amx(second, numbers, levels, exact);
    else
        block_by_c(tokens, part, numbers, levels, exact);
}

/* Add a step's exact sums, scaled, to `sums`, f32 [tokens][16]. */
INLINE void add_step(const tile_work *w, const int group, const int tokens, const int part, int64_t step,
                     const int32_t *exact, __m512 *sums)
{
    const rounding *r = w->rounding;
    const int parts = BLOCK / part;
    const int64_t block = w->first + step / parts;
    const float *factors = (const float *)(w->activations + SIXTEEN * r->scales) + block * SIXTEEN;
    const __m512 scale = _mm512_load_ps(w->scales + step * ROWS);
    if (group > 1 && block > 0 && block % group == 0 && step % parts == 0) {
        const float *ratios = (const float *)(w->activations + SIXTEEN * r->ratios) + block / group * SIXTEEN;
#pragma GCC unroll 16
        for (int i = 0; i < tokens; i++)
            sums[i] = _mm512_mul_ps(sums[i], _mm512_set1_ps(ratios[i]));
    }
#pragma GCC unroll 16
    for (int i = 0; i < tokens; i++) {
        const __m512 both = group == 1 ? _mm512_mul_ps(scale, _mm512_set1_ps(factors[i])) : scale;
        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(exact + i * ROWS)), both, sums[i]);
    }
}

/* A slice from its first step to its last (`tile_work`), in an order of additions that VNNI has too. */
INLINE void all_blocks(const tile_work *w, const bool real, const int group, const int part, const int tokens)
{
    _Alignas(64) int32_t exact[2][SIXTEEN * ROWS];
    const rounding *r = w->rounding;
    const int64_t steps = w->blocks * (BLOCK / part);
    __m512 sums[SIXTEEN];
#pragma GCC unroll 16
    for (int i = 0; i < tokens; i++)
        sums[i] = _mm512_load_ps(w->sums + i * ROWS);
    if (real)
        load_shapes((part == BLOCK ? 0 : 2) + (tokens == SIXTEEN ? 0 : 1));
    /* The tiles of the next step are computed while the sums of this one are added up. */
    start_step(w, real, tokens, part, 0, exact[0], false);
    for (int64_t step = 0; step < steps; step += 2) {
        if (step + 1 < steps)
            start_step(w, real, tokens, part, step + 1, exact[1], true);
        add_step(w, group, tokens, part, step, exact[0], sums);
        if (step + 2 < steps)
            start_step(w, real, tokens, part, step + 2, exact[0], false);
        if (step + 1 < steps)
            add_step(w, group, tokens, part, step + 1, exact[1], sums);
    }
    if (group > 1 && w->first + w->blocks == r->columns / BLOCK) {
        const float *factors = (const float *)(w->activations + SIXTEEN * r->scales) + (r->groups - 1) * SIXTEEN;
#pragma GCC unroll 16
        for (int i = 0; i < tokens; i++)
            sums[i] = _mm512_mul_ps(sums[i], _mm512_set1_ps(factors[i]));
    }
#pragma GCC unroll 16
    for (int i = 0; i < tokens; i++)
        _mm512_store_ps(w->sums + i * ROWS, sums[i]);
}

/* One function for each case, so that its loops are unrolled. */
#define CASE(name, real, group, part, tokens)                                                                               \
    static void name(const tile_work *w)                                                                                   \
    {                                                                                                                      \
        all_blocks(w, real, group, part, tokens);                                                                          \
    }

CASE(alone_8, true, 1, 32, 8)
CASE(alone_16, true, 1, 32, 16)
CASE(grouped_8, true, 8, 32, 8)
CASE(grouped_16, true, 8, 32, 16)
CASE(halves_8, true, 8, 16, 8)
CASE(halves_16, true, 8, 16, 16)
CASE(emulated_alone_8, false, 1, 32, 8)
CASE(emulated_alone_16, false, 1, 32, 16)
CASE(emulated_grouped_8, false, 8, 32, 8)
CASE(emulated_grouped_16, false, 8, 32, 16)
CASE(emulated_halves_8, false, 8, 16, 8)
CASE(emulated_halves_16, false, 8, 16, 16)

void amx_multiply(enum path path, const tile_work *w)
{
    static void (*const cases[2][3][2])(const tile_work *) = {
        {{emulated_alone_8, emulated_alone_16},
         {emulated_grouped_8, emulated_grouped_16},
         {emulated_halves_8, emulated_halves_16}},
        {{alone_8, alone_16}, {grouped_8, grouped_16}, {halves_8, halves_16}},
    };
    const rounding *r = w->rounding;
    cases[path == PATH_AMX][r->group == 1 ? 0 : r->part == BLOCK ? 1 : 2][w->count > 8](w);
}

#else

bool has_amx(void) { return false; }
bool amx_permitted(void) { return false; }
void amx_end(void) {}
void amx_multiply(enum path path, const tile_work *w) { (void)path, (void)w; }

#endif
